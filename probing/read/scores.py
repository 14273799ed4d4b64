"""Metrics of what the states of one problem's prompt samples say about its nodes (``model.readout``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from model.metrics import METRICS, Bools, frontier_metrics
from model.metrics import shuffled as shuffled_values
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


def shuffled(scores: NodeLogProbs, *, seed: int) -> NodeLogProbs:
    """The same scores with the node labels permuted at random, anew for every prompt sample and state."""

    def permuted(values: Floats) -> Floats:
        return shuffled_values(values, None, np.random.default_rng(seed))

    fields = ("nodes", "probability", "logit", "cosine")
    return replace(scores, **{field: permuted(getattr(scores, field)) for field in fields})
