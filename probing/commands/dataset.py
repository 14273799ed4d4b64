"""The command ``dataset``: the papers' figures over a whole data set, each with its control."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from model.checkpoint import DEFAULT_CHECKPOINT
from model.cli import Data, Device, Pad, Precision, bars
from model.errors import InputError
from probing.commands.options import Checkpoint


def dataset(
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder for the rows, the table, the figures and the report.")],
    checkpoint_folder: Checkpoint = DEFAULT_CHECKPOINT,
    compare: Annotated[
        list[Path] | None, typer.Option(help="Another checkpoint to set beside it; may be given several times.")
    ] = None,
    analyses: Annotated[
        str, typer.Option(help="all, or a list such as kswitch,height; -NAME leaves one out: all,-probes.")
    ] = "all",
    first: Annotated[int | None, typer.Option(min=1, help="Only so many problems, from the start.")] = None,
    thoughts: Annotated[
        str | None,
        typer.Option(
            help="Thoughts to give: a number, or hops (hops+1) for as many as the deepest problem has hops (and one "
            "more), with the answer after as many as each has; default: as many as the model was trained for."
        ),
    ] = None,
    untrained: Annotated[bool, typer.Option(help="Run fresh random weights of the same config as a control.")] = True,
    n_control: Annotated[int, typer.Option(min=1, help="Problems, from the start, the control is run on.")] = 500,
    n_states: Annotated[
        int, typer.Option(min=0, help="Problems, from the start, whose states are kept for probes and geometry.")
    ] = 1000,
    n_probe: Annotated[int, typer.Option(min=10, help="Problems the linear probes are fitted and scored on.")] = 300,
    pad: Pad = False,
    tree_problem: Annotated[int | None, typer.Option(min=0, help="Problem whose search tree is drawn.")] = None,
    processes: Annotated[int, typer.Option(min=1, help="Processes that record; changes nothing but the time.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Of how problems are written and of every control.")] = 0,
    device: Device = "auto",
    precision: Precision = "float32",
) -> None:
    """Every analysis of the papers over a data set, with controls and intervals, and a self-contained report.

    An interrupted run continues where it stopped when the command is given again. Under torchrun the ranks share the
    recording.
    """
    from model.evaluate import after_hops
    from model.formats.graph import load_problems
    from probing.dataset.record import Settings, make_sources
    from probing.dataset.run import choose_analyses, run_dataset

    chosen = choose_analyses(analyses)
    problems = load_problems(data)
    if first is not None and first > len(problems):
        raise InputError(f"{data}: {len(problems):,} problems; --first {first:,} asks for more")
    more = None if thoughts is None else after_hops(thoughts)
    if thoughts is not None and more is None and not (thoughts.isascii() and thoughts.isdigit()):
        raise InputError(f"--thoughts {thoughts!r}: give a number, hops, or hops+1")
    deepest = max((problem.n_hops for problem in problems[:first]), default=0)
    with bars() as progress:
        result = run_dataset(
            make_sources(checkpoint_folder, compare or (), untrained=untrained),
            problems[:first],
            out,
            data=data.name,
            settings=Settings(
                seed=seed,
                n_thoughts=deepest + more if more is not None else None if thoughts is None else int(thoughts),
                pad=pad,
                n_states=n_states,
                n_control=n_control,
                device=device,
                precision=precision,
                processes=processes,
            ),
            analyses=chosen,
            tree_problem=tree_problem,
            n_probe_problems=n_probe,
            progress=progress,
        )
    if result is None:
        assert int(os.environ.get("WORLD_SIZE", "1")) > 1
        return
    for section in result.sections:
        for sentence in section.says[:1]:
            print(f"{section.title}: {sentence}")
    print(f"forward passes in {result.models[0].info.precision}")
    for model in result.models:
        if model.n_padded:
            print(f"{model.info.name}: {model.n_padded:,} of {model.n_taken:,} problems padded with distractor facts")
        if model.n_taken < model.n_problems:
            print(
                f"{model.info.name} could not take {model.n_problems - model.n_taken:,} problems; the report lists why"
            )
    print(f"wrote {out / 'report.html'}, table.csv, result.json and figures/")
