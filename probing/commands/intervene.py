"""The command ``intervene``: edit thoughts of one problem or of a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from model import checkpoint
from model.cli import Data, Device, Precision, bars
from model.coconut import CoconutGPT2
from model.errors import InputError, check_known
from model.files import write_bytes
from model.formats.graph import load_problems
from model.stats import mean, text
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
)
from probing.draw import of_effects
from probing.draw.export import export
from probing.edit.data_set import STRATA, EffectSummary, run_to_folder
from probing.edit.directions import Directions
from probing.edit.kinds import CONTROLS, KINDS, NODE_SETS
from probing.edit.one_problem import intervene as intervene_once
from probing.edit.spec import EditPlan


def intervene(
    data: Data,
    edit: Annotated[list[str], typer.Option(help="An edit, such as swap:t=1,strength=1.5; join edits with &. Repeat.")],
    out: Annotated[
        Path, typer.Option(help="Folder for rows.jsonl, summary.json and summary.csv; one file with --row.")
    ],
    checkpoint_folder: Checkpoint = checkpoint.DEFAULT_CHECKPOINT,
    compare: Compare = None,
    directions: Fitted = None,
    row: Annotated[
        int | None, typer.Option(min=0, help="Only this problem (from 0), with everything about it in one JSON file.")
    ] = None,
    n: First = None,
    samples: Annotated[
        int, typer.Option("--samples", "--draws", min=1, max=256, help="With --row: prompt samples of the problem.")
    ] = 1,
    controls: Annotated[
        str, typer.Option(help="Matched controls to run beside each edit: all, none, or names joined by commas.")
    ] = "all",
    by: Annotated[
        str, typer.Option(help=f"Tell problems apart in the summary: {', '.join(STRATA)} (other candidate's depth).")
    ] = "",
    untrained: Untrained = False,
    seed: Seed = 0,
    batch_size: BatchSize = 32,
    device: Device = "auto",
    precision: Precision = "float32",
) -> None:
    """Edit thoughts and see whether the answer follows, with every matched control."""
    plans = [EditPlan.parse(each) for each in edit]
    if len(set(plans)) < len(plans):
        raise InputError("the same edit is given twice")
    wanted = _controls(controls)
    if by and by not in STRATA:
        raise InputError(f"--by {by!r} is unknown; known are {', '.join(STRATA)}")
    if compare and row is not None:
        raise InputError("--compare is for data sets; leave out --row")
    check_names(checkpoint_folder, compare)
    problems = load_problems(data)[:n]
    if row is None and any(plan.names for plan in plans):
        raise InputError("nodes given by name belong to one problem; add --row, or use a set such as target-branch")
    if row is not None and row >= len(problems):
        raise InputError(f"--row {row}: {data} has rows 0 to {len(problems) - 1}")
    if row is not None and len(plans) > 1:
        raise InputError("--row takes one --edit; join edits that are made together with &")
    required = any(plan.needs for plan in plans)

    def opened(folder: Path, path: Path | None, trained: bool) -> tuple[CoconutGPT2, Directions | None]:
        model = checkpoint.open(folder, device=device, trained=trained, seed=seed, precision=precision)
        return model, directions_of(model, folder, path, required=required)

    model, fitted = opened(checkpoint_folder, directions, not untrained)
    if row is not None:
        result = intervene_once(
            model, problems[row], plans[0], directions=fitted, controls=wanted, n_samples=samples, seed=seed
        )
        result.save(out)
        for warning in result.warnings:
            print(f"note: {warning}")
        for name, side in (("clean", result.clean), ("edited", result.edited), *result.controls.items()):
            print(f"{name:12} P(target) {text(mean(side.p_target[:, -1]), bounds=(0, 1))} after all thoughts")
        print(f"written to {out}")
        return
    jobs = [(model, fitted, checkpoint_folder.name, out)]
    jobs += [
        (*opened(folder, None, True), folder.name, out / f"compare-{folder.resolve().name}") for folder in compare or ()
    ]
    for job_model, job_directions, name, job_out in jobs:
        with bars() as progress:
            summaries = run_to_folder(
                job_model, problems, plans, job_out, directions=job_directions, source=data.name, controls=wanted,
                by=by, seed=seed, batch_size=batch_size, progress=progress, what=f"edits, {name}",
            )  # fmt: skip
        for picture, chart in of_effects.charts(summaries).items():
            write_bytes(job_out / f"{picture}.svg", export(chart, "svg"))
        print(f"\n{name}: {job_out}, passes in {job_model.precision}")
        _print_summaries(summaries)


def help_text() -> str:
    """What ``--edit`` understands."""
    lines = ["An edit is KIND:OPTION=VALUE,... with t (thoughts, as 1, 1-3 or 1+4), nodes, to, strength (the steering"]
    lines += ["coefficient), coefficient=fixed (as fitted) or measured (in the very thought), directions, norm=keep,"]
    lines += ["layer, depth, k, top (how many nodes; m: as many as are at distance t) and seed.", "", "Kinds:"]
    for kind in KINDS.values():
        also = f" (also {', '.join(kind.also)})" if kind.also else ""
        lines.append(f"  {kind.name:11} {kind.words}{also}")
    lines += ["", "Sets of nodes (join with +, /1 draws one of a set):"]
    lines += [f"  {name:15} {row.words}" for name, row in NODE_SETS.items()]
    lines += ["", "Matched controls, run by themselves:"]
    lines += [f"  {name:11} {row.words}" for name, row in CONTROLS.items()]
    return "\n\b\n" + "\n".join(lines)


def register(app: typer.Typer) -> None:
    """Add the command to a command group."""
    app.command("intervene", help=f"{intervene.__doc__}\n\n{help_text()}")(intervene)


def _controls(names: str) -> tuple[str, ...]:
    if names in ("all", "none"):
        return tuple(CONTROLS) if names == "all" else ()
    for name in names.split(","):
        check_known("control", name, ("all", "none", *CONTROLS))
    return tuple(name for name in CONTROLS if name in names.split(","))


def _print_summaries(summaries: list[EffectSummary]) -> None:
    width, strata = (max(len(getattr(one, name)) for one in summaries) for name in ("edit", "stratum"))
    head = f"{'edit':{width}} {'control':11} {'':{strata}} {'n':>6}"
    print(f"{head}  {'other candidate above target':28} {'neither':22} escape")
    for one in summaries:
        follows, neither = text(one.follows, "percent"), text(one.neither, "percent")
        start = f"{one.edit:{width}} {one.control:11} {one.stratum:{strata}} {one.n:6}"
        print(f"{start}  {follows:28} {neither:22} {text(one.escape)}")
