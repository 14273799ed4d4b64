"""The commands generate, audit and convert, as a user runs them."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from model.__main__ import app
from model.cli import run
from model.formats.graph import Graph, load_graph, load_problems
from model.problems.generate import generate

ROOT = Path(__file__).parent.parent


def command(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "model", *map(str, arguments)],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    done = command("generate", "--kind", "public", "--n", 50, "--seed", 7, "--out", "data.json", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "data.json"


def test_generate_writes_the_same_bytes(data: Path) -> None:
    again = data.with_name("again.json")
    done = command(
        "generate", "--kind", "public", "--n", 50, "--seed", 7, "--processes", 2, "--out", again, cwd=data.parent
    )
    assert done.returncode == 0
    assert "50/50" in done.stderr  # the progress bar
    assert again.read_bytes() == data.read_bytes()
    assert load_problems(data) == list(generate("public", 50, 7))


def test_audit(data: Path) -> None:
    done = command("audit", "--data", data, "--out", "audit.json", cwd=data.parent)
    assert done.returncode == 0, done.stderr
    assert "deeper_backward" in done.stdout
    written = json.loads((data.parent / "audit.json").read_text())
    assert written["rules"]["deeper_backward"]["n"] == 50
    assert written["facts"]["n"] == 50


def test_convert(data: Path) -> None:
    problem = load_problems(data)[3]
    for step in (("data.json", "a.graphml", "--row", 3), ("a.graphml", "b.json"), ("b.json", "c.txt")):
        done = command("convert", *step, cwd=data.parent)
        assert done.returncode == 0, done.stderr
    assert load_graph(data.parent / "b.json") == Graph.of(problem)
    names = [problem.idx_to_symbol[node] for node in (problem.root, problem.neg_target, problem.target)]
    done = command("convert", "c.txt", "d.json", "--root", names[0], "--candidates", *names[1:], cwd=data.parent)
    assert done.returncode == 0, done.stderr
    again = load_graph(data.parent / "d.json").ask()
    assert (again.idx_to_symbol[again.target], again.n_hops) == (names[2], problem.n_hops)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("generate --hops 10 --nodes 8 --out x.json", "10 hops need at least 22 nodes"),
        ("generate --hops a-b --out x.json", "--hops 'a-b': expected a number or a range"),
        ("generate --kind harder --out x.json", "kinds are balanced, public"),
        ("generate --n 0 --out x.json", "n 0: expected at least 1"),
        ("generate --n 100000000000000000000 --out x.json", "at most 10,000,000"),
        ("generate --kind prontoqa --n 0 --out x.json", "n 0: expected at least 1"),
        ("generate --processes 100000 --out x.json", "processes 100000: expected 1 to"),
        ("generate --n 1 --out /dev/null/x.json", "cannot be written"),
        ("audit --data none.json", "cannot be read"),
        ("audit --data bad.json", "not JSON at line 1, column 2"),
        ("audit --data cycle.json", "row 0: the graph has a cycle: a -> b -> a"),
        ("convert bad.json x.graphml", "not JSON"),
        ("convert edges.txt x.json", "no question"),
        ("convert edges.txt x.json --root a --candidates b zz", "candidate 'zz' is not in the graph"),
        ("convert edges.txt x.png", "the ending '.png'"),
        ("convert edges.txt x.json --to png", "cannot be written"),
        ("convert edges.txt x.json --from png", "format 'png' is not known"),
        ("convert rows.json x.graphml --row 5", "row 5 is out of range; rows are 0 to 0"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    arguments: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cyclic = {"idx_to_symbol": ["a", "b", "c"], "edges": [[0, 1], [1, 0]], "root": 0, "target": 1, "neg_target": 2}
    (tmp_path / "bad.json").write_text("{")
    (tmp_path / "cycle.json").write_text(json.dumps([cyclic]))
    (tmp_path / "rows.json").write_text(json.dumps([cyclic | {"edges": [[0, 1]]}]))
    (tmp_path / "edges.txt").write_text("a b\nc d\n")
    before = sorted(tmp_path.iterdir())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["model", *arguments.split()])
    with pytest.raises(SystemExit) as stopped:
        run(app)
    printed = capsys.readouterr()
    assert stopped.value.code == 2
    assert said in printed.err
    assert printed.err.count("\n") == 1
    assert printed.out == ""
    assert sorted(tmp_path.iterdir()) == before  # nothing half-written


@pytest.mark.parametrize("arguments", ["model evaluate --seed -3", "probing report --seed -1"])
def test_a_negative_seed_is_refused_in_one_sentence(
    arguments: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    package, *options = arguments.split()
    monkeypatch.setattr(sys, "argv", [package, *options, "--data", str(data), "--out", str(tmp_path / "out.json")])
    with pytest.raises(SystemExit) as stopped:
        run(importlib.import_module(f"{package}.__main__").app)
    printed = capsys.readouterr()
    assert stopped.value.code == 2
    assert "Traceback" not in printed.err
    assert "seed" in printed.err
    assert not (tmp_path / "out.json").exists()
