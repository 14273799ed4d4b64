"""What every picture looks like: shapes of roles, markers and dashes of controls, what is printed, and all colours.

The three renderers (``echarts``, ``plotly``, ``static``) take everything that must agree from here. Colours are safe
for colour-blind readers, and empty where a value is zero: values run from the background to deep blue (light theme) or
bright blue (dark theme). Orange means one thing, the true frontier. Roles are told apart by shape and by word, runs and
controls by marker and dash, never by colour alone.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from model.errors import check_known
from model.stats import short_number
from probing.draw.values import Chart, Edge, HeatCell, HeatRow, Node, Reference, Role, Scale, Series

ThemeName = Literal["light", "dark"]
Stops = tuple[tuple[float, str], ...]
Corners = tuple[tuple[float, float], ...]
FONT = "system-ui, -apple-system, Segoe UI, Roboto, Helvetica, Arial, sans-serif"

# --- shapes, markers, dashes ------------------------------------------------------------------------------------------

_PENTAGON: Corners = ((0, -1), (0.951, -0.309), (0.588, 0.809), (-0.588, 0.809), (-0.951, -0.309))


def _path(corners: Corners) -> str:
    """Corners as an ECharts symbol."""
    return "path://M" + "L".join(f"{x:g},{y:g}" for x, y in corners) + "Z"


@dataclass(frozen=True)
class Shape:
    """The outline of a node, as each renderer spells it."""

    echarts: str
    plotly: str
    corners: Corners
    """static: in units of a circle's radius, x to the right, y down; none for a circle."""
    size: float
    """Across, beside a circle's diameter."""
    glyph: str
    """In a line of text."""


ROLES: tuple[Role, ...] = ("root", "target", "other candidate")
ROLE_WORDS: dict[str, str] = {"root": "root", "target": "target ✓", "other candidate": "distractor ✗"}
"""What stands beside a node that has a role."""
FRONTIER_WORDS, PATH_WORDS = "true frontier: nodes at distance t", "shortest path to the target"
"""In the legend of a graph."""
SHAPE: dict[Role, Shape] = {
    "root": Shape(_path(_PENTAGON), "pentagon", tuple((1.1 * x, 1.1 * y) for x, y in _PENTAGON), 1.04, "⬠"),
    "target": Shape("rect", "square", ((-0.92, -0.92), (0.92, -0.92), (0.92, 0.92), (-0.92, 0.92)), 0.94, "◻"),
    "other candidate": Shape("diamond", "diamond", ((0, -1.28), (1.28, 0), (0, 1.28), (-1.28, 0)), 1.22, "◇"),
    "node": Shape("circle", "circle", (), 1.0, "○"),
}


@dataclass(frozen=True)
class Marker:
    """The mark of a point, as each renderer spells it."""

    echarts: str
    plotly: str
    static: str
    corners: Corners = ()
    """In units of half its size, x to the right, y down; none for a circle."""


def _cornered(corners: Corners, plotly: str, static: str, echarts: str = "") -> Marker:
    return Marker(echarts or _path(corners), plotly, static, corners)


NO_MARKER = Marker("none", "circle", "")
MARKERS: dict[str, Marker] = {
    "circle": Marker("circle", "circle", "o"),
    "square": _cornered(((-1, -1), (1, -1), (1, 1), (-1, 1)), "square", "s", "rect"),
    "diamond": _cornered(((0, -1), (1, 0), (0, 1), (-1, 0)), "diamond", "D", "diamond"),
    "triangle": _cornered(((0, -1), (1, 1), (-1, 1)), "triangle-up", "^", "triangle"),
    "down": _cornered(((-1, -1), (1, -1), (0, 1)), "triangle-down", "v"),
    "pentagon": _cornered(_PENTAGON, "pentagon", "p"),
    "left": _cornered(((1, -1), (1, 1), (-1, 0)), "triangle-left", "<"),
    "right": _cornered(((-1, -1), (-1, 1), (1, 0)), "triangle-right", ">"),
}


