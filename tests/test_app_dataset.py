"""Dataset under Streamlit's AppTest: charts hold the result's numbers, runs begin, end, stop, and bad input is said."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from app import compute
from app import jobs as dataset_jobs
from app.dataset.state import SHIPPED
from app.jobs import Job, Order
from model import checkpoint
from model.formats.graph import read_graph, write_problems
from model.problems.generate import generate
from model.problems.prosqa import ProsQAProblem
from probing.dataset.findings import DatasetResult
from probing.dataset.record import Settings, make_sources
from probing.dataset.run import run_dataset
from probing.draw import echarts as chart_options
from probing.draw.marks import THEMES
from probing.draw.values import Chart, Series

APP = Path(__file__).parent.parent / "app"
CHAIN = ProsQAProblem.from_row(
    {
        "idx_to_symbol": [f"n{i}" for i in range(50)],
        "edges": [[i, i + 1] for i in range(47)] + [[48, 49]],
        "root": 0,
        "target": 47,
        "neg_target": 49,
    }
)
"""Too large for the model: 50 nodes."""
PROBLEMS = (*generate("public", 7, 3), CHAIN)
ANALYSES = ("kswitch", "tree", "superposition", "lens", "geometry", "breakdown", "compare")
"""Charts of every kind."""


@pytest.fixture(scope="module")
def tiny_folder(tiny, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    checkpoint.save(tiny, folder)
    return folder


@pytest.fixture(scope="module")
def made(tiny_folder, tmp_path_factory) -> tuple[Path, DatasetResult]:
    out = tmp_path_factory.mktemp("result")
    result = run_dataset(
        make_sources(tiny_folder), PROBLEMS, out, data="made.json", settings=Settings(), analyses=ANALYSES
    )
    assert result is not None
    return out, result


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(compute, "RUNS", tmp_path / "runs")
    return tmp_path / "runs"


def start(result: str | Path = "") -> AppTest:
    page = AppTest.from_file(str(APP / "dataset" / "dataset.py"), default_timeout=60)
    if result:
        page.query_params["result"] = str(result)
    return page.run()


def texts(page: AppTest) -> str:
    assert not page.exception, page.exception[0].message
    return "\n".join(item.value for item in page.markdown).replace("\\", "").replace("\u00a0", " ")


def errors(page: AppTest) -> list[str]:
    assert not page.exception, page.exception[0].message
    return [item.value.replace("\\", "").replace("\u00a0", " ") for item in page.error]


# --- charts


def numbers(value: object) -> list[float]:
    """Every number in the data of an option."""
    if isinstance(value, dict):
        return [n for key, v in value.items() if key in ("series", "data", "value") for n in numbers(v)]
    if isinstance(value, list):
        return [n for v in value for n in numbers(v)]
    return [float(value)] if isinstance(value, int | float) and not isinstance(value, bool) else []


def test_every_kind_of_chart_is_drawn_with_all_its_values(made) -> None:
    _, result = made
    charts = [chart for section in result.sections for chart in section.charts]
    assert {chart.kind for chart in charts} == {"lines", "stacked", "bars", "histogram", "points", "heatmap", "tree"}
    for chart in charts:
        for theme in THEMES.values():
            option = chart_options.option(chart, theme)
            json.dumps(option, allow_nan=False)
            if chart.kind != "tree":  # there the value is in the size and in the name
                drawn = set(numbers(option))
                expected = {round(y, 5) for series in chart.series for y in series.y if y is not None}
                assert expected <= drawn, chart.name
        assert chart_options.height(chart) >= 180


def test_the_tree_has_its_nodes_and_edges(made) -> None:
    _, result = made
    chart = result.section("tree").charts[0]
    series = chart_options.option(chart, THEMES["light"])["series"][0]
    labels = [label for s in chart.series for label in s.labels]
    assert sorted(node["id"] for node in series["data"]) == sorted(label.split(" ")[0] for label in labels)
    ids = {node["id"] for node in series["data"]}
    assert {(link["source"], link["target"]) for link in series["links"]} == {
        edge for edge in chart.edges if set(edge) <= ids
    }


def test_controls_are_grey_and_dashed_and_intervals_are_bands() -> None:
    own = Series(name="frontier", x=(1.0, 2.0), y=(0.5, 0.75), low=(0.25, 0.5), high=(0.75, 1.0))
    control = Series(name="untrained", x=(1.0, 2.0), y=(0.5, None), control=True)
    chart = Chart(name="c", title="t", kind="lines", x_label="x", y_label="y", series=(own, control))
    low, height, line, grey = chart_options.option(chart, THEMES["light"])["series"]
    assert low["data"] == [[1.0, 0.25], [2.0, 0.5]]
    assert height["data"] == [[1.0, 0.5], [2.0, 0.5]]
    assert line["lineStyle"]["type"] == "solid"
    assert (grey["lineStyle"]["type"], grey["data"]) == ([8, 4], [[1.0, 0.5], [2.0, None]])


def test_hostile_names_are_characters_in_tooltips() -> None:
    name = "<img src=x onerror=alert(1)>{b}"
    for kind in ("stacked", "bars", "points", "heatmap"):
        series = Series(name=name, x=(1.0,), y=(0.5,), labels=(name,))
        chart = Chart(name="c", title="t", kind=kind, x_label="x", y_label="y", series=(series,))
        for item in chart_options.option(chart, THEMES["light"])["series"][0]["data"]:
            assert "<img" not in item["tooltip"]["formatter"]
            assert "{b}" not in item["tooltip"]["formatter"]


def test_a_point_stands_for_its_problem(made) -> None:
    _, result = made
    chart = next(chart for chart in result.section("geometry").charts if chart.kind == "points")
    assert [chart.problem(0, i) for i in range(len(chart.series[0].x))] == [
        int(label.split()[1]) for label in chart.series[0].labels
    ]
    assert chart.problem(99, 0) is None
    assert chart.problem(0, 10**6) is None


# --- a saved result


def test_every_analysis_is_shown_with_n_control_and_all_its_figures(made, runs) -> None:
    folder, result = made
    page = start(folder)
    assert errors(page) == []
    assert "## tiny on made.json" in texts(page)
    assert "n = **7** problems" in texts(page)
    assert "untrained (control) on 7" in texts(page)
    for section in result.sections:
        page.selectbox(key="d_section").set_value(section.name).run()
        shown = texts(page)
        assert errors(page) == []
        assert f"n = {section.n:,}. Control: {section.control}" in " ".join(shown.split()), section.name
        assert section.does_not_show in shown
        assert len(page.get("echarts_chart")) == len(section.charts)


def test_problems_the_model_cannot_take_are_listed(made, runs) -> None:
    page = start(made[0])
    assert page.expander[0].label == "1 problem that tiny cannot take"
    assert "problem 7: " in texts(page)
    assert "40" in texts(page)


def test_the_problems_table_is_the_recording(made, runs) -> None:
    folder, result = made
    page = start(folder)
    page.selectbox(key="d_section").set_value("problems").run()
    table = page.dataframe[0].value
    assert errors(page) == []
    assert table["problem"].tolist() == list(range(7))
    assert table["hops"].tolist() == [problem.n_hops for problem in PROBLEMS[:7]]
    accuracy = result.section("kswitch").cell("accuracy", source="tiny", step=6)
    assert table["right"].mean() == pytest.approx(accuracy.value)
    page.selectbox(key="d_filter").select("wrong").run()
    assert not page.dataframe[0].value["right"].any()
    page.selectbox(key="d_model").select("untrained").run()
    assert errors(page) == []


def test_a_problem_opens_in_explore_as_it_is(made, runs, monkeypatch: pytest.MonkeyPatch) -> None:
    import streamlit as st

    switched = []
    monkeypatch.setattr(st, "switch_page", switched.append)
    page = start(made[0])
    page.selectbox(key="d_section").set_value("geometry").run()
    page.session_state["d_chart_geometry_pca_by_thought_problem"] = 3
    page.run()
    page.button(key="d_chart_geometry_pca_by_thought_open").click().run()
    assert switched == ["explore/explore.py"]
    state, problem = page.session_state, PROBLEMS[3]
    assert state.x_source == "custom"
    assert state.x_setup.text == state.x_text  # what Explore goes back to when the last page was Intervene
    graph = read_graph(state.x_text, "edges", where="link")
    asked = graph.ask(state.x_root, (state.x_first, state.x_second))
    assert asked.idx_to_symbol[asked.target] == problem.idx_to_symbol[problem.target]
    assert {(asked.idx_to_symbol[a], asked.idx_to_symbol[b]) for a, b in asked.edges} == {
        (problem.idx_to_symbol[a], problem.idx_to_symbol[b]) for a, b in problem.edges
    }


def test_figures_and_tables_are_offered(made, runs) -> None:
    page = start(made[0])
    page.selectbox(key="d_section").set_value("kswitch").run()
    labels = [item.proto.label for item in page.get("download_button")]
    assert labels[:3] == ["Report, HTML", "All numbers, CSV", "Everything, JSON"]
    assert labels[3:] == ["SVG", "PNG", "CSV", "JSON"] * len(made[1].section("kswitch").charts)


@pytest.mark.parametrize(
    ("text", "said"),
    [("{", "line"), ("[]", "not a data set result"), ('{"fixed": {"accuracy": 1}}', "not a data set result")],
)
def test_damaged_results_are_one_sentence(runs, tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "result.json").write_text(text)
    page = start(tmp_path)
    assert len(errors(page)) == 1
    assert "result.json" in errors(page)[0]
    assert not page.get("echarts_chart")


@pytest.mark.parametrize("path", ["/no/such/folder", "~nobody-at-all", "x" * 400, "a\x00b"])
def test_folders_that_are_none_are_one_sentence(runs, path: str) -> None:
    assert len(errors(start(path))) == 1


def test_without_its_recording_a_result_still_shows(made, runs, tmp_path: Path) -> None:
    made[1].save(tmp_path / "result.json")
    page = start(tmp_path)
    assert "Problem by problem" not in page.selectbox(key="d_section").options
    page.selectbox(key="d_section").set_value("kswitch").run()
    assert errors(page) == []


# --- runs


def wait(job: Job) -> None:
    job.thread.join(timeout=60)
    assert job.is_over


def new_run() -> AppTest:
    return start().segmented_control(key="d_mode").set_value("Run").run()


def test_opens_on_the_finished_run_that_is_shipped_as_a_gallery(runs) -> None:
    page = start()
    assert errors(page) == []
    assert "## prosqa-symbol-2l on prosqa_valid.json" in texts(page)
    assert "n = **300** problems" in texts(page)
    assert not list(SHIPPED.glob("**/*.parquet"))
    assert len(page.get("echarts_chart")) == 14
    page.button(key="d_open_height").click().run()
    assert page.selectbox(key="d_section").value == "height"
    assert page.query_params["section"] == "height"
    page.segmented_control(key="d_mode").set_value("Run").run()
    assert any("python -m probing dataset" in item.value for item in page.code)
    names = page.multiselect(key="d_analyses").options  # by name, not kswitch
    assert {"Accuracy by number of thoughts", "Frontier decoding"} <= set(names)


def test_cards_are_thumbnails_with_one_plain_sentence(runs) -> None:
    page = start()
    for item in page.get("echarts_chart"):
        drawn = json.loads(item.proto.spec)
        assert drawn["legend"] == {"show": False}
        axes = [
            axis
            for part in ("xAxis", "yAxis")
            for axis in ([drawn[part]] if isinstance(drawn[part], dict) else drawn[part])
        ]
        assert not any(axis.get("name") for axis in axes)
        assert not any(series["label"]["show"] for series in drawn["series"])
    said = [item.value.replace("\\", "").replace("\u00a0", " ") for item in page.caption]
    assert "prosqa-symbol-2l: +100.0 points [97.5, 100.0] against untrained (q < .001; n = 300)." in said
    assert any(item.startswith("Thought 1: AUROC of the frontier 1 [.99, 1] against") for item in said)
    assert not re.search(r"\d\.\d{3}|q = \de-", "\n".join(said))


def test_an_analysis_begins_with_its_name_and_no_bold_headline(runs) -> None:
    page = AppTest.from_file(str(APP / "dataset" / "dataset.py"), default_timeout=60)
    page.query_params["section"] = "kswitch"
    shown = texts(page.run())
    assert "### Accuracy by number of thoughts (k-switch)" in shown
    assert "**In free generation" not in shown
    assert "In free generation after 6 thoughts" in shown


def test_where_to_describe_a_run_is_said_for_every_screen(runs) -> None:
    shown = texts(new_run())
    assert "on the left" not in shown
    assert "in the sidebar (» at the top left opens it where it is closed)" in shown


def test_a_run_of_generated_problems_is_begun_shown_and_found_again(runs, tiny_folder) -> None:
    page = new_run()
    page.number_input(key="d_n").set_value(3).run()
    page.slider(key="d_hops").set_range(9, 10).run()
    page.slider(key="d_nodes").set_range(4, 8).run()
    assert "9 hops need at least" in errors(page)[0]
    page.slider(key="d_hops").set_range(2, 2).run()
    page.slider(key="d_nodes").set_range(6, 8).run()
    page.selectbox(key="d_checkpoint").select("another folder …").run()
    page.text_input(key="d_checkpoint_folder").set_value(str(tiny_folder)).run()
    page.multiselect(key="d_analyses").set_value(["kswitch"]).run()
    next(button for button in page.button if button.label == "Run").click().run()
    if "d_job" in page.session_state:
        wait(page.session_state.d_job)
        page.run()
    assert errors(page) == []
    assert "## tiny on 3 balanced problems, seed 0, 2-2 hops, 6-8 nodes" in texts(page)
    saved = dataset_jobs.saved()
    assert [folder.parent for folder in saved] == [runs / "datasets"]
    result = DatasetResult.load(saved[0] / "result.json")
    assert [section.name for section in result.sections] == ["kswitch"]
    assert [model.untrained for model in result.models] == [False, True]
    again = start()
    assert again.segmented_control(key="d_mode").value == "Open"
    assert "## tiny on 3 balanced problems" in texts(again)


def test_a_new_run_is_in_the_address_and_one_that_runs_is_found_again_by_it(runs, tiny_folder) -> None:
    page = new_run()
    page.number_input(key="d_n").set_value(3).run()
    page.slider(key="d_hops").set_range(2, 2).run()
    page.slider(key="d_nodes").set_range(6, 8).run()
    page.number_input(key="d_seed").set_value(5).run()
    page.selectbox(key="d_checkpoint").select("prosqa-tiny").run()
    asked = {name: value if isinstance(value, str) else value[0] for name, value in page.query_params.items()}
    assert asked == {"new": "1", "n": "3", "seed": "5", "hops": "2-2", "nodes": "6-8", "checkpoint": "prosqa-tiny"}

    def loaded_anew() -> AppTest:
        page = AppTest.from_file(str(APP / "dataset" / "dataset.py"), default_timeout=60)
        page.query_params.update(asked)
        return page.run()

    again = loaded_anew()
    assert errors(again) == []
    assert "d_job" not in again.session_state
    assert [again.number_input(key=f"d_{name}").value for name in ("n", "seed")] == [3, 5]
    assert again.slider(key="d_hops").value == (2, 2)
    assert again.selectbox(key="d_checkpoint").value == "prosqa-tiny"
    order = Order(PROBLEMS[:1], "first", str(tiny_folder), (), ("kswitch",))
    with another_runs(order):
        next(button for button in again.button if button.label == "Run").click().run()
        job = again.session_state.d_job
        assert loaded_anew().session_state.d_job is job
        job.end()
    asked["n"] = "9999999999"
    assert "expected a whole number" in errors(loaded_anew())[0]


def test_two_checkpoints_side_by_side(runs, tiny_folder) -> None:
    order = Order(
        PROBLEMS[:3], "three", str(tiny_folder), (str(checkpoint.DEFAULT_CHECKPOINT),), ("kswitch", "compare")
    )
    job = dataset_jobs.start(order)
    wait(job)
    assert (job.outcome, job.error) == ("finished", "")
    result = DatasetResult.load(job.out / "result.json")
    assert [model.info.name for model in result.models] == ["tiny", "untrained", "prosqa-symbol-2l"]
    page = start(job.out)
    page.selectbox(key="d_section").set_value("compare").run()
    assert errors(page) == []
    assert "prosqa-symbol-2l" in texts(page)


@contextmanager
def another_runs(order: Order) -> Iterator[None]:
    """A run that came before goes on for the block."""
    first = Job(order, order.folder(), ())
    dataset_jobs._line.append(first)
    try:
        yield
    finally:
        dataset_jobs._line.remove(first)


def test_runs_begin_in_the_order_they_came(runs, tiny_folder, monkeypatch: pytest.MonkeyPatch) -> None:
    began = list[str]()
    monkeypatch.setattr(dataset_jobs, "run_dataset", lambda *args, data, **rest: began.append(data))
    orders = [Order(PROBLEMS[:n], str(n), str(tiny_folder), (), ("kswitch",)) for n in (1, 2, 3, 4)]
    with another_runs(orders[0]):
        waiting = [dataset_jobs.start(order) for order in orders[1:]]
        assert [job.before for job in waiting] == [1, 2, 3]
        waiting[1].end()
        assert [job.before for job in waiting] == [1, 0, 2]
    for job in waiting:
        wait(job)
    assert began == ["2", "4"]
    assert not dataset_jobs._line


def test_a_waiting_run_is_cancelled_and_a_cancelled_one_is_resumed(runs, tiny_folder) -> None:
    order = Order(PROBLEMS[:2], "two", str(tiny_folder), (), ("kswitch",))
    with another_runs(order):
        job = dataset_jobs.start(order)
        assert not job.is_over
        job.stop.set()
        wait(job)
    assert job.outcome == "cancelled"
    assert not (job.out / "result.json").exists()
    again = dataset_jobs.start(order)
    wait(again)
    assert (again.outcome, again.out) == ("finished", job.out)


def test_progress_and_cancel_are_on_the_page(runs, tiny_folder) -> None:
    page = new_run()
    order = Order(PROBLEMS[:2], "two", str(tiny_folder), (), ("kswitch",))
    with another_runs(order):
        page.session_state["d_job"] = job = dataset_jobs.start(order)
        page.run()
        assert "runs before it: 1" in next(item.proto.text for item in page.get("progress"))
        assert "Running on 2 problems" in texts(page)
        assert not [button for button in page.button if button.label == "Run"]
        page.button(key="d_cancel").click().run()
        wait(job)
    page.run()
    assert any("goes on from there" in item.value for item in page.info)
    assert "d_job" not in page.session_state


def test_a_model_that_takes_no_problem_is_one_sentence(runs, tiny_folder, monkeypatch) -> None:
    """On the page, before it is counted as a run."""
    monkeypatch.setattr(dataset_jobs, "made", lambda *_: (CHAIN,))
    page = new_run()
    page.selectbox(key="d_checkpoint").select("another folder …").run()
    page.text_input(key="d_checkpoint_folder").set_value(str(tiny_folder)).run()
    next(button for button in page.button if button.label == "Run").click().run()
    assert re.search("can take none of the 1 problems", errors(page)[0])
    assert "d_job" not in page.session_state


@pytest.mark.parametrize("path", ["/no/such/folder", str(APP)])
def test_a_checkpoint_that_is_none_is_one_sentence_and_nothing_runs(runs, path: str) -> None:
    page = new_run()
    page.number_input(key="d_n").set_value(2).run()
    page.selectbox(key="d_checkpoint").select("another folder …").run()
    page.text_input(key="d_checkpoint_folder").set_value(path).run()
    next(button for button in page.button if button.label == "Run").click().run()
    assert len(errors(page)) == 1
    assert "d_job" not in page.session_state


def test_an_uploaded_file_is_read_or_refused(runs) -> None:
    page = new_run()
    page.segmented_control(key="d_source").set_value("File").run()
    page.file_uploader(key="d_upload").upload("x.json", b'[{"edges": []}]', "application/json").run()
    assert "row 0" in errors(page)[0]
    assert next(button for button in page.button if button.label == "Run").disabled
    page.file_uploader(key="d_upload").set_value(None).run()
    data = write_problems(PROBLEMS[:5]).encode()
    page.file_uploader(key="d_upload").upload("five.json", data, "application/json").run()
    assert errors(page) == []
    assert page.number_input(key="d_first").max == 5
