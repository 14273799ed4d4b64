"""The command ``report``: probe one problem."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from model import checkpoint
from model.cli import Device, Pad, Precision, Samples, row_of, say
from model.errors import InputError
from model.formats.graph import load_graph, load_problems
from model.stats import text
from probing.commands.options import Checkpoint
from probing.draw.of_report import baseline_text
from probing.read.probe import probe


def report(
    out: Annotated[Path, typer.Option(help="Report to write (JSON).")],
    data: Annotated[Path | None, typer.Option(help="ProsQA JSON file; with --row.")] = None,
    row: Annotated[int, typer.Option(help="Row of --data, from 0.")] = 0,
    graph: Annotated[Path | None, typer.Option(help="A graph in any format; with --root and --candidates.")] = None,
    root: Annotated[str | None, typer.Option(help="Name of the queried entity.")] = None,
    candidates: Annotated[tuple[str, str] | None, typer.Option(help="Names of the two candidates.")] = None,
    checkpoint_folder: Checkpoint = checkpoint.DEFAULT_CHECKPOINT,
    samples: Samples = 16,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the prompt samples and the shuffled control.")] = 0,
    thoughts: Annotated[int | None, typer.Option(min=0, help="Thoughts to have; default: as trained.")] = None,
    pad: Pad = True,
    untrained: Annotated[bool, typer.Option(help="Also measure an untrained model of the same config.")] = True,
    device: Device = "auto",
    precision: Precision = "float32",
) -> None:
    """Probe one problem: what each continuous thought holds, beside its controls."""
    if (data is None) == (graph is None):
        raise InputError("give either --data FILE --row I or --graph FILE --root R --candidates A B")
    if data is not None:
        problem = row_of(load_problems(data), row, data)
    else:
        assert graph is not None
        found = load_graph(graph)
        if found.remark:
            say(f"{graph}: {found.remark}")
        problem = found.ask(root, candidates)
    model = checkpoint.open(checkpoint_folder, device=device, precision=precision)
    control = None
    if untrained:
        control = checkpoint.open(checkpoint_folder, device=device, trained=False, precision=model.precision)
    result = probe(
        model, problem, n_samples=samples, seed=seed, n_thoughts=thoughts, pad=pad, control=control,
        name=checkpoint_folder.resolve().name,
    )  # fmt: skip
    result.save(out)
    for warning in result.warnings:
        typer.echo(f"warning: {warning}", err=True)
    last, target, other = result.answers[-1], *(problem.idx_to_symbol[v] for v in (problem.target, problem.neg_target))
    typer.echo(f"{problem.question_sentence((problem.target, problem.neg_target))} Right: {target}.")
    typer.echo(
        f"After {last.k} thoughts the model answers {target} with probability {last.p_target.text(bounds=(0, 1))} and "
        f"{other} with {last.p_neg_target.text(bounds=(0, 1))} (n = {samples} prompt samples). "
        f"{baseline_text(result)}"
    )
    columns = {"mass on the frontier": "mass_frontier", "AUROC (all, logit lens)": "auroc_all"}
    heads = "".join(f"{head:<25}{'shuffled labels':<22}{'depth reader':<14}" for head in columns)
    typer.echo(f"{'thought':<9}{'frontier':<10}{heads}{'AUROC (other root)'}")
    for t in range(1, result.n_thoughts + 1):
        line = f"{t:<9}{len(problem.frontier(t)):<10}"
        for name in columns.values():
            ours, shuffled, depth = (
                text(result.metrics[source][name][t - 1]) for source in ("model", "shuffled", "depth_reader")
            )
            line += f"{ours:<25}{shuffled:<22}{depth:<14}"
        typer.echo(line + text(result.metrics["model"]["auroc_other_root"][t - 1]))