@dataclass(frozen=True)
class Dash:
    """The pattern of a line, as each renderer spells it."""

    echarts: str | list[int]
    """Pixels drawn and left out by turns."""
    plotly: str
    static: Any


DASHES: dict[str, Dash] = {
    "solid": Dash("solid", "solid", "-"),
    "dash": Dash([8, 4], "dash", (0, (4, 2))),
    "dot": Dash([2, 3], "dot", (0, (1, 1.5))),
    "dashdot": Dash([8, 4, 2, 4], "dashdot", (0, (5, 1, 1, 1))),
    "longdash": Dash([14, 4], "longdash", (0, (9, 3))),
}
SOURCE: dict[str, tuple[str, str]] = {
    "model": ("circle", "solid"),
    "shuffled": ("square", "dot"),
    "untrained": ("triangle", "dash"),
    "depth_reader": ("down", "dashdot"),
    "chance": ("", "longdash"),
    "before": ("circle", "dot"),
    "after": ("diamond", "solid"),
    "identity": ("right", "solid"),
    "random": ("square", "solid"),
    "manifold": ("left", "dash"),
    "unreachable": ("triangle", "dash"),
    "neither": ("down", "dot"),
    "other-step": ("pentagon", "dashdot"),
    "target": ("square", "solid"),
    "other candidate": ("diamond", "solid"),
}
"""Marker and dash of a run, of a control, or of a candidate's line."""

# --- what is printed --------------------------------------------------------------------------------------------------

PRINT_FROM = 0.05
"""Values nearer to zero than this share of the scale are not printed."""
PRINT_STACK_FROM = 0.06
"""Smaller parts of a stack are not printed."""
MANY_STAGES = 10
"""More stages of training than this are not named."""
STACK_SHIFT = 0.3
"""How far off the middle of a stack its interval stands, to the left, and its controls, to the right."""
SIZE = 7.5
"""Points of ordinary text in a file."""
MANY = 12
"""More lines than this are drawn thin and without a legend; more points than this without markers."""


def unbroken(text: str) -> str:
    """A text in which no line ends between a number and its sign: before %, after < and >, or around =."""
    return _LOOSE.sub("\u00a0", text)


_LOOSE = re.compile(r"(?<=\d) (?=%)|(?<=[<>]) (?=\d)|(?<=&[lg]t;) (?=\d)|(?<=\S) (?== \S)|(?<=\S[ \u00a0]=) (?=\S)")
"""The spaces meant; < and > in HTML too."""


def printed(value: float, scale: Scale) -> str:
    """What is written on a node or cell: nothing near zero; with a sign where the scale is of differences."""
    text = short_number(value)
    if abs(value) < PRINT_FROM * max(abs(scale.low), abs(scale.high)) or not text.strip("-.0"):
        return ""
    return ("+" if scale.signed and value > 0 else "") + text


def printed_cell(row: HeatRow, cell: HeatCell, scale: Scale) -> str:
    """What is written on a cell of a heatmap; the answer token's row is of probabilities whatever the scale."""
    if cell.found is None:
        return ""
    unit = scale.model_copy(update={"low": 0, "high": 1, "signed": False})
    return printed(cell.found.value, unit if row.role == "marker" else scale)


def printed_points(chart: Chart, series: Series) -> tuple[str, ...]:
    """What is written at each point of a series, "" for nothing; where there is no value, only in a tree or cell.

    Percent in a stack, two decimals in a grid that is not labelled, three in a ranked list; else the labels.
    """
    if chart.kind == "stacked":
        return tuple("" if y is None or y < PRINT_STACK_FROM else f"{100 * y:.0f}" for y in series.y)
    if chart.kind == "heatmap" and not chart.labelled:
        return tuple("–" if y is None else short_number(y) for y in series.y)
    texts = series.labels or tuple(f"{y or 0:.3f}" if chart.kind == "ranked" else "" for y in series.y)
    if chart.kind in ("tree", "heatmap"):
        return texts
    return tuple("" if y is None else text for y, text in zip(series.y, texts, strict=True))


