"""Scenes as Plotly figures, for the app and for HTML files that need nothing else; every number is in the hover.

Plotly reads a few HTML tags in any text, so every name is escaped: what was typed is what is seen.
"""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from probing.draw.marks import LIGHT, Theme
from probing.draw.of_report import (
    SOURCES,
    DagScene,
    EdgeMark,
    FrontierScene,
    HeatmapScene,
    NodeMark,
    Role,
    Scale,
    short_number,
)

SYMBOLS: dict[Role, str] = {
    "root": "pentagon",
    "target": "square",
    "other candidate": "diamond",
    "node": "circle",
}
FONT = "system-ui, -apple-system, Segoe UI, Roboto, Helvetica, Arial, sans-serif"
_MARKERS = {"model": "circle", "shuffled": "square", "untrained": "triangle-up"}
_DASHES = {"model": "solid", "shuffled": "dash", "untrained": "dot"}
_DAG_NODES = 3
"""Traces of edges before the trace of nodes; clicks and frames refer to the node trace by number."""


def escape(text: str) -> str:
    """A text that Plotly and the browser show as it is."""
    return html.escape(text, quote=False)


def hover(node: NodeMark, scale: Scale) -> str:
    """All that is known of a node at a state, as Plotly's hover text."""
    at = f"distance {node.distance}" if node.reachable else "not reachable from the root"
    marks = [at]
    if node.role != "node":
        marks.insert(0, node.role)
    if node.frontier:
        marks.append("in the true frontier")
    if node.optimal:
        marks.append("on a shortest path")
    interval = "" if node.low is None or node.high is None else f" [{node.low:.3g}, {node.high:.3g}]"
    n = "1 draw" if node.n == 1 else f"n = {node.n} draws"
    return f"<b>{escape(node.name)}</b><br>{', '.join(marks)}<br>{scale.value}: {node.value:.3g}{interval}, {n}"


def dag_figure(scenes: DagScene | Sequence[DagScene], *, theme: Theme = LIGHT, height: int | None = None) -> go.Figure:
    """The graph at one state, or at several with a slider and a play button. Node i is point i of trace NODE_TRACE."""
    scenes = [scenes] if isinstance(scenes, DagScene) else list(scenes)
    first = scenes[0]
    figure = go.Figure([*_edges(first, theme), *_nodes(first, theme), *_keys(first, theme)])
    if len(scenes) > 1:
        # Only nodes change between states; edges stay, which keeps frames small.
        moving = [_DAG_NODES]
        figure.frames = [
            go.Frame(
                name=str(scene.state),
                data=_nodes(scene, theme),
                traces=moving,
                layout={"title": {"text": _dag_title(scene)}},
            )
            for scene in scenes
        ]
        figure.update_layout(**_slider(scenes, theme))
    _style(figure, theme, _dag_title(first), height or int(150 + 62 * first.height + (80 if len(scenes) > 1 else 0)))
    figure.update_layout(
        xaxis={"visible": False, "range": [-0.6, first.width + 0.6], "fixedrange": True},
        yaxis={"visible": False, "range": [-0.95, first.height + 1.0], "fixedrange": True},
        showlegend=True,
        legend={"orientation": "h", "y": 0, "yanchor": "top", "x": 0, "itemclick": False, "itemdoubleclick": False},
        hovermode="closest",
    )
    for node in first.nodes:
        name = escape(node.label)
        figure.add_annotation(
            x=node.x,
            y=node.y,
            yshift=-21 if node.role == "other candidate" else -15,
            yanchor="top",
            text=f"<b>{name}</b><br>{node.role}" if node.role != "node" else name,
            showarrow=False,
            borderpad=0,
            bgcolor=_see_through(theme.background),
            font={"size": 11, "color": theme.text if node.reachable else theme.muted},
        )
    for x, label in first.columns:
        text = f"distance {label}" if label == "0" else label
        figure.add_annotation(
            x=x, y=first.height + 0.75, text=text, showarrow=False, font={"size": 12, "color": theme.muted}
        )
    if first.divider is not None:
        figure.add_shape(
            type="line",
            x0=-0.6,
            x1=first.width + 0.6,
            y0=first.divider,
            y1=first.divider,
            line={"color": theme.faint, "dash": "dash", "width": 1},
            layer="below",
        )
        figure.add_annotation(
            x=-0.58,
            y=first.divider - 0.02,
            xanchor="left",
            yanchor="top",
            text=escape(first.divider_label),
            showarrow=False,
            font={"size": 11, "color": theme.muted},
        )
    return figure


