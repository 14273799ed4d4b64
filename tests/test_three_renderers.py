"""Page, Plotly and SVG draw the same report: shapes, markers, dashes, orientation, outlines and printed values."""

from __future__ import annotations

import html
import os
import re
import subprocess
import sys
from collections import Counter
from colorsys import rgb_to_hls
from itertools import combinations, pairwise
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from app.compute import example
from model import checkpoint
from model.problems.generate import generate
from model.problems.prosqa import ProsQAProblem
from model.stats import Estimate
from model.training.folder import RunFolder, read_run_folder
from probing.draw import echarts, of_intervention, of_report, of_training, plotly, static
from probing.draw.layout import bezier
from probing.draw.marks import (
    COLOURS,
    DARK,
    DASHES,
    GREYS,
    GROUPS,
    LIGHT,
    MARKERS,
    NO_MARKER,
    SHAPE,
    SOURCE,
    legend,
    marks_of,
    printed,
    printed_cell,
    printed_points,
    text_width,
)
from probing.draw.values import Chart, Graph, Heatmap, Reference, Scale, Series, Words
from probing.edit import directions
from probing.edit.one_problem import Intervention, intervene
from probing.edit.spec import EditPlan
from probing.read.probe import probe
from probing.read.report import ProbeReport
from tests.run_folders import plant, record

SVG = "{http://www.w3.org/2000/svg}"
EDGES = [
    ("Tom", "a"), ("Tom", "b"), ("a", "c"), ("a", "d"), ("b", "e"), ("b", "f"), ("c", "t"), ("a", "b"),
    ("Eva", "g"), ("Eva", "h"), ("g", "i"), ("h", "j"), ("i", "n"),
]  # fmt: skip
PROBLEM = ProsQAProblem.from_names(EDGES, root="Tom", candidates=("t", "n"))
NUMBER = re.compile(r"[+-]?(\d+|\d*\.\d+)$")


@pytest.fixture(scope="module")
def report(trained) -> ProbeReport:
    return probe(trained, PROBLEM, n_samples=5, seed=3, control=checkpoint.untrained(trained.config), name="shipped")


@pytest.fixture(scope="module")
def swapped(trained) -> Intervention:
    fitted = directions.load(checkpoint.DEFAULT_CHECKPOINT / directions.FILE_NAME)
    return intervene(trained, example(), EditPlan.parse("swap:t=2,strength=1.5"), directions=fitted, n_samples=2)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> RunFolder:
    return read_run_folder(plant(tmp_path_factory.mktemp("run"), ended=True))


def svg_of(value) -> ElementTree.Element:
    return ElementTree.fromstring(static.render(value, "svg"))


def texts(root: ElementTree.Element) -> list[str]:
    return ["".join(element.itertext()).strip() for element in root.iter(f"{SVG}text")]


def corners(root: ElementTree.Element, gid: str) -> list[tuple[float, float]] | None:
    """The corners of what is drawn under a name; None for a curve."""
    (group,) = (element for element in root.iter(f"{SVG}g") if element.get("id") == gid)
    data = next(group.iter(f"{SVG}path")).get("d", "")
    if "C" in data or "Q" in data:
        return None
    spots = [(float(x), float(y)) for x, y in re.findall(r"[ML] ([-\d.]+) ([-\d.]+)", data)]
    return spots[:-1] if spots[0] == spots[-1] else spots


def same_shape(found: list[tuple[float, float]] | None, expected: tuple[tuple[float, float], ...]) -> bool:
    """Equal up to place and size."""
    if found is None or not expected:
        return found is None and not expected

    def unit(spots) -> list[tuple[float, float]]:
        (x0, x1), (y0, y1) = ((min(values), max(values)) for values in zip(*spots, strict=True))
        return sorted((round((x - x0) / (x1 - x0), 2), round((y - y0) / (y1 - y0), 2)) for x, y in spots)

    return unit(found) == unit(expected)


