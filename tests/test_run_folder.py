"""Reading run folders: what was planted comes back, a run that is being written is no error, damage is one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from run_folders import N, metrics, plant, record, validation

from model.errors import InputError
from model.training.dynamics import DynamicsRecord
from model.training.folder import StageSpan, find_run_folders, read_run_folder


def test_what_was_written_comes_back(tmp_path: Path) -> None:
    run = read_run_folder(plant(tmp_path / "run", ended=True))
    assert run.record == record()
    assert [step.problems for step in run.steps] == [100 * i for i in range(1, 9)]
    assert run.share_done == 1
    assert [value.accuracy for value in run.validations] == [0.5, 1.0]
    assert run.result is not None
    assert run.result["fixed"].n == N


def test_stages_are_where_they_were_trained(tmp_path: Path) -> None:
    expected = (StageSpan(0, 0, 300, "settled"), StageSpan(1, 300, 600, "limit"), StageSpan(2, 600, 800, ""))
    run = read_run_folder(plant(tmp_path / "run"))
    assert run.stages == expected
    (run.path / "metrics.jsonl").unlink()  # a checkpoint folder: known from the points of the record alone
    known = read_run_folder(run.path).stages
    assert [(span.stage, span.why) for span in known] == [(0, ""), (1, ""), (2, "")]
    assert (known[0].start, known[-1].end) == (0, 800)


def test_a_line_that_is_still_being_written_is_left_out(tmp_path: Path) -> None:
    folder = plant(tmp_path / "run")
    whole = read_run_folder(folder)
    line = json.dumps(metrics()[-1])
    for length in range(1, len(line), 7):
        text = "".join(json.dumps(value) + "\n" for value in metrics()) + line[:length]
        (folder / "metrics.jsonl").write_text(text)
        assert read_run_folder(folder) == whole


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("metrics.jsonl", '{"kind": "step"\n{}\n', "line 1: not a line"),
        ("metrics.jsonl", json.dumps(validation(1, 0, 0.5)) + "\n[]\n", "line 2: not a line"),
        ("metrics.jsonl", json.dumps({**metrics()[0], "loss": "low"}) + "\n", "line 1: loss"),
        ("emergence.json", "{", "line 1"),
        ("emergence.json", "[]", "not a record"),
        ("emergence.json", '{"format": 9}', "format"),
        ("emergence.json", '{"format": 1, "name": "x"}', "method"),
        ("result.json", "[]", "not the result"),
        ("result.json", '{"fixed": {"accuracy": 1}}', "fixed: low"),
    ],
)
def test_damaged_files_are_one_sentence(tmp_path: Path, name: str, text: str, said: str) -> None:
    folder = plant(tmp_path / "run")
    (folder / name).write_text(text)
    with pytest.raises(InputError, match=said) as error:
        read_run_folder(folder)
    assert name in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "change",
    [
        {"points": [{}]},
        {"n_problems": 0},
        {"n_problems": "many"},
        {"name": ["x"]},
    ],
)
def test_foreign_records_are_refused(tmp_path: Path, change: dict) -> None:
    record().save(tmp_path / "emergence.json")
    values = json.loads((tmp_path / "emergence.json").read_text())
    (tmp_path / "emergence.json").write_text(json.dumps(values | change))
    with pytest.raises(InputError, match=r"emergence\.json: not a record of training dynamics"):
        DynamicsRecord.load(tmp_path / "emergence.json")


def test_points_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "emergence.json"
    for spoil in (
        lambda points: points[1]["thoughts"].pop(),
        lambda points: points[1]["accuracy_by_k"].pop(),
        lambda points: points[1]["thoughts"][0]["mass"].pop("frontier"),
        lambda points: points[1]["thoughts"][0].update(auroc=float("nan")),
    ):
        record().save(path)
        values = json.loads(path.read_text())
        spoil(values["points"])
        path.write_text(json.dumps(values))
        with pytest.raises(InputError, match="not a record of training dynamics"):
            DynamicsRecord.load(path)


def test_folders_that_hold_nothing_are_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        read_run_folder(tmp_path / "none")
    with pytest.raises(InputError, match=r"no emergence\.json and no metrics\.jsonl"):
        read_run_folder(tmp_path)


def test_runs_are_found_and_their_checkpoints_are_not_listed_again(tmp_path: Path) -> None:
    plant(tmp_path / "a")
    record().save(tmp_path / "a" / "best" / "emergence.json")
    plant(tmp_path / "many" / "seed0")
    (tmp_path / "empty").mkdir()
    found = find_run_folders([tmp_path, tmp_path / "none"])
    assert found == [tmp_path / "a", tmp_path / "many" / "seed0"]
