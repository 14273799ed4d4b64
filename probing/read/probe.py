"""Probe one problem: think over R prompt samples, score every state, set every metric beside its controls."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch

from model.checkpoint import fingerprint
from model.coconut import CoconutGPT2, ThoughtTrace, zero_thoughts
from model.codec import Prompt
from model.errors import InputError
from model.flags import from_prompt, unmixed
from model.metrics import METRICS, N_SHUFFLES, Bools, problem_groups
from model.problems.audit import pick
from model.problems.prosqa import ProsQAProblem
from model.readout import NodeLogProbs, forced_answers, generated_answers, node_log_probs
from model.stats import Estimate, Floats, mean, means, sure
from probing.read.report import Answer, ModelInfo, ProbeReport, Problem, band
from probing.read.scores import depth_metrics, shuffled
from probing.read.scores import metrics as metrics_of

MAX_SAMPLES = 256


def probe(
    model: CoconutGPT2,
    problem: ProsQAProblem,
    *,
    n_samples: int = 16,
    seed: int = 0,
    n_thoughts: int | None = None,
    pad: bool = True,
    control: CoconutGPT2 | None = None,
    name: str = "model",
) -> ProbeReport:
    """Everything Explore shows of one problem.

    ``n_samples`` prompt samples (node keys, edge order, candidate order) give each value its interval.
    ``control`` is an untrained model of the same config, measured on the same prompts; the shuffled-label control
    and the depth reader, which knows neither question nor model, are always there. ``pad`` pads a graph smaller than
    any in training with distractor facts (``Codec.prompt``), without which such graphs are answered at chance. Raises
    InputError if the problem does not fit the model or an option is out of range.
    """
    if not 1 <= n_samples <= MAX_SAMPLES:
        raise InputError(f"prompt samples must be from 1 to {MAX_SAMPLES}, got {n_samples}")
    n_thoughts = model.config.thoughts_for(problem) if n_thoughts is None else n_thoughts
    codec = model.codec
    answer = list(codec.special).index(codec.answer_mark)
    model.config.check_fits(problem, n_thoughts)
    size = model.config.padding_for(problem) if pad else None
    prompts = codec.prompts(problem, n_samples, seed=seed, pad_to=size)
    node_groups = problem_groups(problem, n_thoughts)

    def run(thinker: CoconutGPT2) -> tuple[ThoughtTrace, NodeLogProbs]:
        batch = codec.collate(prompts).to(thinker.device)
        trace = thinker.think(batch, n_thoughts)
        return trace, node_log_probs(thinker, trace, prompts)

    with torch.inference_mode():
        trace, scores = run(model)
        metrics = {
            "model": _estimates(metrics_of(scores, node_groups, answer=answer)),
            "shuffled": _estimates(_shuffled_metrics(scores, node_groups, answer, seed)),
            "depth_reader": _estimates(depth_metrics(problem, n_thoughts)),
        }
        if control is not None:
            metrics["untrained"] = _estimates(metrics_of(run(control)[1], node_groups, answer=answer))
        answers, chains = _answers(model, trace, prompts)
        sight = _sight_of_prompt(model, trace, prompts, scores)
    return ProbeReport(
        problem_row=Problem.model_validate(problem.to_row()),
        model=describe(model, name=name),
        n_samples=n_samples,
        seed=seed,
        n_thoughts=n_thoughts,
        n_distractors=prompts[0].n_distractors,
        warnings=(*warnings(model, problem, n_thoughts, padded=size is not None), *sight),
        probability=band(scores.probability, (0, 1)),
        normalised=band(scores.normalised, (0, 1)),
        logit=band(scores.logit),
        cosine=band(scores.cosine, (-1, 1)),
        marker=band(scores.special, (0, 1)),
        marker_names=tuple(codec.special),
        answer_mark=codec.answer_mark,
        other=tuple(scores.other.mean(axis=0).tolist()),
        metrics=metrics,
        base_rate=tuple(node_groups["frontier"].mean(axis=1).tolist()),
        answers=answers,
        chains=chains,
        shortcut_baseline=shortcut_baseline(problem),
    )


def describe(model: CoconutGPT2, *, name: str) -> ModelInfo:
    """Which model this is, down to its weights."""
    config = model.config
    return ModelInfo(
        name=name,
        method=config.method,
        n_layer=config.n_layer,
        n_embd=config.n_embd,
        n_thoughts=config.n_thoughts,
        uniform_prob=config.uniform_prob,
        fingerprint=fingerprint(model),
        precision=model.precision,
    )


def warnings(model: CoconutGPT2, problem: ProsQAProblem, n_thoughts: int, *, padded: bool) -> tuple[str, ...]:
    """What makes this problem, or this read-out, unlike what the model was trained for; one sentence each."""
    config, found = model.config, []
    trained_hops = config.trained_hops[1] if config.trained_hops else config.trained_stage
    if problem.n_hops > trained_hops:
        found.append(
            f"The target is {problem.n_hops} hops away; this model was trained for at most {trained_hops}. "
            "It still runs, out of its training range."
        )
    for what, n, trained in (
        ("nodes", problem.n_nodes, config.trained_nodes),
        ("edges", len(problem.edges), config.trained_edges),
    ):
        if trained and n > trained[-1]:
            found.append(f"The graph has {n} {what}; this model was trained on at most {trained[-1]}.")
        elif trained and n < trained[0] and not padded:
            found.append(
                f"The graph has {n} {what}; this model was trained on at least {trained[0]} and may guess here."
            )
    if n_thoughts > config.n_thoughts:
        found.append(f"{n_thoughts} thoughts asked for; this model was trained with {config.n_thoughts}.")
    mixing = unmixed(config, n_thoughts)
    return (*found, mixing) if mixing else tuple(found)


def shortcut_baseline(problem: ProsQAProblem) -> Literal["target", "neg_target", "tie"]:
    """What the shortcut baseline answers, which never looks at the root: the candidate of deeper backward BFS."""
    picked = pick(problem, "deeper_backward")
    return "tie" if picked is None else "target" if picked == problem.target else "neg_target"


def _sight_of_prompt(
    model: CoconutGPT2, trace: ThoughtTrace, prompts: tuple[Prompt, ...], scores: NodeLogProbs
) -> tuple[str, ...]:
    """Where nodes are read behind the thoughts, the prompt is in sight: the reading with thoughts zeroed tells, in the
    first prompt sample."""
    if not model.codec.lag or not trace.n_thoughts:
        return ()
    first = trace.select(torch.tensor([0], device=trace.states.device))
    idle = model.think(first.upto(0), trace.n_thoughts, edit=zero_thoughts)
    without = node_log_probs(model, idle, prompts[:1]).normalised[0]
    apart = np.abs(scores.normalised[0] - without)[:-1].sum(axis=-1).mean() / 2  # the last row is the answer
    found = from_prompt(float(apart))
    return (found,) if found else ()


def _estimates(metrics: dict[str, Floats]) -> dict[str, tuple[Estimate | None, ...]]:
    return {name: means(values, within=METRICS[name].bounds) for name, values in metrics.items()}


def _shuffled_metrics(scores: NodeLogProbs, node_groups: dict[str, Bools], answer: int, seed: int) -> dict[str, Floats]:
    found = metrics_of(shuffled(scores, range(seed * N_SHUFFLES, (seed + 1) * N_SHUFFLES)), node_groups, answer=answer)
    return {name: values.reshape(N_SHUFFLES, *scores.norm[:, :-1].shape).mean(axis=0) for name, values in found.items()}


def _answers(
    model: CoconutGPT2, trace: ThoughtTrace, prompts: tuple[Prompt, ...]
) -> tuple[tuple[Answer, ...], tuple[tuple[int, ...], ...]]:
    forced, generated = forced_answers(model, trace, prompts), generated_answers(model, trace, prompts)
    problem = prompts[0].problem
    found = []
    for k in range(trace.n_thoughts + 1):
        p_target, p_other = (sure(mean(p[:, k], within=(0, 1))) for p in (forced.p_target, forced.p_other))
        given = np.array([row[k].answer for row in generated])
        found.append(
            Answer(
                k=k,
                p_target=p_target,
                p_neg_target=p_other,
                written_target=float((given == problem.target).mean()),
                written_neg_target=float((given == problem.neg_target).mean()),
            )
        )
    return tuple(found), tuple(row[0].path for row in generated)
