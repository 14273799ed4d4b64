"""Training: see the search appear while a model learns, in a run that has ended or in one that is not over."""

from __future__ import annotations

import streamlit as st

from app import compute
from app.links import share as share_link
from app.links import write
from app.training import panels, state
from app.words import attempt
from model.errors import InputError


def clock(*, live: bool) -> float | None:
    """Seconds until the page is drawn again by itself: while it plays, and for a run that is not over."""
    return 0.7 if st.session_state.get("t_playing") else 3 if live else None


def page(folder: str, beside: str, ticking: float | None) -> None:
    """All of the page, drawn again every so many seconds."""
    runs = attempt(lambda: [compute.run_folder(compute.typed_path(path)) for path in (folder, beside) if path])
    if runs is None:
        return
    run, other = runs[0], runs[1] if beside else None
    if clock(live=state.is_live(run)) != ticking:  # a press, or the run's end: the page with its own clock, or none
        st.session_state.t_tick = False
        st.rerun()
    first = next(iter(state.runs()), "")
    short, short_beside = compute.short_path(folder), compute.short_path(beside)
    course = state.Course(run="" if folder == first else short, beside=short_beside)
    share = panels.headline(run)
    record, problems = run.record, None
    if record is not None:
        thought, at = state.chosen(record)
        newest = at == len(record.points) - 1
        course = course.model_copy(update={"thought": thought or course.thought, "at": None if newest else at})
        problems = record.points[at].problems
        if thought is None:
            panels.answers(run, record, other, at)
        else:
            panels.sentence(record, record.points[at], thought, None if other is None else other.record)
            panels.dynamics(run, record, other, thought, at)
    else:
        st.info("No point of the training dynamics has been measured in this run.", icon=":material/info:")
    if run.steps:
        panels.losses(run, problems)
    if not st.session_state.get("t_playing"):  # or Back would go through every moment
        write(course, "t")
    with share:
        named = course.model_copy(update={"run": short})  # whoever opens the link may have another first run
        share_link(named, "This link, as the address bar, restores the run, the comparison, thought and moment.")


state.open_link()
folder, beside = state.sidebar()
if not folder:
    panels.nothing()
else:
    try:
        live = state.is_live(compute.run_folder(compute.typed_path(folder)))
    except InputError:
        live = False  # said by the page itself
    ticking = clock(live=live)
    st.fragment(page, run_every=ticking)(folder, beside, ticking)
