"""Intervene: edit a thought by hand, and see whether the answer follows, beside the controls."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from app import compute, words
from app import problem_picker as picker
from app.intervene import panels, state
from app.links import share as share_link
from app.links import write
from model.errors import InputError
from probing.draw.of_intervention import Run, run_of
from probing.edit.batch import n_thoughts_of
from probing.edit.directions import Directions
from probing.edit.one_problem import Intervention
from probing.edit.spec import EditPlan

NO_EDIT = EditPlan.parse("identity:t=1")


def directions_of(loaded: compute.Loaded) -> Directions | None:
    """The directions stored beside a checkpoint, or fitted here in this session; None if there are none yet."""
    try:
        stored = compute.directions(loaded)
    except InputError as error:
        st.warning(words.literal(str(error)), icon=":material/warning:")
        stored = None
    if stored is None and loaded.fingerprint in st.session_state.setdefault("i_fitted", []):
        return compute.fitted_here(loaded)
    return stored


def run(loaded: compute.Loaded, fitted: Directions | None, plan: EditPlan, choice: picker.Choice) -> Intervention:
    setup = choice.setup
    return compute.intervention(
        loaded, fitted, choice.problem, plan, samples=setup.samples, seed=setup.sample_seed, pad=setup.pad
    )


def other_runs(against: str, choice: picker.Choice, loaded: compute.Loaded) -> tuple[Run, ...]:
    """The same problem and edit on a second checkpoint, before and after."""
    plan = state.plan()
    if not against or plan is None:
        return ()
    try:
        compute.need_graphs(against)
        other = compute.untrained(loaded) if against == compute.UNTRAINED else compute.load(against)
        n_thoughts_of(other.model)
        fitted = directions_of(other)
        if fitted is None and plan.needs:
            panels.offer(other, second=True)
            return ()
        label = f"{other.name}, the edit"
        if plan.needs and fitted is not None and other.fingerprint in st.session_state.i_fitted:
            # Few problems fit no other; the first model's edit stays what it is.
            plan, label = EditPlan(replace(spec, directions="unembedding") for spec in plan), f"{label} (unembedding)"
        result = run(other, fitted, plan, choice)
    except InputError as error:
        words.wrong(f"Second checkpoint: {error}")
        return ()
    return run_of(result.clean, other.name, f"{other.name}, before"), run_of(result.edited, other.name, label)


def page(choice: picker.Choice, against: str) -> None:
    session, problem = st.session_state, choice.problem
    compute.need_graphs(choice.setup.checkpoint)
    loaded = compute.load(choice.setup.checkpoint)
    n_thoughts = n_thoughts_of(loaded.model)
    state.settle(problem)
    with words.header(words.asked(problem)):
        panels.history()
        share = st.popover("Share", icon=":material/link:")
        download = st.popover("Download", icon=":material/download:")
    fitted = directions_of(loaded)
    panels.invitation(problem)
    panels.buttons(fitted=fitted is not None)
    if fitted is None:
        panels.offer(loaded)
    if session.i_error:
        words.wrong(session.i_error)
    with st.spinner("The model is thinking …"):
        plan = state.plan()
        try:
            result = run(loaded, fitted, plan or NO_EDIT, choice)
        except InputError as error:
            if plan is None:
                raise
            state.reject(str(error))
            st.rerun()
        edited = plan is not None
    panels.answer(result, loaded.model.config.method, edited=edited)
    shown = panels.shown_thought(result)
    panels.first_screen(result, lambda: other_runs(against, choice, loaded), edited=edited)
    panels.editor(problem, n_thoughts)
    if choice.setup.pad and loaded.model.config.padding_for(problem) is not None:
        st.caption("This graph is smaller than any in training, so each prompt was padded with distractor facts.")
    panels.before_and_after(result, shown, session.i_value, edited=edited)
    if edited:
        panels.below(result, shown)
    lab = choice.setup.on(state.Lab, edit=session.i_edit, shown=shown, value=session.i_value, against=against)
    write(lab.of(problem), "i")
    with share:
        share_link(lab.of(problem), "This link, as the address bar, restores the problem and the edit.")
    with download:
        panels.downloads(result, shown, session.i_value)


state.open_link()
choice = picker.sidebar("i_samples", state.WHY_FEW)
against = panels.second()
if choice.stale:
    words.previous()
try:
    page(choice, against)
except InputError as error:
    words.wrong(error)
else:
    panels.about()
