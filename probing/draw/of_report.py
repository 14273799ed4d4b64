"""A report as pictures: pure functions from a ``ProbeReport`` to graphs, heatmaps and charts.

The page, the files and the tables are all made from these.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from model.errors import InputError
from model.metrics import METRICS, mass, node_groups
from model.problems.prosqa import ProsQAProblem
from model.stats import Estimate, percent, text
from probing.draw.layout import layout
from probing.draw.values import (
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
    display_name,
    unique,
)
from probing.read.report import VALUES, Band, ProbeReport

KINDS = ("dag", "heatmap", "frontier", "answers", "parts", "tokens", "trajectory")
PARTS = ("frontier", "passed", "beyond", "other", "answer marker")
SOURCES = {"model": "model", "shuffled": "shuffled labels", "untrained": "untrained model"}
FRONTIER_METRICS = ("auroc_all", "average_precision", "mass_frontier")
BOUNDS = {"probability": (0.0, 1.0), "normalised": (0.0, 1.0), "cosine": (-1.0, 1.0)}
N_TOKENS = 7
"""Most probable next tokens that are shown by name."""


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
    if kind not in KINDS:
        raise InputError(f"kind {kind!r} is unknown; kinds are {', '.join(KINDS)}")
    scale_of(report, value)
    if state is not None:
        check_state(report, state)
    if kind == "dag":
        return graphs(report, value=value, every=every) if state is None else graph(report, state, value=value)
    if kind == "heatmap":
        return heatmap(report, value=value, state=state)
    if kind == "tokens":
        return tokens(report, state or 0)
    if kind == "trajectory":
        return trajectory(report, report.problem_row.target if node is None else node, value=value, state=state)
    if kind == "frontier":
        return frontier(report, state=state)
    return answers(report, state=state) if kind == "answers" else parts(report, state=state)


# --- the graph --------------------------------------------------------------------------------------------------------


def graph(report: ProbeReport, state: int, *, value: str = "probability") -> Graph:
    """The graph at state h_``state``. Raises InputError for an unknown value or a state out of range."""
    scale = scale_of(report, value)
    check_state(report, state)
    thought = thought_of(report, state)
    tips = ([(v, e.text(bounds=BOUNDS.get(v))) for e in _values(report, state, v)] for v in VALUES)
    heading = f"Thought {thought}" if thought else f"Answer state (after {state} thoughts)"
    return graph_of(
        report.problem, _values(report, state, value), state=state, thought=thought, scale=scale,
        heading=heading, subtitle=_mass_lines(report, state), words=_words(report, value),
        tips=list(zip(*tips, strict=True)),
    )  # fmt: skip


def graphs(report: ProbeReport, *, value: str = "probability", every: bool = False) -> tuple[Graph, ...]:
    """The graph at every thought up to the answer, as far as there are thoughts; or at all states."""
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
) -> Graph:
    """A problem where its layout puts it, with a value a node, as thought ``thought`` (None: the answer state)."""
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
                tip=tips[node],
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
    """All nodes and states, and the answer marker in a row of its own. Raises InputError for an unknown value."""
    scale, problem = scale_of(report, value), report.problem
    columns = tuple(
        HeatColumn(
            state=k, thought=thought_of(report, k), parts=mass_parts(report, k),
            frontier=_frontier_mass(report, k), note=_note(report, k),
        ) for k in range(report.n_thoughts + 1)
    )  # fmt: skip
    values = [_values(report, k, value) for k in range(report.n_thoughts + 1)]
    found = heatmap_of(
        problem, values, columns, scale=scale, n=report.n_draws, words=_words(report, value), cursor=state
    )
    marker = report.marker
    cells = tuple(
        HeatCell(found=e, tip=f"probability of the answer marker next: {e.text(bounds=(0, 1))}")
        for e in (_estimate(marker, k, report.answer_column, report.n_draws) for k in range(report.n_thoughts + 1))
    )
    row = HeatRow(
        id=-1, name=report.answer_mark, label=f"{report.answer_mark} ready to answer", role="marker", distance=None
    )
    held = "; ".join(
        f"thought {column.thought}: {percent(dict(column.parts)['frontier'])}" for column in columns if column.thought
    )
    alt = f"{question(problem)} Heatmap of nodes by thoughts. Probability on the true frontier, {held}."
    return found.model_copy(
        update={
            "rows": (*found.rows, row),
            "cells": (*found.cells, cells),
            "words": found.words.model_copy(update={"alt": alt}),
        }
    )


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
    """Nodes in the order of the layout, with a value a node and state (None: the run was cut before it)."""
    order = layout(problem).order
    rows, cells = [], []
    spans: list[tuple[str, int, int]] = []
    for i, node in enumerate(order):
        distance, name = problem.distance[node], problem.idx_to_symbol[node]
        reachable = math.isfinite(distance)
        label = str(int(distance)) if reachable else "not reachable"
        start = spans.pop()[1] if spans and spans[-1][0] == label else i
        spans.append((label, start, i + 1))
        rows.append(
            HeatRow(
                id=node, name=name, label=display_name(name), role=role_of(problem, node),
                distance=int(distance) if reachable else None,
            )
        )  # fmt: skip
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
    thoughts = range(1, report.n_thoughts + 1)
    empty = [t for t in thoughts if report.base_rate[t - 1] == 0]
    later = ""
    if empty:
        later = f"No node is at distance {_list(empty)}, so there is no frontier to find. {_later(report)}".strip()
    shown = "; ".join(
        f"thought {t}: {text(e, 'short')}" for t, e in enumerate(_metric(report, "model", "auroc_all"), 1) if e
    )
    alt = f"Frontier metrics by thought beside controls. AUROC of the model, {shown}."
    words = _words(report, None).model_copy(update={"later": later, "alt": alt})
    charts = []
    for metric in FRONTIER_METRICS:
        series = [
            Series.of(
                label, map(str, thoughts), [_at_thought(report, source, metric, t) for t in thoughts],
                source=source, control=source != "model", shade=False,
            )
            for source, label in SOURCES.items()
            if source in report.metrics
        ]  # fmt: skip
        chance = {"auroc_all": [0.5] * report.n_thoughts, "average_precision": list(report.base_rate)}.get(metric)
        if chance:
            y = tuple(c if rate > 0 else None for c, rate in zip(chance, report.base_rate, strict=True))
            x = tuple(map(str, thoughts))
            series.append(Series(name="chance or base rate", x=x, y=y, control=True, source="chance"))
        about = METRICS[metric]
        charts.append(
            _by_state(
                metric, f"{about.label[0].upper()}{about.label[1:]}", "thought", about.label, series, state,
                note=about.definition, words=words, categories=tuple(map(str, thoughts)),
            )
        )  # fmt: skip
    return tuple(charts)


def answers(report: ProbeReport, *, state: int | None = None) -> Chart:
    """Probability of either candidate if the model answers after k thoughts."""
    x = [str(answer.k) for answer in report.answers]
    lines: dict[str, list[Estimate]] = {
        "target": [answer.p_target for answer in report.answers],
        "other candidate": [answer.p_neg_target for answer in report.answers],
    }
    names = {"target": "target ✓", "other candidate": "other ✗"}
    series = [Series.of(names[role], x, found, source=role, shade=False) for role, found in lines.items()]
    alt = f"Probability of target and other candidate if answered after 0 to {report.n_thoughts} thoughts"
    return _by_state(
        "answers", "Answer by number of thoughts", "answered after k thoughts", "probability", series, state,
        words=_words(report, None, alt), categories=tuple(x),
    )  # fmt: skip


def parts(report: ProbeReport, *, state: int | None = None) -> Chart:
    """Where the probability of each state is: PARTS."""
    shares = [dict(mass_parts(report, k)) for k in range(report.n_thoughts + 1)]
    x = tuple(str(thought_of(report, k) or "answer") for k in range(report.n_thoughts + 1))
    series = [Series(name=part, x=x, y=tuple(share[part] for share in shares), group=part) for part in PARTS]
    alt = "Probability of each thought on the frontier, on nodes passed, on nodes beyond, and the answer marker"
    return _by_state(
        "parts", "Where its probability is", "thought", "probability", series, state, kind="stacked",
        words=_words(report, None, alt), categories=x,
    )  # fmt: skip


def tokens(report: ProbeReport, state: int) -> Chart:
    """The most probable next tokens of a state by name, and the mass left over."""
    check_state(report, state)
    problem, thought = report.problem, thought_of(report, state)
    found: list[tuple[float, str, str]] = []
    for node, p in enumerate(report.probability.mean[state]):
        distance = problem.distance[node]
        part = "passed" if distance < (thought or math.inf) else "beyond"
        found.append((p, problem.idx_to_symbol[node], "frontier" if distance == thought else part))
    found += [
        (p, name, "answer marker") for name, p in zip(report.marker_names, report.marker.mean[state], strict=True)
    ]
    found.sort(key=lambda item: -item[0])
    rest = max(0.0, 1 - sum(p for p, *_ in found[:N_TOKENS]))
    bars = [*found[:N_TOKENS], (rest, "all other tokens", "other")]
    names = unique(display_name(name, 14) for _, name, _ in bars)
    series = []
    for part in PARTS:
        at = [i for i, bar in enumerate(bars) if bar[2] == part]
        if at:
            series.append(
                Series(
                    name=part, x=tuple(names[i] for i in at), y=tuple(bars[i][0] for i in at), group=part,
                    labels=tuple(f"{bars[i][0]:.3f}" if bars[i][0] >= 0.0005 else "<.001" for i in at),
                )
            )  # fmt: skip
    return Chart(
        name="tokens", title=f"Next token of state h{state}", kind="ranked", x_label="token", y_label="probability",
        series=tuple(series), y_range=(0, 1), categories=tuple(names),
        words=_words(report, None, f"The most probable next tokens of state h{state}, and the mass on everything else"),
    )  # fmt: skip


def trajectory(report: ProbeReport, node: int, *, value: str = "probability", state: int | None = None) -> Chart:
    """One node's value over the states; a dashed line marks the thought that should hold it."""
    if not 0 <= node < report.n_nodes:
        raise InputError(f"node {node} is out of range; this report has nodes 0 to {report.n_nodes - 1}")
    scale, distance = scale_of(report, value), report.problem.distance[node]
    x = tuple(str(k) for k in range(report.n_thoughts + 1))
    found = [_values(report, k, value)[node] for k in range(report.n_thoughts + 1)]
    references = []
    if math.isfinite(distance) and 1 <= distance <= report.n_thoughts:
        references = [Reference(axis="x", at=distance - 1, label="its distance", kind="frontier")]
    name = display_name(report.problem.idx_to_symbol[node])
    return _by_state(
        "trajectory", f"{name} through the thoughts", "thoughts had (k)", scale.label,
        [Series.of(name, x, found, source="model")], state,
        y_range=(0, 1) if value in ("probability", "normalised") else None, references=references, categories=x,
        words=_words(report, value, f"{value} of one node after 0 to {report.n_thoughts} thoughts with 95 % intervals"),
    )  # fmt: skip


