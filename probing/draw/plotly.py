"""Pictures as Plotly figures, for notebooks and for HTML files that need nothing else; every number is in the hover.

Plotly reads a few HTML tags in any text, so every name is escaped: what was typed is what is seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape as _escape
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from model.files import html
from model.stats import Floats
from probing.draw import html as pages
from probing.draw.layout import bezier, box_of
from probing.draw.marks import (
    FONT,
    FRONTIER_WORDS,
    LIGHT,
    MARKERS,
    PATH_WORDS,
    ROLE_WORDS,
    ROLES,
    SHAPE,
    SOURCE,
    STACK_SHIFT,
    Mark,
    Theme,
    faded,
    legend,
    marks_of,
    printed,
    printed_cell,
    printed_points,
    text_width,
    wrap,
)
from probing.draw.values import Chart, Edge, Figure, Graph, Heatmap, HeatRow, Series, each

NODE_TRACE = 3
"""Traces of edges before the trace of nodes; clicks and frames refer to the node trace by number."""
PHONE = 320
"""Pixels that a line of a title may take."""
NODE = 27
"""Pixels of a node across."""


def escape(text: str) -> str:
    """A text that Plotly shows as it is."""
    return _escape(text, quote=False)


def figure(value: Figure, *, theme: Theme = LIGHT) -> go.Figure:
    """A picture as a ``plotly.graph_objects.Figure``; several graphs with a slider, several charts side by side."""
    if isinstance(value, Heatmap):
        return _heatmap(value, theme)
    graphs = [one for one in each(value) if isinstance(one, Graph)]
    return _graphs(graphs, theme) if graphs else _charts([one for one in each(value) if isinstance(one, Chart)], theme)


def page(value: Figure, *, theme: Theme = LIGHT, more: str = "") -> str:
    """A page of its own: question, answer, figure, ``more`` HTML, caption; Plotly is inside, nothing is loaded.

    Two graphs of one thought (before and after) stand one above the other.
    """
    first, *rest = values = each(value)
    words = first.about() if isinstance(first, Chart) else first.words
    pair = isinstance(first, Graph) and [g.thought for g in rest if isinstance(g, Graph)] == [first.thought]
    drawn = [figure(one, theme=theme) for one in values] if pair else [figure(value, theme=theme)]
    config = {"displaylogo": False, "displayModeBar": False, "responsive": True}
    body = "".join(
        one.to_html(
            full_html=False, include_plotlyjs=False if i else "inline", include_mathjax=False,
            div_id=f"figure{i or ''}", auto_play=False, config=config,
        )
        for i, one in enumerate(drawn)
    )  # fmt: skip
    return pages.frame(
        words.title,
        f"<p>{html(words.answer)}</p>\n<div role='img' aria-label='{html(words.alt)}'>{body}</div>\n{more}"
        f"<p class='caption'>{html(words.foot)}</p>",
        theme=theme,
    )


def hover(lines: Sequence[str]) -> str:
    """What hovering says, the first line bold."""
    first, *rest = (escape(line) for line in lines if line)
    return "<br>".join([f"<b>{first}</b>", *rest])


# --- the graph --------------------------------------------------------------------------------------------------------


def _graphs(values: Sequence[Graph], theme: Theme) -> go.Figure:
    """The graph at one state, or at several with a slider and a play button. Node i is point i of trace NODE_TRACE."""
    first = values[0]
    figure = go.Figure([*_edges(first, theme), *_nodes(first, theme), *_keys(first, theme)])
    if len(values) > 1:
        # Only nodes change between states; edges stay, which keeps frames small.
        moving = [NODE_TRACE]
        figure.frames = [
            go.Frame(
                name=str(value.state), data=_nodes(value, theme), traces=moving,
                layout={"title": {"text": "<br>".join(_title(value))}},
            ) for value in values
        ]  # fmt: skip
        figure.update_layout(**_slider(values, theme))
    x0, x1, y0, y1 = box_of(_curves(first), (-0.5, first.width + 0.5, -0.85, first.height + 0.9))
    x0, x1, y0, y1 = x0 - 0.1, x1 + 0.1, y0 - 0.1, y1 + 0.1
    _style(
        figure, theme, _title(first), int(29 + 62 * (y1 - y0) + (120 if len(values) > 1 else 0)),
        most=max(len(_title(value)) for value in values),
    )  # fmt: skip
    figure.update_layout(
        xaxis={"visible": False, "range": [x0, x1], "fixedrange": True},
        yaxis={"visible": False, "range": [y0, y1], "fixedrange": True},
        showlegend=True,
        legend={"orientation": "h", "y": 0, "yanchor": "top", "x": 0, "itemclick": False, "itemdoubleclick": False},
        hovermode="closest",
        margin={"l": _room(first, 0.0), "r": _room(first, first.width)},
    )
    for node in first.nodes:
        name = escape(node.label)
        figure.add_annotation(
            x=node.x, y=node.y, yshift=-21 if node.role == "other candidate" else -15, yanchor="top",
            text=f"<b>{name}</b><br>{ROLE_WORDS[node.role]}" if node.role != "node" else name, showarrow=False,
            borderpad=0, bgcolor=faded(theme.background, 0.8),
            font={"size": 11, "color": theme.text if node.reachable else theme.muted},
        )  # fmt: skip
        if node.badge:
            fill = theme.badge_of(node)
            figure.add_annotation(
                x=node.x, y=node.y, xshift=-13, yshift=13, text=f"<b>{node.badge}</b>", showarrow=False,
                borderpad=1, bgcolor=fill, font={"size": 12, "color": theme.ink(fill)},
            )  # fmt: skip
    for x, label in first.columns:
        text = f"distance {label}" if label == "0" else label
        figure.add_annotation(x=x, y=y1 - 0.25, text=text, showarrow=False, font={"size": 12, "color": theme.muted})
    if first.divider is not None:
        figure.add_shape(
            type="line", x0=x0, x1=x1, y0=first.divider, y1=first.divider,
            line={"color": theme.faint, "dash": "dash", "width": 1}, layer="below",
        )  # fmt: skip
        figure.add_annotation(
            x=x0 + 0.02, y=first.divider - 0.02, xanchor="left", yanchor="top",
            text=escape(first.divider_label), showarrow=False, font={"size": 11, "color": theme.muted},
        )  # fmt: skip
    return figure


def _curves(value: Graph) -> Floats:
    """Columns are wider on a screen than in print, so arcs inside one need less of a bow."""
    a, c, b = value.curves
    return np.stack([a, np.where(a[:, :1] == b[:, :1], [0.5, 1] * (c - a) + a, c), b])


def _edges(value: Graph, theme: Theme) -> list[go.Scatter]:
    """Three traces: edges out of the root's reach, the others, those on a shortest path; arrowheads at the nodes."""
    kinds: tuple[tuple[str, str, float, Callable[[Edge], bool]], ...] = (
        ("out of reach", theme.away, 1.2, lambda edge: not edge.reachable),
        ("edges", theme.edge, 1.3, lambda edge: edge.reachable and not edge.on_path),
        ("shortest path", theme.path, 3, lambda edge: edge.on_path),
    )
    traces = []
    for name, colour, width, belongs in kinds:
        x: list[float | None] = []
        y: list[float | None] = []
        sizes: list[float] = []
        standoffs: list[float] = []
        for edge, curve in zip(value.edges, _curves(value).swapaxes(0, 1), strict=True):
            if not belongs(edge):
                continue
            start, control, end = curve
            points = bezier(start, control, end, np.linspace(0, 1, 25)).tolist()
            x += [px for px, _ in points] + [None]
            y += [py for _, py in points] + [None]
            # Of the other points too Plotly would leave out as much of the line.
            head, radius = 11 if edge.on_path else 9, NODE * SHAPE[value.nodes[edge.target].role].size / 2
            sizes += [*[0] * (len(points) - 1), head, 0]
            standoffs += [*[0] * (len(points) - 1), radius + 1, 0]
        marker = {"symbol": "arrow", "angleref": "previous", "size": sizes, "color": colour, "opacity": 1}
        marker["standoff"] = standoffs
        traces.append(
            go.Scatter(
                x=x, y=y, mode="lines+markers", line={"color": colour, "width": width},
                marker=marker | {"line": {"width": 0}}, hoverinfo="skip", showlegend=False, name=name,
            )
        )  # fmt: skip
    return traces


