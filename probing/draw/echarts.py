"""What ECharts draws on the page: pure functions from scenes and reports to option objects.

Names come from strangers. ECharts takes labels as plain text but tooltips as HTML, and fills ``{...}`` templates in
both; so names in tooltips are escaped, braces too, and no name is ever part of a template.
"""

from __future__ import annotations

import html
import math
from collections.abc import Callable
from typing import Any

from model.codec_slots import ANSWER, MARKERS
from probing.draw.marks import Theme
from probing.draw.of_report import (
    PARTS,
    DagScene,
    EdgeMark,
    HeatmapScene,
    MetricPanel,
    NodeMark,
    Scale,
    display_name,
    mass_parts,
    thought_of,
)
from probing.read.report import Band, Estimate, ProbeReport

Option = dict[str, Any]

TARGET, OTHER = "target ✓", "other ✗"
_SHAPES = {"root": "roundRect", "target": "diamond", "other candidate": "diamond", "node": "circle"}
NOTHING = {"show": False}


def candidate_colours(theme: Theme) -> tuple[str, str]:
    """Colours of the target and of the other candidate; always beside a word or a shape."""
    return ("#00775a", "#a0337a") if theme.name == "light" else ("#45d2a6", "#ee92c9")


# --- the graph --------------------------------------------------------------------------------------------------------


def dag(scene: DagScene, report: ProbeReport, node: int, theme: Theme) -> Option:
    """The graph at one state of a report; hovering a node shows all its values, the chosen one stands out."""
    return graph(scene, theme, lambda mark: _node_tip(mark, report, scene.state), chosen=node)


def graph(
    scene: DagScene,
    theme: Theme,
    tip: Callable[[NodeMark], str],
    *,
    chosen: int | None = None,
    size: int | None = None,
) -> Option:
    """The graph at one state: a column each distance, colour = value, orange outline = true frontier.

    ``tip`` gives the HTML shown on hovering a node; names in it must be ``safe``. ``size`` of a node in pixels.
    """
    size = size or (
        34 if scene.height <= 12 and scene.width <= 8 else 28 if scene.height <= 18 and scene.width <= 11 else 22
    )
    top, bottom = scene.height + 0.8, -0.8
    floor = bottom if scene.divider is None else scene.divider + 0.12
    band = []
    if scene.thought is not None and scene.thought < len(scene.columns):
        band = [[{"coord": [scene.thought - 0.5, floor]}, {"coord": [scene.thought + 0.5, top]}]]
    label = {"show": True, "formatter": "{b}", "textBorderColor": theme.background, "textBorderWidth": 3}
    captions = {"type": "scatter", "silent": True, "symbolSize": 0.1, "tooltip": NOTHING}
    return {
        "animationDuration": 0,
        "animationDurationUpdate": 250,
        "grid": {"left": 4, "right": 4, "top": 26, "bottom": 4},
        "tooltip": {"trigger": "item", "confine": True, "textStyle": {"fontSize": 12}},
        "xAxis": [_hidden_axis(-0.5, scene.width + 0.5), _distances(scene, theme)],
        "yAxis": _hidden_axis(bottom, top),
        "series": [
            {
                "type": "graph",
                "coordinateSystem": "cartesian2d",
                "layout": "none",
                "z": 3,
                "selectedMode": "single",
                "emphasis": {"focus": "adjacency", "blurScope": "series", "lineStyle": {"width": 2.5}},
                "blur": {"itemStyle": {"opacity": 0.35}, "lineStyle": {"opacity": 0.2}, "label": {"opacity": 0.35}},
                "edgeSymbol": ["none", "arrow"],
                "edgeSymbolSize": 7,
                "data": [_node(mark, scene, tip(mark), theme, size, chosen=chosen) for mark in scene.nodes],
                "links": [_edge(mark, scene, theme) for mark in scene.edges],
            },
            {
                **captions,
                "z": 5,
                "data": [_name(mark, theme, size) for mark in scene.nodes],
                "label": {**label, "position": "bottom", "fontSize": 12},
                "markArea": {"silent": True, "itemStyle": {"color": theme.frontier, "opacity": 0.1}, "data": band},
                "markLine": {
                    "silent": True,
                    "symbol": "none",
                    "lineStyle": {"color": theme.faint, "type": "dashed"},
                    "label": {
                        "formatter": "not reachable from the root",
                        "position": "insideEndBottom",
                        "color": theme.muted,
                        "fontSize": 11,
                    },
                    "data": [] if scene.divider is None else [{"yAxis": scene.divider}],
                },
            },
            {
                **captions,
                "z": 6,
                "data": [_tag(mark, theme, size) for mark in scene.nodes if mark.role != "node"],
                "label": {**label, "position": "top", "fontSize": 11, "fontWeight": "bold"},
            },
        ],
    }


