"""Frontier metrics against scikit-learn, closed forms, planted scores and nulls."""

from __future__ import annotations

import numpy as np
import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from model.metrics import (
    METRICS,
    auroc,
    auroc_beyond,
    auroc_other_root,
    average_precision,
    depth_reader,
    entropy,
    node_groups,
    problem_groups,
)  # fmt: skip
from model.problems.generate import generate
from model.problems.prosqa import ProsQAProblem
from model.readout import NodeLogProbs
from probing.read.scores import metrics
from probing.read.scores import shuffled as shuffled_scores

#      r -> a -> c -> t        o -> n        a, b at distance 1; c, d at 2; t at 3; o and n never
#      r -> b -> d
EDGES = [("r", "a"), ("r", "b"), ("a", "c"), ("b", "d"), ("c", "t"), ("o", "n")]
PROBLEM = ProsQAProblem.from_names(EDGES, root="r", candidates=("t", "n"), nodes="rabcdton")
DISTANCE = np.array([0, 1, 1, 2, 2, 3, np.inf, np.inf])


def scores(probability: np.ndarray, marker: float = 0.0) -> NodeLogProbs:
    """Scores with these node probabilities ``R K+1 N``, the log of them as logits, and the rest on [A]."""
    markers = np.zeros((*probability.shape[:2], 8))
    markers[..., 5] = 1 - probability.sum(axis=-1)
    logit = np.log(probability + 1e-12)
    rest = np.zeros(probability.shape[:2])
    return NodeLogProbs(logit, probability, logit, rest, logit / 10, markers, rest, rest + 1)


def test_groups_are_strict_bfs_layers() -> None:
    found = problem_groups(PROBLEM, 4)
    for t in range(1, 5):
        assert np.array_equal(found["frontier"][t - 1], t == DISTANCE)
        assert np.array_equal(found["passed"][t - 1], t > DISTANCE)
        assert np.array_equal(found["beyond"][t - 1], t < DISTANCE)
    partition = found["frontier"].astype(int) + found["passed"] + found["beyond"]
    assert np.all(partition == 1)
    assert [np.flatnonzero(row).tolist() for row in found["optimal"]] == [[1], [3], [5], []]
    assert found["frontier"].mean(axis=1).tolist() == [2 / 8, 2 / 8, 1 / 8, 0]


def test_a_perfect_search_scores_perfectly() -> None:
    probability = np.zeros((2, 5, 8))
    for t in range(1, 4):
        layer = t == DISTANCE
        probability[:, t - 1, layer] = 1 / layer.sum()
    values = metrics(scores(probability), problem_groups(PROBLEM, 4), answer=5)
    assert values.keys() == METRICS.keys()
    for name in ("mass_frontier", "auroc_all", "auroc_beyond", "average_precision", "best_rank"):
        assert values[name][:, :3] == pytest.approx(1), name
    assert values["effective_nodes"][0, :3] == pytest.approx([2, 2, 1])
    assert values["mass_optimal"][0, :3] == pytest.approx([0.5, 0.5, 1])
    for name in ("auroc_all", "auroc_beyond", "average_precision", "best_rank", "logit_frontier"):
        assert np.isnan(values[name][:, 3]).all(), name  # nothing is at distance 4
    assert values["mass_answer"][:, 3] == pytest.approx(1)


@given(st.integers(0, 2**32 - 1))
def test_masses_sum_to_one_and_metrics_stay_in_bounds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    probability = rng.dirichlet(np.full(9, 0.3), size=(3, 5))[..., :8]
    values = metrics(scores(probability), problem_groups(PROBLEM, 4), answer=5)
    total = sum(values[f"mass_{part}"] for part in ("frontier", "passed", "beyond", "answer", "other"))
    assert total == pytest.approx(1)
    for name, metric in METRICS.items():
        low, high = metric.bounds
        defined = values[name][~np.isnan(values[name])]
        assert low is None or np.all(defined >= low - 1e-9), name
        assert high is None or np.all(defined <= high + 1e-9), name


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=2, max_size=12))
def test_auroc_and_average_precision_agree_with_sklearn(pairs: list[tuple[int, bool]]) -> None:
    score = np.array([float(value) for value, _ in pairs])  # small integers: many ties
    positive = np.array([label for _, label in pairs])
    ours = auroc(score, positive, ~positive), average_precision(score, positive)
    if positive.any():
        assert ours[1] == pytest.approx(average_precision_score(positive, score))
    else:
        assert np.isnan(ours[1])
    if positive.any() and not positive.all():
        assert ours[0] == pytest.approx(roc_auc_score(positive, score))
    else:
        assert np.isnan(ours[0])