NODE_TRACE = _DAG_NODES


def heatmap_figure(scene: HeatmapScene, *, theme: Theme = LIGHT) -> go.Figure:
    """Nodes by states with the true frontier outlined; beside it where each state's probability is."""
    columns, rows, scale = scene.columns, scene.rows, scene.scale
    figure = make_subplots(1, 2, column_widths=[0.78, 0.22], horizontal_spacing=0.05, shared_yaxes=True)
    labels = [row.label for row in rows]
    figure.add_trace(
        go.Heatmap(
            z=[[cell.value for cell in row.cells] for row in rows],
            x=list(range(len(columns))),
            y=list(range(len(rows))),
            customdata=[[[cell.node, row.state] for cell in row.cells] for row in rows],
            zmin=scale.low,
            zmax=scale.high,
            colorscale=[list(stop) for stop in theme.stops(scale.low, scale.high)],
            xgap=1,
            ygap=1,
            text=[[hover(cell, scale) for cell in row.cells] for row in rows],
            hovertemplate="%{text}<br>state h%{customdata[1]}<extra></extra>",
            colorbar={
                "title": {"text": escape(scale.label), "side": "top", "font": {"size": 12}},
                "orientation": "h",
                "len": 0.28,
                "x": 0.0,
                "xanchor": "left",
                "y": 1.09,
                "yanchor": "bottom",
                "tickfont": {"size": 10},
                "thickness": 9,
                "outlinewidth": 0.5,
                "outlinecolor": theme.outline,
            },
        ),
        1, 1,
    )  # fmt: skip
    shapes: list[dict[str, Any]] = [
        {"type": "rect", "x0": -0.5, "x1": len(columns) - 0.5, "y0": -0.5, "y1": len(rows) - 0.5, "layer": "below",
         "fillcolor": theme.faint, "line": {"width": 0}, "xref": "x", "yref": "y"}
    ]  # fmt: skip
    for i, row in enumerate(rows):
        for j, cell in enumerate(row.cells):
            if cell.frontier:
                shapes.append(
                    {"type": "rect", "x0": j - 0.46, "x1": j + 0.46, "y0": i - 0.45, "y1": i + 0.45,
                     "line": {"color": theme.frontier, "width": 2.5}, "xref": "x", "yref": "y"}
                )  # fmt: skip
            if scale.prints(cell.value):
                text = short_number(cell.value)
                fill = theme.colour(cell.value, scale.low, scale.high)
                figure.add_annotation(
                    x=j, y=i, text=text, showarrow=False, font={"size": 11, "color": theme.ink(fill)}, row=1, col=1
                )
        if row.note:
            start, stop = row.room(scale)
            if stop - start >= min(5, len(columns)):
                figure.add_annotation(
                    x=(start + stop - 1) / 2, y=i, text=f"<i>{escape(row.note)}</i>", showarrow=False,
                    font={"size": 12, "color": theme.muted}, bgcolor=theme.background, row=1, col=1,
                )  # fmt: skip
    for label, start, stop in scene.spans:
        text = f"distance {label}" if label.isdigit() and stop - start > 2 else label
        figure.add_annotation(
            x=(start + stop - 1) / 2, y=-0.72, text=text, showarrow=False, yanchor="bottom",
            font={"size": 11, "color": theme.muted}, row=1, col=1,
        )  # fmt: skip
        if start:
            shapes.append(
                {"type": "line", "x0": start - 0.5, "x1": start - 0.5, "y0": -0.5, "y1": len(rows) - 0.5,
                 "line": {"color": theme.muted, "width": 1}, "xref": "x", "yref": "y"}
            )  # fmt: skip
    for k, (part, _) in enumerate(rows[0].parts):
        shares = [row.parts[k][1] for row in rows]
        figure.add_trace(
            go.Bar(
                x=shares,
                y=list(range(len(rows))),
                name=part,
                orientation="h",
                marker={"color": theme.parts[part], "line": {"width": 0}},
                text=[f"{100 * share:.0f} %" if share >= 0.15 else "" for share in shares],
                textposition="inside",
                insidetextanchor="middle",
                textangle=0,
                textfont={"color": theme.ink(theme.parts[part]), "size": 11},
                customdata=[_control_text(row.frontier) if part == "frontier" else "" for row in rows],
                hovertemplate=f"{part}: %{{x:.3f}}%{{customdata}}<extra></extra>",
            ),
            1,
            2,
        )
    whiskers = [(i, e) for i, row in enumerate(rows) for s, e in row.frontier if s == "model" and e.low is not None]
    if whiskers:
        figure.add_trace(
            go.Scatter(
                x=[e.mean for _, e in whiskers],
                y=[i for i, _ in whiskers],
                mode="markers",
                marker={"size": 0.1, "color": theme.text},
                error_x={
                    "type": "data",
                    "symmetric": False,
                    "array": [min(e.high or 1, 1) - e.mean for _, e in whiskers],
                    "arrayminus": [e.mean - max(e.low or 0, 0) for _, e in whiskers],
                    "color": theme.text,
                    "thickness": 1.4,
                    "width": 4,
                },
                name="95 % interval",
                hoverinfo="skip",
                showlegend=False,
            ),
            1,
            2,
        )
    for source in SOURCES:
        found = [(i, dict(row.frontier)[source]) for i, row in enumerate(rows) if source in dict(row.frontier)]
        if source == "model" or not found:
            continue
        figure.add_trace(
            go.Scatter(
                x=[e.mean for _, e in found],
                y=[i for i, _ in found],
                mode="markers",
                name=f"frontier, {SOURCES[source]}",
                marker={
                    "symbol": _MARKERS[source],
                    "size": 8,
                    "color": theme.background,
                    "line": {"color": theme.text, "width": 1.3},
                },
                hovertemplate=f"frontier share, {SOURCES[source]}: %{{x:.3f}}<extra></extra>",
            ),
            1,
            2,
        )
    longest = max(len(_tick(node)) for node in columns)
    _style(figure, theme, "", 150 + 36 * len(rows) + min(40 + 6 * longest, 230))
    figure.update_layout(margin={"t": 125})
    figure.update_layout(shapes=shapes, barmode="stack", bargap=0.2, hovermode="closest")
    figure.update_layout(
        legend={"orientation": "h", "x": 1, "xanchor": "right", "y": 1.3, "yanchor": "bottom", "traceorder": "normal"}
    )
    figure.update_xaxes(
        row=1,
        col=1,
        tickmode="array",
        tickvals=list(range(len(columns))),
        ticktext=[_tick(node) for node in columns],
        tickangle=-50,
        showgrid=False,
        zeroline=False,
        range=[-0.5, len(columns) - 0.5],
    )
    figure.update_xaxes(row=1, col=2, range=[0, 1.001], showgrid=False, tickvals=[0, 0.5, 1], zeroline=False)
    figure.update_yaxes(
        tickmode="array",
        tickvals=list(range(len(rows))),
        ticktext=labels,
        range=[len(rows) - 0.5, -1.15],
        showgrid=False,
        zeroline=False,
    )
    return figure


