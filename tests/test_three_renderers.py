"""Page, Plotly and SVG draw the same report: shapes, markers, dashes, orientation, outlines and printed values."""

from __future__ import annotations

import re
from colorsys import rgb_to_hls
from xml.etree import ElementTree

import pytest

from model import checkpoint
from model.problems.prosqa import ProsQAProblem
from probing.draw import echarts, of_report, plotly, static
from probing.draw.marks import COLOURS, DARK, DASHES, GREYS, GROUPS, LIGHT, MARKERS, SHAPE, SOURCE, printed
from probing.draw.values import Graph, Heatmap
from probing.read.probe import probe
from probing.read.report import ProbeReport

SVG = "{http://www.w3.org/2000/svg}"
EDGES = [
    ("Tom", "a"), ("Tom", "b"), ("a", "c"), ("a", "d"), ("b", "e"), ("b", "f"), ("c", "t"), ("a", "b"),
    ("Eva", "g"), ("Eva", "h"), ("g", "i"), ("h", "j"), ("i", "n"),
]  # fmt: skip
PROBLEM = ProsQAProblem.from_names(EDGES, root="Tom", candidates=("t", "n"))
NUMBER = re.compile(r"[+-]?(\d+|\d*\.\d+)$")


@pytest.fixture(scope="module")
def report(trained) -> ProbeReport:
    return probe(trained, PROBLEM, n_draws=5, seed=3, control=checkpoint.untrained(trained.config), name="shipped")


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


@pytest.mark.parametrize("value", ["probability", "logit"])
def test_the_graph_has_one_face(report, value) -> None:
    graph = of_report.graph(report, 1, value=value)
    page = echarts.option(graph, LIGHT)["series"][0]["data"]
    trace = plotly.figure(graph).data[plotly.NODE_TRACE]
    file = svg_of(graph)
    for node in graph.nodes:
        shape, text = SHAPE[node.role], printed(node.value, graph.scale)
        assert page[node.id]["symbol"] == shape.echarts
        assert trace.marker.symbol[node.id] == shape.plotly
        assert same_shape(corners(file, f"node-1-{node.id}"), shape.corners)
        assert page[node.id]["name"] == text
        assert re.sub(r"<[^>]*>", "", trace.text[node.id]).strip() == text
        fill = LIGHT.colour(node.value, graph.scale.low, graph.scale.high)
        assert page[node.id]["itemStyle"]["color"] == trace.marker.color[node.id] == fill
        outline = LIGHT.frontier if node.frontier else LIGHT.outline_of(node)
        assert page[node.id]["itemStyle"]["borderColor"] == trace.marker.line.color[node.id] == outline
        # What stands left and low on the page does so in the other two.
        assert page[node.id]["value"] == [trace.x[node.id], trace.y[node.id]] == [node.x, node.y]
    numbers = [printed(node.value, graph.scale) for node in graph.nodes]
    legend = {"0", "1", *(f"{end:.2g}" for end in (graph.scale.low, graph.scale.high)), *(d for _, d in graph.columns)}
    shown = [text for text in texts(file) if NUMBER.match(text)]
    assert sorted(set(shown) - legend) == sorted({number for number in numbers if number} - legend)
    names = {text: number for number, text in enumerate(texts(file))}
    assert {node.label for node in graph.nodes} <= set(names)


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
        if (text := printed(cell.found.value, value.scale))
    }


def test_the_heatmap_has_nodes_down_and_thoughts_across_everywhere(report) -> None:
    value = of_report.heatmap(report)
    expected = cells_of(value)
    assert len({row for _, row in expected}) > 3 < len({column for column, _ in expected})
    option = echarts.option(value, LIGHT)
    assert [item["value"] for item in option["xAxis"]["data"]] == [*"123456", "answer"]
    assert [item["value"] for item in option["yAxis"]["data"]][:-1] == [row.label for row in value.rows[:-1]]
    assert option["yAxis"]["inverse"]  # first row on top
    page = {tuple(cell["value"][:2]): cell["name"] for series in option["series"] for cell in series["data"]}
    assert {at: text for at, text in page.items() if text} == expected
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
    polygons = {"circle": 0, "square": 4, "triangle": 3}
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


def test_a_report_shows_itself(report) -> None:
    import plotly.graph_objects as go

    for kind in of_report.KINDS:
        assert isinstance(report.figure(kind), go.Figure)
        assert isinstance(report.figure(kind, state=1), go.Figure)
    assert [frame.name for frame in report.figure("dag").frames] == [str(k) for k in range(report.n_thoughts + 1)]
    assert isinstance(of_report.figure(report, "dag", state=2), Graph)
