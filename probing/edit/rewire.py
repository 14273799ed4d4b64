"""Graph edits that change the answer: does the model follow the prompt it read, or the thought it is fed?

After the depth-wise edge swaps of Cheng & Zhang 2026. The old graph and the rewired one differ in two edges at one
depth. Feeding thought t of the old run while the model reads the rewired graph sets the two against each other: a
thought from before the changed depth holds nothing that differs, a thought from behind it holds the old search.
"""

from __future__ import annotations

from itertools import product

import numpy as np

from model.errors import GraphError
from model.problems.prosqa import ProsQAProblem


def rewire(problem: ProsQAProblem, depth: int, *, rng: np.random.Generator) -> ProsQAProblem | None:
    """The problem with the ends of two edges exchanged so that the other candidate is right; None if no pair does it.

    One edge enters distance ``depth`` from the root on a path to the target, the other enters distance ``depth`` of
    the counterfactual question's search on a path to the other candidate. Of all pairs that leave exactly the other
    candidate reachable at the same number of hops, one is drawn at random. Edges keep their places in the list.
    """
    other = problem.counterfactual
    if other is None or not 1 <= depth <= problem.n_hops:
        return None
    first = _entering(problem, depth)
    second = _entering(other, depth)
    pairs = [(i, j) for i, j in product(first, second) if i != j]
    for pick in rng.permutation(len(pairs)).tolist():
        i, j = pairs[pick]
        (a, b), (c, d) = problem.edges[i], problem.edges[j]
        if b == d or a == d or c == b or (a, d) in problem.edges or (c, b) in problem.edges:
            continue
        edges = list(problem.edges)
        edges[i], edges[j] = (a, d), (c, b)
        try:
            new = ProsQAProblem(
                problem.idx_to_symbol, tuple(edges), problem.root, target=problem.neg_target, neg_target=problem.target
            )
        except GraphError:
            continue
        if new.n_hops == problem.n_hops:
            return new
    return None


def _entering(problem: ProsQAProblem, depth: int) -> list[int]:
    """Edges (by place) into distance ``depth`` on a path to the target."""
    leads = problem.leads_to(problem.target)
    return [
        i
        for i, (source, end) in enumerate(problem.edges)
        if problem.distance[source] == depth - 1 and problem.distance[end] == depth and end in leads
    ]
