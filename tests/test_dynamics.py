"""The training dynamics against scikit-learn, the graph's own definitions, and planted scores."""

from __future__ import annotations

import json
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from model import checkpoint
from model.coconut import CoconutConfig, CoconutGPT2, ThoughtTrace
from model.codec_slots import ANSWER, EOS, SlotCodec, SlotSamples, answer_tokens
from model.errors import InputError
from model.metrics import GROUPS, auroc, depth_reader
from model.problems.arrays import ProblemTensors
from model.problems.generate import ProblemArrays, Recipe, generate, generate_arrays
from model.training.dynamics import DynamicsRecord, ThoughtNumbers, measure, read_thoughts, thought_numbers
from model.training.folder import RunFolder
from probing.draw import of_training
from probing.draw.export import export

PROBLEMS = list(generate("balanced", 24, 5, hops=(3, 4), nodes=(10, 16)))
TENSORS = ProblemTensors.from_arrays(ProblemArrays.from_problems(PROBLEMS))
CODEC = SlotCodec(40)


def numbers(logits: torch.Tensor, samples: SlotSamples, thought: int) -> ThoughtNumbers:
    """Of a model that would write with these logits (``B vocab``) wherever it is read."""
    model = types.SimpleNamespace(logits=lambda states: states, codec=CODEC)
    states = logits[:, None].expand(-1, thought, -1)
    read = read_thoughts(model, ThoughtTrace(states, states[:, 1:], samples.prompts.attention_mask, ()), samples)
    return thought_numbers(read, TENSORS, thought, thought)


def test_auroc_equals_scikit_learn_ties_included() -> None:
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 4, (30, 12)).astype(float)
    kind = rng.integers(0, 3, (30, 12))  # 2: in neither group
    value = auroc(scores, kind == 1, kind == 0)
    for row in range(30):
        used = kind[row] < 2
        assert value[row] == pytest.approx(roc_auc_score(kind[row][used], scores[row][used]), abs=1e-6)
    assert np.isnan(auroc(scores[:1], kind[:1] == 5, kind[:1] == 0)).all()


@pytest.mark.parametrize("distance", [1, 2, 3])
def test_numbers_of_a_thought_follow_their_definitions(distance: int) -> None:
    """Masses, logits and AUROC from the graph's own frontier sets, one problem at a time."""
    logits = torch.randn(len(PROBLEMS), CODEC.vocab_size, generator=torch.Generator().manual_seed(distance))
    samples = CODEC.samples(TENSORS, torch.Generator().manual_seed(0))
    node_tokens = samples.tokens
    found = numbers(logits, samples, distance)
    areas, masses, members = [], [], {group: [] for group in GROUPS}
    heads, depths = [], []
    for i, problem in enumerate(PROBLEMS):
        score = logits[i, node_tokens[i]]
        mass = logits[i].softmax(dim=0)[node_tokens[i]]
        groups = {"frontier": problem.frontier(distance), "optimal": problem.optimal(distance)}
        groups["passed"] = problem.reached(distance - 1)
        groups["beyond"] = set(range(problem.n_nodes)) - problem.reached(distance)
        if not groups["frontier"]:
            continue
        for group, nodes in groups.items():
            members[group] += score[sorted(nodes)].tolist()
        masses.append([mass[sorted(groups[group])].sum().item() for group in GROUPS])
        other = problem.counterfactual
        alone = groups["frontier"] - other.frontier(distance), other.frontier(distance) - groups["frontier"]
        if all(alone):
            nodes = sorted(alone[0] | alone[1])
            heads.append(roc_auc_score([node in alone[0] for node in nodes], score[nodes]))
        if groups["beyond"]:
            reader = depth_reader(problem, distance)[-1]
            nodes = sorted(groups["frontier"] | groups["beyond"])
            depths.append(roc_auc_score([node in groups["frontier"] for node in nodes], reader[nodes]))
            nodes = sorted(groups["frontier"] | groups["beyond"])
            areas.append(roc_auc_score([node in groups["frontier"] for node in nodes], score[nodes]))
    assert found.n == len(areas)
    assert found.auroc_beyond == pytest.approx(np.mean(areas), abs=1e-6)
    assert found.auroc_se == pytest.approx(np.std(areas, ddof=1) / len(areas) ** 0.5, abs=1e-6)
    assert found.auroc_other_root == pytest.approx(np.mean(heads), abs=1e-6)
    assert found.auroc_depth == pytest.approx(np.mean(depths), abs=1e-6)
    assert list(found.mass.values()) == pytest.approx(np.mean(masses, axis=0).tolist(), abs=1e-6)
    for group in GROUPS:
        assert found.logit[group] == pytest.approx(np.mean(members[group]), abs=1e-5)


def test_a_planted_frontier_is_found_and_its_control_is_chance() -> None:
    samples = CODEC.samples(TENSORS, torch.Generator().manual_seed(0))
    node_tokens = samples.tokens
    frontier = (TENSORS.distance == 2).float() * 20
    planted = torch.zeros(len(PROBLEMS), CODEC.vocab_size).scatter(1, node_tokens, frontier)
    found = numbers(planted, samples, 2)
    assert found.auroc_beyond == 1
    assert found.mass["frontier"] > 0.999
    assert found.logit_gap == 20
    assert abs(found.auroc_control - 0.5) < 0.1


