from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from model.coconut import CoconutGPT2
from model.codec_slots import ANSWER, FIRST_SLOT
from model.problems.prosqa import ProsQAProblem
from model.readout import forced_answers
from model.stats import mean, paired, share
from probing.edit.batch import clean_run, draw_prompt
from probing.edit.effects import see

PROBLEM = ProsQAProblem.from_names(
    [("R", "a"), ("a", "T"), ("S", "x"), ("x", "F"), ("R", "b")], root="R", candidates=("T", "F")
)


@torch.inference_mode()
def test_an_answer_is_the_likelier_candidate(tiny: CoconutGPT2, monkeypatch: pytest.MonkeyPatch) -> None:
    prompt = draw_prompt(tiny, PROBLEM, seed=0, number=0)
    target, other = (FIRST_SLOT + prompt.keys[node] for node in (PROBLEM.target, PROBLEM.neg_target))
    logits = torch.zeros(4, 2, 48)
    logits[0, 1, target], logits[1, 1, other] = 3, 3
    logits[2, 1, target], logits[2, 1, ANSWER] = 3, 9
    monkeypatch.setattr(tiny, "continuation_logits", lambda trace, tokens, **options: logits)
    found = see(tiny, clean_run(tiny, [prompt] * 4, range(4)).trace, [prompt] * 4).answers
    np.testing.assert_allclose(found.log_odds[:, 0], [3, -3, 3, 0], atol=1e-6)
    assert found.neither[:3, 0].tolist() == [False, False, True]


@torch.inference_mode()
def test_final_answer_is_the_last_of_all_answers(tiny: CoconutGPT2) -> None:
    """One forced token after everything equals the last branch of all K + 1."""
    prompts = [draw_prompt(tiny, PROBLEM, seed=0, number=i) for i in range(3)]
    trace = clean_run(tiny, prompts, range(3)).trace
    every, seen = forced_answers(tiny, trace, prompts), see(tiny, trace, prompts)
    np.testing.assert_allclose(seen.answers.log_odds[:, 0], every.log_odds[:, -1], rtol=1e-4, atol=1e-5)
    cut = seen.upto(2)
    np.testing.assert_allclose(cut.answers.log_odds[:, 0], every.log_odds[:, 2], rtol=1e-4, atol=1e-5)
    assert cut.nodes.nodes.shape == (3, 3, PROBLEM.n_nodes)
    assert (cut.kl(seen) == 0).all()


@torch.inference_mode()
def test_state_effects_closed_forms(tiny: CoconutGPT2, monkeypatch: pytest.MonkeyPatch) -> None:
    """All tokens equally likely: masses count nodes; and the KL to another distribution is the sum over tokens."""
    prompt = draw_prompt(tiny, PROBLEM, seed=0, number=0)
    trace = clean_run(tiny, [prompt], [0]).trace.upto(2)
    monkeypatch.setattr(tiny, "logits", lambda states: torch.zeros(*states.shape[:-1], 48))
    clean = see(tiny, trace, [prompt])
    assert (clean.kl(clean) == 0).all()
    np.testing.assert_allclose(clean.mass, [[2 / 48, 1 / 48, 0]], rtol=1e-5)  # a and b; T; nothing
    np.testing.assert_allclose(clean.other_mass, [[1 / 48, 1 / 48, 0]], rtol=1e-5)  # x; F; nothing
    half = torch.full((1, 3, 48), 0.5 / 47)
    half[0, :, FIRST_SLOT] = 0.5
    expected = sum(1 / 48 * math.log((1 / 48) / p) for p in [0.5] + [0.5 / 47] * 47)
    found = replace(clean, log_probs=half.log()).kl(clean)
    np.testing.assert_allclose(found, [[expected] * 3], rtol=1e-4)


def test_intervals() -> None:
    found = share(np.array([True] * 10))
    assert found is not None
    assert (found.k, found.n, found.value) == (10, 10, 1.0)
    assert (found.low, found.high) == pytest.approx((0.722, 1.0), abs=0.001)  # Wilson: n / (n + z^2)
    assert share(np.array([], bool)) is None
    assert mean(np.array([])) is None
    values = np.random.default_rng(0).standard_normal(50)
    m = mean(values)
    assert m is not None
    assert m.low < values.mean() < m.high
    zero = paired(values, values)
    assert zero is not None
    assert (zero.value, zero.low, zero.high) == pytest.approx((0, -zero.high, zero.high))
    assert 0 < zero.high < 0.08
    gap = paired(values + 1 + 0.1 * np.random.default_rng(1).standard_normal(50), values, within=(None, None))
    assert gap is not None
    assert 0.9 < gap.low < gap.value < gap.high < 1.1


def test_intervals_cover_the_truth() -> None:
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(60):
        gap = paired(rng.random(80) < 0.7, rng.random(80) < 0.5)
        assert gap is not None
        inside += gap.low <= 0.2 <= gap.high
    assert inside >= 50
