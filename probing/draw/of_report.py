"""A report as pictures: pure functions from a ``ProbeReport`` to graphs, heatmaps and charts.

The page, the files and the tables are all made from these.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np

from model.errors import InputError, check_known
from model.metrics import METRICS, mass, node_groups
from model.problems.prosqa import ProsQAProblem
from model.stats import Estimate, leaning, percent, share, text
from probing.draw.layout import layout
from probing.draw.values import (
    FINISHED,
    Chart,
    Edge,
    Figure,
    Graph,
    HeatCell,
    HeatColumn,
    Heatmap,
    HeatRow,
    Lines,
    Node,
    Reference,
    Role,
    Scale,
    Series,
    Words,
    article,
    display_name,
    unique,
)
from probing.edit.one_problem import Intervention
from probing.read.report import VALUES, Band, ProbeReport

PARTS = ("frontier", "passed", "beyond", "other", "answer token")
SOURCES = {
    "model": "model",
    "shuffled": "shuffled labels",
    "untrained": "untrained model",
    "depth_reader": "depth reader",
}
FRONTIER_METRICS = ("auroc_other_root", "auroc_all", "average_precision", "mass_frontier")
BOUNDS = {"probability": (0.0, 1.0), "normalised": (0.0, 1.0), "cosine": (-1.0, 1.0)}
N_TOKENS = 7
"""Most probable next tokens that are shown by name."""
T = TypeVar("T")


def figure(
    report: ProbeReport,
    kind: str,
    *,
    state: int | None = None,
    node: int | None = None,
    value: str = "probability",
    every: bool = False,
) -> Figure:
    """A picture of one of KINDS.

    ``state`` picks the graph's state, and the one that the others point at; without it the graph is drawn at every
    thought up to the answer, or at all states (``every``). ``node`` is the one of a trajectory (default: the target).
    Raises InputError for anything unknown or out of range.
    """
    row = kind_of(kind)
    scale_of(report, value)
    if state is not None:
        check_state(report, state)
    given = {"state": state, "node": node, "value": value, "every": every}
    return row.draw(report, **{name: given[name] for name in row.takes})


# --- the graph --------------------------------------------------------------------------------------------------------


def graph(report: ProbeReport, state: int, *, value: str = "probability") -> Graph:
    """The graph at state h_``state``. Raises InputError for an unknown value or a state out of range."""
    scale = scale_of(report, value)
    check_state(report, state)
    thought, problem, found = thought_of(report, state), report.problem, _values(report, state, value)
    tips = [tuple((v, e.text(bounds=BOUNDS.get(v))) for e in _values(report, state, v)) for v in VALUES]
    heading = f"Thought {thought}" if thought else f"Answer state (after {state} thought{'s' * (state != 1)})"
    subtitle, node = _mass_lines(report, state), None
    if thought is None:
        last = report.answers[-1]
        written = {problem.target: last.written_target, problem.neg_target: last.written_neg_target}
        node = answered(written, report.n_samples)
        if scale.high == 1 and value != "logit":
            scale, found = ANSWER, answer_values(problem, last.p_target, last.p_neg_target)
            tips.append(tuple(("P(answer)", e.text(bounds=(0, 1))) for e in found))
            none = outcome(report)[0] == "no answer"
            subtitle = ("answers neither candidate" if none else answer_line(problem, node, found), *subtitle)
    return graph_of(
        problem, found, state=state, thought=thought, scale=scale, heading=heading, subtitle=subtitle,
        words=_words(report, value), tips=list(zip(*tips, strict=True)), answer=node,
    )  # fmt: skip


def chain(report: ProbeReport, step: int) -> Graph:
    """What the model writes where it is given no thought, as far as word ``step`` (from 1; past the last word, the
    answer): the share of prompt samples in which that word is the node. One word is one node, where a thought holds
    several. Raises InputError where a report has no such texts."""
    if not report.chains:
        raise InputError("the report has no generated texts, which this figure needs")
    problem, n = report.problem, report.n_samples
    written = [path[step - 1] if step <= len(path) else None for path in report.chains]
    if all(word is None for word in written):
        return graph(report.model_copy(update={"n_thoughts": 0}), 0)
    found = [share(float(written.count(node)), n) or Estimate(value=0, n=n) for node in range(report.n_nodes)]
    first = report.chains[0][:step]
    names = " → ".join(_name(report, node) if node >= 0 else "?" for node in first)
    hops = f"{step} hop{'s' * (step > 1)}"
    right = sum(word is not None and problem.distance[word] == step for word in written if word != -1)
    return graph_of(
        problem, found, state=step - 1, thought=step, scale=WRITTEN, heading=f"Word {step}",
        subtitle=(f"writes {names} (first prompt sample)", f"word {step} is {hops} away in {right} of {n}"),
        words=_words(report, None), tips=[(("written", e.text(bounds=(0, 1))),) for e in found],
    )  # fmt: skip


WRITTEN = Scale(value="written", label="share of prompt samples that write each node", low=0, high=1)
ANSWER = Scale(value="answer", label="probability of each candidate as the answer", low=0, high=1)


def answered(written: Mapping[int, float], n: int) -> int | None:
    """The candidate that n samples answer with, by the share of each; None where they are at chance."""
    return next((node for node, share in written.items() if leaning(round(share * n), n) > 0), None)


def answer_values(problem: ProsQAProblem, target: Estimate, other: Estimate) -> tuple[Estimate, ...]:
    """The probability of each node as the answer: nothing but on the candidates."""
    found = [Estimate(value=0, n=target.n)] * problem.n_nodes
    found[problem.target], found[problem.neg_target] = target, other
    return tuple(found)


def answer_line(problem: ProsQAProblem, node: int | None, found: Sequence[Estimate]) -> str:
    """Which candidate is answered with, and its probability."""
    if node is None:
        return f"at chance: {chances(problem, found[problem.target], found[problem.neg_target])}"
    return f"answers {display_name(problem.idx_to_symbol[node])}, {percent(found[node].value)}"


def chances(
    problem: ProsQAProblem, target: Estimate, other: Estimate, show: Callable[[str], str] = display_name
) -> str:
    """Both candidates' probabilities: what is said of an answer at chance, in which none is named before the other.

    ``show`` is how a name is written.
    """
    found = {problem.target: target, problem.neg_target: other}
    return ", ".join(
        f"P({show(problem.idx_to_symbol[node])}) = {p.text('short', bounds=(0, 1))}" for node, p in found.items()
    )


def graphs(
    report: ProbeReport, *, state: int | None = None, value: str = "probability", every: bool = False
) -> Graph | tuple[Graph, ...]:
    """The graph at a state; at every thought up to the answer, as far as there are thoughts; or at all states."""
    if state is not None:
        return graph(report, state, value=value)
    last = report.n_thoughts + 1 if every else min(report.problem.n_hops, max(report.n_thoughts, 1))
    return tuple(graph(report, state, value=value) for state in range(last))


def graph_of(
    problem: ProsQAProblem,
    found: Sequence[Estimate],
    *,
    state: int,
    thought: int | None,
    scale: Scale,
    heading: str,
    subtitle: tuple[str, ...],
    words: Words,
    tips: Sequence[Lines],
    badges: dict[int, str] | None = None,
    answer: int | None = None,
) -> Graph:
    """A problem where its layout puts it, with a value per node, as thought ``thought`` (None: the answer state, with
    the node that is answered)."""
    where, on_path = layout(problem), problem.shortest_path_nodes
    nodes = []
    for node, name in enumerate(problem.idx_to_symbol):
        distance = problem.distance[node]
        in_frontier = thought is not None and distance == thought
        nodes.append(
            Node(
                id=node, name=name, label=display_name(name), role=role_of(problem, node),
                x=where.x[node], y=where.y[node], distance=int(distance) if math.isfinite(distance) else None,
                found=found[node], frontier=in_frontier, optimal=in_frontier and node in on_path,
                passed=math.isfinite(distance) and (thought is None or distance < thought),
                badge=(badges or {}).get(node, ""),  # type: ignore[arg-type]  # checked by Node
                tip=tips[node], answered=node == answer,
            )
        )  # fmt: skip
    edges = tuple(
        Edge(
            source=a, target=b, start=(where.x[a], where.y[a]), control=where.control(i), end=(where.x[b], where.y[b]),
            on_path=a in on_path and b in on_path and problem.distance[b] == problem.distance[a] + 1,
            reachable=where.reachable[a] and where.reachable[b],
        )
        for i, (a, b) in enumerate(problem.edges)
    )  # fmt: skip
    alt = f"{words.title} Graph, {heading}: {' '.join(subtitle)}."
    return Graph(
        state=state, thought=thought, heading=heading, subtitle=subtitle, nodes=tuple(nodes), edges=edges,
        scale=scale, columns=tuple((float(d), str(d)) for d in range(problem.depth + 1)),
        width=where.width, height=where.height, divider=where.divider,
        divider_label=f"not reachable from {display_name(problem.idx_to_symbol[problem.root])}",
        words=words.model_copy(update={"alt": alt}),
    )  # fmt: skip


def role_of(problem: ProsQAProblem, node: int) -> Role:
    roles: dict[int, Role] = {problem.root: "root", problem.target: "target", problem.neg_target: "other candidate"}
    return roles.get(node, "node")


# --- the heatmap ------------------------------------------------------------------------------------------------------


def heatmap(report: ProbeReport, *, value: str = "probability", state: int | None = None) -> Heatmap:
    """All nodes and states, and the answer token in a row of its own. Raises InputError for an unknown value."""
    scale, problem, states = scale_of(report, value), report.problem, range(report.n_thoughts + 1)
    columns = tuple(
        HeatColumn(
            state=k, thought=thought_of(report, k), parts=mass_parts(report, k),
            frontier=_frontier_mass(report, k), note=_note(report, k),
        ) for k in states
    )  # fmt: skip
    shares = "; ".join(f"thought {at.thought}: {percent(dict(at.parts)['frontier'])}" for at in columns if at.thought)
    alt = f"{question(problem)} Heatmap of nodes by thoughts. Probability on the true frontier, {shares}."
    found = heatmap_of(
        problem, [_values(report, k, value) for k in states], columns, scale=scale, n=report.n_samples,
        words=_words(report, value, alt), cursor=state,
    )  # fmt: skip
    mark = report.answer_mark
    row = HeatRow(id=-1, name=mark, label=f"{mark} ready to answer", role="marker", distance=None)
    ready = [_estimate(report.marker, k, report.answer_column, report.n_samples) for k in states]
    cells = tuple(
        HeatCell(found=e, tip=f"probability of the answer token next: {e.text(bounds=(0, 1))}") for e in ready
    )
    return found.model_copy(update={"rows": (*found.rows, row), "cells": (*found.cells, cells)})


def heatmap_of(
    problem: ProsQAProblem,
    values: Sequence[Sequence[Estimate] | None],
    columns: tuple[HeatColumn, ...],
    *,
    scale: Scale,
    n: int,
    words: Words,
    cursor: int | None = None,
) -> Heatmap:
    """Nodes in the order of the layout, with a value per node and state (None: the run had ended before it)."""
    rows, cells = [], []
    spans: list[tuple[str, int, int]] = []
    for i, node in enumerate(layout(problem).order):
        hops, name = problem.distance[node], problem.idx_to_symbol[node]
        distance = int(hops) if math.isfinite(hops) else None
        label = "not reachable" if distance is None else str(distance)
        start = spans.pop()[1] if spans and spans[-1][0] == label else i
        spans.append((label, start, i + 1))
        rows.append(
            HeatRow(id=node, name=name, label=display_name(name), role=role_of(problem, node), distance=distance)
        )
        line = []
        for column, found in zip(columns, values, strict=True):
            in_frontier = column.thought is not None and distance == column.thought
            e = None if found is None else found[node]
            tip = "" if e is None else f"{scale.value}: {e.text(bounds=BOUNDS.get(scale.value))}"
            optimal = in_frontier and node in problem.shortest_path_nodes
            line.append(HeatCell(found=e, frontier=in_frontier, optimal=optimal, tip=tip))
        cells.append(tuple(line))
    return Heatmap(
        rows=tuple(rows), columns=columns, cells=tuple(cells), spans=tuple(spans), scale=scale, n=n, words=words,
        cursor=cursor,
    )  # fmt: skip


# --- charts -----------------------------------------------------------------------------------------------------------


def frontier(report: ProbeReport, *, state: int | None = None) -> tuple[Chart, ...]:
    """AUROC, average precision and frontier mass by thought, the model beside its controls and chance."""
    thoughts = tuple(str(t) for t in range(1, report.n_thoughts + 1))
    later, empty = "", [t for t, rate in zip(thoughts, report.base_rate, strict=True) if rate == 0]
    if empty:
        listed = " or ".join(filter(None, (", ".join(empty[:-1]), empty[-1])))
        later = f"No node is at distance {listed}, so there is no frontier to find. {_later(report)}".strip()
    shown = "; ".join(
        f"thought {t}: {text(e, 'short')}"
        for t, e in zip(thoughts, _metric(report, "model", "auroc_all"), strict=True)
        if e
    )
    alt = f"Frontier metrics by thought beside controls. {METRICS['auroc_all'].label} of the model, {shown}."
    words = _words(report, None, alt).model_copy(update={"later": later})
    half = [0.5] * report.n_thoughts
    chance = {"auroc_all": half, "auroc_other_root": half, "average_precision": report.base_rate}
    charts = []
    for metric in FRONTIER_METRICS:
        if metric not in report.metrics["model"]:
            continue  # in files of older versions
        series = [
            Series.of(
                label, thoughts, _by_frontier(report, _metric(report, source, metric)), source=source,
                control=source != "model", shade=False,
            )
            for source, label in SOURCES.items()
            if source in report.metrics and not (source == "depth_reader" and metric == "auroc_other_root")
        ]  # fmt: skip
        if metric in chance:
            y = tuple(_by_frontier(report, chance[metric]))
            series.append(Series(name="chance or base rate", x=thoughts, y=y, control=True, source="chance"))
        about = METRICS[metric]
        title = f"{about.label[0].upper()}{about.label[1:]}"
        charts.append(
            by_state(metric, title, "thought", about.label, series, thoughts, state, words=words, note=about.definition)
        )
    return tuple(charts)


def answers(report: ProbeReport, *, state: int | None = None) -> Chart:
    """Probability of either candidate if the model answers after k thoughts; at a thought, after that one."""
    at = None if state is None else min(state + 1, report.n_thoughts)
    k = tuple(str(answer.k) for answer in report.answers)
    target = Series.of("target ✓", k, [one.p_target for one in report.answers], source="target", shade=False)
    other = [one.p_neg_target for one in report.answers]
    series = [target, Series.of("distractor ✗", k, other, source="other candidate", shade=False)]
    return by_state(
        "answers", KINDS["answers"].title, "thoughts k", "probability", series, k, at,
        words=_words(report, None),
    )  # fmt: skip


def parts(report: ProbeReport, *, state: int | None = None) -> Chart:
    """Where the probability of each state is: PARTS."""
    shares = [dict(mass_parts(report, k)) for k in range(report.n_thoughts + 1)]
    x = state_labels(report.n_thoughts)
    series = [Series(name=part, x=x, y=tuple(share[part] for share in shares), group=part) for part in PARTS]
    return by_state(
        "parts", KINDS["parts"].title, "thought", "probability", series, x, state, words=_words(report, None),
        kind="stacked",
    )  # fmt: skip


def tokens(report: ProbeReport, state: int | None = None) -> Chart:
    """The most probable next tokens of a state (default: h_0) by name, and the mass left over."""
    state = state or 0
    check_state(report, state)
    problem, thought = report.problem, thought_of(report, state)
    found = [(p, name, "answer token") for name, p in zip(report.marker_names, report.marker.mean[state], strict=True)]
    for name, p, distance in zip(problem.idx_to_symbol, report.probability.mean[state], problem.distance, strict=True):
        part = "passed" if distance < (thought or math.inf) else "beyond"
        found.append((p, name, "frontier" if distance == thought else part))
    found.sort(key=lambda item: -item[0])
    rest = max(0.0, 1 - sum(p for p, *_ in found[:N_TOKENS]))
    bars = [*found[:N_TOKENS], (rest, "all other tokens", "other")]
    names = unique(display_name(name, 14) for _, name, _ in bars)
    series = []
    for part in PARTS:
        at = [(name, p) for name, (p, _, own) in zip(names, bars, strict=True) if own == part]
        if at:
            x, y = zip(*at, strict=True)
            labels = tuple(f"{p:.3f}" if p >= 0.0005 else "<.001" for p in y)
            series.append(Series(name=part, x=x, y=y, group=part, labels=labels))
    return by_state(
        "tokens", f"Next token at {state_name(report, state)}", "token", "probability", series, tuple(names), None,
        words=_words(report, None), kind="ranked",
    )  # fmt: skip


def trajectory(
    report: ProbeReport, node: int | None = None, *, value: str = "probability", state: int | None = None
) -> Chart:
    """One node's value over the states (default: the target's); a dashed line marks the thought that should hold it."""
    node = report.problem_row.target if node is None else node
    if not 0 <= node < report.n_nodes:
        raise InputError(f"node {node} is out of range; this report has nodes 0 to {report.n_nodes - 1}")
    scale, distance = scale_of(report, value), report.problem.distance[node]
    x = state_labels(report.n_thoughts)
    found = [_values(report, k, value)[node] for k in range(report.n_thoughts + 1)]
    references = []
    if 1 <= distance <= report.n_thoughts:
        references = [Reference(axis="x", at=distance - 1, label="its distance", kind="frontier")]
    name = _name(report, node)
    return by_state(
        "trajectory", f"{name} through the thoughts", "thought", scale.value,
        [Series.of(name, x, found, source="model")], x, state, words=_words(report, None), references=references,
        y_range=(0, 1) if value in ("probability", "normalised") else None,
    )  # fmt: skip


def by_state(
    name: str, title: str, x_label: str, y_label: str, series: Sequence[Series], categories: tuple[str, ...],
    at: int | None, *, words: Words, references: Sequence[Reference] = (), **rest: Any,
) -> Chart:  # fmt: skip
    """A chart with a place per state and a cursor at one; without an ``alt`` its axes and lines describe it."""
    cursor = [] if at is None or at >= len(categories) else [Reference(axis="x", at=at, kind="cursor")]
    data = {"kind": "lines", "y_range": (0, 1)} | rest
    alt = words.alt or f"{title}: {y_label} against {x_label}; {', '.join(one.name for one in series)}"
    return Chart(
        name=name, title=title, x_label=x_label, y_label=y_label, series=tuple(series), categories=categories,
        references=(*references, *cursor), words=words.model_copy(update={"alt": alt}), **data,
    )  # fmt: skip


# --- what can be drawn ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kind:
    """One kind of picture of a report."""

    title: str
    """What the page and the command line's help call it."""
    draw: Callable[..., Figure]
    takes: tuple[str, ...]
    """Which arguments of ``figure`` it is drawn from; where a state does not choose what is drawn it is a cursor."""
    chosen: Literal["", "state", "node"] = ""
    """What chooses what is drawn; the others show all there is."""