def frontier_figure(scene: FrontierScene, *, theme: Theme = LIGHT) -> go.Figure:
    """Frontier metrics by thought with 95 % intervals, the model beside its controls."""
    titles = [panel.label[0].upper() + panel.label[1:] for panel in scene.panels]
    figure = make_subplots(1, len(titles), subplot_titles=titles, horizontal_spacing=0.06)
    for column, panel in enumerate(scene.panels, start=1):
        for place, series in enumerate(panel.series):
            shift = (place - (len(panel.series) - 1) / 2) * 0.13
            points = [(point.thought, point.estimate) for point in series.points]
            known = [e for _, e in points if e is not None]
            error = None
            if any(e.low is not None for e in known):
                error = {
                    "type": "data",
                    "symmetric": False,
                    "array": [None if e is None or e.high is None else min(e.high, 1) - e.mean for _, e in points],
                    "arrayminus": [None if e is None or e.low is None else e.mean - max(e.low, 0) for _, e in points],
                    "thickness": 1.5,
                    "width": 4,
                }
            n = known[0].n if known else 0
            figure.add_trace(
                go.Scatter(
                    x=[t + shift for t, _ in points],
                    y=[None if e is None else e.mean for _, e in points],
                    customdata=[
                        [t, "" if e is None or e.low is None else f" [{e.low:.3f}, {e.high:.3f}]"] for t, e in points
                    ],
                    error_y=error,
                    mode="lines+markers",
                    name=f"{series.label} (n = {n})",
                    legendgroup=series.source,
                    showlegend=column == 1,
                    line={"color": theme.sources[series.source], "dash": _DASHES[series.source], "width": 2},
                    marker={"symbol": _MARKERS[series.source], "size": 8},
                    hovertemplate=(
                        f"{series.label}, thought %{{customdata[0]}}<br>{panel.label}: %{{y:.3f}}%{{customdata[1]}}, "
                        f"n = {n}<extra></extra>"
                    ),
                ),
                1,
                column,
            )
        for i, (thought, value) in enumerate(panel.chance):
            figure.add_trace(
                go.Scatter(
                    x=[thought - 0.42, thought + 0.42],
                    y=[value, value],
                    mode="lines",
                    name="chance or base rate",
                    legendgroup="chance",
                    showlegend=column == 1 and i == 0,
                    line={"color": theme.text, "width": 1.5},
                    hovertemplate=f"{panel.chance_label}: {value:.3f}<extra></extra>",
                ),
                1,
                column,
            )
        for thought, why in scene.empty:
            figure.add_annotation(
                x=thought, y=0.62, text=f"<i>{why}</i>", textangle=-90, showarrow=False,
                font={"size": 12, "color": theme.muted}, row=1, col=column,
            )  # fmt: skip
    _style(figure, theme, "", 380)
    figure.update_layout(
        legend={"orientation": "h", "y": -0.24, "yanchor": "top", "x": 0},
        margin={"t": 46, "b": 20},
        hovermode="closest",
    )
    ticks = list(range(1, scene.n_thoughts + 1))
    figure.update_xaxes(
        title={"text": "thought", "standoff": 4},
        tickvals=ticks,
        range=[0.5, scene.n_thoughts + 0.5],
        showgrid=False,
        zeroline=False,
    )
    figure.update_yaxes(range=[-0.03, 1.06], gridcolor=theme.faint, zeroline=False)
    return figure


