"""What ECharts draws on the page: ``option`` turns a graph, a heatmap or a chart into an option object.

Names come from strangers. ECharts takes labels as plain text but tooltips as HTML, and fills ``{...}`` templates in
both; so names in tooltips are escaped, braces too, and no name is ever part of a template. Series keep their ids and
their number from one state to the next, so that a keyed chart keeps its selection and moves.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import cycle, pairwise
from typing import Any

import numpy as np

from model.files import html
from model.stats import MIN_CASES, Floats
from probing.draw.layout import Box, box_of
from probing.draw.marks import (
    FONT,
    MANY_STAGES,
    ROLE_WORDS,
    SHAPE,
    Mark,
    Marker,
    Theme,
    faded,
    legend,
    marks_of,
    printed,
    printed_cell,
    printed_points,
    text_width,
)
from probing.draw.values import (
    Chart,
    Edge,
    Graph,
    HeatCell,
    HeatColumn,
    Heatmap,
    HeatRow,
    Node,
    Reference,
    Series,
    article,
    display_name,
    unique,
)

Option = dict[str, Any]
NOTHING = {"show": False}
BARE: Option = {"axisLine": NOTHING, "axisTick": NOTHING, "splitLine": NOTHING}
NAME = 12
"""Characters of a node's name."""
KEY = 32
"""Pixels of a key in a legend across: two or three dashes."""
NARROW = 300
"""Pixels of the legend in the narrowest chart of a page."""
UNSEEN: Option = {"type": "scatter", "silent": True, "symbolSize": 0.1, "tooltip": NOTHING}
"""Points that only carry labels."""
PRESSED: Option = {
    "type": "scatter", "symbol": "rect", "z": 9, "tooltip": NOTHING, "selectedMode": "single", "clip": False,
    "itemStyle": {"color": "transparent"}, "emphasis": {"scale": False},
}  # fmt: skip
"""Points that only take clicks."""
_TIP = {"trigger": "item", "confine": True, "textStyle": {"fontSize": 12}}


def option(
    value: Graph | Heatmap | Chart,
    theme: Theme,
    *,
    selected: int | None = None,
    moving: bool = False,
    small: bool = False,
    named: bool = True,
    pressed: bool = False,
    tall: float | None = None,
) -> Option:
    """What ECharts draws. ``selected`` is a node that stands out; ``moving`` sends a dot along each edge into the
    frontier of a graph, ``small`` draws its nodes small, and without ``named`` only root and candidates have names;
    ``pressed``: a click on a heatmap's names and anywhere in a chart of lines is told too, as ``hits`` reads it;
    ``tall``: the pixels a graph is drawn in, where they are not its ``height``."""
    if isinstance(value, Graph):
        found = _graph(value, theme, selected, small=small, named=named, tall=tall)
        found["series"].append(_steps(value, theme, moving=moving))
    else:
        found = _heatmap(value, theme, selected) if isinstance(value, Heatmap) else _chart(value, theme)
        if pressed and isinstance(value, Heatmap):
            _press_names(found, value)
        elif pressed and isinstance(value, Chart) and value.kind == "lines":
            _press_columns(found, value)
    return _spelled(found, theme)


def _spelled(found: Option, theme: Theme) -> Option:
    """With a font whose name has no quotes, for all that a theme gives one that has: ECharts writes it into a quoted
    attribute of the SVG that its toolbar saves; with a colour that can be read where none is given, and a size, which
    would be the page's, and that of the page when the chart was made."""
    font = {"fontFamily": f"Source Sans, {FONT}"}
    muted = font | {"color": theme.muted, "fontSize": 11}
    axis, text = ("axisLabel", "nameTextStyle"), ("textStyle",)
    parts = {"xAxis": axis, "yAxis": axis, "legend": text, "title": text, "visualMap": text}
    for part, styles in parts.items():
        many = found.get(part, [])
        drawn = [
            one | {style: muted | one.get(style, {}) for style in styles}
            for one in (many if isinstance(many, list) else [many])
        ]
        if drawn:
            found[part] = drawn if isinstance(many, list) else drawn[0]
    return found | {"textStyle": font}


def height(value: Graph | Heatmap | Chart, *, small: bool = False) -> int:
    """Pixels in which a picture can be read; ``small``: the nodes of a graph are small."""
    if isinstance(value, Graph):
        tall, size = float(LEAST), _size(value, small=small)
        for _ in range(4):  # a higher picture shows a little less of the plane
            _, _, low, high = view(value, tall, ORDINARY, size)
            tall = max(tall, TOP + EDGE + _pitch(value, size) * (high - low))
        return math.ceil(tall)
    if isinstance(value, Heatmap):
        return 78 + max(20 * len(value.rows), 330)
    if value.kind == "tree":
        return round(140 + 46 * (2 * max(y for _, y in value.tree().values()) + 1))
    if value.kind == "strip":
        return 70 + 33 * len(value.names())
    return 130 + 34 * max(len(value.series), 5) if value.kind == "heatmap" else 310


ALL = -1
"""In a click: no state or no node of its own, as on the name of a node or the number of a thought."""


def hits(value: Graph | Heatmap | Chart, groups: Iterable[Any]) -> list[tuple[int, int]]:
    """What a selection on the page means: (state, node) for graphs and heatmaps, where either may be ``ALL``, and
    (series, point) for charts; in a chart of lines the point is the nearest across, of the first series."""
    return [
        found
        for group in groups
        for i in map(int, group["data_indices"])
        if (found := _hit(value, group, i)) is not None
    ]


def _hit(value: Graph | Heatmap | Chart, group: Any, i: int) -> tuple[int, int] | None:
    series = group["series_index"]
    if isinstance(value, Chart):
        first = {"heatmap": divmod(i, len(value.series[0].x)), "lines": (0, i)}
        return first.get(value.kind, (int(series), i))
    if isinstance(value, Graph):
        return (value.state, i) if group.get("data_type") == "node" and 0 <= i < len(value.nodes) else None
    meant = [
        [(column.state, row.id) for row, column, _ in cells(value)],
        [(column.state, ALL) for column in value.columns],
        [(ALL, row.id) for row in _nodes(value)],
        [(column.state, ALL) for column in value.columns],  # the answer token's cells
    ]
    return meant[series][i] if series < len(meant) and 0 <= i < len(meant[series]) else None


