"""Importing a checkpoint: convert it, measure what can be held against it, write an ordinary folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from model import checkpoint
from model.coconut import CoconutConfig, CoconutGPT2, Edit, zero_thoughts
from model.errors import OutputError, ProblemTooLargeError
from model.files import atomic_folder, check_over, write_json
from model.flags import idle, norms, off_norm, unmixed
from model.imports.families import Converted, convert
from model.imports.source import Source, read
from model.imports.start import NEW_ROWS_COPY
from model.imports.told import Told, of_yaml
from model.problems.generate import generate
from model.problems.prosqa import ProsQAProblem
from model.stats import Estimate, share

REPORT = "import.json"
N_CHECK = 20


def import_checkpoint(
    source: str | Path, out: str | Path, *, told: Told | None = None, yaml: Path | None = None, check: bool = True
) -> dict[str, Any]:
    """Make SOURCE an ordinary checkpoint folder at ``out`` and return the import report, which the folder holds too.

    ``told`` goes before the YAML. ``check`` answers built-in problems (20 balanced ones of 3 or 4 hops) in three
    regimes. Raises CheckpointError for what cannot be opened, NotToldError naming options for what nobody said,
    OutputError if it cannot be written or would take the place of anything but a checkpoint: nothing is changed then.
    """
    if Path(out).exists() and Path(out).resolve() == Path(source).resolve():
        raise OutputError(f"{out}: is what is to be imported; name another folder")
    check_over(out, over := (*checkpoint.FILES, REPORT))
    found = read(source)
    answers = told or Told()
    if yaml is not None:
        answers = answers.over(of_yaml(yaml, found.epoch))
    made = convert(found, answers)
    report = report_of(found, made, check=check)
    with atomic_folder(out, over=over) as folder:
        checkpoint.write_files(made.model, folder, card=_card(report))
        write_json(folder / REPORT, report)
    return report


def report_of(source: Source, made: Converted, *, check: bool = True) -> dict[str, Any]:
    """What was done to a file, and what can be held against it."""
    model, config = made.model, made.model.config
    embedding = model.transformer.wte.weight.detach()
    problems = list(generate("balanced", N_CHECK, 0, hops=(3, 4), nodes=(14, 22)))
    report: dict[str, Any] = {
        "source": source.name,
        "family": made.family,
        "fingerprint": checkpoint.fingerprint(model),
        "n_layer": config.n_layer, "n_head": config.n_head, "n_embd": config.n_embd, "vocab_size": config.vocab_size,
        "n_thoughts": config.n_thoughts, "thoughts_by": config.thoughts_by, "c_thought": config.c_thought,
        "task": config.task, "method": config.method, "feed_map": config.feed_map, "uniform_prob": config.uniform_prob,
        "renamed": made.renamed,
        "dropped": made.dropped,
        "equal_copies_of_the_embedding": list(made.copies),
        "new_rows_equal": _new_rows(model),
        "embedding_norm": float(embedding.norm(dim=1).mean()),
        "thought_norm": None,
        "accuracy": None,
        "notes": list(made.notes),
    }  # fmt: skip
    fitting = _fitting(model, problems)
    if not check:
        report["notes"].append("Thought norm and accuracy were not measured (--no-check).")
    elif len(fitting) < len(problems):
        report["notes"].append(
            f"Thought norm, accuracy: not measured, the built-in problems do not fit {config.n_positions} positions."
        )
    elif config.task != "prosqa":
        report["notes"].append(
            f"Accuracy was not measured: the built-in problems are ProsQA, the task is {config.task}."
        )
        report["thought_norm"] = _thought_norm(model, problems)
    else:
        report["thought_norm"] = _thought_norm(model, problems)
        report["accuracy"] = {name: each.model_dump(mode="json") for name, each in accuracy(model, problems).items()}
        report["notes"] += flags(report, config)
    return report


def _fitting(model: CoconutGPT2, problems: list[ProsQAProblem]) -> list[ProsQAProblem]:
    found = []
    for problem in problems:
        n_thoughts = model.config.thoughts_for(problem)
        try:
            model.config.check_fits(problem, n_thoughts, generates=True)
        except ProblemTooLargeError:
            continue
        found.append(problem)
    return found


def flags(report: dict[str, Any], config: CoconutConfig) -> list[str]:
    """What the measured numbers say of a model; one sentence each."""
    found: list[str | None] = []
    shares = {name: each["value"] for name, each in (report["accuracy"] or {}).items()}
    if max(shares.values(), default=1) <= 0.5:
        found.append("The model does not answer the built-in problems: nothing follows about its thoughts.")
    elif "thoughts" in shares:
        found.append(idle(shares["thoughts"], shares["thoughts zeroed"], within=0.5 / N_CHECK))
    norm = report["thought_norm"]
    found.append(off_norm(None if norm is None else (norm, report["embedding_norm"])))
    found.append(unmixed(config, report["n_thoughts"]))
    return [sentence for sentence in found if sentence]


@torch.inference_mode()
def accuracy(model: CoconutGPT2, problems: list[ProsQAProblem]) -> dict[str, Estimate]:
    """Share of free answers that are the target, by regime: with thoughts, with markers only, with thoughts zeroed."""
    regimes: dict[str, tuple[bool, Edit | None]] = {"no thoughts": (False, None)}
    if model.config.n_thoughts:
        regimes = {"thoughts": (True, None), "markers only": (False, None), "thoughts zeroed": (True, zero_thoughts)}
    codec, right = model.codec, {name: list[bool]() for name in regimes}
    for n_thoughts in sorted({model.config.thoughts_for(problem) for problem in problems}):
        asked = [problem for problem in problems if model.config.thoughts_for(problem) == n_thoughts]
        prompts = [codec.prompt(problem, np.random.default_rng(0)) for problem in asked]
        read_once = model.think(codec.collate(prompts), 0)
        longest = max(codec.longest_generation(problem) for problem in asked)
        for name, (thinks, edit) in regimes.items():
            trace = model.think(read_once, n_thoughts if thinks else 0, edit=edit)
            written = model.write(trace, longest, stop=codec.has_ended, first=codec.after).tolist()
            said = [codec.parse(text, prompt).answer for text, prompt in zip(written, prompts, strict=True)]
            right[name] += [answer == problem.target for answer, problem in zip(said, asked, strict=True)]
    return {name: estimate for name, flags in right.items() if (estimate := share(flags)) is not None}


@torch.inference_mode()
def _thought_norm(model: CoconutGPT2, problems: list[ProsQAProblem]) -> float | None:
    codec = model.codec
    prompts = [codec.prompt(problem, np.random.default_rng(0)) for problem in problems]
    found = norms(model, model.think(codec.collate(prompts), model.config.n_thoughts))
    return None if found is None else found[0]


def _new_rows(model: CoconutGPT2) -> bool | None:
    """Whether the rows after GPT-2's are copies of the row of "<<", as at the start of training; None without such."""
    vocabulary, rows = model.codec.vocabulary, model.transformer.wte.weight.detach()
    if vocabulary is None or len(rows) <= vocabulary.end + 1:
        return None
    (copied,) = vocabulary.ids(NEW_ROWS_COPY)
    return bool((rows[vocabulary.end + 1 :] == rows[copied]).all())