def _node(mark: NodeMark, scene: DagScene, tip: str, theme: Theme, size: int, *, chosen: int | None) -> Option:
    fill = theme.colour(mark.value, scene.scale.low, scene.scale.high)
    style: Option = {
        "color": fill,
        "borderColor": theme.frontier if mark.frontier else _outline(mark, theme),
        "borderWidth": 3.5 if mark.frontier else 2.2 if mark.role != "node" else 1.2,
        "borderType": "solid" if mark.reachable else "dashed",
    }
    if mark.node == chosen and mark.role != "target":  # the target is the one shown unless another is chosen
        style |= {"shadowBlur": 12, "shadowColor": theme.text}
    return {
        "id": str(mark.node),
        "name": _printed(mark.value, scene.scale),
        "value": [mark.x, mark.y],
        "symbol": _SHAPES[mark.role],
        "symbolSize": size + 6 if _SHAPES[mark.role] == "diamond" else size,
        "itemStyle": style,
        # The chosen node may also come from the list or the link, so a click alone changes no style.
        "select": {"itemStyle": style},
        "label": {"show": True, "position": "inside", "color": theme.ink(fill), "fontSize": 11 if size > 24 else 9},
        "tooltip": {"formatter": tip},
    }


def _outline(mark: NodeMark, theme: Theme) -> str:
    target, other = candidate_colours(theme)
    named = {"root": theme.text, "target": target, "other candidate": other}
    return named.get(mark.role, theme.outline if mark.reachable else theme.faint)


def _edge(mark: EdgeMark, scene: DagScene, theme: Theme) -> Option:
    (ax, ay), (cx, cy), (bx, by) = mark.start, mark.control, mark.end
    length = math.hypot(bx - ax, by - ay)
    # How far the control point lies to the left of the straight line, as a share of its length: ECharts' curveness.
    left = ((cy - (ay + by) / 2) * (bx - ax) - (cx - (ax + bx) / 2) * (by - ay)) / length**2
    names = {node.node: node.name for node in scene.nodes}
    return {
        "source": str(mark.source),
        "target": str(mark.target),
        "lineStyle": {
            "color": theme.path if mark.on_path else theme.edge,
            "width": 2.4 if mark.on_path else 1.1,
            "opacity": 1 if mark.reachable else 0.55,
            "curveness": round(left, 4),
        },
        "tooltip": {"formatter": f"every {safe(names[mark.source])} is a {safe(names[mark.target])}"},
    }


def _name(mark: NodeMark, theme: Theme, size: int) -> Option:
    style = {"color": theme.text if mark.reachable else theme.muted, "distance": size / 2 + 4}
    if mark.role != "node":
        style["fontWeight"] = "bold"
    return {"value": [mark.x, mark.y], "name": shown(mark.name, 12), "label": style}


def _tag(mark: NodeMark, theme: Theme, size: int) -> Option:
    text = {"root": "root", "target": TARGET, "other candidate": OTHER}[mark.role]
    return {
        "value": [mark.x, mark.y],
        "name": text,
        "label": {"color": _outline(mark, theme), "distance": size / 2 + 5},
    }


def _distances(scene: DagScene, theme: Theme) -> Option:
    names = [f"{text} hop{'' if text == '1' else 's'}" if text != "0" else "root" for _, text in scene.columns]
    names += [""] * (int(scene.width) + 1 - len(names))
    return {
        "type": "category",
        "position": "top",
        "data": [{"value": name, "textStyle": lit(d == scene.thought, theme)} for d, name in enumerate(names)],
        "axisLabel": {"interval": 0, "fontSize": 12},
        **BARE,
    }


def _node_tip(mark: NodeMark, report: ProbeReport, state: int) -> str:
    said = [(what, _said(report, what, state, mark.node)) for what in ("probability", "normalised", "logit", "cosine")]
    return node_tip(mark, said, f"after {state} thoughts")