# --- the graph --------------------------------------------------------------------------------------------------------


def _graph(value: Graph, theme: Theme, selected: int | None, *, small: bool, named: bool, tall: float | None) -> Option:
    """A column each distance, colour = value, orange outline = true frontier."""
    size = _size(value, small)
    tall = tall or height(value)
    low, top = -0.8, value.height + 0.8
    floor = low if value.divider is None else value.divider + 0.12
    band = []
    if value.thought is not None and value.thought < len(value.columns):
        band = [[{"coord": [value.thought - 0.5, floor]}, {"coord": [value.thought + 0.5, top]}]]
    label = _label(textBorderColor=theme.background, textBorderWidth=3)
    return {
        "animationDuration": 0, "animationDurationUpdate": 250,
        "grid": {"left": EDGE, "right": EDGE, "top": TOP, "bottom": EDGE}, "tooltip": _TIP,
        **_axes(view(value, tall, ORDINARY, size, named=named)),
        "media": [
            {"query": query, "option": _axes(view(value, tall, shape, size, named=named))}
            for query, shape in _shapes()
        ],
        "series": [
            {
                "id": "graph", "type": "graph", "coordinateSystem": "cartesian2d", "layout": "none",
                "z": 3, "selectedMode": "single",
                "emphasis": {"lineStyle": {"width": 2.5}},  # no focus: what it fades stays so after a tap
                "edgeSymbol": ["none", "arrow"], "edgeSymbolSize": 7,
                "data": [
                    _node(node, value, theme, size, chosen=node.id == selected) for node in value.nodes
                ],
                "links": [_edge(edge, value, theme) for edge in value.edges],
            },
            {
                **UNSEEN, "id": "names", "z": 5,
                "data": [_name(node, theme, size) for node in value.nodes if named or node.role != "node"],
                "label": {**label, "position": "bottom", "fontSize": 11 if small else 12},
                "markArea": {
                    "silent": True, "itemStyle": {"color": theme.frontier, "opacity": 0.1}, "data": band,
                },
                "markLine": {
                    "silent": True, "symbol": "none",
                    "lineStyle": {"color": theme.faint, "type": "dashed"},
                    "label": {
                        "formatter": "not reachable from the root", "position": _aside(value), "distance": 2,
                        "color": theme.muted, "fontSize": 11,
                    },
                    "data": [] if value.divider is None else [{"yAxis": value.divider}],
                },
            },
            {
                **UNSEEN, "id": "roles", "z": 6,
                "data": [_role(node, value, theme, size) for node in value.nodes if node.role != "node"],
                "label": {**label, "fontSize": 11, "fontWeight": "bold"},
            },
            {
                "id": "badges", "type": "scatter", "silent": True, "z": 7, "tooltip": NOTHING,
                "symbolSize": 17, "symbolOffset": [round(-size / 2), round(-size / 2)],
                "label": _label(fontSize=14, fontWeight="bold"),
                "data": [_badge(node, theme) for node in value.nodes if node.badge],
            },
            {
                **UNSEEN, "id": "distances", "z": 5, "yAxisIndex": 1, "data": _distances(value, theme, named=named),
                "label": {**label, "position": "top", "distance": 6, "fontSize": 12},
            },
        ],
    }  # fmt: skip


def _aside(value: Graph) -> str:
    """Where the divider says what it divides: at the end that is farther from the word above the distractor."""
    far = any(node.role == "other candidate" and node.x > value.width / 2 for node in value.nodes)
    return "insideStartBottom" if far else "insideEndBottom"


def _steps(value: Graph, theme: Theme, *, moving: bool) -> Option:
    """Dots on their way into the frontier."""
    into = [edge for edge in value.edges if moving and value.nodes[edge.target].frontier and _ahead(edge)]
    return {
        "id": "steps", "type": "lines", "coordinateSystem": "cartesian2d", "silent": True, "z": 8,
        "lineStyle": {"opacity": 0}, "tooltip": NOTHING,
        "effect": {"show": bool(into), "period": 0.9, "symbol": "circle", "symbolSize": 9, "color": theme.frontier},
        "data": [
            {"coords": [list(edge.start), list(edge.end)], "lineStyle": {"curveness": -round(_curveness(edge), 4)}}
            for edge in into
        ],
    }  # fmt: skip


def _ahead(edge: Edge) -> bool:
    """Whether an edge leads one column forward."""
    return edge.reachable and edge.end[0] - edge.start[0] == 1


Wide = tuple[float, float]
"""Least and greatest width of a chart, as shares of its height."""
ORDINARY: Wide = (0.8, 1.25)
TURNS = (0.5, 0.65, 0.8, 1.0, 1.25, 1.6, 2.0, 2.5, 3.2)
"""Where one view of a graph gives way to the next; they hold from .35 to 4.5."""
HEAD = 4
"""Pixels from the middle of an edge to the side of its arrowhead."""
LEAST = 380
"""Pixels of the lowest graph."""
TOP, EDGE = 26, 4
"""Pixels beyond a graph's axes: above, where the distances stand, and on the other sides."""


def _shapes() -> Iterable[tuple[Option, Wide]]:
    """Shapes of a chart, as ECharts asks for them, and what they span."""
    ends = (0.35, *TURNS, 4.5)
    for low, high in pairwise(ends):
        least = {"minAspectRatio": low} if low in TURNS else {}
        most = {"maxAspectRatio": high} if high in TURNS else {}
        yield least | most, (low, high)