def text_width(text: str, size: float = SIZE) -> float:
    """About how wide a text is, in the unit of its size; generous, and the same wherever it runs."""
    ems = 0.0
    for letter in text:
        if unicodedata.combining(letter) or unicodedata.category(letter) in ("Mn", "Me", "Cf"):
            continue
        wide = unicodedata.east_asian_width(letter) in ("W", "F") or ord(letter) > 0x1F000
        ems += 1.1 if wide else 0.36 if letter in "iljtfrI.,:;'|!()[] " else 0.95 if letter in "mwMW%@—…" else 0.64
    return ems * size


def wrap(text: str, width: float, size: float = SIZE) -> list[str]:
    """Lines no wider than ``width``, in the unit of the size, broken at spaces."""
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and text_width(longer, size) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def legend(chart: Chart) -> list[str]:
    """The entry of each series in the legend, with the cases behind a line; "" for those without one.

    Nothing is named where there is one series, or a row for each; nor the broken twin of a tinted line and the faint
    lines that all look the same, which the title explains, nor the single cases of a strip.
    """
    rows = chart.kind == "heatmap" or (chart.kind == "strip" and chart.abreast == 1)
    if rows or not 1 < len(chart.series) <= MANY:
        return [""] * len(chart.series)
    found, faint = [], sum(one.faint for one in chart.series)
    for one in chart.series:
        hidden = (one.control and one.tint is not None) or (one.faint and (chart.kind == "strip" or faint > 1))
        n = max((n for n in one.n or () if n), default=0) if chart.kind in ("lines", "strip") else 0
        found.append("" if hidden else f"{one.name} (n = {n:,})" if n else one.name)
    return found


# --- colours ----------------------------------------------------------------------------------------------------------

COLOURS = ("model", "#009e73", "#cc79a7", "#56b4e9", "#7a5c00", "#8c1d5c", "#16202c", "#5b9bd0")
"""Of series without a meaning of their own. No orange."""
GREYS = ("#5a6675", "#8895a4", "#a3aebb", "#3a4450")
GROUPS: dict[str, str] = {
    "target": "#00775a",
    "other candidate": "#a0337a",
    "optimal": "path",
    "earlier": "passed",
    "reached": "passed",
    "not reached": "outline",
    "correct path": "#0b3c73",
    "longer path": "#69a8d8",
    "hallucination": "#8c1d5c",
    "wrong target": "#d786ae",
    "correct label": "#009e73",
    "incorrect label": "#c7b26b",
    "correct": "model",
    "incorrect": "#8c1d5c",
    "root": "path",
    "leads to the target": "passed",
    "does not": "outline",
    "chance": "muted",
    "before": "muted",
    "after": "model",
    "identity": "text",
    "random": "#8c1d5c",
    "manifold": "#7a5c00",
    "unreachable": "#6a51a3",
    "neither": "#009e73",
    "other-step": "#cc79a7",
}
"""Colours that stand for something wherever they are drawn: a colour of the light theme, or the name of one."""
ON_DARK = {
    "#0b3c73": "#2b73b8", "#8c1d5c": "#c0508e", "#009e73": "#2bc397", "#7a5c00": "#c9a227", "#00775a": "#45d2a6",
    "#a0337a": "#ee92c9", "#16202c": "#eef2f6", "#6a51a3": "#a893e0",
}  # fmt: skip
"""The same colour on the dark background, where it would not be seen there."""


