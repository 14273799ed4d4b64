"""Analyses of recordings: oracles, closed forms, planted answers and nulls."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import binomtest, wilcoxon

from model.codec_slots import ANSWER
from model.metrics import depth_reader, group_mean, problem_groups, shuffled
from model.metrics import entropy as entropy_in
from model.problems.generate import generate
from model.problems.prosqa import ProsQAProblem
from model.readout import NodeLogProbs
from probing.dataset.analyses.attention import edge_groups
from probing.dataset.analyses.breakdown import breakdown, groups_of, search_auroc
from probing.dataset.analyses.commitment import commitment_step
from probing.dataset.analyses.common import GROUPINGS, Runs, node_groups, shuffled_mean, walk_layers
from probing.dataset.analyses.compare import compare, mcnemar
from probing.dataset.analyses.entropy import entropy
from probing.dataset.analyses.frontier import FRONTIER_METRICS, frontier, frontier_values
from probing.dataset.analyses.geometry import frontier_keys, geometry, rsa
from probing.dataset.analyses.height import height, heights
from probing.dataset.analyses.kswitch import AS_HOPS, kswitch
from probing.dataset.analyses.parallelism import cumulative_top, parallelism
from probing.dataset.analyses.probes import TARGETS, ProbeData, above_zero, fit_scores, probe_data, save_probes
from probing.dataset.analyses.superposition import superposition
from probing.dataset.cells import Cells
from probing.dataset.findings import RunModel
from probing.dataset.recording import Recording
from probing.read.categories import CATEGORIES, walk_end
from probing.read.report import ModelInfo
from probing.read.scores import metrics

PROBLEMS = tuple(generate("balanced", 24, 2))
K, WIDTH, SLOTS = 4, 48, 40


def made(logit_of, *, name: str = "made", problems=PROBLEMS, answers=None, states=None, seed: int = 0) -> Recording:
    """A recording whose logits are ``logit_of(problem, rng)`` (K+1 N); everything else says little."""
    rng = np.random.default_rng(seed)
    logits = [np.asarray(logit_of(problem, rng), float) for problem in problems]
    n = len(problems)
    answers = [[problem.target] * (K + 1) for problem in problems] if answers is None else answers
    columns = {
        "blind_rule": ["tie"] * n,
        "slots": [list(range(problem.n_nodes)) for problem in problems],
        "n_filler": [0] * n,
        "category": [[4] * (K + 1)] * n,
        "answer": answers,
        "path": [[[]] * (K + 1)] * n,
        "p_target": [[0.5] * (K + 1)] * n,
        "p_neg_target": [[0.5] * (K + 1)] * n,
        "logit": [logit.ravel() for logit in logits],
        "log_norm": [np.log(np.exp(logit).sum(axis=1) / 0.9) for logit in logits],
        "p_answer_marker": [[0.1] * (K + 1)] * n,
        "norm": [[1.0] * (K + 1)] * n,
        "embedding_norm": [1.0] * n,
        "similarity": [np.eye(K + 1).ravel()] * n,
        "lens": [np.zeros((2, *logit.shape)).ravel() for logit in logits],
        "edge_attention": [np.zeros(2 * (K + 1) * len(problem.edges)) for problem in problems],
        "copy_map": [None] * n,
    }
    return Recording(name, K, 2, 1, np.arange(n), problems, (), columns, states or {})


def runs_of(*recordings: Recording, untrained: tuple[int, ...] = ()) -> Runs:
    def model(i: int, recording: Recording) -> RunModel:
        info = ModelInfo(
            name=recording.name, method="coconut", n_layer=2, n_embd=8, n_thoughts=K, uniform_prob=0.1, fingerprint="0"
        )
        return RunModel(
            info=info, folder="f", untrained=i in untrained, n_thoughts=K, c_thought=1,
            n_problems=len(recording), n_taken=len(recording), skipped=(),
        )  # fmt: skip

    return Runs(recordings, tuple(model(i, recording) for i, recording in enumerate(recordings)))


def planted(problem: ProsQAProblem, rng: np.random.Generator) -> np.ndarray:
    """State h_k holds exactly the nodes at distance k + 1."""
    distance = np.array(problem.distance)
    return 8.0 * (distance == np.arange(1, K + 2)[:, None])


def noise(problem: ProsQAProblem, rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(K + 1, problem.n_nodes))


# --- estimates ------------------------------------------------------------------------------------------------------


def test_intervals_over_graphs() -> None:
    values = np.random.default_rng(0).normal(3, 2, 400)
    what = {"metric": "m", "source": "s"}

    def mean(values) -> tuple:
        cell = Cells("a").mean(values, **what)
        return cell.value, cell.low, cell.high, cell.n

    value, low, high, n = mean(np.append(values, np.nan))
    assert (value, n) == (pytest.approx(values.mean()), 400)
    half = 1.96 * values.std(ddof=1) / 20
    assert low == pytest.approx(values.mean() - half, abs=0.05)
    assert high == pytest.approx(values.mean() + half, abs=0.05)
    assert mean(np.array([np.nan])) == (None, None, None, 0)
    assert mean(np.array([2.0])) == (2, None, None, 1)
    assert mean(np.ones(5)) == (1, None, None, 5)  # of what nothing bounds
    assert mean(values) == mean(values)
    cells = Cells("a")
    assert cells.share(np.array([True, False] * 10), **what).value == 0.5
    assert cells.share(np.array([], dtype=bool), **what).n == 0


# --- groups and shuffles --------------------------------------------------------------------------------------------


def test_groups_are_those_of_the_graph() -> None:
    recording = made(noise)
    strict, walk = (node_groups(recording, grouping) for grouping in GROUPINGS)
    before = node_groups(recording, first=0)
    walks = walk_layers(recording, K + 1)
    for i, problem in enumerate(PROBLEMS):
        for t in range(1, K + 1):

            def nodes(members, t=t, i=i) -> frozenset[int]:
                return frozenset(np.flatnonzero(members[i, t - 1]).tolist())

            assert nodes(strict["frontier"]) == problem.frontier(t)
            assert nodes(strict["reached"]) == problem.reached(t)
            assert nodes(strict["passed"]) == problem.reached(t - 1)
            assert nodes(strict["optimal"]) == problem.optimal(t)
            assert nodes(strict["beyond"]) == set(range(problem.n_nodes)) - problem.reached(t)
            assert nodes(before["frontier"]) == problem.frontier(t - 1)
            assert nodes(walk["frontier"]) == walk_end(problem, t) == frozenset(np.flatnonzero(walks[i, t]).tolist())
            assert nodes(walk["reached"]) == problem.reached(t)  # a walk of t edges ends within t hops
            assert nodes(walk["optimal"]) == problem.optimal(t)


def test_edges_are_grouped_by_their_source() -> None:
    recording = made(noise)
    found = edge_groups(recording)
    for i, problem in enumerate(PROBLEMS):
        for t in range(1, K + 1):
            for e, (source, target) in enumerate(problem.edges):
                behind = problem.distance[source] <= t - 1
                at = problem.distance[source] == t - 1
                best = at and source in problem.shortest_path_nodes and target in problem.optimal(t)
                assert found["reached"][i, t - 1, e] == behind
                assert found["beyond"][i, t - 1, e] == (not behind)
                assert found["frontier"][i, t - 1, e] == at
                assert found["optimal"][i, t - 1, e] == best
            assert not any(members[i, t - 1, len(problem.edges) :].any() for members in found.values())


@settings(max_examples=40, deadline=None)
@given(hnp.arrays(float, (3, 7), elements=st.floats(-5, 5)), hnp.arrays(bool, (3, 7)), st.integers(0, 1000))
def test_a_shuffle_moves_members_only(values, members, seed) -> None:
    found = shuffled(values, members, np.random.default_rng(seed))
    for before, after, inside in zip(values, found, members, strict=True):
        assert np.array_equal(before[~inside], after[~inside])
        assert np.array_equal(np.sort(before[inside]), np.sort(after[inside]))


def test_a_shuffle_is_uniform() -> None:
    members = np.array([True, True, False, True])
    found = shuffled(np.tile([0.0, 1, 9, 2], (6000, 1)), members, np.random.default_rng(0))
    share = [(found[:, 0] == value).mean() for value in (0, 1, 2)]
    assert share == pytest.approx([1 / 3] * 3, abs=0.03)


def test_the_mean_over_shuffles_needs_none() -> None:
    rng = np.random.default_rng(1)
    values, members = rng.normal(size=(2, 6)), np.array([[True] * 5 + [False]] * 2)
    group = np.array([[True, False, True, False, False, False], [False] * 6])
    drawn = [group_mean(shuffled(values, members, rng), group) for _ in range(4000)]
    assert shuffled_mean(values, members, group) == pytest.approx(np.mean(drawn, axis=0), abs=0.03, nan_ok=True)


def test_group_mean_ignores_the_rest() -> None:
    values = np.array([[1.0, 2, np.nan], [4, 5, 6]])
    found = group_mean(values, np.array([[True, True, False], [False, False, False]]))
    assert found[0] == 1.5
    assert math.isnan(found[1])


# --- frontier -------------------------------------------------------------------------------------------------------


def test_frontier_values_equal_those_of_one_problem_at_a_time() -> None:
    recording = made(noise)
    found = frontier_values(recording, recording.logit[:, :-1], recording.value[:, :-1])
    for i, problem in enumerate(PROBLEMS):
        n = problem.n_nodes
        rest = np.zeros((1, K + 1))
        logit = recording.logit[i : i + 1, :, :n]
        scores = NodeLogProbs(
            np.log(recording.value[i : i + 1, :, :n]), recording.value[i : i + 1, :, :n], logit, rest, logit,
            np.zeros((1, K + 1, 8)), rest, rest,
        )  # fmt: skip
        graph = problem_groups(problem, K)
        expected = metrics(scores, graph, answer=ANSWER)
        for name in FRONTIER_METRICS:
            defined = np.ones(K, dtype=bool)
            if name.startswith("mass"):
                defined = graph[name.removeprefix("mass_")].any(axis=1)
            assert found[name][i][defined] == pytest.approx(expected[name][0][defined], nan_ok=True), name


def test_a_planted_frontier_is_found_and_noise_is_not() -> None:
    section = frontier(runs_of(made(planted), made(noise, name="untrained", seed=1), untrained=(1,)))
    for t in (1, 2, 3):
        assert section.cell("auroc_all", step=t).value == 1
        assert section.cell("average_precision", step=t).value == 1
        assert section.cell("best_rank", step=t).value == 1
        assert section.cell("auroc_all", source="shuffled", step=t).value == pytest.approx(0.5, abs=0.06)
        assert section.cell("auroc_all", source="untrained", step=t).value == pytest.approx(0.5, abs=0.15)
    inner = superposition(runs_of(made(planted)))
    assert inner.cell("inner product", group="strict: frontier", step=2).value == 8
    assert inner.cell("inner product", group="strict: passed", step=2).value == 0
    assert 0 < inner.cell("inner product", group="walk: frontier", step=3).value <= 8
    sizes = np.array([[len(p.frontier(t)) / p.n_nodes for t in range(1, K + 1)] for p in PROBLEMS])
    shuffled = inner.cell("inner product", source="shuffled", group="strict: frontier", step=1).value
    assert shuffled == pytest.approx(8 * sizes[:, 0].mean(), abs=0.5)


# --- node values ----------------------------------------------------------------------------------------------------


def test_top_values_and_entropy_in_closed_form() -> None:
    assert cumulative_top(np.array([0.1, np.nan, 0.5, 0.2])).tolist() == pytest.approx([0.5, 0.7, 0.8])
    assert cumulative_top(np.array([0.4])).tolist() == pytest.approx([0.4, 0.4, 0.4])
    members = np.array([True, True, True, True, False])
    for values, known in (([0.1, 0.1, 0.1, 0.1, 0.6], 1), ([0.3, 0, 0, 0, 0.7], 0), ([0.2, 0.2, 0, 0, 0.6], 0.5)):
        assert entropy_in(np.array(values), members, normalised=True) == pytest.approx(known)
    assert math.isnan(entropy_in(np.array([1.0, 0]), np.array([True, False]), normalised=True))


def test_values_are_raw_and_what_they_leave_is_said() -> None:
    recording = made(noise)
    assert np.nansum(recording.value, axis=2) == pytest.approx(0.9)
    assert recording.left_over == pytest.approx(0.1)
    section = parallelism(runs_of(recording))
    assert section.cell("left over", step=1).value == pytest.approx(0.1)
    top = [section.cell(f"top-{i}", group="raw", step=1).value for i in (1, 2, 3)]
    assert 0 < top[0] < top[1] < top[2] < 0.9
    gap = section.cell("top-3 minus top-1", group="raw", step=1).value
    assert gap == pytest.approx(top[2] - top[0])


def test_height_splits_the_frontier_by_both_definitions() -> None:
    """A value that only correct nodes have: all of it is on their side, and the shuffle spreads it."""
    recording = made(lambda problem, rng: planted(problem, rng) + 4 * np.isfinite(problem.distance_to_target))
    section = height(runs_of(recording))
    for which in ("longest", "shortest"):
        tall = heights(recording, which)
        oracle = getattr(PROBLEMS[0], f"height_{which}")
        assert tall[0, : PROBLEMS[0].n_nodes].tolist() == list(oracle)
        right = [c for c in section.cells if c.source == "made" and c.group.startswith(which) and c.step == 1]
        assert {c.group.rsplit(maxsplit=1)[1] for c in right} == {"correct", "incorrect"}
        for cell in right:
            if cell.group.endswith(" incorrect"):
                assert cell.value < 0.05
            else:
                assert cell.value > 0.1
            null = next(c for c in section.cells if (c.source, c.group, c.step) == ("shuffled", cell.group, cell.step))
            assert null.n == cell.n


def test_entropy_counts_only_problems_still_searching() -> None:
    section = entropy(runs_of(made(planted)))
    far = sum(problem.n_hops > 3 for problem in PROBLEMS)
    assert section.cell("top-1 correct", step=3).n == far < len(PROBLEMS)
    assert section.cell("mass on the frontier", step=0).value == pytest.approx(0.9, abs=0.02)
    assert section.cell("entropy over the frontier", step=0).value == pytest.approx(1)


# --- answers --------------------------------------------------------------------------------------------------------


def test_commitment_is_the_last_change() -> None:
    answers = [[1, 2, 3, 3, 3], [3, 3, 3, 3, 3], [3, 1, 3, 1, 3], [1, 1, 1, 1, 3]]
    recording = made(noise, problems=PROBLEMS[:4], answers=answers)
    assert commitment_step(recording).tolist() == [2, 0, 4, 4]


def test_kswitch_shares_add_up_and_the_blind_rule_is_beside() -> None:
    section = kswitch(runs_of(made(noise)))
    for k in range(K + 1):
        shares = [section.cell("category", group=name, step=k).value for name in CATEGORIES]
        assert sum(shares) == pytest.approx(1)
    assert section.cell("accuracy", step=2).value == 1
    assert section.cell("accuracy", source="shortcut baseline").value == 0.5  # all ties


def test_the_answer_after_as_many_thoughts_as_hops_is_read_where_each_problem_has_them() -> None:
    """Right at k = hops alone: the share there is 1, whatever the other columns say."""
    answers = [[p.target if k == p.n_hops else p.neg_target for k in range(K + 1)] for p in PROBLEMS]
    section = kswitch(runs_of(made(noise, answers=answers)))
    enough = [p for p in PROBLEMS if p.n_hops <= K]
    found = section.cell(AS_HOPS, group="free")
    assert (found.value, found.n) == (1, len(enough))
    assert section.cell(AS_HOPS, group="forced").value == 0  # all ties


def test_mcnemar_is_the_sign_test_on_disagreements() -> None:
    ours = np.array([True] * 50 + [True] * 9 + [False] * 2 + [False] * 5)
    theirs = np.array([True] * 50 + [False] * 9 + [True] * 2 + [False] * 5)
    b, c, p = mcnemar(ours, theirs)
    assert (b, c) == (9, 2)
    assert p == pytest.approx(2 * binomtest(2, 11, alternative="less").pvalue)
    assert mcnemar(ours, ours) == (0, 0, 1)


def test_comparison_pairs_problems_by_number() -> None:
    wrong = [[problem.neg_target] * (K + 1) for problem in PROBLEMS]
    other = made(noise, name="other", answers=wrong)
    part = replace(other, numbers=np.arange(len(PROBLEMS)) + 4)  # the last four are problems of no number of ours
    section = compare(runs_of(made(noise), part))
    cell = section.cell("accuracy difference", group="minus other, after all thoughts")
    assert (cell.value, cell.n) == (1, len(PROBLEMS) - 4)
    assert section.cell("McNemar p", group="minus other, after all thoughts").value == pytest.approx(2 * 0.5**20)
    p, q = (section.cell(f"McNemar {x}", group="minus other, k = 1").value for x in "pq")
    assert q >= p
    # The last k is the test after all thoughts: counted once. A difference may be below zero, and so may its interval.
    assert not [cell for cell in section.cells if cell.group == f"minus other, k = {K}"]
    half = made(noise, name="half", answers=[*wrong[:12], *[[p.target] * (K + 1) for p in PROBLEMS[12:]]])
    worse = compare(runs_of(half, made(noise))).cell("accuracy difference", group="minus made, after all thoughts")
    assert worse.low < worse.value < worse.high < 0


def test_breakdown_covers_every_problem_once() -> None:
    recording = made(planted)
    for what in ("hops", "nodes", "edges", "density"):
        rows = np.concatenate([rows for _, rows in groups_of(recording, what)])
        assert sorted(rows.tolist()) == list(range(len(PROBLEMS)))
    assert search_auroc(recording) == pytest.approx(1)
    section = breakdown(runs_of(recording))
    n = sum(c.n for c in section.cells if c.metric == "accuracy" and c.group.startswith("hops"))
    assert n == len(PROBLEMS)


# --- states ---------------------------------------------------------------------------------------------------------


def states_of(problems, write, seed: int = 0) -> dict[str, np.ndarray]:
    """States that are sums of embeddings of the nodes in ``write(problem, k)``, plus noise; slots are drawn."""
    rng = np.random.default_rng(seed)
    embedding = rng.normal(size=(SLOTS, WIDTH)).astype(np.float32)
    slots, states = np.full((len(problems), SLOTS), -1), np.zeros((len(problems), 3, K + 1, WIDTH), np.float32)
    order = []
    for i, problem in enumerate(problems):
        mine = rng.permutation(SLOTS)[: problem.n_nodes]
        slots[i, mine] = np.arange(problem.n_nodes)
        order.append(mine.tolist())
        for k in range(K + 1):
            states[i, 2, k] = embedding[mine[sorted(write(problem, k))]].sum(axis=0)
    states += rng.normal(size=states.shape).astype(np.float32)
    return {
        "number": np.arange(len(problems)), "states": states, "slots": slots, "embedding": embedding, "order": order
    }  # fmt: skip


def with_states(write, problems=PROBLEMS, **options) -> Recording:
    states = states_of(problems, write)
    order = states.pop("order")
    recording = made(planted, problems=problems, states=states, **options)
    recording.columns["slots"] = order
    return recording


MANY = tuple(generate("balanced", 80, 7))


def test_probes_find_what_was_written_and_nothing_in_noise() -> None:
    recording = with_states(lambda problem, k: problem.frontier(k + 1), MANY)
    data = probe_data(recording, 80)
    assert isinstance(data, ProbeData)
    written, empty = fit_scores(data, 2, 1, seed=0), fit_scores(data, 1, 1, seed=0)
    members = data.is_node

    def auroc(scores, column) -> float:
        return float(np.nanmean(scores.auroc(column, members)))

    assert auroc(written, "frontier") > 0.97
    assert auroc(written, "frontier, unseen names") > 0.9
    assert auroc(written, "frontier, shuffled") == pytest.approx(0.5, abs=0.1)
    assert auroc(written, "frontier 3") < 0.7  # the wrong hop
    assert auroc(empty, "frontier") == pytest.approx(0.5, abs=0.1)
    assert set(written.score) >= {*TARGETS, "control task"}


@pytest.mark.parametrize(
    "change", [[1, -1, 2, 0, 3, 3, 1, 2, -2, 1], [0.1, 0.2, -0.3, 0.4, 0.5, 0.6, -0.7, 0.8, 0.9, 1]]
)
def test_the_test_of_few_graphs_is_scipys(change) -> None:
    expected = wilcoxon(change, alternative="greater").pvalue
    assert above_zero(np.array(change, float)) == pytest.approx(expected, rel=1e-12)


def test_saved_probes_score_as_their_formula_says(tmp_path) -> None:
    from safetensors.numpy import load_file

    recording = with_states(lambda problem, k: problem.frontier(k + 1), MANY[:40])
    save_probes(recording, tmp_path, n_problems=40)
    kept = load_file(tmp_path / "probes.safetensors")
    data = probe_data(recording, 40)
    x = data.features(2, 1)[0, : MANY[0].n_nodes]
    score = ((x - kept["2.1.mean"]) / kept["2.1.scale"]) @ kept["2.1.coef"].T + kept["2.1.intercept"]
    inside = data.labels("frontier", 1)[0, : MANY[0].n_nodes]
    assert score[inside, 0].min() > score[~inside, 0].max()


def test_rsa_sees_like_frontiers_as_like_thoughts() -> None:
    recording = with_states(lambda problem, k: problem.frontier(k + 1), MANY)
    frontiers = frontier_keys(recording)
    for i in (0, 5):
        place = recording.columns["slots"][i]
        assert set(np.flatnonzero(frontiers[i, 1])) == {place[v] for v in MANY[i].frontier(2)}
    states = recording.states["states"][:, 2].astype(float)
    own, n_pairs = rsa(states[:, 0], frontiers[:, 0])
    other, _ = rsa(states[:, 0], frontiers[:, 2])
    assert own > 0.4 > abs(other)
    assert n_pairs == 80 * 79 // 2
    assert math.isnan(rsa(states[:, 0], np.zeros_like(frontiers[:, 0]))[0])
    section = geometry(runs_of(recording))
    assert section.cell("RSA diagonality").value > 0.2
    assert section.cell("cosine", group="h1, same problem", step=1).value == 1


def test_thoughts_that_hold_both_roots_layers_are_no_better_than_the_depth_reader() -> None:
    """High against all nodes beyond, one half head to head: what a reader that never saw the question would hold."""

    def both(problem: ProsQAProblem, rng: np.random.Generator) -> np.ndarray:
        return 8.0 * np.concatenate([depth_reader(problem, K), np.zeros((1, problem.n_nodes))])

    section = frontier(runs_of(made(both, name="both"), made(planted, name="own")))
    found = {(cell.metric, cell.source, cell.step): cell for cell in section.cells}
    for t in (1, 2):
        assert found["auroc_other_root", "both", t].value == pytest.approx(0.5)
        assert found["auroc_other_root", "own", t].value == 1
        assert found["auroc_beyond", "both", t].value == pytest.approx(found["auroc_beyond", "depth reader", t].value)
        assert found["auroc_beyond", "both", t].value > 0.8
    assert "the depth reader" in section.says[0]
