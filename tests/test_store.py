"""Folders that belong to one run: refused to others, resumed after a stop."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from model.errors import InputError
from model.files import html, write_csv
from model.store import RunStore, read_rows

HEADER = {"version": 1, "seed": 0, "edits": ["a", "b"]}


def test_a_folder_is_claimed_once_and_refused_to_another_run(tmp_path: Path) -> None:
    store = RunStore(tmp_path / "out", HEADER, notes={"data": "x"})
    assert not (tmp_path / "out").exists()
    store.claim()
    assert json.loads((tmp_path / "out" / "run.json").read_text()) == HEADER | {"data": "x"}
    RunStore(tmp_path / "out", HEADER, notes={"data": "elsewhere"}).claim()
    with pytest.raises(InputError, match=r"holds another run \(seed, edits differ\); choose another folder"):
        RunStore(tmp_path / "out", HEADER | {"seed": 1, "edits": []})
    with pytest.raises(InputError, match="made by another version"):
        RunStore(tmp_path / "out", HEADER | {"version": 2, "seed": 1})
    (tmp_path / "out" / "run.json").write_text("[]")
    with pytest.raises(InputError, match=r"another version"):
        RunStore(tmp_path / "out", HEADER)


def test_rows_are_cut_back_to_the_last_whole_batch(tmp_path: Path) -> None:
    rows = RunStore(tmp_path, HEADER).rows("rows.jsonl", total=5, batch=2)
    rows.append([{"i": 0}, {"i": 1}], 2)
    rows.append([{"i": 2}, {"i": 3}], 2)
    whole = rows.path.read_bytes()
    for cut in range(len(whole) - 1):
        rows.path.write_bytes(whole[:cut])
        assert len(list(read_rows(rows.path))) in (0, 2)
        again = RunStore(tmp_path, HEADER).rows("rows.jsonl", total=5, batch=2)
        assert again.done == len(list(again.read())) in (0, 2)
    again.append([{"i": 2}, {"i": 3}], 2)
    assert again.path.read_bytes() == whole
    again.append([{"i": 4}], 1)
    assert RunStore(tmp_path, HEADER).rows("rows.jsonl", total=5, batch=2).done == 5
    with pytest.raises(InputError, match="not the rows of this run"):
        RunStore(tmp_path, HEADER).rows("rows.jsonl", total=50, batch=2)


def test_rows_without_their_run_are_of_no_known_run(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"i": 0}\n{"done": 1}\n')
    assert RunStore(tmp_path, HEADER).rows("rows.jsonl", total=1, batch=1).done == 0
    assert not (tmp_path / "rows.jsonl").exists()


def test_chunks_are_missing_until_their_last_file_is_there(tmp_path: Path) -> None:
    chunks = RunStore(tmp_path, HEADER).chunks(3, "parquet")
    chunks.folder.mkdir()
    chunks.path(1, "safetensors").touch()
    assert chunks.missing() == [0, 1, 2]
    chunks.path(1).touch()
    assert chunks.missing() == [0, 2]
    assert chunks.missing([1, 2]) == [2]


def test_csv_quotes_what_needs_it_and_html_shows_letter_by_letter(tmp_path: Path) -> None:
    text = write_csv(tmp_path / "x.csv", ["a", "b"], [('say "hi", now', None), (0.1, 3)])
    assert text == 'a,b\n"say ""hi"", now",\n0.1,3\n' == (tmp_path / "x.csv").read_text()
    assert write_csv(None, ["a"], []) == "a\n"
    assert html('<a b="c">') == "&lt;a b=&quot;c&quot;&gt;"


DONE = '{"done": %s}\n'
NOT_ROWS = {
    "words": DONE % '"x"', "null": DONE % "null", "a list": DONE % "[8]", "below 0": DONE % "-8",
    "a float": DONE % "8.0", "past the end": DONE % "80", "twice": DONE % "8" * 2, "digits": DONE % ("9" * 5000),
    "deep": DONE % ("[" * 20_000),
}  # fmt: skip


@pytest.mark.parametrize("what", NOT_ROWS)
def test_rows_edited_by_hand_are_refused_in_one_sentence(what: str, tmp_path: Path) -> None:
    store = RunStore(tmp_path, {"version": 1})
    store.claim()
    (tmp_path / "rows.jsonl").write_text(NOT_ROWS[what])
    with pytest.raises(InputError, match=r"rows\.jsonl"):
        store.rows("rows.jsonl", total=40, batch=8)


@pytest.mark.parametrize("line", [b"3", b"[1]", b"9" * 5000, b"[" * 20_000, b"\xff"])
def test_a_line_that_is_no_row_is_said_or_ends_what_is_read(line: bytes, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": 1}\n{"done": 1}\n' + line + b"\n")
    if line == b"\xff":  # as where the disk was full
        assert list(read_rows(path)) == [{"a": 1}]
    else:
        with pytest.raises(InputError, match="line 3: not a row of a run"):
            list(read_rows(path))