def _nodes(value: Graph, theme: Theme) -> list[go.Scatter]:
    """One trace, point i for node i."""
    scale, nodes = value.scale, value.nodes
    fills = [theme.colour(node.value, scale.low, scale.high) for node in nodes]
    texts = [
        f"<span style='color:{theme.ink(fill)}'>{printed(node.value, scale) or ' '}</span>"
        for node, fill in zip(nodes, fills, strict=True)
    ]
    return [
        go.Scatter(
            x=[node.x for node in nodes], y=[node.y for node in nodes], mode="markers+text",
            marker={
                "symbol": [SHAPE[node.role].plotly for node in nodes],
                "size": [NODE * SHAPE[node.role].size for node in nodes], "color": fills, "opacity": 1,
                "line": {
                    "color": [
                        theme.ring_of(node) or theme.outline_of(node) for node in nodes
                    ],
                    "width": [4 if theme.ring_of(node) else 2 if node.role != "node" else 1.3 for node in nodes],
                },
            },
            text=texts, textposition="middle center", textfont={"size": 11},
            customdata=[[node.id, value.state] for node in nodes],
            hovertext=[hover(value.said(node)) for node in nodes], hovertemplate="%{hovertext}<extra></extra>",
            showlegend=False, name="nodes",
        )
    ]  # fmt: skip