@given(st.integers(0, 2**32 - 1))
def test_ranks_agree_with_counting_pairs_ties_infinities_and_padding_included(seed: int) -> None:
    rng = np.random.default_rng(seed)
    score = rng.choice([-np.inf, -1.5, 0, 0.1, 2], size=(3, 2, 9))
    kind = rng.integers(0, 4, (3, 2, 9))  # 2: in neither, 3: padding
    score[kind == 3] = np.nan
    area, precision = auroc(score, kind == 1, kind == 0), average_precision(score, kind == 1, kind < 3)
    for at in np.ndindex(3, 2):
        assert area[at] == pytest.approx(oracle.auroc(score[at], kind[at] == 1, kind[at] == 0), nan_ok=True)
        expected = oracle.average_precision(score[at], kind[at] == 1, kind[at] < 3)
        assert precision[at] == pytest.approx(expected, nan_ok=True)
    assert area == pytest.approx(1 - auroc(score, kind == 0, kind == 1), nan_ok=True)


def test_padding_is_in_no_group() -> None:
    distance = np.array([[0, 1, 2, np.inf], [0, 1, np.nan, np.nan]])
    found = node_groups(distance, [1, 2], on_path=np.ones((2, 4), dtype=bool))
    total = found["passed"].astype(int) + found["frontier"] + found["beyond"]
    assert total.tolist() == [[[1, 1, 1, 1]] * 2, [[1, 1, 0, 0]] * 2]
    assert np.array_equal(found["optimal"], found["frontier"])
    padded = node_groups(np.nan_to_num(distance, nan=np.inf), [1, 2], is_node=~np.isnan(distance))
    assert all(np.array_equal(padded[name], found[name]) for name in padded)


def test_entropy_in_closed_form() -> None:
    p = np.array([0.1, 0.1, 0.0, 0.3, np.nan])
    members = np.array([True, True, True, False, False])
    assert entropy(p, members) == pytest.approx(np.log(2))
    assert entropy(p, members, normalised=True) == pytest.approx(np.log(2) / np.log(3))
    assert np.isnan(entropy(p, np.array([True, False, False, False, False]), normalised=True))
    assert entropy(np.full(4, 0.2)) == pytest.approx(np.log(4))


def test_shuffled_labels_know_nothing_but_keep_the_peaks() -> None:
    probability = np.zeros((400, 4, 8))
    for t in range(1, 4):
        probability[:, t - 1, t == DISTANCE] = 1 / (t == DISTANCE).sum()
    probability += np.random.default_rng(0).random(probability.shape) * 1e-6
    mixed = shuffled_scores(scores(probability), [1])
    values = metrics(mixed, problem_groups(PROBLEM, 3), answer=5)
    assert values["auroc_all"].mean(axis=0) == pytest.approx(0.5, abs=0.05)
    assert values["mass_frontier"].mean(axis=0) == pytest.approx([2 / 8, 2 / 8, 1 / 8], abs=0.05)
    assert np.sort(mixed.probability, axis=-1) == pytest.approx(np.sort(probability, axis=-1))
    several = shuffled_scores(scores(probability), [0, 1]).probability
    assert np.array_equal(mixed.probability, several[len(probability) :])
    assert not np.array_equal(mixed.probability, several[: len(probability)])
    # logit and probability move together
    assert np.array_equal(mixed.logit, np.log(mixed.probability + 1e-12))


def test_head_to_head_knows_the_root_and_the_depth_reader_does_not() -> None:
    """A reader of depths does well against all nodes beyond and is at .5 against the other root's nodes."""
    beyond, head, own = [], [], []
    for problem in generate("balanced", 60, 3):
        groups = problem_groups(problem, 4)
        depth = depth_reader(problem, 4)
        assert (depth[groups["frontier"]] == 1).all()  # the root has no parents
        beyond.append(auroc_beyond(depth, groups))
        head.append(auroc_other_root(depth, groups))
        own.append(auroc_other_root(groups["frontier"].astype(float), groups))
    assert np.nanmin(np.nanmean(beyond, axis=0)[:3]) > 0.8
    np.testing.assert_allclose(np.array(head)[~np.isnan(head)], 0.5)
    np.testing.assert_allclose(np.array(own)[~np.isnan(own)], 1)
    assert (~np.isnan(own)).mean() > 0.7