KINDS: dict[str, Kind] = {
    "dag": Kind("Graph, one panel per thought", graphs, ("state", "value", "every"), "state"),
    "heatmap": Kind("Heatmap of nodes by thoughts", heatmap, ("state", "value")),
    "frontier": Kind("Frontier metrics beside controls", frontier, ("state",)),
    "answers": Kind("Answer by number of thoughts", answers, ("state",)),
    "parts": Kind("Probability mass", parts, ("state",)),
    "tokens": Kind("Most probable next tokens of a state", tokens, ("state",), "state"),
    "trajectory": Kind("Node across thoughts", trajectory, ("state", "node", "value"), "node"),
}
"""All that ``figure``, the command line, the files and the page's downloads offer."""


def kind_of(name: str) -> Kind:
    """Raises InputError if there is no such kind."""
    check_known("kind", name, KINDS)
    return KINDS[name]


def choosing(what: str) -> list[str]:
    """The kinds that a state, or a node, chooses the picture of."""
    return [name for name, kind in KINDS.items() if kind.chosen == what]


# --- parts ------------------------------------------------------------------------------------------------------------


def scale_of(report: ProbeReport, value: str) -> Scale:
    """One scale for all states: 0 to 1 for probabilities, else from the least (at most 0) to the largest mean."""
    check_known("value", value, VALUES)
    if value in ("probability", "normalised"):
        return Scale(value=value, label=VALUES[value], low=0, high=1)
    means = [number for row in report.values(value).mean for number in row]
    low, high = min(0.0, *means), max(0.0, *means)
    return Scale(value=value, label=VALUES[value], low=low, high=high if high > low else low + 1.0)


