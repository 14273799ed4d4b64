"""Intervene's state: one edit as text, its history, and the widgets that are another way of writing it.

The edit (``i_edit``) is the truth; every widget, button and click makes a new text, which is taken if it is sound and
otherwise explained. Undo goes back through the texts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import streamlit as st

from app import compute
from app import problem_picker as controls
from app.intervene.link import Lab, decode
from model.errors import InputError
from model.problems.prosqa import ProsQAProblem
from probing.draw.of_intervention import part_text
from probing.edit.directions import ESTIMATORS
from probing.edit.kinds import KINDS, NODE_SETS
from probing.edit.one_problem import preview
from probing.edit.spec import EditPlan, EditSpec, NodePart, Nodes

BRANCHES, TYPED = "branches", "typed"
PREPARED = "swap:t=1,strength=1.5"
"""What the page has ready when it opens."""
WITHOUT_OTHER = "remove:t=1"
"""The same for a graph without another root to ask about."""
MAX_STEPS = 100
NO_OTHER = "No other root of this graph makes the other candidate right, so there is no other question to take from."


def open_link() -> None:
    """Once a session: set everything to what the link asks for, or to the example with a sentence why not."""
    state = st.session_state
    if "i_opened" in state:
        return
    state.i_opened = True
    lab, state.i_link_error = Lab(), None
    try:
        lab = decode(st.query_params.to_dict())
    except InputError as error:
        state.i_link_error = f"{str(error)[0].upper()}{str(error)[1:]}. Showing the example instead."
    if "x_opened" not in state:  # else the problem chosen on Explore stays
        state.x_opened, state.x_link_error = True, None
        controls.put(lab.view)
    listed = lab.against in ("", compute.UNTRAINED, *compute.shipped())
    state.update(
        i_draws=lab.view.draws,
        i_edit=lab.edit,
        i_history=[lab.edit],
        i_at=0,
        i_error=None,
        i_show=lab.shown,
        i_value=lab.value,
        i_against=lab.against if listed else controls.OTHER_FOLDER,
        i_against_folder="" if listed else lab.against,
    )


def settle(problem: ProsQAProblem) -> None:
    """Keep the edit while its nodes are in the graph; set the widgets once."""
    state = st.session_state
    if state.get("i_problem") == problem:
        return
    gone = [name for spec in scene() for name in spec.names if name not in problem.idx_to_symbol]
    state.i_problem, state.i_last = problem, {}
    if gone:
        state.update(i_edit="", i_history=[""], i_at=0)
    state.i_error = None
    show_in_widgets()


def hands() -> dict[str, str]:
    """What can be done by hand, by kind; everything else can be typed."""
    branches = KINDS["swap"].hand
    found = {kind.name: kind.hand for kind in KINDS.values() if kind.hand not in ("", branches)}
    return {BRANCHES: branches, **found, TYPED: "As typed"}


def with_nodes(kind: str) -> bool:
    """Whether a kind of ``hands`` takes one set of nodes."""
    return kind in KINDS and bool(KINDS[kind].nodes)


# --- the edit ---------------------------------------------------------------------------------------------------------


def scene() -> tuple[EditSpec, ...]:
    text = st.session_state.i_edit
    return EditPlan.parse(text) if text else ()


def current() -> EditSpec:
    """The edit that the widgets show: the last one, or the one that is prepared."""
    edits = scene()
    return edits[-1] if edits else EditSpec.parse(prepared(st.session_state.i_problem))


def prepared(problem: ProsQAProblem) -> str:
    return PREPARED if problem.counterfactual is not None else WITHOUT_OTHER


def apply(text: str) -> None:
    """Make this the edit, or say why not. Empty text: no edit."""
    state = st.session_state
    try:
        text = str(EditPlan.parse(text)) if text else ""
    except InputError as error:
        state.i_error = str(error)
        return
    state.i_error = None
    before = [spec.thoughts for spec in scene()]
    if text != state.i_edit:
        state.i_history = [*state.i_history[: state.i_at + 1], text][-MAX_STEPS:]
        state.i_at = len(state.i_history) - 1
        state.i_edit = text
    after = [spec.thoughts for spec in scene()]
    if after and after != before and after[-1] and after[-1][0] > 0:
        state.i_show = after[-1][0]
    show_in_widgets()


def step(by: int) -> None:
    """Undo (-1) or redo (1)."""
    state = st.session_state
    at = state.i_at + by
    if 0 <= at < len(state.i_history):
        state.update(i_at=at, i_edit=state.i_history[at], i_error=None)
        show_in_widgets()


def show_in_widgets() -> None:
    """Set every widget to the edit."""
    state, spec = st.session_state, current()
    kind, out, put = spec.kind, _texts(spec.nodes), []
    if kind in ("swap", "remove", "add"):
        kind, put = BRANCHES, _texts(spec.to)
        if spec.kind == "add":
            out, put = [], out
    state.update(
        i_kind=kind if kind in hands() else TYPED,
        i_thoughts=[t for t in spec.thoughts if t > 0],
        i_out=out,
        i_in=put,
        i_strength=float(spec.strength),
        i_estimator=spec.directions,
        i_keep_norm=spec.keep_norm,
        i_held=spec.dose == "held",
        i_text=state.i_edit,
    )


def from_widgets() -> None:
    """The edit that the widgets ask for, in place of the one they showed."""
    state = st.session_state
    kind, out, put = state.i_kind, list(state.i_out), list(state.i_in)
    if kind == TYPED:
        return
    if kind == BRANCHES:
        kind = "swap" if out and put else "remove" if out else "add"
        if not out and not put:
            apply("&".join(map(str, scene()[:-1])))
            return
    nodes, to = out, put
    if kind == "add":
        nodes, to = put, []
    try:
        spec = EditSpec(
            kind,
            tuple(state.i_thoughts),
            _nodes(nodes) if with_nodes(kind) else None,
            _nodes(to) if kind == "swap" else None,
            directions=state.i_estimator,
            strength=float(state.i_strength),
            keep_norm=state.i_keep_norm,
            dose="held" if state.i_held and "dose" in KINDS[kind].takes else "fitted",
            seed=current().seed,
        )
        edits = EditPlan((*scene()[:-1], spec))
    except InputError as error:
        state.i_error = str(error)
        return
    apply(str(edits))


def choose(kind: str) -> None:
    """Another kind of edit of the same thoughts, with the nodes it starts from."""
    state = st.session_state
    known = KINDS.get(kind)
    if kind == BRANCHES:
        state.i_out, state.i_in = ["target-branch"], []
    elif kind == "write":
        state.i_out = []
    elif known is not None and known.nodes:
        state.i_out = [known.nodes]
    if kind == "scale":
        state.i_strength = 0.0
    elif state.i_strength == 0:
        state.i_strength = 1.0
    if kind == "permute" and len(state.i_thoughts) < 2:
        state.i_thoughts = [1, 2, 3]
    from_widgets()


def add_another() -> None:
    """Keep the edit, and start another of the next thought."""
    state = st.session_state
    last = max((t for spec in scene() for t in spec.thoughts), default=0)
    text = PREPARED if state.i_problem.counterfactual is not None else WITHOUT_OTHER
    apply(f"{state.i_edit}&{replace(EditSpec.parse(text), thoughts=(last + 1,))}")


def preset(kind: str) -> None:
    """One of the buttons, at the thoughts chosen."""
    state = st.session_state
    thoughts = tuple(state.i_thoughts) or (1,)
    if kind == "random":
        edits = scene() or (EditSpec.parse(prepared(state.i_problem)),)
        try:
            apply(str(EditPlan(replace(spec, control="random") for spec in edits)))
        except InputError as error:
            state.i_error = str(error)
        return
    texts = {
        "swap": "swap:strength=1.5",
        "cut": "remove:",
        "transplant": "transplant:",
        "compose": "write:nodes=nothing",
    }
    name, _, options = texts[kind].partition(":")
    at = "+".join(map(str, thoughts))
    apply(f"{name}:t={at}" + (f",{options}" if options else ""))


def touched(
    problem: ProsQAProblem, t: int, edits: tuple[EditSpec, ...] = ()
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Nodes that edits (by default those of the page) take out of and put into thought t."""
    plan = EditPlan(edits or scene() or (current(),))
    if not set(plan.names) <= set(problem.idx_to_symbol):
        return (), ()
    found = [entry for entry in preview(plan, problem) if entry.t == t]
    out, put = ({v for entry in found for v in nodes(entry)} for nodes in (lambda e: e.out, lambda e: e.put))
    return tuple(sorted(out)), tuple(sorted(put))


