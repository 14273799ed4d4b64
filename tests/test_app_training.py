"""Training under Streamlit's AppTest: the numbers planted in a run folder are the ones on the page, with controls."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from run_folders import N, metrics, plant, record
from streamlit.testing.v1 import AppTest

from app import compute
from app.explore.state import View, with_checkpoint
from model import checkpoint
from model.checkpoint import DEFAULT_CHECKPOINT
from model.coconut import codec_for

APP = Path(__file__).parent.parent / "app"


def start(run: str | Path = "") -> AppTest:
    page = AppTest.from_file(str(APP / "training" / "training.py"), default_timeout=60)
    if run:
        page.query_params["run"] = str(run)
    return page.run()


def texts(page: AppTest) -> str:
    assert not page.exception, page.exception[0].message
    return "\n".join(item.value for item in page.markdown).replace("\\", "").replace("\u00a0", " ")


def errors(page: AppTest) -> list[str]:
    assert not page.exception, page.exception[0].message
    return [item.value.replace("\\", "").replace("\u00a0", " ") for item in page.error]


def chart(page: AppTest, key: str) -> dict:
    return next(json.loads(c.proto.spec) for c in page.get("echarts_chart") if c.proto.id.endswith(f"-{key}"))


def line(page: AppTest, key: str, name: str) -> list:
    return next(series["data"] for series in chart(page, key)["series"] if series.get("name") == name)


@pytest.fixture
def no_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(compute, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(compute.checkpoint, "CHECKPOINTS", tmp_path / "checkpoints")


@pytest.fixture
def ended(no_runs: None, tmp_path: Path) -> AppTest:
    return start(plant(tmp_path / "run", ended=True))


def test_without_a_run_the_one_command_is_told(no_runs: None) -> None:
    page = start()
    assert errors(page) == []
    assert page.code[0].value == "make train-tiny"
    assert not page.get("echarts_chart")


def test_runs_of_the_project_are_listed_and_the_first_is_shown(no_runs: None, tmp_path: Path) -> None:
    plant(tmp_path / "runs" / "b", name="second")
    plant(tmp_path / "runs" / "a", name="first")
    page = start()
    assert "## first:" in texts(page)
    assert page.selectbox(key="t_run").options[:2] == ["runs/a", "runs/b"]
    page.selectbox(key="t_run").select(str(tmp_path / "runs" / "b")).run()
    assert "## second:" in texts(page)


def test_a_run_whose_thoughts_were_not_read_shows_its_answers(no_runs: None, tmp_path: Path) -> None:
    """Questions without a graph, and methods without thoughts."""
    folder = plant(tmp_path / "run", ended=True)
    kept = json.loads((folder / "emergence.json").read_text())
    kept["example"] = None
    kept["points"] = [point | {"thoughts": [], "example": None} for point in kept["points"]]
    (folder / "emergence.json").write_text(json.dumps(kept))
    page = start(folder)
    assert errors(page) == []
    assert any("questions have no graph" in item.value for item in page.caption)
    names = [series.get("name") for series in chart(page, "t_accuracy")["series"]]
    assert any(str(name).startswith("k = ") for name in names)
    assert "chance" not in names  # of answers in words


def test_the_last_moment_is_shown_beside_its_controls(ended: AppTest) -> None:
    shown = texts(ended)
    assert "After 800 problems (stage 2), **thought 1**" in shown
    assert "AUROC **.98 [.96, 1]**" in shown
    assert "**90.0 %** of its probability on the frontier" in shown
    assert "another problem's thought .51; before training .50 and 10.0 %; n = 99 problems" in shown
    assert "ended: stage 0: settled, stage 1: limit" in shown
    assert f"**100.0 % [96.3, 100.0]** after 2 thoughts (n = {N})" in shown


def test_charts_draw_the_record(ended: AppTest) -> None:
    points = record().points
    auroc = line(ended, "t_auroc", "thought 1")
    assert auroc == [[p.problems, pytest.approx(p.thoughts[0].auroc_beyond)] for p in points]
    control = line(ended, "t_auroc", "another problem's thought")
    assert control == [[p.problems, pytest.approx(p.thoughts[0].auroc_control)] for p in points]
    assert line(ended, "t_auroc", "chance") == [[0, 0.5], [800, 0.5]]
    frontier = line(ended, "t_mass", "frontier")
    assert frontier == [[p.problems, pytest.approx(p.thoughts[0].mass["frontier"])] for p in points]
    assert line(ended, "t_accuracy", "k = 2")[-1] == [800, 0.8]
    assert line(ended, "t_loss", "a guess in the true frontier")[0] == [100, 0.7]
    assert line(ended, "t_validation", "validation") == [[400, 0.5], [800, 1.0]]


def test_stages_are_marked_where_they_were_trained(ended: AppTest) -> None:
    for key in ("t_auroc", "t_accuracy", "t_loss"):
        areas = next(series["markArea"]["data"] for series in chart(ended, key)["series"] if "markArea" in series)
        found = [(start["name"], start["xAxis"], end["xAxis"]) for start, end in areas]
        assert found == [("stage 0", 0, 300), ("stage 1", 300, 600), ("stage 2", 600, 800)]


def test_the_moment_and_the_thought_are_chosen(ended: AppTest) -> None:
    ended.select_slider(key="t_at").set_value(2).run()
    ended.segmented_control(key="t_thought").set_value(2).run()
    assert "After 200 problems (stage 0), **thought 2**" in texts(ended)
    assert "AUROC **.60 [.58, .62]**" in texts(ended)
    here = [series["markLine"]["data"] for series in chart(ended, "t_auroc")["series"] if "markLine" in series]
    assert here[0][0]["xAxis"] == 200
    assert line(ended, "t_auroc", "thought 2")[-1] == [800, pytest.approx(0.9)]
    table = ended.dataframe[0].value
    assert table["AUROC beyond [95 %]"].tolist() == [".62 [.60, .64]", ".60 [.58, .62]"]
    assert table["untrained"].tolist() == [".50", ".50"]
    assert table["n"].tolist() == [99, 98]


def test_a_run_that_continues_is_followed_and_a_half_written_line_is_no_error(no_runs: None, tmp_path: Path) -> None:
    folder = plant(tmp_path / "run", n_steps=4)
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "step", "st')
    page = start(folder)
    assert "running, written" in texts(page)
    assert "After 400 problems (stage 1)" in texts(page)
    plant(folder, n_steps=5)
    assert "After 500 problems (stage 1)" in texts(page.run())
    page.select_slider(key="t_at").set_value(1).run()
    plant(folder, n_steps=6)
    assert "After 100 problems (stage 0)" in texts(page.run())  # whoever looks back is left there
    plant(folder, ended=True)
    shown = texts(page.run())
    assert "running" not in shown
    assert "Best checkpoint" in shown


def test_a_run_is_live_from_its_first_point_on(no_runs: None, tmp_path: Path) -> None:
    folder = plant(tmp_path / "run", n_steps=0)
    (folder / "metrics.jsonl").unlink()
    (folder / "config.yaml").write_text("name: x\n")
    page = start(folder)
    assert "running, written" in texts(page)
    assert "After 0 problems (stage 0), **thought 1**" in texts(page)
    assert len(page.get("echarts_chart")) == 5


def test_a_run_that_wrote_nothing_for_long_has_stopped(no_runs: None, tmp_path: Path) -> None:
    folder = plant(tmp_path / "run", n_steps=4)
    for path in folder.iterdir():
        os.utime(path, (0, 0))
    assert ":orange-badge[stopped]" in texts(start(folder))


def test_a_checkpoint_folder_with_its_record_alone(no_runs: None, tmp_path: Path) -> None:
    record().save(tmp_path / "best" / "emergence.json")
    page = start(tmp_path / "best")
    assert ":gray-badge[finished]" in texts(page)
    assert len(page.get("echarts_chart")) == 5


def test_a_run_without_training_dynamics_shows_its_losses(no_runs: None, tmp_path: Path) -> None:
    folder = plant(tmp_path / "run")
    (folder / "emergence.json").unlink()
    page = start(folder)
    assert errors(page) == []
    assert len(page.get("echarts_chart")) == 2


def test_another_run_stands_beside(no_runs: None, tmp_path: Path) -> None:
    plant(tmp_path / "runs" / "a")
    plant(tmp_path / "runs" / "b", name="control", method="pause_as_thought", n_steps=6)
    page = start(tmp_path / "runs" / "a")
    page.selectbox(key="t_beside_run").select(str(tmp_path / "runs" / "b")).run()
    expected = [[p.problems, pytest.approx(p.thoughts[0].auroc_beyond)] for p in record(n_points=7).points]
    assert line(page, "t_auroc", "control") == expected
    assert "control (pause_as_thought) after 600 problems: AUROC .86 [.84, .88] and 70.0 %" in texts(page)
    assert line(page, "t_accuracy", "control, k = 2")[-1] == [600, pytest.approx(0.6)]


def test_explore_opens_on_a_problem_that_the_model_can_take(tmp_path: Path) -> None:
    for name in compute.shipped():
        view = with_checkpoint(checkpoint.CHECKPOINTS / name)
        assert view.checkpoint == name
        assert view.source == "example"
        problem = compute.example(view.checkpoint)
        assert problem.n_nodes <= codec_for(checkpoint.load_config(checkpoint.CHECKPOINTS / name)).n_keys
    assert with_checkpoint(checkpoint.DEFAULT_CHECKPOINT).source == "example"


def test_explore_opens_from_a_session_that_begins_here() -> None:
    page = AppTest.from_file(str(APP / "pages.py"), default_timeout=120)
    page.query_params["run"] = str(checkpoint.CHECKPOINTS / "prosqa-tiny")
    page.switch_page("training/training.py").run()
    next(button for button in page.button if button.label == "Open in Explore").click().run()
    assert errors(page) == []
    assert page.selectbox(key="x_checkpoint").value == "prosqa-tiny"
    assert len(page.get("echarts_chart")) == 7


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("emergence.json", "{", "line 1"),
        ("emergence.json", '{"format": 1, "points": []}', "not a record of training dynamics"),
        ("metrics.jsonl", "hello\n", "line 1"),
        ("metrics.jsonl", json.dumps({**metrics()[0], "step": "x"}) + "\n", "line 1: step"),
        ("result.json", "3", "not the result"),
    ],
)
def test_damaged_files_are_one_sentence(no_runs: None, tmp_path: Path, name: str, text: str, said: str) -> None:
    folder = plant(tmp_path / "run")
    (folder / name).write_text(text)
    page = start(folder)
    assert len(errors(page)) == 1
    assert said in errors(page)[0]
    assert not page.get("echarts_chart")


@pytest.mark.parametrize("path", ["/no/such/folder", str(APP), "<b>x</b>\x00", "~nobody-at-all/x", "x" * 400])
def test_folders_that_are_none_are_one_sentence(no_runs: None, path: str) -> None:
    page = start(path)
    assert len(errors(page)) == 1


def test_files_of_the_record_are_the_record(ended: AppTest) -> None:
    buttons = ended.get("download_button")
    labels = [item.proto.label for item in buttons if "-t_get_" in item.proto.id]
    assert labels == ["SVG", "PNG", "CSV", "JSON", "CSV", "JSON"]
    for item in ended.get("echarts_chart"):  # every chart as a picture and as its numbers
        key = item.proto.id.split("-")[-1]
        files = [item.proto.label for item in buttons if f"-{key}_" in item.proto.id]
        assert files == ["SVG", "PNG", "CSV", "JSON"], key
    assert compute.record_file(record(), "svg").startswith(b"<?xml")
    assert json.loads(compute.record_file(record(), "json"))["n_problems"] == N
    rows = compute.record_file(record(), "csv").decode().splitlines()
    assert len(rows) == 1 + sum(len(p.thoughts) + len(p.accuracy_by_k) for p in record().points)


def test_explore_takes_a_run_folder(tiny, tmp_path: Path) -> None:
    """The best checkpoint of a run, by the path of the run; a new best is loaded anew."""
    plant(tmp_path / "run")
    checkpoint.save(tiny, tmp_path / "run" / "best")
    first = compute.load(str(tmp_path / "run"))
    assert first.name == "run"
    checkpoint.save(checkpoint.untrained(tiny.config, seed=7), tmp_path / "run" / "best")
    assert compute.load(str(tmp_path / "run")).fingerprint != first.fingerprint
    page = AppTest.from_file(str(APP / "pages.py"), default_timeout=60)
    for name, value in View(checkpoint=str(tmp_path / "run"), samples=1).encode().items():
        page.query_params[name] = value
    page.run()
    assert errors(page) == []
    assert len(page.get("echarts_chart")) == 7


@pytest.mark.parametrize("chosen", ["", DEFAULT_CHECKPOINT.name])
def test_shipped_runs_open_on_the_picture_of_one_problem(chosen: str, monkeypatch, tmp_path: Path) -> None:
    """Where there is no run of one's own, the page opens on graph and staircase; the main model's two ends follow."""
    monkeypatch.setattr(compute, "RUNS", tmp_path / "runs")
    page = start(chosen)
    assert errors(page) == []
    assert page.selectbox(key="t_run").options[:2] == ["prosqa-symbol-rerun", DEFAULT_CHECKPOINT.name]
    assert f"## {chosen or 'prosqa-symbol-rerun'}: emergence during training" in texts(page)
    assert [button.label for button in page.button if button.label == "Play"]
    for key in ("t_graph", "t_stairs", "t_auroc"):
        assert chart(page, key)
    (stairs,) = (c.proto for c in page.get("echarts_chart") if c.proto.id.endswith("-t_stairs"))
    assert stairs.alt.startswith("What the thoughts of")
    said = [item.value for item in page.caption if "No moment between was recorded" in item.value]
    assert len(said) == bool(chosen)
    captions = " ".join(item.value for item in page.caption).replace("\u00a0", " ")
    assert "one prompt sample (n = 1; Explore prints means over several" in captions


def test_the_slider_of_the_main_model_has_its_two_ends() -> None:
    page = start(DEFAULT_CHECKPOINT.name)
    after = chart(page, "t_graph")
    assert "After 3,700,000 problems (stage 6), **thought 1**" in texts(page)
    page.select_slider(key="t_at").set_value(0).run()
    assert "After 0 problems (stage 0), **thought 1**" in texts(page)
    assert chart(page, "t_graph") != after
    assert not [series for series in chart(page, "t_auroc")["series"] if series.get("markArea", {}).get("data")]


def test_training_plays_and_the_address_is_the_view(no_runs: None, tmp_path: Path) -> None:
    page = start(plant(tmp_path / "run"))
    page.segmented_control(key="t_thought").set_value(2).run()
    assert page.query_params["thought"] == "2"
    page.button(key="t_play").click().run()
    assert page.select_slider(key="t_at").value == 0
    page.run()
    assert page.select_slider(key="t_at").value == 1
