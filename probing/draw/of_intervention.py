"""One intervention as pictures: the graph before and after, the answer beside its controls, what follows.

Pure functions from an ``Intervention`` to graphs, heatmaps and charts, and to files. Page and files are made from the
same object, so they cannot disagree. "Before" is the clean run, "after" the edited one, on one scale.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from model.errors import InputError, check_known
from model.files import write_csv
from model.metrics import mass, problem_groups
from model.problems.prosqa import ProsQAProblem
from model.stats import Estimate, Floats, leaning, mean, percent, short_number, sure
from probing.draw import export as draw
from probing.draw import html, of_report
from probing.draw.marks import theme_of
from probing.draw.of_report import (
    answer_line,
    answer_values,
    answered,
    by_state,
    chances,
    graph_of,
    heatmap_of,
    question,
)
from probing.draw.values import Chart, Graph, HeatColumn, Heatmap, Reference, Scale, Series, Words, display_name, unique
from probing.edit.kinds import CONTROLS
from probing.edit.one_problem import Intervention, Side
from probing.edit.run import Touched

VALUES = {
    "probability": "probability of each node as the next step",
    "weight": "coefficient of each node's direction in the thought (1: as fitted)",
}
"""What nodes can be coloured by, as links say it."""
VALUE_NAMES = {"probability": "probability", "weight": "coefficient"}
BEFORE, AFTER, CONTROL = "before", "after", "random"
OVER = "over"
"""Written on the cells of a search that holds no node so far from its root."""
BY_THOUGHT = "thought (before edit)"
LABELS = {BEFORE: "before", AFTER: "the edit"} | {row.name: row.label for row in CONTROLS.values()}
"""Runs in the order they are shown."""
FORMATS = ("svg", "png", "pdf", "html", "csv", "json")


# --- the answer -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """The answers of one run after all its thoughts, over the prompt samples."""

    name: str
    """A key of LABELS, or the name of a checkpoint compared with."""
    label: str
    p_other: Estimate
    """Probability of the other candidate, of the two."""
    samples: tuple[float, ...]
    """The same, sample by sample."""
    follows: int
    """Samples in which the other candidate is the more probable of the two."""
    named: int
    """Of those, the ones in which it is also the most probable of all tokens."""
    neither: int
    """Samples in which the most probable token of all is no candidate."""

    @property
    def n(self) -> int:
        return len(self.samples)

    @property
    def p_target(self) -> Estimate:
        """Probability of the target, of the two."""
        return sure(mean([1 - p for p in self.samples]))


def run_of(side: Side, name: str, label: str) -> Run:
    p_other = 1 - side.p_target[:, -1]
    other, neither = side.log_odds[:, -1] < 0, side.neither[:, -1].astype(bool)
    follows, named = int(other.sum()), int((other & ~neither).sum())
    return Run(name, label, sure(mean(p_other)), tuple(p_other.tolist()), follows, named, int(neither.sum()))


def runs(result: Intervention) -> tuple[Run, ...]:
    """Before, the edit, and every other control that exists, in the order of LABELS."""
    sides = {BEFORE: result.clean, AFTER: result.edited, **result.controls}
    sides.pop(result.plan[0].control, None)  # the edit is this control itself
    return tuple(run_of(sides[name], name, label) for name, label in LABELS.items() if name in sides)


def missing_controls(result: Intervention) -> tuple[str, ...]:
    """Labels of controls that the edit has, but that do not exist for this problem."""
    return tuple(LABELS[name] for name in result.plan.controls() if name not in result.controls)


def said(run: Run, problem: ProsQAProblem) -> tuple[str | None, float]:
    """The candidate the samples answer with and its mean probability of the two; None where they are at chance."""
    p, side = run.p_other.value, leaning(run.follows, run.n)
    if side == 0:
        return None, p
    node, p = (problem.neg_target, p) if side > 0 else (problem.target, 1 - p)
    return problem.idx_to_symbol[node], p


def answer(run: Run, problem: ProsQAProblem, show: Callable[[str], str] = display_name) -> str:
    """``rempus, 97.5 % (4 of 4 prompt samples)``, or ``at chance: P(lempus) = .49, P(rempus) = .51 (rempus in 1 of 4
    prompt samples)``; ``show`` is how a name is written."""
    name, p = said(run, problem)
    other = problem.idx_to_symbol[problem.neg_target]
    if name is None:
        both = chances(problem, run.p_target, run.p_other, show)
        return f"at chance: {both} ({show(other)} in {run.follows} of {run.n} prompt samples)"
    count = run.follows if name == other else run.n - run.follows
    return f"{show(name)}, {percent(p)} ({count} of {run.n} prompt samples)"


def beside(result: Intervention) -> str:
    """What the controls did, in a sentence; empty without any."""
    controls = [f"{run.label} {run.named} of {run.n}" for run in runs(result)[2:]]
    other = display_name(result.problem.idx_to_symbol[result.problem.neg_target])
    return f"Prompt samples that answer {other} under the controls: {', '.join(controls)}." if controls else ""


def answer_words(result: Intervention) -> str:
    """Answer before and after, then every control, in one paragraph."""
    before, after = (answer(run, result.problem) for run in runs(result)[:2])
    return f"Before: {before}. After {result.plan.describe(display_name)}: {after}. {beside(result)}".strip()


# --- pictures ---------------------------------------------------------------------------------------------------------


def has_value(result: Intervention, value: str, thought: int | None) -> bool:
    """Whether nodes have such a value at a thought (None: the answer state)."""
    if value == "probability":
        return True
    weights = result.clean.coefficients
    return weights is not None and thought is not None and bool(np.isfinite(weights[:, thought - 1]).all())


def values_of(result: Intervention, side: Side, thought: int | None, value: str) -> Floats:
    """``R n``: values of the nodes in a thought, or in the answer state (None).

    A thought that a run was fed otherwise than the clean run is read as it was fed, any other as the model made it: a
    pause model makes states and is fed a token.
    """
    check_known("value", value, VALUES)
    if thought is not None and not 1 <= thought <= result.n_thoughts:
        raise InputError(f"thought {thought} is out of range; this run has thoughts 1 to {result.n_thoughts}")
    if not has_value(result, value, thought):
        raise InputError(f"nodes have no {value} here: no node directions are defined for it")
    n_fed = side.fed.shape[1]
    if thought is None or thought > n_fed:  # after an early exit the answer comes from the last state
        return np.exp(side.states[:, -1])
    if value == "weight":
        assert side.coefficients is not None
        return side.coefficients[:, thought - 1]
    fed, clean = side.fed[:, thought - 1], result.clean.fed[:, thought - 1]
    changed = side is not result.clean and not np.allclose(fed, clean, atol=1e-4)
    return np.exp(fed if changed else side.states[:, thought - 1])


def moved_at(touched: Iterable[Touched], thought: int | None) -> tuple[set[int], set[int]]:
    """The nodes that go out of and into a thought."""
    here = [each for each in touched if each.t == thought]
    return {node for each in here for node in each.out}, {node for each in here for node in each.put}


def pair(
    result: Intervention,
    thought: int | None,
    *,
    value: str = "probability",
    out: Collection[int] = (),
    put: Collection[int] = (),
    beside: Collection[str] = (),
) -> tuple[Graph, ...]:
    """The graph before and after, then under each control of ``beside`` that exists, at one thought as it was fed, or
    at the answer state (None), on one scale.

    Nodes of ``out`` and ``put`` wear a badge: what the edit takes out and puts in. The answer state shows each
    candidate's probability as the answer, of the two.
    """
    sides = {BEFORE: result.clean, AFTER: result.edited}
    sides |= {name: result.controls[name] for name in beside if name in result.controls}
    found = {run: _columns(values_of(result, side, thought, value)) for run, side in sides.items()}
    low, high, bounds = 0.0, 1.0, (0.0, 1.0)
    answers: dict[str, int | None] = dict.fromkeys(sides)
    label, problem = VALUES[value], result.problem
    if thought is None:
        label = of_report.ANSWER.label
        for run, side in sides.items():
            ran = run_of(side, run, run)
            written = {problem.target: 1 - ran.follows / ran.n, problem.neg_target: ran.follows / ran.n}
            answers[run] = answered(written, ran.n)
            found[run] = list(answer_values(problem, ran.p_target, ran.p_other))
    elif value == "weight":
        # Wide enough for any direction written or subtracted as fitted; wider only where an edit goes beyond.
        means = [e.value for estimates in found.values() for e in estimates]
        low, high, bounds = min(-1.0, *means), max(1.5, *means), (-math.inf, math.inf)
    words = _words(result, f"Colour: {label}; ")
    badges = dict.fromkeys(out, "−") | dict.fromkeys(put, "+")
    return tuple(
        graph_of(
            problem, found[run], state=state, thought=thought,
            scale=Scale(value="answer" if thought is None else value, label=label, low=low, high=high),
            heading=f"{LABELS[run] if run in beside else run.capitalize()}: {_state_words(result, run, thought)}",
            subtitle=(
                (answer_line(problem, answers[run], found[run]),) if thought is None else _masses(result, side, thought)
            ),
            words=words, badges={} if run in (BEFORE, *beside) else badges, answer=answers[run],
            tips=[(("P(answer)" if thought is None else VALUE_NAMES[value], e.text(bounds=bounds)),)
                  for e in found[run]],
        )
        for state, (run, side) in enumerate(sides.items())
    )  # fmt: skip


def strip(result: Intervention, *, edited: bool = True) -> Chart:
    """Every thought and the answer, before and after: the probability on either question's frontier, and in the answer
    that of either candidate."""
    problem, other = result.problem, result.problem.counterfactual
    asked = [(problem, problem.target)] + ([(other, problem.neg_target)] if other else [])
    places = of_report.state_labels(result.n_thoughts)
    series = []
    for run, side in ((BEFORE, result.clean), (AFTER, result.edited))[: 2 if edited else 1]:
        for search, candidate in asked:
            y: list[float | None] = []
            for t in range(1, result.n_thoughts + 1):
                there = search.frontier(t) if t <= side.fed.shape[1] else ()
                p = values_of(result, side, t, "probability").mean(axis=0) if there else None
                y.append(None if p is None else _on_frontier(search, p, t))
            target = side.p_target[:, -1].mean()
            y.append(float(target if candidate == problem.target else 1 - target))
            who = display_name(problem.idx_to_symbol[search.root], 10)
            name = f"{run}: {who} → {display_name(problem.idx_to_symbol[candidate], 10)}"
            labels = tuple(OVER if p is None else short_number(p) for p in y)
            series.append(Series(name=name, x=places, y=tuple(y), labels=labels))
    return Chart(
        name="strip", title="Every thought, before and after", kind="heatmap", x_label="thought",
        y_label="probability on the frontier", series=tuple(series), y_range=(0, 1), categories=places, labelled=True,
        words=_words(result, alt="Probability of every thought on either question's frontier, before and after"),
    )  # fmt: skip


def effects(result: Intervention, extra: Sequence[Run] = ()) -> Chart:
    """Where each run's answer lies between the two candidates: every prompt sample, the mean, and its interval."""
    problem, found = result.problem, (*runs(result), *extra)
    target, other = (display_name(problem.idx_to_symbol[v], 16) for v in (problem.target, problem.neg_target))
    labels = unique(run.label for run in found)
    series = []
    for run, label in zip(found, labels, strict=True):
        source = run.name if run.name in LABELS else "untrained"
        cases = Series(name=f"{label}, samples", x=(label,) * run.n, y=run.samples, source=source, faint=True)
        neither = f" ({run.neither} neither)" if run.neither else ""
        strong = Series.of(label, [label], [run.p_other], source=source, labels=(f"{run.named} of {run.n}{neither}",))
        series += [cases, strong]
    said = "; ".join(f"{run.label}: {run.named} of {run.n} prompt samples answer {other}" for run in found)
    return Chart(
        name="effects", title="The edit beside its controls", kind="strip", x_label="run",
        y_label=f"probability of {other}, of the two", series=tuple(series), y_range=(0, 1), categories=tuple(labels),
        references=(
            Reference(axis="y", at=0, label=f"{target} ✓", group="target"),
            Reference(axis="y", at=1, label=f"{other} ✗", group="other candidate"),
        ),
        words=_words(result, alt=f"Answers of the edit and its controls: {said}"),
    )  # fmt: skip