def _keys(value: Graph, theme: Theme) -> list[go.Scatter]:
    """The colour bar, and what shapes and outlines mean."""
    scale = value.scale
    bar = go.Scatter(
        x=[None], y=[None], mode="markers", showlegend=False, hoverinfo="skip",
        marker={
            "color": [scale.low], "cmin": scale.low, "cmax": scale.high,
            "colorscale": [list(stop) for stop in theme.stops(scale.low, scale.high)],
            "colorbar": {
                "title": {"text": scale.value, "side": "right", "font": {"size": 11}}, "thickness": 9,
                "len": 0.5, "outlinewidth": 0.5, "outlinecolor": theme.outline,
            },
        },
    )  # fmt: skip

    def key(name: str, symbol: str, colour: str, width: float) -> go.Scatter:
        marker = {"symbol": symbol, "size": 13, "color": theme.background, "line": {"color": colour, "width": width}}
        return go.Scatter(x=[None], y=[None], mode="markers", marker=marker, name=name, hoverinfo="skip")

    keys = [key(FRONTIER_WORDS, "circle", theme.frontier, 3)]
    keys += [key(ROLE_WORDS[role], SHAPE[role].plotly, theme.text, 1.6) for role in ROLES]
    line = {"color": theme.path, "width": 3}
    keys.append(go.Scatter(x=[None], y=[None], mode="lines", line=line, name=PATH_WORDS))
    return [bar, *keys]


def _room(value: Graph, x: float) -> int:
    """Pixels beside a graph, so that the names of its outermost column are whole where columns are narrow."""
    return max(10, *(round(text_width(node.label, 11) / 2) - 10 for node in value.nodes if node.x == x))


def _title(value: Graph) -> list[str]:
    """Lines: Plotly breaks none of itself."""
    below = [line for text in value.subtitle for line in wrap(text, PHONE, 13)]
    return [f"<b>{escape(value.heading)}</b>", *(f"<span style='font-size:13px'>{escape(one)}</span>" for one in below)]


def _slider(values: Sequence[Graph], theme: Theme) -> dict[str, Any]:
    # Below the legend, which on a phone has a line for each of its entries.
    def to(name: str) -> list[Any]:
        return [[name], {"mode": "immediate", "frame": {"duration": 0, "redraw": True}, "transition": {"duration": 0}}]

    steps = [
        {"label": str(value.thought) if value.thought else "answer", "method": "animate", "args": to(str(value.state))}
        for value in values
    ]
    moving = {"frame": {"duration": 900, "redraw": True}, "transition": {"duration": 0}, "fromcurrent": True}
    still = {"mode": "immediate", "frame": {"duration": 0, "redraw": False}}
    play = {"label": "Play", "method": "animate", "args": [None, moving]}
    pause = {"label": "Pause", "method": "animate", "args": [[None], still]}
    return {
        "sliders": [
            {"active": 0, "steps": steps, "x": 0.14, "len": 0.84, "y": -0.12, "yanchor": "top", "pad": {"t": 50},
             "currentvalue": {"prefix": "thought ", "font": {"size": 13}}, "bgcolor": theme.faint}
        ],
        "updatemenus": [
            {"type": "buttons", "direction": "left", "buttons": [play, pause], "x": 0, "y": -0.12, "yanchor": "top",
             "xanchor": "left", "pad": {"t": 72}, "showactive": False, "bgcolor": theme.background}
        ],
    }  # fmt: skip