def _card(report: dict[str, Any]) -> str:
    lines = [f"# {report['source']}", "", f"Imported; family: {report['family']}, task: {report['task']}.", ""]
    return "\n".join([*lines, *lines_of(report)]) + "\n"


def lines_of(report: dict[str, Any]) -> list[str]:
    """The report in lines for people."""
    thoughts = "as many as hops" if report["thoughts_by"] == "hops" else str(report["n_thoughts"])
    found = [
        f"{report['family']}: {report['n_layer']} layers x {report['n_embd']}, {report['n_head']} heads, "
        f"{report['vocab_size']:,} tokens, thoughts: {thoughts} (c = {report['c_thought']}), task {report['task']}",
        f"{len(report['renamed'])} keys renamed, {len(report['dropped'])} dropped; equal copies of the embedding: "
        + (", ".join(report["equal_copies_of_the_embedding"]) or "none in the file"),
    ]
    if report["new_rows_equal"] is not None:
        found.append(f"new rows equal to {NEW_ROWS_COPY!r}: {'yes' if report['new_rows_equal'] else 'no'}")
    if report["thought_norm"] is not None:
        found.append(f"norm of a thought {report['thought_norm']:.3g}, of an embedding {report['embedding_norm']:.3g}")
    for name, each in (report["accuracy"] or {}).items():
        found.append(f"accuracy on {N_CHECK} built-in problems, {name}: {Estimate(**each).text()}")
    return found + report["notes"]
