from __future__ import annotations

import itertools
import json
import math
from dataclasses import fields

import networkx as nx
import numpy as np
import pytest
from oracle_generate import balanced as oracle_balanced
from oracle_generate import grow
from scipy.stats import binomtest, chi2_contingency, ks_2samp

from model.errors import InputError
from model.problems.generate import (
    PEOPLE,
    ProblemArrays,
    Recipe,
    _ask_balanced,
    _ask_public,
    _grow,
    concept_names,
    generate,
    generate_arrays,
)
from model.problems.prosqa import ProsQAProblem


@pytest.fixture(scope="module")
def balanced() -> list[ProsQAProblem]:
    return list(generate("balanced", 400, 5))


@pytest.fixture(scope="module")
def public() -> list[ProsQAProblem]:
    return list(generate("public", 400, 5))


@pytest.fixture(params=["balanced", "public"])
def problems(request: pytest.FixtureRequest) -> list[ProsQAProblem]:
    return request.getfixturevalue(request.param)


def test_what_every_problem_keeps(problems: list[ProsQAProblem]) -> None:
    assert len(problems) == 400
    for problem in problems:  # acyclic, exactly one candidate reachable: ProsQAProblem checks that itself
        assert 14 <= problem.n_nodes <= 28
        assert 3 <= problem.n_hops <= 6
        assert not problem.parents[problem.root]
        assert not problem.children[problem.target]
        assert not problem.children[problem.neg_target]
        for node, name in enumerate(problem.idx_to_symbol):
            assert (name in PEOPLE) == (not problem.parents[node])


@pytest.mark.parametrize("kind", ["balanced", "public"])
def test_questions_are_asked_by_the_rules(kind: str) -> None:
    recipe = Recipe(kind)
    rng = np.random.default_rng(3)
    graphs = _grow(recipe, rng)
    asked = (_ask_balanced if kind == "balanced" else _ask_public)(graphs, recipe, rng)
    assert len(asked.graph) > 30
    for graph, root, target, neg_target in zip(asked.graph, asked.root, asked.target, asked.neg_target, strict=True):
        children = nx.DiGraph(zip(*np.nonzero(graphs.parent[graph].T), strict=True))
        children.add_nodes_from(range(int(graphs.n_nodes[graph])))
        own, other = (nx.single_source_shortest_path_length(children, node) for node in (root, 1 - root))
        leaves = [node for node in children if children.out_degree(node) == 0]
        own_leaves = {node: own[node] for node in leaves if node in own and node not in other}
        other_leaves = {node: other[node] for node in leaves if node in other and node not in own}
        assert 3 <= own_leaves[target] <= 6
        assert neg_target in other_leaves
        if kind == "balanced":
            assert own_leaves[target] == other_leaves[neg_target]
        else:
            assert own_leaves[target] == max([*own_leaves.values(), *other_leaves.values()])


def test_order_and_numbers_tell_nothing(problems: list[ProsQAProblem]) -> None:
    n = len(problems)
    upward = [source < target for problem in problems for source, target in problem.edges]
    assert 0.47 < np.mean(upward) < 0.53  # all of them in the public file
    for coin in (
        sum(problem.target < problem.neg_target for problem in problems),
        sum(problem.root * 2 + 1 < problem.n_nodes for problem in problems),
        sum(
            problem.question.endswith(problem.question_sentence((problem.target, problem.neg_target)))
            for problem in problems
        ),
    ):
        assert binomtest(coin, n, 0.5).pvalue > 1e-4
    # Where an edge stands in the list says nothing about how deep it is.
    place, depth = [], []
    for problem in problems:
        for i, (source, _) in enumerate(problem.edges):
            if math.isfinite(problem.distance[source]):
                place.append(i / len(problem.edges))
                depth.append(problem.distance[source])
    assert abs(np.corrcoef(place, depth)[0, 1]) < 0.04