def searches(result: Intervention, thought: int | None = None) -> Chart:
    """Probability of every thought on the queried frontier and on the counterfactual question's, before and after."""
    x, series = _places(result), []
    for name, role, what in (
        ("the queried question", "target", "mass"),
        ("the counterfactual question", "other candidate", "other_mass"),
    ):
        before, after = (_columns(getattr(side, what))[: len(x)] for side in (result.clean, result.edited))
        series.append(Series.of(f"{name}, before", x, before, group=role, control=True, shade=False).bare)
        series.append(Series.of(f"{name}, after", x, after, source=role, shade=False))
    return by_state(
        "searches", "Which search do the thoughts follow?", BY_THOUGHT, "probability on the frontier", series, x,
        _place(x, thought), words=_words(result),
    )  # fmt: skip


def drift(result: Intervention, thought: int | None = None) -> Chart:
    """How far every state moved from the run before (KL, nats), for the edit and for each control."""
    x, series = _places(result), []
    for name, side in _moved(result).items():
        if name != "identity":
            found = _columns(side.kl)[: len(x)]
            line = Series.of(LABELS[name], x[: len(found)], found, source=name, shade=False)
            series.append(line if name == AFTER else line.bare)
    top = max(y for one in series for y in (*one.y, *(one.high or ())) if y is not None)
    return by_state(
        "drift", "How far did later thoughts move?", BY_THOUGHT, "KL(before || after), nats", series, x,
        _place(x, thought), words=_words(result), y_range=(0, round(1.05 * top, 2) or 1),
    )  # fmt: skip