def node_tip(mark: NodeMark, values: list[tuple[str, str]], where: str) -> str:
    """What a node is, its values, and where and over how many draws they were measured, as HTML."""
    role = {
        "root": "root: the one asked about",
        "target": "target: the right answer",
        "other candidate": "the other candidate: wrong",
        "node": "reachable from the root" if mark.reachable else "not reachable from the root",
    }[mark.role]
    if mark.frontier:
        role += "; in the frontier" + (", on a shortest path" if mark.optimal else "")
    rows = [("distance from the root", "none" if mark.distance is None else str(mark.distance))]
    rows += values
    cells = "".join(
        f"<tr><td style='padding-right:14px'>{what}</td><td style='text-align:right'>{text}</td></tr>"
        for what, text in rows
    )
    draws = "a single draw has no interval" if mark.n == 1 else f"mean [95 % interval], n = {mark.n} draws"
    return f"<b>{safe(mark.name)}</b><br>{role}<table>{cells}</table><small>{where}; {draws}</small>"


# --- the staircase ----------------------------------------------------------------------------------------------------


def cells(scene: HeatmapScene) -> tuple[tuple[int, NodeMark], ...]:
    """(state, node) of every cell in the order drawn: frontier cells last, so that their outline is on top."""
    found = [(row.state, mark) for row in scene.rows for mark in row.cells]
    return tuple(sorted(found, key=lambda cell: cell[1].frontier))


def staircase(scene: HeatmapScene, report: ProbeReport, state: int, node: int, theme: Theme) -> Option:
    """Nodes down, thoughts across; true frontier outlined, and the answer marker's mass in a row of its own."""
    order = scene.columns
    marker = "[A] ready to answer"
    rank = {mark.node: i for i, mark in enumerate(order)}
    data = []
    for at, mark in cells(scene):
        cell: Option = {
            "value": [at, rank[mark.node], round(mark.value, 5)],
            "name": _printed(mark.value, scene.scale),
            "label": {"color": theme.ink(theme.colour(mark.value, scene.scale.low, scene.scale.high))},
            "tooltip": {
                "formatter": f"<b>{safe(mark.name)}</b>, {scene.rows[at].label}<br>"
                f"{scene.scale.value} {_said(report, scene.scale.value, at, mark.node)}"
            },
        }
        if mark.frontier:
            cell["itemStyle"] = {"borderColor": theme.frontier, "borderWidth": 2.2}
        data.append(cell)
    done = []
    for row in scene.rows:
        mass = report.marker.mean[row.state][ANSWER]
        done.append(
            {
                "value": [row.state, len(order), round(mass, 5)],
                "name": _printed(mass, Scale("probability", "", 0, 1)),
                "label": {"color": theme.ink(_grey(theme, mass))},
                "tooltip": {
                    "formatter": f"probability of [A] next, {row.label}<br>"
                    f"{interval(report.marker, row.state, ANSWER, least=0, most=1)}"
                },
            }
        )
    names = unique([*(shown(mark.name, 14) for mark in order), marker])
    rows: list[Option] = [
        {
            "value": name,
            "textStyle": {
                "color": _outline(mark, theme)
                if mark.role != "node"
                else theme.text
                if mark.reachable
                else theme.muted,
                "fontWeight": "bold" if mark.role != "node" or mark.node == node else "normal",
            },
        }
        for name, mark in zip(names, order, strict=False)
    ]
    rows.append({"value": names[-1], "textStyle": {"color": theme.muted, "fontStyle": "italic"}})
    label = {"show": True, "formatter": "{b}", "fontSize": 10}
    common = {"type": "heatmap", "label": label}
    ramp = [colour for _, colour in theme.stops(scene.scale.low, scene.scale.high)]
    clear = [_clear(theme) if colour == theme.background else colour for colour in ramp]
    greys = [_clear(theme), *(_grey(theme, i / 8) for i in range(1, 9))]
    ends = [(scene.scale.low, scene.scale.high, clear), (0, 1, greys)]
    light = [
        {"color": theme.frontier, "opacity": 0.1} if row.state == state else {"color": "transparent"}
        for row in scene.rows
    ]
    return {
        "animation": False,
        "grid": {"left": 4, "right": 6, "top": 44, "bottom": 32, "containLabel": True},
        "tooltip": {"trigger": "item", "confine": True, "textStyle": {"fontSize": 12}},
        "xAxis": {
            "type": "category",
            "position": "top",
            "data": [
                {"value": str(row.thought or "end"), "textStyle": lit(row.state == state, theme)} for row in scene.rows
            ],
            "name": "thought",
            "nameLocation": "middle",
            "nameGap": 24,
            "nameTextStyle": {"color": theme.muted},
            "axisLabel": {"interval": 0, "fontSize": 12},
            **BARE,
            "splitArea": {"show": True, "areaStyle": {"color": [_rgba(item) for item in light]}},
        },
        "yAxis": {
            "type": "category",
            "inverse": True,
            "data": rows,
            "axisLabel": {"interval": 0, "fontSize": 11},
            **BARE,
            "splitLine": {"show": True, "lineStyle": {"color": theme.faint, "opacity": 0.5}},
        },
        "visualMap": [
            {
                "show": i == 0,
                "min": low,
                "max": high,
                "seriesIndex": i,
                "dimension": 2,
                "inRange": {"color": colours},
                "orient": "horizontal",
                "right": 0,
                "bottom": 0,
                "itemWidth": 10,
                "itemHeight": 110,
                "text": [_end(high), f"{scene.scale.value}  {_end(low)}"],
                "textStyle": {"color": theme.muted, "fontSize": 11},
                "hoverLink": False,
            }
            for i, (low, high, colours) in enumerate(ends)
        ],
        "series": [
            {**common, "data": data, "selectedMode": "single"},
            {**common, "data": done},
        ],
    }


