from __future__ import annotations

import dataclasses
import math
from itertools import pairwise

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.errors import GraphError
from model.metrics import depth_reader
from model.problems.arrays import ProblemTensors
from model.problems.generate import ProblemArrays, generate
from model.problems.prosqa import ProsQAProblem, adjacency, check_graph, distances, find_cycle

# Tom -> a -> b -> t, Tom -> c -> b, Bob -> o, Bob -> b's child t is not reached from Bob.
EDGES = [("Tom", "a"), ("a", "b"), ("b", "t"), ("Tom", "c"), ("c", "b"), ("Bob", "o")]


def tom(**changes: object) -> ProsQAProblem:
    arguments = {"root": "Tom", "candidates": ("o", "t")} | changes
    return ProsQAProblem.from_names(EDGES, **arguments)


@st.composite
def problems(draw: st.DrawFn) -> ProsQAProblem:
    """A random DAG with at least one edge and one node that no edge touches, so that any source can be asked about."""
    n = draw(st.integers(3, 12))
    order = draw(st.permutations(range(n)))  # the last stands alone
    pairs = [(order[i], order[j]) for i in range(n - 1) for j in range(i + 1, n - 1)]
    edges = draw(st.lists(st.sampled_from(pairs), unique=True, min_size=1))
    graph = nx.DiGraph(edges)
    graph.add_nodes_from(range(n))
    root = draw(st.sampled_from(sorted({source for source, _ in edges})))
    reached = sorted(nx.descendants(graph, root))
    missed = [node for node in range(n) if node not in reached and node != root]
    target, neg_target = draw(st.sampled_from(reached)), draw(st.sampled_from(missed))
    return ProsQAProblem(tuple(f"n{i}" for i in range(n)), tuple(edges), root, target, neg_target)


# --- graph facts: networkx is the oracle ------------------------------------------------------------------------------


@given(problems())
@settings(max_examples=150, deadline=None)
def test_facts_are_networkx_s(problem: ProsQAProblem) -> None:
    graph = nx.DiGraph(problem.edges)
    graph.add_nodes_from(range(problem.n_nodes))
    length = nx.single_source_shortest_path_length(graph, problem.root)
    back = nx.single_source_shortest_path_length(graph.reverse(), problem.target)
    paths = list(nx.all_shortest_paths(graph, problem.root, problem.target))

    for node in graph:
        assert problem.children[node] == tuple(sorted(graph.successors(node)))
        assert problem.parents[node] == tuple(sorted(graph.predecessors(node)))
        assert problem.distance[node] == length.get(node, math.inf)
        assert problem.distance_to_target[node] == back.get(node, math.inf)
        assert problem.leads_to(node) == nx.ancestors(graph, node) | {node}
        above = nx.single_source_shortest_path_length(graph.reverse(), node)
        assert problem.backward_depth(node) == max(above.values())
        leaves = [leaf for leaf in nx.descendants(graph, node) | {node} if graph.out_degree(leaf) == 0]
        down = [len(path) - 1 for leaf in leaves for path in nx.all_simple_paths(graph, node, [leaf])]
        assert problem.height_longest[node] == max(down, default=0)
        assert problem.height_shortest[node] == min(down, default=0)

    assert problem.n_hops == length[problem.target] == len(problem.steps)
    assert problem.depth == max(length.values())
    assert problem.reachable == set(length)
    for hop in range(problem.n_nodes + 1):
        assert problem.frontier(hop) == {node for node, d in length.items() if d == hop}
        assert problem.reached(hop) == {node for node, d in length.items() if d <= hop}
        assert problem.optimal(hop) == {path[hop] for path in paths if hop < len(path)}
    assert problem.shortest_path_nodes == {node for path in paths for node in path}
    assert list(problem.shortest_path) == min(paths)