def _axes(box: Box) -> Option:
    x0, x1, y0, y1 = (round(end, 3) for end in box)
    return {"xAxis": [_hidden_axis(x0, x1)], "yAxis": [_hidden_axis(y0, y1), _hidden_axis(0, 1)]}


def view(value: Graph, tall: float, shape: Wide, size: int, *, named: bool = True) -> Box:
    """The part of the plane to be shown so that no edge, node or name is cut in a chart ``tall`` pixels high, whatever
    its width within a shape.

    ECharts bends edges in pixels: how far they lead sideways counts for more columns where columns are narrow, and how
    far up for more rows where they are wide. So a wider view makes for wider bends; the box grows until it holds all.
    """
    box, down = (-0.5, value.width + 0.5, -0.8, value.height + 0.8), tall - TOP - EDGE
    curves, bends = value.curves, np.array([_curveness(edge) for edge in value.edges])[:, None]
    taken = [(node, *_reach(node, value, size, named=named)) for node in value.nodes]
    beside = {node.x: max(wide for other, wide, _, _ in taken if other.x == node.x) for node in value.nodes}
    for _ in range(40):
        before, per_row = box, down / (box[3] - box[2])
        lowest = min(node.y - below / per_row for node, _, _, below in taken)
        highest = max(node.y + above / per_row for node, _, above, _ in taken)
        for share in shape:
            per_column = (share * tall - 2 * EDGE) / (before[1] - before[0])
            x0, x1, y0, y1 = box_of(_drawn(curves, bends, per_column / per_row), (0, 0, 0, 0))
            box = (
                min(box[0], x0 - HEAD / per_column, *(x - wide / per_column for x, wide in beside.items())),
                max(box[1], x1 + HEAD / per_column, *(x + wide / per_column for x, wide in beside.items())),
                min(box[2], y0 - HEAD / per_row, lowest),
                max(box[3], y1 + HEAD / per_row, highest),
            )
        if max(abs(a - b) for a, b in zip(box, before, strict=True)) < 2e-3:
            break
    return box


def _drawn(curves: Floats, bends: Floats, ratio: float) -> Floats:
    """``3 E 2``: edges as ECharts draws them where a column is ``ratio`` times as wide as a row is high."""
    a, _, b = curves
    return np.stack([a, (a + b) / 2 + bends * [-1 / ratio, ratio] * (b - a)[:, ::-1], b])


def _size(value: Graph, small: bool) -> int:
    """Pixels of a node across."""
    if small:
        return 20
    if value.height <= 12 and value.width <= 8:
        return 34
    return 28 if value.height <= 18 and value.width <= 11 else 22


def _reach(node: Node, value: Graph, size: int, *, named: bool) -> tuple[float, float, float]:
    """Pixels that a node takes beside, above and below its middle, its name and the word of its role included."""
    half, line = size * SHAPE[node.role].size / 2 + 1, 13
    if node.role == "node":
        return (
            (max(half, text_width(shown(node.name, NAME), 12) / 2), half, size / 2 + 4 + line) if named else (half,) * 3
        )
    wide = max(text_width(shown(node.name, NAME), 13), text_width(ROLE_WORDS[node.role], 12)) / 2
    under = _word_below(node, value)
    return max(half, wide), half if under else half + 3 + line, size / 2 + 4 + line * (1 + under)


def _word_below(node: Node, value: Graph) -> bool:
    """Whether the word of a node's role stands below its name: where it is tight above the node, and less so below."""
    gaps = [other.y - node.y for other in value.nodes if other.x == node.x and other.y != node.y]
    above, below = (min((sign * gap for gap in gaps if sign * gap > 0), default=math.inf) for sign in (1, -1))
    return above < min(below, 1.5)


def _pitch(value: Graph, size: int) -> float:
    """Pixels from row to row so that no node stands on the name above it."""
    columns: dict[float, list[Node]] = {}
    for node in sorted(value.nodes, key=lambda node: node.y):
        columns.setdefault(node.x, []).append(node)
    needed = [
        (_reach(above, value, size, named=True)[2] + _reach(below, value, size, named=True)[1]) / (above.y - below.y)
        for column in columns.values() for below, above in pairwise(column)
    ]  # fmt: skip
    return max(needed, default=0.0)


def _curveness(edge: Edge) -> float:
    """How far ECharts is to bend an edge, as a share of its length in pixels, where a column is twice as wide as a row
    is high. Columns are wider than in print, so arcs inside one need less of a bow: what they have for equal units."""
    (ax, ay), (bx, by) = edge.start, edge.end
    if ax == bx:
        return edge.curveness
    return edge.curveness * ((bx - ax) ** 2 + (by - ay) ** 2) * 2 / (4 * (bx - ax) ** 2 + (by - ay) ** 2)


def _node(node: Node, value: Graph, theme: Theme, size: int, *, chosen: bool) -> Option:
    fill = theme.colour(node.value, value.scale.low, value.scale.high)
    style: Option = {
        "color": fill,
        "borderColor": theme.ring_of(node) or theme.outline_of(node),
        "borderWidth": 5 if node.answered else 3.5 if node.frontier else 2.2 if node.role != "node" else 1.2,
    }
    if chosen and node.role != "target":  # the target is the one shown unless another is chosen
        style |= {"shadowBlur": 12, "shadowColor": theme.text}
    shape = SHAPE[node.role]
    return {
        "id": str(node.id), "name": printed(node.value, value.scale), "value": [node.x, node.y],
        "symbol": shape.echarts, "symbolKeepAspect": True, "symbolSize": round(size * shape.size), "itemStyle": style,
        # The chosen node may also come from the list or the link, so a click alone changes no style.
        "select": {"itemStyle": style}, "tooltip": _tip(value.said(node)),
        "label": _label(position="inside", color=theme.ink(fill), fontSize=11 if size > 24 else 9),
    }  # fmt: skip


