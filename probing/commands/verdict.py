"""The command ``verdict``: judge each thought of a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from model import checkpoint
from model.cli import Data, Device, Precision, bars
from model.files import held
from model.formats.graph import load_problems
from probing.commands.options import (
    BatchSize,
    Checkpoint,
    Compare,
    First,
    Fitted,
    Seed,
    Untrained,
    check_names,
    directions_of,
    title_of,
)
from probing.draw.verdict_page import summary_sentences, write_sheets
from probing.edit.verdict import CLAIMS, make_sheet


def verdict(
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder for verdict.json and verdict.html.")],
    checkpoint_folder: Checkpoint = checkpoint.DEFAULT_CHECKPOINT,
    compare: Compare = None,
    directions: Fitted = None,
    n: First = None,
    untrained: Untrained = False,
    seed: Seed = 0,
    batch_size: BatchSize = 32,
    device: Device = "auto",
    precision: Precision = "float32",
) -> None:
    """Judge each thought: decodable, used, necessary, sufficient, parallel?

    Use other problems than those the directions were fitted on.
    """
    check_names(checkpoint_folder, compare)
    problems = load_problems(data)[:n]
    jobs = []
    for i, folder in enumerate((checkpoint_folder, *(compare or ()))):
        model = checkpoint.open(folder, device=device, trained=i > 0 or not untrained, seed=seed, precision=precision)
        fitted, name = directions_of(model, folder, None if i else directions), folder.resolve().name
        assert fitted is not None
        title = title_of(folder, untrained=untrained and not i)
        jobs.append((model, title, fitted, out / (f"rows-{name}" if i else "rows")))
    with held(out), bars() as progress:
        sheets = [
            make_sheet(
                model, problems, rows, directions=fitted, name=title, source=data.name, seed=seed,
                batch_size=batch_size, progress=progress,
            )
            for model, title, fitted, rows in jobs
        ]  # fmt: skip
        write_sheets(sheets, out)
    for sheet in sheets:
        print(f"\n{sheet.name}: accuracy {sheet.accuracy.text('percent')}, n = {sheet.n_problems:,}")
        print(f"forward passes in {sheet.precision}")
        print(f"{'thought':>8} " + " ".join(f"{claim:>12}" for claim in CLAIMS))
        for t in range(1, sheet.n_thoughts + 1):
            print(f"{t:8} " + " ".join(f"{sheet.finding(claim, t).outcome:>12}" for claim in CLAIMS))
        for sentence in summary_sentences(sheet):
            print(sentence)
    print(f"written to {out / 'verdict.html'} and {out / 'verdict.json'}")