# --- small charts -----------------------------------------------------------------------------------------------------


def trajectory(report: ProbeReport, scale: Scale, state: int, node: int, theme: Theme) -> Option:
    """One node's value over the states with its interval; a dashed line marks the thought it should be in."""
    band = report.values(scale.value)
    states = range(report.n_thoughts + 1)
    blue = theme.sources["model"]
    series: list[Option] = []
    if band.low is not None and band.high is not None:
        low = [row[node] for row in band.low]
        wide = [row[node] - least for row, least in zip(band.high, low, strict=True)]
        edge = {"type": "line", "stack": "interval", "stackStrategy": "all", "symbol": "none", "silent": True}
        edge |= {"lineStyle": {"opacity": 0}, "tooltip": NOTHING}
        series += [
            {**edge, "data": [round(x, 5) for x in low]},
            {**edge, "data": [round(x, 5) for x in wide], "areaStyle": {"color": blue, "opacity": 0.22}},
        ]
    mark = [_here(state, theme)]
    distance = report.problem.distance[node]
    if math.isfinite(distance) and 1 <= distance <= report.n_thoughts:
        mark.append({"xAxis": str(int(distance) - 1), "lineStyle": {"color": theme.frontier, "type": "dashed"}})
    series.append(
        {
            "type": "line",
            "data": [round(band.mean[s][node], 5) for s in states],
            "symbol": "circle",
            "symbolSize": 7,
            "color": blue,
            "markLine": _marks(mark),
        }
    )
    ends: Option = {"min": 0, "max": 1} if scale.high == 1 and scale.low == 0 else {}
    return chart([str(s) for s in states], "thoughts had (k)", series, theme, **ends)


def answers(report: ProbeReport, state: int, theme: Theme) -> Option:
    """Probability of either candidate if the model answers after k thoughts, with intervals."""
    lines = [
        (TARGET, [answer.p_target for answer in report.answers], "circle"),
        (OTHER, [answer.p_neg_target for answer in report.answers], "diamond"),
    ]
    series: list[Option] = []
    for (name, found, symbol), colour in zip(lines, candidate_colours(theme), strict=True):
        series += with_bars(name, list(found), colour, symbol)
    series[0]["markLine"] = _marks([_here(state, theme)])
    categories = [str(answer.k) for answer in report.answers]
    return chart(categories, "answered after k thoughts", series, theme, legend=[TARGET, OTHER], min=0, max=1)


