from __future__ import annotations

import csv
import io

import numpy as np
import pytest

from app.compute import example
from model import checkpoint
from model.coconut import CoconutGPT2
from model.errors import InputError
from probing.draw.of_intervention import (
    FORMATS,
    answer_words,
    changes,
    drift,
    export,
    missing_controls,
    pair,
    runs,
    searches,
    values_of,
)
from probing.draw.values import display_name
from probing.edit import directions
from probing.edit.one_problem import Intervention, intervene
from probing.edit.spec import EditPlan


def made(model: CoconutGPT2, text: str) -> Intervention:
    fitted = directions.load(checkpoint.DEFAULT_CHECKPOINT / directions.FILE_NAME)
    return intervene(model, example(), EditPlan.parse(text), directions=fitted, n_samples=2)


@pytest.fixture(scope="module")
def swapped(trained: CoconutGPT2) -> Intervention:
    return made(trained, "swap:t=2,strength=1.5")


def test_both_graphs_are_on_one_scale_and_show_the_thoughts_as_fed(swapped: Intervention) -> None:
    for value in ("probability", "weight"):
        before, after = pair(swapped, 2, value=value)
        assert before.scale == after.scale
        for scene, side in ((before, swapped.clean), (after, swapped.edited)):
            means = values_of(swapped, side, 2, value).mean(axis=0)
            np.testing.assert_allclose([node.value for node in scene.nodes], means)
            assert {node.id for node in scene.nodes if node.frontier} == set(swapped.problem.frontier(2))
    assert [node.value for node in before.nodes] != [node.value for node in after.nodes]


def test_nothing_before_the_edit_differs(swapped: Intervention) -> None:
    before, after = pair(swapped, 1)
    assert before.nodes == after.nodes
    moved = np.array([[cell.found.value for cell in line] for line in changes(swapped).cells])
    assert not moved[:, 0].any()
    assert np.abs(moved[:, 1]).max() > 0.2
    lines = {line.source: line for line in drift(swapped).series}
    assert set(lines) == {"after", *swapped.controls} - {"identity"}
    assert all(line.x == (*"123456", "answer") for line in lines.values())
    assert all(line.y[:2] == (0, 0) for name, line in lines.items() if name != "other-step")
    assert lines["after"].y[2] > 1
    rows = list(csv.DictReader(io.StringIO(export(swapped, "csv").decode())))
    kl = {name: [row for row in rows if (row["what"], row["run"]) == ("kl", name)] for name in ("after", "identity")}
    assert [row["thought"] for row in kl["identity"]] == [*"123456", ""]
    assert [float(row["mean"]) for row in kl["identity"]] == [0] * 7
    assert tuple(float(row["mean"]) for row in kl["after"]) == lines["after"].y
    before, after, *others = searches(swapped).series
    assert before.y[:2] == after.y[:2]
    np.testing.assert_allclose(after.y, swapped.edited.mass.mean(axis=0))
    assert others[0].y[:2] == others[1].y[:2]


def test_the_answer_stands_beside_every_control(swapped: Intervention) -> None:
    found = {run.name: run for run in runs(swapped)}
    assert list(found)[:2] == ["before", "after"]
    assert set(found) - {"before", "after"} == set(swapped.controls)
    assert found["after"].follows == found["after"].n == 2
    assert found["random"].follows == found["identity"].follows == 0
    assert found["identity"].samples == found["before"].samples
    words = answer_words(swapped)
    assert "After swapping the branches in thought 2: rempus, > 99.9 % (2 of 2 prompt samples)" in words
    for run in list(found.values())[2:]:
        assert f"{run.label} {run.named} of 2" in words
    assert len(missing_controls(swapped)) + len(swapped.controls) == 6


def test_files_hold_what_is_drawn(swapped: Intervention) -> None:
    files = {format: export(swapped, format, thought=3) for format in FORMATS}
    assert Intervention.parse(files["json"].decode(), where="x").to_json() == swapped.to_json()
    rows = list(csv.DictReader(io.StringIO(files["csv"].decode())))
    (edit,) = (row for row in rows if (row["what"], row["run"]) == ("p_other", "after"))
    assert float(edit["mean"]) == pytest.approx(1 - swapped.edited.p_target[:, -1].mean())
    cells = [row for row in rows if row["what"] == "probability" and row["run"] == "after" and row["thought"] == "3"]
    np.testing.assert_allclose(
        [float(row["mean"]) for row in cells], [node.value for node in pair(swapped, 3)[1].nodes]
    )
    assert b"Is Carol a" in files["svg"]
    assert files["png"].startswith(b"\x89PNG")
    assert files["pdf"].startswith(b"%PDF")
    assert b"random direction, same length" in files["html"]
    with pytest.raises(InputError, match="format 'gif' is unknown"):
        export(swapped, "gif")


def test_the_answer_state_has_no_weights_and_cut_runs_are_drawn(swapped: Intervention, trained: CoconutGPT2) -> None:
    assert pair(swapped, None)[1].heading == "After: the answer state"
    with pytest.raises(InputError, match="no weight here"):
        pair(swapped, None, value="weight")
    with pytest.raises(InputError, match="thought 7 is out of range"):
        pair(swapped, 7)
    cut = made(trained, "truncate:k=2")
    assert pair(cut, 4)[1].heading == "After: early exit after 2 thoughts"
    assert all(cell.found is None for line in changes(cut).cells for cell in line[2:-1])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("swap:t=1,strength=1.5", "swapping the branches in thought 1"),
        ("swap:t=1,nodes=a,to=b", "taking a out of thought 1 and putting b in"),
        ("remove:t=1-3", "taking the target's branch out of thoughts 1 to 3"),
        ("write:t=2,nodes=nothing", "writing an empty thought 2"),
        ("write:t=2,nodes=other-branch/1", "writing thought 2 as a sum of one node of the counterfactual branch"),
        (
            "zero:t=1+3&mean:t=2",
            "setting thoughts 1 and 3 to zero and putting the mean over many problems in place of ",
        ),
        ("cut", ""),
        ("swap:t=1,control=random", "a random change of the same length as swapping the branches in thought 1"),
    ],
)
def test_edits_in_words(text: str, words: str) -> None:
    if words:
        assert EditPlan.parse(text).describe(display_name).startswith(words)
    else:
        with pytest.raises(InputError):
            EditPlan.parse(text)
