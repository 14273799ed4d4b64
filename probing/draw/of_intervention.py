"""What the pictures of one intervention say: the graph before and after, the answer beside its controls, what follows.

Pure functions from an ``Intervention`` to small frozen descriptions, and to files. Page and files are made from the
same object, so they cannot disagree. "Before" is the clean run, "after" the edited one, on one scale.
"""

from __future__ import annotations

import csv
import html
import io
import json
import math
from dataclasses import dataclass

import numpy as np

from model.errors import InputError
from model.problems.prosqa import ProsQAProblem
from probing.draw.layout import layout
from probing.draw.marks import theme_of
from probing.draw.of_report import DagScene, NodeMark, Role, Scale, display_name, edge_marks, question
from probing.edit.one_problem import Intervention, Side
from probing.edit.spec import EditPlan, EditSpec, NodePart, scene_controls
from probing.read.report import Estimate, estimate

VALUES = {
    "probability": "probability of each node as the next step",
    "weight": "weight of each node's write direction in the thought (1: as fitted)",
}
BEFORE, AFTER = "before", "after"
LABELS = {
    BEFORE: "before",
    AFTER: "the edit",
    "random": "random direction, same length",
    "unreachable": "nodes out of reach instead",
    "neither": "nodes that lead to neither instead",
    "other-step": "the same at another thought",
    "identity": "nothing changed (identity)",
}
"""Runs in the order they are shown."""
FORMATS = ("svg", "png", "pdf", "html", "csv", "json")


# --- the answer -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """The answers of one run after all its thoughts, over the draws."""

    name: str
    """A key of LABELS, or the name of a checkpoint compared with."""
    label: str
    p_other: Estimate
    """Probability of the other candidate, of the two."""
    draws: tuple[float, ...]
    """The same, draw by draw."""
    follows: int
    """Draws that answer with the other candidate."""
    neither: int
    """Draws in which the likeliest token of all is no candidate."""

    @property
    def n(self) -> int:
        return len(self.draws)


def run_of(side: Side, name: str, label: str) -> Run:
    p_other = 1 - side.p_target[:, -1]
    found = estimate(p_other)
    assert found is not None
    return Run(
        name,
        label,
        found,
        tuple(p_other.tolist()),
        int((side.log_odds[:, -1] < 0).sum()),
        int(side.neither[:, -1].sum()),
    )


def runs(result: Intervention) -> tuple[Run, ...]:
    """Before, the edit, and every other control that exists, in the order of LABELS."""
    sides = {BEFORE: result.clean, AFTER: result.edited, **result.controls}
    sides.pop(EditSpec.parse(result.edits[0]).control, None)  # the edit is this control itself
    return tuple(run_of(sides[name], name, label) for name, label in LABELS.items() if name in sides)


def missing_controls(result: Intervention) -> tuple[str, ...]:
    """Labels of controls that the edit has, but that do not exist for this problem."""
    scene = tuple(map(EditSpec.parse, result.edits))
    return tuple(LABELS[name] for name in LABELS if name in scene_controls(scene) and name not in result.controls)


def said(run: Run, problem: ProsQAProblem) -> tuple[str | None, float]:
    """The candidate answered with in most draws and its mean probability of the two; None where it is a coin toss."""
    target, other = (display_name(problem.idx_to_symbol[v]) for v in (problem.target, problem.neg_target))
    p = run.p_other.mean
    if 0.25 < p < 0.75:
        return None, max(p, 1 - p)
    return (other, p) if p > 0.5 else (target, 1 - p)


def answer_words(result: Intervention) -> str:
    """Answer before and after, then every control, in one paragraph."""
    problem, found = result.problem, runs(result)
    before, after = (_said(run, problem) for run in found[:2])
    text = f"Before: {before}. After {describe(result.edits)}: {after}."
    controls = [f"{run.label} {run.follows} of {run.n}" for run in found[2:]]
    other = display_name(problem.idx_to_symbol[problem.neg_target])
    if controls:
        text += f" Draws that answer {other} under the controls: {', '.join(controls)}."
    return text


