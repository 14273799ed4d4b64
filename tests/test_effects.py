from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from model.coconut import CoconutGPT2
from model.codec_slots import ANSWER, FIRST_SLOT
from model.problems.prosqa import ProsQAProblem
from probing.edit.batch import clean_run, draw_prompt, final_answer
from probing.edit.effects import answers, difference, frontier_sets, mean, rate, state_effects

PROBLEM = ProsQAProblem.from_names(
    [("R", "a"), ("a", "T"), ("S", "x"), ("x", "F"), ("R", "b")], root="R", candidates=("T", "F")
)


def test_an_answer_is_the_likelier_candidate(tiny: CoconutGPT2) -> None:
    prompt = draw_prompt(tiny, PROBLEM, seed=0, number=0)
    target, other = prompt.node_tokens[PROBLEM.target], prompt.node_tokens[PROBLEM.neg_target]
    logits = torch.zeros(4, 48)
    logits[0, target], logits[1, other] = 3, 3
    logits[2, target], logits[2, ANSWER] = 3, 9
    found = answers(logits.log_softmax(-1), [prompt] * 4)
    np.testing.assert_allclose(found.log_odds, [3, -3, 3, 0], atol=1e-6)
    assert found.is_target.tolist() == [True, False, True, False]
    assert found.neither.tolist()[:3] == [False, False, True]


@torch.inference_mode()
def test_final_answer_is_the_last_of_all_answers(tiny: CoconutGPT2) -> None:
    """One forced token after everything equals the last branch of all K + 1."""
    prompts = [draw_prompt(tiny, PROBLEM, seed=0, number=i) for i in range(3)]
    trace = clean_run(tiny, prompts, range(3)).trace
    every = tiny.logits_after(trace, ANSWER).log_softmax(-1)
    torch.testing.assert_close(final_answer(tiny, trace), every[:, -1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(final_answer(tiny, trace.upto(2)), every[:, 2], rtol=1e-4, atol=1e-5)


def test_state_effects_closed_forms(tiny: CoconutGPT2) -> None:
    prompt = draw_prompt(tiny, PROBLEM, seed=0, number=0)
    sets = frontier_sets([prompt], 3, 48)
    tokens = {name: prompt.node_tokens[node] for node, name in enumerate(PROBLEM.idx_to_symbol)}
    assert set(torch.nonzero(sets.own[0, 0]).flatten().tolist()) == {tokens["a"], tokens["b"]}
    assert set(torch.nonzero(sets.other[0, 1]).flatten().tolist()) == {tokens["F"]}
    clean = torch.full((1, 3, 48), 1 / 48).log()
    same = state_effects(clean, clean, sets)
    assert (same.kl == 0).all()
    np.testing.assert_allclose(same.mass, [[2 / 48, 1 / 48, 0]], rtol=1e-5)
    half = torch.full((1, 3, 48), 0.5 / 47)
    half[0, :, FIRST_SLOT] = 0.5
    found = state_effects(clean, half.log(), sets)
    expected = sum(1 / 48 * math.log((1 / 48) / p) for p in [0.5] + [0.5 / 47] * 47)
    np.testing.assert_allclose(found.kl, [[expected] * 3], rtol=1e-4)


def test_intervals() -> None:
    found = rate(np.array([True] * 10))
    assert found is not None
    assert (found.k, found.n, found.value) == (10, 10, 1.0)
    assert found.ci95 == pytest.approx((0.722, 1.0), abs=0.001)  # Wilson: n / (n + z^2)
    assert rate(np.array([], bool)) is None
    assert mean(np.array([])) is None
    values = np.random.default_rng(0).standard_normal(50)
    m = mean(values)
    assert m is not None
    assert m.ci95[0] < values.mean() < m.ci95[1]
    zero = difference(values, values)
    assert zero is not None
    assert (zero.value, zero.ci95) == (0.0, (0.0, 0.0))
    gap = difference(values + 1 + 0.1 * np.random.default_rng(1).standard_normal(50), values)
    assert gap is not None
    assert 0.9 < gap.ci95[0] < gap.value < gap.ci95[1] < 1.1


def test_intervals_cover_the_truth() -> None:
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(60):
        gap = difference(rng.random(80) < 0.7, rng.random(80) < 0.5, seed=1, n_resamples=199)
        assert gap is not None
        inside += gap.ci95[0] <= 0.2 <= gap.ci95[1]
    assert inside >= 50
