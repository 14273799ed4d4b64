"""``python -m model``: make problems, train, evaluate."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from model.cli import Data, Device, Pad, Precision, Samples, bars, make_app, progress, row_of, run, say
from model.errors import InputError, check_known
from model.files import atomic_path, write_json, write_text

if TYPE_CHECKING:
    from model.stats import Estimate

app = make_app("Make ProsQA problems, train Coconut GPT-2 models and evaluate them.")


@app.command()
def generate(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="ProsQA JSON file to write.")],
    kind: Annotated[
        str,
        typer.Option(
            help="balanced (shortcut baselines at chance), public (as the public file, shortcut and all), hard "
            "(rules that look at the root and follow no path at chance too; at least 5 hops, 24 nodes), prontoqa (as "
            "the public files) or prontoqa-balanced."
        ),
    ] = "balanced",
    n: Annotated[int, typer.Option(help="How many problems.")] = 1000,
    seed: Annotated[int, typer.Option(help="Same seed, same bytes.")] = 0,
    hops: Annotated[
        str | None, typer.Option(help="Hops from the root to the target: a number or a range; 3-6, ProntoQA: 5.")
    ] = None,
    nodes: Annotated[str, typer.Option(help="Nodes of a graph: a number or a range.")] = "14-28",
    in_degree: Annotated[float, typer.Option(help="Mean in-degree drawn: density.")] = 1.5,
    deep_share: Annotated[
        float, typer.Option(help="balanced: probability that a graph must offer more than the fewest hops.")
    ] = 0.75,
    depth_gap: Annotated[
        str, typer.Option(help="balanced: how far the candidates' depths may lie apart, a number or a range.")
    ] = "0",
    processes: Annotated[int | None, typer.Option(help="Processes; changes nothing but the time.")] = None,
) -> None:
    """Generate ProsQA or ProntoQA problems."""
    from model.formats.graph import problem_parts
    from model.problems import prontoqa
    from model.problems.generate import KINDS
    from model.problems.generate import generate as problems

    check_known("kind", kind, (*KINDS, *prontoqa.KINDS))
    if kind in prontoqa.KINDS:
        for option in ("nodes", "in_degree", "deep_share", "depth_gap"):
            source = context.get_parameter_source(option)
            if source is not None and source.name != "DEFAULT":
                raise InputError(f"--{option.replace('_', '-')}: not of {kind}, whose graphs are as large as they are")
        few, most = _range(hops or "5", "hops")
        if few != most:
            raise InputError(f"--hops {hops}: ProntoQA's problems of a file have one number of hops")
        made = prontoqa.generate(kind, n, seed, hops=few)
    else:
        made = problems(
            kind,  # type: ignore[arg-type]  # checked by the call
            n,
            seed,
            hops=_range(hops or "3-6", "hops"),
            nodes=_range(nodes, "nodes"),
            in_degree=in_degree,
            deep_share=deep_share,
            depth_gap=_range(depth_gap, "depth-gap"),
            processes=min(os.cpu_count() or 1, 1 + n // 2000) if processes is None else processes,
        )
    with atomic_path(out) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(problem_parts(progress(made, total=n, what="generate")))


@app.command()
def audit(
    data: Data,
    out: Annotated[Path | None, typer.Option(help="JSON file to write as well.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the fitted rule.")] = 0,
) -> None:
    """How often rules that never look at the queried entity, or follow no path, are right; chance is one half."""
    from model.formats.graph import load_problems
    from model.problems.audit import ROOT_AWARE, RULES, describe, fitted
    from model.problems.audit import audit as score
    from model.stats import Estimate

    problems = load_problems(data)
    scores = score(progress(problems, what="audit"), [*RULES, *ROOT_AWARE])
    if len(problems) >= 200:
        scores["fitted"] = fitted(problems, seed=seed)
    facts = asdict(describe(problems))
    if out is not None:
        write_json(
            out, {"data": data.name, "rules": {name: each.to_dict() for name, each in scores.items()}, "facts": facts}
        )
    typer.echo(f"{'rule':<18}{'accuracy [95 %]':>26}{'wins':>8}{'ties':>8}{'losses':>8}{'n':>8}")
    for name, each in scores.items():
        if name == next(iter(ROOT_AWARE)):
            typer.echo("rules that look at the root and follow no path:")
        typer.echo(f"{name:<18}{each.accuracy.text():>26}{each.wins:>8}{each.ties:>8}{each.losses:>8}{each.n:>8}")
    typer.echo("")

    def shown(value: object) -> str:
        if isinstance(value, float):
            return Estimate(value=value, n=len(problems)).text()
        if isinstance(value, dict):
            return ", ".join(f"{key}: {count}" for key, count in value.items())
        return ", ".join(map(shown, value)) if isinstance(value, tuple) else str(value)

    for name, value in facts.items():
        typer.echo(f"{name:<18} {shown(value)}")


@app.command()
def evaluate(
    data: Annotated[Path, typer.Option(help="ProsQA JSON file, or questions in words.")],
    out: Annotated[Path, typer.Option(help="JSON file to write.")],
    checkpoint: Annotated[Path | None, typer.Option(help="Checkpoint folder; default: the shipped one.")] = None,
    thoughts: Annotated[
        str | None,
        typer.Option(
            help="A number or a range; or hops, hops+1 ...: as many as the target is hops away. "
            "Default: 0 to as trained."
        ),
    ] = None,
    trained_size: Annotated[
        bool, typer.Option("--trained-size", help="Leave out graphs with more nodes or edges than any in training.")
    ] = False,
    batch_size: Annotated[int, typer.Option(help="Prompts per forward pass; changes nothing but the time.")] = 16,
    samples: Samples = 1,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the prompt samples.")] = 0,
    pad: Pad = False,
    device: Device = "auto",
    precision: Precision = "float32",
) -> None:
    """Accuracy after k thoughts, free and forced, with intervals, by hops, beside the shortcut baselines."""
    from model import checkpoint as checkpoints
    from model.evaluate import after_hops, summary
    from model.evaluate import evaluate as run_evaluation
    from model.formats.graph import load_problems
    from model.problems.audit import audit as score
    from model.problems.texts import in_words

    if in_words(data):
        _evaluate_texts(data, out, checkpoint, thoughts, batch_size, device, precision)
        return
    problems = load_problems(data)
    folder = checkpoint or checkpoints.DEFAULT_CHECKPOINT
    model = checkpoints.open(folder, device=device, precision=precision)
    if thoughts is None and model.config.thoughts_by == "hops":
        thoughts = "hops"
    n_given = len(problems)
    if trained_size:
        problems = [problem for problem in problems if model.config.trained_on(problem)]
        if not problems:
            raise InputError(f"{data}: no problem is as small as those of training; leave --trained-size out")
    more = None if thoughts is None else after_hops(thoughts)
    first, last = (0, model.config.n_thoughts) if thoughts is None or more is not None else _range(thoughts, "thoughts")
    if more is not None:
        last = max(problem.n_hops for problem in problems) + more
    with bars("prompt") as told:
        result = run_evaluation(
            model, problems, n_thoughts=last, n_samples=samples, seed=seed, pad=pad, batch_size=batch_size,
            progress=told,
        )  # fmt: skip
    baselines = score(problems)
    if more is not None:
        result, first, last = result.after_hops(more), 0, 0
    values = summary(result, range(first, last + 1)) | {
        "thoughts": thoughts or f"{first}-{last}",
        "left_out": n_given - len(problems),
        "padded": sum(pad and model.config.padding_for(problem) is not None for problem in problems),
        "baselines": {name: rule.to_dict() for name, rule in baselines.items()},
        "data": data.name,
        "checkpoint": folder.resolve().name,
        "method": model.config.method,
        "precision": model.precision,
        "samples": samples,
        "seed": seed,
        "pad": pad,
    }
    write_json(out, values)
    by_hops, ks = values["by_hops"], [thoughts] if more is not None else list(map(str, range(first, last + 1)))
    rows = []
    for forced, what in ((False, ""), (True, ", forced")):
        tables = [table["forced"] if forced else table for table in by_hops.values()]
        for k, label, found in zip(values["accuracy"], ks, result.accuracy(forced=forced)[first:], strict=True):
            rows.append((f"{label}{what}", found, [table["accuracy"][k] for table in tables]))
    _print_accuracy(values["n"], by_hops, "hops", rows)
    for count, what in ((values["left_out"], "left out: larger than any in training"), (values["padded"], "padded")):
        if count:
            typer.echo(f"{count:,} of {n_given:,} problems {what}")
    typer.echo(f"forward passes in {model.precision}")
    typer.echo("shortcut baselines, which never look at the queried entity:")
    for name, rule in baselines.items():
        typer.echo(f"{name:<18}{rule.accuracy.text():>26}")


def _evaluate_texts(
    data: Path,
    out: Path,
    checkpoint: Path | None,
    thoughts: str | None,
    batch_size: int,
    device: str,
    precision: Precision,
) -> None:
    """Questions without a graph: no shortcut baseline is known for them; the control is thoughts fed as zeros."""
    from model import checkpoint as checkpoints
    from model.evaluate import evaluate_texts
    from model.problems.texts import WITHOUT_GRAPH, load_texts

    problems = load_texts(data)
    folder = checkpoint or checkpoints.DEFAULT_CHECKPOINT
    model = checkpoints.open(folder, device=device, precision=precision)
    if thoughts is not None and thoughts.startswith("hops"):
        raise InputError(f"--thoughts {thoughts}: questions without a graph have no hops; give a number or a range")
    first, last = (0, model.config.n_thoughts) if thoughts is None else _range(thoughts, "thoughts")
    with bars("question") as told:
        result = evaluate_texts(model, problems, n_thoughts=last, batch_size=batch_size, progress=told)
    values = result.summary() | {
        "data": data.name,
        "checkpoint": folder.resolve().name,
        "method": model.config.method,
        "precision": model.precision,
        "task": model.config.task,
        "said": [list(each) for each in result.said],
    }
    write_json(out, values)
    by_steps, (*by_k, zeroed) = values["by_steps"], result.accuracy()
    rows = [(str(k), found, [table["accuracy"][str(k)] for table in by_steps.values()]) for k, found in enumerate(by_k)]
    controls = [table["thoughts_zeroed"]["value"] for table in by_steps.values()]
    _print_accuracy(values["n"], by_steps, "steps", [*rows[first:], (f"{last}, all zeroed", zeroed, controls)])
    if values["stepless"]:
        typer.echo(f"{values['stepless']:,} of {values['n']:,} problems have no steps, only an answer")
    typer.echo(f"forward passes in {model.precision}")
    typer.echo(f"no graph is known of these questions: {WITHOUT_GRAPH}")


def _print_accuracy(n: int, groups: dict[str, Any], unit: str, rows: list[tuple[str, Estimate, list[float]]]) -> None:
    """A line per number of thoughts: accuracy, and that of each group of problems; then how many there are."""
    typer.echo(f"{'thoughts k':<18}{'accuracy [95 %]':>26}" + "".join(f"{f'{name} {unit}':>9}" for name in groups))
    for label, found, cells in rows:
        typer.echo(f"{label:<18}{found.text():>26}" + "".join(f"{cell:>9.3f}" for cell in cells))
    typer.echo(f"{'n':<18}{n:>9}{'':>17}" + "".join(f"{group['n']:>9}" for group in groups.values()))


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(metavar="IN", help="A graph or problem in any format.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="File to write; its ending says the format.")],
    root: Annotated[str | None, typer.Option(help="Name of the queried entity.")] = None,
    candidates: Annotated[tuple[str, str] | None, typer.Option(help="Names of the two candidates.")] = None,
    row: Annotated[int | None, typer.Option(help="Which row of a ProsQA file, from 0.")] = None,
    from_: Annotated[str, typer.Option("--from", help="Format of IN.")] = "auto",
    to: Annotated[str | None, typer.Option("--to", help="Format of OUT: prosqa, node-link, graphml or edges.")] = None,
) -> None:
    """Convert a graph or a problem between formats."""
    from model.formats.graph import Graph, load_graph, load_problems, write_graph

    endings = {".json": "prosqa", ".graphml": "graphml", ".xml": "graphml", ".txt": "edges", ".edges": "edges"}
    to = to or endings.get(target.suffix.lower())
    if to is None:
        raise InputError(f"{target}: the ending {target.suffix!r} does not say the format; give --to")
    graph = (
        load_graph(source, from_)  # type: ignore[arg-type]  # checked by the call
        if row is None
        else Graph.of(row_of(load_problems(source), row, source))
    )
    if graph.remark:
        say(f"{source}: {graph.remark}")
    asked = root is not None or candidates is not None or (graph.root is not None and graph.candidates is not None)
    text = write_graph(graph.ask(root, candidates) if asked else graph, to, where=str(source))  # type: ignore[arg-type]
    write_text(target, text)


@app.command()
def train(
    out: Annotated[Path, typer.Option(help="Folder for checkpoints and records.")],
    config: Annotated[Path | None, typer.Argument(help="YAML settings; ready ones are in configs/.")] = None,
    upstream: Annotated[
        Path | None, typer.Option(help="A YAML of the public Coconut code, unchanged, instead of CONFIG.")
    ] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="Change one setting: key=value.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume the run that the folder holds.")] = False,
) -> None:
    """Train a model. On several devices: torchrun --nproc-per-node N -m model train ..."""
    from model.training.config import load_train_config, parse_overrides
    from model.training.run import train_process
    from model.training.upstream import load_upstream

    if upstream is not None and config is None:
        found = load_upstream(upstream, parse_overrides(settings or []))
        for line in found.aside:
            say(f"left aside: {line}")
        chosen = found.config
    elif config is not None and upstream is None:
        chosen = load_train_config(config, settings or [])
    else:
        raise InputError("give either CONFIG, a YAML of this project, or --upstream, one of the public Coconut code")
    with bars(scale=True) as told:
        train_process(chosen, out, resume=resume, progress=told, say=say)


@app.command("import")
def import_(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A file, a folder or a Hub id: org/repo[:file].")],
    out: Annotated[Path, typer.Option(help="Checkpoint folder to write.")],
    yaml: Annotated[Path | None, typer.Option(help="The public code's YAML of the run.")] = None,
    thoughts: Annotated[int | None, typer.Option(help="Thoughts before the answer.")] = None,
    c_thought: Annotated[int | None, typer.Option(help="Thoughts per reasoning step.")] = None,
    task: Annotated[str | None, typer.Option(help="prosqa, prontoqa or gsm.")] = None,
    n_head: Annotated[int | None, typer.Option(help="Attention heads, which no file of weights says.")] = None,
    family: Annotated[
        str | None, typer.Option(help="Where files look alike: cot, no-cot, no-thoughts, multimode.")
    ] = None,
    passes: Annotated[str | None, typer.Option(help="Pause models: single or multi, as they were trained.")] = None,
    uniform_prob: Annotated[float | None, typer.Option(min=0, max=1, help="Mixing of stages in training.")] = None,
    lora_scale: Annotated[float | None, typer.Option(help="CODI of another rank than 128: LoRA's alpha / r.")] = None,
    check: Annotated[bool, typer.Option("--check/--no-check", help="Answer 20 built-in problems.")] = True,
) -> None:
    """Open a checkpoint that others trained: make it a folder that nothing needs to be asked about again."""
    from model.imports.run import import_checkpoint, lines_of
    from model.imports.told import NotToldError, Told

    told = Told(family, thoughts, c_thought, task, n_head, passes, uniform_prob, lora_scale)
    try:
        report = import_checkpoint(source, out, told=told, yaml=yaml, check=check)
    except NotToldError as missing:
        if not sys.stdin.isatty():
            raise
        names = " ".join(missing.names)
        words = typer.prompt(f"{missing}\nOr say it here ({names}, with spaces between)").split()
        if len(words) != len(missing.names):
            raise InputError(f"expected {len(missing.names)} words ({names}), got {len(words)}") from None
        told = Told.of_words(dict(zip(missing.names, words, strict=True))).over(told)
        report = import_checkpoint(source, out, told=told, yaml=yaml, check=check)
    for line in lines_of(report):
        typer.echo(line)


@app.command()
def plot_training(
    run_folder: Annotated[Path, typer.Argument(metavar="DIR", help="Run or checkpoint folder with emergence.json.")],
    out: Annotated[Path, typer.Option(help="File to write: svg, png, pdf, or csv for the numbers.")],
) -> None:
    """Draw how the search appeared during training."""
    from model.training.dynamics import DynamicsRecord
    from probing.draw.of_training import write  # the one look upward: a command

    write(DynamicsRecord.load(run_folder / "emergence.json"), out)


def _range(text: str, what: str) -> tuple[int, int]:
    """``3-6`` or ``4``."""
    few, _, most = text.partition("-")
    try:
        ends = int(few), int(most or few)
    except ValueError:
        more = ", or hops, hops+1" if what == "thoughts" else ""
        raise InputError(f"--{what} {text!r}: expected a number or a range such as 3-6{more}") from None
    if ends[0] > ends[1]:
        raise InputError(f"--{what} {text!r} is an empty range; give the smaller number first")
    return ends


if __name__ == "__main__":
    run(app)
