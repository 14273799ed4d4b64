"""What a picture says: a Graph, a Heatmap or a Chart, as frozen plain data without colours and without pixels.

Page (``echarts``), HTML and notebook (``plotly``) and files (``static``) draw the same value, so they cannot disagree.
State h_k is the state after k thoughts; thought t is state h_(t-1) and should hold the nodes at distance t; h_K is the
state that answers.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal, Self

import numpy as np
from pydantic import model_validator

from model.stats import Estimate, Floats
from model.values import Number, Value
from probing.draw.layout import Point

Role = Literal["root", "target", "other candidate", "node"]
Lines = tuple[tuple[str, str], ...]
"""Numbers that hovering says: (what, text), one a line."""
LABEL_LENGTH = 20
FINISHED = "search finished"
"""What a note on a thought after the search begins with."""


class Words(Value):
    """What stands around a picture."""

    title: str
    answer: str = ""
    caption: str = ""
    alt: str = ""
    later: str = ""
    """What there is to say of the thoughts after the search, or why there is no value."""

    @property
    def foot(self) -> str:
        return f"{self.later} {self.caption}".strip()


class Scale(Value):
    """One colour scale, the same for all states of a report; zero is always on it."""

    value: str
    label: str
    low: Number
    high: Number
    signed: bool = False
    """Values are differences, printed with their sign."""


class Node(Value):
    """One node at one state."""

    id: int
    name: str
    label: str
    """The name made fit for one line; never markup."""
    role: Role
    x: Number
    y: Number
    distance: int | None
    """Hops from the root; None where it cannot reach."""
    found: Estimate
    frontier: bool
    """At distance t, for thought t. False everywhere in the answering state."""
    optimal: bool
    """In the frontier and on a shortest path to the target."""
    passed: bool
    """Nearer than t."""
    badge: Literal["", "+", "−"] = ""
    """Whether an edit puts it into the thought or takes it out."""
    answered: bool = False
    """In the answering state, the candidate that is answered with."""
    tip: Lines = ()

    @property
    def value(self) -> float:
        return self.found.value

    @property
    def reachable(self) -> bool:
        return self.distance is not None

    @property
    def meaning(self) -> str:
        """What the node is, in words."""
        said = {
            "root": "root: the queried entity",
            "target": "target: the right answer",
            "other candidate": "distractor: the wrong answer",
            "node": "reachable from the root" if self.reachable else "not reachable from the root",
        }[self.role]
        path = ", on a shortest path" if self.optimal else ""
        answered = "; the model's answer" if self.answered else ""
        return f"{said}; in the true frontier{path}" if self.frontier else said + answered


class Edge(Value):
    """One edge as a quadratic Bezier curve in layout units."""

    source: int
    target: int
    start: Point
    control: Point
    end: Point
    on_path: bool
    """On a shortest path from the root to the target."""
    reachable: bool
    """Both ends can be reached from the root."""

    @property
    def curveness(self) -> float:
        """How far the control point lies to the left of the straight line, as a share of its length."""
        (ax, ay), (cx, cy), (bx, by) = self.start, self.control, self.end
        left = (cy - (ay + by) / 2) * (bx - ax) - (cx - (ax + bx) / 2) * (by - ay)
        return left / ((bx - ax) ** 2 + (by - ay) ** 2)


class Graph(Value):
    """The graph as one state sees it; x counts columns, y counts rows upward. Node i is the i-th of ``nodes``."""

    state: int
    thought: int | None
    """state + 1; None in the answering state."""
    heading: str
    subtitle: tuple[str, ...]
    """Short lines: the mass on the frontier, then the controls."""
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    scale: Scale
    columns: tuple[tuple[float, str], ...]
    """(x, "0"), (x, "1"), ...: distances of the upper block."""
    width: Number
    height: Number
    divider: Number | None
    divider_label: str
    words: Words

    @property
    def curves(self) -> Floats:
        """``3 E 2``: start, control point and end of each edge."""
        points = [(edge.start, edge.control, edge.end) for edge in self.edges]
        return np.array(points, dtype=float).reshape(-1, 3, 2).swapaxes(0, 1)

    def said(self, node: Node) -> tuple[str, ...]:
        """What hovering over a node says, its name first."""
        distance = "none" if node.distance is None else node.distance
        n = "1 prompt sample" if node.found.n == 1 else f"n = {node.found.n} prompt samples"
        numbers = (f"{what}: {text}, {n}" for what, text in node.tip)
        return (node.name, node.meaning, f"distance from the root: {distance}", *numbers, self.heading)


class HeatRow(Value):
    """A node, or the answer token, which is last."""

    id: int
    """The node; -1 for the answer token."""
    name: str
    label: str
    role: Literal["root", "target", "other candidate", "node", "marker"]
    distance: int | None

    @property
    def reachable(self) -> bool:
        return self.distance is not None


class HeatColumn(Value):
    """A thought, or the answering state, which is last."""

    state: int
    thought: int | None
    parts: tuple[tuple[str, Number], ...] = ()
    """(group, mean probability); they sum to 1."""
    frontier: tuple[tuple[str, Estimate], ...] = ()
    """(source, probability on the frontier) of the model and its controls; nothing where the frontier is empty."""
    note: str = ""
    """"" or what there is to say where no node stands out."""

    @property
    def label(self) -> str:
        return str(self.thought) if self.thought else "answer"

    @property
    def short(self) -> str:
        """The note in two words."""
        return "" if not self.note else "done" if self.note.startswith((FINISHED, "done")) else "no node"


class HeatCell(Value):
    """The value of a node at a state; None where a run was cut before it."""

    found: Estimate | None
    frontier: bool = False
    optimal: bool = False
    tip: str = ""


class Heatmap(Value):
    """Nodes down, by distance from the root and then from top to bottom of the graph; thoughts across."""

    rows: tuple[HeatRow, ...]
    columns: tuple[HeatColumn, ...]
    cells: tuple[tuple[HeatCell, ...], ...]
    """``cells[row][column]``."""
    spans: tuple[tuple[str, int, int], ...]
    """(distance, first row, last row + 1)."""
    scale: Scale
    n: int
    words: Words
    cursor: int | None = None
    """The state looked at."""

    def said(self, row: int, column: int) -> tuple[str, ...]:
        """What hovering over a cell says, the node's name first."""
        about = self.columns[column]
        state = f"thought {about.thought}" if about.thought else "the answer state"
        return self.rows[row].name, f"{state} (state h{about.state})", self.cells[row][column].tip, f"n = {self.n}"

    def stack(self) -> Chart | None:
        """Where the probability of each state is, in the columns of the heatmap; None where it is not known."""
        if not self.columns[0].parts:
            return None
        labels = tuple(column.label for column in self.columns)
        shares = [dict(column.parts) for column in self.columns]
        return Chart(
            name="parts", title="where the probability is", kind="stacked", x_label="thought", y_label="probability",
            y_range=(0, 1), categories=labels,
            series=tuple(
                Series(name=part, x=labels, y=tuple(share[part] for share in shares), group=part) for part in shares[0]
            ),
        )  # fmt: skip

    def on_frontier(self) -> tuple[Series, ...]:
        """Probability on the true frontier: the model's with its interval, and each control's."""
        known = [dict(column.frontier) for column in self.columns]
        x = [column.label for column in self.columns]
        sources = dict.fromkeys(source for found in known for source in found)
        return tuple(
            Series.of("frontier, 95 % interval" if source == "model" else f"frontier, {source}", x,
                      [found.get(source) for found in known], source=source)
            for source in sources
        )  # fmt: skip


