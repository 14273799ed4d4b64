"""Shortcut audit: how often the right candidate is found without looking at the queried entity, or without a search.

A shortcut baseline sees the graph and the two candidates, never the root, so on a sound data set it is right half of
the time. On the public ProsQA test file the first rule is right 90 % of the time, above the accuracy of several
published models; an accuracy on ProsQA means little without these numbers beside it.

Rules that do look at the root, but follow no directed path, are counted apart (ROOT_AWARE, ``fitted``): what they reach
shows how much of an accuracy needs no search at all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, pstdev
from typing import Any

import numpy as np

from model.errors import InputError
from model.problems.prosqa import ProsQAProblem
from model.stats import Estimate, share, sure

RULES: Mapping[str, Callable[[ProsQAProblem, int], float]] = {
    "deeper_backward": lambda problem, node: problem.backward_depth(node),
    "lower_in_degree": lambda problem, node: -len(problem.parents[node]),
    "more_ancestors": lambda problem, node: len(problem.leads_to(node)),
}
"""Rule name to the value of a candidate; the rule picks the candidate of greater value.

``deeper_backward``: longest breadth-first distance from any ancestor; ``lower_in_degree``: fewer direct parents;
``more_ancestors``: more nodes it can be reached from.
"""


ROOT_AWARE: Mapping[str, Callable[[ProsQAProblem, int], float]] = {
    "nearer_undirected": lambda problem, node: -problem.undirected(problem.root)[node],
    "more_like_in_degree": lambda problem, node: -abs(_degrees_around(problem, node)[0] - _root_degrees(problem)[0]),
}
"""The same of rules that know the root: ``nearer_undirected``: fewer edges away if edges had no direction;
``more_like_in_degree``: mean in-degree within 2 edges more like that around the root."""


@dataclass(frozen=True)
class RuleScore:
    """How a shortcut baseline does on a data set; ties count half, as a coin would."""

    wins: int
    ties: int
    losses: int

    @property
    def n(self) -> int:
        return self.wins + self.ties + self.losses

    @property
    def accuracy(self) -> Estimate:
        """0 to 1; 0.5 is chance. The interval is a little too wide with ties: half a win varies less than a coin."""
        return sure(share(self.wins + self.ties / 2, self.n))

    def to_dict(self) -> dict[str, Any]:
        value, low, high, n = self.accuracy.cells()
        return {**asdict(self), "n": n, "accuracy": value, "ci95": [low, high]}


@dataclass(frozen=True)
class DataFacts:
    """What a data set is like. Means are over problems."""

    n: int
    nodes: float
    nodes_sd: float
    nodes_range: tuple[int, int]
    edges: float
    hops: Mapping[int, int]
    """Problems by number of hops from the root to the target."""
    shortest_paths: float
    """Number of shortest paths from the root to the target."""
    frontier: tuple[float, ...]
    """Frontier size at hop 1, 2, ... up to the deepest target."""
    reachable: float
    """Nodes the root reaches, itself included."""
    parentless: float
    parentless_two: float
    """Share of problems with exactly two parentless nodes."""
    neg_depth_below_3: float
    """Share of problems whose wrong candidate has backward depth below 3: the cause of the shortcut."""
    edges_upward: float
    """Share of edges from a lower to a higher node number; far from one half, the numbers tell the construction."""


def pick(problem: ProsQAProblem, rule: str) -> int | None:
    """The candidate a rule answers, without knowing the root; None for a tie."""
    value = RULES[rule] if rule in RULES else ROOT_AWARE[rule]
    target, other = value(problem, problem.target), value(problem, problem.neg_target)
    if target == other:
        return None
    return problem.target if target > other else problem.neg_target


def audit(problems: Iterable[ProsQAProblem], rules: Iterable[str] = tuple(RULES)) -> dict[str, RuleScore]:
    """The score of each of RULES or ROOT_AWARE on a data set. Raises InputError if it is empty."""
    counts = {rule: Counter[str]() for rule in rules}
    for problem in problems:
        for rule, count in counts.items():
            picked = pick(problem, rule)
            count["ties" if picked is None else "wins" if picked == problem.target else "losses"] += 1
    scores = {rule: RuleScore(count["wins"], count["ties"], count["losses"]) for rule, count in counts.items()}
    if any(score.n == 0 for score in scores.values()):
        raise InputError("no problems to audit")
    return scores


def fitted(problems: Sequence[ProsQAProblem], *, seed: int = 0, folds: int = 5) -> RuleScore:
    """How often a gradient boosting of root-aware features is right, cross-validated over the problems.

    Features: undirected distances from the root to the candidates, and degrees of root and candidates and around them,
    within 2 edges (``_degrees_around``); no directed path. Raises InputError for fewer than 10 problems a fold.
    """
    if len(problems) < 10 * folds:
        raise InputError(f"a fitted rule needs at least {10 * folds} problems; got {len(problems)}")
    # Not at the top: these take a second, which whoever wants a rule alone need not wait for.
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    # Which candidate comes first is a coin, so that their order tells nothing.
    first = np.random.default_rng(seed).random(len(problems)) < 0.5
    rows = []
    for problem, right_first in zip(problems, first, strict=True):
        pair = (problem.target, problem.neg_target) if right_first else (problem.neg_target, problem.target)
        away, around = problem.undirected(problem.root), [_degrees_around(problem, node) for node in pair]
        root = _root_degrees(problem)
        rows.append([*root, *around[0], *around[1], *np.subtract(around[0], around[1]), *(away[node] for node in pair)])
    model = HistGradientBoostingClassifier(random_state=seed, max_iter=150)
    order = StratifiedKFold(folds, shuffle=True, random_state=seed)
    found = cross_val_predict(model, np.array(rows), first, cv=order)
    wins = int((found == first).sum())
    return RuleScore(wins, 0, len(problems) - wins)


def _degrees_around(problem: ProsQAProblem, node: int) -> tuple[float, ...]:
    """Mean in-degree and out-degree within 2 undirected edges of a node, then per distance 0, 1, 2: how many nodes are
    there, and the mean and the greatest of their in-degrees and out-degrees."""
    away = np.array(problem.undirected(node))
    degrees = np.array([[len(x) for x in problem.parents], [len(x) for x in problem.children]], dtype=float)
    found = [*degrees[:, away <= 2].mean(axis=1)]
    for distance in range(3):
        here = degrees[:, away == distance]
        found += [here.shape[1], *(here.mean(axis=1) if here.size else (0, 0)), *(here.max(axis=1, initial=0))]
    return tuple(found)


def _root_degrees(problem: ProsQAProblem) -> tuple[float, ...]:
    return _degrees_around(problem, problem.root)


def describe(problems: Iterable[ProsQAProblem]) -> DataFacts:
    """What a data set is like. Raises InputError if it is empty."""
    problems = list(problems)
    if not problems:
        raise InputError("no problems to describe")
    hops = Counter(problem.n_hops for problem in problems)
    parentless = [sum(not parents for parents in problem.parents) for problem in problems]
    sizes = [problem.n_nodes for problem in problems]
    return DataFacts(
        n=len(problems),
        nodes=fmean(sizes),
        nodes_sd=pstdev(sizes),
        nodes_range=(min(sizes), max(sizes)),
        edges=fmean(len(problem.edges) for problem in problems),
        hops=dict(sorted(hops.items())),
        shortest_paths=fmean(n_shortest_paths(problem) for problem in problems),
        frontier=tuple(fmean(len(problem.frontier(hop)) for problem in problems) for hop in range(1, max(hops) + 1)),
        reachable=fmean(len(problem.reachable) for problem in problems),
        parentless=fmean(parentless),
        parentless_two=fmean(n == 2 for n in parentless),
        neg_depth_below_3=fmean(problem.backward_depth(problem.neg_target) < 3 for problem in problems),
        edges_upward=fmean(source < target for problem in problems for source, target in problem.edges),
    )


def n_shortest_paths(problem: ProsQAProblem) -> int:
    """The number of different shortest paths from the root to the target."""
    ways = {problem.root: 1}
    for hop in range(1, problem.n_hops + 1):
        ways = {node: sum(ways.get(parent, 0) for parent in problem.parents[node]) for node in problem.frontier(hop)}
    return ways[problem.target]
