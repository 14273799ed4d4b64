"""Pictures as SVG, PNG and PDF: vector graphics with real text, drawn by matplotlib without a browser or pyplot.

Every page is laid out in points (1/72 inch) on one set of axes as large as the page, so sizes and gaps are exact;
charts get axes of their own on it. A page grows downward as it is written, and is cut where it ends.
Names are drawn as they are: no markup, no mathematics. A letter that no font at hand has becomes an empty box in PNG
and PDF and stays itself in SVG.
"""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure as Canvas
from matplotlib.patches import Circle, ConnectionStyle, FancyArrowPatch, Polygon, Rectangle
from matplotlib.path import Path
from matplotlib.ticker import MaxNLocator

from model.stats import Floats
from probing.draw.layout import Point, box_of
from probing.draw.marks import (
    FRONTIER_WORDS,
    LIGHT,
    MANY_STAGES,
    MARKERS,
    PATH_WORDS,
    ROLE_WORDS,
    ROLES,
    SHAPE,
    SIZE,
    SOURCE,
    STACK_SHIFT,
    Mark,
    Theme,
    legend,
    marks_of,
    printed,
    printed_cell,
    printed_points,
    text_width,
    wrap,
)
from probing.draw.values import (
    Chart,
    Edge,
    Figure,
    Graph,
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
Key = tuple[str, dict[str, Any]]
"""An entry of a legend: what it says, and the style of a line (``ls``, ``marker``) or of a box (``fc``)."""
Box = tuple[float, float, float, float]
"""x, y, width, height in points."""
DPI = 200
FONT_STACK = b"font-family: 'DejaVu Sans', Verdana, 'Segoe UI', 'Noto Sans', Arial, sans-serif"
SMALL = 7.0
"""Points; nothing is smaller."""
RADIUS = 10.5
PITCH_Y = 43.0
MIN_PITCH_X = 54.0
MARGIN = 24.0
MIN_WIDTH = 500.0
WHISKER = [(-0.3, 1), (0.3, 1), (0, 1), (0, -1), (-0.3, -1), (0.3, -1), (0, -1), (0, 1)]
"""The mark of an interval in a legend."""

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
    """A page measured in points, with its origin at the top left: y grows downward.

    ``y`` is how far it is written; ``save`` cuts it there.
    """

    def __init__(self, width: float, words: Words, theme: Theme, alt: str = "") -> None:
        self.width, self.words, self.theme, self.alt = width, words, theme, alt or words.alt or words.title
        self.figure = Canvas(facecolor=theme.background)
        self.axes: Axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.axis("off")
        self.charts: list[tuple[Axes, Box]] = []
        inner = width - 2 * MARGIN
        y = self.lines(MARGIN, 26, wrap(words.title, inner, 13), 17, fontsize=13, fontweight="bold")
        self.y = 6 + self.lines(MARGIN, y, wrap(words.answer, inner, 8.5), 12, fontsize=8.5, color=theme.muted)

    def axes_at(self, x: float, y: float, width: float, height: float) -> Axes:
        """Axes of a chart, measured in points from the top left."""
        axes: Axes = self.figure.add_axes((0, 0, 1, 1), label=str(len(self.charts)), facecolor="none")
        self.charts.append((axes, (x, y, width, height)))
        return axes

    def save(self, format: StaticFormat) -> bytes:
        caption = wrap(self.words.foot, self.width - 2 * MARGIN, SMALL)
        width, height = self.width, self.lines(MARGIN, self.y + 12, caption, 10, fontsize=SMALL, color=self.theme.muted)
        height += 6
        self.figure.set_size_inches(width / 72, height / 72)
        self.axes.set(xlim=(0, width), ylim=(height, 0))
        for axes, (x, y, across, down) in self.charts:
            axes.set_position((x / width, 1 - (y + down) / height, across / width, down / height))
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

    def text(self, x: float, y: float, text: str, back: bool = False, **options: Any) -> None:
        """``back`` puts the background colour behind the text, so that edges do not run through it."""
        box = {"boxstyle": "square,pad=0.12", "fc": self.theme.background, "ec": "none", "alpha": 0.82}
        style: dict[str, Any] = {"color": self.theme.text, "fontsize": SIZE, "va": "center", "ha": "left"} | options
        self.axes.text(x, y, text, bbox=box if back else None, parse_math=False, **style)

    def lines(self, x: float, y: float, lines: Sequence[str], step: float, **options: Any) -> float:
        """Texts below each other; returns where the next would stand."""
        for i, line in enumerate(lines):
            self.text(x, y + step * i, line, **options)
        return y + step * len(lines)

    def line(self, points: Sequence[Point], **options: Any) -> None:
        style: dict[str, Any] = {"color": self.theme.text, "lw": 1, "solid_capstyle": "round"} | options
        self.axes.plot(*zip(*points, strict=True), **style)

    def boxes(self, boxes: Sequence[Box], **options: Any) -> None:
        """Rectangles (x, y, width, height) as one artist, which is much faster than one each."""
        corners = [[(x, y), (x + w, y), (x + w, y + h), (x, y + h)] for x, y, w, h in boxes]
        style: dict[str, Any] = {"lw": 0, "zorder": 1} | options
        self.axes.add_collection(PolyCollection(corners, **style), autolim=False)

    def keys(
        self, keys: Sequence[Key], x: float, y: float, width: float, *, step: float = 17, start: float = 0
    ) -> float:
        """A legend in lines no wider than ``width``, the first from ``start``; returns where what follows may begin."""
        at = max(x, start)
        for label, style in keys:
            needed = 28 + text_width(label)
            if at > x and at + needed > x + width:
                at, y = x, y + step
            if "fc" in style:
                self.boxes([(at + 6, y - 4.5, 13, 9)], **style)
            else:
                self.line([(at, y), (at + 11, y), (at + 22, y)], **{"markevery": [1]} | style)
            self.text(at + 28, y, label)
            at += needed + 16
        return y + step

    def scale(self, scale: Scale, y: float) -> float:
        """A colour bar with its label; returns where what stands to the right of it may begin."""
        x, width, height, n = MARGIN, 96, 8, 48
        values = [scale.low + (scale.high - scale.low) * (i + 0.5) / n for i in range(n)]
        colours = [self.theme.colour(value, scale.low, scale.high) for value in values]
        self.boxes([(x + width * i / n, y, width / n + 0.3 * (i < n - 1), height) for i in range(n)], fc=colours)
        self.boxes([(x, y, width, height)], fc="none", ec=self.theme.outline, lw=0.6, zorder=2)
        for value in {scale.low: 0, scale.high: 0} | ({0.0: 0} if scale.low < 0 < scale.high else {}):
            at = x + width * (value - scale.low) / (scale.high - scale.low)
            self.text(at, y + height + 6, f"{value:.2g}", fontsize=SMALL, color=self.theme.muted, ha="center")
        self.text(x + 104, y + 4, scale.label)
        return x + 120 + text_width(scale.label)


# --- text -------------------------------------------------------------------------------------------------------------


def _label_width(node: Node) -> float:
    """Points that a node's name and role need; names of roles are bold."""
    if node.role == "node":
        return text_width(node.label)
    return max(1.13 * text_width(node.label), text_width(ROLE_WORDS[node.role], SMALL))


# --- the graph --------------------------------------------------------------------------------------------------------


def _graphs(values: list[Graph], theme: Theme) -> _Page:
    first = values[0]
    pitch, words = _pitch(first), first.words
    reach = max([_label_width(node) / 2 for node in first.nodes if node.x in (0, first.width)] + [RADIUS])
    side = max(reach, 30.0)
    if len(values) == 1:
        # A graph alone on its page may use the width that its heading and legend need anyway.
        pitch = max(pitch, min(100.0, (MIN_WIDTH - 2 * (side + MARGIN) - 14) / max(first.width, 1)))
    # Curves may lead beyond the outermost nodes.
    x0, x1, y0, y1 = box_of(first.curves, (0.0, first.width, 0.0, first.height))
    side = max(side, 4 - pitch * x0, 4 + pitch * (x1 - first.width))
    above, below = max(PITCH_Y * (y1 - first.height) - 18, 0.0), max(-PITCH_Y * y0 - 32, 0.0)
    graph_width = first.width * pitch + 2 * side
    head_lines = [line for value in values for line in (value.heading, *value.subtitle)]
    panel_width = max(graph_width, *(text_width(line, 8) for line in head_lines), text_width(first.divider_label)) + 14
    heading_height = 22 + 11 * max(len(value.subtitle) for value in values)
    panel_height = heading_height + first.height * PITCH_Y + 2 * RADIUS + 50 + above + below
    across = _across(len(values), panel_width, panel_height)
    width = max(across * panel_width + (across - 1) * 10 + 2 * MARGIN, MIN_WIDTH)
    alts = [f"{value.heading}: {value.subtitle[0]}." for value in values]
    page = _Page(width, words, theme, "" if len(values) == 1 else " ".join((words.title, *alts)))
    x, y = page.scale(first.scale, page.y + 4), page.y + 8
    top = page.keys(_graph_keys(values, theme), MARGIN, y, width - 2 * MARGIN, step=22, start=x) + 8
    gap = (width - 2 * MARGIN - across * panel_width) / max(across - 1, 1)
    for start in range(0, len(values), across):
        for i, value in enumerate(values[start : start + across]):
            _panel(page, value, MARGIN + i * (panel_width + gap), top, panel_width, heading_height, above, pitch, side)
        top += panel_height + 14
    page.y = top - 14
    return page


def _graph_keys(values: Sequence[Graph], theme: Theme) -> list[Key]:
    """What shapes and outlines mean, of those that are there."""
    nodes = [node for value in values for node in value.nodes]
    face: dict[str, Any] = {"ls": "", "mfc": theme.background, "ms": 12.5, "mec": theme.text, "mew": 1.2}
    keys: list[Key] = []
    if any(node.frontier for node in nodes):
        keys.append((FRONTIER_WORDS, face | {"marker": "o", "mec": theme.frontier, "mew": 2.2}))
    for role in ROLES:
        if any(node.role == role for node in nodes):
            corners = SHAPE[role].corners
            outline = [(x, -y) for x, y in (*corners, corners[0])]
            keys.append((ROLE_WORDS[role], face | {"marker": outline, "ms": 13 * max(map(max, corners))}))
    arrow = {"color": theme.path, "lw": 1.7, "marker": ">", "ms": 5, "mew": 0, "markevery": [2]}
    return [*keys, (PATH_WORDS, arrow)]


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
    page: _Page,
    value: Graph,
    left: float,
    top: float,
    width: float,
    heading_height: float,
    above: float,
    pitch: float,
    side: float,
) -> None:
    theme = page.theme
    page.text(left, top + 8, value.heading, fontsize=10, fontweight="bold")
    for i, line in enumerate(value.subtitle):
        page.text(left, top + 21 + 11 * i, line, fontsize=8, color=theme.text if i == 0 else theme.muted)
    top += heading_height
    origin_x = left + side + max(0.0, (width - 14 - 2 * side - value.width * pitch) / 2)
    origin_y = top + 16 + RADIUS + 6 + above + value.height * PITCH_Y

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
    if ring := theme.ring_of(node):
        page.axes.add_patch(_shape(node.role, x, y, RADIUS + 1.6, fc=ring, ec="none", zorder=3))
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
        page.text(x - RADIUS, y - RADIUS + 0.3, node.badge, fontsize=9, fontweight="bold", color=theme.ink(colour),
                  ha="center", zorder=7)  # fmt: skip
    ink = theme.text if node.reachable else theme.muted
    weight = "bold" if node.role != "node" else "normal"
    below = y + RADIUS + (9.5 if node.role == "other candidate" else 7.5)
    page.text(x, below, node.label, color=ink, ha="center", zorder=4, fontweight=weight, back=True)
    if node.role != "node":
        word, ink = ROLE_WORDS[node.role], theme.outline_of(node)
        page.text(x, below + 8.5, word, fontsize=SMALL, color=ink, ha="center", zorder=4, back=True)