def same_graph(graph: Graph) -> None:
    page = echarts.option(graph, LIGHT)["series"]
    drawn = plotly.figure(graph)
    trace = drawn.data[plotly.NODE_TRACE]
    file = svg_of(graph)
    for node in graph.nodes:
        shape, text = SHAPE[node.role], printed(node.value, graph.scale)
        item = page[0]["data"][node.id]
        assert item["symbol"] == shape.echarts
        assert trace.marker.symbol[node.id] == shape.plotly
        assert same_shape(corners(file, f"node-{graph.state}-{node.id}"), shape.corners)
        assert item["name"] == text
        assert re.sub(r"<[^>]*>", "", trace.text[node.id]).strip() == text
        fill = LIGHT.colour(node.value, graph.scale.low, graph.scale.high)
        assert item["itemStyle"]["color"] == trace.marker.color[node.id] == fill
        outline = LIGHT.frontier if node.frontier else LIGHT.outline_of(node)
        assert item["itemStyle"]["borderColor"] == trace.marker.line.color[node.id] == outline
        # What stands left and low on the page does so in the other two.
        assert item["value"] == [trace.x[node.id], trace.y[node.id]] == [node.x, node.y]
        # Hovering says the same.
        assert plain(item["tooltip"]["formatter"]) == plain(trace.hovertext[node.id]) == list(graph.said(node))
    numbers = [printed(node.value, graph.scale) for node in graph.nodes]
    ends = (graph.scale.low, graph.scale.high)
    around = {"0", "1", *(f"{end:.2g}" for end in ends), *(d for _, d in graph.columns)}
    shown = [text for text in texts(file) if NUMBER.match(text)]
    assert sorted(set(shown) - around) == sorted({number for number in numbers if number} - around)
    assert {node.label for node in graph.nodes} <= set(texts(file))
    badges = sorted(node.badge for node in graph.nodes if node.badge)
    assert sorted(item["name"] for item in page[3]["data"]) == badges
    assert sorted(t for a in drawn.layout.annotations if (t := plain(a.text)[0]) in ("+", "−")) == badges
    assert sorted(text for text in texts(file) if text in ("+", "−")) == badges


def plain(tip: str) -> list[str]:
    """The lines of what hovering shows, without markup."""
    return [html.unescape(re.sub(r"<[^>]*>", "", line)) for line in tip.split("<br>")]


@pytest.mark.parametrize("value", ["probability", "logit"])
def test_the_graph_has_one_face(report, value) -> None:
    same_graph(of_report.graph(report, 1, value=value))


@pytest.mark.parametrize("value", ["probability", "weight"])
def test_the_graphs_of_an_intervention_have_one_face(swapped, value) -> None:
    for graph in of_intervention.pair(swapped, 2, value=value, out=[1, 2], put=[3]):
        same_graph(graph)


def test_nothing_but_the_frontier_is_orange() -> None:
    """No other colour of marks is near it."""
    for theme in (LIGHT, DARK):
        for name in (*COLOURS, *GREYS, *GROUPS, *theme.sources, *(part for part in theme.parts if part != "frontier")):
            red, green, blue = (int(theme.named(name)[i : i + 2], 16) / 255 for i in (1, 3, 5))
            hue, _, saturation = rgb_to_hls(red, green, blue)
            assert saturation < 0.5 or not 15 < 360 * hue < 45, name


def cells_of(value: Heatmap) -> dict[tuple[int, int], str]:
    """(column, row) of each printed cell -> text: thoughts across, nodes down."""
    return {
        (j, i): text
        for i, line in enumerate(value.cells)
        for j, cell in enumerate(line)
        if (text := printed_cell(value.rows[i], cell, value.scale))
    }


def test_the_heatmap_has_nodes_down_and_thoughts_across_everywhere(report) -> None:
    value = of_report.heatmap(report)
    assert len({row for _, row in cells_of(value)}) > 3 < len({column for column, _ in cells_of(value)})
    same_heatmap(value)


def test_the_changes_of_an_intervention_are_the_same_everywhere(swapped) -> None:
    value = of_intervention.changes(swapped, 2)
    assert {text[0] for text in cells_of(value).values()} == {"+", "-"}
    same_heatmap(value)


