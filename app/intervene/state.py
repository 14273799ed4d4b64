"""Intervene's state: the edit, its history, the widgets that are another way of writing it, and the link to it all.

The session and links hold an edit as its text (``i_edit``, ``edit=swap:t=1,strength=1.5``; ``probing.edit.spec``),
which is read into an ``EditPlan`` here and nowhere else. Every widget, button and click makes a new plan, which is
taken if it is sound and otherwise explained. Undo goes back through the texts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Annotated

import streamlit as st
from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer

from app import compute
from app import problem_picker as picker
from app.explore import state as explore
from app.links import Folder, Samples, Setup, opened
from model.errors import InputError
from model.problems.prosqa import ProsQAProblem
from probing.draw.of_intervention import VALUES
from probing.draw.values import display_name
from probing.edit.kinds import KINDS, NODE_SETS, Kind
from probing.edit.one_problem import preview
from probing.edit.run import Touched
from probing.edit.spec import PRESETS, EditPlan, EditSpec, NodePart, Nodes

MAX_EDIT, MAX_STEPS = 4000, 100
TYPED = "typed"
CLICKED = "swap"
"""What a click makes where the kind shown takes no nodes: of its group, the kind that fits what goes out and in."""
BUTTONS = {
    "swap": "swap the branches",
    "cut": "ablate the target's branch",
    "transplant": "interchange the thought with the counterfactual question's",
    "collapse": "collapse the thought to its best node",
    "compose": "write an empty thought",
}
"""Buttons of the page -> names of PRESETS."""
NO_OTHER = "No other root of this graph makes the distractor right, so there is no counterfactual question."


# --- links ------------------------------------------------------------------------------------------------------------


def _edit(text: str) -> str:
    # A link made by an earlier version holds the + of t=1+2 as it is, which reads as a space.
    return str(EditPlan.parse(text.replace(" ", "+"))) if text else ""


def _thought(text: object) -> object:
    return 0 if text == "answer" else text


WHY_FEW = "Each edit runs with all its controls, so R is smaller here than on Explore, which keeps its own."


class Lab(Setup):
    """What Intervene shows."""

    samples: Samples = 4
    """Prompt samples, unless the reader wants more: an edit and its controls then take about a second."""
    edit: Annotated[
        str, Field(max_length=MAX_EDIT, description=f"at most {MAX_EDIT:,} characters"), AfterValidator(_edit)
    ] = ""
    """Edits as text; empty before the first."""
    shown: Annotated[
        int, BeforeValidator(_thought), PlainSerializer(lambda t: t or "answer"),
        Field(alias="show", ge=0, le=99, description="a thought from 1, or answer"),
    ] = 1  # fmt: skip
    """The thought shown; 0 for the answer state."""
    value: Annotated[str, Field(alias="by", pattern=f"^({'|'.join(VALUES)})$", description=" or ".join(VALUES))] = (
        "probability"
    )
    """What nodes are coloured by: one of ``probing.draw.of_intervention.VALUES``."""
    against: Folder = ""
    """A second checkpoint that the same edit is made on: its name or folder, "untrained", or empty for none."""


def open_link() -> None:
    """Set everything to what the link asks for."""
    # Gone to for the first time, the page takes the problem chosen on Explore; any other address has its own.
    elsewhere = "x_opened" in st.session_state and "i_opened" not in st.session_state
    lab = opened(Lab, "i")
    if lab is not None:
        put(lab, problem=not elsewhere or st.session_state.i_read)


def put(lab: Lab, *, problem: bool = True) -> None:
    """Set everything to what is shown, the problem too unless another is there."""
    state = st.session_state
    if problem:
        put_problem(lab)
    if lab.edit != state.get("i_edit"):
        state.update(i_edit=lab.edit, i_history=[lab.edit], i_at=0)
    state.update(i_samples=lab.samples, i_error=None, i_show=lab.shown, i_value=lab.value, i_problem=None)
    picker.put_folder("i_against", "i_against_folder", lab.against, ("", compute.UNTRAINED, *compute.models()))


def put_problem(lab: Lab) -> None:
    """Set what Explore and Intervene have in common; Explore keeps its own number of prompt samples."""
    state = st.session_state
    if "x_opened" not in state:
        state.x_opened = True
        explore.put(explore.View())
    picker.put(lab.on(Setup, samples=state.x_setup.samples))


def prepare(lab: Lab) -> None:
    """Set the page to an edit of the problem that is there, before it is gone to."""
    put(lab, problem=False)
    st.session_state.update(i_opened=True, i_link_error=None)


# --- the edit ---------------------------------------------------------------------------------------------------------


def settle(problem: ProsQAProblem) -> None:
    """Keep the edit while its nodes are in the graph; set the widgets once."""
    state = st.session_state
    if rejected := state.pop("i_rejected", ""):
        show_in_widgets()
        state.i_text = rejected
    if state.get("i_problem") == problem:
        return
    state.i_problem, state.i_error = problem, None
    if not _fits(plan(), problem):
        state.update(i_edit="", i_history=[""], i_at=0)
    show_in_widgets()


def plan() -> EditPlan | None:
    """The edit; None before the first."""
    text = st.session_state.i_edit
    return EditPlan.parse(text) if text else None


def usual() -> str:
    """The button that is proposed: only where there is a counterfactual question can branches be swapped."""
    return "cut" if st.session_state.i_problem.counterfactual is None else "swap"


def preset(button: str, t: object = 1) -> EditPlan:
    """What one of BUTTONS does at a thought, or at several."""
    return EditPlan.parse(PRESETS[BUTTONS[button]].format(t=t))


def ready() -> EditPlan:
    """The edit, or the one that is prepared."""
    return plan() or preset(usual(), st.session_state.get("i_show") or 1)


def touched() -> tuple[Touched, ...]:
    """What the edit that is ready will remove from thoughts and add to them."""
    problem = st.session_state.i_problem
    return preview(ready(), problem) if _fits(ready(), problem) else ()


def why_not(button: str, *, fitted: bool) -> str | None:
    """Why a button cannot be pressed for this problem and checkpoint."""
    edits = preset(button) if button in BUTTONS else ready()
    if edits.needs and not fitted:
        return "This checkpoint has no node directions yet; see below."
    asks = edits.source == "counterfactual" or any("other" in name for spec in edits for name in spec.set_names)
    return NO_OTHER if asks and st.session_state.i_problem.counterfactual is None else None


def active(button: str) -> bool:
    """Whether the edit is what one of the buttons makes, at whatever thoughts, however strongly, however worded."""
    edits, problem = plan(), st.session_state.i_problem
    if edits is None or not _fits(edits, problem):
        return False
    if button not in BUTTONS:
        return all(spec.control == button for spec in edits)

    def does(spec: EditSpec, at: tuple[int, ...]) -> tuple[object, ...]:
        return spec.kind, spec.top, spec.control, spec.strength > 0, [spec.members(problem, t) for t in at]

    (usual,) = preset(button)
    return all(does(spec, spec.thoughts) == does(usual, spec.thoughts) for spec in edits)


def apply(make: Callable[[], EditPlan | None]) -> None:
    """Make this the edit (None: no edit), or say why not."""
    state, before = st.session_state, plan()
    try:
        made = make()
    except InputError as error:
        state.i_error = str(error)
        return
    state.i_error, text = None, str(made or "")
    if text != state.i_edit:
        state.i_history = [*state.i_history[: state.i_at + 1], text][-MAX_STEPS:]
        state.update(i_at=len(state.i_history) - 1, i_edit=text)
    if made and made[-1].thoughts and [s.thoughts for s in made] != [s.thoughts for s in before or ()]:
        state.i_show = made[-1].thoughts[0] or state.i_show
    show_in_widgets()


def reject(error: str) -> None:
    """The edit cannot be made: say so, and go back to the last that could; what was typed stays to be mended."""
    state = st.session_state
    history = state.i_history[: state.i_at] or [""]
    state.update(i_rejected=state.i_edit, i_error=error, i_history=history, i_at=len(history) - 1, i_edit=history[-1])
    last = plan()
    state.i_show = ((last and last[-1].thoughts) or (1,))[0] or 1


def typed() -> None:
    text = st.session_state.i_text.strip()
    apply(lambda: EditPlan.parse(text) if text else None)


def clear() -> None:
    apply(lambda: None)


def step(by: int) -> None:
    """Undo (-1) or redo (1)."""
    state = st.session_state
    at = state.i_at + by
    if 0 <= at < len(state.i_history):
        state.update(i_at=at, i_edit=state.i_history[at], i_error=None)
        show_in_widgets()


def press(button: str) -> None:
    """One of BUTTONS, at the thoughts edited, before any edit at the one shown; or any name of a control, of the edit
    that is ready."""
    if button in BUTTONS:
        at = "+".join(map(str, st.session_state.i_thoughts or (1,)))
        apply(lambda: preset(button, at))
    else:
        apply(lambda: EditPlan(replace(spec, control=button) for spec in ready()))


def add_another() -> None:
    """Keep the edit, and start another of the next thought."""
    edits = plan() or ()
    last = max((t for spec in edits for t in spec.thoughts), default=0)
    apply(lambda: EditPlan((*edits, *preset(usual(), last + 1))))


def _fits(edits: EditPlan | None, problem: ProsQAProblem) -> bool:
    """Whether every node that edits name is in the graph."""
    return edits is None or set(edits.names) <= set(problem.idx_to_symbol)


# --- widgets ----------------------------------------------------------------------------------------------------------


def hands() -> dict[str, str]:
    """What can be done by hand: the first kind of each label -> the label; everything else can be typed."""
    first: dict[str, str] = {}
    for kind in KINDS.values():
        if kind.hand:
            first.setdefault(kind.hand, kind.name)
    return {name: label for label, name in first.items()} | {TYPED: "As typed"}


def group(name: str) -> tuple[Kind, ...]:
    """The kinds of one entry of ``hands``; none of what can only be typed."""
    return tuple(kind for kind in KINDS.values() if kind.hand and kind.hand == hands().get(name))


def node_widgets(name: str) -> dict[str, str]:
    """Widgets for sets of nodes that an entry of ``hands`` has: key -> label."""
    kinds = group(name)
    if any(kind.to for kind in kinds):
        return {"i_out": "Remove", "i_in": "Add"}
    return {"i_out": "Nodes"} if any(kind.nodes for kind in kinds) else {}


def show_in_widgets() -> None:
    """Set every widget to the edit, of several to the last."""
    state, spec = st.session_state, ready()[-1]
    name = next((name for name in hands() if spec.row in group(name)), TYPED)
    out, put = _texts(spec.nodes), _texts(spec.to)
    if "i_in" in node_widgets(name) and _moves(spec.row) == (False, True):
        out, put = [], out
    state.update(
        i_kind=name, i_thoughts=[t for t in spec.thoughts if t > 0], i_out=out, i_in=put,
        i_coefficient=float(spec.strength), i_estimator=spec.directions, i_keep_norm=spec.keep_norm,
        i_measured=spec.measured, i_top=1 if spec.top is None else spec.top, i_text=state.i_edit,
    )  # fmt: skip


def from_widgets() -> None:
    """The edit that the widgets ask for, in place of the last one."""
    state, before = st.session_state, (plan() or ())[:-1]
    kinds, sets = group(state.i_kind), [list(state[key]) for key in node_widgets(state.i_kind)]
    if not kinds:
        return
    row = kinds[0]
    if len(sets) == 2:
        fitting = [kind for kind in kinds if _moves(kind) == (bool(sets[0]), bool(sets[1]))]
        if not fitting:
            apply(lambda: EditPlan(before) if before else None)
            return
        row = fitting[0]
        sets.sort(key=bool, reverse=True)
    nodes, to = (*map(_nodes, sets), None, None)[:2]

    def made() -> EditPlan:
        spec = EditSpec(
            row.name, tuple(state.i_thoughts), nodes if row.nodes else None, to if row.to else None,
            directions=state.i_estimator, strength=float(state.i_coefficient), keep_norm=state.i_keep_norm,
            measured=state.i_measured and "coefficient" in row.takes,
            top=state.i_top if "top" in row.takes else None, seed=ready()[-1].seed,
        )  # fmt: skip
        return EditPlan((*before, spec))

    apply(made)


def looked() -> None:
    """Another thought is shown; before any edit it is the one that will be edited."""
    if not st.session_state.i_edit:
        show_in_widgets()


def chosen() -> None:
    """Another kind of edit of the same thoughts, with the nodes and the coefficient it starts from."""
    state = st.session_state
    kinds = group(state.i_kind)
    if kinds:
        row = kinds[0]
        state.update(i_out=[row.nodes] if row.nodes and (row.chooses or not row.replaces) else [], i_in=[])
        state.i_coefficient = row.start if row.start != 1 else state.i_coefficient or 1.0
        if len(state.i_thoughts) < row.least:
            state.i_thoughts = list(range(1, row.least + 2))
    from_widgets()


def click(node: int) -> None:
    """Toggle a node of the thought shown: what it should hold is removed, anything else is added."""
    state, spec = st.session_state, replace(ready()[-1], control="")
    problem, thoughts = state.i_problem, state.i_thoughts or [1]
    t = state.i_show or thoughts[0]
    if t not in thoughts:
        state.i_thoughts = [t]
    fits, widgets = _fits(EditPlan((spec,)), problem), node_widgets(state.i_kind)
    if "i_out" in widgets and "i_in" not in widgets:
        nodes = (spec.members(problem, t)[0] if fits else None) or frozenset()
        state.i_out = _named(problem, nodes ^ {node})
    else:
        # What is only prepared is not added to.
        change = spec.change(problem, t) if state.i_edit and widgets and fits else None
        out, put = change or (frozenset(), frozenset())
        if node in problem.frontier(t) and node not in put:
            out ^= {node}
        else:
            put ^= {node}
        state.update(i_kind=CLICKED, i_out=_named(problem, out), i_in=_named(problem, put))
    from_widgets()


def node_options(problem: ProsQAProblem, chosen: Sequence[str]) -> list[str]:
    """Named sets, then nodes by distance; whatever is chosen is among them."""
    order = sorted(range(problem.n_nodes), key=lambda v: (problem.distance[v], problem.idx_to_symbol[v]))
    sets = [name for name in NODE_SETS if name != "nothing" and (problem.counterfactual or "other" not in name)]
    return list(dict.fromkeys([*sets, *(_text(problem.idx_to_symbol[v]) for v in order), *chosen]))


def option_label(problem: ProsQAProblem, text: str) -> str:
    part = Nodes.parse(text).parts[0]
    if part.is_set or part.name not in problem.idx_to_symbol:
        return part.describe(display_name)
    distance = problem.distance[problem.idx_to_symbol.index(part.name)]
    return f"{part.describe(display_name)} · {'out of reach' if distance == float('inf') else f'{distance:.0f}'}"


def _moves(row: Kind) -> tuple[bool, bool]:
    """Whether a kind takes nodes out, and whether it puts nodes in."""
    out, put = row.sets(frozenset({0}), frozenset({1}), frozenset())
    return bool(out), bool(put)


def _named(problem: ProsQAProblem, nodes: Iterable[int]) -> list[str]:
    return [_text(problem.idx_to_symbol[v]) for v in sorted(nodes)]


def _text(name: str) -> str:
    return str(NodePart(name, False))


def _texts(nodes: Nodes | None) -> list[str]:
    return [str(part) for part in nodes.parts if part.name != "nothing" or not part.is_set] if nodes else []


def _nodes(texts: Sequence[str]) -> Nodes:
    return Nodes.parse("+".join(texts) or "nothing")
