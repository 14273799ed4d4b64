"""What figures say before they are drawn: frontier, masses, scale, roles, words, colours; and the Plotly drawings."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from app.explore.panels import LEGEND
from app.words import literal
from model import checkpoint
from model.codec_slots import ANSWER
from model.errors import InputError
from model.problems.prosqa import ProsQAProblem
from model.stats import below, short_number
from probing.draw import html
from probing.draw.layout import layout
from probing.draw.marks import DARK, LIGHT, SHAPE, SOURCE, THEMES, Theme, contrast, text_width, unbroken
from probing.draw.of_report import (
    PARTS,
    answer_text,
    frontier,
    graph,
    graphs,
    heatmap,
    mass_parts,
    outcome,
    question,
)
from probing.draw.plotly import NODE, NODE_TRACE, escape, figure
from probing.draw.values import Chart, display_name
from probing.edit.kinds import CONTROLS
from probing.read.probe import probe
from probing.read.report import VALUES, ProbeReport

EDGES = [
    ("Tom", "a"), ("Tom", "b"), ("a", "c"), ("a", "d"), ("b", "e"), ("b", "f"), ("c", "t"), ("a", "b"),
    ("Eva", "g"), ("Eva", "h"), ("g", "i"), ("h", "j"), ("i", "n"),
]  # fmt: skip
PROBLEM = ProsQAProblem.from_names(EDGES, root="Tom", candidates=("t", "n"))


@pytest.fixture(scope="module")
def report(trained) -> ProbeReport:
    return probe(trained, PROBLEM, n_samples=6, seed=3, control=checkpoint.untrained(trained.config), name="shipped")


def test_the_outlined_nodes_are_the_true_frontier(report) -> None:
    for scene in [graph(report, state) for state in range(report.n_thoughts)]:
        t = scene.thought
        assert t == scene.state + 1
        assert {n.id for n in scene.nodes if n.frontier} == PROBLEM.frontier(t)
        assert {n.id for n in scene.nodes if n.optimal} == PROBLEM.optimal(t)
        assert {n.id for n in scene.nodes if n.passed} == PROBLEM.reached(t - 1)
    answer = graph(report, report.n_thoughts)
    assert answer.thought is None
    assert not any(node.frontier for node in answer.nodes)


def test_the_answer_is_drawn_at_the_end(report) -> None:
    scene, last = graph(report, report.n_thoughts), report.answers[-1]
    assert [node.id for node in scene.nodes if node.answered] == [PROBLEM.target]
    values = {node.id: node.found for node in scene.nodes if node.value}
    assert values[PROBLEM.target] == last.p_target
    assert set(values) <= {PROBLEM.target, PROBLEM.neg_target}
    assert scene.subtitle[0].startswith("answers t, ")
    assert not any(node.answered for k in range(report.n_thoughts) for node in graph(report, k).nodes)


def test_nodes_stand_still_and_carry_the_values_of_the_report(report) -> None:
    where, first = layout(PROBLEM), graph(report, 0)
    for value in VALUES:
        for state in range(report.n_thoughts + 1):
            scene = graph(report, state, value=value)
            for node in scene.nodes:
                assert (node.x, node.y) == (where.x[node.id], where.y[node.id])
                if state == report.n_thoughts and value in ("probability", "normalised"):
                    continue
                assert node.value == report.values(value).mean[state][node.id]
                assert node.found.low == report.values(value).low[state][node.id]
            assert scene.edges == first.edges
            if scene.scale.value != "answer":
                assert scene.scale == graph(report, 0, value=value).scale  # one scale for all states
            assert scene.scale.low <= min(n.value for n in scene.nodes) <= scene.scale.high
            assert scene.scale.low <= 0 < scene.scale.high
    assert (first.scale.low, first.scale.high) == (0, 1)


def test_roles_and_shortest_paths_are_marked(report) -> None:
    scene = graph(report, 0)
    roles = {node.role: node.id for node in scene.nodes if node.role != "node"}
    assert roles == {"root": PROBLEM.root, "target": PROBLEM.target, "other candidate": PROBLEM.neg_target}
    names = PROBLEM.idx_to_symbol
    path = {(names[e.source], names[e.target]) for e in scene.edges if e.on_path}
    assert path == {("Tom", "a"), ("a", "c"), ("c", "t")}
    assert {(e.source, e.target) for e in scene.edges if e.reachable} == {
        (a, b) for a, b in PROBLEM.edges if a in PROBLEM.reachable and b in PROBLEM.reachable
    }


def test_masses_sum_to_1_and_agree_with_the_metrics(report) -> None:
    for state in range(report.n_thoughts + 1):
        parts = dict(mass_parts(report, state))
        assert tuple(parts) == PARTS
        assert sum(parts.values()) == pytest.approx(1)
        assert parts["answer token"] == report.marker.mean[state][ANSWER]
        if state < report.n_thoughts:
            metrics = report.metrics["model"]
            for part, metric in (
                ("frontier", "mass_frontier"),
                ("passed", "mass_passed"),
                ("beyond", "mass_beyond"),
                ("other", "mass_other"),
            ):
                assert parts[part] == pytest.approx(metrics[metric][state].value, abs=1e-9)


def test_the_heatmap_reads_by_distance_and_says_done(report) -> None:
    scene = heatmap(report)
    *nodes, marker = scene.rows
    assert tuple(row.id for row in nodes) == layout(PROBLEM).order
    assert (marker.id, marker.name) == (-1, "[A]")
    assert [label for label, *_ in scene.spans] == ["0", "1", "2", "3", "not reachable"]
    assert [column.label for column in scene.columns] == [*(str(t) for t in range(1, 7)), "answer"]
    for label, start, stop in scene.spans[:-1]:
        assert {row.id for row in scene.rows[start:stop]} == PROBLEM.frontier(int(label))
    assert scene.columns[-1].note.startswith("search finished; ")
    assert (scene.columns[0].note, scene.columns[-1].short) == ("", "done")
    assert {source for source, _ in scene.columns[0].frontier} == {"model", "shuffled", "untrained", "depth_reader"}
    for row, line in zip(nodes, scene.cells, strict=False):
        assert [cell.found.value for cell in line] == [mean[row.id] for mean in report.probability.mean]
        assert [j + 1 for j, cell in enumerate(line) if cell.frontier] == [d for d in (row.distance,) if d]
    assert [cell.found.value for cell in scene.cells[-1]] == [mean[ANSWER] for mean in report.marker.mean]


def test_every_figure_names_its_controls_draws_seed_and_model(report) -> None:
    for scene in (graph(report, 0), heatmap(report), *frontier(report)):
        for words in (
            "n = 6 prompt samples",
            "seed 3",
            "shuffled labels",
            "untrained model",
            "shipped",
            report.model.fingerprint,
        ):
            assert words in scene.words.caption
        assert "not what is used" in scene.words.caption
        assert scene.words.alt
    first = graph(report, 0)
    assert first.subtitle[0].endswith("on the 2 nodes at distance 1")
    assert "shuffled labels" in first.subtitle[1]


def test_one_scene_for_each_hop_to_the_answer(report) -> None:
    assert [scene.thought for scene in graphs(report)] == [1, 2, 3]
    assert "search finished" in graphs(report)[0].words.later


def test_frontier_metrics_stand_beside_their_controls(report) -> None:
    charts = frontier(report)
    assert [chart.name for chart in charts] == ["auroc_other_root", "auroc_all", "average_precision", "mass_frontier"]
    chance = {chart.name: series for chart in charts for series in chart.series if series.source == "chance"}
    for chart in charts:
        assert [series.source for series in chart.series][:3] == ["model", "shuffled", "untrained"]
        for series in chart.series[:3]:
            for t, value, low in zip(range(1, 7), series.y, series.low, strict=True):
                found = report.metrics[series.source][chart.name][t - 1]
                assert (value, low) == ((found.value, found.low) if t <= 3 else (None, None))
    assert chance["auroc_other_root"].y == chance["auroc_all"].y == (0.5, 0.5, 0.5, None, None, None)
    assert chance["average_precision"].y[0] == report.base_rate[0] == pytest.approx(2 / 14)
    assert "mass_frontier" not in chance
    assert "No node is at distance 4, 5 or 6" in charts[0].words.later


def test_the_answer_is_said_plainly(report) -> None:
    assert question(PROBLEM) in ("Is Tom a t or a n?", "Is Tom a n or a t?")
    assert "t in 6 of 6 prompt samples, correct" in answer_text(report)
    assert "shortcut baseline, which never looks at the queried entity," in answer_text(report)

    def told(right: float, wrong: float) -> str:
        last = report.answers[-1].model_copy(update={"written_target": right, "written_neg_target": wrong})
        return answer_text(report.model_copy(update={"answers": (*report.answers[:-1], last)}))

    assert "n in 6 of 6 prompt samples, incorrect: t is true" in told(0, 1)
    assert "at chance (t 3, n 2, neither 1 of 6 prompt samples); t is true" in told(3 / 6, 2 / 6)


def test_a_report_of_one_draw_without_control_has_no_intervals(tiny) -> None:
    report = probe(tiny, PROBLEM, n_samples=1, n_thoughts=0)
    scene = heatmap(report)
    assert len(scene.columns) == 1
    assert scene.cells[0][0].found.low is None
    assert "One prompt sample" in scene.words.caption
    assert "untrained" not in scene.words.caption
    figure(frontier(report))
    figure(scene)
    assert len(graphs(report)) == 1


def test_out_of_range_is_refused(report) -> None:
    with pytest.raises(InputError, match="states 0 to 6"):
        graph(report, 7)
    with pytest.raises(InputError, match="values are probability"):
        heatmap(report, value="loudness")
    lacking = report.model_copy(update={"metrics": {"model": {}}})
    with pytest.raises(InputError, match=r"metrics\.model"):
        frontier(lacking)


def test_names_are_shown_literally_and_short() -> None:
    assert display_name("a\tb\nc\u202ed") == "a\ufffdb\ufffdc\ufffdd"
    assert display_name("<b>$x_1$</b>") == "<b>$x_1$</b>"
    assert display_name("👩‍🚀") == "👩‍🚀"
    assert [len(display_name("x" * 200, most)) for most in (3, 12, 20)] == [3, 12, 20]
    first, second = (f"verylongnamewithcommonprefix-{end}" for end in ("one", "two"))
    assert [display_name(name, 12) for name in (first, second)] == ["verylo…x-one", "verylo…x-two"]
    assert display_name("many words in a row", 12) == "many w…a row"
    assert display_name("abcdefghij" + "e\u0301" * 4, 12)[7] == "e"  # no accent without its letter
    everything = "".join(chr(c) for c in range(0x11000) if not 0xD800 <= c < 0xE000)
    shown = display_name(everything, len(everything))
    ElementTree.fromstring(f"<a>{shown.replace('&', '').replace('<', '')}</a>")  # fit for any SVG
    assert escape("<b>&amp;") == "&lt;b&gt;&amp;amp;"


def test_numbers_stay_on_the_line_of_their_signs() -> None:
    said = unbroken("> 99.9 % [97, 98] of n = 16; P(**a**) = 0.996, &lt; 0.1 %, a = b, a > b and a % b")
    assert said.replace("\u00a0", "_") == (
        ">_99.9_% [97, 98] of n_=_16; P(**a**)_=_0.996, &lt;_0.1_%, a_=_b, a > b and a % b"
    )
    page = html.frame(
        "t", "<p title='n = 1'>n = 1, &gt; 2 %</p><script>a = 1 % 2</script><svg><text>n = 1</text></svg>"
    )
    assert "<p title='n = 1'>n_=_1, &gt;_2_%</p>" in page.replace("\u00a0", "_")
    assert "<script>a = 1 % 2</script><svg><text>n = 1</text></svg>" in page
    assert literal("n = 16, 8.2 %").replace("\u00a0", "_") == r"n_\=_16, 8\.2_%"


def test_articles_and_small_probabilities_are_written_as_words_are() -> None:
    edges = [("Tom", "impus"), ("Eva", "rompus")]
    problem = ProsQAProblem.from_names(edges, root="Tom", candidates=("impus", "rompus"))
    assert question(problem) == "Is Tom an impus or a rompus?"
    assert question(problem, lambda name: f"**{name}**") == "Is **Tom** an **impus** or a **rompus**?"
    assert [below(p) for p in (6.9e-90, 0.00099, 0.0123, 1.0)] == ["< .001", "< .001", "= .012", "= 1.000"]


def test_numbers_are_short() -> None:
    assert [short_number(x) for x in (0.364, 1.0, -2.12, 13.4, 0.05, -0.5, 9.96)] == [
        ".36", "1", "-2.1", "13", ".05", "-.50", "10",
    ]  # fmt: skip


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_zero_looks_empty_and_text_can_be_read(theme) -> None:
    assert theme.colour(0, 0, 1) == theme.colour(0, -5, 5) == theme.background
    against = [contrast(theme.colour(v, 0, 1), theme.background) for v in np.linspace(0, 1, 21)]
    assert all(a <= b + 1e-9 for a, b in pairwise(against))  # never looks smaller when larger
    assert against[-1] > 7
    assert theme.colour(-1, -1, 1) != theme.colour(1, -1, 1)
    for colour in (theme.text, theme.muted, *theme.sources.values()):
        assert contrast(colour, theme.background) >= 4.5
    assert contrast(theme.frontier, theme.background) >= 3
    for value in np.linspace(-1, 1, 21):
        fill = theme.colour(float(value), -1, 1)
        assert contrast(theme.ink(fill), fill) >= 4.5


def test_the_interactive_graph_has_a_frame_for_every_state(report) -> None:
    scenes = [graph(report, state) for state in range(report.n_thoughts + 1)]
    drawn = figure(scenes)
    assert [frame.name for frame in drawn.frames] == [str(state) for state in range(7)]
    nodes = drawn.data[NODE_TRACE]
    assert list(nodes.x) == [node.x for node in scenes[0].nodes]
    assert [data[0] for data in nodes.customdata] == list(range(PROBLEM.n_nodes))
    for frame, scene in zip(drawn.frames, scenes, strict=True):
        assert list(frame.traces) == [NODE_TRACE]
        for text, node in zip(frame.data[0].hovertext, scene.nodes, strict=True):
            assert node.name in text
            assert f"{node.found.text(bounds=(0, 1))}, n = 6 prompt samples" in text
        outlined = [c == LIGHT.frontier for c in frame.data[0].marker.line.color]
        assert outlined == [node.frontier for node in scene.nodes]


def test_the_interactive_heatmap_outlines_the_frontier(report) -> None:
    scene = heatmap(report)
    drawn = figure(scene)
    outlines = {(s.x0 + 0.46, s.y0 + 0.45) for s in drawn.layout.shapes if s.line.color == LIGHT.frontier}
    cells = {(j, i) for i, line in enumerate(scene.cells) for j, cell in enumerate(line) if cell.frontier}
    assert len(cells) == sum(len(PROBLEM.frontier(t)) for t in range(1, 7)) == 7
    assert {(round(x), round(y)) for x, y in outlines} == cells
    assert (drawn.data[0].zmin, drawn.data[0].zmax) == (0, 1)


def test_page_and_file_say_the_same_of_an_answer(report) -> None:
    """By the most frequent thing written: a candidate, clearly or not, or neither."""

    def told(right: float, wrong: float) -> tuple[tuple[str, int], str]:
        last = report.answers[-1].model_copy(update={"written_target": right, "written_neg_target": wrong})
        changed = report.model_copy(update={"answers": (*report.answers[:-1], last)})
        return outcome(changed), answer_text(changed)

    assert told(1, 0)[0] == ("correct", 6)
    assert told(0, 1)[0] == ("incorrect", 6)
    assert told(3 / 6, 2 / 6)[0] == ("at chance", 3)
    found, said = told(1 / 6, 1 / 6)
    assert found == ("no answer", 4)
    last = report.answers[-1].model_copy(update={"written_target": 1 / 6, "written_neg_target": 1 / 6})
    silent = report.model_copy(update={"answers": (*report.answers[:-1], last)})
    assert graph(silent, silent.n_thoughts).subtitle[0] == "answers neither candidate"
    assert "neither candidate in 4 of 6 prompt samples; t is true" in said


@pytest.mark.parametrize(
    ("kind", "change", "says"),
    [
        ("lines", {"y": (0.5,)}, "2 x for 1 y"),
        ("lines", {"low": (0.1,)}, "1 low for 2 y"),
        ("lines", {"x": ("a", "b")}, "no number"),
        ("stacked", {"x": ("a", "a")}, "a part of every bar"),
    ],
)
def test_a_chart_of_a_file_that_cannot_be_drawn_is_refused(kind: str, change: dict[str, Any], says: str) -> None:
    series = {"name": "s", "x": (0, 1), "y": (0.5, 0.5)}
    text = {"name": "c", "title": "t", "kind": kind, "x_label": "x", "y_label": "y"}
    Chart.model_validate({**text, "series": (series,)})
    with pytest.raises(ValueError, match=says):
        Chart.model_validate({**text, "series": (series | change,)})


@pytest.mark.parametrize("theme", THEMES.values(), ids=THEMES)
def test_no_two_controls_look_alike(theme: Theme) -> None:
    looks = [(SOURCE[name][0], theme.named(name)) for name in ("before", "after", *CONTROLS)]
    assert len(set(looks)) == len(looks)
    assert len({marker for marker, _ in looks}) >= len(looks) - 1  # the two that change nothing are both round


def test_html_is_as_wide_as_a_phone(report) -> None:
    """Plotly breaks no line of a title of itself; arrows end at the edge of the node that they lead to."""
    scenes = [graph(report, state) for state in range(report.n_thoughts + 1)]
    drawn = figure(scenes)
    for text in (drawn.layout.title.text, *(frame.layout.title.text for frame in drawn.frames)):
        lines = text.split("<br>")
        assert all(text_width(re.sub(r"<[^>]*>", "", line), 13) <= 330 for line in lines)
        assert 18 * len(lines) < drawn.layout.margin.t
    assert len(lines) > 1
    (chart, *_) = frontier(report)
    long = chart.model_copy(update={"title": "a title that is a good deal longer than a phone is wide, and then more"})
    assert figure(long).layout.title.text.count("<br>") == 1
    for edges in drawn.data[:NODE_TRACE]:
        ends = [i for i, x in enumerate(edges.x) if i + 1 < len(edges.x) and edges.x[i + 1] is None]
        assert [i for i, size in enumerate(edges.marker.size) if size] == ends
        assert [i for i, off in enumerate(edges.marker.standoff) if off] == ends  # it cuts the line
        nodes = {(node.x, node.y): node for node in scenes[0].nodes}
        for i in ends:
            role = nodes[edges.x[i], edges.y[i]].role
            assert edges.marker.standoff[i] == NODE * SHAPE[role].size / 2 + 1


def test_roles_have_one_shape_and_the_legend_in_words_shows_it() -> None:
    for role, (plain, n) in {
        "root": ("⬠", 5),
        "target": ("◻", 4),
        "other candidate": ("◇", 4),
        "node": ("○", 0),
    }.items():
        shape = SHAPE[role]
        assert (shape.glyph, len(shape.corners)) == (plain, n)
        assert shape.glyph in LEGEND or role == "node"
        assert n == 0 or min(shape.corners, key=lambda at: at[1])[0] in (0, -0.92)  # as upright as Plotly's