def same_heatmap(value: Heatmap) -> None:
    expected = cells_of(value)
    option = echarts.option(value, LIGHT)
    assert [item["value"] for item in option["xAxis"]["data"]] == [*"123456", "answer"]
    names = [item["value"] for item in option["yAxis"]["data"]]
    assert names[: len(value.rows) - 1] == [row.label for row in value.rows[:-1]]
    assert option["yAxis"]["inverse"]  # first row on top
    drawn = [cell for series in option["series"] for cell in series["data"]]
    assert len({cell["name"] for cell in drawn}) == len(drawn)  # ECharts selects by name
    assert {tuple(c["value"][:2]): c["label"]["formatter"] for c in drawn if c["label"]["show"]} == expected
    drawn = plotly.figure(value)
    notebook = {(int(a.x), int(a.y)): a.text for a in drawn.layout.annotations if NUMBER.match(a.text)}
    assert notebook == expected
    top, bottom = drawn.layout.yaxis.range
    assert top > bottom
    # In the file: the column and row of each number, from where it stands.
    file = svg_of(value)
    spots = [
        (text, tuple(map(float, re.search(r"translate\(([\d.]+) ([\d.]+)\)", element.get("transform", "")).groups())))
        for element in file.iter(f"{SVG}text")
        if (text := "".join(element.itertext()).strip()) in expected.values()
        and "translate" in element.get("transform", "")
    ]
    if not spots:  # matplotlib may place text by x and y
        spots = [
            (text, (float(element.get("x")), float(element.get("y"))))
            for element in file.iter(f"{SVG}text")
            if (text := "".join(element.itertext()).strip()) in expected.values() and element.get("x")
        ]
    by_row = sorted({text for _, text in expected.items()})
    assert {text for text, _ in spots} == set(by_row)
    assert not [text for text in texts(file) if "±" in text]
    tips = {tuple(c["value"][:2]): plain(c["tooltip"]["formatter"]) for s in option["series"] for c in s["data"]}
    hovers = {
        (x, y): plain(text)
        for trace in drawn.data[: len(option["series"])]
        for y, line in zip(trace.y, trace.text, strict=True)
        for x, text in zip(trace.x, line, strict=True)
    }
    assert tips == hovers
    unique = {text: at for at, text in expected.items() if list(expected.values()).count(text) == 1}
    where = {text: spot for text, spot in spots if text in unique}
    for one, (column, row) in unique.items():
        for other, (across, down) in unique.items():
            if one in where and other in where:
                assert (where[one][0] < where[other][0] - 15) == (column < across)
                assert (where[one][1] < where[other][1] - 8) == (row < down)
    outlined = {(j, i) for i, line in enumerate(value.cells) for j, cell in enumerate(line) if cell.frontier}
    page_outlined = {
        tuple(cell["value"][:2]) for cell in option["series"][0]["data"] if "borderColor" in cell.get("itemStyle", {})
    }
    shapes = {(round(s.x0 + 0.46), round(s.y0 + 0.45)) for s in drawn.layout.shapes if s.line.color == LIGHT.frontier}
    assert page_outlined == shapes == outlined


def test_controls_have_their_marker_and_dash_everywhere(report) -> None:
    polygons = {"circle": 0, "square": 4, "triangle": 3, "down": 3}
    for chart in of_report.frontier(report, state=0):
        lines = {s["name"]: s for s in echarts.option(chart, LIGHT)["series"] if "name" in s}
        traces = {trace.name: trace for trace in plotly.figure(chart).data}
        file = svg_of(chart)
        for series in chart.series:
            if series.source == "chance":
                continue
            marker, dash = SOURCE[series.source]
            assert lines[series.name]["symbol"] == MARKERS[marker].echarts
            assert lines[series.name]["lineStyle"]["type"] == DASHES[dash].echarts
            assert traces[series.name].marker.symbol == MARKERS[marker].plotly
            assert traces[series.name].line.dash == DASHES[dash].plotly
            assert lines[series.name]["color"] == traces[series.name].line.color == LIGHT.sources[series.source]
            (group,) = (g for g in file.iter(f"{SVG}g") if g.get("id") == f"{chart.name}-{series.source}")
            (spot,) = (path.get("d", "") for defs in group.iter(f"{SVG}defs") for path in defs.iter(f"{SVG}path"))
            n = 0 if "C" in spot else len(re.findall("[ML]", spot))
            assert n == polygons[marker], (series.name, spot)
            drawn = [y for y in series.y if y is not None]
            assert [point[1] for point in lines[series.name]["data"] if point[1] is not None] == [
                round(y, 5) for y in drawn
            ]
            assert [y for y in traces[series.name].y if y is not None] == drawn
            assert len(list(group.iter(f"{SVG}use"))) == len(drawn)


def test_shares_are_printed_alike(report) -> None:
    chart = of_report.parts(report, state=1)
    page = [cell["name"] for series in echarts.option(chart, LIGHT)["series"] for cell in series["data"]]
    notebook = [text for trace in plotly.figure(chart).data for text in trace.text]
    assert page == notebook
    numbers = [text for text in page if text]
    assert numbers
    assert sorted(numbers) == sorted(
        text for text in texts(svg_of(chart)) if re.fullmatch(r"\d+", text) and text not in list("123456")
    )


def charts_of(report, swapped, run) -> list[Chart]:
    """Every chart of a report, an intervention, a training run, and of the kinds that data set runs have beside."""
    found = [*of_report.frontier(report, state=1), of_report.answers(report, state=1), of_report.parts(report, state=1)]
    found += [of_report.tokens(report, 1), of_report.trajectory(report, 3, state=1)]
    found += [of_intervention.effects(swapped), of_intervention.searches(swapped, 2), of_intervention.drift(swapped, 2)]
    found += [of_training.figure(run, kind, at=300) for kind in of_training.KINDS]
    found += [of_training.figure(run, kind, at=300, other=run) for kind in ("auroc", "mass", "logit", "accuracy")]
    return [*found, *of_training.charts(record()), *made_up()]


