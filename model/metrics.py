"""Is a thought the search frontier? Node groups by exact breadth-first layers, and metrics of node scores against them.

For thought t (state h_(t-1)) the nodes of a graph fall into three groups: **passed** (nearer to the root than t, the
root included), **frontier** (at distance t) and **beyond** (farther than t, or unreachable). **Optimal** nodes are
those of the frontier on a shortest path to the target. These are strict breadth-first layers; the walk-based grouping
of the notebook of Zhu et al. 2025 lets groups overlap and is not used here.

All arrays end in an axis of N nodes; masks broadcast against scores. Where graphs of several sizes share an array,
padding is in no group.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from model.problems.prosqa import ProsQAProblem, distances
from model.stats import Floats, Range

Bools = NDArray[np.bool_]

GROUPS = ("passed", "frontier", "optimal", "beyond")
N_SHUFFLES = 20
"""Label permutations averaged for every shuffled control."""


@dataclass(frozen=True)
class Metric:
    """What a metric is called and what it means; NaN where it is not defined."""

    label: str
    definition: str
    unit: str
    bounds: Range


METRICS: dict[str, Metric] = {
    "mass_frontier": Metric("frontier mass", "probability on the nodes at distance t", "probability", (0, 1)),
    "mass_optimal": Metric("optimal mass", "probability on frontier nodes on a shortest path", "probability", (0, 1)),
    "mass_passed": Metric("passed mass", "probability on nodes nearer than t", "probability", (0, 1)),
    "mass_beyond": Metric("mass beyond", "probability on nodes farther than t or unreachable", "probability", (0, 1)),
    "mass_answer": Metric("answer-token mass", "probability on [A]", "probability", (0, 1)),
    "mass_other": Metric("other mass", "probability on unused slots and other markers", "probability", (0, 1)),
    "logit_frontier": Metric("frontier logit", "mean logit of the nodes at distance t", "logit", (None, None)),
    "logit_optimal": Metric("optimal logit", "mean logit of frontier nodes on a shortest path", "logit", (None, None)),
    "logit_passed": Metric("passed logit", "mean logit of nodes nearer than t", "logit", (None, None)),
    "logit_beyond": Metric("logit beyond", "mean logit of nodes farther than t or unreachable", "logit", (None, None)),
    "auroc_all": Metric(
        "AUROC, all (logit lens)", "chance that a frontier node outscores any other node of the graph", "", (0, 1)
    ),
    "auroc_beyond": Metric(
        "AUROC, beyond (logit lens)", "chance that a frontier node outscores a node beyond t", "", (0, 1)
    ),
    "auroc_other_root": Metric(
        "AUROC, other root (logit lens)",
        "chance that a frontier node outscores one as deep below the counterfactual question's root, nodes of both "
        "left out; .5 for whoever does not know the root",
        "",
        (0, 1),
    ),
    "average_precision": Metric("average precision", "frontier against all other nodes, by score", "", (0, 1)),
    "effective_nodes": Metric("effective nodes", "exp(entropy) of the probability among nodes", "nodes", (1, None)),
    "best_rank": Metric("best rank", "rank of the best frontier node among all nodes (1 is first)", "rank", (1, None)),
    "norm": Metric("norm", "Euclidean norm of the thought", "", (0, None)),
}

OLD_NAMES: Mapping[str, str] = {
    "auroc": "auroc_all",
    "auroc_ahead": "auroc_beyond",
    "mass_reached": "mass_passed",
    "mass_not_reached": "mass_beyond",
    "logit_reached": "logit_passed",
    "logit_not_reached": "logit_beyond",
}
"""Names in files of older versions."""


def node_groups(
    distance: Floats, t: ArrayLike, *, on_path: Bools | None = None, is_node: Bools | None = None
) -> dict[str, Bools]:
    """Masks ``... T N`` of GROUPS for thoughts t (``T``) from hops ``... N``: inf where unreachable, NaN for padding.

    Without ``on_path`` there is no "optimal"; padding may be told by ``is_node`` as well.
    """
    distance, t = distance[..., None, :], np.asarray(t)[:, None]
    found = {"passed": distance < t, "frontier": distance == t, "beyond": distance > t}
    if on_path is not None:
        found["optimal"] = found["frontier"] & on_path[..., None, :]
    return found if is_node is None else {name: mask & is_node[..., None, :] for name, mask in found.items()}


def problem_groups(problem: ProsQAProblem, n_thoughts: int) -> dict[str, Bools]:
    """Masks ``K N`` of GROUPS for thoughts 1..K of one problem, and of "other_frontier": the frontier of the
    counterfactual question, empty where there is none."""
    on_path, t = np.isin(np.arange(problem.n_nodes), list(problem.shortest_path_nodes)), np.arange(1, n_thoughts + 1)
    other = problem.counterfactual
    theirs = np.full(problem.n_nodes, np.inf) if other is None else np.array(other.distance)
    return node_groups(np.array(problem.distance), t, on_path=on_path) | {"other_frontier": theirs == t[:, None]}


def frontier_metrics(
    p: Floats, logit: Floats, groups: Mapping[str, Bools], *, is_node: Bools | None = None
) -> dict[str, Floats]:
    """Every metric of METRICS that follows from probabilities and logits (``... N``) and the groups, ``...`` each.

    NaN where a group it needs is empty; but the mass on an empty group is 0.
    """
    frontier = groups["frontier"]
    nodes = np.ones(p.shape[-1], dtype=bool) if is_node is None else is_node
    found = {f"mass_{name}": mass(p, groups[name]) for name in GROUPS}
    found |= {f"logit_{name}": group_mean(logit, groups[name]) for name in GROUPS}
    found["auroc_all"] = auroc_all(logit, groups, nodes)
    found["auroc_beyond"] = auroc_beyond(logit, groups)
    if "other_frontier" in groups:
        found["auroc_other_root"] = auroc_other_root(logit, groups)
    found["average_precision"] = average_precision(logit, frontier, nodes)
    found["effective_nodes"] = np.exp(entropy(p, nodes))
    best = np.where(frontier, logit, -np.inf).max(axis=-1)
    rank = 1.0 + (nodes & (logit > best[..., None])).sum(axis=-1)
    found["best_rank"] = np.where(frontier.any(axis=-1), rank, np.nan)
    return found


def mass(p: Floats, members: Bools) -> Floats:
    """Probability on the members: their sum along the last axis, 0 without any."""
    return np.where(members, p, 0).sum(axis=-1)


def group_mean(values: Floats, members: Bools) -> Floats:
    """Mean of the members along the last axis, NaN without any."""
    total = mass(values, members)
    return _ratio(total, np.broadcast_to(members.sum(axis=-1), total.shape))


def auroc(score: Floats, positive: Bools, negative: Bools) -> Floats:
    """Chance that a random positive scores above a random negative, ties counting half; NaN if either is empty.

    The Mann-Whitney form of the area under the ROC curve, from mid-ranks within the union of the two, which must be
    disjoint: ``... N`` to ``...`` in O(N log N).
    """
    positive, negative = np.broadcast_to(positive, score.shape), np.broadcast_to(negative, score.shape)
    assert not (positive & negative).any()
    rank = _rank(score, positive | negative, "average")
    n_positive, n_negative = positive.sum(axis=-1), negative.sum(axis=-1)
    wins = mass(rank, positive) - n_positive * (n_positive + 1) / 2
    return _ratio(wins, n_positive * n_negative)


def auroc_all(score: Floats, groups: Mapping[str, Bools], is_node: Bools) -> Floats:
    """``auroc`` of the frontier against all other nodes of the graph, those already passed among them."""
    return auroc(score, groups["frontier"], is_node & ~groups["frontier"])


def auroc_beyond(score: Floats, groups: Mapping[str, Bools]) -> Floats:
    """``auroc`` of the frontier against the nodes beyond it: is the search there, rather than anywhere before?"""
    return auroc(score, groups["frontier"], groups["beyond"])


def auroc_other_root(score: Floats, groups: Mapping[str, Bools]) -> Floats:
    """``auroc`` of the frontier against the counterfactual question's at the same t, nodes of both left out.

    Head to head: who does not know which root is queried is at .5, however well they know how deep nodes lie.
    """
    own, other = groups["frontier"], groups["other_frontier"]
    return auroc(score, own & ~other, other & ~own)


def depth_reader(problem: ProsQAProblem, n_thoughts: int) -> Floats:
    """``K N``: the shortcut baseline of frontier metrics. 1 at nodes t edges below *some* node without parents, else 0.

    It knows the graph and t, but neither the question nor the model.
    """
    found = np.zeros((n_thoughts, problem.n_nodes))
    for node in range(problem.n_nodes):
        if not problem.parents[node]:
            depth = np.array(distances(problem.children, node))
            found = np.maximum(found, depth == np.arange(1, n_thoughts + 1)[:, None])
    return found


def average_precision(score: Floats, positive: Bools, members: Bools | None = None) -> Floats:
    """Mean over positives of the precision among all members that score at least as high; NaN without positives.

    ``members`` (default: all) hold the positives.
    """
    everyone = np.ones(score.shape[-1], dtype=bool) if members is None else members
    positive = np.broadcast_to(positive, score.shape)
    precision = _rank(-score, positive, "max") / _rank(-score, everyone, "max")
    return group_mean(precision, positive)


def entropy(p: Floats, members: Bools | None = None, *, normalised: bool = False) -> Floats:
    """Entropy in nats of ``p`` among the members (default: all), which are scaled to sum to 1.

    ``normalised``: over the log of their number, so in [0, 1]; NaN for fewer than two.
    """
    members = np.broadcast_to(True if members is None else members, p.shape)
    total = mass(p, members)[..., None]
    share = np.divide(np.where(members, p, 0), total, out=np.zeros(p.shape), where=total > 0)
    found = -np.where(share > 0, share * np.log(np.where(share > 0, share, 1)), 0).sum(axis=-1)
    if not normalised:
        return found
    size = members.sum(axis=-1)
    return np.divide(found, np.log(np.maximum(size, 2)), out=np.full(found.shape, np.nan), where=size > 1)


def shuffled(values: Floats, members: Bools | None, rng: np.random.Generator) -> Floats:
    """Values with those of the members (None: all) permuted at random along the last axis, row by row; others stay.

    The null for every frontier metric: it keeps how peaked a thought is and loses which node is where. Generators in
    the same state permute arrays of one shape alike.
    """
    members = np.broadcast_to(True if members is None else members, values.shape)
    drawn = np.argsort(np.where(members, rng.random(values.shape), 2.0), axis=-1, kind="stable")
    places = np.argsort(~members, axis=-1, kind="stable")
    result = np.empty_like(values)
    np.put_along_axis(result, places, np.take_along_axis(values, drawn, axis=-1), axis=-1)
    return result


def _rank(score: Floats, members: Bools, ties: Literal["average", "max"]) -> Floats:
    """Ranks 1, 2, ... from the lowest score among the members; NaN for others."""
    values = np.where(members, score, np.nan)
    rows = pd.DataFrame(values.reshape(math.prod(values.shape[:-1]), values.shape[-1]))
    return rows.rank(axis=1, method=ties).to_numpy().reshape(values.shape)


def _ratio(total: Floats, count: NDArray) -> Floats:
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