def changes(result: Intervention, thought: int | None = None) -> Heatmap:
    """Probability of every node in every thought as it was fed: after minus before."""
    n_fed, last = result.edited.fed.shape[1], result.n_thoughts
    moved = np.exp(result.edited.fed) - np.exp(result.clean.fed[:, :n_fed])
    values: list[Sequence[Estimate] | None] = [_columns(moved[:, k]) if k < n_fed else None for k in range(last)]
    values.append(_columns(np.exp(result.edited.states[:, -1]) - np.exp(result.clean.states[:, -1])))
    columns = tuple(HeatColumn(state=k, thought=k + 1 if k < last else None) for k in range(last + 1))
    scale = Scale(
        value="change", label="change of each node's probability: after minus before", low=-1, high=1, signed=True
    )
    alt = "Change of every node's probability in every thought"
    return heatmap_of(
        result.problem, values, columns, scale=scale, n=result.n_samples,
        cursor=last if thought is None else thought - 1,
        words=_words(result, "Probability after minus before, thoughts as fed; ", alt),
    )  # fmt: skip


def _moved(result: Intervention) -> dict[str, Side]:
    """The edit and its controls, in the order of LABELS."""
    sides = {AFTER: result.edited, **result.controls}
    return {name: sides[name] for name in LABELS if name in sides}


