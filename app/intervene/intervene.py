"""Intervene: edit a thought by hand, and see whether the answer follows, beside the controls."""

from __future__ import annotations

import streamlit as st

from app import compute
from app import problem_picker as controls
from app.intervene import panels as lab_panels
from app.intervene import state as lab
from app.intervene.link import Lab
from model.errors import InputError
from model.problems.prosqa import ProsQAProblem
from probing.draw.of_intervention import Run, run_of
from probing.edit.batch import n_thoughts_of
from probing.edit.directions import Directions
from probing.edit.kinds import KINDS
from probing.edit.one_problem import Intervention
from probing.edit.spec import EditPlan


def directions_of(loaded: compute.Loaded) -> Directions | None:
    """The directions stored beside a checkpoint, or fitted here in this session; None if there are none yet."""
    try:
        stored = compute.directions(loaded)
    except InputError as error:
        st.warning(controls.literal(str(error)), icon=":material/warning:")
        stored = None
    if stored is None and loaded.fingerprint in st.session_state.setdefault("i_fitted", []):
        with st.spinner(f"Fitting write directions of {loaded.name} on {compute.FIT_ON} problems …"):
            return compute.fitted_here(loaded)
    return stored


def offer(loaded: compute.Loaded) -> None:
    """What to do about a checkpoint without directions."""

    def fit() -> None:
        st.session_state.i_fitted.append(loaded.fingerprint)
        st.session_state.i_estimator = "unembedding"
        if st.session_state.i_edit:
            lab.from_widgets()

    with st.container(horizontal=True, vertical_alignment="center"):
        st.info(
            f"No write directions are stored for {controls.literal(loaded.name)}, so nodes cannot be written or "
            "removed yet. Transplants, zero and noise need none. The output layer's own directions (unembedding) need "
            f"only one length each: it can be fitted here on {compute.FIT_ON} generated problems, in half a minute.",
            icon=":material/straighten:",
        )
        st.button("Fit here", on_click=fit, key=f"i_fit_{loaded.name}", icon=":material/straighten:")


def run(
    loaded: compute.Loaded, fitted: Directions | None, problem: ProsQAProblem, edits: str, choice: controls.Choice
) -> Intervention:
    return compute.intervention(
        loaded,
        fitted,
        problem,
        EditPlan.parse(edits),
        samples=st.session_state.i_draws,
        seed=choice.view.draw_seed,
        pad=choice.view.fill,
    )


def other_runs(against: str, choice: controls.Choice, loaded: compute.Loaded) -> tuple[Run, ...]:
    """The same problem and edit on a second checkpoint, before and after."""
    if not against or not st.session_state.i_edit:
        return ()
    try:
        other = compute.untrained(loaded) if against == compute.UNTRAINED else compute.load(against)
        n_thoughts_of(other.model)
        fitted = directions_of(other)
        needs = {need for spec in lab.scene() for need in KINDS[spec.kind].needs}
        if fitted is None and needs & {"directions", "fitted"}:
            offer(other)
            return ()
        result = run(other, fitted, choice.problem, st.session_state.i_edit, choice)
    except InputError as error:
        st.error(f"Second checkpoint: {controls.literal(str(error))}", icon=":material/error:")
        return ()
    return (
        run_of(result.clean, other.name, f"{other.name}, before"),
        run_of(result.edited, other.name, f"{other.name}, the edit"),
    )


def page(choice: controls.Choice, against: str) -> None:
    state, problem = st.session_state, choice.problem
    loaded = compute.load(choice.view.checkpoint)
    n_thoughts = n_thoughts_of(loaded.model)
    lab.settle(problem)
    heading = st.container(horizontal=True, vertical_alignment="center")
    with heading:
        with st.container(width="stretch"):
            lab_panels.question(problem)
        lab_panels.history()
        share = st.popover("Share", icon=":material/link:")
        download = st.popover("Download", icon=":material/download:")
    fitted = directions_of(loaded)
    lab_panels.invitation(problem)
    lab_panels.presets(problem, fitted=fitted is not None)
    if fitted is None:
        offer(loaded)
    lab_panels.editor(problem, n_thoughts)
    result, edited = None, bool(state.i_edit)
    if state.i_error:
        st.error(controls.literal(state.i_error), icon=":material/error:")
    try:
        with st.spinner("The model is thinking …"):
            result = run(loaded, fitted, problem, state.i_edit or "identity:t=1", choice)
    except InputError as error:
        st.error(controls.literal(str(error)), icon=":material/error:")
        edited = False
        result = run(loaded, fitted, problem, "identity:t=1", choice)
    if edited:
        lab_panels.answer(result)
        for warning in result.warnings:
            st.warning(controls.literal(warning), icon=":material/warning:")
    if choice.view.fill and loaded.model.config.padding_for(problem) is not None:
        st.caption("This graph is smaller than any in training, so unrelated facts were added to each prompt.")
    shown = lab_panels.shown_thought(result)
    lab_panels.before_and_after(result, shown, state.i_value, edited=edited)
    if edited:
        with st.grid(2, min_column_width=330, gap="small", border=True) as grid:
            with grid.cell():
                st.markdown("##### The edit beside its controls")
                lab_panels.effects(result, other_runs(against, choice, loaded))
            with grid.cell():
                st.markdown("##### Which search do the thoughts follow?")
                lab_panels.searches(result, shown)
            with grid.cell():
                st.markdown("##### How far did later thoughts move?")
                lab_panels.drift(result, shown)
            with grid.cell():
                st.markdown("##### Change of every node in every thought")
                lab_panels.changes(result, shown)
    view = choice.view.model_copy(update={"draws": state.i_draws}).of(problem)
    with share:
        lab_panels.share(Lab(view, state.i_edit, shown, state.i_value, against))
    with download:
        lab_panels.downloads(result, shown, state.i_value)


lab.open_link()
choice = controls.sidebar("i_draws")
against = lab_panels.second(choice.problem)
for message in (st.session_state.i_link_error, st.session_state.x_link_error):
    if message:
        st.error(controls.literal(message), icon=":material/link_off:")
if choice.stale:
    st.info("Showing the last problem that could be read; see the message in the sidebar.", icon=":material/history:")
try:
    page(choice, against)
except InputError as error:
    st.error(controls.literal(str(error)), icon=":material/error:")
else:
    lab_panels.about()