def _said(run: Run, problem: ProsQAProblem) -> str:
    name, p = said(run, problem)
    of = "in the one draw" if run.n == 1 else f"{run.n} draws"
    if name is None:
        other = display_name(problem.idx_to_symbol[problem.neg_target])
        return f"undecided, {other} {100 * run.p_other.mean:.0f} % ({of})"
    return f"{name}, {100 * p:.0f} % ({of})"


# --- words ------------------------------------------------------------------------------------------------------------


def describe(edits: tuple[str, ...]) -> str:
    """What edits do, in words that go on after "After": "swapping the branches in thought 1"."""
    return EditPlan(map(EditSpec.parse, edits)).describe(display_name)


def part_text(part: NodePart) -> str:
    """A named set or a node, in words."""
    return part.describe(display_name)


# --- the graph before and after ---------------------------------------------------------------------------------------


def has_value(result: Intervention, value: str, thought: int | None) -> bool:
    """Whether nodes have such a value at a thought (None: the answer state)."""
    if value == "probability":
        return True
    weights = result.clean.weights
    return weights is not None and thought is not None and bool(np.isfinite(weights[:, thought - 1]).all())


def values_of(result: Intervention, side: Side, thought: int | None, value: str) -> np.ndarray:
    """``R n``: values of the nodes in a thought as it was fed, or in the answer state (None)."""
    if value not in VALUES:
        raise InputError(f"value {value!r} is unknown; values are {', '.join(VALUES)}")
    if thought is not None and not 1 <= thought <= result.n_thoughts:
        raise InputError(f"thought {thought} is out of range; this run has thoughts 1 to {result.n_thoughts}")
    if not has_value(result, value, thought):
        raise InputError(f"nodes have no {value} here: no write directions are defined for it")
    n_fed = side.fed.shape[1]
    if thought is None or thought > n_fed:  # a run cut short answers from its last state
        return np.exp(side.states[:, -1])
    if value == "weight":
        assert side.weights is not None
        return side.weights[:, thought - 1]
    return np.exp(side.fed[:, thought - 1])


def pair(result: Intervention, thought: int | None, *, value: str = "probability") -> tuple[DagScene, DagScene]:
    """The graph before and after, at one thought as it was fed, or at the answer state (None), on one scale."""
    found = [values_of(result, side, thought, value) for side in (result.clean, result.edited)]
    scale = Scale("probability", VALUES["probability"], 0.0, 1.0)
    if value == "weight":
        # Wide enough for anything held as fitted or taken out as fitted; wider only where an edit goes beyond.
        means = [float(v) for side in found for v in side.mean(axis=0)]
        scale = Scale("weight", VALUES["weight"], min(-1.0, *means), max(1.5, *means))
    first, second = (
        _scene(result, run, thought, values, scale) for run, values in zip((BEFORE, AFTER), found, strict=True)
    )
    return first, second