def _edge(edge: Edge, value: Graph, theme: Theme) -> Option:
    source, target = (value.nodes[v].name for v in (edge.source, edge.target))
    style = {
        "color": theme.edge_of(edge),
        "width": 2.4 if edge.on_path else 1.1,
        "curveness": round(_curveness(edge), 4),
    }
    return {
        "source": str(edge.source), "target": str(edge.target),
        "lineStyle": style | {"opacity": 1 if edge.reachable else 0.55},
        "tooltip": {"formatter": f"every <bdi>{safe(source)}</bdi> is {article(target)} <bdi>{safe(target)}</bdi>"},
    }  # fmt: skip


def _name(node: Node, theme: Theme, size: int) -> Option:
    style = {"color": theme.text if node.reachable else theme.muted, "distance": size / 2 + 4}
    if node.role != "node":
        style["fontWeight"] = "bold"
    return {"value": [node.x, node.y], "name": shown(node.name, NAME), "label": style}


def _role(node: Node, value: Graph, theme: Theme, size: int) -> Option:
    place = {"position": "bottom", "distance": size / 2 + 18} if _word_below(node, value) else {"position": "top"}
    label = {"color": theme.outline_of(node), "distance": size * SHAPE[node.role].size / 2 + 3} | place
    return {"value": [node.x, node.y], "name": ROLE_WORDS[node.role], "label": label}


def _badge(node: Node, theme: Theme) -> Option:
    colour = theme.badge_of(node)
    style = {"color": colour, "opacity": 1, "borderColor": theme.background, "borderWidth": 1.5}
    label = {"color": theme.ink(colour)}
    return {"value": [node.x, node.y], "name": node.badge, "itemStyle": style, "label": label}


def _distances(value: Graph, theme: Theme, *, named: bool) -> list[Option]:
    """What stands above the columns."""
    found = []
    for x, text in value.columns:
        unit = f" hop{'' if text == '1' else 's'}" if named else ""
        name = "root" if text == "0" else text + unit
        found.append({"value": [x, 1], "name": name, "label": lit(x == value.thought, theme)})
    return found


# --- the heatmap ------------------------------------------------------------------------------------------------------


def cells(value: Heatmap) -> list[tuple[HeatRow, HeatColumn, HeatCell]]:
    """Cells of nodes in the order drawn: frontier cells last, so that their outline is on top."""
    found = [
        (row, column, cell)
        for row, line in zip(value.rows, value.cells, strict=True)
        for column, cell in zip(value.columns, line, strict=True)
        if row.role != "marker" and cell.found is not None
    ]
    return sorted(found, key=lambda one: one[2].frontier)


def _heatmap(value: Heatmap, theme: Theme, selected: int | None) -> Option:
    """Nodes down, thoughts across; true frontier outlined, and the answer token in a row of its own."""
    place = {row.id: i for i, row in enumerate(value.rows)}
    data = [_cell(value, place[row.id], column.state, theme) for row, column, _ in cells(value)]
    done = [_cell(value, place[-1], column.state, theme) for column in value.columns] if -1 in place else []
    low, high = value.scale.low, value.scale.high
    ramp = [faded(c, 0) if c == theme.background else c for _, c in theme.stops(low, high)]
    marker = value.rows[-1]
    greys = [faded(theme.background, 0), *(theme.cell(marker, i / 8, value.scale) for i in range(1, 9))]
    ends = [(low, high, ramp)] + ([(0.0, 1.0, greys)] if done else [])
    common = {"type": "heatmap", "label": {"fontSize": 11}}
    names = unique(shown(row.label if row.role == "marker" else row.name, 20) for row in value.rows)
    heads = [{"value": c.label, "textStyle": lit(c.state == value.cursor, theme)} for c in value.columns]
    sides = [
        {"value": name, "textStyle": _row_style(row, theme, selected)}
        for name, row in zip(names, value.rows, strict=True)
    ]
    stripes = [faded(theme.text, 0.07 if c.state == value.cursor else 0) for c in value.columns]
    return {
        # Left of the names ECharts leaves room as if none were bold.
        "animation": False, "grid": {"left": 12, "right": 6, "top": 44, "bottom": 32, "containLabel": True},
        "tooltip": _TIP,
        "xAxis": {
            "type": "category", "position": "top", "data": heads, **_named("thought", theme, 24),
            "axisLabel": {"interval": 0, "fontSize": 12}, **BARE,
            "splitArea": {"show": True, "areaStyle": {"color": stripes}},
        },
        "yAxis": {
            "type": "category", "inverse": True, "data": sides, "axisLabel": {"interval": 0, "fontSize": 11}, **BARE,
            "splitLine": {"show": True, "lineStyle": {"color": theme.faint, "opacity": 0.5}},
        },
        "visualMap": [
            {
                "show": i == 0, "min": least, "max": most, "seriesIndex": i, "dimension": 2, "hoverLink": False,
                "inRange": {"color": colours}, "orient": "horizontal", "right": 0, "bottom": 0, "itemWidth": 10,
                "itemHeight": 110, "text": [f"{most:.3g}", f"{value.scale.value}  {least:.3g}"],
                "textStyle": {"color": theme.muted, "fontSize": 11},
            } for i, (least, most, colours) in enumerate(ends)
        ],
        "series": [
            {**common, "id": "cells", "data": data, "selectedMode": "single"},
            *([{**common, "id": "marker", "data": done}] if done else []),
        ],
    }  # fmt: skip


def _nodes(value: Heatmap) -> list[HeatRow]:
    return [row for row in value.rows if row.role != "marker"]