def _places(result: Intervention) -> tuple[str, ...]:
    """Every state as the model made it, h_0 to the answer state; fewer after an early exit."""
    return of_report.state_labels(result.n_thoughts)[: result.edited.kl.shape[1]]


def _place(places: Sequence[str], thought: int | None) -> int | None:
    name = str(thought or "answer")
    return places.index(name) if name in places else None


def _columns(values: Floats) -> list[Estimate]:
    """``R n`` values as an estimate per column."""
    return [sure(mean(column)) for column in values.T]


def _words(result: Intervention, what: str = "", alt: str = "") -> Words:
    n = result.n_samples
    samples = "one prompt sample, so no intervals" if n == 1 else f"mean of n = {n} prompt samples"
    caption = (
        f"{what}{samples}, seed {result.seed}, passes in {result.precision}. Edit: {' & '.join(map(str, result.plan))}."
    )
    return Words(
        title=question(result.problem), answer=answer_words(result), caption=caption[0].upper() + caption[1:], alt=alt
    )


def _state_words(result: Intervention, run: str, thought: int | None) -> str:
    if thought is None:
        return "the answer state"
    if run == AFTER and thought > result.edited.fed.shape[1]:
        n = result.edited.fed.shape[1]
        return f"early exit after {n} thought{'s' * (n != 1)}"
    edited = any(thought in spec.thoughts for spec in result.plan)
    return f"thought {thought}" + (", edited" if edited and run == AFTER else "")


