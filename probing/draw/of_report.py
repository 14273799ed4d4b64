"""What a figure says, apart from how it is drawn: pure functions from a report to small frozen descriptions.

The page, the files and the tables are all made from these, so they cannot disagree. State h_k is the state after k
thoughts; thought t is state h_(t-1) and should hold the nodes at distance t; h_K is the state that answers.
"""

from __future__ import annotations

import math
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from model.codec_slots import ANSWER
from model.errors import InputError
from model.metrics import METRICS
from model.problems.prosqa import ProsQAProblem
from probing.draw.layout import Point, layout
from probing.read.report import VALUES, Estimate, ProbeReport

Role = Literal["root", "target", "other candidate", "node"]
LABEL_LENGTH = 20
PARTS = ("frontier", "reached before", "not reached", "other", "answer marker")
SOURCES = {"model": "model", "shuffled": "shuffled labels", "untrained": "untrained model"}
FRONTIER_METRICS = ("auroc_all", "average_precision", "mass_frontier")
PRINTED_FROM = 0.05
"""Values nearer to zero than this share of the scale are not printed."""


@dataclass(frozen=True)
class Scale:
    """The one colour scale of all states of a report; zero is always on it."""

    value: str
    """One of ``probing.read.report.VALUES``."""
    label: str
    low: float
    high: float

    def prints(self, value: float) -> bool:
        """Whether a value is large enough to be written on its node or cell."""
        return abs(value) >= PRINTED_FROM * max(abs(self.low), abs(self.high))

    def short(self, value: float) -> str:
        """A value in three or four characters: ``.36``, ``1.0``, ``-2.1``, ``13``."""
        return short_number(value)


@dataclass(frozen=True)
class NodeMark:
    """One node at one state."""

    node: int
    name: str
    label: str
    """The name made fit for one line; never markup."""
    role: Role
    x: float
    y: float
    distance: int | None
    """Hops from the root; None where it cannot reach."""
    value: float
    low: float | None
    high: float | None
    n: int
    """Draws averaged."""
    frontier: bool
    """At distance t, for thought t. False everywhere in the answering state."""
    optimal: bool
    """In the frontier and on a shortest path to the target."""
    reached: bool
    """Nearer than t."""

    @property
    def reachable(self) -> bool:
        return self.distance is not None


@dataclass(frozen=True)
class EdgeMark:
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


@dataclass(frozen=True)
class DagScene:
    """The graph as one state sees it; x counts columns, y counts rows upward."""

    state: int
    thought: int | None
    """state + 1; None in the answering state."""
    heading: str
    subtitle: tuple[str, ...]
    """Short lines: the mass on the frontier, then the controls."""
    nodes: tuple[NodeMark, ...]
    edges: tuple[EdgeMark, ...]
    scale: Scale
    columns: tuple[tuple[float, str], ...]
    """(x, "0"), (x, "1"), ...: distances of the upper block."""
    width: float
    height: float
    divider: float | None
    divider_label: str
    title: str
    answer: str
    later: str
    """"" or what the thoughts after the search are: done."""
    caption: str
    alt: str


@dataclass(frozen=True)
class Row:
    """One line of the heatmap."""

    state: int
    thought: int | None
    label: str
    cells: tuple[NodeMark, ...]
    """In the order of the columns."""
    parts: tuple[tuple[str, float], ...]
    """(group, mean probability), in the order of PARTS; they sum to 1."""
    note: str
    """"" or what there is to say where no node stands out."""
    frontier: tuple[tuple[str, Estimate], ...]
    """(source, probability on the frontier) of the model and its controls; nothing where the frontier is empty."""

    def room(self, scale: Scale) -> tuple[int, int]:
        """The longest stretch of columns with no value printed, as first and last + 1: where the note goes."""
        best, start = (0, 0), 0
        for i, printed in enumerate([*(scale.prints(cell.value) for cell in self.cells), True]):
            if printed:
                best, start = max(best, (start, i), key=lambda run: run[1] - run[0]), i + 1
        return best


@dataclass(frozen=True)
class HeatmapScene:
    """Nodes by states, nodes ordered by distance from the root, then from top to bottom of the graph."""

    rows: tuple[Row, ...]
    spans: tuple[tuple[str, int, int], ...]
    """(label, first column, last column + 1) of each distance."""
    scale: Scale
    n: int
    title: str
    answer: str
    caption: str
    alt: str

    @property
    def columns(self) -> tuple[NodeMark, ...]:
        return self.rows[0].cells