def click(problem: ProsQAProblem, node: int) -> None:
    """Toggle a node: what the thought should hold is taken out, anything else is put in."""
    state, spec = st.session_state, current()
    thoughts = tuple(state.i_thoughts) or (1,)
    t = state.i_show if state.i_show in thoughts else thoughts[0]
    if with_nodes(state.i_kind):
        state.i_out = _names(problem, _members(spec, problem, t) ^ {node})
    else:
        out: tuple[int, ...] = ()
        put: tuple[int, ...] = ()
        if state.i_edit and state.i_kind == BRANCHES:  # what is only prepared is not added to
            out, put = touched(problem, t, (replace(spec, control=""),))
        if node in problem.frontier(t) and node not in put:
            out = tuple({*out} ^ {node})
        else:
            put = tuple({*put} ^ {node})
        state.i_kind, state.i_out, state.i_in = BRANCHES, _names(problem, out), _names(problem, put)
    from_widgets()


def _members(spec: EditSpec, problem: ProsQAProblem, t: int) -> frozenset[int]:
    """The nodes of ``nodes`` at thought t."""
    known = set(spec.names) <= set(problem.idx_to_symbol)
    return (spec.members(problem, t)[0] if known else None) or frozenset()


def _names(problem: ProsQAProblem, nodes: Iterable[int]) -> list[str]:
    return [_text(problem.idx_to_symbol[v]) for v in sorted(nodes)]


