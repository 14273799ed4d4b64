"""Shortcut audit: how often the right candidate is found without looking at the queried entity.

A shortcut baseline sees the graph and the two candidates, never the root, so on a sound data set it is right half of
the time. On the public ProsQA test file the first rule is right 90 % of the time, above the accuracy of several
published models; an accuracy on ProsQA means little without these numbers beside it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from statistics import fmean, pstdev
from typing import Any

from model.errors import InputError
from model.problems.prosqa import ProsQAProblem
from model.stats import Estimate, share

RULES: Mapping[str, Callable[[ProsQAProblem, int], float]] = {
    "deeper_backward": lambda problem, node: problem.backward_depth(node),
    "lower_in_degree": lambda problem, node: -len(problem.parents[node]),
    "more_ancestors": lambda problem, node: len(problem.leads_to(node)),
}
"""Rule name to the value of a candidate; the rule picks the candidate of greater value.

``deeper_backward``: longest breadth-first distance from any ancestor; ``lower_in_degree``: fewer direct parents;
``more_ancestors``: more nodes it can be reached from.
"""


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
        found = share(self.wins + self.ties / 2, self.n)
        assert found is not None
        return found

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
    value = RULES[rule]
    target, other = value(problem, problem.target), value(problem, problem.neg_target)
    if target == other:
        return None
    return problem.target if target > other else problem.neg_target


def audit(problems: Iterable[ProsQAProblem]) -> dict[str, RuleScore]:
    """Every rule's score on a data set. Raises InputError if it is empty."""
    counts = {rule: Counter[str]() for rule in RULES}
    for problem in problems:
        for rule, count in counts.items():
            picked = pick(problem, rule)
            count["ties" if picked is None else "wins" if picked == problem.target else "losses"] += 1
    scores = {rule: RuleScore(count["wins"], count["ties"], count["losses"]) for rule, count in counts.items()}
    if any(score.n == 0 for score in scores.values()):
        raise InputError("no problems to audit")
    return scores


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