@dataclass(frozen=True)
class Theme:
    """One set of colours, all as ``#rrggbb``."""

    name: ThemeName
    background: str
    text: str
    muted: str
    """Secondary text; at least 4.5 : 1 on the background."""
    faint: str
    """Grid lines and dividers."""
    away: str
    """Edges and outlines of what the root cannot reach."""
    outline: str
    """Outlines of nodes."""
    edge: str
    frontier: str
    """The true frontier, and nothing else."""
    path: str
    """Edges on a shortest path to the target."""
    positive: Stops
    """From zero to the largest value."""
    negative: Stops
    """From zero to the most negative value."""
    parts: dict[str, str]
    """Colours of the groups that a thought's probability falls into."""
    sources: dict[str, str]
    """Colours of the model and its controls."""

    def colour(self, value: float, low: float, high: float) -> str:
        """The colour of a value on a scale from ``low`` to ``high``; zero is always the background's."""
        largest = max(abs(low), abs(high), 1e-12)
        share = min(abs(value) / largest, 1.0)
        return _between(self.positive if value >= 0 else self.negative, share)

    def named(self, name: str) -> str:
        """A colour by what it stands for: a group, a source, a part, a colour of the theme, or ``#rrggbb``."""
        name = GROUPS.get(name, name)
        if name.startswith("#"):
            return ON_DARK.get(name, name) if self.name == "dark" else name
        return self.sources.get(name) or self.parts.get(name) or getattr(self, name)

    def knows(self, name: str) -> bool:
        return name in GROUPS or name in self.sources or name in self.parts

    def outline_of(self, node: Node | HeatRow) -> str:
        """The outline of a node, and the colour of its role's word."""
        if node.role in ("target", "other candidate"):
            return self.named(node.role)
        if node.role == "root":
            return self.text
        return self.outline if node.reachable else self.away

    def ring_of(self, node: Node) -> str:
        """The outline of a node that stands out: in the frontier, or answered with; "" for any other."""
        if node.frontier:
            return self.frontier
        if not node.answered:
            return ""
        return self.outline_of(node) if self.name == "dark" else self.text  # there, what holds all is as white as text

    def edge_of(self, edge: Edge) -> str:
        return self.path if edge.on_path else self.edge if edge.reachable else self.away

    def badge_of(self, node: Node) -> str:
        return self.named("target" if node.badge == "+" else "other candidate")

    def line_of(self, line: Reference) -> tuple[str, Dash]:
        """Colour and pattern of a reference."""
        if line.kind == "frontier":
            return self.frontier, DASHES["dash"]
        return (self.text, DASHES["solid"]) if line.kind == "cursor" else (self.muted, DASHES["dot"])

    def cell(self, row: HeatRow, value: float, scale: Scale) -> str:
        """The colour of a cell of a heatmap; the answer token's row is grey."""
        if row.role == "marker":
            return mixed(self.background, self.parts["answer token"], min(max(value, 0.0), 1.0))
        return self.colour(value, scale.low, scale.high)

    def ink(self, fill: str) -> str:
        """Black or white, whichever is read more easily on a fill; always 4.5 : 1 or more."""
        light, dark = "#ffffff", "#000000"
        return light if contrast(light, fill) > contrast(dark, fill) else dark

    def stops(self, low: float, high: float, n: int = 33) -> list[tuple[float, str]]:
        """The scale from ``low`` to ``high`` as (share, colour) pairs, as a colour bar needs."""
        return [(i / (n - 1), self.colour(low + (high - low) * i / (n - 1), low, high)) for i in range(n)]


LIGHT = Theme(
    name="light",
    background="#ffffff",
    text="#16202c",
    muted="#5a6675",
    faint="#d5dbe2",
    away="#b4bfca",
    outline="#8895a4",
    edge="#a3aebb",
    frontier="#e36c09",
    path="#16202c",
    positive=((0, "#ffffff"), (0.04, "#e6f0f9"), (0.2, "#b3d3ec"), (0.45, "#69a8d8"), (0.7, "#2c74b3"), (1, "#0b3c73")),
    negative=((0, "#ffffff"), (0.2, "#f0cbdc"), (0.5, "#d786ae"), (1, "#8c1d5c")),
    parts={
        "frontier": "#e36c09",
        "passed": "#5b9bd0",
        "beyond": "#a9b3be",
        "other": "#dde2e8",
        "answer token": "#2b3642",
    },
    sources={"model": "#0b4f94", "shuffled": "#6e6000", "untrained": "#6b7683", "depth_reader": "#8a3d6b"},
)
DARK = Theme(
    name="dark",
    background="#0e1117",
    text="#eef2f6",
    muted="#a3afbd",
    faint="#2b333e",
    away="#465261",
    outline="#6c7a8a",
    edge="#5a6776",
    frontier="#ff9a3c",
    path="#f4f7fa",
    positive=((0, "#0e1117"), (0.04, "#15253a"), (0.2, "#1b4470"), (0.45, "#2b73b8"), (0.7, "#62ade8"), (1, "#d9efff")),
    negative=((0, "#0e1117"), (0.2, "#43203a"), (0.5, "#93416f"), (1, "#f3a5cb")),
    parts={
        "frontier": "#ff9a3c",
        "passed": "#4f93cc",
        "beyond": "#6c7785",
        "other": "#3a4450",
        "answer token": "#e3e9ef",
    },
    sources={"model": "#6fb7f2", "shuffled": "#b5aa4a", "untrained": "#93a0ae", "depth_reader": "#d38bb4"},
)
THEMES: dict[str, Theme] = {"light": LIGHT, "dark": DARK}


