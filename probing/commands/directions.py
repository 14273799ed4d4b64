"""The command ``directions``: fit how nodes are written in the thoughts of a checkpoint."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from model import checkpoint
from model.cli import Data, Device, bars
from model.errors import InputError, OutputError
from model.formats.graph import load_problems
from model.stats import percent
from probing.commands.options import BatchSize, Checkpoint, Seed, Untrained
from probing.edit.directions import FILE_NAME, MIN_FIT, collect, fit, save


def directions(
    data: Data,
    checkpoint_folder: Checkpoint = checkpoint.DEFAULT_CHECKPOINT,
    out: Annotated[
        Path | None, typer.Option(help=f"File to write; default: {FILE_NAME} in the checkpoint folder.")
    ] = None,
    n_held_out: Annotated[int, typer.Option(min=1, help="Problems at the end of the file kept for the scores.")] = 500,
    ridge_lambda: Annotated[float, typer.Option(min=0, help="Penalty of the ridge regression.")] = 1.0,
    null_space: Annotated[
        int, typer.Option(min=0, max=64, help="Rank of the null space fitted for every node, for `erase`; 0: none.")
    ] = 0,
    untrained: Untrained = False,
    seed: Seed = 0,
    batch_size: BatchSize = 32,
    device: Device = "auto",
) -> None:
    """Fit how nodes are written in thoughts, once per checkpoint, and score it on problems kept apart."""
    if untrained and out is None:
        raise InputError("--untrained needs --out: directions of random weights do not belong beside the checkpoint")
    problems = load_problems(data)
    if len(problems) < n_held_out + MIN_FIT:
        raise InputError(
            f"{data}: {len(problems)} problems; with --n-held-out {n_held_out} at least "
            f"{n_held_out + MIN_FIT} are needed (3,500 give good directions)"
        )
    model = checkpoint.open(checkpoint_folder, device=device, trained=not untrained, seed=seed)
    target = out or checkpoint_folder / FILE_NAME
    if target.parent.exists() and not os.access(target.parent, os.W_OK):
        raise OutputError(
            f"{target.parent} cannot be written to; give --out FILE, and --directions FILE to intervene and verdict"
        )
    parts = {"thoughts to fit": (problems[:-n_held_out], seed), "thoughts held out": (problems[-n_held_out:], seed + 1)}
    with bars() as progress:
        samples = [
            collect(model, part, seed=sample_seed, batch_size=batch_size, progress=progress, what=what)
            for what, (part, sample_seed) in parts.items()
        ]
    fitted = fit(model, *samples, seed=seed, ridge_lambda=ridge_lambda, n_null=null_space)
    save(fitted, target)
    print(
        f"{'thought':>7} {'estimator':12} {'R2':>6} {'exact frontier':>24} {'counterfactual':>15} "
        f"{'chance':>8} {'n':>6}"
    )
    for score in fitted.about.scores:
        print(
            f"{score.thought:7} {score.estimator:12} {score.r2:6.3f} {score.exact.text('percent'):>24} "
            f"{percent(score.exact_other):>15} {percent(score.chance):>8} {score.n:6}"
        )
    print(f"written to {target}")
