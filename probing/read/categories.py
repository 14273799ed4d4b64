"""What a model writes after k thoughts, sorted into the six categories of Hao et al. 2024, section 5.

After k thoughts the model generates freely: the remaining nodes of its path, an answer. The first k
steps are hidden in the thoughts, so a path that was printed is judged by its best **completion**: a walk of exactly
k hidden edges from the root, one edge from its end to the first printed node, then the printed edges.
"""

from __future__ import annotations

from itertools import pairwise

from model.codec import NO_NODE, Written
from model.problems.prosqa import ProsQAProblem

CATEGORIES = ("correct path", "longer path", "hallucination", "wrong target", "correct label", "incorrect label")
"""Disjoint and exhaustive, in the paper's order."""

DEFINITIONS = {
    "correct path": "some completion makes the printed nodes the end of a shortest path to the target",
    "longer path": "some completion makes them a path to the target, none a shortest one",
    "hallucination": "no completion exists, an edge is not in the graph, or something printed is no node of it",
    "wrong target": "a path with a completion, but it ends elsewhere than at the target",
    "correct label": "no path is printed, only the answer, and it is the target",
    "incorrect label": "no path is printed, and the answer is not the target or is missing",
}


def categorise(problem: ProsQAProblem, written: Written, n_hidden: int) -> str:
    """The one category of a continuation after ``n_hidden`` hidden steps (thoughts, where one thought is one step).

    A printed path is judged by the path alone: an answer that contradicts it changes accuracy, not the category.
    """
    path = written.path
    if not path:
        return "correct label" if written.answer == problem.target else "incorrect label"
    edges = set(problem.edges)
    if NO_NODE in path or any(edge not in edges for edge in pairwise(path)):
        return "hallucination"
    if path[0] not in walk_end(problem, n_hidden + 1):
        return "hallucination"
    if path[-1] != problem.target:
        return "wrong target"
    return "correct path" if n_hidden + len(path) == problem.n_hops else "longer path"


def walk_end(problem: ProsQAProblem, n_edges: int) -> frozenset[int]:
    """Nodes at the end of a walk of exactly ``n_edges`` edges from the root."""
    ends = {problem.root}
    for _ in range(n_edges):
        ends = {child for node in ends for child in problem.children[node]}
    return frozenset(ends)
