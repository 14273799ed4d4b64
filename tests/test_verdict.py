from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from planted import Planted

from model import checkpoint
from model.coconut import CoconutGPT2, ThoughtTrace
from model.codec import Prompt
from model.errors import InputError
from model.problems.generate import generate
from model.problems.prosqa import ProsQAProblem
from model.store import read_rows
from probing.draw.verdict_page import summary_sentences, to_html, write_sheets
from probing.edit import directions as d
from probing.edit.verdict import BARS, CLAIMS, RULES, TESTED, THRESHOLDS, Sheet, flags_of, make_sheet, read_sheets

THOUGHTS = 3


@pytest.fixture(scope="module")
def problems() -> list[ProsQAProblem]:
    return list(generate("balanced", 420, 17))


def sheet_of(model: CoconutGPT2, problems: list[ProsQAProblem], out: Path, name: str) -> Sheet:
    fit, held_out, judged = problems[:230], problems[230:250], problems[250:]
    fitted = d.fit(model, d.collect(model, fit, seed=0), d.collect(model, held_out, seed=1), seed=0)
    return make_sheet(model, judged, out, directions=fitted, name=name, source="balanced", seed=2)


@pytest.fixture(scope="module")
def second_only(problems: list[ProsQAProblem], tmp_path_factory: pytest.TempPathFactory) -> Sheet:
    return sheet_of(Planted((2,), THOUGHTS), problems, tmp_path_factory.mktemp("second"), "reads thought 2 only")


@pytest.fixture(scope="module")
def none_used(problems: list[ProsQAProblem], tmp_path_factory: pytest.TempPathFactory) -> Sheet:
    return sheet_of(Planted((), THOUGHTS), problems, tmp_path_factory.mktemp("none"), "ignores its thoughts")


def test_a_model_that_reads_thought_2_only(second_only: Sheet) -> None:
    assert second_only.accuracy.value == 1
    assert second_only.outcomes("decodable") == ("shown", "shown", "shown")
    for claim in ("used", "necessary", "sufficient"):
        assert second_only.outcomes(claim) == ("not shown", "shown", "not shown"), claim
    # A dead end stands out in fewer than MIN_N of these problems, so more than partly is never said.
    assert second_only.outcomes("parallel") == ("not shown", "partly", "not shown")
    sentences = summary_sentences(second_only)
    assert sentences[0] == "Content of thought 2 is used: editing one branch inside it turns the answer."
    assert "Necessary: thought 2." in sentences
    assert "Decodable, but not shown to be used: thoughts 1 and 3." in sentences
    assert second_only.finding("sufficient", 2).value.value == 1  # type: ignore[union-attr]
    assert second_only.finding("sufficient", 1).value.value == 0  # type: ignore[union-attr]
    flipped = second_only.by_gap["transplant, both candidates as deep"]
    assert [each and each.value for each in flipped] == [0, 1, 0]
    assert second_only.without["no thoughts"].low < 0.5 < second_only.without["no thoughts"].high


def test_a_model_that_ignores_its_thoughts(none_used: Sheet) -> None:
    """Decodable to the last node and not used: the case this sheet exists for."""
    assert none_used.accuracy.value == 1
    assert none_used.outcomes("decodable") == ("shown", "shown", "shown")
    for claim in ("used", "necessary", "sufficient", "parallel"):
        assert none_used.outcomes(claim) == ("not shown",) * 3, claim
    sentences = summary_sentences(none_used)
    assert sentences[0] == "No thought is shown to be used: editing branches does no more than the controls do."
    assert "Decodable, but not shown to be used: thoughts 1, 2 and 3." in sentences
    assert all(value.value == 1 for value in none_used.without.values())
    for t in (1, 2, 3):
        assert none_used.finding("used", t).value.value == 0  # type: ignore[union-attr]