@given(st.sets(st.tuples(st.integers(0, 7), st.integers(0, 7))))
@settings(max_examples=150, deadline=None)
def test_a_cycle_is_found_where_there_is_one(edges: set[tuple[int, int]]) -> None:
    cycle = find_cycle(adjacency(8, edges))
    graph = nx.DiGraph(edges)
    assert (cycle is None) == nx.is_directed_acyclic_graph(graph)
    if cycle is not None:
        assert cycle[0] == cycle[-1]
        assert len(set(cycle)) == len(cycle) - 1 > 0
        assert all(graph.has_edge(*step) for step in pairwise(cycle))


@given(problems())
@settings(max_examples=100, deadline=None)
def test_counterfactual_asks_for_the_other_candidate(problem: ProsQAProblem) -> None:
    possible = [
        node
        for node in range(problem.n_nodes)
        if not problem.parents[node] and node not in (problem.root, problem.neg_target)
        and {problem.target, problem.neg_target} & set(nx_reach(problem, node)) == {problem.neg_target}
    ]  # fmt: skip
    other = problem.counterfactual
    assert (other is None) == (not possible)
    if other is not None:
        assert other.root in possible
        assert (other.target, other.neg_target) == (problem.neg_target, problem.target)
        assert (other.idx_to_symbol, other.edges) == (problem.idx_to_symbol, problem.edges)
        off = {node: abs(nx_reach(problem, node)[problem.neg_target] - problem.n_hops) for node in possible}
        assert other.root == min(possible, key=lambda node: (off[node], node))


def nx_reach(problem: ProsQAProblem, node: int) -> dict[int, int]:
    graph = nx.DiGraph(problem.edges)
    graph.add_nodes_from(range(problem.n_nodes))
    return nx.single_source_shortest_path_length(graph, node)


def test_counterfactual_of_a_balanced_problem_is_as_deep() -> None:
    for problem in generate("balanced", 50, 4):
        assert problem.counterfactual is not None
        assert problem.counterfactual.n_hops == problem.n_hops


# --- the value and its English ----------------------------------------------------------------------------------------


def test_english_of_a_small_problem() -> None:
    problem = tom()
    assert problem.question == (
        "Tom is a a. Every a is a b. Every b is a t. Tom is a c. Every c is a b. Bob is a o. Is Tom a o or t?"
    )
    assert problem.steps == ("Tom is a a.", "Every a is a b.", "Every b is a t.")
    assert problem.answer == "Tom is a t."


def test_question_names_candidates_as_asked_and_else_in_node_order() -> None:
    assert tom(candidates=("t", "o")).question.endswith("Is Tom a t or o?")
    one = ProsQAProblem(("r", "a", "b", "s"), ((0, 1), (3, 2)), 0, 1, 2)
    two = ProsQAProblem(("r", "a", "b", "s"), ((0, 1), (3, 2)), 3, 2, 1)
    assert one.question.endswith("Is r a a or b?")
    assert two.question.endswith("Is s a a or b?")


@given(problems())
@settings(max_examples=50, deadline=None)
def test_row_round_trip(problem: ProsQAProblem) -> None:
    again = ProsQAProblem.from_row(problem.to_row())
    assert again == problem
    assert hash(again) == hash(problem)
    assert {again: 1}[problem] == 1


def test_what_the_file_says_in_english_is_kept() -> None:
    row = tom().to_row() | {"question": "Own words?", "steps": ["One."], "answer": "Yes."}
    problem = ProsQAProblem.from_row(row)
    assert (problem.question, problem.steps, problem.answer) == ("Own words?", ("One.",), "Yes.")


