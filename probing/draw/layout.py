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

from model.problems.prosqa import ProsQAProblem
from model.stats import Floats

Point = tuple[float, float]

BLOCK_GAP = 1.6
"""Rows between the lowest node that is reachable and the highest that is not; room for a caption."""
SAMPLES = np.linspace(0.08, 0.92, 15)
"""Where along each edge it is looked whether it runs over a node or a name."""
SWEEPS = 8
MAX_SPENT = 1e8
"""Numbers that the search for a better drawing may look at, about a second's; larger graphs are drawn as they are by
then."""
ARCS, GENTLE = np.array([1, 1.4, -1, -1.4]), np.array([0.4, -0.4, 0.8, -0.8, 1.3, -1.3, 2, -2])
"""What is tried for the bend of an edge: of one within a column, by how much the first is multiplied."""
AT_ONCE = 8_000_000
"""Numbers looked at together."""

Orders = list[np.ndarray]
"""Of B drawings: for each column its nodes from top to bottom, ``B n``."""


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
    orders = search.best(columns)
    (y,) = search.rows(orders)
    divider = None
    if not reachable.all():
        divider = float(y[reachable].min() - BLOCK_GAP / 2 + 0.1)
    order = np.concatenate([members[0] for members in orders]).tolist()
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
    """Orders within columns: barycentre sweeps, then swaps of neighbours while the drawing gets better.

    Every method takes B drawings at once: one makes as many calls of numpy as forty.
    """

    def __init__(self, problem: ProsQAProblem, column: np.ndarray, reachable: np.ndarray) -> None:
        n = problem.n_nodes
        self.column, self.reachable = column, reachable
        self.edges = np.array(problem.edges, dtype=int).reshape(-1, 2)
        first, second = np.triu_indices(len(self.edges), k=1)
        apart = (self.edges[first][:, :, None] != self.edges[second][:, None, :]).all(axis=(1, 2))
        self.pairs = first[apart], second[apart]
        source, target = self.edges.T
        self.foreign = np.ones((len(self.edges), n), dtype=bool)
        self.foreign[np.arange(len(self.edges))[:, None], self.edges] = False
        beside = np.zeros((n, n))
        np.add.at(beside, (source, target), 1)
        beside += beside.T
        self.inside = _mean_of(beside * (reachable[:, None] == reachable))
        self.before, self.behind = (_mean_of(beside * (sign * (column - column[:, None]) > 0)) for sign in (-1, 1))
        self.straight = (column[target] - column[source] == 1) & (reachable[source] == reachable[target])
        """Edges that may be drawn straight: one column forward, within a block."""
        self.each, self.spent = 16 * len(self.pairs[0]) + self.foreign.size * len(SAMPLES), 0
        """Numbers to be looked at for the cost of a drawing, and those looked at so far."""

    def best(self, columns: list[list[int]]) -> Orders:
        start = [np.array([members, members[::-1]]) for members in columns]
        if len(self.edges) == 0:
            return [members[:1] for members in start]
        sweeps = [start]
        for sweep in range(1, SWEEPS):
            sweeps.append(self.sweep(sweeps[-1], forward=sweep % 2 == 1))
        options = [np.concatenate(same) for same in zip(*sweeps, strict=True)]
        costs = self.costs(self.rows(options))
        found, cost = [members[[int(costs.argmin())]] for members in options], costs.min()
        while n := len((options := _swapped(found))[0]):
            if self.spent + n * self.each > MAX_SPENT:
                break
            costs = self.costs(self.rows(options))
            if costs.min() >= cost - 1e-9:
                break
            found, cost = [members[[int(costs.argmin())]] for members in options], costs.min()
        return found

    def sweep(self, orders: Orders, *, forward: bool) -> Orders:
        """Each column sorted by the mean position of the neighbours on the side the sweep comes from."""
        found, y = list(orders), self.rows(orders)
        for i in range(len(found)) if forward else reversed(range(len(found))):
            members, pull = found[i], y @ (self.before if forward else self.behind)
            place = np.argsort(-np.take_along_axis(pull, members, axis=1), axis=1, kind="stable")
            found[i] = np.take_along_axis(members, place, axis=1)
            np.put_along_axis(y, found[i], np.take_along_axis(y, members, axis=1), axis=1)
        return found

    def rows(self, orders: Orders) -> Floats:
        """Rows of the nodes (``B N``) for orders: near the mean of their neighbours, at least 1 apart, and compact."""
        y, each = np.zeros((len(orders[0]), len(self.column))), np.arange(len(orders[0]))[:, None]
        base = 0.0
        for block in (True, False):
            mine = [members for members in orders if self.reachable[members[0, 0]] == block]
            if not mine:
                continue
            tall = max(members.shape[1] for members in mine) - 1
            for members in mine:
                n = members.shape[1]
                y[each, members] = (tall + n - 1) / 2 - np.arange(n)
            for _ in range(3):
                for members in mine:
                    n = members.shape[1]
                    if n > tall:
                        continue
                    lift = (y @ self.inside)[each, members] + np.arange(n)
                    y[each, members] = np.minimum(np.maximum(_falling(lift), n - 1), tall) - np.arange(n)
            y[:, self.reachable == block] += base - tall
            base -= tall + BLOCK_GAP
        return y - y.min(axis=1, keepdims=True)

    def bends(self, y: Floats) -> Floats:
        """First bends (``B E``): none one column forward, an arc inside a column, a gentle one for the rest."""
        source, target = self.edges.T
        dx, dy = self.column[target] - self.column[source], y[:, target] - y[:, source]
        # Arcs inside a column bow to the right, whichever way they lead, and enter their nodes from the side.
        arc = -np.sign(dy) * np.minimum(0.8 + 0.1 * np.abs(dy), 1.4)
        gentle = np.where(dx > 0, -0.4, np.where(dy >= 0, 0.6, -0.6))
        return np.where(dx == 0, arc, np.where(self.straight, 0.0, gentle))

    def final_bends(self, y: Floats) -> Floats:
        """The bends (``E``) that keep each edge of one drawing (``N``) clearest of nodes, names and other edges, chosen
        edge by edge."""
        (bends,) = self.bends(y[None])
        for i in np.flatnonzero(~self.straight).tolist():
            if self.spent > 2 * MAX_SPENT:
                break
            arc = self.column[self.edges[i, 0]] == self.column[self.edges[i, 1]]
            options = bends[i] * ARCS if arc else GENTLE
            tried = np.repeat(bends[None], len(options), axis=0)
            tried[:, i] = options
            costs = self.costs(np.repeat(y[None], len(options), axis=0), tried, only=i) + 0.05 * np.abs(options)
            bends[i] = options[int(np.argmin(costs))]
        return bends

    def costs(self, y: Floats, bends: Floats | None = None, *, only: int | None = None) -> Floats:
        """``B``: crossings, edges over nodes and names, and a little for length; of ``only`` one edge, or of all."""
        bends = self.bends(y) if bends is None else bends
        self.spent += len(y) * (self.each if only is None else 16 * len(self.edges))
        few = max(1, AT_ONCE // self.each)
        parts = range(0, len(y), few)
        return np.concatenate([self._costs(y[at : at + few], bends[at : at + few], only) for at in parts])

    def _costs(self, y: Floats, bends: Floats, only: int | None) -> Floats:
        source, target = self.edges.T
        first, second = self.pairs
        mine = slice(None)
        if only is not None:
            (with_it,) = np.nonzero((first == only) | (second == only))
            first, second, mine = first[with_it], second[with_it], slice(only, only + 1)
        nodes = np.stack([np.broadcast_to(self.column.astype(float), y.shape), y], axis=-1)
        a, b = nodes[:, source], nodes[:, target]
        control = control_point(a, b, bends)
        apex = (a + 2 * control + b) / 4
        crossings = np.zeros(len(y))
        for one in ((a, apex), (apex, b)):
            for two in ((a, apex), (apex, b)):
                ends = one[0][:, first], one[1][:, first], two[0][:, second], two[1][:, second]
                crossings += _cross(*ends).sum(axis=-1)
        points = bezier(a[:, mine], control[:, mine], b[:, mine], SAMPLES)
        dx = np.abs(points[..., None, 0] - self.column)
        dy = points[..., None, 1] - y[:, None, None]
        on_node = ((dx < 0.26) & (np.abs(dy) < 0.3)).any(axis=2) & self.foreign[mine]
        on_name = ((dx < 0.33) & (dy < -0.28) & (dy > -0.62)).any(axis=2)
        weight = np.where(self.reachable[source] & self.reachable[target], 2, 1)
        long = (np.hypot(b[..., 0] - a[..., 0], b[..., 1] - a[..., 1]) * weight)[:, mine].sum(axis=-1)
        return crossings + 3 * on_node.sum(axis=(1, 2)) + 0.6 * on_name.sum(axis=(1, 2)) + 0.02 * long


def _swapped(orders: Orders) -> Orders:
    """One drawing with two neighbours of a column, or next but one, exchanged: every such."""
    swaps = [(c, i, i + gap) for c, m in enumerate(orders) for gap in (1, 2) for i in range(m.shape[1] - gap)]
    found = [np.repeat(members, len(swaps), axis=0) for members in orders]
    for at, (c, i, j) in enumerate(swaps):
        found[c][at, [i, j]] = found[c][at, [j, i]]
    return found


def _mean_of(weights: Floats) -> Floats:
    """``N N``: what ``y`` is multiplied by to give each node the mean of its neighbours, or its own if it has none."""
    total = weights.sum(axis=1, keepdims=True)
    return np.where(total > 0, weights / np.maximum(total, 1), np.eye(len(weights))).T


def _falling(values: Floats) -> Floats:
    """``B n``: the closest that nowhere rises, by least squares: the least, over where one may begin, of the greatest
    mean up to where one may end (isotonic regression)."""
    n = values.shape[1]
    if n == 1:
        return values
    total, length = values.cumsum(axis=1), _lengths(n)
    mean = (total[:, None] - (total - values)[..., None]) / length
    mean[:, length < 1] = -np.inf
    greatest = np.maximum.accumulate(mean[..., ::-1], axis=2)[..., ::-1]
    greatest[:, length < 1] = np.inf
    return greatest.min(axis=1)


@lru_cache(maxsize=64)
def _lengths(n: int) -> Floats:
    """``n n``: how many places there are from one to another, both counted; -1 where the second comes first."""
    found = np.arange(1.0, n + 1) - np.arange(n)[:, None]
    return np.where(found < 1, -1, found)


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
    """Whether segments a-b and c-d cross, ``... 2`` each."""

    def side(p: Floats, q: Floats, r: Floats) -> Floats:
        across, up = q - p, r - p
        return across[..., 0] * up[..., 1] - across[..., 1] * up[..., 0]

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