def made_up() -> list[Chart]:
    about = {"title": "title", "x_label": "across", "y_label": "up"}
    x = ("p", "q", "r")
    y = (0.5, None, 0.25)
    ends = {"low": (0.4, None, 0.2), "high": (0.7, None, 0.3), "n": (30, None, 20)}
    named = [Series(name=name, x=x, y=y, labels=("n = 30", "n = 0", "n = 20"), **ends) for name in ("one", "two")]
    plain_ones = tuple(Series(name=name, x=x, y=y) for name in ("one", "two"))
    numbers = tuple(Series(name=name, x=(0.0, 1.0, 2.0), y=(0.5, 0.25, 1.0)) for name in ("one", "two", "three"))
    cases = [one.model_copy(update={"labels": ("problem 1", "problem 2", "problem 3")}) for one in numbers]
    sources = (("the edit", "after"), ("random direction", "random"), ("neither", "neither"))
    beside = tuple(Series(name=name, x=x, y=y, source=source, **ends) for name, source in sources)
    groups = {"root": [("r", 0, 0.0)], "leads to the target": [("a", 1, 0.6)], "does not": [("b", 1, 0.3)]}
    nodes = tuple(
        Series(
            name=group, x=tuple(float(d) for _, d, _ in of), y=tuple(v for *_, v in of),
            labels=tuple(f"{name} {v:.2f}" for name, _, v in of),
        ) for group, of in groups.items()
    )  # fmt: skip
    return [
        Chart(name="bars", kind="bars", series=tuple(named), y_range=(0, 1), **about),
        Chart(name="stacked", kind="stacked", series=plain_ones, **about),
        Chart(name="ranked", kind="ranked", series=(plain_ones[0],), y_range=(0, 1), **about),
        Chart(name="grid", kind="heatmap", series=plain_ones, y_range=(-1, 1), **about),
        Chart(name="histogram", kind="histogram", series=numbers, **about),
        Chart(name="points", kind="points", series=tuple(cases), **about),
        Chart(name="strip", kind="strip", series=beside, references=(Reference(axis="y", at=0.5),), **about),
        Chart(name="tree", kind="tree", series=nodes, edges=(("r", "a"), ("r", "b")), **about),
        Chart(name="many", kind="lines", series=tuple(
            numbers[i % 3].model_copy(update={"name": f"problem {i}"}) for i in range(15)), **about),
    ]  # fmt: skip


def test_every_kind_of_chart_is_compared(report, swapped, run) -> None:
    kinds = {chart.kind for chart in charts_of(report, swapped, run)}
    assert kinds == set(Chart.model_fields["kind"].annotation.__args__)


def test_charts_have_one_legend(report, swapped, run) -> None:
    for chart in charts_of(report, swapped, run):
        entries = dict(zip((series.name for series in chart.series), legend(chart), strict=True))
        named = [name for name, entry in entries.items() if entry]
        shown = echarts.option(chart, LIGHT)["legend"]
        assert ([entry["name"] for entry in shown["data"]], shown["show"]) == (named, bool(named)), chart.name
        assert [trace.name for trace in plotly.figure(chart).data if trace.showlegend] == named
        found = texts(svg_of(chart))
        assert all(entry in found for entry in entries.values() if entry), chart.name
        if chart.kind in ("lines", "points", "histogram"):  # elsewhere names may stand at the rows
            assert not [name for name, entry in entries.items() if not entry and name in found and name != chart.title]


def key_of(entry: dict, chart: Chart) -> tuple[tuple[float, ...], int]:
    """Where the dashes of a legend's key begin and end, and the corners of its marker (-1: a circle, 0: none)."""
    line, dashes = entry["icon"].removeprefix("path://"), r"M([\d.]+),-1H([\d.]+)V1H[\d.]+Z"
    marker = re.sub(dashes, "", line)
    ends = tuple(float(x) for pair in re.findall(dashes, line) for x in pair)
    return ends, -1 if "a" in marker else len(re.findall("[ML]", marker))


def test_keys_of_a_legend_look_like_the_lines(report, swapped, run) -> None:
    """Their dashes as long as the line's, their marker the line's, and no two lines' keys alike."""
    seen = set()
    for chart in charts_of(report, swapped, run):
        entries = {entry["name"]: entry for entry in echarts.option(chart, LIGHT)["legend"]["data"]}
        looks = []
        for series, mark in zip(chart.series, marks_of(chart, LIGHT), strict=True):
            if series.name not in entries:
                continue
            entry = entries[series.name]
            looks.append((entry["icon"], entry["itemStyle"]["color"]))
            assert entry["itemStyle"]["color"] == mark.colour
            if chart.kind not in ("lines", "histogram"):
                assert entry["icon"] == ("rect" if chart.kind in ("stacked", "ranked") else mark.marker.echarts)
                continue
            ends, corners = key_of(entry, chart)
            if mark.dash.echarts == "solid":
                assert ends == (0, echarts.KEY)
            else:
                lengths = [b - a for a, b in pairwise(ends)]
                assert lengths[:3] == (mark.dash.echarts * 2)[:3]
                assert ends[-1] <= echarts.KEY
            assert corners == (0 if mark.marker is NO_MARKER else len(mark.marker.corners) or -1)
            seen.add((mark.dash.plotly, corners))
        assert len(set(looks)) == len(looks), chart.name
    assert {dash for dash, _ in seen} > {"solid", "dash", "longdash", "dot"}