def test_problems_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        tom().root = 1  # type: ignore[misc]


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"edges": [[0, 1], [1, 2], [2, 0]]}, "cycle: .* -> .* -> .* -> "),
        ({"edges": [[0, 1], [0, 1]]}, "edge r -> a is given twice"),
        ({"edges": [[0, 0]]}, "'r' has an edge to itself"),
        ({"edges": [[0, 9]]}, r"edges\[0\] names node 9; nodes are 0 to 3"),
        ({"edges": [[0, -1]]}, "node -1"),
        ({"edges": [[0, 1, 2]]}, r"edges\[0\] must be a pair"),
        ({"edges": [[0, True]]}, r"edges\[0\] must be a pair"),
        ({"edges": [[0, "1"]]}, r"edges\[0\] must be a pair"),
        ({"edges": 3}, "edges must be a list"),
        ({"edges": [[0, 1], [0, 2]]}, "both"),
        ({"edges": [[3, 2]]}, "neither"),
        ({"target": 2, "neg_target": 1}, "exchanged"),
        ({"target": 1, "neg_target": 1}, "both candidates are 'a'"),
        ({"target": 0}, "asked about and is a candidate"),
        ({"root": 4}, "root is node 4; nodes are 0 to 3"),
        ({"root": 1.0}, "root must be a node number"),
        ({"neg_target": None}, "neg_target must be a node number"),
        ({"idx_to_symbol": ["r", "a", "a", "s"]}, "two nodes are named 'a'"),
        ({"idx_to_symbol": ["r", " ", "b", "s"]}, "node 1 has an empty name"),
        ({"idx_to_symbol": ["r", "a" * 201, "b", "s"]}, "201 characters; at most 200"),
        ({"idx_to_symbol": ["r", "\ud800", "b", "s"]}, "half of a surrogate pair"),
        ({"idx_to_symbol": ["r", 1, "b", "s"]}, "idx_to_symbol must be a list of names"),
        ({"idx_to_symbol": []}, "there are no nodes"),
        ({"question": 3}, "question must be text"),
        ({"question": "\udfff"}, "half of a surrogate pair"),
        ({"steps": "x"}, "steps must be a list"),
    ],
)
def test_rows_that_are_refused(changes: dict, said: str) -> None:
    row = {"idx_to_symbol": ["r", "a", "b", "s"], "edges": [[0, 1], [3, 2]], "root": 0, "target": 1, "neg_target": 2}
    ProsQAProblem.from_row(row)
    with pytest.raises(GraphError, match=said) as caught:
        ProsQAProblem.from_row(row | changes, where="file.json, row 7")
    assert str(caught.value).startswith("file.json, row 7: ")


def test_rows_that_lack_something() -> None:
    with pytest.raises(GraphError, match="row: missing field root, neg_target"):
        ProsQAProblem.from_row({"idx_to_symbol": [], "edges": [], "target": 0})
    with pytest.raises(GraphError, match="expected an object"):
        ProsQAProblem.from_row([])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"root": "Ann"}, "root 'Ann' is not in the graph; its nodes are Tom, a, b"),
        ({"candidates": ("t", "x")}, "candidate 'x' is not"),
        ({"candidates": ("t", "b")}, "both"),
    ],
)
def test_names_that_are_refused(changes: dict, said: str) -> None:
    with pytest.raises(GraphError, match=said):
        tom(**changes)


def test_long_cycle_is_shown_in_short() -> None:
    n = 1000
    with pytest.raises(GraphError, match=r"n\d+ -> \.\.\. 989 more \.\.\. -> ") as caught:
        check_graph([f"n{i}" for i in range(n)], [(i, (i + 1) % n) for i in range(n)])
    assert len(str(caught.value)) < 300


def test_distances_start_anywhere() -> None:
    assert distances(((1,), (2,), ()), 1) == (math.inf, 0, 1)


@pytest.mark.parametrize("kind", ["balanced", "public"])
def test_the_counterfactual_root_of_arrays_is_that_of_the_problems(kind: str) -> None:
    problems = list(generate(kind, 40, 6))
    tensors = ProblemTensors.from_arrays(ProblemArrays.from_problems(problems))
    for t in (1, 2, 3):
        theirs, depth = (found.numpy() for found in tensors.below_parentless(t))
        for i, problem in enumerate(problems):
            n, other = problem.n_nodes, problem.counterfactual
            assert set(np.flatnonzero(theirs[i])) == (set() if other is None else other.frontier(t))
            np.testing.assert_array_equal(depth[i, :n], depth_reader(problem, t)[-1])
            assert not depth[i, n:].any()