def _scene(result: Intervention, run: str, thought: int | None, values: np.ndarray, scale: Scale) -> DagScene:
    problem, where = result.problem, layout(result.problem)
    roles: dict[int, Role] = {
        problem.root: "root",
        problem.target: "target",
        problem.neg_target: "other candidate",
    }
    nodes = []
    for node, name in enumerate(problem.idx_to_symbol):
        distance = problem.distance[node]
        found = estimate(values[:, node])
        assert found is not None
        frontier = thought is not None and distance == thought
        nodes.append(
            NodeMark(
                node=node,
                name=name,
                label=display_name(name),
                role=roles.get(node, "node"),
                x=where.x[node],
                y=where.y[node],
                distance=int(distance) if math.isfinite(distance) else None,
                value=found.mean,
                low=found.low,
                high=found.high,
                n=found.n,
                frontier=frontier,
                optimal=frontier and node in problem.shortest_path_nodes,
                reached=math.isfinite(distance) and (thought is None or distance < thought),
            )
        )
    side = result.clean if run == BEFORE else result.edited
    heading, subtitle = f"{run.capitalize()}: {_state_words(result, run, thought)}", _masses(result, side, thought)
    draws = "one draw, so no intervals" if result.n_draws == 1 else f"mean of n = {result.n_draws} draws of the prompt"
    return DagScene(
        state=0 if run == BEFORE else 1,
        thought=thought,
        heading=heading,
        subtitle=subtitle,
        nodes=tuple(nodes),
        edges=edge_marks(problem),
        scale=scale,
        columns=tuple((float(d), str(d)) for d in range(problem.depth + 1)),
        width=where.width,
        height=where.height,
        divider=where.divider,
        divider_label=f"not reachable from {display_name(problem.idx_to_symbol[problem.root])}",
        title=question(problem),
        answer=answer_words(result),
        later="",
        caption=f"Colour: {VALUES[scale.value]}; {draws}, seed {result.seed}. Edit: {' & '.join(result.edits)}.",
        alt=f"{question(problem)} Graph {heading}: {' '.join(subtitle)}.",
    )


def _state_words(result: Intervention, run: str, thought: int | None) -> str:
    if thought is None:
        return "the answer state"
    if run == AFTER and thought > result.edited.fed.shape[1]:
        return f"cut after {result.edited.fed.shape[1]} thoughts"
    edited = any(thought in EditSpec.parse(text).thoughts for text in result.edits)
    return f"thought {thought}" + (", edited" if edited and run == AFTER else "")


def _masses(result: Intervention, side: Side, thought: int | None) -> tuple[str, ...]:
    """Where the probability of the state is: on the asked question's frontier and on the other question's."""
    if thought is None or thought > side.fed.shape[1]:
        return ("no node should be held any more",)
    p = np.exp(side.fed[:, thought - 1]).mean(axis=0)
    own = float(p[sorted(result.problem.frontier(thought))].sum())
    lines = [f"{100 * own:.0f} % on the nodes at distance {thought}"]
    other = result.problem.counterfactual
    if other is not None:
        mass = float(p[sorted(other.frontier(thought))].sum())
        lines.append(f"{100 * mass:.0f} % on those of the question whose answer is the other candidate")
    return tuple(lines)


# --- later thoughts ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Later:
    """One state of the run before and after: how far it moved, and which search it is in."""

    thought: int | None
    """None for the answer state."""
    kl: dict[str, Estimate]
    """Run -> KL(before || run) of the next-token distribution, nats; the edit and its controls."""
    own: tuple[Estimate, Estimate]
    """Probability on the asked question's frontier, before and after."""
    other: tuple[Estimate, Estimate]
    """The same for the question whose answer is the other candidate; zero where there is none."""


def later(result: Intervention) -> tuple[Later, ...]:
    """Every state as the model produced it, h_0 to the answer state (fewer where the edit cuts the run)."""
    n_states = result.edited.kl.shape[1]
    sides = {AFTER: result.edited, **result.controls}
    return tuple(
        Later(
            thought=k + 1 if k < result.n_thoughts else None,
            kl={name: _sure(side.kl[:, k]) for name, side in sides.items() if k < side.kl.shape[1]},
            own=(_sure(result.clean.mass[:, k]), _sure(result.edited.mass[:, k])),
            other=(_sure(result.clean.other_mass[:, k]), _sure(result.edited.other_mass[:, k])),
        )
        for k in range(n_states)
    )


def change(result: Intervention) -> np.ndarray:
    """``K+1 n``: mean probability of each node after minus before, thoughts as fed, then the answer state.

    NaN at thoughts that the edit cut off.
    """
    n_states = result.n_thoughts + 1
    found = np.full((n_states, result.problem.n_nodes), np.nan)
    n_fed = result.edited.fed.shape[1]
    found[:n_fed] = (np.exp(result.edited.fed) - np.exp(result.clean.fed[:, :n_fed])).mean(axis=0)
    found[-1] = (np.exp(result.edited.states[:, -1]) - np.exp(result.clean.states[:, -1])).mean(axis=0)
    return found