@dataclass(frozen=True)
class MetricPoint:
    """A metric at one thought; no estimate where it is undefined."""

    thought: int
    estimate: Estimate | None


@dataclass(frozen=True)
class Series:
    source: str
    label: str
    points: tuple[MetricPoint, ...]


@dataclass(frozen=True)
class MetricPanel:
    metric: str
    label: str
    definition: str
    series: tuple[Series, ...]
    chance: tuple[tuple[int, float], ...]
    """(thought, value that a random score has), where there is one."""
    chance_label: str


@dataclass(frozen=True)
class FrontierScene:
    """Frontier metrics by thought beside their controls."""

    panels: tuple[MetricPanel, ...]
    n_thoughts: int
    empty: tuple[tuple[int, str], ...]
    """(thought, "done" or "no node") for the thoughts with no node at their distance."""
    undefined: str
    """"" or why some thoughts have no point."""
    title: str
    answer: str
    caption: str
    alt: str


# --- scenes -----------------------------------------------------------------------------------------------------------


def edge_marks(problem: ProsQAProblem) -> tuple[EdgeMark, ...]:
    """The edges of a problem where its layout puts them."""
    where, on_path = layout(problem), problem.shortest_path_nodes
    return tuple(
        EdgeMark(
            source=a,
            target=b,
            start=(where.x[a], where.y[a]),
            control=where.control(i),
            end=(where.x[b], where.y[b]),
            on_path=a in on_path and b in on_path and problem.distance[b] == problem.distance[a] + 1,
            reachable=where.reachable[a] and where.reachable[b],
        )
        for i, (a, b) in enumerate(problem.edges)
    )


def dag_scene(report: ProbeReport, state: int, *, value: str = "probability") -> DagScene:
    """The graph at state h_``state``. Raises InputError for an unknown value or a state out of range."""
    scale = scale_of(report, value)
    check_state(report, state)
    problem, where = _problem(report), layout(_problem(report))
    thought = thought_of(report, state)
    heading, subtitle = _heading(report, state), _mass_lines(report, state)
    return DagScene(
        state=state,
        thought=thought,
        heading=heading,
        subtitle=subtitle,
        nodes=_nodes(report, state, value),
        edges=edge_marks(problem),
        scale=scale,
        columns=tuple((float(d), str(d)) for d in range(problem.depth + 1)),
        width=where.width,
        height=where.height,
        divider=where.divider,
        divider_label=f"not reachable from {display_name(problem.idx_to_symbol[problem.root])}",
        title=question(problem),
        answer=answer_text(report),
        later=_later(report),
        caption=_caption(report, value),
        alt=f"{question(problem)} Graph at {heading}: {' '.join(subtitle)}.",
    )


def dag_scenes(report: ProbeReport, *, value: str = "probability") -> tuple[DagScene, ...]:
    """The graph at every thought up to the answer: one for each hop to the target, as far as there are thoughts."""
    last = min(_problem(report).n_hops, max(report.n_thoughts, 1))
    return tuple(dag_scene(report, state, value=value) for state in range(last))


def heatmap_scene(report: ProbeReport, *, value: str = "probability") -> HeatmapScene:
    """All states and nodes. Raises InputError for an unknown value."""
    scale = scale_of(report, value)
    problem, where = _problem(report), layout(_problem(report))
    rows = []
    for state in range(report.n_thoughts + 1):
        nodes, thought = _nodes(report, state, value), thought_of(report, state)
        rows.append(
            Row(
                state=state,
                thought=thought,
                label=f"thought {thought}" if thought else "answer state",
                cells=tuple(nodes[v] for v in where.order),
                parts=mass_parts(report, state),
                note=_note(report, state),
                frontier=_frontier_mass(report, state),
            )
        )
    spans: list[tuple[str, int, int]] = []
    for i, node in enumerate(where.order):
        distance = problem.distance[node]
        label = str(int(distance)) if math.isfinite(distance) else "not reachable"
        if spans and spans[-1][0] == label:
            spans[-1] = (label, spans[-1][1], i + 1)
        else:
            spans.append((label, i, i + 1))
    held = "; ".join(f"{row.label}: {_percent(dict(row.parts)['frontier'])}" for row in rows if row.thought)
    return HeatmapScene(
        rows=tuple(rows),
        spans=tuple(spans),
        scale=scale,
        n=report.n_draws,
        title=question(problem),
        answer=answer_text(report),
        caption=_caption(report, value),
        alt=f"{question(problem)} Heatmap of thoughts by nodes. Probability on the true frontier, {held}.",
    )