def _by_state(
    name: str, title: str, x_label: str, y_label: str, series: list[Series], state: int | None, *,
    references: Sequence[Reference] = (), **rest: Any,
) -> Chart:  # fmt: skip
    """A chart over states with a cursor at one of them."""
    marks = list(references)
    if state is not None and state < len(rest["categories"]):
        marks.append(Reference(axis="x", at=state, kind="cursor"))
    data = {"kind": "lines", "y_range": (0, 1)} | rest
    return Chart(name=name, title=title, x_label=x_label, y_label=y_label, series=tuple(series),
                 references=tuple(marks), **data)  # fmt: skip


# --- parts ------------------------------------------------------------------------------------------------------------


def scale_of(report: ProbeReport, value: str) -> Scale:
    """One scale for all states: 0 to 1 for probabilities, else from the least (at most 0) to the largest mean."""
    if value not in VALUES:
        raise InputError(f"value {value!r} is unknown; values are {', '.join(VALUES)}")
    if value in ("probability", "normalised"):
        return Scale(value=value, label=VALUES[value], low=0, high=1)
    means = [number for row in report.values(value).mean for number in row]
    low, high = min(0.0, *means), max(0.0, *means)
    return Scale(value=value, label=VALUES[value], low=low, high=high if high > low else low + 1.0)