class Series(Value):
    """One line, one set of bars or points, a histogram, or a row of a heatmap."""

    name: str
    x: tuple[Number | str, ...]
    y: tuple[Number | None, ...]
    low: tuple[Number | None, ...] | None = None
    high: tuple[Number | None, ...] | None = None
    labels: tuple[str, ...] | None = None
    """A text for each point, such as the problem's number."""
    control: bool = False
    """Drawn as a control: dashed or dotted."""
    n: tuple[int | None, ...] | None = None
    """Cases behind each point."""
    source: str = ""
    """Which run it is: a key of ``marks.SOURCE``, drawn the same everywhere."""
    group: str = ""
    """What it is about: a key of ``marks.GROUPS`` or of a theme's parts."""
    faint: bool = False
    """Background to the others."""
    shade: bool = True
    """Intervals as a band; else as strokes."""
    tint: Number | None = None
    """A place on the colour scale, 0 to 1, for series that have an order."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name in ("x", "low", "high", "labels", "n"):
            if (beside := getattr(self, name)) is not None and len(beside) != len(self.y):
                raise ValueError(f"series {self.name!r:.40} has {len(beside)} {name} for {len(self.y)} y")
        return self

    @classmethod
    def of(cls, name: str, x: Iterable[float | str], found: Iterable[Estimate | None], **rest: object) -> Series:
        """A series of estimates."""
        values = list(found)
        ends = any(e is not None and e.low is not None for e in values)
        y, low, high, n = (
            tuple(None if e is None else getattr(e, field) for e in values) for field in ("value", "low", "high", "n")
        )
        data = {"name": name, "x": tuple(x), "y": y, "low": low if ends else None, "high": high if ends else None}
        return cls.model_validate(data | {"n": n if any(n) else None} | rest)

    @property
    def bare(self) -> Series:
        """Without its intervals."""
        return self.model_copy(update={"low": None, "high": None})

    @property
    def ends(self) -> list[tuple[float, float] | None]:
        """The interval of each point; None where it has none."""
        if self.low is None or self.high is None:
            return [None] * len(self.y)
        return [None if a is None or b is None else (a, b) for a, b in zip(self.low, self.high, strict=True)]

    def said(self, i: int) -> str:
        """A value with its interval and n."""
        y = self.y[i]
        if y is None:
            return "not defined"
        low, high = self.ends[i] or (None, None)
        n = None if self.n is None else self.n[i]
        return Estimate(value=y, low=low, high=high, n=n or 0).text() + (f", n = {n:,}" if n else "")


class Reference(Value):
    """A line, a cursor or a stretch that values are read against."""

    axis: Literal["x", "y"]
    at: Number
    """A value of the axis; the number of the category, where it has categories."""
    label: str = ""
    kind: Literal["level", "cursor", "stage", "frontier"] = "level"
    to: Number | None = None
    """stage: where it ends."""
    group: str = ""
    """Coloured as this group, if given."""


class Chart(Value):
    """What is drawn, in data. ``x`` and ``y`` of its series are what the axes say, in their units."""

    name: str
    """File name without its ending."""
    title: str
    kind: Literal["lines", "stacked", "bars", "histogram", "points", "heatmap", "tree", "ranked", "strip"]
    """heatmap: a series is a row and its x are the columns. stacked: a series is a category. ranked: bars to the right,
    one per category. strip: points with intervals to the right, a row per category; faint series are single cases."""
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    y_range: tuple[Number, Number] | None = None
    edges: tuple[tuple[str, str], ...] = ()
    """tree: the edges, by node name."""
    note: str = ""
    x_range: tuple[Number, Number] | None = None
    references: tuple[Reference, ...] = ()
    categories: tuple[str, ...] = ()
    """What x counts, in order, where it is no number."""
    words: Words | None = None
    labelled: bool = False
    """heatmap: its labels are written on the cells in place of the values."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = self.names()
        for series in self.series:
            x = [str(each) for each in series.x]
            if self.categories and (unknown := {*x} - {*names}):
                raise ValueError(f"{min(unknown)!r:.40} is none of the chart's categories")
            if self.kind == "stacked" and x != [*names]:
                raise ValueError(f"series {series.name!r:.40} does not have a part of every bar")
            if not self._named and not all(isinstance(each, int | float) for each in series.x):
                raise ValueError(f"series {series.name!r:.40} has an x that is no number")
        return self

    @property
    def _named(self) -> bool:
        """Whether x is a place among names."""
        return bool(self.categories) or self.kind not in ("lines", "points", "histogram", "tree")

    def names(self) -> tuple[str, ...]:
        """The categories in order; of first appearance where they are not given."""
        return self.categories or tuple(dict.fromkeys(str(x) for series in self.series for x in series.x))

    @property
    def flat(self) -> bool:
        """Whether values run to the right, a category per row."""
        return self.kind in ("ranked", "strip")

    def across(self, series: Series) -> list[float]:
        """The x of a series: numbers, or places among the categories."""
        if not self._named:
            return [float(x) for x in series.x]
        place = {name: float(i) for i, name in enumerate(self.names())}
        return [place[str(x)] for x in series.x]

    @property
    def abreast(self) -> int:
        """How many series, faint ones aside, share one category at most."""
        return max(Counter(str(x) for one in self.series if not one.faint for x in one.x).values(), default=1)

    def beside(self, series: Series) -> list[float]:
        """``across``, with the series of one category side by side; faint ones stay in the middle."""
        if series.faint:
            return self.across(series)
        others = [one for one in self.series if not one.faint]
        before = [sum(x in one.x for one in others[: others.index(series)]) for x in series.x]
        shifts = ((k - (self.abreast - 1) / 2) * 0.75 / self.abreast for k in before)
        return [at + shift for at, shift in zip(self.across(series), shifts, strict=True)]

    @property
    def y_ends(self) -> tuple[float, float] | None:
        """``y_range`` and a little more, so that marks at its ends are whole."""
        if self.y_range is None:
            return None
        low, high = self.y_range
        return low - 0.02 * (high - low), high + 0.02 * (high - low)

    def span(self) -> tuple[float, float]:
        """``y_range``, or the least and the greatest value."""
        known = [y for series in self.series for y in series.y if y is not None]
        return self.y_range or (min(known, default=0.0), max(known, default=1.0))

    def node_of(self, label: str) -> str:
        """tree: the name of the node that a label is of, which may stand before its value."""
        names = {name for edge in self.edges for name in edge}
        return label if label in names else label.rpartition(" ")[0] or label

    def tree(self) -> dict[str, Point]:
        """tree: where each node is; a column each distance, the greatest values on top."""
        columns: dict[float, list[tuple[float, str]]] = {}
        for one in self.series:
            for x, y, label in zip(one.x, one.y, one.labels or (), strict=True):
                columns.setdefault(float(x), []).append((-(y or 0.0), self.node_of(label)))
        return {
            name: (x, (len(column) - 1) / 2 - i)
            for x, column in columns.items()
            for i, (_, name) in enumerate(sorted(column, key=lambda node: node[0]))
        }

    @property
    def stages(self) -> list[Reference]:
        return [line for line in self.references if line.kind == "stage"]

    def about(self) -> Words:
        return self.words or Words(title=self.title, alt=f"{self.title}: {self.y_label} by {self.x_label}")

    def cursor(self) -> float | None:
        return next((line.at for line in self.references if line.kind == "cursor"), None)

    def said(self, series: Series, i: int) -> tuple[str, ...]:
        """What hovering over a point says, the series' name first."""
        label = (series.labels[i],) if series.labels else ()
        return series.name, f"{self.x_label} {series.x[i]}", series.said(i), *label

    def problem(self, series: int, index: int) -> int | None:
        """The number of the problem that a point stands for, where points are problems."""
        labels = (self.series[series].labels or ()) if 0 <= series < len(self.series) else ()
        words = labels[index].split() if 0 <= index < len(labels) else []
        return int(words[1]) if len(words) == 2 and words[0] == "problem" and words[1].isdecimal() else None