def _masses(result: Intervention, side: Side, thought: int | None) -> tuple[str, ...]:
    """Where the probability of the state is: on the queried question's frontier and on the counterfactual one's."""
    if thought is None or thought > side.fed.shape[1]:
        return ("no frontier: the thoughts are over",)
    p = values_of(result, side, thought, "probability").mean(axis=0)
    lines = [f"{percent(_on_frontier(result.problem, p, thought))} on the nodes at distance {thought}"]
    other = result.problem.counterfactual
    if other is not None:
        lines.append(f"{percent(_on_frontier(other, p, thought))} on those of the counterfactual question")
    return tuple(lines)


def _on_frontier(search: ProsQAProblem, p: Floats, thought: int) -> float:
    """Of a probability per node, what lies on the frontier of a search."""
    return float(mass(p, problem_groups(search, thought)["frontier"][-1]))


# --- files ------------------------------------------------------------------------------------------------------------

FIELDS = ("what", "run", "thought", "node", "name", "mean", "low", "high", "n")


def export(
    result: Intervention, format: str, *, thought: int | None = None, value: str = "probability", theme: str = "light"
) -> bytes:
    """An intervention as a file of one of FORMATS; figures show the graph before and after at ``thought``.

    Raises InputError for anything unknown or out of range.
    """
    check_known("format", format, FORMATS)
    colours = theme_of(theme)
    if format == "json":
        return result.to_json().encode()
    if format == "csv":
        return table(result).encode()
    graphs = pair(result, thought, value=value)
    if format == "html":
        from probing.draw import plotly

        other = display_name(result.problem.idx_to_symbol[result.problem.neg_target])
        rows = [(run.label, run.p_other.text(bounds=(0, 1)), f"{run.named} of {run.n}") for run in runs(result)]
        beside = html.table(("run", f"P({other})", f"samples that answer {other}"), rows)
        return plotly.page(graphs, theme=colours, more=beside).encode()
    return draw.export(graphs, format, theme=colours)


def table(result: Intervention) -> str:
    """Every number of the picture in long form, as CSV.

    ``what``: p_other (probability of the other candidate, of the two), follows (share of prompt samples in which it is
    the more probable), probability (of a node, in a thought as it was fed), mass and other_mass (on either question's
    frontier), kl (from the run before, nats). ``thought`` is empty for the answer state, ``low`` and ``high`` for a
    single sample.
    """
    lines: list[tuple[object, ...]] = []
    for run in runs(result):
        lines.append(("p_other", run.name, None, None, None, *run.p_other.cells()))
        lines.append(("follows", run.name, None, None, None, run.follows / run.n, None, None, run.n))
    beside = {BEFORE: result.clean, AFTER: result.edited}
    for name, side in beside.items():
        for t in [*range(1, side.fed.shape[1] + 1), None]:
            for node, found in enumerate(_columns(values_of(result, side, t, "probability"))):
                symbol = result.problem.idx_to_symbol[node]
                lines.append(("probability", name, t, node, symbol, *found.cells()))
    for what, sides in (("mass", beside), ("other_mass", beside), ("kl", _moved(result))):
        for name, side in sides.items():
            for state, found in enumerate(_columns(getattr(side, what))):
                lines.append((what, name, of_report.thought_of(result, state), None, None, *found.cells()))
    return write_csv(None, FIELDS, lines)