# --- the heatmap ------------------------------------------------------------------------------------------------------


def _heatmap(value: Heatmap, theme: Theme) -> go.Figure:
    """Nodes down, thoughts across, the true frontier outlined; below, where each state's probability is."""
    columns, rows, scale, stack = value.columns, value.rows, value.scale, value.stack()
    stacked = stack is not None
    above, below = 60 + 21 * len(rows), 170 if stacked else 0
    figure = make_subplots(
        2 if stacked else 1, 1, shared_xaxes=True, vertical_spacing=0.04,
        row_heights=[above / (above + below), below / (above + below)] if stacked else None,
    )  # fmt: skip
    nodes = [i for i, row in enumerate(rows) if row.role != "marker"]
    at = list(range(len(columns)))
    for part, colours in ((nodes, theme.stops(scale.low, scale.high)), ([len(rows) - 1], _greys(value, theme))):
        if part == nodes or len(nodes) < len(rows):
            figure.add_trace(_cells(value, part, colours, theme, show=part == nodes), 1, 1)
    shapes: list[dict[str, Any]] = []
    for i, row in enumerate(rows):
        for j, cell in enumerate(value.cells[i]):
            if cell.frontier:
                shapes.append(
                    {"type": "rect", "x0": j - 0.46, "x1": j + 0.46, "y0": i - 0.45, "y1": i + 0.45,
                     "line": {"color": theme.frontier, "width": 2.5}, "xref": "x", "yref": "y"}
                )  # fmt: skip
            text = printed_cell(row, cell, scale)
            if text and cell.found:
                ink = theme.ink(theme.cell(row, cell.found.value, scale))
                figure.add_annotation(
                    x=j, y=i, text=text, showarrow=False, font={"size": 11, "color": ink}, row=1, col=1
                )
    for _, start, _ in value.spans:
        if start:
            line = {"color": theme.muted, "width": 1}
            shapes.append({"type": "line", "x0": -0.5, "x1": len(columns) - 0.5, "y0": start - 0.5, "y1": start - 0.5,
                           "line": line, "xref": "x", "yref": "y"})  # fmt: skip
    if stack is not None:
        _stack(figure, value, stack, theme)
    _style(figure, theme, [], above + below + 110)
    figure.update_layout(shapes=shapes, barmode="stack", bargap=0.2, hovermode="closest", margin={"t": 70})
    figure.update_layout(legend={"y": 0, "yanchor": "bottom", "traceorder": "normal"})
    heads = [f"{c.label}<br><i>{c.short}</i>" if c.short else c.label for c in columns]
    across = {"tickvals": at, "ticktext": heads, "showgrid": False, "zeroline": False}
    figure.update_xaxes(**across, range=[-0.5, len(columns) - 0.5], side="top", showticklabels=True, row=1, col=1)
    figure.update_yaxes(
        tickvals=list(range(len(rows))), ticktext=[_tick(row) for row in rows], range=[len(rows) - 0.5, -0.5],
        showgrid=False, zeroline=False, row=1, col=1,
    )  # fmt: skip
    if stacked:
        figure.update_xaxes(showticklabels=False, showgrid=False, zeroline=False, row=2, col=1)
        figure.update_yaxes(range=[0, 1.001], tickvals=[0, 0.5, 1], showgrid=False, zeroline=False, row=2, col=1)
    return figure


def _greys(value: Heatmap, theme: Theme) -> list[tuple[float, str]]:
    return [(i / 8, theme.cell(value.rows[-1], i / 8, value.scale)) for i in range(9)]