# --- the heatmap ------------------------------------------------------------------------------------------------------


def _heatmap(value: Heatmap, theme: Theme) -> _Page:
    """Nodes down, thoughts across; below, where each state's probability is."""
    columns, rows, scale, stack = value.columns, value.rows, value.scale, value.stack()
    cell_width, cell_height = 47.0, 17.5
    spans = max(text_width(label, SMALL) for label, *_ in value.spans) + 10
    names = max(text_width(_row_label(row)) * 1.08 for row in rows) + 10
    left = MARGIN + spans + names
    right = left + cell_width * len(columns)
    page = _Page(max(right + (190.0 if stack else 0.0) + MARGIN, MIN_WIDTH), value.words, theme)
    x = page.scale(scale, page.y + 4)
    page.keys([(FRONTIER_WORDS, {"fc": "none", "ec": theme.frontier, "lw": 1.8})], x, page.y + 8, page.width)
    top = page.y + 58
    page.text(left - 6, top - 14, "thought", color=theme.muted, ha="right")
    for j, column in enumerate(columns):
        x = left + (j + 0.5) * cell_width
        page.text(x, top - 14, column.label, fontsize=9, ha="center", fontweight="bold")
        page.text(x, top - 4.5, column.short, fontsize=SMALL, ha="center", color=theme.muted, style="italic")
    fills: list[str] = []
    known: list[Box] = []
    frontier: list[Box] = []
    for i, row in enumerate(rows):
        y = top + i * cell_height
        ink = theme.muted if row.role == "marker" or not row.reachable else theme.text
        look: dict[str, Any] = {"style": "italic" if row.role == "marker" else "normal"}
        look |= {"fontweight": "bold" if row.role in ROLE_WORDS else "normal"}
        page.text(left - 6, y + cell_height / 2, _row_label(row), ha="right", color=ink, **look)
        for j, cell in enumerate(value.cells[i]):
            x = left + j * cell_width
            if cell.frontier:
                frontier.append((x + 0.9, y + 0.9, cell_width - 1.8, cell_height - 1.8))
            if cell.found is not None:
                fill = theme.cell(row, cell.found.value, scale)
                fills.append(fill)
                known.append((x, y, cell_width, cell_height))
                page.text(x + cell_width / 2, y + cell_height / 2, printed_cell(row, cell, scale), fontsize=SMALL,
                          color=theme.ink(fill), ha="center", zorder=5)  # fmt: skip
    page.boxes(known, fc=fills, ec=theme.faint, lw=0.5)
    page.boxes(frontier, fc="none", ec=theme.frontier, lw=1.8, zorder=3)
    for label, start, stop in value.spans:
        y = top + start * cell_height
        page.text(MARGIN, y + (stop - start) * cell_height / 2, label, fontsize=SMALL, color=theme.muted)
        if start:
            page.line([(MARGIN, y), (right, y)], color=theme.muted, lw=0.7, zorder=2)
    page.text(MARGIN, top - 14, "distance", fontsize=SMALL, color=theme.muted)
    page.y = top + cell_height * len(rows)
    if stack:
        _stack(page, value, stack, left, right - left)
    return page