def to_html(figure: go.Figure, scene: DagScene | HeatmapScene | FrontierScene, *, theme: Theme = LIGHT) -> str:
    """A page of its own: question, answer, figure, caption; Plotly is inside, nothing is loaded."""
    body = figure.to_html(
        full_html=False,
        include_plotlyjs="inline",
        include_mathjax=False,
        div_id="figure",
        auto_play=False,
        config={"displaylogo": False, "displayModeBar": False, "responsive": True},
    )
    esc = html.escape
    more = scene.later if isinstance(scene, DagScene) else scene.undefined if isinstance(scene, FrontierScene) else ""
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{esc(scene.title)}</title>
<style>
body {{ margin: 0 auto; max-width: 1280px; padding: 24px; font-family: {FONT};
  background: {theme.background}; color: {theme.text}; color-scheme: {theme.name}; }}
h1 {{ font-size: 1.6rem; margin: 0 0 .3rem; }}
p {{ margin: .3rem 0; color: {theme.muted}; line-height: 1.45; }}
.caption {{ font-size: .85rem; max-width: 75em; }}
</style></head><body><main>
<h1><bdi>{esc(scene.title)}</bdi></h1>
<p>{esc(scene.answer)}</p>
<div role="img" aria-label={json.dumps(esc(scene.alt), ensure_ascii=False)}>{body}</div>
<p class="caption">{esc(f"{more} {scene.caption}".strip())}</p>
</main></body></html>
"""


# --- parts ------------------------------------------------------------------------------------------------------------


def _edges(scene: DagScene, theme: Theme) -> list[go.Scatter]:
    """Three traces: edges out of the root's reach, the others, those on a shortest path; arrowheads past the middle."""
    kinds: tuple[tuple[str, str, float, Callable[[EdgeMark], bool]], ...] = (
        ("out of reach", theme.away, 1.2, lambda edge: not edge.reachable),
        ("edges", theme.edge, 1.3, lambda edge: edge.reachable and not edge.on_path),
        ("shortest path", theme.path, 3, lambda edge: edge.on_path),
    )
    traces = []
    for name, colour, width, belongs in kinds:
        x: list[float | None] = []
        y: list[float | None] = []
        sizes: list[float] = []
        for edge in filter(belongs, scene.edges):
            a, c, b = edge.start, edge.control, edge.end
            if a[0] == b[0]:
                # Columns are wider on a screen than in print, so arcs inside one need less of a bow.
                c = (a[0] + (c[0] - a[0]) * 0.5, c[1])
            for i in range(25):
                s = i / 24
                x.append((1 - s) ** 2 * a[0] + 2 * s * (1 - s) * c[0] + s * s * b[0])
                y.append((1 - s) ** 2 * a[1] + 2 * s * (1 - s) * c[1] + s * s * b[1])
                sizes.append((11 if edge.on_path else 9) if i == 15 else 0)
            x.append(None)
            y.append(None)
            sizes.append(0)
        marker = {"symbol": "arrow", "angleref": "previous", "size": sizes, "color": colour, "opacity": 1}
        traces.append(
            go.Scatter(
                x=x,
                y=y,
                mode="lines+markers",
                line={"color": colour, "width": width},
                marker=marker | {"line": {"width": 0}},
                hoverinfo="skip",
                showlegend=False,
                name=name,
            )
        )
    return traces