def _cells(
    value: Heatmap, rows: Sequence[int], colours: Sequence[tuple[float, str]], theme: Theme, *, show: bool
) -> go.Heatmap:
    cells = [value.cells[i] for i in rows]
    low, high = (value.scale.low, value.scale.high) if show else (0, 1)
    bar = {"title": {"text": value.scale.value, "side": "right"}, "thickness": 9, "len": 0.5, "y": 1, "yanchor": "top"}
    return go.Heatmap(
        z=[[None if cell.found is None else cell.found.value for cell in line] for line in cells],
        x=list(range(len(value.columns))),
        y=list(rows), xgap=1, ygap=1, zmin=low, zmax=high, showscale=show,
        customdata=[[[value.rows[i].id, column.state] for column in value.columns] for i in rows],
        colorscale=[list(stop) for stop in colours],
        text=[[hover(value.said(i, j)) for j in range(len(value.columns))] for i in rows],
        hovertemplate="%{text}<extra></extra>",
        colorbar=bar | {"outlinewidth": 0.5, "outlinecolor": theme.outline},
    )  # fmt: skip


def _stack(figure: go.Figure, value: Heatmap, stack: Chart, theme: Theme) -> None:
    """Where the probability of each state is, the frontier first, with its interval and its controls."""
    for series, mark in zip(stack.series, marks_of(stack, theme), strict=True):
        figure.add_traces(_bar(stack, series, mark, theme), 2, 1)
    for found in value.on_frontier():
        own = found.source == "model"
        shift = -STACK_SHIFT if own else STACK_SHIFT
        marker = {"symbol": MARKERS[SOURCE[found.source][0]].plotly, "size": 0.1 if own else 8}
        figure.add_trace(
            go.Scatter(
                x=[at + shift for at in stack.across(found)], y=list(found.y), mode="markers", name=found.name,
                marker=marker | {"color": theme.background, "line": {"color": theme.text, "width": 1.3}},
                error_y=_errors(found, color=theme.text) if own else None, showlegend=not own,
                hovertext=_said(stack, found), hoverinfo="text",
            ), 2, 1,
        )  # fmt: skip


def _tick(row: HeatRow) -> str:
    name = escape(row.label)
    return name if row.role in ("node", "marker") else f"<b>{name} ({ROLE_WORDS[row.role]})</b>"


# --- charts -----------------------------------------------------------------------------------------------------------


