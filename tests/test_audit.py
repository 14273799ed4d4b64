from __future__ import annotations

import json
import types

import networkx as nx
import numpy as np
import pytest
from scipy.stats import binomtest

from model.errors import InputError
from model.problems.audit import ROOT_AWARE, RULES, RuleScore, audit, describe, fitted, n_shortest_paths, pick
from model.problems.generate import generate
from model.problems.prosqa import ProsQAProblem
from model.stats import wilson


def problem(edges: str, root: str = "r", target: str = "t", other: str = "o") -> ProsQAProblem:
    pairs = [(edge[0], edge[1]) for edge in edges.split()]
    return ProsQAProblem.from_names(pairs, root=root, candidates=(target, other))


# Longest way back: t 3, o 1. Parents: t 1, o 2. Ancestors, itself included: t 4, o 3.
DEEP = problem("ra ab bt so qo")
# The same graph asked about the other side: every rule answers the same node and is now wrong.
DEEP_ASKED_BACK = DEEP.asked_from(DEEP.idx_to_symbol.index("s"), target=DEEP.neg_target, neg_target=DEEP.target)
# Both one step below one parent.
EVEN = problem("rt so")


def test_rules_on_planted_graphs() -> None:
    values = {rule: (value(DEEP, DEEP.target), value(DEEP, DEEP.neg_target)) for rule, value in RULES.items()}
    assert values == {"deeper_backward": (3, 1), "lower_in_degree": (-1, -2), "more_ancestors": (4, 3)}
    for rule in RULES:
        assert pick(DEEP, rule) == DEEP.target
        assert pick(DEEP_ASKED_BACK, rule) == DEEP.target == DEEP_ASKED_BACK.neg_target
        assert pick(EVEN, rule) is None


def test_audit_counts_ties_half() -> None:
    for score in audit([DEEP, DEEP, DEEP, DEEP_ASKED_BACK, EVEN, EVEN]).values():
        assert score == RuleScore(wins=3, ties=2, losses=1)
        assert (score.n, score.accuracy.value) == (6, 4 / 6)
        assert score.accuracy.cells()[1:3] == wilson(4, 6)
        assert json.loads(json.dumps(score.to_dict()))["accuracy"] == 4 / 6


def test_backward_depth_is_breadth_first() -> None:
    # r reaches t by r-a-b-t and by the edge r-t: breadth-first, a is the farthest ancestor, at 2.
    shortcut = problem("ra ab bt rt so")
    assert RULES["deeper_backward"](shortcut, shortcut.target) == 2


@pytest.mark.parametrize("depth_gap", [(0, 0), (1, 3)])
def test_balanced_problems_leave_every_rule_at_chance(depth_gap: tuple[int, int]) -> None:
    for score in audit(generate("balanced", 1500, 2, depth_gap=depth_gap)).values():
        # Which root is asked is a coin, so wins among decided problems are binomial with 1/2.
        assert binomtest(score.wins, score.wins + score.losses).pvalue > 1e-4
        assert score.wins + score.losses > 100


def test_public_problems_leak_as_the_public_file_does() -> None:
    scores = audit(generate("public", 1500, 2))
    assert scores["deeper_backward"].accuracy.value == pytest.approx(0.905, abs=0.02)
    assert scores["lower_in_degree"].accuracy.value == pytest.approx(0.66, abs=0.05)
    assert scores["more_ancestors"].accuracy.value == pytest.approx(0.71, abs=0.05)


@pytest.mark.parametrize(("k", "n"), [(0, 5), (5, 5), (3, 10), (450, 500)])
def test_wilson_is_scipy_s(k: int, n: int) -> None:
    assert wilson(k, n) == pytest.approx(tuple(binomtest(k, n).proportion_ci(method="wilson")), abs=1e-12)


def test_wilson_of_half_numbers_lies_between() -> None:
    assert wilson(3, 10) < wilson(3.5, 10) < wilson(4, 10)


def test_facts_of_planted_graphs() -> None:
    facts = describe([DEEP, EVEN])
    assert (facts.n, facts.nodes, facts.nodes_range, facts.edges) == (2, 5.5, (4, 7), 3.5)
    assert facts.hops == {1: 1, 3: 1}
    assert facts.frontier == (1.0, 0.5, 0.5)
    assert (facts.reachable, facts.parentless, facts.parentless_two) == (3.0, 2.5, 0.5)
    assert facts.neg_depth_below_3 == 1.0


def test_shortest_paths_are_counted_as_networkx_does() -> None:
    for each in generate("public", 50, 3):
        paths = list(nx.all_shortest_paths(nx.DiGraph(each.edges), each.root, each.target))
        assert n_shortest_paths(each) == len(paths)


def test_nothing_to_audit() -> None:
    for function in (audit, describe):
        with pytest.raises(InputError, match="no problems"):
            function([])


def test_hard_problems_leave_every_rule_at_chance_that_follows_no_path() -> None:
    """Balanced ones do not: the undirected distance alone finds nearly all targets, and a fitted rule as many."""
    hard = list(generate("hard", 500, 3, hops=(5, 6), nodes=(24, 30)))
    for score in audit(hard, [*RULES, *ROOT_AWARE]).values():
        assert abs(score.accuracy.value - 0.5) < 0.05
    assert fitted(hard, seed=1).accuracy.value < 0.56
    balanced = list(generate("balanced", 300, 3))
    assert audit(balanced, ROOT_AWARE)["nearer_undirected"].accuracy.value > 0.9
    assert fitted(balanced, seed=1).accuracy.value > 0.85
    with pytest.raises(InputError, match="at least 50 problems"):
        fitted(balanced[:49])


def test_a_fitted_rule_finds_nothing_where_labels_are_coins() -> None:
    problems = list(generate("balanced", 200, 7))
    rng = np.random.default_rng(0)
    coins = [p if rng.random() < 0.5 else types.SimpleNamespace(
        root=p.root, target=p.neg_target, neg_target=p.target, undirected=p.undirected, parents=p.parents,
        children=p.children,
    ) for p in problems]  # fmt: skip
    assert abs(fitted(coins, seed=2).accuracy.value - 0.5) < 0.12
