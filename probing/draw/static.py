"""Pictures as SVG, PNG and PDF: vector graphics with real text, drawn by matplotlib without a browser or pyplot.

Every page is laid out in points (1/72 inch) on one set of axes as large as the page, so sizes and gaps are exact;
charts get axes of their own on it.
Names are drawn as they are: no markup, no mathematics. A letter that no font at hand has becomes an empty box in PNG
and PDF and stays itself in SVG.
"""

from __future__ import annotations

import io
import threading
import unicodedata
import warnings
from collections.abc import Sequence
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure as Canvas
from matplotlib.patches import Circle, ConnectionStyle, FancyArrowPatch, Polygon, Rectangle
from matplotlib.path import Path
from matplotlib.ticker import MaxNLocator

from model.stats import Floats, short_number
from probing.draw.layout import Point
from probing.draw.marks import (
    LIGHT,
    MANY,
    MARKERS,
    SHAPE,
    SOURCE,
    Mark,
    Theme,
    marks_of,
    printed,
    printed_cell,
    printed_share,
)
from probing.draw.values import (
    Chart,
    Edge,
    Figure,
    Graph,
    HeatCell,
    Heatmap,
    HeatRow,
    Node,
    Role,
    Scale,
    Series,
    Words,
    display_name,
    each,
)

StaticFormat = Literal["svg", "png", "pdf"]
DPI = 200
FONT_STACK = b"font-family: 'DejaVu Sans', Verdana, 'Segoe UI', 'Noto Sans', Arial, sans-serif"
SIZE = 7.5
"""Points of ordinary text; nothing is smaller than SMALL."""
SMALL = 7.0
RADIUS = 10.5
PITCH_Y = 43.0
MIN_PITCH_X = 54.0
MARGIN = 24.0
LEGEND_GAP = 13.0
MIN_WIDTH = 500.0
HATCHES = ("", "//", "xx", "..", "\\\\", "++")
ROLE_WORDS = {"root": "root", "target": "target", "other candidate": "other cand."}

# rc settings and warning filters are global to the process, and the app draws from several threads.
_DRAWING = threading.Lock()
_RC: Any = {
    "svg.fonttype": "none", "svg.hashsalt": "coconut", "pdf.fonttype": 42, "font.family": ["DejaVu Sans"],
    "font.size": SIZE, "text.parse_math": False, "text.usetex": False, "path.simplify": False,
}  # fmt: skip


def render(value: Figure, format: StaticFormat, *, theme: Theme = LIGHT) -> bytes:
    """A picture, or several graphs or charts on one page, as the bytes of a file. Same value, same bytes."""
    with _DRAWING, mpl.rc_context(_RC), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from")
        if isinstance(value, Heatmap):
            return _heatmap(value, theme).save(format)
        graphs = [one for one in each(value) if isinstance(one, Graph)]
        charts = [one for one in each(value) if isinstance(one, Chart)]
        return (_graphs(graphs, theme) if graphs else _charts(charts, theme)).save(format)


def svg(chart: Chart) -> str:
    """A chart as SVG text with real text in it."""
    return render(chart, "svg").decode()


class _Page:
    """A page measured in points, with its origin at the top left: y grows downward."""

    def __init__(self, width: float, height: float, theme: Theme, alt: str) -> None:
        self.width, self.height, self.theme, self.alt = width, height, theme, alt
        self.figure = Canvas(figsize=(width / 72, height / 72), facecolor=theme.background)
        self.axes: Axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set_xlim(0, width)
        self.axes.set_ylim(height, 0)
        self.axes.axis("off")

    def axes_at(self, x: float, y: float, width: float, height: float) -> Axes:
        """Axes of a chart, measured in points from the top left."""
        box = (x / self.width, 1 - (y + height) / self.height, width / self.width, height / self.height)
        axes: Axes = self.figure.add_axes(box, facecolor="none")
        return axes

    def save(self, format: StaticFormat) -> bytes:
        buffer = io.BytesIO()
        metadata: dict[str, Any] = {
            "svg": {"Title": self.alt, "Date": None},
            "png": {"Title": self.alt.encode("latin-1", "replace").decode("latin-1"), "Software": None},
            "pdf": {"Title": self.alt, "CreationDate": None, "ModDate": None},
        }[format]
        self.figure.savefig(buffer, format=format, dpi=DPI, facecolor=self.theme.background, metadata=metadata)
        if format == "svg":
            # Whoever opens the file may not have our font; these are as wide or narrower.
            return buffer.getvalue().replace(b"font-family: 'DejaVu Sans'", FONT_STACK)
        return buffer.getvalue()

    def text(self, x: float, y: float, text: str, **options: Any) -> None:
        """``back`` puts the background colour behind the text, so that edges do not run through it."""
        back = options.pop("back", False)
        box = (
            {"boxstyle": "square,pad=0.12", "fc": self.theme.background, "ec": "none", "alpha": 0.82} if back else None
        )
        style: dict[str, Any] = {"color": self.theme.text, "fontsize": SIZE, "va": "center", "ha": "left"} | options
        self.axes.text(x, y, text, bbox=box, parse_math=False, **style)

    def lines(self, x: float, y: float, lines: Sequence[str], step: float, **options: Any) -> float:
        """Texts below each other; returns where the next would stand."""
        for i, line in enumerate(lines):
            self.text(x, y + step * i, line, **options)
        return y + step * len(lines)

    def line(self, points: Sequence[Point], **options: Any) -> None:
        style: dict[str, Any] = {"color": self.theme.text, "lw": 1, "solid_capstyle": "round"} | options
        self.axes.plot(*zip(*points, strict=True), **style)

    def rect(self, x: float, y: float, width: float, height: float, **options: Any) -> None:
        self.axes.add_patch(Rectangle((x, y), width, height, **{"lw": 0, "zorder": 1} | options))


