from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from planted import HELD, Planted
from safetensors.torch import save_file

from model import checkpoint
from model.coconut import CoconutConfig, CoconutGPT2
from model.codec_slots import FIRST_SLOT
from model.errors import CheckpointError, InputError
from model.problems.generate import generate
from probing.edit import directions as d
from probing.edit.batch import draw_prompt, n_thoughts_of

N_SLOTS, WIDTH = 40, 64


def sample(n: int, *, seed: int, noise: float) -> tuple[d.Sample, np.ndarray, np.ndarray]:
    """Additive thoughts of two steps with known directions: (sample, vectors ``2 S n_embd``, base ``2 n_embd``)."""
    fixed = np.random.default_rng(0)
    vectors = fixed.standard_normal((2, N_SLOTS, WIDTH)).astype(np.float32)
    base = fixed.standard_normal((2, WIDTH)).astype(np.float32)
    rng = np.random.default_rng(seed)
    present = rng.random((n, N_SLOTS)) < 0.6
    own = (rng.random((n, 2, N_SLOTS)) < 0.1) & present[:, None]
    other = (rng.random((n, 2, N_SLOTS)) < 0.1) & present[:, None]
    thoughts = base + np.einsum("nts,tsd->ntd", own, vectors) + noise * rng.standard_normal((n, 2, WIDTH))
    return (
        d.Sample(thoughts.astype(np.float32), own, other, present, tuple(f"{seed}-{i}" for i in range(n))),
        vectors,
        base,
    )


@pytest.fixture(scope="module")
def model() -> CoconutGPT2:
    config = CoconutConfig(n_layer=1, n_head=2, n_embd=WIDTH, n_positions=256, vocab_size=48, trained_stage=2)
    return checkpoint.untrained(config, seed=1)


@pytest.fixture(scope="module")
def fitted(model: CoconutGPT2) -> d.Directions:
    return d.fit(model, sample(1500, seed=1, noise=0.3)[0], sample(300, seed=2, noise=0.3)[0], seed=5)


def test_planted_directions_are_found(fitted: d.Directions) -> None:
    _, vectors, base = sample(1, seed=1, noise=0)
    for name in ("ridge", "difference"):
        found = fitted.vectors[name].numpy()
        cosine = (found * vectors).sum(-1) / np.linalg.norm(found, axis=-1) / np.linalg.norm(vectors, axis=-1)
        assert cosine.min() > (0.99 if name == "ridge" else 0.95)
    assert np.abs(fitted.vectors["ridge"].numpy() - vectors).max() < 0.3
    assert np.abs(fitted.base["ridge"].numpy() - base).max() < 0.2
    for score in fitted.about.scores:
        if score.estimator == "ridge":
            assert score.r2 > 0.95
            assert score.exact.value > 0.99
            assert score.exact.low < score.exact.value <= score.exact.high <= 1
            assert score.exact_other < 0.1
        if score.estimator == "unembedding":  # random rows have nothing to do with the planted directions
            assert score.r2 < 0.1


def test_unembedding_has_one_fitted_length(fitted: d.Directions, model: CoconutGPT2) -> None:
    rows = model.lm_head.weight[FIRST_SLOT:].detach()
    for t in (0, 1):
        found = fitted.vectors["unembedding"][t]
        length = float((found * rows).sum() / (rows * rows).sum())
        torch.testing.assert_close(found, length * rows, rtol=0.01, atol=1e-4)


