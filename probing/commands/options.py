"""Options that several commands take, and how they are read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from model.coconut import CoconutGPT2
from model.errors import InputError
from probing.edit import directions
from probing.edit.directions import Directions

Checkpoint = Annotated[Path, typer.Option("--checkpoint", help="A checkpoint folder.")]
Compare = Annotated[
    list[Path] | None, typer.Option(help="Another checkpoint to do the same to, such as one trained with pauses.")
]
First = Annotated[int | None, typer.Option("--n", min=1, help="Only the first N problems.")]
Seed = Annotated[int, typer.Option(min=0, help="Of how problems are written and of everything drawn at random.")]
BatchSize = Annotated[int, typer.Option(min=1, max=4096, help="Problems in one batch.")]
Fitted = Annotated[
    Path | None, typer.Option("--directions", help="Fitted node directions; default: beside the checkpoint.")
]
Untrained = Annotated[
    bool, typer.Option("--untrained", help="Use fresh random weights of the checkpoint's config: the control.")
]


def check_names(folder: Path, compare: list[Path] | None) -> None:
    """Raise InputError if checkpoints that are set beside each other have one name."""
    names = [path.resolve().name for path in (folder, *(compare or ()))]
    if len(set(names)) < len(names):
        raise InputError(f"--compare: checkpoints are told apart by their folders' names, and {names} has one twice")


def title_of(folder: Path, *, untrained: bool) -> str:
    """What a checkpoint is called in what is written."""
    return folder.resolve().name + (", untrained (random weights)" if untrained else "")


def directions_of(
    model: CoconutGPT2, folder: Path, path: Path | None = None, *, required: bool = True
) -> Directions | None:
    """Those in a file, by default the one in the checkpoint's folder; None where none is there nor required."""
    if path is None and not required and not (folder / directions.FILE_NAME).exists():
        return None
    fitted = directions.load(path or folder / directions.FILE_NAME)
    fitted.check_fits(model)
    return fitted