def _press_names(found: Option, value: Heatmap) -> None:
    """Lets names and thought numbers be clicked, by unseen points over them: ECharts selects no part of an axis. Their
    places across the axis are in a second one, from 0 to 1."""
    thoughts = {
        **PRESSED, "id": "thoughts", "yAxisIndex": 1, "symbolSize": [30, 22], "symbolOffset": [0, -12],
        "data": [{"value": [i, 1], "name": f"thought {i}"} for i in range(len(value.columns))],
    }  # fmt: skip
    names = {
        **PRESSED, "id": "names", "xAxisIndex": 1, "symbolSize": [110, 17], "symbolOffset": [-58, 0],
        "data": [{"value": [0, i], "name": f"node {i}"} for i in range(len(_nodes(value)))],
    }  # fmt: skip
    first, *marker = found["series"]
    found["series"] = [first, thoughts, names, *(one | {"selectedMode": "single"} for one in marker)]
    found["xAxis"], found["yAxis"] = [found["xAxis"], _hidden_axis(0, 1)], [found["yAxis"], _hidden_axis(0, 1)]
    for shade, at in zip(found["visualMap"], (0, 3), strict=False):
        shade["seriesIndex"] = at


def _cell(value: Heatmap, row: int, state: int, theme: Theme) -> Option:
    cell, about = value.cells[row][state], value.rows[row]
    assert cell.found is not None
    number, text = cell.found.value, printed_cell(about, cell, value.scale)
    found: Option = {
        # A name of its own: ECharts takes cells of one name for one, in clicks.
        "value": [state, row, round(number, 5)],
        "name": f"{row} {state}",
        "label": {"show": bool(text), "formatter": text, "color": theme.ink(theme.cell(about, number, value.scale))},
        "tooltip": _tip(value.said(row, state)),
    }
    if cell.frontier:
        found["itemStyle"] = {"borderColor": theme.frontier, "borderWidth": 2.2}
    return found


def _row_style(row: HeatRow, theme: Theme, selected: int | None) -> Option:
    if row.role == "marker":
        return {"color": theme.muted, "fontStyle": "italic"}
    plain = theme.text if row.reachable else theme.muted
    bold = row.role != "node" or row.id == selected
    return {"color": plain if row.role == "node" else theme.outline_of(row), "fontWeight": "bold" if bold else "normal"}


# --- charts -----------------------------------------------------------------------------------------------------------

Marked = Sequence[tuple[Series, Mark]]


def _chart(chart: Chart, theme: Theme) -> Option:
    """A chart of any kind, from the same data as its files."""
    draw = {
        "lines": _xy, "points": _xy, "histogram": _xy, "stacked": _bars, "bars": _whiskers, "ranked": _bars,
        "heatmap": _grid, "tree": _tree, "strip": _strip,
    }[chart.kind]  # fmt: skip
    found = draw(chart, list(zip(chart.series, marks_of(chart, theme), strict=True)), theme)
    for i, series in enumerate(found["series"]):
        series.setdefault("id", f"{chart.name} {i}")
    return {"animation": False, **found}


def _item(kind: str, series: Series, mark: Mark, **more: Any) -> Option:
    return {"type": kind, "name": series.name, "color": mark.colour, **more}


def _xy(chart: Chart, marked: Marked, theme: Theme) -> Option:
    """Lines with their intervals as bands or strokes, single points, or the steps of a histogram."""
    items: list[Option] = []
    for i, (series, mark) in enumerate(marked):
        x = [round(at, 5) for at in chart.across(series)]
        data = [[at, _round(y)] for at, y in zip(x, series.y, strict=True)]
        line = _item(
            "line", series, mark, data=data, symbolSize=7, symbol=mark.marker.echarts,
            lineStyle={"width": 2.2 * mark.width, "opacity": mark.opacity, "type": mark.dash.echarts},
        )  # fmt: skip
        if chart.kind == "points":
            line |= {
                "type": "scatter", "symbolSize": 8, "itemStyle": {"opacity": 0.7}, "selectedMode": "single",
                "select": {"itemStyle": {"borderColor": theme.text, "borderWidth": 2, "opacity": 1}},
                "data": [{"value": at, "tooltip": _tip(chart.said(series, j))} for j, at in enumerate(data)],
            }  # fmt: skip
        elif chart.kind == "histogram":
            end = [round(x[-1] + (x[1] - x[0] if len(x) > 1 else 1.0), 5), data[-1][1]]
            line |= {"step": "end", "areaStyle": {"opacity": 0.14}, "data": [*data, end]}
        interval = [] if mark.opacity < 1 else _interval(x, series, mark.colour, i)
        items += [*interval, line] if series.shade else [line, *interval]
    items[0]["markArea"] = _areas(chart, theme)
    items[-1]["markLine"] = _reference_lines(chart, theme)
    single = chart.kind == "points" or any(mark.opacity < 1 for _, mark in marked)
    found = _frame(chart, items, theme, tooltip="item" if single else "axis")
    if chart.categories:
        return found | {"xAxis": _category_axis(chart, theme)}
    whole = chart.kind == "lines" and all(float(x).is_integer() for series in chart.series for x in series.x)
    return found | {"xAxis": _value_axis(chart.x_label, theme, chart.x_range) | ({"minInterval": 1} if whole else {})}


def _press_columns(found: Option, chart: Chart) -> None:
    """Lets the whole height at each point of the first line be clicked: its symbols are too small, or not drawn."""
    x = [round(at, 5) for at in chart.across(chart.series[0])]
    wide = max(6, round(400 / len(x)))
    data = [{"value": [at, 0.5], "name": f"{i}"} for i, at in enumerate(x)]
    columns = {**PRESSED, "id": "columns", "yAxisIndex": 1, "symbolSize": [wide, 200], "data": data}
    found["series"].append(columns)
    found["yAxis"] = [found["yAxis"], _hidden_axis(0, 1)]


def _interval(x: Sequence[float], series: Series, colour: str, number: int) -> list[Option]:
    """Two stacked lines, the upper one's height shaded; or vertical strokes, as one line with gaps."""
    if series.low is None:
        return []
    quiet: Option = {"type": "line", "symbol": "none", "silent": True, "tooltip": NOTHING}
    known = [(at, *ends) for at, ends in zip(x, series.ends, strict=True) if ends is not None]
    if not series.shade:
        strokes = [[at, y] for at, low, high in known for y in (round(low, 5), round(high, 5), None)]
        return [{**quiet, "data": strokes, "lineStyle": {"color": colour, "width": 1.4}}]
    edge = {**quiet, "stack": f"band {number}", "stackStrategy": "all", "lineStyle": {"opacity": 0}}
    height = [[at, round(high - low, 5)] for at, low, high in known]
    return [
        {**edge, "data": [[at, round(low, 5)] for at, low, _ in known]},
        {**edge, "data": height, "areaStyle": {"color": colour, "opacity": 0.2}},
    ]