def check_state(report: ProbeReport, state: int) -> None:
    """Raises InputError if the report has no such state."""
    if not 0 <= state <= report.n_thoughts:
        raise InputError(f"state {state} is out of range; this report has states 0 to {report.n_thoughts}")


def thought_of(run: ProbeReport | Intervention, state: int) -> int | None:
    """The number of the thought that a state is; None for the last, which is not fed back but answers."""
    return state + 1 if state < run.n_thoughts else None


def state_labels(n_thoughts: int) -> tuple[str, ...]:
    """What the states are called along an axis: thought 1, 2, ..., and the state after the last, which answers."""
    return (*map(str, range(1, n_thoughts + 1)), "answer")


def state_name(report: ProbeReport, state: int) -> str:
    """What a state is called in words."""
    return f"thought {thought}" if (thought := thought_of(report, state)) else "the answer"


def mass_parts(report: ProbeReport, state: int) -> tuple[tuple[str, float], ...]:
    """Mean probability of a state on each group of PARTS; sums to 1.

    The answering state has no frontier: there, what the root reaches counts as passed.
    """
    problem, marker = report.problem, report.marker.mean[state]
    # Everything that can be reached is nearer than n_nodes hops.
    groups = node_groups(np.array(problem.distance), [thought_of(report, state) or problem.n_nodes])
    p = np.array(report.probability.mean[state])
    sums = {part: float(mass(p, groups[part][0])) for part in ("frontier", "passed", "beyond")}
    sums["answer token"] = marker[report.answer_column]
    sums["other"] = report.other[state] + sum(marker) - marker[report.answer_column]
    return tuple((part, sums[part]) for part in PARTS)


