"""The command ``lens``: what each layer says at each thought of one problem."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from model import checkpoint
from model.cli import Data, Device, row_of
from model.files import write_bytes, write_csv, write_json
from model.formats.graph import load_problems
from model.problems.prosqa import ProsQAProblem
from model.problems.texts import TextProblem, in_words, load_texts
from probing.commands.options import Checkpoint, Seed
from probing.draw.export import export, format_of
from probing.draw.of_lens import grid, way
from probing.read.lens import COLUMNS, lens_grid


def lens(
    data: Data,
    out: Annotated[Path, typer.Option(help="File to write: a picture, csv for all cells' ten tokens, or json.")],
    row: Annotated[int, typer.Option(help="Row of --data, from 0.")] = 0,
    token: Annotated[str | None, typer.Option(help="Draw the way of this token instead of the grid.")] = None,
    checkpoint_folder: Checkpoint = checkpoint.DEFAULT_CHECKPOINT,
    thoughts: Annotated[int | None, typer.Option(min=0, help="Thoughts to have; default: as trained.")] = None,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """The logit lens of every layer at every thought of one problem or question in words, one prompt sample."""
    problems: Sequence[ProsQAProblem | TextProblem] = load_texts(data) if in_words(data) else load_problems(data)
    problem = row_of(problems, row, data)
    format = "json" if out.suffix.lower() == ".json" else format_of(out)
    model = checkpoint.open(checkpoint_folder, device=device)
    found = lens_grid(model, problem, seed=seed, n_thoughts=thoughts)
    chart = grid(found) if token is None else way(found, token)
    if format == "json":
        write_json(out, found.model_dump(mode="json"))
    elif format == "csv" and token is None:
        write_csv(out, COLUMNS, found.rows())
    else:
        write_bytes(out, export(chart, format))
    for layer, cells in enumerate(found.cells, start=1):
        print(
            f"layer {layer:>2}  "
            + "  ".join(f"{cell.words[0].strip()!r:>14} {cell.probability[0]:.2f}" for cell in cells)
        )
    print(chart.note or f"n = 1 prompt sample of {found.n_tokens:,} tokens")
