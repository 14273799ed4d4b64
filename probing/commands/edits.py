"""The commands of the causal lab: ``directions``, ``intervene`` and ``verdict``."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Annotated

import torch
import typer
from tqdm import tqdm

from model import checkpoint
from model.cli import progress
from model.coconut import CoconutGPT2
from model.errors import InputError, OutputError
from model.files import write_bytes, write_json
from model.formats.graph import load_problems
from model.problems.prosqa import ProsQAProblem
from probing.draw import of_effects as causal_figures
from probing.draw.export import export
from probing.draw.verdict_page import summary_sentences, write_sheets
from probing.edit import directions as directions_module
from probing.edit.data_set import CLEAN, EffectSummary, run_to_folder
from probing.edit.directions import FILE_NAME, Directions
from probing.edit.effects import percent
from probing.edit.kinds import CONTROLS, KINDS, NODE_SETS
from probing.edit.one_problem import intervene
from probing.edit.spec import EditPlan
from probing.edit.verdict import CLAIMS, make_sheet

Data = Annotated[Path, typer.Option(help="A ProsQA JSON file.")]
Checkpoint = Annotated[Path, typer.Option(help="A checkpoint folder.")]
Compare = Annotated[
    list[Path] | None, typer.Option(help="Another checkpoint to do the same to, such as one trained with pauses.")
]
Seed = Annotated[int, typer.Option(min=0, help="Of how problems are written and of everything drawn at random.")]
BatchSize = Annotated[int, typer.Option(min=1, max=4096, help="Problems in one batch.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Fitted = Annotated[
    Path | None, typer.Option("--directions", help="Fitted write directions; default: beside the checkpoint.")
]
Untrained = Annotated[
    bool, typer.Option("--untrained", help="Use fresh random weights of the checkpoint's config: the control.")
]


def fit_directions(
    data: Data,
    checkpoint_folder: Annotated[Path, typer.Option("--checkpoint", help="A checkpoint folder.")] = (
        checkpoint.DEFAULT_CHECKPOINT
    ),
    out: Annotated[
        Path | None, typer.Option(help=f"File to write; default: {FILE_NAME} in the checkpoint folder.")
    ] = None,
    n_held_out: Annotated[int, typer.Option(min=1, help="Problems at the end of the file kept for the scores.")] = 500,
    ridge_lambda: Annotated[float, typer.Option(min=0, help="Penalty of the ridge regression.")] = 1.0,
    untrained: Untrained = False,
    seed: Seed = 0,
    batch_size: BatchSize = 32,
    device: Device = "auto",
) -> None:
    """Fit how nodes are written in thoughts, once per checkpoint, and score it on problems kept apart."""
    if untrained and out is None:
        raise InputError("--untrained needs --out: directions of random weights do not belong beside the checkpoint")
    problems = load_problems(data)
    if len(problems) < n_held_out + directions_module.MIN_FIT:
        raise InputError(
            f"{data}: {len(problems)} problems; with --n-held-out {n_held_out} at least "
            f"{n_held_out + directions_module.MIN_FIT} are needed (3,500 give good directions)"
        )
    model = _model(checkpoint_folder, device, untrained, seed)
    target = out or checkpoint_folder / FILE_NAME
    if target.parent.exists() and not os.access(target.parent, os.W_OK):
        raise OutputError(
            f"{target.parent} cannot be written to; give --out FILE, and --directions FILE to intervene and verdict"
        )
    parts = []
    for what, part, draw_seed in (
        ("thoughts to fit", problems[:-n_held_out], seed),
        ("thoughts held out", problems[-n_held_out:], seed + 1),
    ):
        parts.append(
            directions_module.collect(
                model,
                part,
                seed=draw_seed,
                batch_size=batch_size,
                progress=partial(_batches, what),
            )
        )
    fitted = directions_module.fit(model, *parts, seed=seed, ridge_lambda=ridge_lambda)
    directions_module.save(fitted, target)
    print(f"{'thought':>7} {'estimator':12} {'R2':>6} {'exact frontier':>24} {'other q.':>9} {'chance':>8} {'n':>6}")
    for score in fitted.scores:
        low, high = score.exact_ci95
        print(
            f"{score.thought:7} {score.estimator:12} {score.r2:6.3f} {100 * score.exact:10.1f} % "
            f"[{100 * low:4.1f}, {100 * high:4.1f}] {100 * score.exact_other:8.1f}% {100 * score.chance:7.2f}% "
            f"{score.n:6}"
        )
    print(f"written to {target}")


def run_interventions(
    data: Data,
    edit: Annotated[list[str], typer.Option(help="An edit, such as swap:t=1,strength=1.5; join edits with &. Repeat.")],
    out: Annotated[
        Path, typer.Option(help="Folder for rows.jsonl, summary.json and summary.csv; one file with --row.")
    ],
    checkpoint_folder: Annotated[Path, typer.Option("--checkpoint", help="A checkpoint folder.")] = (
        checkpoint.DEFAULT_CHECKPOINT
    ),
    compare: Compare = None,
    directions: Fitted = None,
    row: Annotated[
        int | None, typer.Option(min=0, help="Only this problem (from 0), with everything about it in one JSON file.")
    ] = None,
    n: Annotated[int | None, typer.Option("--n", min=1, help="Only the first N problems.")] = None,
    draws: Annotated[int, typer.Option(min=1, max=256, help="With --row: ways of writing the problem.")] = 1,
    controls: Annotated[
        str, typer.Option(help="Matched controls to run beside each edit: all, none, or names joined by commas.")
    ] = "all",
    untrained: Untrained = False,
    seed: Seed = 0,
    batch_size: BatchSize = 32,
    device: Device = "auto",
) -> None:
    """Edit thoughts and see whether the answer follows, with every matched control."""
    scenes = [EditPlan.parse(text) for text in edit]
    if len(set(scenes)) < len(scenes):
        raise InputError("the same edit is given twice")
    wanted = _controls(controls)
    if compare and row is not None:
        raise InputError("--compare is for data sets; leave out --row")
    _check_names(checkpoint_folder, compare)
    problems = _problems(data, n)
    if row is None and any(scene.names for scene in scenes):
        raise InputError("nodes given by name belong to one problem; add --row, or use a set such as target-branch")
    if row is not None and row >= len(problems):
        raise InputError(f"--row {row}: {data} has rows 0 to {len(problems) - 1}")
    if row is not None and len(scenes) > 1:
        raise InputError("--row takes one --edit; join edits that are made together with &")
    model = _model(checkpoint_folder, device, untrained, seed)
    fitted = _directions(model, checkpoint_folder, directions, scenes)
    if row is not None:
        result = intervene(
            model, problems[row], scenes[0], directions=fitted, controls=wanted, n_draws=draws, seed=seed
        )
        write_json(out, result.to_json())
        for warning in result.warnings:
            print(f"note: {warning}")
        for name, side in (("clean", result.clean), ("edited", result.edited), *result.controls.items()):
            print(f"{name:12} P(target) {side.p_target[:, -1].mean():.3f} after all thoughts")
        print(f"written to {out}")
        return
    jobs = [(model, checkpoint_folder, fitted, out)]
    for folder in compare or ():
        other = _model(folder, device, False, seed)
        jobs.append((other, folder, _directions(other, folder, None, scenes), out / f"compare-{folder.resolve().name}"))
    for job_model, folder, job_directions, job_out in jobs:
        with tqdm(total=len(problems), desc=f"edits, {folder.name}", unit="problem", dynamic_ncols=True) as bar:
            summaries = run_to_folder(
                job_model,
                problems,
                scenes,
                job_out,
                directions=job_directions,
                source=data.name,
                controls=wanted,
                seed=seed,
                batch_size=batch_size,
                progress=partial(_advance, bar),
            )
        for name, picture in causal_figures.charts(summaries).items():
            write_bytes(job_out / f"{name}.svg", export(picture, "svg"))
        print(f"\n{folder.name}: {job_out}")
        _print_summaries(summaries)


def make_verdict(
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder for verdict.json and verdict.html.")],
    checkpoint_folder: Annotated[Path, typer.Option("--checkpoint", help="A checkpoint folder.")] = (
        checkpoint.DEFAULT_CHECKPOINT
    ),
    compare: Compare = None,
    directions: Fitted = None,
    n: Annotated[int | None, typer.Option("--n", min=1, help="Only the first N problems.")] = None,
    untrained: Untrained = False,
    seed: Seed = 0,
    batch_size: BatchSize = 32,
    device: Device = "auto",
) -> None:
    """Judge each thought: decodable, used, needed, sufficient? Use problems the directions were not fitted on."""
    _check_names(checkpoint_folder, compare)
    problems = _problems(data, n)
    model = _model(checkpoint_folder, device, untrained, seed)
    name = checkpoint_folder.resolve().name + (", untrained (random weights)" if untrained else "")
    jobs = [(model, name, _fitted(model, checkpoint_folder, directions), out / "rows")]
    for folder in compare or ():
        other = _model(folder, device, False, seed)
        title = folder.resolve().name
        jobs.append((other, title, _fitted(other, folder, None), out / f"rows-{title}"))
    sheets = []
    for job_model, title, job_directions, rows in jobs:
        with tqdm(total=len(problems), desc=f"verdict, {title}", unit="problem", dynamic_ncols=True) as bar:
            sheets.append(
                make_sheet(
                    job_model,
                    problems,
                    rows,
                    directions=job_directions,
                    name=title,
                    source=data.name,
                    seed=seed,
                    batch_size=batch_size,
                    progress=partial(_advance, bar),
                )
            )
    write_sheets(sheets, out)
    for sheet in sheets:
        print(f"\n{sheet.name}: accuracy {percent(sheet.accuracy)}, n = {sheet.n_problems:,}")
        print(f"{'thought':>8} " + " ".join(f"{claim:>12}" for claim in CLAIMS))
        for t in range(1, sheet.n_thoughts + 1):
            print(f"{t:8} " + " ".join(f"{sheet.finding(claim, t).outcome:>12}" for claim in CLAIMS))
        for sentence in summary_sentences(sheet):
            print(sentence)
    print(f"written to {out / 'verdict.html'} and {out / 'verdict.json'}")


def help_text() -> str:
    """What ``--edit`` understands."""
    lines = ["An edit is KIND:OPTION=VALUE,... with t (thoughts, as 1, 1-3 or 1+4), nodes, to, strength, directions,"]
    lines += ["norm=keep, layer, depth, k and seed.", "", "Kinds:"]
    lines += [f"  {name:11} {kind.words}" for name, kind in KINDS.items()]
    lines += ["", "Sets of nodes (join with +, /1 draws one of a set):"]
    lines += [f"  {name:15} {row.words}" for name, row in NODE_SETS.items()]
    lines += ["", "Matched controls, run by themselves:"]
    lines += [f"  {name:11} {row.words}" for name, row in CONTROLS.items()]
    return "\n\b\n" + "\n".join(lines)


def register(app: typer.Typer) -> None:
    """Add the commands to a command group."""
    app.command("directions")(fit_directions)
    doc = run_interventions.__doc__ or ""
    app.command("intervene", help=f"{doc}\n\n{help_text()}")(run_interventions)
    app.command("verdict")(make_verdict)


# --- private --------------------------------------------------------------------------------------------------------


def _check_names(folder: Path, compare: list[Path] | None) -> None:
    names = [path.resolve().name for path in (folder, *(compare or ()))]
    if len(set(names)) < len(names):
        raise InputError(f"--compare: checkpoints are told apart by their folders' names, and {names} has one twice")


def _problems(data: Path, n: int | None) -> list[ProsQAProblem]:
    problems = load_problems(data)
    return problems if n is None else problems[:n]


def _controls(text: str) -> tuple[str, ...]:
    if text in ("all", "none"):
        return tuple(CONTROLS) if text == "all" else ()
    names = tuple(text.split(","))
    for name in names:
        if name not in CONTROLS:
            raise InputError(f"control {name!r} is unknown; known are all, none, {', '.join(CONTROLS)}")
    return tuple(name for name in CONTROLS if name in names)


def _model(folder: Path, device: str, untrained: bool, seed: int) -> CoconutGPT2:
    where = checkpoint.pick_device(device)
    if untrained:
        model = checkpoint.untrained(checkpoint.load_config(folder), seed=seed)
        torch.nn.Module.to(model, where)
        return model
    return checkpoint.load(folder, device=where)


def _fitted(model: CoconutGPT2, folder: Path, path: Path | None) -> Directions:
    fitted = directions_module.load(path or folder / FILE_NAME)
    fitted.check_fits(model)
    return fitted


def _directions(model: CoconutGPT2, folder: Path, path: Path | None, scenes: list[EditPlan]) -> Directions | None:
    """The fitted directions; None where no edit needs them and none are there."""
    needed = any(scene.needs for scene in scenes)
    if path is None and not needed and not (folder / FILE_NAME).exists():
        return None
    return _fitted(model, folder, path)


def _batches(what: str, rows: Iterable[range]) -> Iterable[range]:
    return progress(rows, what=what, unit="batch")


def _advance(bar: tqdm, done: int, total: int) -> None:
    bar.update(done - bar.n)


def _print_summaries(summaries: list[EffectSummary]) -> None:
    width = max(len(summary.edit) for summary in summaries)
    print(f"{'edit':{width}} {'control':11} {'n':>6}  {'answers the other candidate':28} {'neither':22}")
    for summary in summaries:
        if summary.edit != CLEAN or not summary.control:
            print(
                f"{summary.edit:{width}} {summary.control:11} {summary.n:6}  {percent(summary.follows):28} "
                f"{percent(summary.neither):22}"
            )
