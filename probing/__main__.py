"""``python -m probing``: probe a problem, draw what was found, test whether it is used."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from model.checkpoint import DEFAULT_CHECKPOINT
from model.cli import make_app, run
from model.errors import InputError
from probing.commands import edits as causal_commands
from probing.commands import plot as plot_command
from probing.commands.dataset import dataset

app = make_app("Open up continuous thoughts: decode, score against the frontier, draw, intervene.")

Checkpoint = Annotated[Path, typer.Option(help="Checkpoint folder.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]


@app.command()
def report(
    out: Annotated[Path, typer.Option(help="Report to write (JSON).")],
    data: Annotated[Path | None, typer.Option(help="ProsQA JSON file; with --row.")] = None,
    row: Annotated[int, typer.Option(help="Row of --data, from 0.")] = 0,
    graph: Annotated[Path | None, typer.Option(help="A graph in any format; with --root and --candidates.")] = None,
    root: Annotated[str | None, typer.Option(help="Name of the entity asked about.")] = None,
    candidates: Annotated[tuple[str, str] | None, typer.Option(help="Names of the two candidates.")] = None,
    checkpoint: Checkpoint = DEFAULT_CHECKPOINT,
    draws: Annotated[int, typer.Option(help="Draws of the prompt (slots, edge order, candidate order).")] = 16,
    seed: Annotated[int, typer.Option(help="Seed of the draws and the shuffled control.")] = 0,
    thoughts: Annotated[int | None, typer.Option(help="Thoughts to have; default: as trained.")] = None,
    fill: Annotated[bool, typer.Option(help="Fill small graphs up with unrelated facts.")] = True,
    untrained: Annotated[bool, typer.Option(help="Also measure an untrained model of the same config.")] = True,
    device: Device = "auto",
) -> None:
    """Probe one problem: what each continuous thought holds, beside its controls."""
    from model import checkpoint as checkpoints
    from model.formats.graph import load_graph, load_problems
    from probing.read.probe import probe

    if (data is None) == (graph is None):
        raise InputError("give either --data FILE --row I or --graph FILE --root R --candidates A B")
    if data is not None:
        problems = load_problems(data)
        if not 0 <= row < len(problems):
            raise InputError(f"{data}: --row {row} is out of range; rows are 0 to {len(problems) - 1}")
        problem = problems[row]
    else:
        assert graph is not None
        problem = load_graph(graph).ask(root, candidates)
    model = checkpoints.load(checkpoint, device=checkpoints.pick_device(device))
    control = checkpoints.untrained(model.config).to(model.device) if untrained else None  # type: ignore[arg-type]
    result = probe(
        model,
        problem,
        n_draws=draws,
        seed=seed,
        n_thoughts=thoughts,
        fill=fill,
        control=control,
        name=checkpoint.resolve().name,
    )
    result.save(out)
    for warning in result.warnings:
        typer.echo(f"warning: {warning}", err=True)
    last, metrics = result.answers[-1], result.metrics
    names = problem.idx_to_symbol
    typer.echo(f"{problem.question_sentence((problem.target, problem.neg_target))} Right: {names[problem.target]}.")
    typer.echo(
        f"After {last.k} thoughts the model answers {names[problem.target]} with probability {last.p_target.mean:.3f} "
        f"and {names[problem.neg_target]} with {last.p_neg_target.mean:.3f} (n = {draws} draws); "
        f"the root-blind rule says {result.blind_rule}."
    )
    typer.echo(f"{'thought':<9}{'frontier':>9}{'mass':>8}{'shuffled':>10}{'AUROC':>8}{'shuffled':>10}")
    for t in range(1, result.n_thoughts + 1):
        cells = [
            metrics[source][name][t - 1] for name in ("mass_frontier", "auroc_all") for source in ("model", "shuffled")
        ]
        shown = ["-" if cell is None else f"{cell.mean:.3f}" for cell in cells]
        size = len(problem.frontier(t))
        typer.echo(f"{t:<9}{size:>9}{shown[0]:>8}{shown[1]:>10}{shown[2]:>8}{shown[3]:>10}")


app.command()(dataset)
causal_commands.register(app)
plot_command.register(app)

if __name__ == "__main__":
    run(app)
