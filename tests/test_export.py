"""Every file made from a report: what is in it is what the report says, and names are shown as they are."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
import xml.etree.ElementTree as ElementTree

import networkx as nx
import pytest
from PIL import Image

from model import checkpoint, cli
from model.codec_slots import ANSWER
from model.errors import InputError
from model.formats.graph import read_graph
from model.problems.prosqa import ProsQAProblem
from probing.__main__ import app
from probing.commands import plot
from probing.draw.export import FORMATS, export_report, format_of
from probing.draw.of_report import KINDS
from probing.draw.static import text_width, wrap
from probing.read.probe import probe
from probing.read.report import ProbeReport

NAMES = (
    "Räuber", "🦊 fox", "שלום עולם", "<b>bold</b>&amp;", "$x_1^2$", "a_b", "%d {x}", "語彙", "bell\a\u202e",
    "</script><script>alert(1)</script>", "${\\frac{1}{2}",
)  # fmt: skip
EDGES = ((0, 1), (0, 2), (1, 3), (2, 4), (2, 5), (1, 2), (4, 7), (8, 9), (8, 10), (10, 4))
PROBLEM = ProsQAProblem(NAMES, EDGES, 0, 7, 9)


@pytest.fixture(scope="module")
def report(tiny) -> ProbeReport:
    return probe(tiny, PROBLEM, n_samples=5, seed=1, control=checkpoint.untrained(tiny.config, seed=2), name="<i>m</i>")


def rows_of(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode())))


def test_the_table_is_the_report(report) -> None:
    """Each number comes back exactly, for every state and node."""
    for value in ("probability", "logit"):
        band = report.values(value)
        for kind in ("dag", "heatmap"):
            rows = [row for row in rows_of(export_report(report, kind, "csv", value=value)) if row["value"] == value]
            drawn = kind == "dag" and value == "probability"  # the graph's last state is the answer
            assert len(rows) == (report.n_thoughts + (not drawn)) * len(NAMES)
            for row in rows:
                state, node = int(row["state"]), int(row["node"])
                assert float(row["mean"]) == band.mean[state][node]
                assert float(row["low"]) == band.low[state][node]
                assert float(row["high"]) == band.high[state][node]
                assert (row["name"], row["n"]) == (NAMES[node], "5")
                assert row["distance"] == ("" if node in (6, 8, 9, 10) else str(int(PROBLEM.distance[node])))
                thought = state + 1
                assert row["thought"] == (str(thought) if state < report.n_thoughts else "")
                in_frontier = state < report.n_thoughts and node in PROBLEM.frontier(thought)
                assert row["frontier"] == str(int(in_frontier))
    role = {row["name"]: row["role"] for row in rows}
    assert [role[NAMES[node]] for node in (0, 7, 9, 1)] == ["root", "target", "other candidate", "node"]


def test_the_graph_ends_on_the_answer_in_the_table_and_in_motion(report) -> None:
    rows = [row for row in rows_of(export_report(report, "dag", "csv")) if row["value"] == "answer"]
    found = {int(row["node"]): float(row["mean"]) for row in rows}
    last, problem = report.answers[-1], report.problem
    assert len(found) == len(NAMES)
    assert {v: p for v, p in found.items() if v in (problem.target, problem.neg_target)} == {
        problem.target: last.p_target.value, problem.neg_target: last.p_neg_target.value,
    }  # fmt: skip
    assert {p for v, p in found.items() if v not in (problem.target, problem.neg_target)} == {0}
    moving = Image.open(io.BytesIO(export_report(report, "dag", "gif")))
    assert (moving.format, moving.n_frames) == ("GIF", report.n_thoughts + 1)


def test_the_masses_of_the_heatmap_table_sum_to_1(report) -> None:
    rows = [row for row in rows_of(export_report(report, "heatmap", "csv")) if row["value"] == "mass"]
    for state in range(report.n_thoughts + 1):
        here = {row["name"]: float(row["mean"]) for row in rows if int(row["state"]) == state}
        assert sum(share for name, share in here.items() if "," not in name) == pytest.approx(1)
        assert here["answer token"] == report.marker.mean[state][ANSWER]
    assert "frontier, shuffled" in {row["name"] for row in rows}


def test_the_frontier_table_holds_every_source(report) -> None:
    rows = rows_of(export_report(report, "frontier", "csv"))
    assert {row["source"] for row in rows} == {"model", "shuffled", "untrained", "depth_reader"}
    assert len(rows) == (3 * 4 + 3) * report.n_thoughts
    for row in rows:
        found = report.metrics[row["source"]][row["metric"]][int(row["thought"]) - 1]
        if report.base_rate[int(row["thought"]) - 1] == 0:
            assert row["mean"] == ""
        elif found is None:  # the counterfactual question's search has ended before
            assert (row["metric"], row["mean"]) == ("auroc_other_root", "")
        else:
            assert float(row["mean"]) == found.value
            assert row["n"] == ("1" if row["source"] == "depth_reader" else "5")
        if row["metric"] == "average_precision" and row["chance"]:
            assert float(row["chance"]) == report.base_rate[int(row["thought"]) - 1]


@pytest.mark.parametrize("kind", ["dag", "heatmap"])
def test_svg_parses_and_holds_every_name_as_text(report, kind) -> None:
    data = export_report(report, kind, "svg", state=1 if kind == "dag" else None)
    root = ElementTree.fromstring(data)
    texts = ["".join(element.itertext()) for element in root.iter("{http://www.w3.org/2000/svg}text")]
    for name in NAMES:
        shown = name.replace("\a", "\ufffd").replace("\u202e", "\ufffd")
        if len(shown) > 20:
            shown = f"{shown[:10].rstrip()}…{shown[-9:].lstrip()}"
        assert any(text == shown or text.startswith(f"{shown} (") for text in texts), name
    sizes = [float(size) for size in re.findall(rb"font-size: ([\d.]+)px", data)]
    assert min(sizes) >= 7
    assert b"<image" not in data


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_pictures_are_what_they_say_and_the_same_each_time(report, theme, recwarn, capfd) -> None:
    png = export_report(report, "dag", "png", state=0, theme=theme)
    assert png.startswith(b"\x89PNG")
    pdf = export_report(report, "frontier", "pdf", theme=theme)
    assert pdf.startswith(b"%PDF")
    assert b"/FontFile2" in pdf  # text, with its font inside
    assert pdf == export_report(report, "frontier", "pdf", theme=theme)
    assert not [warning for warning in recwarn if "Glyph" in str(warning.message)]
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("format", ["svg", "png", "pdf"])
def test_the_same_report_gives_the_same_bytes(report, format) -> None:
    for kind in KINDS:
        assert export_report(report, kind, format) == export_report(report, kind, format)


@pytest.mark.parametrize("kind", KINDS)
def test_html_needs_nothing_else_and_shows_markup_literally(report, kind) -> None:
    page = export_report(report, kind, "html").decode()
    head, figure = page.split("<main>")
    loads = re.findall(r"<(?:script|link|img|iframe)[^>]*(?:src|href)\s*=\s*[\"']?([^\"'> ]+)", head + figure)
    assert not [load for load in loads if load.startswith(("http", "//"))]
    own = figure[figure.rindex("Plotly.newPlot(") :]  # after the library itself
    assert "<script>alert(1)" not in own
    if kind == "dag":
        assert "&lt;b&gt;bold&lt;/b&gt;&amp;amp;" in json.loads('"' + own.replace('"', '\\"').replace("\n", " ") + '"')
        assert '"sliders"' in own
    assert "<b>bold</b>" not in own
    assert "<i>m</i>" not in own


def test_graph_exports_hold_the_scores_and_read_back(report) -> None:
    for format in ("graphml", "node-link"):
        clean = ProsQAProblem(tuple(name.replace("\a", "") for name in NAMES), EDGES, 0, 7, 9)
        mended = report.model_copy(update={"problem_row": report.problem_row.model_validate(clean.to_row())})
        text = export_report(mended, "dag", format).decode()
        graph = nx.parse_graphml(text) if format == "graphml" else nx.node_link_graph(json.loads(text), edges="edges")
        for node, name in enumerate(clean.idx_to_symbol):
            values = graph.nodes[name]
            for t in range(1, report.n_thoughts + 1):
                assert values[f"score_t{t}"] == report.probability.mean[t - 1][node]
            assert values["score_answer"] == report.probability.mean[-1][node]
            assert values.get("distance") == (None if node in (6, 8, 9, 10) else PROBLEM.distance[node])
        assert read_graph(text, format).ask().edges == EDGES  # type: ignore[arg-type]


def test_json_is_the_report(report) -> None:
    assert ProbeReport.parse(export_report(report, "dag", "json").decode()) == report


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "pie"}, "kinds are dag, heatmap, frontier"),
        ({"format": "tiff"}, "formats are svg"),
        ({"value": "loudness"}, "values are probability"),
        ({"theme": "sepia"}, "themes are light, dark"),
        ({"state": 7}, "states 0 to 6"),
        ({"state": -1}, "states 0 to 6"),
        ({"kind": "heatmap", "state": 1}, "for the kind dag or tokens only, not for heatmap"),
        ({"kind": "dag", "node": 1}, "for the kind trajectory only, not for dag"),
        ({"kind": "trajectory", "node": 11}, "nodes 0 to 10"),
    ],
)
def test_what_is_unknown_is_named(report, options, message) -> None:
    with pytest.raises(InputError, match=message):
        export_report(report, **({"kind": "dag", "format": "csv"} | options))


def test_endings_say_formats() -> None:
    assert {format_of(f"a/b.{ending}") for ending in ("svg", "PNG", "pdf", "html", "csv", "json", "graphml", "gif")} | {
        format_of("x.node-link.json")
    } == set(FORMATS)
    with pytest.raises(InputError, match=r"accepted are .*\.svg"):
        format_of("picture.tiff")


def run(monkeypatch, *arguments: object) -> int:
    """The exit code of ``python -m probing plot`` with these arguments."""
    monkeypatch.setattr(sys, "argv", ["probing", "plot", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.run(app)
    return int(ended.value.code or 0)


def test_the_command_writes_what_export_gives(report, tmp_path, monkeypatch, capfd) -> None:
    source, out = tmp_path / "r.json", tmp_path / "new" / "r.svg"
    report.save(source)
    assert run(monkeypatch, source, "--kind", "dag", "--state", 1, "--out", out) == 0
    assert out.read_bytes() == export_report(report, "dag", "svg", state=1)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("kind", KINDS)
def test_the_command_draws_every_kind_that_its_help_names(report, tmp_path, monkeypatch, capfd, kind) -> None:
    source, own = tmp_path / "r.json", []
    report.save(source)
    if KINDS[kind].chosen == "node":
        own = ["--node", NAMES[3]]
    for format in ("svg", "csv"):
        assert run(monkeypatch, source, "--kind", kind, *own, "--out", tmp_path / f"x.{format}") == 0
    assert (tmp_path / "x.svg").read_bytes() == export_report(report, kind, "svg", node=3 if own else None)
    assert len(rows_of((tmp_path / "x.csv").read_bytes())) >= report.n_thoughts
    assert run(monkeypatch, "--help") == 0
    assert f"{kind} " in capfd.readouterr().out
    assert KINDS[kind].title in plot.help_text()


@pytest.mark.parametrize(
    ("options", "name", "message"),
    [
        (["--kind", "dag", "--state", "99"], "x.svg", "states 0 to 6"),
        (["--kind", "pie"], "x.svg", "kinds are dag"),
        (["--kind", "trajectory", "--node", "Nobody"], "x.svg", "has no node of this name"),
        (["--kind", "dag"], "x.tiff", "does not say a format"),
        (["--kind", "dag", "--value", "loudness"], "x.svg", "values are probability"),
        (["--kind", "dag"], "file/x.csv", "cannot be written"),
    ],
)
def test_the_command_refuses_in_one_sentence(report, tmp_path, monkeypatch, capfd, options, name, message) -> None:
    source = tmp_path / "r.json"
    report.save(source)
    (tmp_path / "file").write_text("")
    assert run(monkeypatch, source, *options, "--out", tmp_path / name) == 2
    told = capfd.readouterr().err
    assert message in told
    assert len(told.strip().splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "r.json"]


@pytest.mark.parametrize("damage", [lambda text: text[:500], lambda text: "", lambda text: text.replace("[", "{", 1)])
def test_the_command_refuses_a_damaged_report(report, tmp_path, monkeypatch, capfd, damage) -> None:
    source = tmp_path / "r.json"
    source.write_text(damage(report.to_json()))
    assert run(monkeypatch, source, "--kind", "dag", "--out", tmp_path / "x.svg") == 2
    assert "not a probe report" in capfd.readouterr().err


def test_text_is_measured_generously_and_wrapped_at_spaces() -> None:
    assert text_width("mmmm") > text_width("iiii")
    assert text_width("語彙") > text_width("ab")
    lines = wrap("one two three four five", 40)
    assert " ".join(lines) == "one two three four five"
    assert all(text_width(line) <= 40 for line in lines)
    assert wrap("unbreakable", 1) == ["unbreakable"]