def frontier_scene(report: ProbeReport) -> FrontierScene:
    """AUROC, average precision and frontier mass by thought, the model beside its controls."""
    thoughts = range(1, report.n_thoughts + 1)
    panels = []
    for metric in FRONTIER_METRICS:
        series = tuple(
            Series(
                source,
                label,
                tuple(MetricPoint(t, _at_thought(report, source, metric, t)) for t in thoughts),
            )
            for source, label in SOURCES.items()
            if source in report.metrics
        )
        chance = {
            "auroc_all": tuple((t, 0.5) for t in thoughts if report.base_rate[t - 1] > 0),
            "average_precision": tuple(
                (t, rate) for t, rate in zip(thoughts, report.base_rate, strict=True) if rate > 0
            ),
        }.get(metric, ())
        panels.append(
            MetricPanel(
                metric=metric,
                label=METRICS[metric].label,
                definition=METRICS[metric].definition,
                series=series,
                chance=chance,
                chance_label={"auroc_all": "chance", "average_precision": "base rate"}.get(metric, ""),
            )
        )
    empty = [t for t in thoughts if report.base_rate[t - 1] == 0]
    undefined = ""
    if empty:
        undefined = f"No node is at distance {_list(empty)}, so there is no frontier to find. {_later(report)}".strip()
    auroc = _metric(report, "model", "auroc_all")
    shown = "; ".join(f"thought {t}: {e.mean:.2f}" for t, e in enumerate(auroc, start=1) if e is not None)
    return FrontierScene(
        panels=tuple(panels),
        n_thoughts=report.n_thoughts,
        empty=tuple((t, "done" if _note(report, t - 1).startswith("done") else "no node") for t in empty),
        undefined=undefined,
        title=question(_problem(report)),
        answer=answer_text(report),
        caption=_caption(report, None),
        alt=f"Frontier metrics by thought beside controls. AUROC of the model, {shown}.",
    )


# --- parts of scenes --------------------------------------------------------------------------------------------------


def scale_of(report: ProbeReport, value: str) -> Scale:
    """One scale for all states: 0 to 1 for probabilities, else from the least (at most 0) to the largest mean."""
    if value not in VALUES:
        raise InputError(f"value {value!r} is unknown; values are {', '.join(VALUES)}")
    if value in ("probability", "normalised"):
        return Scale(value, VALUES[value], 0.0, 1.0)
    means = [number for row in report.values(value).mean for number in row]
    low, high = min(0.0, *means), max(0.0, *means)
    return Scale(value, VALUES[value], low, high if high > low else low + 1.0)


def check_state(report: ProbeReport, state: int) -> None:
    """Raises InputError if the report has no such state."""
    if not 0 <= state <= report.n_thoughts:
        raise InputError(f"state {state} is out of range; this report has states 0 to {report.n_thoughts}")


def thought_of(report: ProbeReport, state: int) -> int | None:
    """The number of the thought that a state is; None for the last, which is not fed back but answers."""
    return state + 1 if state < report.n_thoughts else None


def mass_parts(report: ProbeReport, state: int) -> tuple[tuple[str, float], ...]:
    """Mean probability of a state on each group of PARTS; sums to 1.

    The answering state has no frontier: there, what the root reaches counts as reached before.
    """
    problem, thought = _problem(report), thought_of(report, state)
    mean, marker = report.probability.mean[state], report.marker.mean[state]
    hop = math.inf if thought is None else thought
    distance = problem.distance
    sums = {
        "frontier": sum(p for p, d in zip(mean, distance, strict=True) if d == hop and math.isfinite(d)),
        "reached before": sum(p for p, d in zip(mean, distance, strict=True) if d < hop),
        "not reached": sum(p for p, d in zip(mean, distance, strict=True) if d > hop or not math.isfinite(d)),
        "answer marker": marker[ANSWER],
        "other": report.other[state] + sum(p for i, p in enumerate(marker) if i != ANSWER),
    }
    return tuple((part, sums[part]) for part in PARTS)


def display_name(name: str, most: int = LABEL_LENGTH) -> str:
    """A name on one line: control and direction-override characters made visible, long names shortened with …."""
    shown = "".join(_visible(letter) for letter in name)
    return shown if len(shown) <= most else shown[: most - 1].rstrip() + "…"