Figure = Graph | Heatmap | Chart | Sequence[Graph] | Sequence[Chart]


def each(value: Figure) -> list[Graph | Heatmap | Chart]:
    """The pictures that a figure is made of."""
    return [value] if isinstance(value, Graph | Heatmap | Chart) else list(value)


def display_name(name: str, most: int = LABEL_LENGTH) -> str:
    """A name on one line: control and direction-override characters made visible; of a long one the beginning and the
    end, with … between them, since names often begin alike."""
    shown = name if name.isascii() and name.isprintable() else "".join(map(_visible, name))
    if len(shown) <= most:
        return shown
    end = shown[len(shown) - (most - 1) // 2 :].lstrip()
    while end and unicodedata.category(end[0]) in ("Mn", "Me", "Mc", "Cf"):  # marks of a letter that is left out
        end = end[1:]
    return f"{shown[: most // 2].rstrip()}…{end}"


def article(name: str) -> str:
    """The indefinite article before a name; prompts have ``a`` before all, as their data."""
    return "an" if name[:1].lower() in tuple("aeiou") else "a"


def unique(names: Iterable[str]) -> list[str]:
    """A category axis takes each name once: those cut to the same characters get invisible marks."""
    seen: dict[str, int] = {}
    found = []
    for name in names:
        seen[name] = seen.get(name, -1) + 1
        found.append(name + "\u200b" * seen[name])
    return found


def _visible(letter: str) -> str:
    # Cf holds the joiners that emoji and Indic scripts need; only those that turn the direction are replaced.
    if letter in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f":
        return "\ufffd"
    category = unicodedata.category(letter)
    if category == "Zs":
        return " "
    # Not Cn: letters that this Python does not know yet may be new emoji; only these two are in no XML file.
    return "\ufffd" if category in ("Cc", "Zl", "Zp", "Cs") or letter in "\ufffe\uffff" else letter
