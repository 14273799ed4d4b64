"""Accuracy by number of thoughts: answers read as written, and intervals that say what n they come from."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from model.__main__ import app
from model.codec import NO_NODE
from model.codec_slots import ANSWER, EOS, answer_tokens
from model.errors import InputError
from model.evaluate import Evaluation, evaluate, summary
from model.files import write_json
from model.problems.prosqa import ProsQAProblem
from model.readout import forced_answers
from model.stats import mean_interval, wilson

PROBLEMS = [
    ProsQAProblem.from_names(
        [*((f"x{i}", f"x{i + 1}") for i in range(n)), ("x0", "y"), ("o", "p"), ("p", "q")],
        root="x0",
        candidates=("q", f"x{n}"),
    )
    for n in (3, 4, 3)
]


def test_the_answer_is_the_token_after_the_first_answer_marker() -> None:
    a, e = ANSWER, EOS
    written = torch.tensor([[[9, a, 17, e], [a, 12, a, 13], [9, 9, 9, 9], [9, 9, 9, a]]])
    assert answer_tokens(written).tolist() == [[17, 12, NO_NODE, NO_NODE]]


def test_batches_and_their_size_do_not_change_the_answers(tiny) -> None:
    one = evaluate(tiny, PROBLEMS, n_samples=2, seed=1, batch_size=1)
    many = evaluate(tiny, PROBLEMS, n_samples=2, seed=1, batch_size=6)
    assert one.answers.shape == (3, 2, 7)
    assert np.array_equal(one.answers, many.answers)


@torch.inference_mode()
def test_the_shipped_model_answers_by_search(trained) -> None:
    """These graphs are far smaller than any in training: filled up they are answered, bare ones are guessed."""
    filled, bare = (evaluate(trained, PROBLEMS, n_samples=8, pad=pad).accuracy()[6].value for pad in (True, False))
    assert filled > 0.9
    assert bare < 0.8


def test_correct_compares_with_each_problems_target() -> None:
    answers = np.array([[[PROBLEMS[0].target]], [[PROBLEMS[1].neg_target]], [[NO_NODE]]])
    result = Evaluation(tuple(PROBLEMS), answers, answers < 0)
    assert result.correct[:, 0, 0].tolist() == [1, 0, 0]
    assert result.accuracy()[0].value == pytest.approx(1 / 3)
    assert result.accuracy([0])[0].value == 1


def test_intervals() -> None:
    # Wilson by its closed form at 10 of 20, z = 1.959964
    z2 = 1.959964**2
    half = np.sqrt(z2) / (1 + z2 / 20) * np.sqrt(0.25 / 20 + z2 / 1600)
    assert wilson(10, 20) == pytest.approx((0.5 - half, 0.5 + half), abs=1e-6)
    targets = np.array([problem.target for problem in PROBLEMS])
    one = Evaluation((PROBLEMS[0],) * 20, *[np.repeat([targets[0], NO_NODE], 10)[:, None, None]] * 2)
    assert one.accuracy()[0].cells() == pytest.approx((0.5, 0.5 - half, 0.5 + half, 20), abs=1e-6)
    three = Evaluation(tuple(PROBLEMS), *[targets[:, None, None].repeat(3, axis=1)] * 2)
    assert three.accuracy()[0].cells() == (1, None, None, 3)
    one = Evaluation((PROBLEMS[0],), *[np.full((1, 3, 1), targets[0])] * 2)
    assert one.accuracy()[0].cells() == (1, None, None, 1)
    mean, _, high = mean_interval(np.array([1.0, 1.0, 2.0, 3.0, 3.0]))
    assert (mean, high - mean) == pytest.approx((2, 2.776445 / np.sqrt(5)))  # t(.975, 4) = 2.776445, sd = 1
    assert mean_interval(np.array([1.0, 2.0, 3.0, 4.0]))[1] is None  # too few for an interval


def test_nothing_to_evaluate_is_an_error(tiny) -> None:
    with pytest.raises(InputError, match="no problem"):
        evaluate(tiny, [])
    with pytest.raises(InputError, match="batch size"):
        evaluate(tiny, PROBLEMS, batch_size=0)


def test_summary_counts_every_problem_once_by_hops() -> None:
    answers = np.array([[[p.neg_target, p.target]] for p in PROBLEMS])
    values = summary(Evaluation(tuple(PROBLEMS), answers, answers < 0), range(2))
    assert values["n"] == 3
    assert values["accuracy"] == {"0": 0, "1": 1}
    assert {hops: part["n"] for hops, part in values["by_hops"].items()} == {"3": 2, "4": 1}
    assert values["ci95"]["1"] == pytest.approx(list(wilson(3, 3)))


@torch.inference_mode()
def test_thoughts_can_follow_the_problem(tiny, tmp_path, capsys) -> None:
    """As many thoughts as hops gives what stands in the columns of the full table; forced answers beside free ones."""
    full = evaluate(tiny, PROBLEMS, n_thoughts=5, n_samples=2)
    followed = full.after_hops(1)
    for row, problem in enumerate(PROBLEMS):
        assert np.array_equal(followed.answers[row, :, 0], full.answers[row, :, problem.n_hops + 1])
        assert np.array_equal(followed.forced[row, :, 0], full.forced[row, :, problem.n_hops + 1])
    forced = evaluate(tiny, PROBLEMS, n_thoughts=5).forced
    for row, problem in enumerate(PROBLEMS):
        prompt = tiny.codec.prompt(problem, np.random.default_rng([0, row]))
        for k in range(6):
            trace = tiny.think(tiny.codec.collate([prompt]), k)
            assert forced[row, 0, k] == (forced_answers(tiny, trace, [prompt], last_only=True).log_odds[0, 0] > 0)
    data, out = tmp_path / "p.json", tmp_path / "x.json"
    write_json(data, [problem.to_row() for problem in PROBLEMS])
    told = ["evaluate", "--data", str(data), "--out", str(out), "--thoughts"]
    for text, ks in (("hops", ["0"]), ("+2", ["0"]), ("hops+1", ["0"]), ("2-3", ["2", "3"])):
        app([*told, text], standalone_mode=False)
        values = json.loads(out.read_text())
        assert list(values["accuracy"]) == list(values["forced"]["accuracy"]) == ks
        assert values["thoughts"] == text
    assert "hops+1, forced" in capsys.readouterr().out
    app([*told, "hops", "--trained-size"], standalone_mode=False)
    assert json.loads(out.read_text())["left_out"] == 0


def test_command_line(tmp_path, capsys) -> None:
    data, out = tmp_path / "data.json", tmp_path / "out.json"
    write_json(data, [problem.to_row() for problem in PROBLEMS])
    app(["evaluate", "--data", str(data), "--out", str(out), "--thoughts", "5-6", "--fill"], standalone_mode=False)
    values = json.loads(out.read_text())
    assert values["n"] == 3
    assert list(values["accuracy"]) == list(values["ci95"]) == ["5", "6"]
    assert set(values["baselines"]) == {"deeper_backward", "lower_in_degree", "more_ancestors"}
    assert "deeper_backward" in capsys.readouterr().out
    for bad in (["--thoughts", "6-5"], ["--thoughts", "x"], ["--checkpoint", str(tmp_path)], ["--device", "tpu"]):
        with pytest.raises(InputError):
            app(["evaluate", "--data", str(data), "--out", str(out), *bad], standalone_mode=False)
