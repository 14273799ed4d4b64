"""Metrics of what the states of one problem's prompt samples say about its nodes (``model.readout``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields

import numpy as np

from model.metrics import METRICS, Bools, depth_reader, frontier_metrics, problem_groups
from model.metrics import shuffled as shuffled_values
from model.problems.prosqa import ProsQAProblem
from model.readout import NodeLogProbs
from model.stats import Floats


def metrics(scores: NodeLogProbs, groups: Mapping[str, Bools], *, answer: int) -> dict[str, Floats]:
    """Every metric of METRICS for thoughts 1..K, ``R K`` each; the groups are ``problem_groups``.

    ``answer`` is the column of ``scores.special`` that begins an answer.
    """
    n_thoughts = len(groups["frontier"])
    found = frontier_metrics(scores.probability[:, :n_thoughts], scores.logit[:, :n_thoughts], groups)
    found["mass_answer"] = scores.special[:, :n_thoughts, answer]
    found["mass_other"] = scores.left_over[:, :n_thoughts] - found["mass_answer"]
    found["norm"] = scores.norm[:, :n_thoughts]
    return {name: found[name] for name in METRICS}


def depth_metrics(problem: ProsQAProblem, n_thoughts: int) -> dict[str, Floats]:
    """What the depth reader (``model.metrics.depth_reader``) reaches, ``1 K`` each: no logits, no norm, no marker."""
    reader = depth_reader(problem, n_thoughts)
    found = frontier_metrics(
        reader / np.maximum(reader.sum(axis=-1, keepdims=True), 1), reader, problem_groups(problem, n_thoughts)
    )
    without = np.full((1, n_thoughts), np.nan)
    told = {name for name, about in METRICS.items() if about.unit != "logit" and name in found}
    return {name: found[name][None] if name in told else without for name in METRICS}


def shuffled(scores: NodeLogProbs, seeds: Sequence[int]) -> NodeLogProbs:
    """The same scores once for each seed, one below the other, with the node labels permuted at random, anew for every
    prompt sample and state."""
    found = {field.name: np.concatenate([getattr(scores, field.name)] * len(seeds)) for field in fields(scores)}
    for name in ("nodes", "probability", "logit", "cosine"):
        values: Floats = getattr(scores, name)
        found[name] = np.concatenate([shuffled_values(values, None, np.random.default_rng(seed)) for seed in seeds])
    return NodeLogProbs(**found)