def test_lines_that_look_alike_have_no_keys_and_the_title_says_what_they_are() -> None:
    chart = of_training.figure(read_run_folder(checkpoint.DEFAULT_CHECKPOINT.parent / "prosqa-gap"), "auroc")
    faint = {one.name for one in chart.series if one.faint}
    assert len(faint) > 1
    assert not faint & set(legend(chart))
    assert chart.title.endswith("; grey: the other thoughts")


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_every_control_of_an_edit_has_a_marker_and_a_colour_of_its_own(theme) -> None:
    runs = tuple(
        Series(name=label, x=(label,), y=(0.5,), source=name) for name, label in of_intervention.LABELS.items()
    )
    chart = Chart(name="c", title="t", kind="strip", x_label="x", y_label="y", series=runs)
    marks = marks_of(chart, theme)
    assert len({mark.marker for mark in marks}) == len(marks)
    for one, other in combinations((mark.colour for mark in marks), 2):
        assert sum(abs(int(one[i : i + 2], 16) - int(other[i : i + 2], 16)) for i in (1, 3, 5)) > 60, (one, other)


def test_charts_print_the_same_numbers(report, swapped, run) -> None:
    for chart in charts_of(report, swapped, run):
        if chart.kind in ("points", "lines", "histogram"):  # labels are for hovering
            continue
        expected = Counter(text for series in chart.series for text in printed_points(chart, series) if text)
        assert expected or chart.name == "strip", chart.name
        drawn = [series for series in echarts.option(chart, LIGHT)["series"] if series.get("id") != "heads"]
        data = [item for series in drawn for item in series["data"]]
        said = [item for item in data if isinstance(item, dict)]
        if chart.kind == "heatmap":  # where names tell cells apart
            assert Counter(i["label"]["formatter"] for i in said if i["label"]["show"]) == expected
        else:
            assert Counter(item["name"] for item in said if item.get("name")) == expected
        traces = [trace.text for trace in plotly.figure(chart).data if trace.text is not None]
        lines = [line for trace in traces for line in (trace if chart.kind == "heatmap" else [trace])]
        assert Counter(html.unescape(text) for line in lines for text in line if text) == expected, chart.name
        assert expected <= Counter(texts(svg_of(chart))), chart.name


def test_charts_have_one_set_of_markers_dashes_and_colours(report, swapped, run) -> None:
    edges = {"o": 0, "s": 4, "D": 4, "^": 3, "v": 3, "p": 5, "<": 3, ">": 3}
    for chart in charts_of(report, swapped, run):
        if chart.kind == "heatmap":
            continue
        option, file = echarts.option(chart, LIGHT), svg_of(chart)
        items = {item["name"]: item for item in option["series"] if "name" in item}
        if chart.kind == "tree":
            of = option["series"][0]
            items = {one["name"]: {"color": one["itemStyle"]["color"]} for one in of["categories"]}
            for node in of["data"]:
                items[of["categories"][node["category"]]["name"]]["symbol"] = node["symbol"]
        traces = {trace.name: trace for trace in plotly.figure(chart).data if trace.name}
        assert list(items) == list(traces) == [series.name for series in chart.series], chart.name
        sources = [series.source or series.name for series in chart.series]
        for series, mark, source in zip(chart.series, marks_of(chart, LIGHT), sources, strict=True):
            item, trace = items[series.name], traces[series.name]
            assert item["color"] == trace.marker.color == mark.colour, chart.name
            if chart.kind in ("lines", "histogram"):
                assert item["lineStyle"]["type"] == mark.dash.echarts
                assert trace.line.dash == mark.dash.plotly
                assert ("markers" in trace.mode) == bool(mark.marker.static)
            if chart.kind in ("lines", "histogram", "points", "strip", "tree"):
                assert item["symbol"] == mark.marker.echarts
                assert trace.marker.symbol == mark.marker.plotly
            if chart.kind not in ("lines", "points", "strip", "tree") or sources.count(source) > 1:
                continue
            (group,) = (g for g in file.iter(f"{SVG}g") if g.get("id") == f"{chart.name}-{source}")
            paths = list(group.iter(f"{SVG}path"))
            style = " ".join(path.get("style", "") for path in paths) + " ".join(
                use.get("style", "") for use in group.iter(f"{SVG}use")
            )
            assert mark.colour in style, (chart.name, series.name)
            marks = [p.get("d", "") for defs in group.iter(f"{SVG}defs") for p in defs.iter(f"{SVG}path")]
            if chart.kind == "lines":
                assert ("stroke-dasharray" in style) == (mark.dash is not DASHES["solid"])
                assert bool(marks) == (mark.marker is not NO_MARKER)
            for drawn in marks:
                assert (0 if "C" in drawn else len(re.findall("[ML]", drawn))) == edges[mark.marker.static]