def _row_label(row: HeatRow) -> str:
    return row.label + (f" ({ROLE_WORDS[row.role]})" if row.role in ROLE_WORDS else "")


def _stack(page: _Page, value: Heatmap, stack: Chart, left: float, width: float) -> None:
    """A stack under each column, with the interval of the frontier's share and its controls."""
    theme, marks, top = page.theme, marks_of(stack, page.theme), page.y + 18
    page.text(MARGIN, top + 60, stack.title, fontsize=SMALL, color=theme.muted)
    axes = page.axes_at(left, top, width, 120)
    _stacked(stack, marks, axes, theme)
    _dress(stack, axes, theme)
    axes.set(xlim=(-0.5, len(value.columns) - 0.5), ylim=(0, 1), xticks=[], yticks=(0, 0.5, 1), xlabel="", ylabel="")
    keys = _chart_keys(stack, marks, theme)
    for series in value.on_frontier():
        x, y, own = np.array(stack.across(series)), _numbers(series.y), series.source == "model"
        style: dict[str, Any] = {"ls": "", "color": theme.text, "zorder": 5, "clip_on": False}
        if not own:
            marker = MARKERS[SOURCE[series.source][0]].static
            style |= {"marker": marker, "ms": 5, "mfc": theme.background, "mec": theme.text, "mew": 0.9}
            axes.plot(x + STACK_SHIFT, y, **style)
        elif series.low is not None:
            low, high = np.clip([_numbers(series.low), _numbers(series.high or ())], 0, 1)
            axes.errorbar(x - STACK_SHIFT, y, [y - low, high - y], elinewidth=1.1, capsize=2, **style)
            style |= {"marker": WHISKER, "ms": 8, "mfc": "none", "mew": 1.1}
        if not own or series.low is not None:
            keys.append((series.name, style))
    page.keys(keys, left + width + 10, top + 4, 0, step=14)
    page.y = top + 126


