"""Where the nodes of a problem are drawn: one column per breadth-first distance from the root, few crossings.

Positions depend on the problem alone, never on a thought or a value, so the picture stands still while thoughts go by.
Edges of a breadth-first layering lead at most one column forward, so there are no long forward edges; what leads
sideways or back is bent to stay visible. Nodes that the root cannot reach form a block of their own below, with
columns by their own depth. (fast-sugiyama and Graphviz choose layers of their own, so cannot be used for strict ones.)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import networkx as nx
import numpy as np
from scipy.optimize import isotonic_regression

from model.problems.prosqa import ProsQAProblem
from model.stats import Floats

Point = tuple[float, float]

BLOCK_GAP = 1.6
"""Rows between the lowest node that is reachable and the highest that is not; room for a caption."""
SAMPLES = np.linspace(0.08, 0.92, 15)
"""Where along each edge it is looked whether it runs over a node or a name."""
SWEEPS = 8
MAX_TRIES = 1500


@dataclass(frozen=True)
class Layout:
    """Positions of N nodes and bends of E edges; x counts columns to the right, y counts rows upward from 0."""

    x: tuple[float, ...]
    """``N``: the column of each node, as a coordinate."""
    y: tuple[float, ...]
    """``N``: rows; two nodes of one column and block are at least 1 apart."""
    column: tuple[int, ...]
    """``N``: distance from the root, or, where the root cannot reach, the longest path from a parentless node."""
    reachable: tuple[bool, ...]
    """``N``: False for nodes in the block below."""
    bend: tuple[float, ...]
    """``E``: sideways offset of the edge's control point to the left of its direction, in columns; 0 for straight."""
    edges: tuple[tuple[int, int], ...]
    """``E``: the problem's edges, in its order."""
    order: tuple[int, ...]
    """Node numbers by block, column, then from top to bottom: the order of the heatmap."""
    divider: float | None
    """y between the two blocks; None where the root reaches everything."""

    @property
    def width(self) -> float:
        return max(self.x)

    @property
    def height(self) -> float:
        return max(self.y)

    def control(self, edge: int) -> Point:
        """The control point of edge number ``edge`` as a quadratic Bezier curve; the middle of a straight edge."""
        a, b = ((self.x[node], self.y[node]) for node in self.edges[edge])
        x, y = control_point(np.array(a), np.array(b), np.array(self.bend[edge])).tolist()
        return x, y


def control_point(a: Floats, b: Floats, bend: Floats) -> Floats:
    """The middle of a and b (``... 2``), moved by ``bend`` to the left of the direction from a to b."""
    direction = b - a
    length = np.maximum(np.hypot(direction[..., 0], direction[..., 1]), 1e-9)
    left = np.stack([-direction[..., 1], direction[..., 0]], axis=-1)
    return (a + b) / 2 + bend[..., None] * left / length[..., None]


def bezier(a: Floats, c: Floats, b: Floats, shares: Floats) -> Floats:
    """``... n 2``: points of quadratic curves from a to b with control points c (``... 2``), at n shares of the way."""
    s = shares[:, None]
    a, c, b = (end[..., None, :] for end in (a, c, b))
    return (1 - s) ** 2 * a + 2 * s * (1 - s) * c + s * s * b


Box = tuple[float, float, float, float]
"""Least and greatest x, least and greatest y."""


def box_of(curves: Floats, around: Box) -> Box:
    """The smallest box around another and every point of quadratic curves (``3 E 2``: start, control point, end)."""
    a, c, b = curves
    # A curve is farthest at an end, or where it turns.
    bow = a - 2 * c + b
    turn = np.clip(np.divide(a - c, bow, out=np.zeros_like(bow), where=bow != 0), 0, 1)
    points = np.concatenate([a, (1 - turn) ** 2 * a + 2 * turn * (1 - turn) * c + turn**2 * b, b])
    if not len(points):
        return around
    (x0, y0), (x1, y1) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    return min(around[0], x0), max(around[1], x1), min(around[2], y0), max(around[3], y1)