def _nodes(scene: DagScene, theme: Theme) -> list[go.Scatter]:
    """One trace, point i for node i."""
    scale, nodes = scene.scale, scene.nodes
    fills = [theme.colour(node.value, scale.low, scale.high) for node in nodes]
    outlines, widths, texts = [], [], []
    for node, fill in zip(nodes, fills, strict=True):
        strong = node.role != "node"
        outlines.append(
            theme.frontier
            if node.frontier
            else (theme.text if node.reachable else theme.muted)
            if strong
            else (theme.outline if node.reachable else theme.away)
        )
        widths.append(4 if node.frontier else 2 if strong else 1.3)
        value = short_number(node.value) if scale.prints(node.value) else " "
        texts.append(f"<span style='color:{theme.ink(fill)}'>{value}</span>")
    sizes = [{"node": 27, "root": 31, "target": 26, "other candidate": 28}[node.role] for node in nodes]
    return [
        go.Scatter(
            x=[node.x for node in nodes],
            y=[node.y for node in nodes],
            mode="markers+text",
            marker={
                "symbol": [SYMBOLS[node.role] for node in nodes],
                "size": sizes,
                "color": fills,
                "opacity": 1,
                "line": {"color": outlines, "width": widths},
            },
            text=texts,
            textposition="middle center",
            textfont={"size": 11},
            customdata=[[node.node, scene.state] for node in nodes],
            hovertext=[hover(node, scale) for node in nodes],
            hovertemplate="%{hovertext}<extra></extra>",
            showlegend=False,
            name="nodes",
        )
    ]