def question(problem: ProsQAProblem, show: Callable[[str], str] = display_name) -> str:
    """The question, candidates in the order of their numbers so that the order says nothing about the answer.

    ``show`` is how a name is written.
    """
    root, *both = (problem.idx_to_symbol[v] for v in (problem.root, *sorted((problem.target, problem.neg_target))))
    return f"Is {show(root)} {' or '.join(f'{article(name)} {show(name)}' for name in both)}?"


def answer_text(report: ProbeReport) -> str:
    """What the model answers after all thoughts, whether that is right, and what the shortcut baseline says."""
    last, n, (found, count) = report.answers[-1], report.n_samples, outcome(report)
    target, other = _name(report, report.problem_row.target), _name(report, report.problem_row.neg_target)
    right, wrong = round(last.written_target * n), round(last.written_neg_target * n)
    of = "the one prompt sample" if n == 1 else f"{n} prompt samples"
    said = {
        "correct": f"{target} in {count} of {of}, correct",
        "incorrect": f"{other} in {count} of {of}, incorrect: {target} is true",
        "at chance": f"at chance ({target} {right}, {other} {wrong}, neither {n - right - wrong} of {of}); "
        f"{target} is true",
        "no answer": f"neither candidate in {count} of {of}; {target} is true",
    }[found]
    return f"Answer after {thoughts_text(last.k)}: {said}. {baseline_text(report)}"