def test_what_must_be_known_is_said(
    none_used: Sheet, second_only: Sheet, problems: list[ProsQAProblem], monkeypatch: pytest.MonkeyPatch
) -> None:
    idle = "Thoughts idle: accuracy is the same with all thoughts zeroed."
    assert idle in none_used.flags
    assert idle in summary_sentences(none_used)
    assert idle not in second_only.flags
    assert not any("Winner" in flag for flag in second_only.flags)  # it searches: thought 1 holds its first step
    model = Planted((2,), THOUGHTS)

    def knows(thinker: CoconutGPT2, trace: ThoughtTrace, prompts: list[Prompt]) -> SimpleNamespace:
        """What a model that has the answer from the start holds; the control is a coin."""
        logit = np.zeros((len(prompts), 2, max(prompt.problem.n_nodes for prompt in prompts)))
        for row, prompt in enumerate(prompts):
            logit[row, :, prompt.problem.target] = 1 if thinker is model else (-1) ** row
        return SimpleNamespace(logit=logit)

    monkeypatch.setattr("probing.edit.verdict.node_log_probs", knows)
    (winner,) = [flag for flag in flags_of(model, problems[:100], second_only) if "Winner" in flag]
    assert "100.0 %" in winner
    even = sum(p.backward_depth(p.target) == p.backward_depth(p.neg_target) for p in problems[:100])
    assert f"of {even} problems" in winner
    assert "untrained 50.0 %" in winner


def test_an_untrained_model(tiny: CoconutGPT2, problems: list[ProsQAProblem], tmp_path: Path) -> None:
    sheet = sheet_of(tiny, problems, tmp_path, "untrained")
    assert sheet.accuracy.low < 0.5 < sheet.accuracy.high
    for claim in CLAIMS:
        assert set(sheet.outcomes(claim)) <= {"not shown", "not tested"}, claim
    assert any("not answer better than chance" in sentence for sentence in summary_sentences(sheet))


class MeanFed(CoconutGPT2):
    """The shipped weights, fed one constant thought a step whatever they think: nothing of the problem is in it."""

    means: torch.Tensor

    def think(self, start, n_thoughts, *, edit=None, stream=None):
        def constant(t: int, thought: torch.Tensor) -> torch.Tensor:
            mean = self.means[t - 1].expand_as(thought)
            return mean if edit is None else edit(t, mean)

        return super().think(start, n_thoughts, edit=constant, stream=stream)


@pytest.mark.parametrize("refitted", [False, True])
def test_thoughts_that_hold_nothing_are_never_said_to_do_anything(tmp_path: Path, refitted: bool) -> None:
    """The channel can steer the answer; that says nothing of what the model puts there."""
    folder = checkpoint.CHECKPOINTS / "prosqa-tiny"
    trained, fitted = checkpoint.load(folder), d.load(folder / d.FILE_NAME)
    model = MeanFed(trained.config)
    model.load_state_dict(trained.state_dict())
    model.means = fitted.mean
    many = list(generate("balanced", 480, 5, nodes=(6, 8), hops=(2, 2)))
    if refitted:
        samples = (d.collect(model, part, seed=seed) for seed, part in enumerate((many[230:430], many[430:])))
        fitted = d.fit(model, *samples, seed=0)
    sheet = make_sheet(model.eval(), many[:230], tmp_path, directions=fitted, name="mean fed", source="balanced")
    assert sheet.accuracy.value < 0.65
    if not refitted:
        assert sheet.finding("used", 2).value.value > 0.9  # type: ignore[union-attr]
    for claim in ("used", "necessary", "sufficient", "parallel"):
        assert set(sheet.outcomes(claim)) <= {"not shown", "not tested"}, claim
    assert sheet.outcomes("used") == ("not tested",) * 2
    assert "not clearly above 60 %" in sheet.finding("used", 1).words


def test_a_sheet_goes_on_in_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = checkpoint.CHECKPOINTS / "prosqa-tiny"
    many, fitted = list(generate("balanced", 100, 9, nodes=(6, 8), hops=(2, 2))), d.load(folder / d.FILE_NAME)

    def sheet() -> Sheet:
        return make_sheet(checkpoint.load(folder), many, tmp_path, directions=fitted, name="x", source="x")

    first = sheet()
    monkeypatch.setattr("probing.edit.data_set.dataset_rows", lambda *args, skip, **rest: iter([] if skip else [1]))
    assert sheet() == first, "nothing is run a second time"