def question(problem: ProsQAProblem) -> str:
    """The question, candidates in the order of their numbers so that the order says nothing about the answer."""
    root, *candidates = (
        display_name(problem.idx_to_symbol[v]) for v in (problem.root, *sorted((problem.target, problem.neg_target)))
    )
    return f"Is {root} a {candidates[0]} or a {candidates[1]}?"


def answer_text(report: ProbeReport) -> str:
    """What the model answers after all thoughts, whether that is right, and what the root-blind rule says."""
    problem, last, n = _problem(report), report.answers[-1], report.n_draws
    target, other = (display_name(problem.idx_to_symbol[v]) for v in (problem.target, problem.neg_target))
    right, wrong = round(last.written_target * n), round(last.written_neg_target * n)
    thoughts = "no thought" if last.k == 0 else "1 thought" if last.k == 1 else f"{last.k} thoughts"
    of = "the one draw" if n == 1 else f"{n} draws"
    if 2 * right > n:
        said = f"{target} in {right} of {of}, right"
    elif 2 * wrong > n:
        said = f"{other} in {wrong} of {of}, wrong: {target} is true"
    else:
        neither = n - right - wrong
        said = f"undecided ({target} {right}, {other} {wrong}, neither {neither} of {of}); {target} is true"
    blind = {
        "target": f"says {target}: right here",
        "neg_target": f"says {other}: wrong here",
        "tie": "cannot decide here",
    }[report.blind_rule]
    return f"Answer after {thoughts}: {said}. A rule that never looks at the asked entity {blind}."


def short_number(value: float) -> str:
    """A number in at most four characters where it can: ``.36``, ``1``, ``-2.1``, ``13``."""
    if abs(value) >= 9.95:
        return f"{value:.0f}"
    if abs(value) >= 0.995:
        return f"{value:.1f}".removesuffix(".0")
    return f"{value:.2f}".replace("0.", ".", 1)


@lru_cache(maxsize=64)
def _problem_of(row: object) -> ProsQAProblem:
    return ProsQAProblem.from_row(row.model_dump())  # type: ignore[attr-defined]


def _problem(report: ProbeReport) -> ProsQAProblem:
    return _problem_of(report.problem_row)


def _nodes(report: ProbeReport, state: int, value: str) -> tuple[NodeMark, ...]:
    problem, band = _problem(report), report.values(value)
    where, thought = layout(problem), thought_of(report, state)
    roles: dict[int, Role] = {
        problem.root: "root",
        problem.target: "target",
        problem.neg_target: "other candidate",
    }
    marks = []
    for node, name in enumerate(problem.idx_to_symbol):
        distance = problem.distance[node]
        frontier = thought is not None and distance == thought
        marks.append(
            NodeMark(
                node=node,
                name=name,
                label=display_name(name),
                role=roles.get(node, "node"),
                x=where.x[node],
                y=where.y[node],
                distance=int(distance) if math.isfinite(distance) else None,
                value=band.mean[state][node],
                low=None if band.low is None else band.low[state][node],
                high=None if band.high is None else band.high[state][node],
                n=report.n_draws,
                frontier=frontier,
                optimal=frontier and node in problem.shortest_path_nodes,
                reached=math.isfinite(distance) and (thought is None or distance < thought),
            )
        )
    return tuple(marks)


def _metric(report: ProbeReport, source: str, metric: str) -> tuple[Estimate | None, ...]:
    found = report.metrics[source].get(metric)
    if found is None:
        raise InputError(f"the report has no metrics.{source}.{metric}, which this figure needs")
    return found


def _at_thought(report: ProbeReport, source: str, metric: str, thought: int) -> Estimate | None:
    """A metric of a thought; None where the frontier is empty."""
    return _metric(report, source, metric)[thought - 1] if report.base_rate[thought - 1] > 0 else None


def _frontier_mass(report: ProbeReport, state: int) -> tuple[tuple[str, Estimate], ...]:
    thought = thought_of(report, state)
    if thought is None:
        return ()
    found = [(s, _at_thought(report, s, "mass_frontier", thought)) for s in SOURCES if s in report.metrics]
    return tuple((source, estimate) for source, estimate in found if estimate is not None)


def _later(report: ProbeReport) -> str:
    """The thoughts after the search, in one sentence."""
    hops = _problem(report).n_hops
    done = [s for s in range(hops, report.n_thoughts + 1) if _note(report, s).startswith("done")]
    if not done:
        return ""
    thoughts = [str(s + 1) for s in done if s < report.n_thoughts]
    names = []
    if thoughts:
        names.append(f"thought {thoughts[0]}" if len(thoughts) == 1 else f"thoughts {', '.join(thoughts)}")
    if done[-1] == report.n_thoughts:
        names.append("the answer state")
    shares = sorted(dict(mass_parts(report, s))["answer marker"] for s in done)
    span = _percent(shares[0])
    if _percent(shares[-1]) != span:
        span = f"{span.removesuffix(' %')}–{_percent(shares[-1])}"
    names[0] = names[0].capitalize()
    return f"{' and '.join(names)}: the search is done, {span} of the probability is on the answer marker."


