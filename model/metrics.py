"""Is a thought the search frontier? Metrics of node scores against exact breadth-first layers.

For thought t (state h_(t-1)) the nodes of a graph fall into three groups: **frontier** (distance t from the root),
**reached** (distance below t, the root included) and **not reached** (beyond t: farther, or unreachable).
**Optimal** nodes are those of the frontier on a shortest path to the target. These are strict breadth-first layers;
the walk-based grouping of the notebook of Zhu et al. 2025 lets groups overlap and is not used here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.problems.prosqa import ProsQAProblem
from model.stats import Floats

Bools = NDArray[np.bool_]
Range = tuple[float | None, float | None]


@dataclass(frozen=True)
class Metric:
    """What a metric is called and what it means; values are ``R K`` arrays, NaN where it is not defined."""

    label: str
    definition: str
    unit: str
    bounds: Range


METRICS: dict[str, Metric] = {
    "mass_frontier": Metric("frontier mass", "probability on the nodes at distance t", "probability", (0, 1)),
    "mass_optimal": Metric("optimal mass", "probability on frontier nodes on a shortest path", "probability", (0, 1)),
    "mass_reached": Metric("reached mass", "probability on nodes nearer than t", "probability", (0, 1)),
    "mass_not_reached": Metric("not-reached mass", "probability on nodes beyond t", "probability", (0, 1)),
    "mass_answer": Metric("answer-marker mass", "probability on [A]", "probability", (0, 1)),
    "mass_other": Metric("other mass", "probability on unused slots and other markers", "probability", (0, 1)),
    "logit_frontier": Metric("frontier logit", "mean logit of the nodes at distance t", "logit", (None, None)),
    "logit_optimal": Metric("optimal logit", "mean logit of frontier nodes on a shortest path", "logit", (None, None)),
    "logit_reached": Metric("reached logit", "mean logit of nodes nearer than t", "logit", (None, None)),
    "logit_not_reached": Metric("not-reached logit", "mean logit of nodes beyond t", "logit", (None, None)),
    "auroc": Metric("AUROC", "chance that a frontier node outscores any other node of the graph", "", (0, 1)),
    "auroc_ahead": Metric("AUROC ahead", "chance that a frontier node outscores a node beyond t", "", (0, 1)),
    "average_precision": Metric("average precision", "frontier against all other nodes, by score", "", (0, 1)),
    "effective_nodes": Metric("effective nodes", "exp(entropy) of the probability among nodes", "nodes", (1, None)),
    "best_rank": Metric("best rank", "rank of the best frontier node among all nodes (1 is first)", "rank", (1, None)),
    "norm": Metric("norm", "Euclidean norm of the thought", "", (0, None)),
}


@dataclass(frozen=True)
class Groups:
    """Node masks ``K N`` for thoughts 1..K."""

    frontier: Bools
    optimal: Bools
    reached: Bools
    not_reached: Bools

    @property
    def base_rate(self) -> Floats:
        """``K``: share of the graph's nodes that are in the frontier: the average precision of a random score."""
        return self.frontier.mean(axis=1)


def groups(problem: ProsQAProblem, n_thoughts: int) -> Groups:
    """The groups of a problem's nodes for thoughts 1..n_thoughts."""
    distance = np.array(problem.distance)
    t = np.arange(1, n_thoughts + 1)[:, None]
    on_path = np.isin(np.arange(problem.n_nodes), list(problem.shortest_path_nodes))
    return Groups(
        frontier=distance == t, optimal=(distance == t) & on_path, reached=distance < t, not_reached=distance > t
    )


def frontier_metrics(scores: Any, groups: Groups) -> dict[str, Floats]:
    """Every metric of METRICS for thoughts 1..K, ``R K`` each; NaN where a group it needs is empty."""
    n_thoughts = groups.frontier.shape[0]
    probability, logit = scores.probability[:, :n_thoughts], scores.logit[:, :n_thoughts]
    values: dict[str, Floats] = {}
    for name in ("frontier", "optimal", "reached", "not_reached"):
        members: Bools = getattr(groups, name)
        values[f"mass_{name}"] = np.where(members, probability, 0).sum(axis=-1)
        values[f"logit_{name}"] = _mean(logit, members)
    values["mass_answer"] = scores.answer_marker[:, :n_thoughts]
    values["mass_other"] = (scores.left_over - scores.answer_marker)[:, :n_thoughts]
    values["auroc"] = auroc(logit, groups.frontier, ~groups.frontier)
    values["auroc_ahead"] = auroc(logit, groups.frontier, groups.not_reached)
    values["average_precision"] = average_precision(logit, groups.frontier)
    share = scores.normalised[:, :n_thoughts]
    entropy = -np.where(share > 0, share * np.log(np.where(share > 0, share, 1)), 0).sum(axis=-1)
    values["effective_nodes"] = np.exp(entropy)
    best = np.where(groups.frontier, logit, -np.inf).max(axis=-1)
    rank = 1.0 + (logit > best[..., None]).sum(axis=-1)
    values["best_rank"] = np.where(groups.frontier.any(axis=-1), rank, np.nan)
    values["norm"] = scores.norm[:, :n_thoughts]
    assert values.keys() == METRICS.keys()
    return {name: values[name] for name in METRICS}


def auroc(score: Floats, positive: Bools, negative: Bools) -> Floats:
    """Chance that a random positive scores above a random negative, ties counting half; NaN if either is empty.

    ``score`` is ``... N``, the masks broadcast against it; the Mann-Whitney form of the area under the ROC curve.
    """
    above = (score[..., :, None] > score[..., None, :]) + 0.5 * (score[..., :, None] == score[..., None, :])
    pairs = positive[..., :, None] & negative[..., None, :]
    n_pairs = np.broadcast_to(pairs.sum(axis=(-2, -1)), score.shape[:-1])
    return _ratio(np.where(pairs, above, 0).sum(axis=(-2, -1)), n_pairs)


def average_precision(score: Floats, positive: Bools) -> Floats:
    """Mean over positives of the precision among all that score at least as high; NaN without positives."""
    at_least = score[..., None, :] >= score[..., :, None]
    hits = (at_least & positive[..., None, :]).sum(axis=-1)
    precision = np.where(positive, hits / at_least.sum(axis=-1), 0).sum(axis=-1)
    return _ratio(precision, np.broadcast_to(positive.sum(axis=-1), precision.shape))


def shuffled(scores: Any, *, seed: int) -> Any:
    """The same scores with the node labels permuted at random within the graph, anew for every draw and state.

    The null for every frontier metric: it keeps how peaked a thought is and loses which node is where.
    """
    rng = np.random.default_rng(seed)
    order = np.argsort(rng.random(scores.probability.shape), axis=-1)

    def permute(values: Floats) -> Floats:
        return np.take_along_axis(values, order, axis=-1)

    return replace(
        scores,
        probability=permute(scores.probability),
        logit=permute(scores.logit),
        cosine=permute(scores.cosine),
    )


def _mean(values: Floats, members: Bools) -> Floats:
    total = np.where(members, values, 0).sum(axis=-1)
    return _ratio(total, np.broadcast_to(members.sum(axis=-1), total.shape))


def _ratio(total: Floats, count: NDArray) -> Floats:
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