def test_statistics_of_the_recipe_and_of_the_public_file() -> None:
    public = generate_arrays(Recipe("public"), 3000, 1)
    assert public.n_nodes.mean() == pytest.approx(22.8, abs=0.2)
    assert public.n_nodes.std() == pytest.approx(1.8, abs=0.2)
    assert public.n_edges.mean() == pytest.approx(36.0, abs=0.7)
    assert public.n_hops.mean() == pytest.approx(3.78, abs=0.1)
    frontiers = [(public.distance == hop).sum(axis=1).mean() for hop in (1, 2, 3)]
    assert frontiers == pytest.approx([2.96, 4.40, 3.34], abs=0.25)
    balanced = generate_arrays(Recipe("balanced"), 3000, 1)
    share = np.bincount(balanced.n_hops) / len(balanced)
    assert share[3:6] == pytest.approx([0.60, 0.38, 0.02], abs=0.04)


def test_in_degrees() -> None:
    arrays = generate_arrays(Recipe("public"), 1500, 1)
    n_parents = np.concatenate(
        [
            np.bincount(edges[:n_edges, 1], minlength=n_nodes)
            for edges, n_edges, n_nodes in zip(arrays.edges, arrays.n_edges, arrays.n_nodes, strict=True)
        ]
    )
    count = np.bincount(n_parents)
    count[0] -= 2 * len(arrays)  # nodes 0 and 1 of the construction
    assert count[:6] / count.sum() == pytest.approx([0.028, 0.480, 0.305, 0.132, 0.043, 0.010], abs=0.015)


@pytest.mark.parametrize("kind", ["balanced", "public"])
def test_seed_decides_and_processes_do_not(kind: str) -> None:
    def written(problems: object) -> str:
        return json.dumps([problem.to_row() for problem in problems])

    once = written(generate(kind, 30, 3))
    assert once == written(generate(kind, 30, 3))
    assert once == written(itertools.islice(generate(kind, 200, 3), 30))
    assert once != written(generate(kind, 30, 4))


def test_processes_do_not_matter() -> None:
    alone, together = (generate_arrays(Recipe(), 600, 3, processes=n) for n in (1, 2))
    assert_same(alone, together)


@pytest.mark.parametrize("kind", ["balanced", "public"])
def test_arrays_say_what_the_problems_say(kind: str) -> None:
    arrays = generate_arrays(Recipe(kind), 200, 9)
    assert_same(arrays, ProblemArrays.from_problems(list(generate(kind, 200, 9))))


def test_arrays_are_sliced_and_joined() -> None:
    arrays = generate_arrays(Recipe(), 50, 2)
    assert_same(ProblemArrays.concatenate([arrays[:20], arrays[20:]]), arrays)
    assert_same(arrays[np.array([3, 1])][1:], arrays[1:2])


@pytest.mark.parametrize(
    ("hops", "nodes"), [((1, 2), (8, 10)), ((10, 10), (30, 40)), ((7, 8), (40, 40)), ((3, 4), (90, 100))]
)
def test_other_sizes(hops: tuple[int, int], nodes: tuple[int, int]) -> None:
    for problem in generate("balanced", 3, 1, hops=hops, nodes=nodes):
        assert hops[0] <= problem.n_hops <= hops[1]
        assert nodes[0] <= problem.n_nodes <= nodes[1]
        assert nx.shortest_path_length(nx.DiGraph(problem.edges), problem.root, problem.target) == problem.n_hops


def test_density() -> None:
    sparse, dense = (generate_arrays(Recipe("public", in_degree=mean), 200, 1).n_edges.mean() for mean in (1.0, 3.0))
    assert sparse < 34 < 50 < dense