def _heading(report: ProbeReport, state: int) -> str:
    thought = thought_of(report, state)
    return f"Thought {thought}" if thought else f"Answer state (after {state} thoughts)"


def _mass_lines(report: ProbeReport, state: int) -> tuple[str, ...]:
    """Where the probability of a state is, in words, and what the controls have there."""
    thought = thought_of(report, state)
    n_frontier = 0 if thought is None else len(_problem(report).frontier(thought))
    if thought is None or n_frontier == 0:
        return (
            _note(report, state)
            or f"{_percent(dict(mass_parts(report, state))['answer marker'])} on the answer marker",
        )
    nodes = "the 1 node" if n_frontier == 1 else f"the {n_frontier} nodes"
    own = _metric(report, "model", "mass_frontier")[thought - 1]
    line = f"{_percent_interval(own)} on {nodes} at distance {thought}"
    controls = [
        f"{SOURCES[source]} {_percent(found.mean)}"
        for source in SOURCES
        if source != "model" and source in report.metrics
        for found in (_metric(report, source, "mass_frontier")[thought - 1],)
        if found is not None
    ]
    return (line, *([f"controls: {', '.join(controls)}"] if controls else []))


def _note(report: ProbeReport, state: int) -> str:
    """What to say of a state that no node stands out in: that the search is over, or that no node is that far."""
    marker = dict(mass_parts(report, state))["answer marker"]
    thought = thought_of(report, state)
    if marker >= 0.5 and (thought is None or thought > _problem(report).n_hops):
        return f"done: {_percent(marker)} on the answer marker"
    if thought is not None and not _problem(report).frontier(thought):
        return f"no node at distance {thought}; {_percent(marker)} on the answer marker"
    return ""


def _caption(report: ProbeReport, value: str | None) -> str:
    info = report.model
    what = "" if value is None else f"Colour: {VALUES[value]}. "
    if report.n_draws == 1:
        draws = "One draw of the prompt, so no intervals"
    else:
        draws = (
            f"Mean of n = {report.n_draws} draws of the prompt (relabelled, reordered) with 95 % intervals over draws"
        )
    controls = "shuffled labels (node labels permuted within the graph)"
    if "untrained" in report.metrics:
        controls += ", untrained model of the same config"
    filler = ""
    if report.n_filler:
        filler = (
            f" {report.n_filler} unrelated facts were added to each prompt: the graph is smaller than any in training."
        )
    warnings = "".join(f" {warning}" for warning in report.warnings)
    return (
        f"{what}{draws}, seed {report.seed}. Controls: {controls}. "
        f"Model: {display_name(info.name, 60)} ({info.method}, {info.n_layer} layers, width {info.n_embd}, "
        f"weights {info.fingerprint}).{filler}{warnings} Shows what can be decoded, not what is used."
    )


def _percent(share: float) -> str:
    shown = 100 * share
    if 0 < shown < 0.5:
        return "<1 %"
    if 99.5 <= shown < 99.95:
        return f"{shown:.1f} %"
    return f"{shown:.0f} %"


def _percent_interval(found: Estimate | None) -> str:
    if found is None:
        return "unknown mass"
    if found.low is None or found.high is None:
        return _percent(found.mean)
    low, high = max(found.low, 0.0), min(found.high, 1.0)
    return f"{_percent(found.mean)} [{100 * low:.0f}–{100 * high:.0f}]"


def _list(numbers: list[int]) -> str:
    if len(numbers) == 1:
        return str(numbers[0])
    return f"{', '.join(map(str, numbers[:-1]))} or {numbers[-1]}"


def _visible(letter: str) -> str:
    # Cf holds the joiners that emoji and Indic scripts need; only those that turn the direction are replaced.
    if letter in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f":
        return "\ufffd"
    category = unicodedata.category(letter)
    if category == "Zs":
        return " "
    # Not Cn: letters that this Python does not know yet may be new emoji; only these two are in no XML file.
    return "\ufffd" if category in ("Cc", "Zl", "Zp", "Cs") or letter in "\ufffe\uffff" else letter