@lru_cache(maxsize=512)
def layout(problem: ProsQAProblem) -> Layout:
    """The layout of a problem; deterministic, and remembered."""
    reachable = np.isfinite(problem.distance)
    column = np.where(reachable, problem.distance, _own_depth(problem)).astype(int)
    keys = [(not reachable[v], int(column[v])) for v in range(problem.n_nodes)]
    columns = [[v for v in range(problem.n_nodes) if keys[v] == key] for key in sorted(set(keys))]
    search = _Search(problem, column, reachable)
    columns = search.best(columns)
    y = search.rows(columns)
    divider = None
    if not reachable.all():
        divider = float(y[reachable].min() - BLOCK_GAP / 2 + 0.1)
    order = [v for members in columns for v in members]
    return Layout(
        x=tuple(column.astype(float).tolist()),
        y=tuple(np.round(y, 6).tolist()),
        column=tuple(column.tolist()),
        reachable=tuple(reachable.tolist()),
        bend=tuple(np.round(search.final_bends(y), 6).tolist()),
        edges=problem.edges,
        order=tuple(order),
        divider=divider,
    )


class _Search:
    """Orders within columns: barycentre sweeps, then swaps of neighbours while the drawing gets better."""

    def __init__(self, problem: ProsQAProblem, column: np.ndarray, reachable: np.ndarray) -> None:
        self.n = problem.n_nodes
        self.column, self.reachable = column, reachable
        self.edges = np.array(problem.edges, dtype=int).reshape(-1, 2)
        self.neighbours = [np.array(problem.parents[v] + problem.children[v], dtype=int) for v in range(self.n)]
        pairs = np.triu_indices(len(self.edges), k=1)
        ends = self.edges[pairs[0]], self.edges[pairs[1]]
        apart = (ends[0][:, :, None] != ends[1][:, None, :]).all(axis=(1, 2))
        self.pairs = pairs[0][apart], pairs[1][apart]
        foreign = np.ones((len(self.edges), self.n), dtype=bool)
        for i, edge in enumerate(self.edges):
            foreign[i, edge] = False
        self.foreign = foreign

    def best(self, columns: list[list[int]]) -> list[list[int]]:
        if len(self.edges) == 0:
            return columns
        options = []
        for start in (columns, [members[::-1] for members in columns]):
            current = [list(members) for members in start]
            for sweep in range(SWEEPS):
                options.append((self.cost(self.rows(current)), [list(members) for members in current]))
                current = self.sweep(current, forward=sweep % 2 == 0)
        cost, found = min(options, key=lambda option: option[0])
        tries, improved = 0, True
        while improved and tries < MAX_TRIES:
            improved = False
            for members in found:
                for gap in (1, 2):
                    for i in range(len(members) - gap):
                        members[i], members[i + gap] = members[i + gap], members[i]
                        new, tries = self.cost(self.rows(found)), tries + 1
                        if new < cost - 1e-9:
                            cost, improved = new, True
                        else:
                            members[i], members[i + gap] = members[i + gap], members[i]
        return found

    def sweep(self, columns: list[list[int]], *, forward: bool) -> list[list[int]]:
        """Each column sorted by the mean position of the neighbours on the side the sweep comes from."""
        result = [list(members) for members in columns]
        y = self.rows(result)
        for i in range(len(result)) if forward else reversed(range(len(result))):
            members = result[i]

            def pull(v: int) -> float:
                near = [u for u in self.neighbours[v] if (self.column[u] - self.column[v]) * (-1 if forward else 1) > 0]
                return float(np.mean(y[near])) if near else float(y[v])

            result[i] = sorted(members, key=lambda v: -pull(v))
            y[result[i]] = np.sort(y[members])[::-1]
        return result

    def rows(self, columns: list[list[int]]) -> Floats:
        """Rows of the nodes for an order: near the mean of their neighbours, at least 1 apart, and compact."""
        y = np.zeros(self.n)
        base = 0.0
        for block in (False, True):
            mine = [members for members in columns if self.reachable[members[0]] != block]
            if not mine:
                continue
            tall = max(map(len, mine)) - 1
            for members in mine:
                y[members] = (tall + len(members) - 1) / 2 - np.arange(len(members))
            inside = [np.array([u for u in near if self.reachable[u] != block], int) for near in self.neighbours]
            for _ in range(3):
                for members in mine:
                    n = len(members)
                    if n > tall:
                        continue
                    wanted = np.array([y[inside[v]].mean() if len(inside[v]) else y[v] for v in members])
                    lift = wanted + np.arange(n)
                    fitted = isotonic_regression(lift, increasing=False).x if n > 1 else lift
                    y[members] = np.clip(fitted, n - 1, tall) - np.arange(n)
            y[[v for members in mine for v in members]] += base - tall
            base -= tall + BLOCK_GAP
        return y - y.min()

    def bends(self, y: Floats) -> Floats:
        """First bends: none one column forward, an arc inside a column, a gentle one for the rest."""
        if len(self.edges) == 0:
            return np.zeros(0)
        source, target = self.edges.T
        dx, dy = self.column[target] - self.column[source], y[target] - y[source]
        # Arcs inside a column bow to the right, whichever way they lead, and enter their nodes from the side.
        arc = -np.sign(dy) * np.minimum(0.8 + 0.1 * np.abs(dy), 1.4)
        gentle = np.where(dx > 0, -0.4, np.where(dy >= 0, 0.6, -0.6))
        return np.where(dx == 0, arc, np.where(self.straight, 0.0, gentle))

    @property
    def straight(self) -> np.ndarray:
        """Edges that may be drawn straight: one column forward, within a block."""
        source, target = self.edges.T
        return (self.column[target] - self.column[source] == 1) & (self.reachable[source] == self.reachable[target])

    def final_bends(self, y: Floats) -> Floats:
        """The bends that keep each edge clearest of nodes, names and other edges, chosen edge by edge."""
        bends = self.bends(y)
        for i in np.flatnonzero(~self.straight) if len(self.edges) else ():
            arc = self.column[self.edges[i, 0]] == self.column[self.edges[i, 1]]
            options = [bends[i] * f for f in (1, 1.4, -1, -1.4)] if arc else (0.4, -0.4, 0.8, -0.8, 1.3, -1.3, 2, -2)
            costs = []
            for option in options:
                bends[i] = option
                costs.append(self.cost(y, bends) + 0.05 * abs(option))
            bends[i] = options[int(np.argmin(costs))]
        return bends

    def cost(self, y: Floats, bends: Floats | None = None) -> float:
        """Crossings, edges over nodes and names, and a little for length."""
        source, target = self.edges.T
        bends = self.bends(y) if bends is None else bends
        nodes = np.stack([self.column.astype(float), y], axis=-1)
        a, b = nodes[source], nodes[target]
        control = control_point(a, b, bends)
        apex = (a + 2 * control + b) / 4
        first, second = self.pairs
        crossings = 0
        for one in ((a, apex), (apex, b)):
            for two in ((a, apex), (apex, b)):
                crossings += int(_cross(one[0][first], one[1][first], two[0][second], two[1][second]).sum())
        points = bezier(a, control, b, SAMPLES)
        dx = np.abs(points[:, :, None, 0] - nodes[:, 0])
        dy = points[:, :, None, 1] - nodes[:, 1]
        on_node = ((dx < 0.26) & (np.abs(dy) < 0.3)).any(axis=1) & self.foreign
        on_name = ((dx < 0.33) & (dy < -0.28) & (dy > -0.62)).any(axis=1)
        reaches = self.reachable[source] & self.reachable[target]
        long = float((np.hypot(*(b - a).T) * np.where(reaches, 2, 1)).sum())
        return crossings + 3 * int(on_node.sum()) + 0.6 * int(on_name.sum()) + 0.02 * long