def test_a_pause_model_is_asked_where_nothing_is_fed_back(tmp_path: Path) -> None:
    folder = checkpoint.CHECKPOINTS / "prosqa-tiny-pause"
    model, many = checkpoint.load(folder), list(generate("balanced", 160, 9, nodes=(6, 8), hops=(2, 2)))
    sheet = make_sheet(model, many, tmp_path, directions=d.load(folder / d.FILE_NAME), name="pause", source="balanced")
    for claim in ("used", "sufficient", "parallel"):
        assert set(sheet.outcomes(claim)) == {"not tested"}
        for t in (1, 2):
            words = sheet.finding(claim, t).words
            assert words.startswith("nothing is fed back here; patching the residual stream at that position flips")
            assert "after block 2" in words
    # Its thought 2 holds the second layer of both roots: all that a reader of depths would know.
    assert sheet.outcomes("decodable") == ("partly", "not shown")
    beyond = [float(row["auroc"][1] or "nan") for row in read_rows(tmp_path / "rows.jsonl") if row["edit"] == "clean"]
    assert np.nanmean(beyond) > 0.75


def test_problems_that_directions_were_fitted_on_are_refused(problems: list[ProsQAProblem], tmp_path: Path) -> None:
    model = Planted((2,), THOUGHTS)
    fitted = d.fit(model, d.collect(model, problems[:230], seed=0), d.collect(model, problems[230:250], seed=1), seed=0)
    d.save(fitted, tmp_path / "d.safetensors")
    fitted = d.load(tmp_path / "d.safetensors")
    with pytest.raises(InputError, match="21 of the 121 problems are among those that the node directions"):
        make_sheet(model, problems[229:350], tmp_path / "x", directions=fitted, name="x", source="x")


def test_sheets_round_trip_and_are_pages(second_only: Sheet, none_used: Sheet, tmp_path: Path) -> None:
    write_sheets([second_only, none_used], tmp_path)
    again = read_sheets(tmp_path / "verdict.json")
    assert again == [second_only, none_used]
    assert Sheet.parse(second_only.to_json(), where="x") == second_only
    assert again[0].finding("used", 2) == second_only.finding("used", 2)
    assert second_only.thresholds == THRESHOLDS
    page = (tmp_path / "verdict.html").read_text(encoding="utf-8")
    found: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            found.append(tag)
            assert not {"src", "href"} & {name for name, _ in attrs}, "the page loads nothing"

    Reader().feed(page)
    assert found.count("section") == 3
    assert "script" not in found
    assert "n\u00a0=\u00a01" in page
    odd = none_used.model_copy(update={"name": "<b>&x</b>"})
    assert "<b>&x" not in to_html([odd])
    for wrong in ("{}", '{"version": 9}', "[1]"):
        with pytest.raises(InputError, match="x: not a verdict sheet"):
            Sheet.parse(wrong, where="x")


def test_too_few_problems_and_foreign_directions(
    tiny: CoconutGPT2, problems: list[ProsQAProblem], tmp_path: Path
) -> None:
    shipped = d.load(checkpoint.DEFAULT_CHECKPOINT / d.FILE_NAME)
    with pytest.raises(InputError, match="at least 100 problems"):
        make_sheet(tiny, problems[:5], tmp_path, directions=shipped, name="x", source="x")
    with pytest.raises(InputError, match="another checkpoint"):
        make_sheet(tiny, problems, tmp_path, directions=shipped, name="x", source="x")
    assert not list(tmp_path.iterdir())


def quoted(rule: str) -> set[float]:
    return {float(n) / (1 if n.startswith(".") else 100) for n in re.findall(r"[0-9.]*[0-9]", rule)}


def test_the_rules_in_words_are_the_thresholds() -> None:
    for claim in CLAIMS:
        assert quoted(RULES[claim]) == {value for name, value in THRESHOLDS.items() if claim in name}
    others = {value for name, value in THRESHOLDS.items() if not any(claim in name for claim in CLAIMS)}
    assert quoted(TESTED) == others
    assert set(BARS.values()) <= set(THRESHOLDS)
