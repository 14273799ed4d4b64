"""The command ``texts``: questions in words, without a graph."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from model import checkpoint
from model.cli import Device, bars
from model.files import write_bytes, write_csv, write_json
from model.problems.texts import WITHOUT_GRAPH, load_texts
from probing.commands.options import BatchSize, Checkpoint, First, Seed
from probing.draw.export import export
from probing.draw.of_texts import charts
from probing.edit.texts import CHANGES, COLUMNS, text_findings


def texts(
    data: Annotated[Path, typer.Option(help="Questions in words: GSM8k-Aug lines, JSON rows, or ProntoQA's JSON.")],
    out: Annotated[Path, typer.Option(help="Folder for texts.json, texts.csv and a picture of each chart.")],
    checkpoint_folder: Checkpoint = checkpoint.DEFAULT_CHECKPOINT,
    n: First = None,
    seed: Seed = 0,
    batch_size: BatchSize = 16,
    device: Device = "auto",
) -> None:
    """Intermediate results in thoughts, accuracy by thoughts, and answers when other thoughts are fed."""
    model = checkpoint.open(checkpoint_folder, device=device)
    with bars("question") as progress:
        found = text_findings(model, load_texts(data)[:n], seed=seed, batch_size=batch_size, progress=progress)
    write_json(out / "texts.json", found.model_dump(mode="json") | {"data": data.name, "seed": seed})
    write_csv(out / "texts.csv", COLUMNS, found.rows())
    for chart in charts(found):
        write_bytes(out / f"{chart.name}.svg", export(chart, "svg"))
    for k, each in enumerate(found.accuracy_by_k):
        print(f"right after {k} thoughts {each.text()}  n = {each.n:,}")
    for change in found.changes[1:]:
        print(f"{CHANGES[change.change]:38} right {change.own.text()}  the other's answer {change.other.text()}")
    for one in found.numbers:
        where = (
            f"thought {one.thought}" if one.thought <= found.n_thoughts else f"state after thought {found.n_thoughts}"
        )
        print(
            f"{where}, result of step {one.step}: {one.probability.text()}  another problem's "
            f"{one.control.text()}  above it in {one.above.text()}  n = {one.above.n:,}"
        )
    if found.n_stepless:
        print(f"{found.n_stepless:,} of {found.n:,} problems have no steps: no result to read")
    print(f"no graph is known of these questions: {WITHOUT_GRAPH}")
    print(f"written to {out}")