def _areas(chart: Chart, theme: Theme) -> Option:
    few = len(chart.stages) <= MANY_STAGES
    label = {"show": few, "position": "top", "distance": 3, "color": theme.muted, "fontSize": 11}
    areas = [
        [
            {
                "xAxis": line.at,
                "name": _brief(line, chart),
                "itemStyle": {"color": theme.muted, "opacity": 0.09 * (i % 2)},
            },
            {"xAxis": line.to},
        ]
        for i, line in enumerate(chart.stages)
    ]
    return {"silent": True, "animation": False, "label": label, "data": areas}


def _brief(stage: Reference, chart: Chart) -> str:
    """A stage's label, or its last word where the stage is short."""
    low, high = chart.x_range or (0.0, math.inf)
    long = stage.to is None or stage.to - stage.at > 0.15 * (high - low)
    return stage.label if long else stage.label.split()[-1]


def _reference_lines(chart: Chart, theme: Theme) -> Option:
    data: list[Option] = []
    for line in chart.references:
        if line.kind == "stage":
            continue
        at = str(chart.categories[int(line.at)]) if line.axis == "x" and chart.categories else line.at
        colour, dash = theme.line_of(line)
        style: Option = {"color": colour, "type": dash.echarts, "width": 1.5}
        if line.kind == "cursor":
            style |= {"width": 10, "opacity": 0.12} if chart.categories else {"width": 1.2, "opacity": 0.7}
        text = {"show": bool(line.label) and line.axis == "y", "formatter": line.label, "position": "insideEndTop"}
        data.append({f"{line.axis}Axis": at, "lineStyle": style, "label": {**text, "color": theme.muted}})
    return {"silent": True, "symbol": "none", "label": NOTHING, "animation": False, "data": data}


def _bars(chart: Chart, marked: Marked, theme: Theme) -> Option:
    """Bars with what is printed on them: upward and stacked, or to the right."""
    items: list[Option] = []
    look: dict[str, Option] = {
        "stacked": {"stack": "all", "barCategoryGap": "18%", "label": _label(fontSize=10, textBorderWidth=2),
                    "itemStyle": {"borderColor": theme.background, "borderWidth": 1}},
        "ranked": {"stack": "all", "barWidth": "66%", "silent": True, "itemStyle": {"borderRadius": 2},
                   "label": _label(position="right", color=theme.muted)},
    }  # fmt: skip
    for series, mark in marked:
        place, texts = {str(x): i for i, x in enumerate(series.x)}, printed_points(chart, series)
        ink: Option = (
            {} if chart.kind == "ranked" else {"color": theme.ink(mark.colour), "textBorderColor": mark.colour}
        )
        data: list[Option | str] = [
            "-" if i is None or series.y[i] is None else
            {"value": _round(series.y[i]), "name": texts[i], "label": ink, "tooltip": _tip(chart.said(series, i))}
            for i in map(place.get, chart.names())
        ]  # fmt: skip
        own = {"id": series.name} if chart.kind == "ranked" else {}
        items.append(_item("bar", series, mark, data=data, **look[chart.kind], **own))
    frame = _frame(chart, items, theme, tooltip="item")
    if chart.kind == "ranked":
        return frame | {
            "grid": {"left": 4, "right": 48, "top": 26, "bottom": 4, "containLabel": True},
            "xAxis": {"type": "value", "min": 0, "max": 1, "show": False},
            "yAxis": _rows([shown(name, 20) for name in chart.names()], theme),
        }
    return frame | {"xAxis": _category_axis(chart, theme)}


def _whiskers(chart: Chart, marked: Marked, theme: Theme) -> Option:
    """A point with its interval as a stroke, those of one category side by side; pale where there are few cases."""
    points: list[Option] = []
    strokes: list[Option] = []
    for k, (series, mark) in enumerate(marked):
        data: list[Option] = []
        place, texts = chart.beside(series), printed_points(chart, series)
        for i, (at, y) in enumerate(zip(place, series.y, strict=True)):
            if y is None:
                continue
            few = series.n is not None and (series.n[i] or 0) < MIN_CASES
            data.append({
                "value": [at, _round(y)], "name": texts[i], "tooltip": _tip(chart.said(series, i)),
                "itemStyle": {"opacity": 0.3 if few else 1},
            })  # fmt: skip
        item = _item("scatter", series, mark, data=data, xAxisIndex=1, z=4, symbol=mark.marker.echarts, symbolSize=9)
        look = {"label": _label(position="right", fontSize=10, color=theme.muted), "labelLayout": {"hideOverlap": True}}
        points.append(item | look)
        found = _interval(place, series.model_copy(update={"shade": False}), mark.colour, k)
        strokes += [stroke | {"xAxisIndex": 1, "z": 3} for stroke in found]
    across = [_category_axis(chart, theme), _hidden_axis(-0.5, len(chart.names()) - 0.5)]
    categories = {**UNSEEN, "data": [[name, 0] for name in chart.names()]}  # an axis without data is not drawn
    return _frame(chart, [*points, *strokes, categories], theme, tooltip="item") | {"xAxis": across}