def check_state(report: ProbeReport, state: int) -> None:
    """Raises InputError if the report has no such state."""
    if not 0 <= state <= report.n_thoughts:
        raise InputError(f"state {state} is out of range; this report has states 0 to {report.n_thoughts}")


def thought_of(report: ProbeReport, state: int) -> int | None:
    """The number of the thought that a state is; None for the last, which is not fed back but answers."""
    return state + 1 if state < report.n_thoughts else None


def mass_parts(report: ProbeReport, state: int) -> tuple[tuple[str, float], ...]:
    """Mean probability of a state on each group of PARTS; sums to 1.

    The answering state has no frontier: there, what the root reaches counts as passed.
    """
    problem, marker = report.problem, report.marker.mean[state]
    # Everything that can be reached is nearer than n_nodes hops.
    groups = node_groups(np.array(problem.distance), [thought_of(report, state) or problem.n_nodes])
    p = np.array(report.probability.mean[state])
    sums = {part: float(mass(p, groups[part][0])) for part in ("frontier", "passed", "beyond")}
    sums["answer marker"] = marker[report.answer_column]
    sums["other"] = report.other[state] + sum(marker) - marker[report.answer_column]
    return tuple((part, sums[part]) for part in PARTS)


def question(problem: ProsQAProblem) -> str:
    """The question, candidates in the order of their numbers so that the order says nothing about the answer."""
    root, *candidates = (
        display_name(problem.idx_to_symbol[v]) for v in (problem.root, *sorted((problem.target, problem.neg_target)))
    )
    return f"Is {root} a {candidates[0]} or a {candidates[1]}?"