def test_names_never_run_out() -> None:
    assert len(set(concept_names(200))) >= 200
    assert concept_names(200)[:38] == concept_names(3)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"hops": (10, 10), "nodes": (8, 8)}, "10 hops need at least 22 nodes"),
        ({"hops": (5, 3)}, "hops 5-3"),
        ({"hops": (0, 3)}, "hops 0-3"),
        ({"nodes": (14, 1000)}, "within 4-100"),
        ({"kind": "harder"}, "kinds are balanced, public, hard"),
        ({"n": 0}, "n 0: expected at least 1"),
        ({"seed": -1}, "seed -1"),
        ({"processes": 0}, "processes 0"),
        ({"in_degree": math.nan}, "in_degree"),
    ],
)
def test_impossible_requests_are_refused_at_once(arguments: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        generate(**arguments)


def test_hard_requests_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.problems.generate.MAX_BARREN_GRAPHS", 5_000)
    with pytest.raises(InputError, match=r"0 of 1 problems found in 5,120 graphs"):
        list(generate("balanced", 1, 0, hops=(6, 6), nodes=(14, 14)))


def assert_same(one: ProblemArrays, other: ProblemArrays) -> None:
    """Equal but for the width of the padding."""
    for field in fields(ProblemArrays):
        a, b = getattr(one, field.name), getattr(other, field.name)
        assert len(a) == len(b)
        common = tuple(slice(0, min(sizes)) for sizes in zip(a.shape, b.shape, strict=True))
        np.testing.assert_array_equal(a[common], b[common])
        assert (a != -1).sum() == (b != -1).sum()


def test_graphs_are_distributed_as_the_obvious_implementation_s() -> None:
    """Edges, labels and hops of blocks of graphs against one graph at a time; two-sample tests."""
    rng = np.random.default_rng(8)
    sizes, counts, labels = [], [], np.zeros(4)
    for _ in range(1500):
        n_nodes = int(np.clip(np.rint(rng.normal(22.8, 1.8)), 14, 28))
        edges, label = grow(rng, n_nodes)
        sizes.append(n_nodes)
        counts.append(len(edges))
        labels += np.bincount(label, minlength=4)
    blocks = [_grow(Recipe(), np.random.default_rng(i)) for i in range(4)]
    fast_counts = np.concatenate([block.parent.sum(axis=(1, 2)) for block in blocks])
    fast_labels = sum(np.bincount(block.label[block.exists], minlength=4) for block in blocks)
    assert ks_2samp(sizes, np.concatenate([block.n_nodes for block in blocks])).pvalue > 1e-3
    assert ks_2samp(counts, fast_counts).pvalue > 1e-3
    assert fast_labels / fast_labels.sum() == pytest.approx(labels / labels.sum(), abs=0.02)

    slow = [problem for problem in (oracle_balanced(rng) for _ in range(1500)) if problem is not None]
    fast = generate_arrays(Recipe(), 1500, 8)
    hops = [np.bincount(n_hops, minlength=7)[3:5] for n_hops in ([p.n_hops for p in slow], fast.n_hops)]
    assert chi2_contingency(hops).pvalue > 1e-3
    assert ks_2samp([len(p.reachable) for p in slow], (fast.distance >= 0).sum(axis=1)).pvalue > 1e-3


def test_hard_problems_differ_in_one_direction_only() -> None:
    """Both candidates as far from the root without directions, like degrees around, and the way to one turned round."""
    for problem in generate("hard", 60, 8, hops=(5, 7), nodes=(24, 36)):
        assert 5 <= problem.n_hops <= 7
        assert 24 <= problem.n_nodes <= 36
        away = problem.undirected(problem.root)
        assert away[problem.target] == away[problem.neg_target] == problem.n_hops
        graph = nx.Graph(problem.edges)
        assert nx.shortest_path_length(graph, problem.root, problem.neg_target) == problem.n_hops
        other = problem.counterfactual
        assert other is not None
        assert other.n_hops == problem.n_hops
        assert len(problem.parents[problem.target]) == len(problem.parents[problem.neg_target]) == 1
        assert not problem.children[problem.target]
        assert not problem.children[problem.neg_target]
    with pytest.raises(InputError, match="hard problems need at least 5"):
        next(generate("hard", 1, 0, hops=(3, 4), nodes=(24, 28)))
    with pytest.raises(InputError, match="at least 24 nodes in a hard problem"):
        next(generate("hard", 1, 0, hops=(5, 6), nodes=(14, 20)))
    first = [problem.to_row() for problem in generate("hard", 20, 5, hops=(5, 6), nodes=(24, 28))]
    assert first == [problem.to_row() for problem in generate("hard", 20, 5, hops=(5, 6), nodes=(24, 28))]