def metric(panel: MetricPanel, state: int, theme: Theme) -> Option:
    """One frontier metric by thought, the model beside its controls and chance, with intervals."""
    series: list[Option] = []
    symbols = {"model": "circle", "shuffled": "triangle", "untrained": "rect"}
    for found in panel.series:
        colour = theme.sources[found.source]
        series += with_bars(found.label, [p.estimate for p in found.points], colour, symbols[found.source])
    n = len(panel.series[0].points)
    if panel.chance:
        chance = dict(panel.chance)
        series.append(
            {
                "type": "line",
                "name": panel.chance_label,
                "data": [chance.get(t) for t in range(1, n + 1)],
                "symbol": "none",
                "color": theme.muted,
                "lineStyle": {"type": "dotted", "width": 1.5},
            }
        )
    if state < n:
        series[0]["markLine"] = _marks([_here(state, theme, first=1)])
    legend = [item["name"] for item in series if "name" in item]
    return chart([str(t) for t in range(1, n + 1)], "thought", series, theme, legend=legend, min=0, max=1)


def parts(report: ProbeReport, state: int, theme: Theme) -> Option:
    """Where the probability of each state is: frontier, reached before, not reached, other, answer marker."""
    states = range(report.n_thoughts + 1)
    shares = [dict(mass_parts(report, s)) for s in states]
    series = [
        {
            "type": "bar",
            "name": part,
            "stack": "mass",
            "barCategoryGap": "22%",
            "data": [round(share[part], 5) for share in shares],
            "color": theme.parts[part],
        }
        for part in PARTS
    ]
    names = [str(thought_of(report, s) or "end") for s in states]
    option = chart(names, "thought", series, theme, legend=list(PARTS), min=0, max=1)
    option["xAxis"]["data"] = [{"value": n, "textStyle": lit(s == state, theme)} for s, n in enumerate(names)]
    return option


def tokens(report: ProbeReport, state: int, theme: Theme, n: int = 7) -> Option:
    """The likeliest next tokens of a state by name, and the mass left over."""
    problem, thought = report.problem, thought_of(report, state)
    found = []
    for node, p in enumerate(report.probability.mean[state]):
        distance = problem.distance[node]
        part = "frontier" if distance == thought else "not reached"
        if distance < (thought or math.inf):
            part = "reached before"
        found.append((p, shown(problem.idx_to_symbol[node], 14), theme.parts[part]))
    found += [
        (p, name, theme.parts["answer marker"]) for name, p in zip(MARKERS, report.marker.mean[state], strict=True)
    ]
    found.sort(key=lambda item: -item[0])
    bars = [*found[:n], (max(0.0, 1 - sum(p for p, *_ in found[:n])), "all other tokens", theme.parts["other"])]
    return {
        "animation": False,
        "grid": {"left": 4, "right": 48, "top": 4, "bottom": 4, "containLabel": True},
        "xAxis": {"type": "value", "min": 0, "max": 1, "show": False},
        "yAxis": {
            "type": "category",
            "inverse": True,
            "data": unique([name for _, name, _ in bars]),
            "axisLabel": {"fontSize": 12, "color": theme.text},
            **BARE,
        },
        "series": [
            {
                "type": "bar",
                "barWidth": "66%",
                "silent": True,
                "label": {"show": True, "position": "right", "formatter": "{b}", "color": theme.muted},
                "data": [
                    {
                        "value": round(p, 5),
                        "name": f"{p:.3f}" if p >= 0.0005 else "<.001",
                        "itemStyle": {"color": colour, "borderRadius": 2},
                    }
                    for p, _, colour in bars
                ],
            }
        ],
    }


# --- shared -----------------------------------------------------------------------------------------------------------

BARE: Option = {"axisLine": NOTHING, "axisTick": NOTHING, "splitLine": NOTHING}


def shown(name: str, most: int) -> str:
    """A name on one line, cut to ``most`` letters; other scripts are isolated so that they turn nothing beside them."""
    short = display_name(name, most)
    return short if short.isascii() else f"\u2068{short}\u2069"


def safe(name: str) -> str:
    """A name inside tooltip HTML, letter by letter; braces too, which ECharts would take for a template."""
    escaped = html.escape(display_name(name, 60)).replace("{", "&#123;").replace("}", "&#125;")
    return f"<bdi>{escaped}</bdi>"


def interval(band: Band, state: int, column: int, *, least: float = -math.inf, most: float = math.inf) -> str:
    """A mean with its interval, if it has one, cut to what is possible."""
    text = f"{band.mean[state][column]:.3f}"
    if band.low is not None and band.high is not None:
        text += f" [{max(band.low[state][column], least):.3f}, {min(band.high[state][column], most):.3f}]"
    return text