def test_charts_lie_the_same_way(report, swapped, run) -> None:
    """Values to the right where a category is a row, first row on top; upward everywhere else."""
    for chart in charts_of(report, swapped, run):
        option, drawn, file = echarts.option(chart, LIGHT), plotly.figure(chart), svg_of(chart)
        rows = option["yAxis"][0] if isinstance(option["yAxis"], list) else option["yAxis"]
        down = chart.flat or chart.kind == "heatmap"
        assert (rows["type"] == "category" and rows.get("inverse", False)) == down
        ends = drawn.layout.yaxis.range
        assert (ends is not None and ends[0] > ends[1]) == down
        if down:
            names = [series.name for series in chart.series] if chart.kind == "heatmap" else list(chart.names())
            assert [html.unescape(name) for name in drawn.layout.yaxis.ticktext] == names
            page = [name["value"] if isinstance(name, dict) else name for name in rows["data"]]
            unseen = "\u200b\u2068\u2069"  # they keep equal names apart, and other scripts to themselves
            assert [name.strip(unseen) for name in page] == [name.strip(unseen) for name in names]
            # Tick labels of x have their translation first; rows are told by their heights.
            heights = {
                "".join(t.itertext()).strip(): float(re.search(r"translate\([-\d.]+ ([-\d.]+)\)", spot).group(1))
                if (spot := t.get("transform", "")).startswith("translate") else float(t.get("y", 0))
                for t in file.iter(f"{SVG}text")
            }  # fmt: skip
            places = [heights[name] for name in names if name in heights]
            assert len(places) == len(names), chart.name
            assert places == sorted(places), chart.name


def test_points_of_a_page_stand_where_their_intervals_are_and_are_pale_where_there_are_few_cases() -> None:
    (chart,) = (chart for chart in made_up() if chart.kind == "bars")
    option = echarts.option(chart, LIGHT)
    points, strokes = option["series"][:2], option["series"][2:4]
    assert [point["type"] for point in points] == ["scatter", "scatter"]
    alone = chart.model_copy(update={"series": tuple(one.model_copy(update={"control": True}) for one in chart.series)})
    assert all(point["symbol"] != "none" for point in echarts.option(alone, LIGHT)["series"][:2])
    for point, stroke, series in zip(points, strokes, chart.series, strict=True):
        across = [at for at, y in zip(chart.beside(series), series.y, strict=True) if y is not None]
        assert [spot["value"] for spot in point["data"]] == [
            [at, y] for at, y in zip(across, (y for y in series.y if y is not None), strict=True)
        ]
        few = [(n or 0) < 5 for n, y in zip(series.n or [5] * len(series.y), series.y, strict=True) if y is not None]
        assert [spot["itemStyle"]["opacity"] < 1 for spot in point["data"]] == few
        assert [[x, y] for x, y in stroke["data"] if y is not None] == [
            [x, end] for x, ends in zip(across, filter(None, series.ends), strict=True) for end in ends
        ]


def test_every_series_is_named_in_the_legend_without_turning_a_page() -> None:
    names = tuple(Series(name=f"a rather long name {i}", x=(0, 1), y=(0, 1)) for i in range(8))
    chart = Chart(name="c", title="t", kind="lines", x_label="x", y_label="y", series=names)
    option = echarts.option(chart, LIGHT)
    assert option["legend"]["type"] == "plain"
    assert len(option["legend"]["data"]) == 8
    assert option["grid"]["top"] >= 18 * 5  # at most two of these stand in a line


def bare(problem: ProsQAProblem) -> Graph:
    """The graph of a problem, with nothing on it."""
    none = [Estimate(value=0, n=1)] * problem.n_nodes
    return of_report.graph_of(
        problem, none, state=0, thought=1, scale=Scale(value="v", label="v", low=0, high=1), heading="", subtitle=("",),
        words=Words(title=""), tips=[()] * problem.n_nodes,
    )  # fmt: skip


def one_of(kind: str, seed: int, **sizes) -> ProsQAProblem:
    return next(iter(generate(kind, 1, seed, **sizes)))


