"""Batches: every row says one problem truly, at its stage, under a fresh draw; epochs visit every problem once."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from scipy.stats import chisquare

from model.codec_slots import ANSWER, BOS, EDGE, EOS, FIRST_SLOT, PAD, Draw, SlotCodec
from model.problems.arrays import ProblemTensors
from model.problems.generate import ProblemArrays, generate
from model.problems.prosqa import ProsQAProblem
from model.training.config import ALL, Stage, TrainConfig, parse_train_config, stages
from model.training.curriculum import BatchOrder, first_token_bound, make_batch, mix_seed

PROBLEMS = list(generate("balanced", 60, 3, hops=(2, 4), nodes=(8, 14)))
TENSORS = ProblemTensors.from_arrays(ProblemArrays.from_problems(PROBLEMS))
CODEC = SlotCodec(16)


def settings(**values: object) -> TrainConfig:
    small = {"name": "x", "epochs_per_stage": 1, "num_epochs": 2, "max_latent_stage": 4, "uniform_prob": 0.0}
    return parse_train_config(small | values, where="settings")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_tensors_hold_the_exact_graph_facts() -> None:
    for i, problem in enumerate(PROBLEMS):
        n = problem.n_nodes
        assert TENSORS.real[i].sum() == n
        found = [d if d >= 0 else math.inf for d in TENSORS.distance[i, :n].tolist()]
        assert found == list(problem.distance)
        assert {v for v in range(n) if TENSORS.optimal[i, v]} == problem.shortest_path_nodes
        assert TENSORS.path[i, : problem.n_hops].tolist() == list(problem.shortest_path[1:])


def test_a_batch_of_prompts_equals_each_problem_encoded_under_the_draw_it_shows() -> None:
    samples = CODEC.samples(TENSORS, generator())
    prompt, node_tokens = samples.prompts, samples.tokens
    for i, problem in enumerate(PROBLEMS):
        ids = prompt.input_ids[i][prompt.attention_mask[i] == 1].tolist()
        assert not prompt.input_ids[i][prompt.attention_mask[i] == 0].any()
        tokens = node_tokens[i, : problem.n_nodes].tolist()
        assert len(set(tokens)) == problem.n_nodes
        shown = [(tokens.index(ids[at]), tokens.index(ids[at + 1])) for at in range(1, len(ids) - 5, 3)]
        draw = Draw(
            tuple(token - FIRST_SLOT for token in tokens),
            tuple(problem.edges.index(edge) for edge in shown),
            (tokens.index(ids[-4]), tokens.index(ids[-3])),
        )
        assert sorted(draw.edge_order) == list(range(len(problem.edges)))
        assert set(draw.candidates) == {problem.target, problem.neg_target}
        assert tuple(ids) == CODEC.encode(problem, draw).input_ids
        assert ids.count(BOS) == 1
        assert ids.count(EDGE) == len(problem.edges)


def test_draws_are_fresh_and_uniform() -> None:
    problem = PROBLEMS[0]
    many = TENSORS[torch.zeros(4000, dtype=torch.long)].narrow(len(problem.edges))
    samples = CODEC.samples(many, generator())
    prompt, tokens = samples.prompts, samples.tokens
    slot_of_root = Counter(tokens[:, problem.root].tolist())
    place_of_edge = Counter((prompt.input_ids[:, 1:-5:3] == tokens[:, [problem.edges[0][0]]]).int().argmax(1).tolist())
    target_first = Counter((prompt.input_ids[:, -4] == tokens[:, problem.target]).tolist())
    assert len(slot_of_root) == 16
    for uniform in (slot_of_root, target_first):
        assert chisquare(list(uniform.values())).pvalue > 1e-4
    assert len(place_of_edge) > 1
    again, other = (CODEC.samples(many, generator(seed)).prompts for seed in (0, 1))
    assert torch.equal(again.input_ids, prompt.input_ids)
    assert not torch.equal(other.input_ids, prompt.input_ids)


def obvious_continuation(problem: ProsQAProblem, tokens: list[int], n_skip: int) -> list[int]:
    rest = problem.shortest_path[1:][n_skip:]
    return [*(tokens[node] for node in rest), ANSWER, tokens[problem.target], EOS]


def check_rows(config: TrainConfig, stage: int, expected: Stage) -> None:
    batch = make_batch(config, CODEC, TENSORS, stage, generator(7))
    node_tokens = CODEC.samples(TENSORS, generator(7)).tokens
    assert batch.n_thoughts == expected.n_thoughts
    for i, problem in enumerate(PROBLEMS):
        row = batch.text.tokens[i][batch.text.scored[i]].tolist()
        assert row == obvious_continuation(problem, node_tokens[i].tolist(), expected.n_skip)
        assert batch.after[i] == expected.n_thoughts


@pytest.mark.parametrize(
    ("method", "plan"),
    [
        ("coconut", [(0, 0), (2, 1), (4, 2), (6, 3), (8, 4), (8, ALL)]),
        ("pause_as_thought", [(0, 0), (2, 1), (4, 2), (6, 3), (8, 4), (8, ALL)]),
        ("no_thought", [(0, 0), (0, 1), (0, 2), (0, 3), (0, 4), (0, ALL)]),
        ("icot", [(0, 0), (0, 1), (0, 2), (0, 3), (0, 4), (0, ALL)]),
        ("no_curriculum", [(8, ALL)]),
        ("pause", [(8, ALL)]),
        ("cot", [(0, 0)]),
        ("no_cot", [(0, ALL)]),
    ],
)
def test_each_method_shows_its_stages(method: str, plan: list[tuple[int, int]]) -> None:
    config = settings(method=method, c_thought=2, final_stage=True)
    assert stages(config) == tuple(Stage(*pair) for pair in plan)
    for stage, pair in enumerate(plan):
        check_rows(config, stage, Stage(*pair))


def test_without_the_final_stage_the_last_keeps_what_is_beyond_it() -> None:
    assert stages(settings(max_latent_stage=2)) == (Stage(0, 0), Stage(1, 1), Stage(2, 2))
    check_rows(settings(max_latent_stage=2), 2, Stage(2, 2))


def test_the_final_stage_unpadded_has_no_more_thoughts_than_steps() -> None:
    config = settings(final_stage=True, pad_latent_to_max=False, c_thought=2)
    batch = make_batch(config, CODEC, TENSORS, 5, generator())
    assert batch.after.tolist() == [2 * problem.n_hops for problem in PROBLEMS]
    assert batch.n_thoughts == 8


def test_mixed_stages_have_the_probability_asked_for_and_match_their_thoughts() -> None:
    many = TENSORS[torch.arange(60).repeat(100)]
    batch = make_batch(settings(uniform_prob=0.3, c_thought=2), CODEC, many, 3, generator())
    counts = Counter(batch.after.tolist())
    assert set(counts) == {0, 2, 4, 6}
    expected = [0.3 / 4] * 3 + [0.7 + 0.3 / 4]
    assert chisquare([counts[k] for k in (0, 2, 4, 6)], [6000 * p for p in expected]).pvalue > 1e-4
    left = (many.n_hops - batch.after // 2).clamp(min=0)
    assert torch.equal(batch.text.scored.sum(dim=1), left + 3)


def test_removal_smoothing_drops_further_steps_with_exponential_probability() -> None:
    three_hops = (TENSORS.n_hops == 3).nonzero()[:, 0]
    many = TENSORS[three_hops.repeat(3000)[:3000]]
    batch = make_batch(settings(method="icot", removal_smoothing=1.0), CODEC, many, 1, generator())
    kept = (batch.text.scored.sum(dim=1) - 3).tolist()
    share = [kept.count(2 - o) for o in range(2)]
    expected = [3000 * (1 - math.exp(-1)) * math.exp(-o) for o in range(2)]
    assert chisquare([*share, 3000 - sum(share)], [*expected, 3000 - sum(expected)]).pvalue > 1e-4


def test_parts_of_a_batch_are_all_of_it_and_pass_as_often() -> None:
    batch = make_batch(settings(uniform_prob=0.3), CODEC, TENSORS, 3, generator())
    parts = [batch.part(i, 3) for i in range(3)]
    assert {part.n_thoughts for part in parts} == {3}
    rows = sorted(row for part in parts for row in part.prompt.input_ids.tolist())
    assert rows == sorted(batch.prompt.input_ids.tolist())
    assert sum(int(part.text.scored.sum()) for part in parts) == int(batch.text.scored.sum())


def test_first_token_bound_is_the_entropy_of_a_uniform_guess_in_the_frontier() -> None:
    config = settings(uniform_prob=0.2)

    def obvious(stage: int) -> float:
        costs = [math.log(len(p.frontier(stage + 1))) if p.n_hops > stage else 0.0 for p in PROBLEMS]
        return sum(costs) / len(costs)

    for stage in range(5):
        mixed = sum(obvious(s) for s in range(stage + 1)) / (stage + 1)
        assert first_token_bound(config, TENSORS, stage) == pytest.approx(0.8 * obvious(stage) + 0.2 * mixed)
    assert first_token_bound(settings(method="no_cot"), TENSORS, 0) == 0


def test_an_epoch_visits_every_problem_at_most_once_in_batches_of_like_length() -> None:
    n_edges = torch.tensor([10, 30, 20] * 50)
    order = BatchOrder(n_edges, batch_size=10, n_buckets=3, seed=1)
    assert order.steps_per_epoch == 15
    epochs = [[order(step) for step in range(first, first + 15)] for first in (0, 15)]
    for epoch in epochs:
        assert sorted(torch.cat([rows for rows, _ in epoch]).tolist()) == list(range(150))
        for rows, width in epoch:
            assert (n_edges[rows] == width).all()
    assert [rows.tolist() for rows, _ in epochs[0]] != [rows.tolist() for rows, _ in epochs[1]]
    from_the_middle = BatchOrder(n_edges, batch_size=10, n_buckets=3, seed=1)
    assert torch.equal(from_the_middle(20)[0], order(20)[0])
    assert torch.equal(order(3)[0], epochs[0][3][0])


def test_seeds_of_neighbouring_steps_differ() -> None:
    seeds = {mix_seed(seed, stream, step) for seed in range(3) for stream in range(3) for step in range(500)}
    assert len(seeds) == 4500
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_padding_is_never_scored() -> None:
    batch = make_batch(settings(uniform_prob=1.0), CODEC, TENSORS, 4, generator())
    assert (batch.text.tokens[~batch.text.scored] == PAD).all()
