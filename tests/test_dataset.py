"""A whole run: what it writes, that it says everything a reader needs, and what it refuses."""

from __future__ import annotations

import csv
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from typer.testing import CliRunner

from model import checkpoint
from model.coconut import CoconutConfig
from model.errors import InputError
from model.files import held
from model.formats.graph import write_problems
from model.problems.generate import generate
from model.readout import forced_answers, node_log_probs
from probing.__main__ import app
from probing.dataset.findings import DatasetResult
from probing.dataset.record import Settings, make_sources, open_recording
from probing.dataset.report_page import COLUMNS, file_name, to_html
from probing.dataset.run import ANALYSES, choose_analyses, run_dataset
from probing.draw.static import svg as to_svg
from probing.draw.values import Chart, Series
from tests.two_tokens import two_token_model

PROBLEMS = list(generate("public", 24, 3))


@pytest.fixture(scope="module")
def folders(tiny, tmp_path_factory):
    """The tiny model, and one of its kind that was trained without thoughts."""
    base = tmp_path_factory.mktemp("models")
    checkpoint.save(tiny, base / "tiny")
    config = CoconutConfig.from_dict(tiny.config.to_dict() | {"method": "no_cot", "trained_stage": 0})
    checkpoint.save(checkpoint.untrained(config, seed=2), base / "no-cot")
    return base


@pytest.fixture(scope="module")
def run(folders, tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    sources = make_sources(folders / "tiny", (folders / "no-cot",))
    result = run_dataset(sources, PROBLEMS, out, data="made.json", settings=Settings(), n_probe_problems=12)
    assert result is not None
    return out, result


def test_every_analysis_is_made_and_kept_exactly(run) -> None:
    out, result = run
    assert [section.name for section in result.sections] == list(ANALYSES)
    assert DatasetResult.load(out / "result.json") == result
    with (out / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == len(result.cells)
    assert all(row["n"].isdecimal() for row in rows)
    charts = [(section, chart) for section in result.sections for chart in section.charts]
    names = [file_name(section, chart) for section, chart in charts]
    assert len(set(names)) == len(names)
    for name, (_, chart) in zip(names, charts, strict=True):
        assert Chart.model_validate_json((out / "figures" / f"{name}.json").read_text()) == chart
        assert (out / "figures" / f"{name}.svg").read_text().rstrip().endswith("</svg>")
    assert (out / "tiny" / "probes.safetensors").is_file()


class Page(HTMLParser):
    VOID = ("meta", "img", "br", "link", "hr")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag, attrs) -> None:
        values = dict(attrs)
        self.links += [values[key] for key in ("href", "src", "xlink:href") if values.get(key)]
        self.ids += [values["id"]] if "id" in values else []
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs) -> None:
        values = dict(attrs)
        self.links += [values[key] for key in ("href", "src", "xlink:href") if values.get(key)]
        self.ids += [values["id"]] if "id" in values else []

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag


def test_the_page_needs_nothing_else_and_says_what_a_reader_needs(run) -> None:
    out, result = run
    text = (out / "report.html").read_text()
    page = Page()
    page.feed(text)
    assert page.open == []
    assert len(set(page.ids)) == len(page.ids)
    for link in page.links:
        assert link.startswith(("#", "data:")), link
        if link.startswith("#"):
            assert link[1:] in page.ids, link
    assert not re.search(r"@import|<script|url\((?!#)", text)
    for section in result.sections:
        part = text[text.index(f"<section id='{section.name}'>") :]
        part = part[: part.index("</section>")].replace("\u00a0", " ")
        for needed in ("What is shown", "Definition", "n = ", "Interval", "Control", "What it does not show", "Source"):
            assert needed in part
        for field in ("shows", "definition", "interval", "control", "does_not_show", "paper"):
            assert getattr(section, field)
    drawn = {path.stem: path.read_text() for path in (out / "figures").glob("*.svg")}
    assert to_html(result, drawn) == text


def test_a_model_without_thoughts_stands_beside(run) -> None:
    _, result = run
    section = result.section("kswitch")
    bars = next(chart for chart in section.charts if chart.name == "categories_tiny")
    assert [*bars.series[0].x] == [*(f"k = {k}" for k in range(7)), "no-cot"]
    assert section.cell("accuracy", source="no-cot", step=0).n == 24
    assert not any(cell.source == "no-cot" for cell in result.section("frontier").cells)
    assert {m.info.name: m.n_thoughts for m in result.models} == {"tiny": 6, "untrained": 6, "no-cot": 0}


def test_a_model_without_thoughts_alone(folders, tmp_path) -> None:
    result = run_dataset(make_sources(folders / "no-cot", untrained=False), PROBLEMS[:3], tmp_path, data="d")
    assert result is not None
    assert [section.name for section in result.sections] == ["kswitch", "breakdown"]


def test_running_again_only_analyses_again(run, folders, monkeypatch) -> None:
    out, result = run
    from probing.dataset import record

    monkeypatch.setattr(record, "record_chunk", lambda *a, **b: pytest.fail("recorded again"))
    sources = make_sources(folders / "tiny", (folders / "no-cot",))
    again = run_dataset(sources, PROBLEMS, out, data="made.json", analyses=["kswitch"], tree_problem=3)
    assert again is not None
    assert again.section("kswitch") == result.section("kswitch")
    with pytest.raises(InputError, match="no analysis 'height'"):
        again.section("height")