def _charts(charts: Sequence[Chart], theme: Theme) -> go.Figure:
    """Charts side by side; what is drawn the same in all has one entry in the legend."""
    across = min(len(charts), 3)
    down = -(-len(charts) // across)
    titles = [escape(chart.title) for chart in charts] if len(charts) > 1 else None
    figure = make_subplots(down, across, subplot_titles=titles, horizontal_spacing=0.08, vertical_spacing=0.22)
    named: set[str] = set()
    for i, chart in enumerate(charts):
        where = {"row": i // across + 1, "col": i % across + 1}
        for series, mark, label in zip(chart.series, marks_of(chart, theme), legend(chart), strict=True):
            for trace in _TRACES.get(chart.kind, _line)(chart, series, mark, theme):
                shown = trace.name is not None and bool(label) and series.name not in named
                if shown:
                    named.add(series.name)
                trace.update(legendgroup=series.name, showlegend=shown)
                figure.add_trace(trace, **where)
        _axes(figure, chart, theme, where)
    rows = max(len(chart.names()) if chart.flat else len(chart.series) for chart in charts)
    title = [f"<b>{escape(line)}</b>" for line in wrap(charts[0].title, PHONE, 15)] if len(charts) == 1 else []
    _style(
        figure, theme, title, down * (380 if not (charts[0].flat or charts[0].kind == "heatmap") else 150 + 26 * rows)
    )
    below = {"orientation": "h", "y": -0.2, "yanchor": "top", "x": 0}
    figure.update_layout(barmode="stack", legend=below, margin={"b": 20}, hovermode="closest")
    return figure


def _axes(figure: go.Figure, chart: Chart, theme: Theme, where: dict[str, int]) -> None:
    flat = chart.flat
    title = {"text": escape(chart.x_label), "standoff": 4}
    across: dict[str, Any] = {"title": title, "showgrid": False, "zeroline": False}
    up: dict[str, Any] = {"title": {"text": escape(chart.y_label)}, "gridcolor": theme.faint, "zeroline": False}
    names = list(chart.names())
    if chart.categories or flat or chart.kind in ("stacked", "bars", "heatmap"):
        across |= {"tickvals": list(range(len(names))), "ticktext": [escape(name) for name in names]}
        across |= {"range": [-0.5, len(names) - 0.5]}
    elif chart.x_range:
        across["range"] = list(chart.x_range)
    if chart.kind == "heatmap":
        rows = [escape(series.name) for series in chart.series]
        up |= {"tickvals": list(range(len(rows))), "ticktext": rows, "range": [len(rows) - 0.5, -0.5]}
    elif chart.kind == "tree":
        up["visible"] = False
    elif chart.y_ends:
        up["range"] = list(chart.y_ends)
    if flat:
        across["range"] = [len(names) - 0.5, -0.5]
        across, up = up, across
        up["title"] = None
    figure.update_xaxes(**across, **where)
    figure.update_yaxes(**up, **where)
    for line in chart.references:
        down = (line.axis == "x") != flat
        if line.kind == "stage":
            opacity = 0.09 * (chart.stages.index(line) % 2)
            figure.add_vrect(x0=line.at, x1=line.to, fillcolor=theme.muted, opacity=opacity, line_width=0, **where)
        elif line.kind != "cursor":
            colour, dash = theme.line_of(line)
            style = {"color": colour, "dash": dash.plotly, "width": 1.5}
            text = {"annotation_text": escape(line.label)} if line.label else {}
            draw = figure.add_vline if down else figure.add_hline
            draw(line.at, line=style, layer="below", **text, **where)


def _said(chart: Chart, series: Series) -> list[str]:
    """The hover of each point."""
    return [hover(chart.said(series, i)) for i in range(len(series.x))]


def _errors(series: Series, **more: Any) -> Any:
    if not any(series.ends):
        return None
    reach = [
        (None, None) if y is None or ends is None else (y - ends[0], ends[1] - y)
        for y, ends in zip(series.y, series.ends, strict=True)
    ]
    down, up = ([one[i] for one in reach] for i in (0, 1))
    return {"type": "data", "symmetric": False, "array": up, "arrayminus": down, "thickness": 1.5, "width": 4, **more}


def _line(chart: Chart, series: Series, mark: Mark, theme: Theme) -> list[go.Scatter]:
    """A line with its interval as a band or as strokes; stepped for a histogram, points alone for points."""
    x, traces = chart.across(series), []
    ends = [(at, *pair) for at, pair in zip(x, series.ends, strict=True) if pair is not None]
    if series.shade and ends and mark.opacity == 1:
        traces.append(
            go.Scatter(
                x=[a for a, *_ in ends] + [a for a, *_ in reversed(ends)],
                y=[c for *_, c in ends] + [b for _, b, _ in reversed(ends)],
                fill="toself", fillcolor=faded(mark.colour, 0.18), line={"width": 0}, hoverinfo="skip",
            )
        )  # fmt: skip
    shown = "lines+markers" if mark.marker.static else "lines"
    line: dict[str, Any] = {"color": mark.colour, "dash": mark.dash.plotly, "width": 2 * mark.width}
    stepped = {"shape": "hv"} if chart.kind == "histogram" else {}
    traces.append(
        go.Scatter(
            x=x, y=list(series.y), name=escape(series.name), hovertext=_said(chart, series), hoverinfo="text",
            mode="markers" if chart.kind == "points" else shown, error_y=None if series.shade else _errors(series),
            line=line | stepped, marker={"symbol": mark.marker.plotly, "size": 8, "color": mark.colour},
            opacity=mark.opacity,
        )
    )  # fmt: skip
    return traces


def _bar(chart: Chart, series: Series, mark: Mark, theme: Theme) -> list[go.Bar | go.Scatter]:
    bar: dict[str, Any] = {"name": escape(series.name), "marker": {"color": mark.colour}, "textangle": 0}
    bar |= {
        "text": list(map(escape, printed_points(chart, series))),
        "hovertext": _said(chart, series),
        "hoverinfo": "text",
    }
    if chart.kind == "ranked":
        return [go.Bar(y=chart.across(series), x=list(series.y), orientation="h", textposition="outside", **bar)]
    if chart.kind == "stacked":
        bar |= {"textposition": "inside", "insidetextanchor": "middle", "textfont": {"color": theme.ink(mark.colour)}}
        return [go.Bar(x=chart.across(series), y=list(series.y), **bar)]
    del bar["textangle"]
    bar |= {"marker": {"color": mark.colour, "symbol": mark.marker.plotly, "size": 9}, "mode": "markers+text"}
    errors = _errors(series, color=mark.colour)
    return [go.Scatter(x=chart.beside(series), y=list(series.y), error_y=errors, textposition="middle right", **bar)]


def _row(chart: Chart, series: Series, mark: Mark, theme: Theme) -> list[go.Scatter]:
    return [
        go.Scatter(
            x=list(series.y), y=chart.beside(series), name=escape(series.name),
            mode="markers+text" if series.labels else "markers", text=list(map(escape, printed_points(chart, series))),
            textposition="middle right", hovertext=_said(chart, series), hoverinfo="text",
            error_x=None if series.faint else _errors(series),
            marker={"symbol": mark.marker.plotly, "size": 6 if series.faint else 10, "color": mark.colour},
            opacity=0.5 if series.faint else 1,
        )
    ]  # fmt: skip


def _grid_row(chart: Chart, series: Series, mark: Mark, theme: Theme) -> list[go.Heatmap]:
    low, high = chart.span()
    return [
        go.Heatmap(
            z=[list(series.y)], x=chart.across(series), y=[chart.series.index(series)], zmin=low, zmax=high,
            colorscale=[list(stop) for stop in theme.stops(low, high)], showscale=False, xgap=1, ygap=1,
            text=[list(printed_points(chart, series))], texttemplate="%{text}",
            hovertext=[_said(chart, series)], hoverinfo="text",
        )
    ]  # fmt: skip


def _tree_nodes(chart: Chart, series: Series, mark: Mark, theme: Theme) -> list[go.Scatter]:
    """The nodes of one series, columns by distance and the greatest values on top; edges with the first series."""
    place = chart.tree()
    traces = []
    if series is chart.series[0]:
        ends = [(place[a], place[b]) for a, b in chart.edges if a in place and b in place]
        line = {"color": theme.edge, "width": 1}
        x_all = [x for (a, _), (b, _) in ends for x in (a, b, None)]
        y_all = [y for (_, a), (_, b) in ends for y in (a, b, None)]
        traces.append(go.Scatter(x=x_all, y=y_all, mode="lines", line=line, hoverinfo="skip"))
    spots = [place[chart.node_of(label)] for label in series.labels or ()]
    size = [12 + 26 * (y or 0.0) ** 0.5 for y in series.y]
    traces.append(
        go.Scatter(
            x=[x for x, _ in spots], y=[y for _, y in spots], mode="markers+text", name=escape(series.name),
            text=[escape(label) for label in series.labels or ()], textposition="bottom center",
            marker={"symbol": mark.marker.plotly, "size": size, "color": mark.colour},
            hovertext=_said(chart, series), hoverinfo="text",
        )
    )  # fmt: skip
    return traces


_TRACES: dict[str, Callable[[Chart, Series, Mark, Theme], list[Any]]] = {
    "stacked": _bar, "bars": _bar, "ranked": _bar, "strip": _row, "heatmap": _grid_row, "tree": _tree_nodes,
}  # fmt: skip


def _style(figure: go.Figure, theme: Theme, title: Sequence[str], height: int, *, most: int = 0) -> None:
    """``title`` is in lines; ``most``: of how many there may come to be."""
    top = 32 + 18 * max(len(title), most, 1)
    figure.update_layout(
        template="none",
        height=height + top - 50,
        title={
            "text": "<br>".join(title), "x": 0, "xanchor": "left", "xref": "container", "y": 1, "yanchor": "top",
            "yref": "container", "font": {"size": 14}, "pad": {"l": 10, "t": 12},
        },
        paper_bgcolor=theme.background,
        plot_bgcolor=theme.background,
        font={"family": FONT, "color": theme.text, "size": 12},
        hoverlabel={"bgcolor": theme.background, "font": {"color": theme.text}, "bordercolor": theme.outline},
        margin={"l": 10, "r": 10, "t": top, "b": 10},
    )  # fmt: skip
    figure.update_xaxes(color=theme.muted, automargin=True)
    figure.update_yaxes(color=theme.muted, automargin=True)
