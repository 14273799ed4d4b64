"""Edits, data sets and the verdict where nodes are several tokens, in a made-up format and in English."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from test_lens import english
from two_tokens import two_token_model
from typer.testing import CliRunner

from model import checkpoint
from model.coconut import CoconutConfig, CoconutGPT2
from model.files import write_json
from model.problems.generate import generate
from model.problems.prosqa import ProsQAProblem
from model.readout import key_vectors
from model.stats import percent
from model.store import read_rows
from probing.__main__ import app
from probing.dataset.findings import DatasetResult
from probing.draw.of_intervention import pair, values_of
from probing.edit import verdict
from probing.edit.data_set import read_summaries, run_to_folder
from probing.edit.directions import Directions, collect, fit, load, save
from probing.edit.one_problem import Intervention, intervene
from probing.edit.spec import EditPlan

N_THOUGHTS = 2


@pytest.fixture(scope="module", params=["two", "english"])
def model(request: pytest.FixtureRequest) -> CoconutGPT2:
    if request.param == "english":
        return english()
    made = two_token_model()
    config = CoconutConfig.from_dict({**made.config.to_dict(), "trained_stage": N_THOUGHTS})
    ours = checkpoint.untrained(config, seed=2)
    ours.load_state_dict(made.state_dict())
    return ours


@pytest.fixture(scope="module")
def problems() -> list[ProsQAProblem]:
    return list(generate("balanced", 260, 5, hops=(2, 2), nodes=(6, 8)))


@pytest.fixture(scope="module")
def fitted(model: CoconutGPT2, problems: list[ProsQAProblem]) -> Directions:
    return fit(model, collect(model, problems[:220], seed=0), collect(model, problems[220:], seed=1), seed=0)


def test_directions_are_fitted(model: CoconutGPT2, fitted: Directions, tmp_path: Path) -> None:
    assert fitted.defined == (1, 2)
    assert fitted.vectors["ridge"].shape == (N_THOUGHTS, model.codec.n_keys, 32)
    unit = fitted.vectors["unembedding"][0] / fitted.vectors["unembedding"][0].norm(dim=1, keepdim=True)
    rows = key_vectors(model)
    cosine = (unit * rows / rows.norm(dim=1, keepdim=True)).sum(dim=1)
    assert float(cosine.abs().min()) > 0.999
    save(fitted, tmp_path / "x.safetensors")
    load(tmp_path / "x.safetensors").check_fits(model)


@pytest.mark.parametrize("text", ["swap:t=1,strength=1.5", "swap:t=2,dose=held&project:t=2,nodes=frontier"])
def test_a_swap(model: CoconutGPT2, fitted: Directions, problems: list[ProsQAProblem], text: str) -> None:
    result = intervene(model, problems[0], EditPlan.parse(text), directions=fitted, n_samples=2)
    shape = (2, N_THOUGHTS + 1, problems[0].n_nodes)
    assert result.clean.states.shape == result.edited.states.shape == shape
    assert np.isfinite(result.edited.states).all()
    assert np.isfinite(result.edited.coefficients).all()
    same = result.controls["identity"]
    assert (same.kl == 0).all()
    for name in ("states", "fed", "log_odds", "mass", "other_mass"):
        np.testing.assert_array_equal(getattr(same, name), getattr(result.clean, name))
    for name in ("states", "fed", "log_odds", "kl"):
        assert not np.array_equal(getattr(result.edited, name), getattr(result.clean, name)), name
    assert Intervention.parse(result.to_json(), where="x").to_json() == result.to_json()
    (touched, *_), before, after = result.touched, result.clean.coefficients, result.edited.coefficients
    assert before is not None
    assert after is not None
    if text.startswith("swap:t=1"):  # what is read of the thought is what was written into it
        assert (after - before)[:, 0, touched.put].min() > 0 > (after - before)[:, 0, touched.out].max()


def test_a_data_set(model: CoconutGPT2, fitted: Directions, problems: list[ProsQAProblem], tmp_path: Path) -> None:
    plans = [EditPlan.parse(text) for text in ("swap:t=1", "transplant:t=2", "truncate:k=1", "patch:t=1,layer=1")]
    summaries = run_to_folder(model, problems[:4], plans, tmp_path, directions=fitted, source="x")
    assert read_summaries(tmp_path / "summary.json") == summaries
    rows = list(read_rows(tmp_path / "rows.jsonl"))
    for row in rows:
        if row["control"] == "identity":
            assert row["kl"] == [0.0] * (N_THOUGHTS + 1)
            assert row["log_odds"] == row["clean_log_odds"]
    clean = [row for row in rows if row["edit"] == "clean"]
    assert len(clean) == 4
    assert all(0 <= value <= 1 for row in clean for value in row["lens_auroc"] + row["auroc"])


def test_a_verdict(model: CoconutGPT2, fitted: Directions, tmp_path: Path) -> None:
    n = verdict.MIN_N
    others = list(generate("balanced", n, 6, hops=(2, 2), nodes=(6, 8)))
    sheet = verdict.make_sheet(model, others, tmp_path, directions=fitted, name="two tokens", source="x")
    assert sheet.n_problems == n
    assert {claim: len(sheet.outcomes(claim)) for claim in verdict.CLAIMS} == dict.fromkeys(verdict.CLAIMS, N_THOUGHTS)
    for claim in ("decodable", "necessary"):
        assert sheet.finding(claim, 1).outcome != "not tested", claim


def test_every_analysis_of_a_data_set(model: CoconutGPT2, problems: list[ProsQAProblem], tmp_path: Path) -> None:
    """Recorded, analysed and written by the command; attention goes by the tokens of an edge."""
    checkpoint.save(model, tmp_path / "model")
    write_json(tmp_path / "p.json", [problem.to_row() for problem in problems[:40]])
    told = {"data": tmp_path / "p.json", "checkpoint": tmp_path / "model", "out": tmp_path / "out"}
    made = CliRunner().invoke(app, ["dataset", *(word for key in told for word in (f"--{key}", str(told[key])))])
    assert made.exit_code == 0, made.output
    result = DatasetResult.load(tmp_path / "out" / "result.json")
    assert result.n_problems == 40
    assert len(result.sections) >= 10


def test_what_is_said_of_a_thought_is_what_its_nodes_are_coloured_by(
    model: CoconutGPT2, fitted: Directions, problems: list[ProsQAProblem]
) -> None:
    """A node of several tokens is read behind its prefix; the vector alone says another number."""
    result = intervene(model, problems[0], EditPlan.parse("noise:t=2"), directions=fitted, n_samples=2)
    before, after, *_ = pair(result, 1)
    for drawn, side in ((before, result.clean), (after, result.edited)):
        held = values_of(result, side, 1, "probability").mean(axis=0)[sorted(problems[0].frontier(1))].sum()
        assert drawn.subtitle[0].startswith(percent(float(held)))