def test_a_codec_of_several_tokens_a_node_is_recorded_and_analysed(tmp_path) -> None:
    """No token id and no slot: values are those that the read-out gives one problem at a time, and sum to at most 1."""
    model, problems = two_token_model(), PROBLEMS[:6]
    checkpoint.save(model, tmp_path / "two")
    chosen = ("kswitch", "height", "frontier")
    settings = Settings(n_thoughts=2, pad=False)
    sources = make_sources(tmp_path / "two")
    result = run_dataset(sources, problems, tmp_path / "out", data="d", settings=settings, analyses=chosen)
    assert result is not None
    assert [section.name for section in result.sections] == list(chosen)
    shares = [cell.value for cell in result.section("kswitch").cells if cell.metric == "category" and cell.step == 1]
    assert sum(shares) == pytest.approx(2)  # of the model and of its untrained control
    recording = open_recording(tmp_path / "out", result.models[0])
    prompt = model.codec.prompt(problems[3], np.random.default_rng([0, 3]))
    trace = model.think(model.codec.collate([prompt]), 2)
    found = node_log_probs(model, trace, [prompt])
    n = problems[3].n_nodes
    assert recording.value[3, :, :n] == pytest.approx(found.probability[0], abs=1e-5)
    assert recording.p_target[3] == pytest.approx(forced_answers(model, trace, [prompt]).p_target[0], abs=1e-5)
    mass = result.section("frontier").cell("mass_frontier", step=1)
    assert mass.value == pytest.approx(
        np.mean([np.nansum(recording.value[i, 0][recording.distance[i] == 1]) for i in range(6)])
    )
    assert any(cell.group.startswith("longest height") for cell in result.section("height").cells)


def test_a_run_keeps_its_folder_until_all_of_it_is_written(folders, tmp_path) -> None:
    """Not only while it records."""
    told = set[str]()

    def progress(what: str, done: int, total: int) -> None:
        told.add(what.partition(" ")[0])
        with pytest.raises(InputError, match="another process is writing there"), held(tmp_path):
            pass

    sources = make_sources(folders / "tiny", untrained=False)
    run_dataset(sources, PROBLEMS[:3], tmp_path, data="d", analyses=["kswitch"], progress=progress)
    assert {"running", "analyses"} < told
    with held(tmp_path):
        pass


def test_cancelling_returns_nothing(folders, tmp_path) -> None:
    sources = make_sources(folders / "tiny")
    assert run_dataset(sources, PROBLEMS, tmp_path, data="d", cancelled=lambda: True) is None
    assert not (tmp_path / "report.html").exists()


def test_analyses_are_chosen_by_name() -> None:
    assert choose_analyses("all") == tuple(ANALYSES)
    assert choose_analyses("height, kswitch") == ("kswitch", "height")
    assert "probes" not in choose_analyses("all,-probes")
    for bad in ("", "nonsense", "kswitch,-kswitch", "-nonsense"):
        with pytest.raises(InputError):
            choose_analyses(bad)


@pytest.mark.parametrize("kind", ["lines", "stacked", "bars", "histogram", "points", "heatmap"])
def test_every_kind_of_chart_survives_gaps(kind) -> None:
    names = ("a", "b <i>&", "c")
    x = (0.0, 1.0, 2.0) if kind in ("lines", "histogram", "points") else ("p", "q", "r")
    series = tuple(Series(name=name, x=x, y=(0.5, None, 0.25), control=name == "c") for name in names)
    chart = Chart(name="n", title="A <title>", kind=kind, x_label="x", y_label="y", series=series, y_range=(0, 1))
    assert to_svg(chart) == to_svg(chart)
    assert "<i>" not in to_svg(chart)


def test_the_command_and_its_refusals(folders, tmp_path) -> None:
    data = tmp_path / "data.json"
    data.write_text(write_problems(PROBLEMS[:4]))
    runner = CliRunner()
    base = ["dataset", "--data", str(data), "--out", str(tmp_path / "out"), "--checkpoint", str(folders / "tiny")]
    # --fill is what --pad was called
    good = runner.invoke(app, [*base, "--analyses", "kswitch,tree", "--first", "3", "--tree-problem", "2", "--fill"])
    assert good.exit_code == 0, good.output
    assert "(n = 3)" in good.stdout
    written = json.loads((tmp_path / "out" / "result.json").read_text())
    assert (written["data"], written["n_problems"]) == ("data.json", 3)
    assert "number 2" in written["sections"][1]["title"]
    hops = [*base[:-4], "--out", str(tmp_path / "hops"), *base[-2:], "--analyses", "kswitch", "--thoughts", "hops+1"]
    assert runner.invoke(app, hops).exit_code == 0
    cells = json.loads((tmp_path / "hops" / "result.json").read_text())["sections"][0]["cells"]
    deepest = max(problem.n_hops for problem in PROBLEMS[:4])
    assert (
        max(cell["step"] for cell in cells if cell["metric"] == "accuracy" and cell["step"] is not None) == deepest + 1
    )
    for extra, message in (
        (["--thoughts", "many"], "give a number, hops, or hops[+]1"),
        (["--first", "5"], "asks for more"),
        (["--analyses", "x"], "not known"),
        (["--device", "tpu"], "device"),
        (["--seed", "1"], "holds another run"),
    ):
        bad = runner.invoke(app, [*base, *extra])
        assert isinstance(bad.exception, InputError), (extra, bad.output)
        assert re.search(message, str(bad.exception))


def test_a_damaged_result_is_refused(run, tmp_path) -> None:
    out, _ = run
    row = json.loads((out / "result.json").read_text())
    row["version"] = 9
    (tmp_path / "r.json").write_text(json.dumps(row))
    with pytest.raises(InputError, match="version"):
        DatasetResult.load(tmp_path / "r.json")