# --- options of widgets -----------------------------------------------------------------------------------------------


def node_options(problem: ProsQAProblem, chosen: Sequence[str]) -> list[str]:
    """Named sets, then nodes by distance; whatever is chosen is among them."""
    order = sorted(range(problem.n_nodes), key=lambda v: (problem.distance[v], problem.idx_to_symbol[v]))
    sets = [name for name in NODE_SETS if name != "nothing" and (problem.counterfactual or "other" not in name)]
    options = [*sets, *(_text(problem.idx_to_symbol[v]) for v in order)]
    return [*options, *(text for text in chosen if text not in options)]


def option_label(problem: ProsQAProblem, text: str) -> str:
    part = Nodes.parse(text).parts[0]
    if part.is_set:
        return part_text(part)
    if part.name not in problem.idx_to_symbol:
        return part.name
    distance = problem.distance[problem.idx_to_symbol.index(part.name)]
    return f"{part_text(part)} · {'out of reach' if distance == float('inf') else f'{distance:.0f}'}"


def estimators() -> tuple[str, ...]:
    return ESTIMATORS


def _text(name: str) -> str:
    return str(Nodes((NodePart(name, False),)))


def _texts(nodes: Nodes | None) -> list[str]:
    if nodes is None:
        return []
    return [str(Nodes((part,))) for part in nodes.parts if part.name != "nothing" or not part.is_set]


def _nodes(texts: Sequence[str]) -> Nodes:
    return Nodes.parse("+".join(texts)) if texts else Nodes((NodePart("nothing", True),))