def _grid(chart: Chart, marked: Marked, theme: Theme) -> Option:
    low, high = chart.span()
    data = []
    for row, series in enumerate(chart.series):
        for column, (y, text) in enumerate(zip(series.y, printed_points(chart, series), strict=True)):
            fill = theme.background if y is None else theme.colour(y, low, high)
            ink = theme.muted if y is None else theme.ink(fill)
            blank = low if text else "-"  # what has no value is no cell, and has no words
            data.append(
                {
                    "value": [column, row, blank if y is None else round(y, 5)], "name": f"{row} {column}",
                    "itemStyle": {"color": fill},
                    "label": {"show": bool(text), "formatter": text, "color": ink},
                    "tooltip": _tip(chart.said(series, column)),
                }
            )  # fmt: skip
    item = {"type": "heatmap", "data": data, "label": {"fontSize": 11}, "selectedMode": "single"}
    rows = [shown(series.name, 30) for series in chart.series]
    return _frame(chart, [item], theme, tooltip="item") | {
        "xAxis": _category_axis(chart, theme),
        "yAxis": {"type": "category", "data": rows, "inverse": True, "axisTick": NOTHING, "axisLine": NOTHING},
        # Cells carry their own colours; a heatmap cannot be drawn without a visual map.
        "visualMap": {"show": False, "min": low, "max": high, "inRange": {"color": [theme.background, theme.text]}},
    }


def _strip(chart: Chart, marked: Marked, theme: Theme) -> Option:
    """A row a category: every case faint, the value with its interval, and what is printed behind it."""
    names, (low, high) = chart.names(), chart.y_range or (0.0, 1.0)
    items: list[Option] = []
    behind: list[Option] = []
    beside: Option = {"yAxisIndex": 1}  # numbers, so that series of one row can stand side by side
    for series, mark in marked:
        data: list[Option] = []
        strokes: list[list[Option]] = []
        texts = printed_points(chart, series)
        for i, (row, y) in enumerate(zip(chart.beside(series), series.y, strict=True)):
            if y is None:
                continue
            if texts[i]:
                behind.append({"value": [high, row], "name": texts[i]})
            data.append({"value": [round(y, 4), row], "tooltip": _tip(chart.said(series, i))})
            if series.ends[i]:
                strokes.append([{"coord": [round(min(max(e, low), high), 4), row]} for e in series.ends[i] or ()])
        line = {
            "silent": True, "symbol": ["rect", "rect"], "symbolSize": [1.5, 9], "label": NOTHING, "animation": False,
            "lineStyle": {"type": "solid", "width": 1.6, "color": mark.colour}, "data": strokes,
        }  # fmt: skip
        case = {"silent": True, "symbolSize": 8, "z": 2, "tooltip": NOTHING} if series.faint else {}
        item = _item("scatter", series, mark, symbol=mark.marker.echarts, symbolSize=13, z=4, data=data, markLine=line)
        items.append(item | beside | case | {"itemStyle": {"opacity": 0.5 if series.faint else 1}})
    label = _label(position="right", distance=16, fontSize=12, color=theme.text)
    aside = max(78, 26 + 6 * max((len(item["name"]) for item in behind), default=0))  # pixels of what is printed
    items.append({**UNSEEN, **beside, "data": behind, "label": label})
    heads = [
        {
            "value": [line.at, -0.5], "name": shown(line.label, 18),
            "label": {"color": theme.named(line.group or "text")},
        }
        for line in chart.references
    ]  # fmt: skip
    above = _label(position="top", distance=24, fontSize=13, fontWeight="bold")
    items.append({**UNSEEN, **beside, "id": "heads", "data": heads, "label": above, "itemStyle": {"opacity": 1}})
    rows = _rows([{"value": name} for name in unique(shown(name, 40) for name in names)], theme)
    rows["axisLabel"] |= {"interval": 0, "margin": 14}
    frame = _frame(chart, items, theme, tooltip="item")
    return frame | {
        "grid": [{"left": 4, "right": aside, "top": 42, "bottom": 8, "containLabel": True}],
        "tooltip": _TIP, "yAxis": [rows, _hidden_axis(-0.5, len(names) - 0.5) | {"inverse": True}],
        "xAxis": {
            "type": "value", "min": low, "max": high, "position": "top", "interval": (high - low) / 2,
            "axisLabel": {"color": theme.muted, "fontSize": 11}, "axisLine": NOTHING, "axisTick": NOTHING,
            "splitLine": {"lineStyle": {"color": theme.faint}},
        },
    }  # fmt: skip


def _tree(chart: Chart, marked: Marked, theme: Theme) -> Option:
    """Nodes in a column each distance, the greatest values on top; size grows with the value."""
    place = chart.tree()
    data: list[Option] = []
    for number, (series, mark) in enumerate(marked):
        for i, label in enumerate(printed_points(chart, series)):
            name, value = chart.node_of(label), series.y[i] or 0.0
            data.append(
                {
                    "id": name, "name": shown(label, 30), "value": list(place[name]), "category": number,
                    "symbolSize": 12 + 26 * value**0.5, "symbol": mark.marker.echarts,
                    "tooltip": _tip(chart.said(series, i)),
                    "itemStyle": {"color": mark.colour, "borderColor": theme.outline, "borderWidth": 1},
                }
            )  # fmt: skip
    style = _label(position="bottom", color=theme.text, textBorderColor=theme.background, textBorderWidth=3)
    item: Option = {
        "type": "graph", "coordinateSystem": "cartesian2d", "layout": "none",
        "edgeSymbol": ["none", "arrow"], "edgeSymbolSize": 6, "data": data, "label": style,
        "links": [{"source": a, "target": b} for a, b in chart.edges if a in place and b in place],
        "categories": [{"name": series.name, "itemStyle": {"color": mark.colour}} for series, mark in marked],
        "lineStyle": {"color": theme.edge},
    }  # fmt: skip
    frame = _frame(chart, [item], theme, tooltip="item")
    columns, rows = zip(*place.values(), strict=True)
    bare = {"axisLine": NOTHING, "axisTick": NOTHING, "axisLabel": NOTHING, "interval": 1, "nameGap": 8}
    half = max(rows) + 0.5
    up = {"type": "value", "show": False, "min": -half - 0.4, "max": half}
    span = (min(columns) - 0.4, max(columns) + 0.4)
    return frame | {"xAxis": _value_axis(chart.x_label, theme, span) | bare, "yAxis": up}