def outcome(report: ProbeReport) -> tuple[Literal["correct", "incorrect", "at chance", "no answer"], int]:
    """What the answer after all thoughts is, and in how many prompt samples (at chance: the target)."""
    last, n = report.answers[-1], report.n_samples
    right, wrong = round(last.written_target * n), round(last.written_neg_target * n)
    if n - right - wrong > max(right, wrong):
        return "no answer", n - right - wrong
    if leaning(right, n) > 0:
        return "correct", right
    return ("incorrect", wrong) if leaning(wrong, n) > 0 else ("at chance", right)


def thoughts_text(k: int, method: str = "") -> str:
    """So many thoughts, in words; a pause model has tokens in their place."""
    what = "pause token" if method == "pause" else "thought"
    return f"no {what}" if k == 0 else f"1 {what}" if k == 1 else f"{k} {what}s"


def baseline_text(report: ProbeReport) -> str:
    """What the shortcut baseline says, and whether that is right."""
    said = {
        "target": f"says {_name(report, report.problem_row.target)}: right here",
        "neg_target": f"says {_name(report, report.problem_row.neg_target)}: wrong here",
        "tie": "cannot decide here",
    }[report.shortcut_baseline]
    return f"The shortcut baseline, which never looks at the queried entity, {said}."


def _name(report: ProbeReport, node: int) -> str:
    return display_name(report.problem_row.idx_to_symbol[node])