# --- charts -----------------------------------------------------------------------------------------------------------


def _charts(charts: Sequence[Chart], theme: Theme) -> _Page:
    """Charts side by side, at most three to a row; one legend where they all show the same."""
    first, n = charts[0], len(charts)
    about = first.words or Words(title=first.title if n == 1 else "", alt=first.title)
    across = n if n <= 3 else 2 if n == 4 else 3
    wide = n == 1 and first.kind in ("tree", "stacked", "bars", "ranked", "strip", "heatmap")
    plot_width = {1: 470.0 if wide else 340.0, 2: 300.0}.get(across, 215.0)
    marks = [marks_of(chart, theme) for chart in charts]
    keys = [_chart_keys(chart, own, theme) for chart, own in zip(charts, marks, strict=True)]
    names = [{label for label, _ in own} for own in keys]
    shared = n > 1 and all(own <= names[0] for own in names)
    gutter = 20 + max(map(_left_room, charts))
    cell_width = gutter + plot_width + max(16.0, *map(_right_room, charts))
    beside = 34 + max(map(text_width, names[0])) if n == 1 and keys[0] else 0.0
    page = _Page(max(2 * MARGIN + across * cell_width + beside, 340.0 if n == 1 else MIN_WIDTH), about, theme)
    inner, y = page.width - 2 * MARGIN, page.y
    if shared and keys[0]:
        y = page.keys(keys[0], MARGIN, y + 8, inner)
    room = inner if n == 1 else cell_width - 10
    cells = list(zip(charts, marks, keys, strict=True))
    for start in range(0, n, across):
        row = cells[start : start + across]
        tops = []
        for i, (chart, _, _) in enumerate(row):
            title = wrap(chart.title, room / 1.15, 9) if n > 1 or first.words else []
            x = MARGIN + i * cell_width
            top = page.lines(x, y + 8, title, 13, fontsize=9, fontweight="bold") - 1
            note = wrap(chart.note, room, SMALL) if chart.note else []
            tops.append(page.lines(x, top, note, 10, fontsize=SMALL, color=theme.muted))
        top, bottoms = max(tops) + 6, []
        for i, (chart, own, entries) in enumerate(row):
            x = MARGIN + i * cell_width
            height = _plot_height(chart) if n == 1 else 165.0
            axes = page.axes_at(x + gutter, top, plot_width, height)
            DRAW[chart.kind](chart, own, axes, theme)
            _dress(chart, axes, theme)
            below = top + height + 36
            if n == 1:
                below = max(below, page.keys(entries, x + cell_width, top + 6, 0))
            elif not shared:
                below = page.keys(entries, x, below + 6, cell_width - 10, step=13)
            bottoms.append(below)
        y = max(bottoms) + 12
    page.y = y - 12
    return page