def theme_of(name: str) -> Theme:
    """Raises InputError if there is no such theme."""
    check_known("theme", name, THEMES)
    return THEMES[name]


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two colours, 1 to 21 (WCAG 2.2)."""
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def mixed(one: str, other: str, share: float) -> str:
    """A colour between two."""
    return "#" + "".join(
        f"{round(255 * (a + (b - a) * share)):02x}" for a, b in zip(_rgb(one), _rgb(other), strict=True)
    )


def faded(colour: str, opacity: float) -> str:
    """A colour that lets through what is behind it."""
    return f"rgba({','.join(str(round(255 * part)) for part in _rgb(colour))},{opacity:g})"


@dataclass(frozen=True)
class Mark:
    """How a series is drawn."""

    colour: str
    dash: Dash
    marker: Marker
    width: float = 1.0
    """Of its line, beside an ordinary one."""
    opacity: float = 1.0


def marks_of(chart: Chart, theme: Theme) -> list[Mark]:
    """One rule for all charts: known sources and groups look the same everywhere, controls are grey and broken."""
    if chart.kind == "lines" and len(chart.series) > MANY:
        return [Mark(theme.sources["model"], DASHES["solid"], NO_MARKER, 0.5, 0.35)] * len(chart.series)
    found: list[Mark] = []
    own = controls = 0
    cycle = list(MARKERS.values())
    for one in chart.series:
        words = one.name.split(" (")[0].split(",")
        last = words[-1].split(" ")[-1]
        key = one.source or one.group or (words[0] if not one.control else last if last in theme.sources else "")
        marker, dash = SOURCE.get(one.source, ("", "") if one.control else (None, "solid"))
        if one.control:
            dash = dash or ("dot" if one.group else list(DASHES)[1 + controls % 3])
            colour = theme.named(key if theme.knows(key) else GREYS[controls % len(GREYS)])
            controls += 1
        else:
            colour = theme.named(key if theme.knows(key) else COLOURS[own % len(COLOURS)])
            own += 1
        if one.tint is not None:
            colour = theme.colour(one.tint, 0, 1)
        shown = cycle[(own - 1) % len(cycle)] if marker is None else MARKERS.get(marker, NO_MARKER)
        if chart.kind == "bars" and shown is NO_MARKER:
            shown = MARKERS[SOURCE["untrained"][0]]  # a control's points have no line to be known by
        if chart.kind == "histogram" or (chart.kind == "lines" and len(one.x) > MANY):
            shown = NO_MARKER
        found.append(Mark(theme.away if one.faint else colour, DASHES[dash], shown, 0.6 if one.faint else 1.0))
    return found


def _luminance(colour: str) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in _rgb(colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _between(stops: Stops, share: float) -> str:
    for (start, before), (end, after) in pairwise(stops):
        if share <= end:
            part = (share - start) / (end - start)
            return mixed(before, after, part)
    return stops[-1][1]


def _rgb(colour: str) -> tuple[float, float, float]:
    return int(colour[1:3], 16) / 255, int(colour[3:5], 16) / 255, int(colour[5:7], 16) / 255