PROBLEMS = {
    "deeper than trained": lambda: one_of("balanced", 1, hops=(8, 8), nodes=(28, 34)),
    "many branches": lambda: one_of("balanced", 47, hops=(3, 4), nodes=(26, 28)),
    **{f"public {seed}": lambda s=seed: one_of("public", s, hops=(4, 6), nodes=(24, 30)) for seed in range(4)},
    **{f"deep {seed}": lambda s=seed: one_of("balanced", s, hops=(8, 10), nodes=(36, 40)) for seed in range(4)},
    "back and sideways": lambda: ProsQAProblem.from_names(
        [("r", "a"), ("a", "b"), ("b", "c"), ("c", "d"), ("d", "e"), ("r", "k"), ("d", "k"), ("e", "k"), ("r", "l"),
         ("l", "a"), ("x", "y"), ("y", "z"), ("x", "z"), ("x", "e"), ("y", "r"), ("z", "d"), ("x", "k")],
        root="r", candidates=("e", "z"),
    ),
}  # fmt: skip
SIZES = ((309, 537), (331, 700), (440, 480), (620, 620), (900, 560), (1100, 380))
"""Pixels that graphs have on a page."""


def axes_at(option: dict, wide: int, tall: int) -> tuple[tuple[float, float], tuple[float, float]]:
    """The ranges of the axes in a chart of a size, as ECharts chooses them."""
    across, up = option["xAxis"][0], option["yAxis"][0]
    for one in option.get("media", ()):
        least, most = (one["query"].get(f"{end}AspectRatio", other) for end, other in (("min", 0), ("max", 99)))
        if least <= wide / tall <= most:
            across, up = one["option"]["xAxis"][0], one["option"]["yAxis"][0]
    return (across["min"], across["max"]), (up["min"], up["max"])


@pytest.mark.parametrize("make", PROBLEMS.values(), ids=PROBLEMS)
def test_a_page_cuts_no_edge_and_no_name(make) -> None:
    """As ECharts bends edges, in pixels, and with the room that names take, at the sizes that graphs have."""
    value = bare(make())
    for wide, tall in SIZES:
        option = echarts.option(value, LIGHT, tall=tall)
        graph, names, roles = option["series"][:3]
        grid, ((left, right), (low, high)) = option["grid"], axes_at(option, wide, tall)
        per_x = (wide - grid["left"] - grid["right"]) / (right - left)
        per_y = (tall - grid["top"] - grid["bottom"]) / (high - low)

        def at(spot) -> tuple[float, float]:
            return grid["left"] + (spot[0] - left) * per_x, grid["top"] + (high - spot[1]) * per_y  # noqa: B023

        places = {node["id"]: at(node["value"]) for node in graph["data"]}
        for link in graph["links"]:
            (ax, ay), (bx, by) = places[link["source"]], places[link["target"]]
            bend = link["lineStyle"]["curveness"]
            cx, cy = (ax + bx) / 2 - bend * (ay - by), (ay + by) / 2 - bend * (bx - ax)  # as ECharts has it, y down
            for s in np.linspace(0, 1, 41):
                x, y = ((1 - s) ** 2 * a + 2 * s * (1 - s) * c + s * s * b for a, c, b in ((ax, cx, bx), (ay, cy, by)))
                assert -0.5 <= x <= wide + 0.5, (wide, tall, link)
                assert grid["top"] - 0.5 <= y <= tall + 0.5, (wide, tall, link)
        for item in (*names["data"], *roles["data"]):
            x, y = at(item["value"])
            half, off = text_width(item["name"], 11) / 2, item["label"]["distance"] + 12
            assert x - half >= -0.5, item["name"]
            assert x + half <= wide + 0.5, item["name"]
            down = item["label"].get("position", "bottom" if item in names["data"] else "top") == "bottom"
            assert (y + off <= tall + 0.5) if down else (y - off >= 0), item["name"]


@pytest.mark.parametrize("make", PROBLEMS.values(), ids=PROBLEMS)
def test_html_and_files_cut_no_edge(make) -> None:
    value = bare(make())
    drawn = plotly.figure(value)
    (left, right), (low, high) = drawn.layout.xaxis.range, drawn.layout.yaxis.range
    for trace in drawn.data[: plotly.NODE_TRACE]:
        assert all(left < x < right for x in trace.x if x is not None)
        assert all(low < y < high for y in trace.y if y is not None)
    file = svg_of(value)
    wide, tall = map(float, file.get("viewBox").split()[2:])
    curves = [path.get("d") for path in file.iter(f"{SVG}path") if "Q" in path.get("d", "")]
    assert len(curves) >= len(value.edges)
    for curve in curves:
        a, c, b = np.array([float(x) for x in re.findall(r"-?\d+(?:\.\d+)?", curve)[:6]]).reshape(3, 2)
        points = bezier(a, c, b, np.linspace(0, 1, 41))
        assert ((points > 0) & (points < (wide, tall))).all(), curve