def crossings(positions: list[Point], edges: tuple[tuple[int, int], ...]) -> int:
    """Pairs of edges without a common node that cross when every edge is drawn straight."""
    if len(edges) < 2:
        return 0
    at, pairs = np.array(positions, dtype=float), np.array(edges)
    first, second = np.triu_indices(len(edges), k=1)
    apart = (pairs[first][:, :, None] != pairs[second][:, None, :]).all(axis=(1, 2))
    first, second = first[apart], second[apart]
    a, b = at[pairs[:, 0]], at[pairs[:, 1]]
    return int(_cross(a[first], b[first], a[second], b[second]).sum())


def _cross(a: Floats, b: Floats, c: Floats, d: Floats) -> np.ndarray:
    """Whether segments a-b and c-d cross, ``n 2`` each."""

    def side(p: Floats, q: Floats, r: Floats) -> Floats:
        return (q[:, 0] - p[:, 0]) * (r[:, 1] - p[:, 1]) - (q[:, 1] - p[:, 1]) * (r[:, 0] - p[:, 0])

    return (side(a, b, c) * side(a, b, d) < -1e-12) & (side(c, d, a) * side(c, d, b) < -1e-12)


def _own_depth(problem: ProsQAProblem) -> list[int]:
    """Longest path to each node from a parentless one, among the nodes that the root cannot reach."""
    inside = nx.DiGraph()
    away = set(range(problem.n_nodes)) - problem.reachable
    inside.add_nodes_from(sorted(away))
    inside.add_edges_from((a, b) for a, b in problem.edges if a in away and b in away)
    depth = [0] * problem.n_nodes
    for level, members in enumerate(nx.topological_generations(inside)):
        for node in members:
            depth[node] = level
    return depth
