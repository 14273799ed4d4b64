"""The layout of the DAG: what its columns mean, that it stands still, and that it beats the plain multipartite one."""

from __future__ import annotations

from itertools import pairwise

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import isotonic_regression

from model.problems.generate import generate
from model.problems.prosqa import ProsQAProblem
from probing.draw.layout import MAX_SPENT, _falling, _Search, bezier, control_point, crossings, layout

SMALL = ProsQAProblem.from_names([("a", "b")], root="a", candidates=("b", "c"), nodes=["a", "b", "c"])


@st.composite
def problems(draw) -> ProsQAProblem:
    """Random graphs of 3 to 40 nodes, isolated nodes among them, in which the root reaches just one candidate."""
    n = draw(st.integers(3, 40))
    pairs = st.tuples(st.integers(1, n - 2), st.integers(1, n - 2)).filter(lambda p: p[0] < p[1])
    more = draw(st.lists(pairs, max_size=3 * n, unique=True)) if n > 3 else []
    edges = list(dict.fromkeys([(0, 1), *more]))
    return ProsQAProblem(tuple(f"n{i}" for i in range(n)), tuple(edges), 0, 1, n - 1)


@settings(max_examples=25, deadline=None)
@given(problems())
def test_columns_are_distances_and_nodes_never_meet(problem) -> None:
    shown = layout(problem)
    assert sorted(shown.order) == list(range(problem.n_nodes))
    for node, distance in enumerate(problem.distance):
        assert shown.reachable[node] == np.isfinite(distance)
        if shown.reachable[node]:
            assert shown.x[node] == shown.column[node] == distance
    for one in range(problem.n_nodes):
        for other in range(one):
            if shown.column[one] == shown.column[other]:
                assert abs(shown.y[one] - shown.y[other]) > 1 - 1e-5
    assert min(shown.y) == 0
    above = [shown.y[v] for v in problem.reachable]
    below = [shown.y[v] for v in range(problem.n_nodes) if v not in problem.reachable]
    assert max(below) < shown.divider < min(above)


@settings(max_examples=25, deadline=None)
@given(problems())
def test_edges_that_do_not_lead_forward_are_bent(problem) -> None:
    shown = layout(problem)
    for i, (source, target) in enumerate(problem.edges):
        if shown.column[source] >= shown.column[target]:
            assert abs(shown.bend[i]) > 0.3
        elif shown.reachable[source]:
            assert shown.bend[i] == 0
        ends = np.array([(shown.x[v], shown.y[v]) for v in (source, target)])
        points = bezier(ends[0], np.array(shown.control(i)), ends[1], np.linspace(0, 1, 16))
        assert points[0].tolist() == ends[0].tolist()
        assert points[-1] == pytest.approx(ends[1])


def test_the_order_reads_by_block_then_distance_then_from_top_to_bottom() -> None:
    for problem in generate("balanced", 5, 3):
        shown = layout(problem)
        keys = [(not shown.reachable[v], shown.column[v], -shown.y[v]) for v in shown.order]
        assert keys == sorted(keys)


def test_own_depth_of_what_the_root_cannot_reach() -> None:
    edges = [("r", "t"), ("p", "q"), ("q", "s"), ("p", "s"), ("s", "t")]
    problem = ProsQAProblem.from_names(edges, root="r", candidates=("t", "s"), nodes=["r", "t", "p", "q", "s", "alone"])
    shown = layout(problem)
    assert [shown.column[v] for v in range(6)] == [0, 1, 0, 1, 2, 0]
    assert shown.reachable == (True, True, False, False, False, False)


def test_positions_depend_on_graph_and_root_only() -> None:
    """Another answer to the same search moves nothing, and neither does asking again."""
    problem = next(iter(generate("balanced", 1, 7)))
    others = [v for v in problem.reachable if v not in (problem.root, problem.target)]
    same = problem.asked_from(problem.root, target=others[0], neg_target=problem.neg_target)
    first = layout(problem)
    assert layout(same) == first
    layout.cache_clear()
    assert layout(problem) == first


def test_fewer_crossings_than_multipartite() -> None:
    """Straight edges in both, on the same columns; the block below is moved to the right for the comparison's sake."""
    ours, plain = [], []
    for problem in generate("balanced", 16, 1, nodes=(14, 40)):
        shown = layout(problem)
        far = problem.depth + 1
        graph = nx.DiGraph()
        for node in range(problem.n_nodes):
            graph.add_node(node, subset=shown.column[node] + (0 if shown.reachable[node] else far))
        graph.add_edges_from(problem.edges)
        where = nx.multipartite_layout(graph)
        plain.append(crossings([tuple(where[v]) for v in range(problem.n_nodes)], problem.edges))
        ours.append(crossings(list(zip(shown.x, shown.y, strict=True)), problem.edges))
    assert sum(ours) < 0.6 * sum(plain)
    assert np.mean(np.array(ours) <= np.array(plain)) > 0.9


def test_the_search_for_a_better_drawing_of_a_large_graph_ends() -> None:
    n = 40
    full = ProsQAProblem(
        tuple(f"n{i}" for i in range(n)), tuple((a, b) for b in range(n - 1) for a in range(b)), 0, n - 2, n - 1
    )
    search = _Search(full, np.array([0, *[1] * (n - 2), 0]), np.array([*[True] * (n - 1), False]))
    search.final_bends(search.rows(search.best([[0], list(range(1, n - 1)), [n - 1]]))[0])
    assert search.spent < 2.1 * MAX_SPENT
    assert len(set(layout(full).y)) > n / 2


def test_crossings_of_known_drawings() -> None:
    square = [(0.0, 0.0), (1.0, 1.0), (0.0, 1.0), (1.0, 0.0)]
    assert crossings(square, ((0, 1), (2, 3))) == 1
    assert crossings(square, ((0, 3), (2, 1))) == 0
    assert crossings(square, ((0, 1), (1, 2))) == 0
    assert crossings(square, ()) == 0


def test_the_closest_that_never_rises_is_isotonic_regression() -> None:
    for n in (1, 2, 3, 9):
        values = np.random.default_rng(n).normal(size=(20, n)).round(1)
        expected = [isotonic_regression(row, increasing=False).x for row in values]
        np.testing.assert_allclose(_falling(values), expected, atol=1e-12)


def test_a_bend_is_to_the_left_of_the_direction() -> None:
    a, b, c = map(np.array, ((0.0, 0.0), (2.0, 0.0), (0.0, 2.0)))
    assert control_point(a, b, np.array(0.5)).tolist() == [1, 0.5]
    assert control_point(b, a, np.array(0.5)).tolist() == [1, -0.5]
    assert control_point(a, c, np.array(0.0)).tolist() == [0, 1]


def test_the_smallest_and_the_longest() -> None:
    shown = layout(SMALL)
    assert (shown.width, len(set(zip(shown.x, shown.y, strict=True)))) == (1, 3)
    names = [f"x{i}" for i in range(39)]
    chain = ProsQAProblem.from_names([*pairwise(names)], root="x0", candidates=("x38", "z"), nodes=[*names, "z"])
    assert layout(chain).width == 38
    assert {layout(chain).y[v] for v in range(39)} == {layout(chain).y[0]}