def _estimate(band: Band, state: int, column: int, n: int) -> Estimate:
    low, high = (None if ends is None else ends[state][column] for ends in (band.low, band.high))
    return Estimate(value=band.mean[state][column], low=low, high=high, n=n)


def _values(report: ProbeReport, state: int, value: str) -> tuple[Estimate, ...]:
    """A value of every node at a state."""
    band = report.values(value)
    return tuple(_estimate(band, state, node, report.n_samples) for node in range(report.n_nodes))


def _metric(report: ProbeReport, source: str, metric: str) -> tuple[Estimate | None, ...]:
    found = report.metrics[source].get(metric)
    if found is None:
        raise InputError(f"the report has no metrics.{source}.{metric}, which this figure needs")
    return found


def _by_frontier(report: ProbeReport, found: Sequence[T]) -> list[T | None]:
    """A value per thought; None where the frontier is empty."""
    return [one if rate > 0 else None for one, rate in zip(found, report.base_rate, strict=True)]


def _frontier_mass(report: ProbeReport, state: int) -> tuple[tuple[str, Estimate], ...]:
    """(source, probability on the frontier) of the model and its controls; nothing where there is no frontier."""
    if thought_of(report, state) is None or report.base_rate[state] == 0:
        return ()
    found = [
        (source, _metric(report, source, "mass_frontier")[state]) for source in SOURCES if source in report.metrics
    ]
    return tuple((source, estimate) for source, estimate in found if estimate is not None)


