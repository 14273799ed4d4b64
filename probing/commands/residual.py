"""The command ``residual``: what stands in thoughts beside their frontiers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from model import checkpoint
from model.cli import Data, Device, bars
from model.files import write_csv_of
from model.formats.graph import load_problems
from probing.commands.options import BatchSize, Checkpoint, First, Seed
from probing.edit.residual import explained


def residual(
    data: Data,
    out: Annotated[Path, typer.Option(help="CSV file to write.")],
    checkpoint_folder: Checkpoint = checkpoint.DEFAULT_CHECKPOINT,
    n: First = None,
    last: Annotated[int, typer.Option(min=1, help="Thoughts up to this one.")] = 3,
    seed: Seed = 0,
    batch_size: BatchSize = 64,
    device: Device = "auto",
) -> None:
    """How much of each thought further features of the graph explain, held out, beside those of another problem."""
    model = checkpoint.open(checkpoint_folder, device=device)
    with bars() as progress:
        rows = explained(
            model, load_problems(data)[:n], last=last, seed=seed, batch_size=batch_size, progress=progress
        )  # fmt: skip
    for row in rows:
        plus = "" if row.features == "nodes at distance t" else "+ "
        print(f"thought {row.thought}  R2 {row.r2:.3f}  control {row.control:.3f}  n = {row.n:,}  {plus}{row.features}")
    write_csv_of(out, [dict(row) for row in rows])
    print(f"written to {out}")