# --- shared -----------------------------------------------------------------------------------------------------------


def shown(name: str, most: int) -> str:
    """A name on one line, cut to ``most`` characters; other scripts are isolated so that they turn nothing beside."""
    short = display_name(name, most)
    return short if short.isascii() else f"\u2068{short}\u2069"


def safe(text: str, most: int = 60) -> str:
    """A text inside tooltip HTML, as it is; braces too, which ECharts would take for a template."""
    return html(display_name(text, most)).replace("{", "&#123;").replace("}", "&#125;")


def _tip(lines: Sequence[str]) -> Option:
    """What hovering says, the first line bold; names of other scripts turn nothing beside them."""
    first, *rest = lines
    return {"formatter": "<br>".join([f"<b><bdi>{safe(first)}</bdi></b>", *(safe(line, 200) for line in rest if line)])}


def lit(on: bool, theme: Theme) -> Option:
    return {"color": theme.text, "fontWeight": "bold"} if on else {"color": theme.muted, "fontWeight": "normal"}


def _frame(chart: Chart, series: list[Option], theme: Theme, *, tooltip: str = "axis") -> Option:
    """Everything but the horizontal axis."""
    named: list[Option] = [
        {"name": one.name, "icon": _key(chart, mark), "itemStyle": {"color": mark.colour, "opacity": 1}}
        for one, mark, label in zip(chart.series, marks_of(chart, theme), legend(chart), strict=True) if label
    ]  # fmt: skip
    lines = _legend_lines([str(one["name"]) for one in named])
    y: Option = {"scale": chart.kind != "bars"}  # whoever compares differences must see where zero is
    if chart.y_range is not None:
        y = {"min": chart.y_range[0], "max": chart.y_range[1]}
    return {
        "grid": {
            "left": 36, "right": 22,
            "top": 18 + 18 * lines if named else 22, "bottom": 26,
            "containLabel": True,
        },
        "legend": {
            "show": bool(named), "type": "plain", "data": named, "top": 0, "left": 0, "itemGap": 8, "padding": 2,
            "itemWidth": KEY, "itemHeight": 9, "textStyle": {"fontSize": 11, "color": theme.text},
        },
        "tooltip": {
            "trigger": tooltip, "valueFormatter": "%.3f", "confine": True, "textStyle": {"fontSize": 12},
        },
        "yAxis": {
            "type": "value", **_named(chart.y_label, theme, 40),
            "splitLine": {"lineStyle": {"color": theme.faint, "opacity": 0.6}}, **y,
        },
        "series": series,
    }  # fmt: skip


def _legend_lines(named: Sequence[str]) -> int:
    """In how many lines the legend of a chart stands, at its narrowest."""
    lines, used = 1, 0.0
    for name in named:
        wide = KEY + 18 + 6.2 * len(name)
        lines, used = (lines + 1, wide) if used and used + wide > NARROW else (lines, used + wide)
    return lines


def _key(chart: Chart, mark: Mark) -> str:
    """The symbol of a series in the legend, as it is drawn: a stretch of its line, dashes and all, with its marker.

    ECharts' own is a solid line with a circle, whatever is drawn.
    """
    if chart.kind not in ("lines", "histogram"):
        return "rect" if chart.kind in ("stacked", "ranked") else mark.marker.echarts
    pattern = [KEY] if mark.dash.echarts == "solid" else mark.dash.echarts
    parts, x = [], 0.0
    for i, step in enumerate(cycle(map(float, pattern))):
        end = min(x + step, KEY)
        if i % 2 == 0:
            parts.append(f"M{x:g},-1H{end:g}V1H{x:g}Z")
        x = end
        if x >= KEY:
            break
    return f"path://{''.join(parts)}{_outline(mark.marker)}"


def _outline(marker: Marker) -> str:
    """A marker as the part of a path in the middle of a key."""
    if not marker.static:
        return ""
    if not marker.corners:
        return f"M{KEY / 2 - 4:g},0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0Z"
    return "M" + "L".join(f"{KEY / 2 + 4 * x:g},{4 * y:g}" for x, y in marker.corners) + "Z"


def _label(**more: Any) -> Option:
    """A label that says the name of its item. Opaque: of themselves labels are as pale as what they stand at, and
    points of a scatter are at .8, which no colour of a theme is chosen for."""
    return {"show": True, "formatter": "{b}", "opacity": 1, **more}


def _rows(names: Sequence[Any], theme: Theme) -> Option:
    axis = {"type": "category", "inverse": True, "data": list(names), **BARE}
    return axis | {"axisLabel": {"fontSize": 12, "color": theme.text}}


def _named(name: str, theme: Theme, gap: int) -> Option:
    return {"name": name, "nameLocation": "middle", "nameGap": gap, "nameTextStyle": {"color": theme.muted}}


def _value_axis(name: str, theme: Theme, span: tuple[float, float] | None = None) -> Option:
    ends = {"scale": True} if span is None else {"min": span[0], "max": span[1]}
    return {"type": "value", "splitLine": NOTHING, **_named(name, theme, 26), **ends}


def _category_axis(chart: Chart, theme: Theme) -> Option:
    shown_names, at = chart.names(), chart.cursor()
    data = [{"value": name, "textStyle": lit(i == at, theme)} for i, name in enumerate(shown_names)]
    return {
        "type": "category", **_named(chart.x_label, theme, 26),
        "data": list(shown_names) if at is None else data, "splitLine": NOTHING, "axisTick": NOTHING,
        "axisLabel": {"interval": 0 if len(shown_names) <= 12 else "auto", "lineHeight": 14},
    }  # fmt: skip


def _hidden_axis(least: float, most: float) -> Option:
    return {"type": "value", "min": least, "max": most, "show": False, "axisLabel": NOTHING, **BARE}


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 5)