def _later(report: ProbeReport) -> str:
    """The thoughts after the search, in one sentence."""
    last = report.n_thoughts
    done = [s for s in range(report.problem.n_hops, last + 1) if _note(report, s).startswith(FINISHED)]
    if not done:
        return ""
    thoughts = [str(s + 1) for s in done if s < last]
    names = [f"thought{'s' if len(thoughts) > 1 else ''} {', '.join(thoughts)}"] if thoughts else []
    names += ["the answer state"] if done[-1] == last else []
    shares = sorted(dict(mass_parts(report, s))["answer token"] for s in done)
    least, most = percent(shares[0]), percent(shares[-1])
    span = most if least == most else f"{least.removesuffix(' %')}–{most}"
    return f"{' and '.join(names).capitalize()}: {FINISHED}; {span} of the probability is on the answer token [A]."


def _mass_lines(report: ProbeReport, state: int) -> tuple[str, ...]:
    """Where the probability of a state is, in words, and what the controls have there."""
    masses = dict(_frontier_mass(report, state))
    if not masses:
        marker = dict(mass_parts(report, state))["answer token"]
        return (_note(report, state) or f"{percent(marker)} on the answer token",)
    thought = state + 1
    n = len(report.problem.frontier(thought))
    nodes = "the 1 node" if n == 1 else f"the {n} nodes"
    line = f"{text(masses.pop('model', None), 'percent', bounds=(0, 1))} on {nodes} at distance {thought}"
    controls = ", ".join(f"{SOURCES[source]} {percent(found.value)}" for source, found in masses.items())
    return (line, f"controls: {controls}") if controls else (line,)


def _note(report: ProbeReport, state: int) -> str:
    """What to say of a state that no node stands out in: that the search is over, or that no node is that far."""
    marker = dict(mass_parts(report, state))["answer token"]
    thought = thought_of(report, state)
    if marker >= 0.5 and (thought is None or thought > report.problem.n_hops):
        return f"{FINISHED}; {percent(marker)} on the answer token [A]"
    if thought is not None and not report.problem.frontier(thought):
        return f"no node at distance {thought}; {percent(marker)} on the answer token"
    return ""


def _words(report: ProbeReport, value: str | None, alt: str = "") -> Words:
    """Question, answer, and what must be known of any picture of the report."""
    info, n = report.model, report.n_samples
    colour = "" if value is None else f"Colour: {VALUES[value]}. "
    samples = f"Mean of n = {n} prompt samples (relabelled, reordered) with 95 % intervals over them"
    if n == 1:
        samples = "One prompt sample, so no intervals"
    untrained = ", untrained model of the same config" if "untrained" in report.metrics else ""
    padded = ""
    if report.n_distractors:
        padded = f" Padded with {report.n_distractors} distractor facts: the graph is smaller than any in training."
    warnings = "".join(f" {warning}" for warning in report.warnings)
    caption = (
        f"{colour}{samples}, seed {report.seed}. Controls: shuffled labels (node labels permuted within the graph), "
        f"depth reader (nodes t below any node without parents, whoever is queried){untrained}. "
        f"Model: {display_name(info.name, 60)} ({info.method}, {info.n_layer} layers, width {info.n_embd}, "
        f"weights {info.fingerprint}, passes in {info.precision}).{padded}{warnings} "
        "Shows what can be decoded, not what is used."
    )
    return Words(
        title=question(report.problem), answer=answer_text(report), caption=caption, alt=alt, later=_later(report)
    )
