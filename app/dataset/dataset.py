"""Dataset: the papers' figures over many problems, each with its control, run here or opened from a folder."""

from __future__ import annotations

import streamlit as st

from app import jobs
from app.compute import short_path, typed_path
from app.dataset import panels, state
from app.links import share as share_link
from app.links import write
from app.words import attempt


def show(path: str) -> None:
    """A result: what was run, the main numbers, one analysis at a time, and the problems."""
    result = attempt(lambda: jobs.result(typed_path(path)))
    if result is None:
        return
    share = panels.heading(result, path)
    shipped = typed_path(path) == state.SHIPPED
    short = "" if shipped else short_path(path)
    reading = state.Reading(result=short, section=st.session_state.get("d_section", "summary"))
    write(reading, "d")
    with share:
        share_link(reading, "This link, as the address bar, restores the result and the analysis.")
    chosen = panels.contents(result, path)
    if chosen == "summary":
        panels.summary(result)
    elif chosen == "problems":
        panels.browse(result, path)
    else:
        panels.analysis(result, result.section(chosen), path)


state.open_link()
state.take_over()
order = state.sidebar()
state.attach(order)
if "d_job" in st.session_state:
    st.fragment(panels.running, run_every=1)(st.session_state.d_job)
elif st.session_state.d_mode == "Run":
    panels.new_run(order)
if st.session_state.d_mode == "Open":
    show(st.session_state.d_shown)