# --- text -------------------------------------------------------------------------------------------------------------


def text_width(text: str, size: float = SIZE) -> float:
    """About how wide a text is in points; generous, and the same wherever it runs."""
    ems = 0.0
    for letter in text:
        if unicodedata.combining(letter) or unicodedata.category(letter) in ("Mn", "Me", "Cf"):
            continue
        wide = unicodedata.east_asian_width(letter) in ("W", "F") or ord(letter) > 0x1F000
        ems += 1.1 if wide else 0.36 if letter in "iljtfrI.,:;'|!()[] " else 0.95 if letter in "mwMW%@—…" else 0.64
    return ems * size


def _label_width(node: Node) -> float:
    """Points that a node's name and role need; names of roles are bold."""
    if node.role == "node":
        return text_width(node.label)
    return max(1.13 * text_width(node.label), text_width(node.role, SMALL))


def wrap(text: str, width: float, size: float = SIZE) -> list[str]:
    """Lines no wider than ``width`` points, broken at spaces."""
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and text_width(longer, size) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _head_height(title: str, answer: str, width: float) -> float:
    inner = width - 2 * MARGIN
    return 20 + 17 * len(wrap(title, inner, 13)) + 12 * len(wrap(answer, inner, 8.5))


def _head(page: _Page, title: str, answer: str) -> float:
    """Title and answer; returns where what follows may begin."""
    y = page.lines(MARGIN, 26, wrap(title, page.width - 2 * MARGIN, 13), 17, fontsize=13, fontweight="bold")
    lines = wrap(answer, page.width - 2 * MARGIN, 8.5)
    return page.lines(MARGIN, y, lines, 12, fontsize=8.5, color=page.theme.muted)


def _foot_height(caption: str, width: float) -> float:
    return 10 * len(wrap(caption, width - 2 * MARGIN, SMALL)) + 18


def _foot(page: _Page, caption: str) -> None:
    lines = wrap(caption, page.width - 2 * MARGIN, SMALL)
    page.lines(MARGIN, page.height - 10 * len(lines) - 6, lines, 10, fontsize=SMALL, color=page.theme.muted)


# --- the graph --------------------------------------------------------------------------------------------------------