@pytest.mark.parametrize("make", PROBLEMS.values(), ids=PROBLEMS)
def test_no_node_of_a_page_stands_on_the_name_above_it(make) -> None:
    value = bare(make())
    tall = echarts.height(value)
    option = echarts.option(value, LIGHT)
    graph, names, roles, *_ = option["series"]
    sizes = {tuple(node["value"]): node["symbolSize"] for node in graph["data"]}
    for wide in (0.8 * tall, tall, 1.25 * tall):
        _, (low, high) = axes_at(option, round(wide), tall)
        per_row = (tall - 30) / (high - low)
        for item in (*names["data"], *roles["data"]):
            (x, y), label = item["value"], item["label"]
            down = label.get("position", "bottom" if item in names["data"] else "top") == "bottom"
            # From and to where the text stands, in pixels below the middle of its node.
            near, far = label["distance"], label["distance"] + 12
            for (other_x, other_y), size in sizes.items():
                gap = (y - other_y) * per_row * (1 if down else -1)
                assert other_x != x or gap <= 0 or far <= gap - size / 2 or near >= gap + size / 2, item["name"]


def test_numbers_are_printed_by_one_rule() -> None:
    about = {"name": "c", "title": "t", "x_label": "x", "y_label": "y"}
    series = Series(name="a", x=(1, 2, 3), y=(0.0449, None, 0.9996))
    for kind, expected in (
        ("stacked", ("", "", "100")), ("heatmap", (".04", "–", "1")), ("ranked", ("0.045", "", "1.000")),
        ("bars", ("", "", "")), ("lines", ("", "", "")),
    ):  # fmt: skip
        assert printed_points(Chart(kind=kind, series=(series,), **about), series) == expected
    labelled = series.model_copy(update={"labels": ("one", "two", "three")})
    assert printed_points(Chart(kind="ranked", series=(labelled,), **about), labelled) == ("one", "", "three")
    assert printed_points(Chart(kind="heatmap", series=(labelled,), **about), labelled) == (".04", "–", "1")
    words = Chart(kind="heatmap", series=(labelled,), labelled=True, **about)
    assert printed_points(words, labelled) == ("one", "two", "three")  # why there is no value can be said
    signed = Scale(value="v", label="v", low=-1, high=1, signed=True)
    assert [printed(v, signed) for v in (0.049, -0.049, 0.05, -0.5, 1, -0.0)] == ["", "", "+.05", "-.50", "+1", ""]
    fine = signed.model_copy(update={"low": -0.01, "high": 0.01})
    assert [printed(v, fine) for v in (0.004, -0.004, 0.01)] == ["", "", "+.01"]  # never -.00


def test_a_report_shows_itself(report) -> None:
    import plotly.graph_objects as go

    for kind in of_report.KINDS:
        assert isinstance(report.figure(kind), go.Figure)
        assert isinstance(report.figure(kind, state=1), go.Figure)
    assert [frame.name for frame in report.figure("dag").frames] == [str(k) for k in range(report.n_thoughts + 1)]
    assert isinstance(of_report.figure(report, "dag", state=2), Graph)


def test_a_report_shows_itself_where_nothing_but_reading_is_imported(report, tmp_path) -> None:
    report.save(tmp_path / "r.json")
    code = "from probing.read.report import ProbeReport; print(type(ProbeReport.load('r.json').figure('heatmap')))"
    root = str(Path(__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": root},
        capture_output=True,
        text=True,
    )
    assert "plotly.graph_objs._figure.Figure" in done.stdout, done.stderr


def test_a_tree_tells_names_apart_that_have_spaces() -> None:
    """A label is a name and, where it is known, a value behind it."""
    nodes = Series(name="all", x=(0, 1, 1), y=(None, 0.7, 0.2), labels=("Ada", "red fox 0.70", "red hen 0.20"))
    chart = Chart(
        name="tree", title="tree", kind="tree", x_label="", y_label="", series=(nodes,),
        edges=(("Ada", "red fox"), ("Ada", "red hen")),
    )  # fmt: skip
    assert chart.tree() == {"Ada": (0.0, 0.0), "red fox": (1.0, 0.5), "red hen": (1.0, -0.5)}
    (graph,) = echarts.option(chart, LIGHT)["series"]
    assert [node["id"] for node in graph["data"]] == ["Ada", "red fox", "red hen"]
    assert len(graph["links"]) == 2
    assert plotly.figure(chart).data[0].x == (0.0, 1.0, None, 0.0, 1.0, None)
    assert "red hen 0.20" in static.svg(chart)
