"""Passes in bfloat16: what is rounded and what is not, when it is chosen, and that nobody mixes the two unsaid."""

from __future__ import annotations

import copy
import json

import pytest
import torch

from model import checkpoint, precision
from model.coconut import CoconutGPT2
from model.codec import PromptBatch
from model.errors import InputError
from model.precision import Bfloat16, use, worth_it
from model.problems.generate import generate
from model.store import RunStore
from probing.dataset.findings import RunModel
from probing.dataset.record import Settings, make_sources, record_all
from probing.draw import of_intervention, of_report
from probing.edit.data_set import run_to_folder
from probing.edit.one_problem import Intervention, intervene
from probing.edit.spec import EditPlan
from probing.read.probe import probe
from probing.read.report import ProbeReport

PROBLEMS = list(generate("balanced", 4, 3))


@pytest.fixture
def model(tiny: CoconutGPT2) -> CoconutGPT2:
    return copy.deepcopy(tiny)


def prompts(model: CoconutGPT2) -> PromptBatch:
    return model.codec.collate([model.codec.prompts(problem, 1, seed=0)[0] for problem in PROBLEMS])


def test_a_product_is_that_of_the_rounded_numbers(model: CoconutGPT2) -> None:
    """Against float64 of the same rounded inputs and weights: only the result is rounded again (2^-8 of it)."""
    module = model.transformer.h[0].mlp.c_fc
    x = torch.randn(2, 3, model.config.n_embd, generator=torch.Generator().manual_seed(0))
    rounded = [each.detach().bfloat16().double() for each in (x, module.weight, module.bias)]
    expected = rounded[0] @ rounded[1] + rounded[2]
    with torch.no_grad():
        found = Bfloat16(model).affine(x, module, slice(3, None))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected[..., 3:], rtol=2**-7, atol=2**-7)


def test_everything_but_the_products_is_float32_and_gradients_are_too(model: CoconutGPT2) -> None:
    fed: list[torch.Tensor] = []

    def note(t: int, thought: torch.Tensor) -> torch.Tensor:
        fed.append(thought)
        return thought

    before = checkpoint.fingerprint(model)
    with torch.no_grad():
        exact = model.think(prompts(model), 2)
        rough = use(model, "bfloat16").think(prompts(model), 2, edit=note)
        kept = (rough.states, rough.thoughts, *fed, *(tensor for pair in rough.cache for tensor in pair))
        assert {tensor.dtype for tensor in (*kept, model.logits(rough.states))} == {torch.float32}
        assert not torch.equal(rough.states, exact.states)
        torch.testing.assert_close(rough.states, exact.states, atol=0.2, rtol=0.05)
        assert torch.equal(copy.deepcopy(model).think(prompts(model), 2).states, rough.states)
    assert checkpoint.fingerprint(model) == before
    assert torch.equal(model.think(prompts(model), 2).states, use(model, "float32").think(prompts(model), 2).states)


@pytest.mark.parametrize(
    ("has", "seconds", "apart", "chosen"),
    [(True, 0.5, 0.0, True), (False, 0.5, 0.0, False), (True, 0.95, 0.0, False), (True, 0.5, 0.1, False)],
)
def test_auto_takes_bfloat16_where_it_is_there_faster_and_the_same(
    model: CoconutGPT2, monkeypatch: pytest.MonkeyPatch, has: bool, seconds: float, apart: float, chosen: bool
) -> None:
    """With a planted clock (float32 takes 1 s) and a planted bias of one next token's probability."""
    now, think, logits = [0.0], model.think, model.logits

    def timed(*args, **options):
        now[0] += seconds if model.precision == "bfloat16" else 1.0
        return think(*args, **options)

    def biased(states: torch.Tensor) -> torch.Tensor:
        found = torch.zeros_like(logits(states))  # all of 48 tokens alike
        found[..., 0] += 5 * apart * (model.precision == "bfloat16")
        return found

    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": has})
    monkeypatch.setattr(precision.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(model, "think", timed)
    monkeypatch.setattr(model, "logits", biased)
    monkeypatch.setattr(precision, "MOST_APART", 0.01)
    assert worth_it(model) is chosen
    assert model.precision == "float32"
    assert use(model, "auto").precision == ("bfloat16" if chosen else "float32")


def test_what_is_reported_says_it_and_what_says_nothing_was_float32(model: CoconutGPT2) -> None:
    plan = EditPlan.parse("zero:t=1")
    for wanted in ("float32", "bfloat16"):
        use(model, wanted)
        report = probe(model, PROBLEMS[0], n_samples=2)
        edited = intervene(model, PROBLEMS[0], plan, directions=None, n_samples=2)
        assert report.model.precision == edited.precision == wanted
        for drawn in (of_report.heatmap(report), of_intervention.strip(edited)):
            assert f"passes in {wanted}" in drawn.words.caption
    old = json.loads(report.to_json())
    del old["model"]["precision"]
    assert ProbeReport.parse(json.dumps(old), where="old").model.precision == "float32"
    old = json.loads(edited.to_json())
    del old["precision"]
    assert Intervention.parse(json.dumps(old), where="old").precision == "float32"


def test_no_run_is_resumed_in_another_precision(model: CoconutGPT2, tmp_path) -> None:
    def edited(wanted: precision.Wanted) -> None:
        run_to_folder(
            use(model, wanted), PROBLEMS[:2], [EditPlan.parse("zero:t=1")], tmp_path / "edits", directions=None,
            source="made", controls=(),
        )  # fmt: skip

    def recorded(wanted: precision.Wanted) -> list[RunModel] | None:
        sources, settings = make_sources(tmp_path / "tiny"), Settings(precision=wanted)
        return record_all(sources, PROBLEMS[:2], tmp_path / "recorded", data="made", settings=settings)

    checkpoint.save(model, tmp_path / "tiny")

    for run in (edited, recorded):
        run("bfloat16")
        run("bfloat16")
        with pytest.raises(InputError, match="precision differ"):
            run("float32")
    models = recorded("bfloat16")
    assert models is not None
    assert [each.info.precision for each in models] == ["bfloat16"] * 2
    # A run of before, which does not say, was in float32.
    header = {"version": 1, "precision": "float32"}
    RunStore(tmp_path / "old", {"version": 1}).claim()
    RunStore(tmp_path / "old", header)
    with pytest.raises(InputError, match="precision differ"):
        RunStore(tmp_path / "old", header | {"precision": "bfloat16"})
