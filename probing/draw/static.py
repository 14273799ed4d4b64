"""Scenes as SVG, PNG and PDF: vector graphics with real text, drawn by matplotlib without a browser or pyplot.

Every figure is laid out in points (1/72 inch) on one set of axes as large as the page, so sizes and gaps are exact.
Names are drawn as they are: no markup, no mathematics. A letter that no font at hand has becomes an empty box in PNG
and PDF and stays itself in SVG.
"""

from __future__ import annotations

import io
import threading
import unicodedata
import warnings
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, PathPatch, Polygon, Rectangle
from matplotlib.path import Path

from probing.draw.layout import Point
from probing.draw.marks import LIGHT, Theme
from probing.draw.of_report import (
    SOURCES,
    DagScene,
    EdgeMark,
    FrontierScene,
    HeatmapScene,
    MetricPanel,
    NodeMark,
    Role,
    Scale,
    Series,
    short_number,
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

# rc settings and warning filters are global to the process, and the app draws from several threads.
_DRAWING = threading.Lock()
_RC: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "coconut",
    "pdf.fonttype": 42,
    "font.family": ["DejaVu Sans"],
    "font.size": SIZE,
    "text.parse_math": False,
    "text.usetex": False,
    "path.simplify": False,
}


def render(
    scene: DagScene | Sequence[DagScene] | HeatmapScene | FrontierScene, format: StaticFormat, *, theme: Theme = LIGHT
) -> bytes:
    """A scene, or the graph at several states on one page, as the bytes of a file. Same scene, same bytes."""
    with _DRAWING, mpl.rc_context(_RC), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from")
        if isinstance(scene, HeatmapScene):
            page = _heatmap(scene, theme)
        elif isinstance(scene, FrontierScene):
            page = _frontier(scene, theme)
        else:
            page = _dags([scene] if isinstance(scene, DagScene) else list(scene), theme)
        return page.save(format)


class _Page:
    """A page measured in points, with its origin at the top left: y grows downward."""

    def __init__(self, width: float, height: float, theme: Theme, alt: str) -> None:
        self.width, self.height, self.theme, self.alt = width, height, theme, alt
        self.figure = Figure(figsize=(width / 72, height / 72), facecolor=theme.background)
        self.axes: Axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set_xlim(0, width)
        self.axes.set_ylim(height, 0)
        self.axes.axis("off")

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


def _label_width(node: NodeMark) -> float:
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
    inner, y = page.width - 2 * MARGIN, 26.0
    for line in wrap(title, inner, 13):
        page.text(MARGIN, y, line, fontsize=13, fontweight="bold")
        y += 17
    for line in wrap(answer, inner, 8.5):
        page.text(MARGIN, y, line, fontsize=8.5, color=page.theme.muted)
        y += 12
    return y


def _foot_height(caption: str, width: float) -> float:
    return 10 * len(wrap(caption, width - 2 * MARGIN, SMALL)) + 18


def _foot(page: _Page, caption: str) -> None:
    lines = wrap(caption, page.width - 2 * MARGIN, SMALL)
    y = page.height - 10 * len(lines) - 6
    for line in lines:
        page.text(MARGIN, y, line, fontsize=SMALL, color=page.theme.muted)
        y += 10


# --- the graph --------------------------------------------------------------------------------------------------------


