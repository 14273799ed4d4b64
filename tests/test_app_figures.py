"""Options for ECharts: values where they belong, one scale for all thoughts, and no name that is taken for markup."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import streamlit as st

from app.figures import FORMATS, hit
from app.words import files_stem, literal
from model.problems.generate import generate
from model.problems.prosqa import ProsQAProblem
from probing.draw import echarts as figures
from probing.draw.export import export
from probing.draw.marks import ROLE_WORDS, THEMES
from probing.draw.of_report import answers, frontier, graph, heatmap, parts, tokens, trajectory
from probing.draw.values import unique
from probing.read.probe import probe
from probing.read.report import VALUES, ProbeReport

HOSTILE = ("<img src=x onerror=alert(1)>", "{b}{c}", "**bold** `x`", "مرحبا", "🥥🥥", ":material/bolt: :red[x]")


@pytest.fixture(scope="module")
def report(tiny) -> ProbeReport:
    return probe(tiny, next(iter(generate("balanced", 1, 4))), n_samples=5)


@pytest.fixture(scope="module")
def hostile(tiny) -> ProbeReport:
    a, b, c, d, e, f = HOSTILE
    edges = [(a, b), (b, c), (d, e), (a, f)]
    return probe(tiny, ProsQAProblem.from_names(edges, root=a, candidates=(c, e)), n_samples=2)


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("mode", THEMES)
def test_the_graph_shows_each_value_at_a_place_that_never_moves(report, value, mode) -> None:
    theme, places = THEMES[mode], []
    for k in range(report.n_thoughts + 1):
        scene = graph(report, k, value=value)
        option = figures.option(scene, theme, selected=0)
        nodes = option["series"][0]["data"]
        places.append([node["value"] for node in nodes])
        for v, node in enumerate(nodes):
            assert node["id"] == str(v)
            shown = report.values(value).mean[k][v]
            if k == report.n_thoughts and value in ("probability", "normalised"):  # the answer is drawn
                last = report.answers[-1]
                of = {report.problem.target: last.p_target.value, report.problem.neg_target: last.p_neg_target.value}
                shown = of.get(v, 0)
            assert node["itemStyle"]["color"] == theme.colour(shown, scene.scale.low, scene.scale.high)
            in_frontier = report.problem.distance[v] == k + 1 and k < report.n_thoughts
            assert (node["itemStyle"]["borderColor"] == theme.frontier) == in_frontier
        links = option["series"][0]["links"]
        assert [(int(link["source"]), int(link["target"])) for link in links] == list(report.problem.edges)
        json.dumps(option, allow_nan=False)
    assert all(place == places[0] for place in places)


def test_roles_are_told_by_shape_and_word(report) -> None:
    problem = report.problem
    option = figures.option(graph(report, 0), THEMES["light"])
    shapes = [node["symbol"] for node in option["series"][0]["data"]]
    assert shapes[problem.root].startswith("path://")  # a house
    assert (shapes[problem.target], shapes[problem.neg_target]) == ("rect", "diamond")
    assert shapes.count("circle") == problem.n_nodes - 3
    assert {tag["name"] for tag in option["series"][2]["data"]} == set(ROLE_WORDS.values())


def test_the_staircase_outlines_the_frontier_and_shows_the_answer_marker(report) -> None:
    theme, scene = THEMES["light"], heatmap(report, state=2)
    option = figures.option(scene, theme, selected=0)
    cells, problem = figures.cells(scene), report.problem
    data = option["series"][0]["data"]
    assert len(data) == len(cells) == (report.n_thoughts + 1) * problem.n_nodes
    for (row, column, _), cell in zip(cells, data, strict=True):
        state = column.state
        assert cell["value"][0] == state
        assert cell["value"][2] == pytest.approx(report.probability.mean[state][row.id], abs=1e-5)
        assert ("itemStyle" in cell) == (problem.distance[row.id] == state + 1 and state < report.n_thoughts)
    last = option["series"][1]["data"]
    assert [cell["value"][2] for cell in last] == pytest.approx([row[5] for row in report.marker.mean], abs=1e-5)
    assert len(set(item["value"] for item in option["yAxis"]["data"])) == problem.n_nodes + 1


def test_shares_sum_to_one_and_bars_follow_the_values(report) -> None:
    option = figures.option(parts(report, state=1), THEMES["dark"])
    for state in range(report.n_thoughts + 1):
        assert sum(series["data"][state]["value"] for series in option["series"]) == pytest.approx(1, abs=1e-3)
    option = figures.option(tokens(report, 1), THEMES["dark"])
    columns = zip(*(series["data"] for series in option["series"]), strict=True)
    bars = [next(bar["value"] for bar in column if bar != "-") for column in columns]
    assert sum(bars) == pytest.approx(1, abs=1e-3)
    shown = bars[:-1]
    assert shown == sorted(shown, reverse=True)


def test_no_error_bar_from_too_few_samples(tiny, report) -> None:
    single = probe(tiny, report.problem, n_samples=4)
    theme = THEMES["light"]
    assert len(figures.option(trajectory(single, 0, value="logit"), theme)["series"]) == 1
    assert len(figures.option(trajectory(report, 0, value="logit"), theme)["series"]) == 3
    assert len(figures.option(answers(single, state=0), theme)["series"]) == 2
    assert len(figures.option(answers(report, state=0), theme)["series"]) == 4


def test_metrics_stand_beside_their_controls(tiny, report) -> None:
    controlled = probe(tiny, report.problem, n_samples=2, control=tiny)
    for chart in frontier(controlled, state=0):
        names = [s["name"] for s in figures.option(chart, THEMES["light"])["series"] if "name" in s]
        assert names[:3] == ["model", "shuffled labels", "untrained model"]


def test_names_are_never_markup(hostile) -> None:
    theme = THEMES["light"]
    scene = graph(hostile, 1)
    options = [
        figures.option(scene, theme, selected=0),
        figures.option(heatmap(hostile, state=1), theme, selected=0),
    ]
    for option in options:
        tips = [text for text in _strings(option, "formatter")]
        assert any("&lt;img src=x" in tip for tip in tips)
        for tip in tips:
            assert "<img" not in tip
            assert "{b}{c}" not in tip
    names = [item["name"] for item in options[0]["series"][1]["data"]]
    assert names[1] == "{b}{c}"  # labels are plain text, and theirs is the value of {b}, not a template
    json.dumps(options, allow_nan=False)


def _strings(value, key):
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == key and isinstance(inner, str):
                yield inner
            else:
                yield from _strings(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner, key)


def test_equal_short_names_stay_apart_on_an_axis() -> None:
    names = unique(["a…", "b", "a…", "a…"])
    assert len(set(names)) == 4
    assert [name.rstrip("\u200b") for name in names] == ["a…", "b", "a…", "a…"]


def test_a_second_click_means_the_same_while_the_same_is_shown(report, hostile, monkeypatch) -> None:
    state: dict = {}
    monkeypatch.setattr(st, "session_state", state)

    def click(value, *selected: dict) -> tuple[int, int] | None:
        state["x"] = SimpleNamespace(selection=SimpleNamespace(selected=selected))
        return hit(value, "x")

    node = {"data_type": "node", "series_index": 0, "data_indices": [4]}
    assert click(graph(report, 1)) is None
    assert click(graph(report, 1), node) == (1, 4)
    assert click(graph(report, 2)) == (1, 4)
    assert click(graph(hostile, 1)) is None
    assert click(answers(report, state=0), {"series_index": 1, "data_indices": [2]}) == (0, 2)


def test_every_figure_makes_every_file_it_offers(report) -> None:
    for value in (graph(report, 1), heatmap(report), parts(report), answers(report), *frontier(report)):
        for format in FORMATS:
            assert len(export(value, format)) > 100, (value, format)


def test_literal_leaves_nothing_for_markdown() -> None:
    assert literal("**a** $x$ <b> :red[c]") == r"\*\*a\*\* \$x\$ \<b\> \:red\[c\]"
    assert literal("two\nlines") == "two lines"
    assert files_stem("../a b/مرحبا.svg") == "---a-b-------svg"
    assert files_stem("") == "figure"


def test_series_keep_their_ids_and_number_from_thought_to_thought(report) -> None:
    """Keyed charts on the page keep their selection and move only if they do."""
    for draw in (graph, lambda r, k: heatmap(r, state=k), lambda r, k: parts(r, state=k),
                 lambda r, k: answers(r, state=k), lambda r, k: trajectory(r, 3, state=k)):  # fmt: skip
        ids = [
            [series["id"] for series in figures.option(draw(report, k), THEMES["light"])["series"]]
            for k in range(report.n_thoughts + 1)
        ]
        assert all(one == ids[0] for one in ids)
        assert len(set(ids[0])) == len(ids[0])


def test_a_click_is_a_state_and_a_node(report) -> None:
    drawn, cells = graph(report, 2), heatmap(report)
    assert figures.hits(drawn, [{"data_type": "node", "series_index": 0, "data_indices": [5]}]) == [(2, 5)]
    assert figures.hits(drawn, [{"data_type": "edge", "series_index": 0, "data_indices": [5]}]) == []
    row, column, _ = figures.cells(cells)[9]
    pressed = figures.option(cells, THEMES["light"], pressed=True)["series"]
    at = {series["id"]: i for i, series in enumerate(pressed)}

    def meant(series: str, i: int) -> list[tuple[int, int]]:
        return figures.hits(cells, [{"series_index": at[series], "data_indices": [i]}])

    assert meant("cells", 9) == [(column.state, row.id)]
    for i, head in enumerate(cells.columns):
        assert meant("thoughts", i) == meant("marker", i) == [(head.state, figures.ALL)]
    for i, node in enumerate(cells.rows[:-1]):
        assert meant("names", i) == [(figures.ALL, node.id)]
        assert pressed[at["names"]]["data"][i]["value"][1] == i
    assert figures.hits(cells, []) == []