def _chart_keys(chart: Chart, marks: Sequence[Mark], theme: Theme) -> list[Key]:
    """The legend of a chart, each series as it is drawn."""
    keys: list[Key] = []
    for label, mark in zip(legend(chart), marks, strict=True):
        style: dict[str, Any] = {"color": mark.colour, "marker": mark.marker.static, "ms": 5}
        if chart.kind in ("stacked", "ranked"):
            style = {"fc": mark.colour}
        elif chart.kind in ("points", "bars", "strip", "tree"):
            style |= {"ls": "", "marker": mark.marker.static or "o"}
        else:
            style |= {"ls": mark.dash.static, "lw": 1.5}
        keys += [(label, style)] if label else []
    return keys


def _left_room(chart: Chart) -> float:
    """Points left of the plot: for its numbers, or the names of its rows."""
    if chart.flat:
        return max(text_width(display_name(name, 60)) for name in chart.names())
    if chart.kind == "heatmap":
        return max(text_width(series.name) for series in chart.series)
    return 0.0 if chart.kind == "tree" else 30.0


def _right_room(chart: Chart) -> float:
    """Points right of the plot: for what is printed behind the rows of a strip."""
    printed_there = [label for series in chart.series for label in series.labels or ()] if chart.kind == "strip" else []
    return max(map(text_width, printed_there), default=0.0) + 10


