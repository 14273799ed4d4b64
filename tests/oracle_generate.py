"""The generator written the slow, obvious way, one graph at a time: the oracle for ``model.problems.generate``."""

from __future__ import annotations

import numpy as np

from model.problems.prosqa import ProsQAProblem, adjacency, distances


def grow(rng: np.random.Generator, n_nodes: int) -> tuple[list[tuple[int, int]], list[int]]:
    """Edges and labels of one graph (Hao et al. 2024, appendix A.2, algorithm 1, with the recipe's in-degrees)."""
    edges: list[tuple[int, int]] = []
    label, depth = [1, 2], [0.0, 0.0]
    for node in range(2, n_nodes):
        n_parents = 0
        if rng.random() >= 0.028:
            while n_parents == 0:
                n_parents = int(rng.poisson(1.5))
        u = rng.random()
        allowed = (0, 1) if u <= 0.35 else (0, 2) if u <= 0.7 else (0, 1, 2, 3)
        options = [other for other in range(node) if label[other] in allowed]
        weight = np.array([1.5 * depth[other] + 1 for other in options])
        parents = rng.choice(options, min(n_parents, len(options)), replace=False, p=weight / weight.sum())
        edges += [(int(parent), node) for parent in parents]
        label.append(int(np.bitwise_or.reduce([label[parent] for parent in parents])) if len(parents) else 0)
        below = [depth[parent] + 1 for parent in parents if label[parent]]
        depth.append(min(below) if below else 0)
    return edges, label


def balanced(rng: np.random.Generator) -> ProsQAProblem | None:
    """One try at a balanced problem of 3 to 6 hops; None where the graph offers no pair."""
    n_nodes = int(np.clip(np.rint(rng.normal(22.8, 1.8)), 14, 28))
    edges, label = grow(rng, n_nodes)
    children = adjacency(n_nodes, edges)
    far = [distances(children, root) for root in (0, 1)]
    leaves = [node for node in range(n_nodes) if not children[node]]
    pairs = [
        (a, b)
        for a in leaves
        for b in leaves
        if (label[a], label[b]) == (1, 2) and far[0][a] == far[1][b] and 3 <= far[0][a] <= 6
    ]
    if rng.random() < 0.75:
        pairs = [pair for pair in pairs if far[0][pair[0]] > 3]
    if not pairs:
        return None
    ends = pairs[rng.integers(len(pairs))]
    root = int(rng.integers(2))
    number = rng.permutation(n_nodes).tolist()
    return ProsQAProblem(
        tuple(f"n{node}" for node in range(n_nodes)),
        tuple((number[edges[i][0]], number[edges[i][1]]) for i in rng.permutation(len(edges))),
        number[root],
        number[ends[root]],
        number[ends[1 - root]],
    )