def answer_text(report: ProbeReport) -> str:
    """What the model answers after all thoughts, whether that is right, and what the root-blind rule says."""
    problem, last, n = report.problem, report.answers[-1], report.n_draws
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


def _estimate(band: Band, state: int, column: int, n: int) -> Estimate:
    low, high = (None if ends is None else ends[state][column] for ends in (band.low, band.high))
    return Estimate(value=band.mean[state][column], low=low, high=high, n=n)


def _values(report: ProbeReport, state: int, value: str) -> tuple[Estimate, ...]:
    """A value of every node at a state."""
    band = report.values(value)
    return tuple(_estimate(band, state, node, report.n_draws) for node in range(report.n_nodes))


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
    hops = report.problem.n_hops
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
    span = percent(shares[0])
    if percent(shares[-1]) != span:
        span = f"{span.removesuffix(' %')}–{percent(shares[-1])}"
    names[0] = names[0].capitalize()
    return f"{' and '.join(names)}: the search is done, {span} of the probability is on the answer marker."


def _mass_lines(report: ProbeReport, state: int) -> tuple[str, ...]:
    """Where the probability of a state is, in words, and what the controls have there."""
    thought = thought_of(report, state)
    n_frontier = 0 if thought is None else len(report.problem.frontier(thought))
    if thought is None or n_frontier == 0:
        return (
            _note(report, state) or f"{percent(dict(mass_parts(report, state))['answer marker'])} on the answer marker",
        )
    nodes = "the 1 node" if n_frontier == 1 else f"the {n_frontier} nodes"
    own = _metric(report, "model", "mass_frontier")[thought - 1]
    line = f"{text(own, 'percent', bounds=(0, 1))} on {nodes} at distance {thought}"
    controls = [
        f"{SOURCES[source]} {percent(found.value)}"
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
    if marker >= 0.5 and (thought is None or thought > report.problem.n_hops):
        return f"done: {percent(marker)} on the answer marker"
    if thought is not None and not report.problem.frontier(thought):
        return f"no node at distance {thought}; {percent(marker)} on the answer marker"
    return ""


def _words(report: ProbeReport, value: str | None, alt: str = "") -> Words:
    """Question, answer, and what must be known of any picture of the report."""
    info = report.model
    what = "" if value is None else f"Colour: {VALUES[value]}. "
    draws = f"Mean of n = {report.n_draws} draws of the prompt (relabelled, reordered) with 95 % intervals over draws"
    if report.n_draws == 1:
        draws = "One draw of the prompt, so no intervals"
    controls = "shuffled labels (node labels permuted within the graph)"
    if "untrained" in report.metrics:
        controls += ", untrained model of the same config"
    filler = ""
    if report.n_filler:
        filler = (
            f" {report.n_filler} unrelated facts were added to each prompt: the graph is smaller than any in training."
        )
    warnings = "".join(f" {warning}" for warning in report.warnings)
    caption = (
        f"{what}{draws}, seed {report.seed}. Controls: {controls}. "
        f"Model: {display_name(info.name, 60)} ({info.method}, {info.n_layer} layers, width {info.n_embd}, "
        f"weights {info.fingerprint}).{filler}{warnings} Shows what can be decoded, not what is used."
    )
    return Words(
        title=question(report.problem), answer=answer_text(report), caption=caption, alt=alt, later=_later(report)
    )


def _list(numbers: list[int]) -> str:
    *rest, last = map(str, numbers)
    return f"{', '.join(rest)} or {last}" if rest else last