def _keys(scene: DagScene, theme: Theme) -> list[go.Scatter]:
    """The colour bar, and what shapes and outlines mean."""
    scale = scene.scale
    bar = go.Scatter(
        x=[None],
        y=[None],
        mode="markers",
        showlegend=False,
        hoverinfo="skip",
        marker={
            "color": [scale.low],
            "cmin": scale.low,
            "cmax": scale.high,
            "colorscale": [list(stop) for stop in theme.stops(scale.low, scale.high)],
            "colorbar": {
                "title": {"text": scale.value, "side": "right", "font": {"size": 11}},
                "thickness": 9,
                "len": 0.5,
                "outlinewidth": 0.5,
                "outlinecolor": theme.outline,
            },
        },
    )

    def key(name: str, symbol: str, colour: str, width: float) -> go.Scatter:
        marker = {"symbol": symbol, "size": 13, "color": theme.background, "line": {"color": colour, "width": width}}
        return go.Scatter(x=[None], y=[None], mode="markers", marker=marker, name=name, hoverinfo="skip")

    keys = [key("true frontier: nodes at distance t", "circle", theme.frontier, 3)]
    keys += [key(role, SYMBOLS[role], theme.text, 1.6) for role in ("root", "target", "other candidate")]
    line = {"color": theme.path, "width": 3}
    keys.append(go.Scatter(x=[None], y=[None], mode="lines", line=line, name="shortest path to the target"))
    return [bar, *keys]


def _dag_title(scene: DagScene) -> str:
    return f"<b>{escape(scene.heading)}</b>   {escape('  ·  '.join(scene.subtitle))}"


def _slider(scenes: Sequence[DagScene], theme: Theme) -> dict[str, Any]:
    def to(name: str) -> list[Any]:
        return [[name], {"mode": "immediate", "frame": {"duration": 0, "redraw": True}, "transition": {"duration": 0}}]

    steps = [
        {"label": str(scene.thought) if scene.thought else "answer", "method": "animate", "args": to(str(scene.state))}
        for scene in scenes
    ]
    play = {
        "label": "Play",
        "method": "animate",
        "args": [
            None,
            {"frame": {"duration": 900, "redraw": True}, "transition": {"duration": 0}, "fromcurrent": True},
        ],
    }
    pause = {"label": "Pause", "method": "animate", "args": to("")}
    pause["args"] = [[None], {"mode": "immediate", "frame": {"duration": 0, "redraw": False}}]
    return {
        "sliders": [
            {"active": 0, "steps": steps, "x": 0.14, "len": 0.84, "y": -0.12, "yanchor": "top", "pad": {"t": 8},
             "currentvalue": {"prefix": "thought ", "font": {"size": 13}}, "bgcolor": theme.faint}
        ],
        "updatemenus": [
            {"type": "buttons", "direction": "left", "buttons": [play, pause], "x": 0, "y": -0.12, "yanchor": "top",
             "xanchor": "left", "pad": {"t": 30}, "showactive": False, "bgcolor": theme.background}
        ],
    }  # fmt: skip


def _see_through(colour: str) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.8)"


def _control_text(frontier: tuple[tuple[str, Any], ...]) -> str:
    lines = []
    for source, found in frontier:
        interval = "" if found.low is None else f" [{found.low:.3f}, {found.high:.3f}]"
        lines.append(f"<br>{SOURCES[source]}: {found.mean:.3f}{interval}, n = {found.n}")
    return "".join(lines)


def _tick(node: NodeMark) -> str:
    name = escape(node.label)
    return f"<b>{name} ({node.role})</b>" if node.role != "node" else name


def _style(figure: go.Figure, theme: Theme, title: str, height: int) -> None:
    figure.update_layout(
        template="none",
        height=height,
        title={"text": title, "x": 0, "xanchor": "left", "xref": "container", "font": {"size": 14}, "pad": {"l": 10}},
        paper_bgcolor=theme.background,
        plot_bgcolor=theme.background,
        font={"family": FONT, "color": theme.text, "size": 12},
        hoverlabel={"bgcolor": theme.background, "font": {"color": theme.text}, "bordercolor": theme.outline},
        margin={"l": 10, "r": 10, "t": 50, "b": 10},
    )
    figure.update_xaxes(color=theme.muted, automargin=True)
    figure.update_yaxes(color=theme.muted, automargin=True)