def _plot_height(chart: Chart) -> float:
    if chart.flat:
        return 18.0 * len(chart.names()) + 10
    if chart.kind == "heatmap":
        return 24.0 * len(chart.series) + 10
    if chart.kind == "tree":
        return max(210.0, 40.0 * (2 * max(y for _, y in chart.tree().values()) + 1))
    return 205.0


def _dress(chart: Chart, axes: Axes, theme: Theme) -> None:
    """Labels, grid, references and the range of the axes."""
    flat = chart.flat
    axes.set_xlabel(chart.y_label if flat else chart.x_label, color=theme.muted)
    if not flat and chart.kind != "tree":
        axes.set_ylabel(chart.y_label, color=theme.muted)
    axes.tick_params(colors=theme.muted, labelsize=SMALL, length=2)
    for side, spine in axes.spines.items():
        spine.set(visible=side == ("left" if flat else "bottom") and chart.kind != "heatmap", color=theme.faint)
    if chart.kind in ("heatmap", "tree"):
        return
    if chart.y_ends is not None:
        axes.set_xlim(*chart.y_ends) if flat else axes.set_ylim(*chart.y_ends)
    if chart.x_range is not None:
        axes.set_xlim(*chart.x_range)
    axes.grid(axis="x" if flat else "y", color=theme.faint, linewidth=0.7)
    axes.set_axisbelow(True)
    for i, line in enumerate(chart.stages):
        assert line.to is not None
        axes.axvspan(line.at, line.to, color=theme.muted, alpha=0.09 * (i % 2), lw=0)
        if len(chart.stages) <= MANY_STAGES:
            top: dict[str, Any] = {"transform": axes.get_xaxis_transform(), "ha": "center", "va": "bottom"}
            axes.text((line.at + line.to) / 2, 1, line.label, **top, fontsize=SMALL, color=theme.muted)
    for line in chart.references:
        if line.kind not in ("level", "frontier"):
            continue
        colour, dash = theme.line_of(line)
        upright = (line.axis == "x") != flat
        (axes.axvline if upright else axes.axhline)(line.at, color=colour, lw=1.1, ls=dash.static, zorder=1)
        edge = axes.get_xaxis_transform() if upright else axes.get_yaxis_transform()
        spot = (line.at, 1.0) if upright else (1.0, line.at)
        axes.text(*spot, line.label, transform=edge, fontsize=SMALL, color=theme.named(line.group or "muted"),
                  ha="center" if upright else "right", va="bottom")  # fmt: skip