def test_difference_of_means_is_that() -> None:
    data, *_ = sample(400, seed=3, noise=0.3)
    x, y = data.frontier[:, 0].astype(np.float32), data.thoughts[:, 0]
    w, base = d._estimate("difference", x, y, np.zeros((N_SLOTS, WIDTH), np.float32), 1.0)
    slot = 7
    expected = y[x[:, slot] == 1].mean(axis=0) - y[x[:, slot] == 0].mean(axis=0)
    np.testing.assert_allclose(w[slot], expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose((base + x @ w).mean(axis=0), y.mean(axis=0), rtol=1e-3, atol=1e-3)


def test_reading_inverts_writing(fitted: d.Directions) -> None:
    members = torch.zeros(3, N_SLOTS)
    members[0, [1, 5]], members[1, 9] = 1, 1
    for t in (1, 2):
        for name in d.ESTIMATORS:
            thoughts = fitted.base[name][t - 1] + members @ fitted.vectors[name][t - 1]
            torch.testing.assert_close(fitted.coefficients(thoughts, t, name), members, rtol=0.02, atol=0.02)
            assert torch.equal(fitted.active(thoughts, t, name), members.bool())


def test_exchangeable_slots_look_exchangeable() -> None:
    rng = np.random.default_rng(0)
    orthogonal, _ = np.linalg.qr(rng.standard_normal((WIDTH, N_SLOTS)))
    w = 3 * orthogonal.T + 1.0 * rng.standard_normal(WIDTH) / np.sqrt(WIDTH)
    found = d._symmetry(1, w, orthogonal.T)
    assert found.norm_spread < 0.1
    assert found.cosine_spread < 0.05
    assert found.to_unembedding > 0.9
    assert abs(found.to_other_unembedding) < 0.1
    alone = d._symmetry(1, 3 * orthogonal.T, orthogonal.T)
    assert alone.common_share == pytest.approx(1 / N_SLOTS)
    assert alone.cosine_spread < 1e-6
    odd = w.copy()
    odd[0] *= 10
    assert d._symmetry(1, odd, orthogonal.T).norm_spread > 1


def test_rare_thoughts_are_not_fitted(model: CoconutGPT2) -> None:
    data, *_ = sample(400, seed=1, noise=0.1)
    rare = data.frontier.copy()
    rare[d.MIN_FIT - 1 :, 1] = False
    fitted = d.fit(model, replace(data, frontier=rare), replace(data, frontier=rare), seed=0)
    assert fitted.defined == (1,)
    assert {score.thought for score in fitted.about.scores} == {1}
    with pytest.raises(InputError, match=f"at least {d.MIN_FIT} problems"):
        d.fit(model, sample(50, seed=1, noise=0.1)[0], data, seed=0)


def test_round_trip_is_exact(fitted: d.Directions, tmp_path: Path) -> None:
    d.save(fitted, tmp_path / "x.safetensors")
    again = d.load(tmp_path / "x.safetensors")
    assert (again.about, again.defined, again.digest) == (fitted.about, fitted.defined, fitted.digest)
    assert torch.equal(again.mean, fitted.mean)
    assert torch.equal(again.bank, fitted.bank)
    for name in d.ESTIMATORS:
        for field in ("base", "vectors", "readout_vectors"):
            assert torch.equal(getattr(again, field)[name], getattr(fitted, field)[name])


def test_files_that_are_not_directions(fitted: d.Directions, tmp_path: Path, tiny: CoconutGPT2) -> None:
    with pytest.raises(InputError, match="python -m probing directions"):
        d.load(tmp_path / "missing.safetensors")
    (tmp_path / "text.safetensors").write_text("hello")
    with pytest.raises(InputError, match="damaged or not safetensors"):
        d.load(tmp_path / "text.safetensors")
    save_file({"mean": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="not node directions"):
        d.load(tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="fitted on another checkpoint"):
        fitted.check_fits(tiny)


def test_the_fingerprint_follows_the_weights(tiny: CoconutGPT2, tmp_path: Path) -> None:
    checkpoint.save(tiny, tmp_path / "copy")
    assert checkpoint.fingerprint(checkpoint.load(tmp_path / "copy")) == checkpoint.fingerprint(tiny)
    assert checkpoint.fingerprint(checkpoint.untrained(tiny.config, seed=2)) != checkpoint.fingerprint(tiny)


def test_collected_frontiers_are_the_graphs(tiny: CoconutGPT2) -> None:
    problems = list(generate("balanced", 5, 3))
    found = d.collect(tiny, problems, seed=9, batch_size=2)
    for row, problem in enumerate(problems):
        slots = draw_prompt(tiny, problem, seed=9, number=row).keys
        assert set(np.flatnonzero(found.present[row])) == set(slots)
        for t in range(1, 7):
            assert set(np.flatnonzero(found.frontier[row, t - 1])) == {slots[v] for v in problem.frontier(t)}
            assert problem.counterfactual is not None
            assert set(np.flatnonzero(found.other[row, t - 1])) == {
                slots[v] for v in problem.counterfactual.frontier(t)
            }


def test_a_planted_search_is_read_exactly() -> None:
    model = Planted(())
    problems = list(generate("balanced", 500, 1))
    fitted = d.fit(model, d.collect(model, problems[:400], seed=0), d.collect(model, problems[400:], seed=1), seed=0)
    assert fitted.defined[:3] == (1, 2, 3)
    for score in fitted.about.scores:
        assert score.exact.value == 1
        # The difference of means also sees which nodes come together, which a graph's layers do.
        assert score.r2 > (0.8 if score.estimator == "difference" else 0.98)
    slots = range(model.codec.n_keys)
    for t in fitted.defined[:3]:
        for s in slots:
            vector = fitted.vectors["ridge"][t - 1, s]
            assert int(vector.argmax()) == FIRST_SLOT + s
            assert float(vector.max()) == pytest.approx(HELD, rel=0.1)


def test_the_shipped_directions_belong_to_the_shipped_checkpoint(trained: CoconutGPT2) -> None:
    fitted = d.load(checkpoint.DEFAULT_CHECKPOINT / d.FILE_NAME)
    fitted.check_fits(trained)
    assert {1, 2, 3} <= set(fitted.defined)
    assert fitted.n_thoughts == n_thoughts_of(trained)


def test_a_checkpoint_without_thoughts_says_so(tiny: CoconutGPT2) -> None:
    config = type(tiny.config).from_dict({**tiny.config.to_dict(), "trained_stage": 0, "method": "no_cot"})
    with pytest.raises(CheckpointError, match="has no thoughts to edit"):
        n_thoughts_of(checkpoint.untrained(config))