def _sure(values: np.ndarray) -> Estimate:
    found = estimate(values)
    assert found is not None
    return found


# --- files ------------------------------------------------------------------------------------------------------------

FIELDS = ("what", "run", "thought", "node", "name", "mean", "low", "high", "n")


def export(
    result: Intervention,
    format: str,
    *,
    thought: int | None = None,
    value: str = "probability",
    theme: str = "light",
) -> bytes:
    """An intervention as a file of one of FORMATS; figures show the graph before and after at ``thought``.

    Raises InputError for anything unknown or out of range.
    """
    if format not in FORMATS:
        raise InputError(f"format {format!r} is unknown; formats are {', '.join(FORMATS)}")
    colours = theme_of(theme)
    if format == "json":
        return json.dumps(result.to_json(), ensure_ascii=False, allow_nan=False).encode()
    if format == "csv":
        return table(result).encode()
    scenes = pair(result, thought, value=value)
    if format == "html":
        from probing.draw import plotly as draw_plotly

        before, after = (draw_plotly.dag_figure(scene, theme=colours) for scene in scenes)
        page = draw_plotly.to_html(before, scenes[0], theme=colours)
        second = after.to_html(
            full_html=False, include_plotlyjs=False, div_id="after", config={"displayModeBar": False}
        )
        head, mark, tail = page.rpartition('<p class="caption">')
        assert mark
        return (head + f"<div>{second}</div>" + _table_html(result) + mark + tail).encode()
    from probing.draw import static as draw_static

    return draw_static.render(scenes, format, theme=colours)  # type: ignore[arg-type]  # checked above


def table(result: Intervention) -> str:
    """Every number of the picture in long form, as CSV.

    ``what``: p_other (probability of the other candidate, of the two), follows (share of draws that answer with it),
    probability (of a node, in a thought as it was fed), mass and other_mass (on either question's frontier), kl (from
    the run before, nats). ``thought`` is empty for the answer state, ``low`` and ``high`` for a single draw.
    """
    lines: list[tuple[object, ...]] = []
    for run in runs(result):
        lines.append(("p_other", run.name, None, None, None, *_numbers(run.p_other)))
        lines.append(("follows", run.name, None, None, None, run.follows / run.n, None, None, run.n))
    for name, side in ((BEFORE, result.clean), (AFTER, result.edited)):
        for t in [*range(1, side.fed.shape[1] + 1), None]:
            values = values_of(result, side, t, "probability")
            for node, symbol in enumerate(result.problem.idx_to_symbol):
                lines.append(("probability", name, t, node, symbol, *_numbers(_sure(values[:, node]))))
    for state in later(result):
        for i, name in enumerate((BEFORE, AFTER)):
            lines.append(("mass", name, state.thought, None, None, *_numbers(state.own[i])))
            lines.append(("other_mass", name, state.thought, None, None, *_numbers(state.other[i])))
        lines += [("kl", name, state.thought, None, None, *_numbers(found)) for name, found in state.kl.items()]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(FIELDS)
    writer.writerows(lines)
    return buffer.getvalue()


def _numbers(found: Estimate) -> tuple[object, ...]:
    return found.mean, found.low, found.high, found.n


def _table_html(result: Intervention) -> str:
    other = html.escape(display_name(result.problem.idx_to_symbol[result.problem.neg_target]))
    rows = "".join(
        f"<tr><td>{html.escape(run.label)}</td><td>{run.p_other.mean:.3f}</td><td>{run.follows} of {run.n}</td></tr>"
        for run in runs(result)
    )
    style = "border-spacing: 1.5em .2em; margin: .6em -1.5em; text-align: left; font-size: .9rem"
    head = f"<tr><th>run</th><th>P({other})</th><th>draws that answer {other}</th></tr>"
    return f'<table style="{style}">{head}{rows}</table>\n'