def _lines(chart: Chart, marks: Sequence[Mark], axes: Axes, theme: Theme) -> None:
    drawn = [series for series in chart.series if not series.shade]
    for series, mark in zip(chart.series, marks, strict=True):
        x, y = np.array(chart.across(series)), _numbers(series.y)
        if not series.shade and len(drawn) > 1:  # side by side, so that intervals are not hidden behind each other
            x = x + (drawn.index(series) - (len(drawn) - 1) / 2) * 0.12
        axes.plot(
            x, y, color=mark.colour, ls=mark.dash.static, lw=1.5 * mark.width, alpha=mark.opacity,
            marker=mark.marker.static, ms=4, zorder=2 if series.faint else 3, gid=_gid(chart, series),
        )  # fmt: skip
        errors = _errors(series, *(chart.y_range or (-np.inf, np.inf)))
        if errors is not None and series.shade:
            axes.fill_between(x, y - errors[0], y + errors[1], color=mark.colour, alpha=0.16, linewidth=0)
        elif errors is not None:
            axes.errorbar(x, y, errors, fmt="none", ecolor=mark.colour, elinewidth=1.1, capsize=2)
    if chart.categories:
        axes.set_xticks(range(len(chart.categories)), chart.categories)
        axes.set_xlim(-0.5, len(chart.categories) - 0.5)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))


def _stacked(chart: Chart, marks: Sequence[Mark], axes: Axes, theme: Theme) -> None:
    floor = np.zeros(len(chart.names()))
    for series, mark in zip(chart.series, marks, strict=True):
        y, ink = np.nan_to_num(_numbers(series.y)), theme.ink(mark.colour)
        bars = axes.bar(range(len(y)), y, bottom=floor, color=mark.colour, edgecolor=theme.background, linewidth=0.6)
        axes.bar_label(bars, printed_points(chart, series), label_type="center", fontsize=SMALL, color=ink)
        floor = floor + y
    axes.set_xticks(range(len(floor)), chart.names())


def _bars(chart: Chart, marks: Sequence[Mark], axes: Axes, theme: Theme) -> None:
    """A point with its interval, those of one category side by side."""
    for series, mark in zip(chart.series, marks, strict=True):
        place, y = chart.beside(series), _numbers(series.y)
        look: dict[str, Any] = {"marker": mark.marker.static or "o", "color": mark.colour, "ms": 4.5, "elinewidth": 1.2}
        axes.errorbar(place, y, yerr=_errors(series), ls="", **look).lines[0].set_gid(_gid(chart, series))
        for at, value, label in zip(place, y, printed_points(chart, series), strict=True):
            if label:
                axes.annotate(label, (at, value), (5, 0), textcoords="offset points", va="center", fontsize=SMALL)
    axes.set_xticks(range(len(chart.names())), chart.names())
    axes.axhline(0, color=theme.text, linewidth=0.6)


def _histogram(chart: Chart, marks: Sequence[Mark], axes: Axes, theme: Theme) -> None:
    for series, mark in zip(chart.series, marks, strict=True):
        left = chart.across(series)
        edges, y = [*left, left[-1] + (left[1] - left[0] if len(left) > 1 else 1.0)], _numbers(series.y)
        axes.stairs(y, edges, color=mark.colour, linestyle=mark.dash.static)
        axes.stairs(y, edges, color=mark.colour, alpha=0.18, fill=True)


def _points(chart: Chart, marks: Sequence[Mark], axes: Axes, theme: Theme) -> None:
    for series, mark in zip(chart.series, marks, strict=True):
        axes.scatter(chart.across(series), _numbers(series.y), s=9, marker=mark.marker.static or "o", linewidths=0,
                     color=mark.colour, alpha=0.6, gid=_gid(chart, series))  # fmt: skip


def _grid(chart: Chart, marks: Sequence[Mark], axes: Axes, theme: Theme) -> None:
    low, high = chart.span()
    for i, series in enumerate(chart.series):
        for j, (y, text) in enumerate(zip(series.y, printed_points(chart, series), strict=True)):
            fill = theme.background if y is None else theme.colour(y, low, high)
            axes.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, fc=fill, lw=0))
            axes.text(j, i, text, ha="center", va="center", fontsize=SMALL, color=theme.ink(fill))
    names = chart.names()
    axes.set_xticks(range(len(names)), names)
    axes.set_yticks(range(len(chart.series)), [series.name for series in chart.series])
    axes.set(xlim=(-0.5, len(names) - 0.5), ylim=(len(chart.series) - 0.5, -0.5))