def _graphs(values: list[Graph], theme: Theme) -> _Page:
    first = values[0]
    pitch, words = _pitch(first), first.words
    reach = max([_label_width(node) / 2 for node in first.nodes if node.x in (0, first.width)] + [RADIUS])
    side = max(reach, 30.0)
    if len(values) == 1:
        # A graph alone on its page may use the width that its heading and legend need anyway.
        pitch = max(pitch, min(100.0, (MIN_WIDTH - 2 * (side + MARGIN) - 14) / max(first.width, 1)))
    graph_width = first.width * pitch + 2 * side
    head_lines = [line for value in values for line in (value.heading, *value.subtitle)]
    panel_width = max(graph_width, *(text_width(line, 8) for line in head_lines), text_width(first.divider_label)) + 14
    heading_height = 22 + 11 * max(len(value.subtitle) for value in values)
    graph_height = first.height * PITCH_Y + 2 * RADIUS + 34
    panel_height = heading_height + 16 + graph_height
    across = _across(len(values), panel_width, panel_height)
    down = -(-len(values) // across)
    width = max(across * panel_width + (across - 1) * 10 + 2 * MARGIN, MIN_WIDTH)
    top = _head_height(words.title, words.answer, width)
    shows = {"bar", "path"} | {node.role for node in first.nodes}
    shows |= {"frontier" for value in values for node in value.nodes if node.frontier}
    legend = _Legend(first.scale, shows, width - 2 * MARGIN)
    height = top + legend.height + down * panel_height + (down - 1) * 14 + 12 + _foot_height(words.foot, width)
    alts = [f"{value.heading}: {value.subtitle[0]}." for value in values]
    page = _Page(width, height, theme, words.alt if len(values) == 1 else " ".join((words.title, *alts)))
    y = _head(page, words.title, words.answer) + 6
    legend.draw(page, MARGIN, y)
    y += legend.height + 6
    gap = (width - 2 * MARGIN - across * panel_width) / max(across - 1, 1)
    for i, value in enumerate(values):
        row, column = divmod(i, across)
        left = MARGIN + column * (panel_width + gap)
        _panel(page, value, left, y + row * (panel_height + 14), panel_width, heading_height, pitch, side)
    _foot(page, words.foot)
    return page


def _across(n: int, width: float, height: float) -> int:
    """Panels side by side so that the page comes nearest to 3 : 2, preferring full rows."""

    def badness(across: int) -> float:
        down = -(-n // across)
        shape = (across * width) / (down * height + 120)
        return abs(shape / 1.5 - 1) + 0.15 * (across * down - n) + (1.0 if across * width > 1700 and across > 1 else 0)

    return min(range(1, n + 1), key=badness)


def _pitch(value: Graph) -> float:
    """Points between columns so that no label meets a label or a node of the columns beside it."""
    pitch = MIN_PITCH_X
    for a in value.nodes:
        for b in value.nodes:
            gap = abs(a.x - b.x)
            if gap == 0:
                continue
            if abs(a.y - b.y) < 0.45:
                pitch = max(pitch, ((_label_width(a) + _label_width(b)) / 2 + 8) / gap)
            if 0.05 < a.y - b.y < 1.0:
                pitch = max(pitch, (_label_width(a) / 2 + RADIUS + 6) / gap)
    return pitch


def _panel(
    page: _Page, value: Graph, left: float, top: float, width: float, heading_height: float, pitch: float, side: float
) -> None:
    theme = page.theme
    page.text(left, top + 8, value.heading, fontsize=10, fontweight="bold")
    for i, line in enumerate(value.subtitle):
        page.text(left, top + 21 + 11 * i, line, fontsize=8, color=theme.text if i == 0 else theme.muted)
    top += heading_height
    origin_x = left + side + max(0.0, (width - 14 - 2 * side - value.width * pitch) / 2)
    origin_y = top + 16 + RADIUS + 6 + value.height * PITCH_Y

    def at(point: Point) -> Point:
        return origin_x + point[0] * pitch, origin_y - point[1] * PITCH_Y

    for x, label in value.columns:
        text = f"distance {label}" if label == "0" else label
        page.text(at((x, 0))[0], top + 6, text, fontsize=SMALL, color=theme.muted, ha="center")
    if value.divider is not None:
        y = at((0, value.divider))[1]
        page.line([(left, y), (left + width - 14, y)], color=theme.faint, lw=0.8, ls=(0, (3, 2)), zorder=0)
        page.text(left, y + 7, value.divider_label, fontsize=SMALL, color=theme.muted, zorder=5, back=True)
    for edge in sorted(value.edges, key=lambda edge: (edge.on_path, edge.reachable)):
        _edge(page, edge, at)
    for node in value.nodes:
        _node(page, node, value, *at((node.x, node.y)))


class _Bend(ConnectionStyle._Base):  # the documented base of own connections
    """A quadratic Bezier curve; its control point is off the middle by shares of the chord, along and across."""

    def __init__(self, a: Point, c: Point, b: Point) -> None:
        (dx, dy), (vx, vy) = (b[0] - a[0], b[1] - a[1]), (c[0] - (a[0] + b[0]) / 2, c[1] - (a[1] + b[1]) / 2)
        length = dx * dx + dy * dy
        self.along, self.across = (vx * dx + vy * dy) / length, (vx * dy - vy * dx) / length

    def connect(self, start: Point, end: Point) -> Path:
        dx, dy = end[0] - start[0], end[1] - start[1]  # in pixels, y upward
        x = (start[0] + end[0]) / 2 + self.along * dx - self.across * dy
        y = (start[1] + end[1]) / 2 + self.along * dy + self.across * dx
        return Path([start, (x, y), end], [Path.MOVETO, Path.CURVE3, Path.CURVE3])


def _edge(page: _Page, edge: Edge, at: Any) -> None:
    theme, a, b = page.theme, at(edge.start), at(edge.end)
    style = "-|>,head_length=.55,head_width=.23" if edge.on_path else "-|>,head_length=.45,head_width=.19"
    page.axes.add_patch(
        FancyArrowPatch(
            a, b, connectionstyle=_Bend(a, at(edge.control), b), arrowstyle=style, mutation_scale=10,
            shrinkA=RADIUS + 1.5, shrinkB=RADIUS + 2, color=theme.edge_of(edge), lw=1.7 if edge.on_path else 0.85,
            joinstyle="miter",
            zorder=2.2 if edge.on_path else 2.0 if edge.reachable else 1.8,
        )
    )  # fmt: skip


def _shape(role: Role, x: float, y: float, radius: float, **style: Any) -> Any:
    corners = SHAPE[role].corners
    if not corners:
        return Circle((x, y), radius * 0.95, **style)
    return Polygon([(x + radius * dx, y + radius * dy) for dx, dy in corners], joinstyle="round", **style)


def _node(page: _Page, node: Node, value: Graph, x: float, y: float) -> None:
    theme = page.theme
    fill = theme.colour(node.value, value.scale.low, value.scale.high)
    width = 1.0 if node.role == "node" else 1.3 if node.reachable else 1.1
    if node.frontier:
        page.axes.add_patch(_shape(node.role, x, y, RADIUS + 1.6, fc=theme.frontier, ec="none", zorder=3))
        shape = _shape(node.role, x, y, RADIUS - 0.9, fc=fill, ec="none", zorder=3.1)
    else:
        shape = _shape(node.role, x, y, RADIUS, fc=fill, ec=theme.outline_of(node), lw=width, zorder=3)
    shape.set_gid(f"node-{value.state}-{node.id}")
    page.axes.add_patch(shape)
    text = printed(node.value, value.scale)
    if text:
        page.text(x, y + 0.3, text, fontsize=SMALL, color=theme.ink(fill), ha="center", zorder=4)
    if node.badge:
        colour = theme.badge_of(node)
        page.axes.add_patch(Circle((x - RADIUS, y - RADIUS), 5.2, fc=colour, ec=theme.background, lw=0.8, zorder=6))
        style = {"fontsize": 9, "fontweight": "bold", "color": theme.ink(colour), "ha": "center", "zorder": 7}
        page.text(x - RADIUS, y - RADIUS + 0.3, node.badge, **style)
    ink = theme.text if node.reachable else theme.muted
    weight = "bold" if node.role != "node" else "normal"
    below = y + RADIUS + (9.5 if node.role == "other candidate" else 7.5)
    page.text(x, below, node.label, color=ink, ha="center", zorder=4, fontweight=weight, back=True)
    if node.role != "node":
        page.text(x, below + 8.5, node.role, fontsize=SMALL, color=theme.muted, ha="center", zorder=4, back=True)


class _Legend:
    """What shapes, outlines and colours mean, in wrapped lines."""

    def __init__(self, scale: Scale, shows: set[str], width: float) -> None:
        self.scale, self.places = scale, list[tuple[str, str, float, float]]()
        x = y = 0.0
        for kind, label, room in (
            ("bar", scale.label, 111.0), ("frontier", "true frontier: nodes at distance t", 26), ("root", "root", 26),
            ("target", "target", 26), ("other candidate", "other candidate", 26),
            ("path", "shortest path to the target", 26),
        ):  # fmt: skip
            if kind in shows:
                needed = room + text_width(label)
                if x and x + needed > width:
                    x, y = 0.0, y + 22
                self.places.append((kind, label, x, y))
                x += needed + LEGEND_GAP
        self.height = y + 30

    def draw(self, page: _Page, left: float, top: float) -> None:
        theme = page.theme
        for kind, label, dx, dy in self.places:
            x, y = left + dx, top + dy + 8
            if kind == "bar":
                _colour_bar(page, self.scale, x, y - 4, 96, 8)
            elif kind == "path":
                style: Any = {"arrowstyle": "-|>,head_length=.6,head_width=.26", "mutation_scale": 10, "lw": 1.7}
                page.axes.add_patch(
                    FancyArrowPatch((x, y), (x + 18, y), shrinkA=0, shrinkB=0, color=theme.path, **style)
                )
            else:
                edge: Any = {"ec": theme.frontier, "lw": 2.2} if kind == "frontier" else {"ec": theme.text, "lw": 1.2}
                role: Role = "node" if kind == "frontier" else kind  # type: ignore[assignment]
                page.axes.add_patch(_shape(role, x + 8, y, 6.5, fc=theme.background, zorder=3, **edge))
            page.text(x + (104 if kind == "bar" else 21), y, label)


def _colour_bar(page: _Page, scale: Scale, x: float, y: float, width: float, height: float) -> None:
    n = 48
    for i in range(n):
        value = scale.low + (scale.high - scale.low) * (i + 0.5) / n
        colour = page.theme.colour(value, scale.low, scale.high)
        page.rect(x + width * i / n, y, width / n + 0.3 * (i < n - 1), height, fc=colour)
    page.rect(x, y, width, height, fc="none", ec=page.theme.outline, lw=0.6, zorder=2)
    ticks = [scale.low, scale.high] + ([0.0] if scale.low < 0 < scale.high else [])
    for value in ticks:
        at = x + width * (value - scale.low) / (scale.high - scale.low)
        page.text(at, y + height + 6, f"{value:.2g}", fontsize=SMALL, color=page.theme.muted, ha="center")


# --- the heatmap ------------------------------------------------------------------------------------------------------


def _heatmap(value: Heatmap, theme: Theme) -> _Page:
    """Nodes down, thoughts across; below, where each state's probability is."""
    columns, rows, scale = value.columns, value.rows, value.scale
    stacked = bool(columns[0].parts)
    cell_width, cell_height = 47.0, 17.5
    spans = max(text_width(label, SMALL) for label, *_ in value.spans) + 10
    names = max(text_width(_row_label(row)) * 1.08 for row in rows) + 10
    left = MARGIN + spans + names
    right = left + cell_width * len(columns)
    legend = 205.0 if stacked else 0.0
    width = max(right + legend + MARGIN, MIN_WIDTH)
    bars = 120.0 if stacked else 0.0
    top = _head_height(value.words.title, value.words.answer, width) + 62
    height = top + cell_height * len(rows) + (bars + 34 if stacked else 8) + _foot_height(value.words.caption, width)
    page = _Page(width, height, theme, value.words.alt)
    y = _head(page, value.words.title, value.words.answer) + 8
    _colour_bar(page, scale, MARGIN, y, 96, 8)
    page.text(MARGIN + 104, y + 4, scale.label)
    x = MARGIN + 104 + text_width(scale.label) + 24
    page.rect(x, y - 1.5, 15, 11, fc="none", ec=theme.frontier, lw=1.8, zorder=3)
    page.text(x + 21, y + 4, "true frontier: nodes at distance t")

    page.text(left - 6, top - 14, "thought", color=theme.muted, ha="right")
    for j, column in enumerate(columns):
        x = left + (j + 0.5) * cell_width
        page.text(x, top - 14, column.label, fontsize=9, ha="center", fontweight="bold")
        page.text(x, top - 4.5, column.short, fontsize=SMALL, ha="center", color=theme.muted, style="italic")
    for i, row in enumerate(rows):
        y = top + i * cell_height
        ink = theme.muted if row.role == "marker" or not row.reachable else theme.text
        look = {"style": "italic"} if row.role == "marker" else {"fontweight": "bold"} if row.role in ROLE_WORDS else {}
        page.text(left - 6, y + cell_height / 2, _row_label(row), ha="right", color=ink, **look)
        for j, cell in enumerate(value.cells[i]):
            x = left + j * cell_width
            if cell.frontier:
                inside = (x + 0.9, y + 0.9, cell_width - 1.8, cell_height - 1.8)
                page.rect(*inside, fc="none", ec=theme.frontier, lw=1.8, zorder=3)
            if cell.found is None:
                continue
            fill = theme.cell(row, cell.found.value, scale)
            page.rect(x, y, cell_width, cell_height, fc=fill, ec=theme.faint, lw=0.5)
            _in_cell(page, cell, row, scale, x, y + cell_height / 2, cell_width, theme.ink(fill))
    for label, start, stop in value.spans:
        y = top + start * cell_height
        page.text(MARGIN, y + (stop - start) * cell_height / 2, label, fontsize=SMALL, color=theme.muted)
        if start:
            page.line([(MARGIN, y), (right, y)], color=theme.muted, lw=0.7, zorder=2)
    page.text(MARGIN, top - 14, "distance", fontsize=SMALL, color=theme.muted)
    if stacked:
        _stacks(page, value, left, top + cell_height * len(rows) + 22, cell_width, bars)
    _foot(page, value.words.caption)
    return page


def _row_label(row: HeatRow) -> str:
    return row.label + (f" ({ROLE_WORDS[row.role]})" if row.role in ROLE_WORDS else "")


def _in_cell(
    page: _Page, cell: HeatCell, row: HeatRow, scale: Scale, x: float, y: float, width: float, ink: str
) -> None:
    """A value, and half its interval beside it where it has one."""
    assert cell.found is not None
    text, found = printed_cell(row, cell, scale), cell.found
    if not text:
        return None
    style = {"fontsize": SMALL, "color": ink, "zorder": 5}
    if found.low is None or found.high is None:
        return page.text(x + width / 2, y, text, ha="center", **style)
    half = (found.high - found.low) / 2
    interval = "±<.01" if 0 < half < 0.005 else f"±{short_number(half)}"
    start = x + (width - 0.85 * text_width(f"{text}{interval}", SMALL) - 3) / 2
    page.text(start, y, text, **style)
    return page.text(start + 0.85 * text_width(text, SMALL) + 3, y, interval, **style)


def _spot(source: str, theme: Theme) -> dict[str, Any]:
    """The mark of a control on a bar."""
    marker = MARKERS[SOURCE[source][0]].static
    return {"color": theme.background, "marker": marker, "ms": 5, "mec": theme.text, "mew": 0.9, "lw": 0}


def _stacks(page: _Page, value: Heatmap, left: float, top: float, width: float, height: float) -> None:
    """A stack under each column: where the probability is, the frontier first, with its interval and its controls."""
    theme, columns = page.theme, value.columns
    base = top + height
    for share in (0, 0.5, 1):
        y = base - height * share
        page.text(left - 6, y, f"{share:g}", fontsize=SMALL, color=theme.muted, ha="right")
        page.line([(left, y), (left + width * len(columns), y)], color=theme.faint, lw=0.6, zorder=0)
    page.text(MARGIN, top + height / 2, "where the probability is", fontsize=SMALL, color=theme.muted)
    for j, column in enumerate(columns):
        x, y, across = left + j * width + 5, base, width - 10
        for part, share in column.parts:
            fill = theme.parts[part]
            page.rect(x, y - height * share, across, height * share, fc=fill, ec=theme.background, lw=0.4)
            text = printed_share(share)
            if text:
                at = y - height * share / 2
                page.text(x + across / 2, at, text, fontsize=SMALL, color=theme.ink(fill), ha="center", zorder=4)
            y -= height * share
        for source, found in column.frontier:
            if source != "model":
                page.line([(x + across - 3, base - height * found.value)], zorder=5, **_spot(source, theme))
            elif found.low is not None and found.high is not None:
                ends = [base - height * min(max(v, 0.0), 1.0) for v in (found.low, found.high)]
                _whisker(page, x + 4, ends[0], ends[1], theme.text)
    x, y = left + width * len(columns) + 14, top + 2
    for part, _ in columns[0].parts:
        page.rect(x, y - 4, 9, 8, fc=theme.parts[part])
        page.text(x + 14, y, part)
        y += 13
    sources = [source for source, _ in columns[0].frontier]
    for source in sources:
        if source != "model":
            page.line([(x + 4.5, y)], **_spot(source, theme))
            page.text(x + 14, y, f"frontier, {source}{'' if source == 'untrained' else ' labels'}", fontsize=SMALL)
        elif value.n > 1:
            _whisker(page, x + 4.5, y - 4, y + 4, theme.text)
            page.text(x + 14, y, "frontier, 95 % interval", fontsize=SMALL)
        y += 12


def _whisker(page: _Page, x: float, one: float, other: float, colour: str) -> None:
    page.line([(x, one), (x, other)], color=colour, lw=1.1, zorder=5)
    for end in (one, other):
        page.line([(x - 2, end), (x + 2, end)], color=colour, lw=1.1, zorder=5)


# --- charts -----------------------------------------------------------------------------------------------------------


def _charts(charts: Sequence[Chart], theme: Theme) -> _Page:
    """Charts side by side, at most three to a row; one legend where they all show the same."""
    first, n = charts[0], len(charts)
    about = first.words or Words(title=first.title if n == 1 else "")
    across = n if n <= 3 else 2 if n == 4 else 3
    down = -(-n // across)
    wide = n == 1 and first.kind in ("tree", "stacked", "bars", "ranked", "strip", "heatmap")
    plot_width = {1: 470.0 if wide else 340.0, 2: 300.0}.get(across, 215.0)
    marks = [marks_of(chart.series, theme) for chart in charts]
    names = [[name for series in chart.series if (name := _legend_name(series))] for chart in charts]
    shared = n > 1 and all(set(own) <= set(names[0]) for own in names)
    gutter = 20 + max(_y_room(chart) for chart in charts)
    beside = 34 + max(map(text_width, names[0])) if n == 1 and _has_legend(first) else 0.0
    cell_width = gutter + plot_width + 16
    width = max(2 * MARGIN + across * cell_width + beside, 340.0 if n == 1 else MIN_WIDTH)
    plot_heights = [_plot_height(chart) if n == 1 else 165.0 for chart in charts]
    titles = [
        wrap(chart.title, (cell_width + beside - 10) / 1.15, 9) if n > 1 or first.words else [] for chart in charts
    ]
    notes = [
        wrap(chart.note, cell_width - 10 if n > 1 else width - 2 * MARGIN, SMALL) if chart.note else []
        for chart in charts
    ]
    title_room = 13 * max(map(len, titles)) + 10 * max(map(len, notes)) + 12
    cell_height = title_room + max(plot_heights) + 38 + (_under(charts) if n > 1 and not shared else 0)
    head = _head_height(about.title, about.answer, width) + 6
    legend_height = 18.0 * (1 + int(_legend_width(names[0]) // (width - 2 * MARGIN))) if shared else 0.0
    foot = about.foot or (first.note if n == 1 else "")
    height = head + legend_height + down * cell_height + _foot_height(foot, width)
    page = _Page(width, height, theme, about.alt or about.title)
    y = _head(page, about.title, about.answer)
    if shared:
        _legend_line(page, names[0], marks[0], y + 8)
        y += legend_height
    for i, chart in enumerate(charts):
        row, column = divmod(i, across)
        left, above = MARGIN + column * cell_width, y + row * cell_height
        below = page.lines(left, above + 8, titles[i], 13, fontsize=9, fontweight="bold")
        page.lines(left, below - 1, notes[i], 10, fontsize=SMALL, color=theme.muted)
        axes = page.axes_at(left + gutter, y + row * cell_height + title_room, plot_width, plot_heights[i])
        DRAW[chart.kind](chart, marks[i], axes, theme)
        _dress(chart, axes, theme)
        if not shared and _has_legend(chart):
            place = {"bbox_to_anchor": (1.01, 1.02)} if n == 1 else {"bbox_to_anchor": (-0.02, -0.19), "ncols": 2}
            _legend(axes, theme, loc="upper left", **place)
    _foot(page, foot)
    return page


def _legend_name(series: Series) -> str:
    """ "" for the broken twin of a tinted line, which the title explains."""
    known = [n for n in series.n or () if n]
    name = f"{series.name} (n = {max(known):,})" if known else series.name
    return "" if series.control and series.tint is not None else name


def _has_legend(chart: Chart) -> bool:
    return 1 < len(chart.series) <= MANY and chart.kind not in ("heatmap", "strip")


def _under(charts: Sequence[Chart]) -> float:
    """Points that a legend of its own below each chart needs."""
    rows = [-(-sum(map(bool, map(_legend_name, chart.series))) // 2) for chart in charts]
    return 12.0 * max(rows) if any(map(_has_legend, charts)) else 0.0


def _y_room(chart: Chart) -> float:
    """Points left of the plot: for its numbers, or the names of its rows."""
    if chart.flat:
        return max(text_width(display_name(name, 60)) for name in chart.names())
    if chart.kind == "heatmap":
        return max(text_width(series.name) for series in chart.series)
    return 0.0 if chart.kind == "tree" else 30.0


def _plot_height(chart: Chart) -> float:
    if chart.flat:
        return 18.0 * len(chart.names()) + 10
    if chart.kind == "heatmap":
        return 24.0 * len(chart.series) + 10
    if chart.kind == "tree":
        return max(210.0, 40.0 * (2 * max(y for _, y in chart.tree().values()) + 1))
    return 205.0


def _legend_width(names: Sequence[str]) -> float:
    return sum(28 + text_width(name) + 22 for name in names)


def _legend_line(page: _Page, names: Sequence[str], marks: Sequence[Mark], y: float) -> None:
    x = MARGIN
    for name, mark in zip(names, marks, strict=True):
        needed = 28 + text_width(name) + 22
        if x > MARGIN and x + needed > page.width - MARGIN:
            x, y = MARGIN, y + 18
        page.line([(x, y), (x + 22, y)], color=mark.colour, lw=1.5, ls=mark.dash.static)
        if mark.marker.static:
            page.line([(x + 11, y)], color=mark.colour, marker=mark.marker.static, ms=5, lw=0)
        page.text(x + 28, y, name)
        x += needed


def _legend(axes: Axes, theme: Theme, **where: Any) -> None:
    legend = axes.legend(fontsize=SIZE, frameon=False, labelcolor=theme.text, borderaxespad=0.2, **where)
    for handle in legend.legend_handles:
        if handle is not None and hasattr(handle, "set_sizes"):
            handle.set_sizes([40])


def _dress(chart: Chart, axes: Axes, theme: Theme) -> None:
    """Labels, grid, references and the range of the axes."""
    flat = chart.flat
    axes.set_xlabel(chart.y_label if flat else chart.x_label, color=theme.muted)
    if not flat and chart.kind != "tree":
        axes.set_ylabel(chart.y_label, color=theme.muted)
    axes.tick_params(colors=theme.muted, labelsize=SMALL, length=2)
    for side, spine in axes.spines.items():
        spine.set_visible(side == ("left" if flat else "bottom") and chart.kind != "heatmap")
        spine.set_color(theme.faint)
    if chart.kind in ("heatmap", "tree"):
        return
    if chart.y_range is not None:
        low, high = chart.y_range
        ends = (low - 0.02 * (high - low), high + 0.02 * (high - low))
        axes.set_xlim(*ends) if flat else axes.set_ylim(*ends)
    if chart.x_range is not None:
        axes.set_xlim(*chart.x_range)
    axes.grid(axis="x" if flat else "y", color=theme.faint, linewidth=0.7)
    axes.set_axisbelow(True)
    for i, line in enumerate(chart.stages):
        assert line.to is not None
        axes.axvspan(line.at, line.to, color=theme.muted, alpha=0.09 * (i % 2), lw=0)
        if len(chart.stages) <= 10:
            top: dict[str, Any] = {"transform": axes.get_xaxis_transform(), "ha": "center", "va": "bottom"}
            axes.text((line.at + line.to) / 2, 1, line.label, **top, fontsize=SMALL, color=theme.muted)
    for line in chart.references:
        across = (line.axis == "x") == (not flat)
        draw = axes.axvline if across else axes.axhline
        if line.kind in ("level", "frontier"):
            colour, dash = theme.line_of(line)
            draw(line.at, color=colour, lw=1.1, ls=dash.static, zorder=1)
            if line.label:
                edge = axes.get_xaxis_transform() if across else axes.get_yaxis_transform()
                spot = (line.at, 1.0) if across else (1.0, line.at)
                axes.text(*spot, line.label, transform=edge, fontsize=SMALL, color=theme.named(line.group or "muted"),
                          ha="center" if across else "right", va="bottom")  # fmt: skip


def _lines(chart: Chart, marks: Sequence[Mark], axes: Axes, theme: Theme) -> None:
    many = len(chart.series) > MANY
    drawn = [series for series in chart.series if not series.shade]
    for series, mark in zip(chart.series, marks, strict=True):
        x = np.array(chart.across(series))
        y = _numbers(series.y)
        if many:
            axes.plot(x, y, color=theme.sources["model"], alpha=0.3, linewidth=0.8)
            continue
        if not series.shade and len(drawn) > 1:  # side by side, so that intervals are not hidden behind each other
            x = x + (drawn.index(series) - (len(drawn) - 1) / 2) * 0.12
        (line,) = axes.plot(
            x, y, color=mark.colour, linestyle=mark.dash.static, linewidth=1.5 * mark.width,
            label=_legend_name(series) or "_", marker=mark.marker.static if len(x) <= MANY else "", markersize=4,
            zorder=2 if series.faint else 3,
        )  # fmt: skip
        line.set_gid(f"{chart.name}-{series.source or series.name}")
        if series.low is not None and series.high is not None:
            low, high = _numbers(series.low), _numbers(series.high)
            if chart.y_range is not None:
                low, high = np.clip(low, *chart.y_range), np.clip(high, *chart.y_range)
            if series.shade:
                axes.fill_between(x, low, high, color=mark.colour, alpha=0.16, linewidth=0)
            else:
                axes.errorbar(x, y, [y - low, high - y], fmt="none", ecolor=mark.colour, elinewidth=1.1, capsize=2)
    if chart.categories:
        axes.set_xticks(range(len(chart.categories)), chart.categories)
        axes.set_xlim(-0.5, len(chart.categories) - 0.5)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))


def _stacked(chart: Chart, marks: Sequence[Mark], axes: Axes, theme: Theme) -> None:
    labels = [str(label) for label in chart.series[0].x]
    floor = np.zeros(len(labels))
    for i, (series, mark) in enumerate(zip(chart.series, marks, strict=True)):
        y = np.nan_to_num(_numbers(series.y))
        axes.bar(
            labels, y, bottom=floor, color=mark.colour, label=series.name, hatch=HATCHES[i % len(HATCHES)],
            edgecolor=theme.background, linewidth=0.6,
        )  # fmt: skip
        for place, (base, part) in enumerate(zip(floor, y, strict=True)):
            axes.text(place, base + part / 2, printed_share(part), ha="center", va="center", fontsize=SMALL,
                      color=theme.ink(mark.colour))  # fmt: skip
        floor = floor + y


def _bars(chart: Chart, marks: Sequence[Mark], axes: Axes, theme: Theme) -> None:
    labels = list(chart.names())
    width = 0.8 / max(1, len(chart.series))
    for i, (series, mark) in enumerate(zip(chart.series, marks, strict=True)):
        place = np.array(chart.across(series)) + (i - (len(chart.series) - 1) / 2) * width
        y = _numbers(series.y)
        errors = _errors(series)
        axes.bar(
            place, y, width * 0.92, yerr=errors, color=mark.colour, label=series.name, capsize=2, ecolor=theme.text
        )
        for at, label in zip(place, series.labels or (), strict=False):
            axes.annotate(
                label, (at, 0), (0, 3), textcoords="offset points", rotation=90, ha="center", va="bottom",
                fontsize=SMALL, color=theme.text,
                bbox={"facecolor": theme.background, "edgecolor": "none", "pad": 0.6, "alpha": 0.8},
            )  # fmt: skip
    axes.set_xticks(range(len(labels)), labels)
    axes.axhline(0, color=theme.text, linewidth=0.6)


def _histogram(chart: Chart, marks: Sequence[Mark], axes: Axes, theme: Theme) -> None:
    for series, mark in zip(chart.series, marks, strict=True):
        left = np.array(series.x, float)
        edges, y = [*left, left[-1] + (left[1] - left[0] if len(left) > 1 else 1.0)], _numbers(series.y)
        axes.stairs(y, edges, color=mark.colour, linestyle=mark.dash.static, label=series.name)
        axes.stairs(y, edges, color=mark.colour, alpha=0.18, fill=True)


def _points(chart: Chart, marks: Sequence[Mark], axes: Axes, theme: Theme) -> None:
    for series, mark in zip(chart.series, marks, strict=True):
        axes.scatter(np.array(series.x, float), _numbers(series.y), s=9, color=mark.colour,
                     marker=mark.marker.static or "o", alpha=0.6, linewidths=0, label=series.name)  # fmt: skip


def _grid(chart: Chart, marks: Sequence[Mark], axes: Axes, theme: Theme) -> None:
    grid = np.array([_numbers(series.y) for series in chart.series])
    low, high = chart.span()
    scale = LinearSegmentedColormap.from_list("values", theme.stops(low, high, 129))
    axes.imshow(np.ma.masked_invalid(grid), vmin=low, vmax=high, cmap=scale, aspect="auto", interpolation="none")
    axes.set_xticks(range(grid.shape[1]), [str(x) for x in chart.series[0].x])
    axes.set_yticks(range(grid.shape[0]), [series.name for series in chart.series])
    for (i, j), value in np.ndenumerate(grid):
        known = bool(np.isfinite(value))
        ink = theme.ink(theme.colour(value, low, high)) if known else theme.text
        axes.text(j, i, f"{value:.2f}" if known else "–", ha="center", va="center", fontsize=SMALL, color=ink)


def _ranked(chart: Chart, marks: Sequence[Mark], axes: Axes, theme: Theme) -> None:
    names = chart.names()
    for series, mark in zip(chart.series, marks, strict=True):
        rows, y = chart.across(series), _numbers(series.y)
        axes.barh(rows, y, 0.66, color=mark.colour, label=series.name)
        for row, value, label in zip(rows, y, series.labels or [f"{v:.3f}" for v in y], strict=True):
            axes.annotate(label, (value, row), (4, 0), textcoords="offset points", va="center", fontsize=SMALL,
                          color=theme.muted)  # fmt: skip
    axes.set_yticks(range(len(names)), [display_name(name, 60) for name in names])
    axes.invert_yaxis()


def _strip(chart: Chart, marks: Sequence[Mark], axes: Axes, theme: Theme) -> None:
    """A row a category; several series of one row side by side."""
    names = list(chart.names())
    strong = [series for series in chart.series if not series.faint]
    for series, mark in zip(chart.series, marks, strict=True):
        rows, y = chart.beside(series), _numbers(series.y)
        if series.faint:
            axes.plot(y, rows, ls="", marker="o", ms=3.5, color=mark.colour, alpha=0.6, mew=0, zorder=2)
            continue
        errors = _errors(series)
        axes.errorbar(y, rows, xerr=errors, ls="", marker=mark.marker.static or "o", ms=4.5, color=mark.colour,
                      elinewidth=1.1, label=_legend_name(series), zorder=3)  # fmt: skip
        for row, label in zip(rows, series.labels or (), strict=False):
            axes.annotate(label, (1, row), (6, 0), xycoords=axes.get_yaxis_transform(), textcoords="offset points",
                          va="center", fontsize=SMALL, color=theme.text)  # fmt: skip
    axes.set_yticks(range(len(names)), [display_name(name, 60) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    if len({series.name for series in strong}) < len(names):  # series that are no rows of their own need names
        _legend(axes, theme, loc="lower left", bbox_to_anchor=(0, 1.02), ncols=3)


def _tree(chart: Chart, marks: Sequence[Mark], axes: Axes, theme: Theme) -> None:
    place = chart.tree()
    for source, target in chart.edges:
        if source in place and target in place:
            arrow = {"arrowstyle": "-|>", "color": theme.edge, "shrinkA": 9, "shrinkB": 9, "linewidth": 0.8}
            axes.annotate("", place[target], place[source], arrowprops=arrow)
    box = {"facecolor": theme.background, "edgecolor": "none", "pad": 0.5, "alpha": 0.7}
    for series, mark in zip(chart.series, marks, strict=True):
        spots = [place[label.split(" ")[0]] for label in series.labels or ()]
        if not spots:
            continue
        axes.scatter(
            [x for x, _ in spots], [y for _, y in spots], s=40 + 500 * np.nan_to_num(_numbers(series.y)),
            color=mark.colour, label=series.name, marker=mark.marker.static or "o",
            edgecolors=theme.text, linewidths=0.8, zorder=3, alpha=0.9,
        )  # fmt: skip
        for spot, label in zip(spots, series.labels or (), strict=True):
            axes.annotate(label, spot, (0, -13), textcoords="offset points", ha="center", va="top", fontsize=SIZE,
                          zorder=4, color=theme.text, bbox=box)  # fmt: skip
    axes.set_yticks([])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.margins(0.12)


DRAW = {
    "lines": _lines, "stacked": _stacked, "bars": _bars, "histogram": _histogram, "points": _points,
    "heatmap": _grid, "tree": _tree, "ranked": _ranked, "strip": _strip,
}  # fmt: skip


def _errors(series: Series) -> Floats | None:
    """How far the interval reaches below and above each value."""
    if series.low is None or series.high is None:
        return None
    y = _numbers(series.y)
    return np.nan_to_num(np.clip([y - _numbers(series.low), _numbers(series.high) - y], 0, None))


def _numbers(values: Sequence[float | None]) -> Floats:
    return np.array([np.nan if value is None else value for value in values], dtype=float)