def _dags(scenes: list[DagScene], theme: Theme) -> _Page:
    first = scenes[0]
    pitch = _pitch(first)
    reach = max([_label_width(node) / 2 for node in first.nodes if node.x in (0, first.width)] + [RADIUS])
    side = max(reach, 30.0)
    if len(scenes) == 1:
        # A graph alone on its page may use the width that its heading and legend need anyway.
        pitch = max(pitch, min(100.0, (MIN_WIDTH - 2 * (side + MARGIN) - 14) / max(first.width, 1)))
    graph_width = first.width * pitch + 2 * side
    head_lines = [line for scene in scenes for line in (scene.heading, *scene.subtitle)]
    panel_width = max(graph_width, *(text_width(line, 8) for line in head_lines), text_width(first.divider_label)) + 14
    heading_height = 22 + 11 * max(len(scene.subtitle) for scene in scenes)
    graph_height = first.height * PITCH_Y + 2 * RADIUS + 34
    panel_height = heading_height + 16 + graph_height
    across = _across(len(scenes), panel_width, panel_height)
    down = -(-len(scenes) // across)
    width = max(across * panel_width + (across - 1) * 10 + 2 * MARGIN, MIN_WIDTH)
    top = _head_height(first.title, first.answer, width)
    legend = _Legend(first.scale, theme, shows=_shown(scenes), width=width - 2 * MARGIN)
    height = (
        top
        + legend.height
        + down * panel_height
        + (down - 1) * 14
        + 12
        + _foot_height(_both(first.later, first.caption), width)
    )
    page = _Page(width, height, theme, first.alt if len(scenes) == 1 else f"{first.title} {_all_alts(scenes)}")
    y = _head(page, first.title, first.answer) + 6
    legend.draw(page, MARGIN, y)
    y += legend.height + 6
    gap = (width - 2 * MARGIN - across * panel_width) / max(across - 1, 1)
    for i, scene in enumerate(scenes):
        row, column = divmod(i, across)
        left = MARGIN + column * (panel_width + gap)
        _panel(page, scene, left, y + row * (panel_height + 14), panel_width, heading_height, pitch, side)
    _foot(page, _both(first.later, first.caption))
    return page


def _both(one: str, other: str) -> str:
    return f"{one} {other}".strip()


def _all_alts(scenes: list[DagScene]) -> str:
    return " ".join(f"{scene.heading}: {scene.subtitle[0]}." for scene in scenes)


def _shown(scenes: list[DagScene]) -> set[str]:
    """What the legend has to explain."""
    shown = {"path"} | {node.role for node in scenes[0].nodes}
    if any(node.frontier for scene in scenes for node in scene.nodes):
        shown.add("frontier")
    if scenes[0].divider is not None:
        shown.add("away")
    return shown


def _across(n: int, width: float, height: float) -> int:
    """Panels side by side so that the page comes nearest to 3 : 2, preferring full rows."""

    def badness(across: int) -> float:
        down = -(-n // across)
        shape = (across * width) / (down * height + 120)
        return abs(shape / 1.5 - 1) + 0.15 * (across * down - n) + (1.0 if across * width > 1700 and across > 1 else 0)

    return min(range(1, n + 1), key=badness)


def _pitch(scene: DagScene) -> float:
    """Points between columns so that no label meets a label or a node of the columns beside it."""
    pitch = MIN_PITCH_X
    for a in scene.nodes:
        for b in scene.nodes:
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
    scene: DagScene,
    left: float,
    top: float,
    width: float,
    heading_height: float,
    pitch: float,
    side: float,
) -> None:
    theme = page.theme
    page.text(left, top + 8, scene.heading, fontsize=10, fontweight="bold")
    for i, line in enumerate(scene.subtitle):
        page.text(left, top + 21 + 11 * i, line, fontsize=8, color=theme.text if i == 0 else theme.muted)
    top += heading_height
    origin_x = left + side + max(0.0, (width - 14 - 2 * side - scene.width * pitch) / 2)
    origin_y = top + 16 + RADIUS + 6 + scene.height * PITCH_Y

    def at(point: Point) -> Point:
        return origin_x + point[0] * pitch, origin_y - point[1] * PITCH_Y

    for x, label in scene.columns:
        text = f"distance {label}" if label == "0" else label
        page.text(at((x, 0))[0], top + 6, text, fontsize=SMALL, color=theme.muted, ha="center")
    if scene.divider is not None:
        y = at((0, scene.divider))[1]
        page.line([(left, y), (left + width - 14, y)], color=theme.faint, lw=0.8, ls=(0, (3, 2)), zorder=0)
        page.text(left, y + 7, scene.divider_label, fontsize=SMALL, color=theme.muted, zorder=5, back=True)
    for edge in sorted(scene.edges, key=lambda edge: (edge.on_path, edge.reachable)):
        _edge(page, edge, at)
    for node in scene.nodes:
        _node(page, node, scene.scale, *at((node.x, node.y)))


def _edge(page: _Page, edge: EdgeMark, at: Any) -> None:
    theme = page.theme
    colour = theme.path if edge.on_path else theme.edge if edge.reachable else theme.away
    width = 1.7 if edge.on_path else 0.85
    a, c, b = at(edge.start), at(edge.control), at(edge.end)
    first, last = _trim(a, c, b, RADIUS + 1.5), 1 - _trim(b, c, a, RADIUS + 2.0)
    if last <= first:
        return
    start, control, end = _part(a, c, b, first, last)
    length = 5.5 if edge.on_path else 4.5
    dx, dy = end[0] - control[0], end[1] - control[1]
    norm = max((dx * dx + dy * dy) ** 0.5, 1e-9)
    dx, dy = dx / norm, dy / norm
    base = end[0] - length * dx, end[1] - length * dy
    style: dict[str, Any] = {"zorder": 2.2 if edge.on_path else 2.0 if edge.reachable else 1.8}
    path = Path([start, control, base], [Path.MOVETO, Path.CURVE3, Path.CURVE3])
    page.axes.add_patch(PathPatch(path, fc="none", ec=colour, lw=width, **style))
    wing = length * 0.42
    corners = [end, (base[0] - wing * dy, base[1] + wing * dx), (base[0] + wing * dy, base[1] - wing * dx)]
    page.axes.add_patch(Polygon(corners, fc=colour, ec="none", **style))


def _trim(a: Point, c: Point, b: Point, radius: float) -> float:
    """How far along the curve from a one leaves the circle of ``radius`` around a."""
    low, high = 0.0, 1.0
    for _ in range(20):
        middle = (low + high) / 2
        x, y = _at(a, c, b, middle)
        if (x - a[0]) ** 2 + (y - a[1]) ** 2 < radius**2:
            low = middle
        else:
            high = middle
    return high


def _at(a: Point, c: Point, b: Point, s: float) -> Point:
    def mix(i: int) -> float:
        return (1 - s) ** 2 * a[i] + 2 * s * (1 - s) * c[i] + s * s * b[i]

    return mix(0), mix(1)


def _part(a: Point, c: Point, b: Point, first: float, last: float) -> tuple[Point, Point, Point]:
    """The control points of the piece of a quadratic Bezier curve between two parameters."""

    def blossom(s: float, t: float, i: int) -> float:
        return (1 - s) * ((1 - t) * a[i] + t * c[i]) + s * ((1 - t) * c[i] + t * b[i])

    points = [(blossom(s, t, 0), blossom(s, t, 1)) for s, t in ((first, first), (first, last), (last, last))]
    return points[0], points[1], points[2]


def _shape(role: Role, x: float, y: float, radius: float, **style: Any) -> Any:
    """Root: house pointing right; target: square; other candidate: diamond; any other node: circle."""
    if role == "root":
        r = radius * 1.02
        corners = [(-r, -r * 0.85), (r * 0.45, -r * 0.85), (r * 1.25, 0), (r * 0.45, r * 0.85), (-r, r * 0.85)]
    elif role == "target":
        r = radius * 0.92
        corners = [(-r, -r), (r, -r), (r, r), (-r, r)]
    elif role == "other candidate":
        r = radius * 1.28
        corners = [(0, -r), (r, 0), (0, r), (-r, 0)]
    else:
        return Circle((x, y), radius * 0.95, **style)
    return Polygon([(x + dx, y + dy) for dx, dy in corners], joinstyle="round", **style)


def _node(page: _Page, node: NodeMark, scale: Scale, x: float, y: float) -> None:
    theme = page.theme
    fill = theme.colour(node.value, scale.low, scale.high)
    outline, width = (theme.outline, 1.0) if node.reachable else (theme.away, 1.0)
    if node.role != "node":
        outline, width = (theme.text, 1.3) if node.reachable else (theme.muted, 1.1)
    if node.frontier:
        page.axes.add_patch(_shape(node.role, x, y, RADIUS + 1.6, fc=theme.frontier, ec="none", zorder=3))
        page.axes.add_patch(_shape(node.role, x, y, RADIUS - 0.9, fc=fill, ec="none", zorder=3.1))
    else:
        page.axes.add_patch(_shape(node.role, x, y, RADIUS, fc=fill, ec=outline, lw=width, zorder=3))
    if scale.prints(node.value):
        page.text(x, y + 0.3, short_number(node.value), fontsize=SMALL, color=theme.ink(fill), ha="center", zorder=4)
    ink = theme.text if node.reachable else theme.muted
    weight = "bold" if node.role != "node" else "normal"
    below = y + RADIUS + (9.5 if node.role == "other candidate" else 7.5)
    page.text(x, below, node.label, color=ink, ha="center", zorder=4, fontweight=weight, back=True)
    if node.role != "node":
        page.text(x, below + 8.5, node.role, fontsize=SMALL, color=theme.muted, ha="center", zorder=4, back=True)


class _Legend:
    """What shapes, outlines and colours mean, in one wrapped line."""

    def __init__(self, scale: Scale, theme: Theme, *, shows: set[str], width: float) -> None:
        self.scale, self.theme = scale, theme
        entries = [
            ("frontier", "true frontier: nodes at distance t"),
            ("root", "root"),
            ("target", "target"),
            ("other candidate", "other candidate"),
            ("path", "shortest path to the target"),
        ]
        self.bar = 96.0
        self.places: list[tuple[str, str, float, float]] = []
        x = y = 0.0
        bar_width = self.bar + text_width(scale.label) + 24
        for kind, label, needed in [("bar", scale.label, bar_width)] + [
            (kind, label, 26 + text_width(label) + LEGEND_GAP) for kind, label in entries if kind in shows
        ]:
            if x and x + needed - LEGEND_GAP > width:
                x, y = 0.0, y + 22
            self.places.append((kind, label, x, y))
            x += needed
        self.height = y + 30

    def draw(self, page: _Page, left: float, top: float) -> None:
        theme = self.theme
        for kind, label, dx, dy in self.places:
            x, y = left + dx, top + dy + 8
            if kind == "bar":
                _colour_bar(page, self.scale, x, y - 4, self.bar, 8)
                page.text(x + self.bar + 8, y, label, color=theme.text)
                continue
            if kind == "frontier":
                page.axes.add_patch(_shape("node", x + 8, y, 8, fc=theme.frontier, ec="none", zorder=3))
                page.axes.add_patch(_shape("node", x + 8, y, 5.6, fc=theme.background, ec="none", zorder=3.1))
            elif kind == "path":
                page.line([(x, y), (x + 13, y)], color=theme.path, lw=1.7)
                page.axes.add_patch(Polygon([(x + 18, y), (x + 12, y - 2.6), (x + 12, y + 2.6)], fc=theme.path, lw=0))
            else:
                style = {"fc": theme.background, "ec": theme.text, "lw": 1.2, "zorder": 3}
                page.axes.add_patch(_shape(kind, x + 8, y, 6.5, **style))  # type: ignore[arg-type]
            page.text(x + 21, y, label, color=theme.text)


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


def _heatmap(scene: HeatmapScene, theme: Theme) -> _Page:
    columns, rows = scene.columns, scene.rows
    cell_width = 29.0 if len(columns) > 12 else 36.0
    cell_height = 27.0
    left = MARGIN + 64
    grid = cell_width * len(columns)
    bars = 190.0
    width = left + grid + 30 + bars + 46 + MARGIN
    names = max(text_width(node.label) for node in columns) * 0.83 + 18
    top = _head_height(scene.title, scene.answer, width) + 52
    height = top + cell_height * len(rows) + max(names + 12, 78) + 26 + _foot_height(scene.caption, width)
    page = _Page(width, height, theme, scene.alt)
    y = _head(page, scene.title, scene.answer) + 8
    x = MARGIN
    _colour_bar(page, scene.scale, x, y, 96, 8)
    page.text(x + 104, y + 4, scene.scale.label)
    x += 104 + text_width(scene.scale.label) + 24
    page.rect(x, y - 1.5, 15, 11, fc="none", ec=theme.frontier, lw=1.8, zorder=3)
    page.text(x + 21, y + 4, "true frontier: nodes at distance t")

    for label, start, stop in scene.spans:
        a, b = left + start * cell_width + 2, left + stop * cell_width - 2
        page.line([(a, top - 5), (b, top - 5)], color=theme.muted, lw=0.8)
        text = f"distance {label}" if label.isdigit() and text_width(f"distance {label}", SMALL) < b - a else label
        inside = text_width(text, SMALL) < b - a + 4
        page.text(
            (a + b) / 2 if inside else a,
            top - 12,
            text,
            fontsize=SMALL,
            color=theme.muted,
            ha="center" if inside else "left",
        )
    for i, row in enumerate(rows):
        y = top + i * cell_height
        page.text(left - 8, y + cell_height / 2, row.label, ha="right", fontweight="normal" if row.thought else "bold")
        for j, cell in enumerate(row.cells):
            x = left + j * cell_width
            fill = theme.colour(cell.value, scene.scale.low, scene.scale.high)
            page.rect(x, y, cell_width, cell_height, fc=fill, ec=theme.faint, lw=0.5)
            if scene.scale.prints(cell.value):
                lines = [short_number(cell.value)]
                if cell.low is not None and cell.high is not None:
                    lines.append(_plus_minus((cell.high - cell.low) / 2))
                for k, text in enumerate(lines):
                    at = y + cell_height / 2 + (k - (len(lines) - 1) / 2) * 9.2
                    ink = theme.ink(fill)
                    page.text(x + cell_width / 2, at, text, fontsize=SMALL, color=ink, ha="center", zorder=5)
        for j, cell in enumerate(row.cells):
            if cell.frontier:
                page.rect(
                    left + j * cell_width + 0.9,
                    y + 0.9,
                    cell_width - 1.8,
                    cell_height - 1.8,
                    fc="none",
                    ec=theme.frontier,
                    lw=1.8,
                    zorder=3,
                )
        if row.note:
            start, stop = row.room(scene.scale)
            size = SIZE if text_width(row.note) < (stop - start) * cell_width - 6 else SMALL
            if text_width(row.note, size) * 0.85 < (stop - start) * cell_width:
                x, middle = left + (start + stop) / 2 * cell_width, y + cell_height / 2
                note = {"color": theme.muted, "ha": "center", "style": "italic", "fontsize": size}
                page.text(x, middle, row.note, zorder=5, back=True, **note)
    for _, start, _ in scene.spans[1:]:
        x = left + start * cell_width
        page.line([(x, top), (x, top + cell_height * len(rows))], color=theme.muted, lw=0.7, zorder=2)
    bottom = top + cell_height * len(rows)
    for j, node in enumerate(scene.columns):
        x = left + (j + 0.5) * cell_width
        role = {"root": " (root)", "target": " (target)", "other candidate": " (other cand.)"}.get(node.role, "")
        page.text(
            x + 3, bottom + 5, node.label + role, ha="right", va="top", rotation=50, rotation_mode="anchor",
            color=theme.text if node.reachable else theme.muted, fontweight="bold" if role else "normal",
        )  # fmt: skip
    _stacked(page, scene, left + grid + 30, top, bars, cell_height)
    _foot(page, scene.caption)
    return page


def _plus_minus(half: float) -> str:
    return "±<.01" if 0 < half < 0.005 else f"±{short_number(half)}"


def _spot(source: str, theme: Theme) -> dict[str, Any]:
    """The mark of a control on a bar."""
    return {"color": theme.background, "marker": _MARKERS[source], "ms": 5, "mec": theme.text, "mew": 0.9, "lw": 0}


def _stacked(page: _Page, scene: HeatmapScene, left: float, top: float, width: float, cell_height: float) -> None:
    theme = page.theme
    page.text(left, top - 12, "where the probability is (mean)", fontsize=SMALL, color=theme.muted)
    for i, row in enumerate(scene.rows):
        y, x = top + i * cell_height + 3, left
        for part, share in row.parts:
            fill = theme.parts[part]
            page.rect(x, y, width * share, cell_height - 6, fc=fill, ec=theme.background, lw=0.4)
            if share >= 0.12:
                text = f"{100 * share:.0f} %"
                page.text(
                    x + width * share / 2,
                    y + cell_height / 2 - 3,
                    text,
                    fontsize=SMALL,
                    color=theme.ink(fill),
                    ha="center",
                    zorder=4,
                )
            x += width * share
        for source, found in row.frontier:
            at = left + width * found.mean
            if source != "model":
                page.line([(at, y + cell_height - 10)], zorder=5, **_spot(source, theme))
            elif found.low is not None and found.high is not None:
                low, high = (left + width * min(max(v, 0.0), 1.0) for v in (found.low, found.high))
                page.line([(low, y + 3.5), (high, y + 3.5)], color=theme.text, lw=1.1, zorder=5)
                for end in (low, high):
                    page.line([(end, y + 1.5), (end, y + 5.5)], color=theme.text, lw=1.1, zorder=5)
    bottom = top + cell_height * len(scene.rows)
    for share in (0, 0.5, 1):
        page.text(left + width * share, bottom + 7, f"{share:g}", fontsize=SMALL, color=theme.muted, ha="center")
    x, y = left, bottom + 22
    for part, _ in scene.rows[0].parts:
        needed = 15 + text_width(part) + 10
        if x > left and x + needed - 10 > left + width + 46:
            x, y = left, y + 13
        page.rect(x, y - 4, 9, 8, fc=theme.parts[part])
        page.text(x + 13, y, part)
        x += needed
    y += 14
    controls = [source for source, _ in scene.rows[0].frontier if source != "model"]
    if scene.n > 1 and scene.rows[0].frontier:
        page.line([(left, y), (left + 9, y)], color=theme.text, lw=1.1)
        for end in (left, left + 9):
            page.line([(end, y - 2), (end, y + 2)], color=theme.text, lw=1.1)
        page.text(left + 13, y, "95 % interval of the frontier share", fontsize=SMALL)
    for source in controls:
        y += 12
        page.line([(left + 4.5, y)], **_spot(source, theme))
        page.text(left + 13, y, f"frontier share of the control: {SOURCES[source]}", fontsize=SMALL)


# --- the frontier metrics ---------------------------------------------------------------------------------------------

_MARKERS = {"model": "o", "shuffled": "s", "untrained": "^"}
_DASHES: dict[str, Any] = {"model": "-", "shuffled": (0, (4, 2)), "untrained": (0, (1, 1.5))}


def _frontier(scene: FrontierScene, theme: Theme) -> _Page:
    panel_width, panel_height, gap = 205.0, 150.0, 44.0
    width = 2 * MARGIN + 24 + len(scene.panels) * panel_width + (len(scene.panels) - 1) * gap
    caption = _both(scene.undefined, scene.caption)
    top = _head_height(scene.title, scene.answer, width) + 66
    page = _Page(width, top + panel_height + 38 + _foot_height(caption, width), theme, scene.alt)
    y = _head(page, scene.title, scene.answer) + 12
    x = MARGIN
    for series in scene.panels[0].series:
        page.line([(x, y), (x + 22, y)], color=theme.sources[series.source], lw=1.5, ls=_DASHES[series.source])
        page.line([(x + 11, y)], color=theme.sources[series.source], marker=_MARKERS[series.source], ms=5, lw=0)
        label = f"{series.label}, n = {_count(series)} draws, 95 % interval"
        page.text(x + 28, y, label)
        x += 28 + text_width(label) + 22
    for i, panel in enumerate(scene.panels):
        left = MARGIN + 24 + i * (panel_width + gap)
        _metric_panel(page, panel, scene.n_thoughts, left, top, panel_width, panel_height, scene.empty)
    _foot(page, caption)
    return page


def _count(series: Series) -> int:
    return max((point.estimate.n for point in series.points if point.estimate), default=0)


def _metric_panel(
    page: _Page,
    panel: MetricPanel,
    n_thoughts: int,
    left: float,
    top: float,
    width: float,
    height: float,
    notes: tuple[tuple[int, str], ...],
) -> None:
    theme = page.theme
    page.text(left, top - 26, panel.label[0].upper() + panel.label[1:], fontsize=9, fontweight="bold")
    for i, line in enumerate(wrap(panel.definition, width + 30, SMALL)[:2]):
        page.text(left, top - 15 + 9 * i, line, fontsize=SMALL, color=theme.muted)
    step = width / max(n_thoughts, 1)

    def at(thought: float, value: float) -> Point:
        return left + (thought - 0.5) * step, top + 8 + (height - 8) * (1 - value)

    for value in (0, 0.25, 0.5, 0.75, 1):
        y = at(1, value)[1]
        page.line([(left, y), (left + width, y)], color=theme.faint, lw=0.6, zorder=0)
        page.text(left - 5, y, f"{value:g}", fontsize=SMALL, color=theme.muted, ha="right")
    for thought in range(1, n_thoughts + 1):
        page.text(at(thought, 0)[0], top + height + 10, str(thought), fontsize=SMALL, color=theme.muted, ha="center")
    page.text(left + width / 2, top + height + 22, "thought", color=theme.muted, ha="center")
    for i, (thought, value) in enumerate(panel.chance):
        x, y = at(thought, value)
        page.line([(x - step * 0.42, y), (x + step * 0.42, y)], color=theme.text, lw=1.1, zorder=2)
        if i == len(panel.chance) - 1:
            page.text(x + step * 0.48, y, panel.chance_label, fontsize=SMALL, color=theme.text, zorder=6, back=True)
    for thought, why in notes:
        x, y = at(thought, 0.625)
        page.text(x, y, why, fontsize=SMALL, color=theme.muted, ha="center", rotation=90, style="italic", back=True)
    # Side by side, so that intervals are not hidden behind each other.
    for place, series in enumerate(panel.series):
        shift = (place - (len(panel.series) - 1) / 2) * min(step * 0.16, 7)
        colour = theme.sources[series.source]
        known: list[Point | None] = []
        for point in series.points:
            found = point.estimate
            if found is None:
                known.append(None)
                continue
            x, y = at(point.thought, found.mean)
            known.append((x + shift, y))
            if found.low is not None and found.high is not None:
                ends = [at(point.thought, min(max(v, 0.0), 1.0))[1] for v in (found.low, found.high)]
                page.line([(x + shift, ends[0]), (x + shift, ends[1])], color=colour, lw=1.3, zorder=3)
                for end in ends:
                    page.line([(x + shift - 2, end), (x + shift + 2, end)], color=colour, lw=1.3, zorder=3)
        for a, b in pairwise(known):
            if a and b:
                page.line([a, b], color=colour, lw=1.2, ls=_DASHES[series.source], zorder=3)
        for spot in known:
            if spot:
                page.line(
                    [spot],
                    color=colour,
                    marker=_MARKERS[series.source],
                    ms=4.5,
                    mec=theme.background,
                    mew=0.6,
                    zorder=4,
                )


__all__ = ["StaticFormat", "render", "text_width", "wrap"]