def test_a_distance_that_no_problem_has_gives_no_number() -> None:
    samples = CODEC.samples(TENSORS, torch.Generator().manual_seed(0))
    found = numbers(torch.zeros(len(PROBLEMS), CODEC.vocab_size), samples, 30)
    assert (found.n, found.auroc_beyond, found.auroc_control, found.logit["frontier"]) == (0, None, None, None)


def test_the_answer_is_the_token_after_the_first_marker() -> None:
    written = torch.tensor(
        [[9, ANSWER, 10, EOS, 0], [ANSWER, 11, EOS, ANSWER, 12], [9, 9, 9, 9, ANSWER], [9, EOS, 9, 9, 9]]
    )
    assert answer_tokens(written).tolist() == [10, 11, -1, -1]
    assert answer_tokens(torch.tensor([[ANSWER], [EOS]])).tolist() == [-1, -1]


def test_the_shipped_checkpoint_holds_its_frontiers_and_an_untrained_one_does_not(trained: CoconutGPT2) -> None:
    moment = {"seed": 1, "step": 0, "n_seen": 0, "stage": 0}
    usual = ProblemTensors.from_arrays(generate_arrays(Recipe("balanced"), 24, 5))
    point = measure(trained, usual, **moment)
    assert [t.distance for t in point.thoughts] == list(range(1, int(usual.n_hops.max()) + 1))
    assert min(t.auroc_beyond for t in point.thoughts[:3]) > 0.95
    assert point.accuracy_by_k[-1] > 0.9
    assert len(point.accuracy_by_k) == 7
    config = CoconutConfig.from_dict(trained.config.to_dict() | {"n_layer": 1})
    untrained = measure(CoconutGPT2(config).eval(), usual, **moment)
    assert abs(untrained.thoughts[0].auroc_beyond - 0.5) < 0.2


def test_record_round_trip_and_plot_in_every_kind(tiny: CoconutGPT2, tmp_path: Path) -> None:
    points = [measure(tiny, TENSORS, seed=1, step=i, n_seen=100 * i, stage=i // 2) for i in range(3)]
    record = DynamicsRecord(name="x", method="coconut", seed=0, n_problems=len(PROBLEMS), points=points)
    record.save(tmp_path / "emergence.json")
    assert DynamicsRecord.load(tmp_path / "emergence.json") == record
    assert record.upto(1).points == tuple(points[:2])
    assert record.stage_starts == ((0, 0), (1, 200))
    for kind in of_training.FORMATS:
        of_training.write(record, tmp_path / f"plot.{kind}")
        assert (tmp_path / f"plot.{kind}").stat().st_size > 500
    lines = (tmp_path / "plot.csv").read_text().splitlines()
    assert len(lines) == 1 + sum(len(p.thoughts) + len(p.accuracy_by_k) for p in points)
    with pytest.raises(InputError, match="svg, png, pdf, csv"):
        of_training.write(record, tmp_path / "plot.gif")
    with pytest.raises(InputError, match="is empty"):
        of_training.charts(DynamicsRecord(name="x", method="coconut", seed=0, n_problems=3))
    for kind in of_training.KINDS:
        with pytest.raises(InputError, match=f"run: no training .* recorded, and {kind} needs them"):
            of_training.figure(RunFolder(tmp_path / "run", None), kind)
    with pytest.raises(InputError, match="no training dynamics are recorded"):
        of_training.figure(RunFolder(tmp_path / "run", record.with_points(())), "auroc")
    for text in ('{"format": 9}', "{}", "[]", '{"format": 1, "points": [{}]}'):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(InputError, match=r"bad\.json"):
            DynamicsRecord.load(tmp_path / "bad.json")


def test_records_of_older_versions_open() -> None:
    path = checkpoint.CHECKPOINTS / "prosqa-tiny" / "emergence.json"
    old, record = json.loads(path.read_text())["points"][-1]["thoughts"][0], DynamicsRecord.load(path)
    now = record.points[-1].thoughts[0]
    assert now.auroc_beyond == old["auroc"]
    assert (now.mass["passed"], now.logit["beyond"]) == (old["mass"]["reached"], old["logit"]["not_reached"])
    assert now.estimate.low <= now.auroc_beyond <= now.estimate.high


@pytest.mark.filterwarnings("error")
def test_charts_of_a_record_come_back_from_json_as_they_were() -> None:
    record = DynamicsRecord.load(checkpoint.CHECKPOINTS / "prosqa-tiny" / "emergence.json")
    for chart in of_training.charts(record):
        assert type(chart).model_validate_json(export(chart, "json")) == chart


def test_one_problem_is_followed_from_a_ghost_to_the_staircase() -> None:
    record = DynamicsRecord.load(checkpoint.CHECKPOINTS / "prosqa-symbol-rerun" / "emergence.json")
    held = []
    for at in (0, len(record.points) - 1):
        graph, heatmap = of_training.example(record, at, 1)
        held.append(sum(node.value for node in graph.nodes if node.frontier))
        assert {node.id for node in graph.nodes if node.frontier} == record.problem.frontier(1)
        assert [column.thought for column in heatmap.columns] == [1, 2, 3, 4, 5]
    assert held[0] < 0.5 < 0.9 < held[1]
    older = DynamicsRecord.load(checkpoint.CHECKPOINTS / "prosqa-tiny" / "emergence.json")
    assert of_training.example(older, 0, 1) is None