def _ranked(chart: Chart, marks: Sequence[Mark], axes: Axes, theme: Theme) -> None:
    for series, mark in zip(chart.series, marks, strict=True):
        bars = axes.barh(chart.across(series), _numbers(series.y), 0.66, color=mark.colour)
        axes.bar_label(bars, printed_points(chart, series), padding=4, fontsize=SMALL, color=theme.muted)
    _name_rows(chart, axes)


def _strip(chart: Chart, marks: Sequence[Mark], axes: Axes, theme: Theme) -> None:
    """A row a category; several series of one row side by side."""
    for series, mark in zip(chart.series, marks, strict=True):
        rows, y, errors = chart.beside(series), _numbers(series.y), None if series.faint else _errors(series)
        look: dict[str, Any] = {"ms": 3.5, "alpha": 0.6, "mew": 0} if series.faint else {"ms": 4.5}
        look |= {"marker": mark.marker.static or "o", "color": mark.colour, "zorder": 2 if series.faint else 3}
        axes.errorbar(y, rows, xerr=errors, ls="", elinewidth=1.1, **look).lines[0].set_gid(_gid(chart, series))
        for row, label in zip(rows, printed_points(chart, series), strict=True):
            axes.annotate(label, (1, row), (6, 0), xycoords=axes.get_yaxis_transform(), textcoords="offset points",
                          va="center", fontsize=SMALL, color=theme.text)  # fmt: skip
    _name_rows(chart, axes)


def _name_rows(chart: Chart, axes: Axes) -> None:
    names = [display_name(name, 60) for name in chart.names()]
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)


def _tree(chart: Chart, marks: Sequence[Mark], axes: Axes, theme: Theme) -> None:
    place = chart.tree()
    for source, target in chart.edges:
        if source in place and target in place:
            arrow = {"arrowstyle": "-|>", "color": theme.edge, "shrinkA": 9, "shrinkB": 9, "linewidth": 0.8}
            axes.annotate("", place[target], place[source], arrowprops=arrow)
    box = {"facecolor": theme.background, "edgecolor": "none", "pad": 0.5, "alpha": 0.7}
    for series, mark in zip(chart.series, marks, strict=True):
        labels = printed_points(chart, series)
        spots = [place[chart.node_of(label)] for label in labels]
        axes.scatter(
            [x for x, _ in spots], [y for _, y in spots], s=40 + 500 * np.nan_to_num(_numbers(series.y)),
            color=mark.colour, marker=mark.marker.static or "o",
            edgecolors=theme.text, linewidths=0.8, zorder=3, alpha=0.9, gid=_gid(chart, series),
        )  # fmt: skip
        for spot, label in zip(spots, labels, strict=True):
            axes.annotate(label, spot, (0, -13), textcoords="offset points", ha="center", va="top", fontsize=SIZE,
                          zorder=4, color=theme.text, bbox=box)  # fmt: skip
    axes.set_yticks([])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.margins(0.12)


DRAW: dict[str, Callable[[Chart, Sequence[Mark], Axes, Theme], None]] = {
    "lines": _lines, "stacked": _stacked, "bars": _bars, "histogram": _histogram, "points": _points,
    "heatmap": _grid, "tree": _tree, "ranked": _ranked, "strip": _strip,
}  # fmt: skip


def _gid(chart: Chart, series: Series) -> str:
    """What a series is called in an SVG file."""
    return f"{chart.name}-{series.source or series.name}"


def _errors(series: Series, low: float = -np.inf, high: float = np.inf) -> Floats | None:
    """How far the interval reaches below and above each value, cut to a range."""
    if series.low is None or series.high is None:
        return None
    y = _numbers(series.y)
    ends = np.clip([_numbers(series.low), _numbers(series.high)], low, high)
    return np.clip([y - ends[0], ends[1] - y], 0, None)


def _numbers(values: Sequence[float | None]) -> Floats:
    return np.array([np.nan if value is None else value for value in values], dtype=float)