_BOUNDS = {"probability": (0, 1), "normalised": (0, 1), "cosine": (-1, 1), "logit": (-math.inf, math.inf)}


def _said(report: ProbeReport, what: str, state: int, node: int) -> str:
    least, most = _BOUNDS[what]
    return interval(report.values(what), state, node, least=least, most=most)


def _end(value: float) -> str:
    return f"{value:.3g}"


def _printed(value: float, scale: Scale) -> str:
    return scale.short(value) if abs(value) >= 0.02 * max(abs(scale.low), abs(scale.high)) else ""


def unique(names: list[str]) -> list[str]:
    """A category axis takes each name once: those cut to the same letters get invisible marks."""
    seen: dict[str, int] = {}
    found = []
    for name in names:
        seen[name] = seen.get(name, -1) + 1
        found.append(name + "\u200b" * seen[name])
    return found


def lit(on: bool, theme: Theme) -> Option:
    return {"color": theme.frontier, "fontWeight": "bold"} if on else {"color": theme.muted, "fontWeight": "normal"}


def _grey(theme: Theme, share: float) -> str:
    pair = [
        [int(colour[p : p + 2], 16) for p in (1, 3, 5)] for colour in (theme.background, theme.parts["answer marker"])
    ]
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in zip(*pair, strict=True))


def _rgba(style: Option) -> str:
    colour = style["color"]
    if colour == "transparent":
        return "rgba(0,0,0,0)"
    return f"rgba({','.join(str(int(colour[p : p + 2], 16)) for p in (1, 3, 5))},{style['opacity']})"


def _clear(theme: Theme) -> str:
    return _rgba({"color": theme.background, "opacity": 0})


def _hidden_axis(least: float, most: float) -> Option:
    return {"type": "value", "min": least, "max": most, "show": False, "axisLabel": NOTHING, **BARE}


def _here(state: int, theme: Theme, *, first: int = 0) -> Option:
    style = {"color": theme.frontier, "width": 10, "opacity": 0.16, "type": "solid"}
    return {"xAxis": str(state + first), "lineStyle": style}


def _marks(lines: list[Option]) -> Option:
    return {"silent": True, "symbol": "none", "label": NOTHING, "animation": False, "data": lines}


def with_bars(name: str, found: list[Estimate | None], colour: str, symbol: str) -> list[Option]:
    """A line and its error bars: vertical strokes, one line with gaps."""
    line = {
        "type": "line",
        "name": name,
        "data": [None if e is None else round(e.mean, 5) for e in found],
        "symbol": symbol,
        "symbolSize": 7,
        "color": colour,
        "lineStyle": {"width": 2},
    }
    strokes: list[list[float | None]] = []
    for i, e in enumerate(found):
        if e is not None and e.low is not None and e.high is not None:
            strokes += [[i, round(e.low, 5)], [i, round(e.high, 5)], [i, None]]
    if not strokes:
        return [line]
    quiet = {"symbol": "none", "silent": True, "tooltip": NOTHING, "lineStyle": {"color": colour, "width": 1.4}}
    return [line, {"type": "line", "data": strokes, **quiet}]


def chart(
    categories: list[str], name: str, series: list[Option], theme: Theme, *, legend: list[str] | None = None, **y: Any
) -> Option:
    items = {"data": legend, "top": 0, "left": 0, "itemWidth": 16, "itemHeight": 9, "itemGap": 8}
    return {
        "animation": False,
        "grid": {
            "left": 4,
            "right": 12,
            "top": 48 if legend and len(legend) > 3 else 30,
            "bottom": 24,
            "containLabel": True,
        },
        "legend": {**items, "textStyle": {"fontSize": 11, "color": theme.text}} if legend else NOTHING,
        "tooltip": {"trigger": "axis", "valueFormatter": "%.3f", "confine": True, "textStyle": {"fontSize": 12}},
        "xAxis": {
            "type": "category",
            "data": categories,
            "name": name,
            "nameLocation": "middle",
            "nameGap": 24,
            "nameTextStyle": {"color": theme.muted},
            "axisTick": NOTHING,
        },
        "yAxis": {"type": "value", "splitLine": {"lineStyle": {"color": theme.faint, "opacity": 0.6}}, **y},
        "series": series,
    }
