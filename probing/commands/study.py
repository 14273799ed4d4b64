"""The command ``study``: one question of a sceptic, asked of a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from model import checkpoint
from model.cli import Data, Device, bars
from model.errors import check_known
from model.files import write_text
from model.formats.graph import load_problems
from probing.commands.options import BatchSize, Checkpoint, First, Fitted, Seed, Untrained, directions_of, title_of
from probing.draw.study_page import study_rows, to_html
from probing.edit.data_set import run_to_folder
from probing.edit.study import STUDIES, directions_found


def study(
    question: Annotated[str, typer.Argument(help="; ".join(f"{s.name}: {s.question}" for s in STUDIES.values()))],
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder for study.html, summary.json, summary.csv and rows.jsonl.")],
    checkpoint_folder: Checkpoint = checkpoint.DEFAULT_CHECKPOINT,
    directions: Fitted = None,
    n: First = None,
    last: Annotated[int | None, typer.Option(min=1, help="Only thoughts up to this one.")] = None,
    untrained: Untrained = False,
    seed: Seed = 0,
    batch_size: BatchSize = 32,
    device: Device = "auto",
) -> None:
    """Ask one question of a checkpoint's thoughts. Use problems the directions were not fitted on."""
    check_known("question", question, STUDIES)
    asked, problems = STUDIES[question], load_problems(data)[:n]
    model = checkpoint.open(checkpoint_folder, device=device, trained=not untrained, seed=seed)
    fitted = directions_of(model, checkpoint_folder, directions, required=False)
    if fitted is not None:
        fitted.check_unseen(problems)
    name = title_of(checkpoint_folder, untrained=untrained)
    with bars() as progress:
        summaries = run_to_folder(
            model, problems, asked.plans(model, fitted, last), out, directions=fitted, source=data.name,
            controls=asked.controls, by=asked.by, seed=seed, batch_size=batch_size, progress=progress,
            what=f"study {question}, {name}",
        )  # fmt: skip
    write_text(out / "study.html", to_html(asked, name, data.name, summaries))
    print(f"{asked.question} {name}, {data.name}\n{asked.reads}\n")
    shown = study_rows([one for one in summaries if not (one.control and one.stratum)])
    for _, edit, stratum, size, accuracy, follows, escape in shown:
        print(f"{edit:44} {stratum:26} n = {size:>5}  right {accuracy:24} other {follows:24} escape {escape}")
    for pattern, distance in (directions_found(summaries) if question == "direction" else {}).items():
        print(f"{pattern}: mean distance {distance:.3f} from what it predicts")
    print(f"written to {out / 'study.html'}")
