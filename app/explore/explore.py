"""Explore: see a Coconut GPT-2 search a ProsQA graph."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from app import compute
from app import problem_picker as controls
from app.explore import panels
from model.errors import InputError
from probing.read.report import ProbeReport


def picture(choice: controls.Choice, report: ProbeReport) -> None:
    """All that depends on the thought, the value and the node; moving the slider runs this alone."""
    state = st.session_state
    playing = bool(state.get("x_playing"))
    if playing and state.get("x_tick"):
        if state.x_k < report.n_thoughts:
            state.x_k += 1
        else:
            state.x_playing = False
            st.rerun()
    state.x_tick = playing
    another = state.get("x_shown", report.problem_row) != report.problem_row
    state.x_shown = report.problem_row
    if another or not isinstance(state.get("x_node"), int) or not 0 <= state.x_node < report.n_nodes:
        state.x_node = report.problem.target
    node = state.x_node
    with st.container(horizontal=True, vertical_alignment="center"):
        with st.container(width="stretch"):
            panels.question(report)
        panels.about()
        share, download = (
            st.popover("Share", icon=":material/link:"),
            st.popover("Download", icon=":material/download:"),
        )
    panels.verdict(report)
    k, value = panels.steps(report, playing=playing), state.x_value
    with share:
        chosen = None if node == report.problem.target else node
        panels.share(replace(choice.view, k=k, value=value, node=chosen), choice.problem)
    with download:
        panels.downloads(report, choice.problem, value, k)
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        with st.container(width=620):
            panels.sentence(report, k)
        panels.colours()
    beside = panels.fits_beside(report)
    with st.container(horizontal=beside, gap="medium"):
        with st.container(width="stretch"):
            panels.graph(report, value, k, node)
        with st.container(width=420 if beside else "stretch"):
            panels.staircase(report, value, k, node)
    with st.grid(3, min_column_width=310, gap="small", border=True) as grid:
        with grid.cell():
            st.markdown("##### Is it the frontier?")
            panels.metrics(report, k)
        with grid.cell():
            st.markdown("##### Where its probability is")
            panels.masses(report, k)
        with grid.cell():
            st.markdown("##### Answer by number of thoughts")
            panels.answers(report, k)
        with grid.cell():
            st.markdown("##### One node through the thoughts")
            panels.one_node(report, value, k, node)
        with grid.cell():
            st.markdown(f"##### Next token after {panels.thoughts(k)}")
            panels.tokens(report, k)
        with grid.cell():
            panels.numbers(report, k)


controls.open_link()
choice = controls.sidebar()
if st.session_state.x_link_error:
    st.error(controls.literal(st.session_state.x_link_error), icon=":material/link_off:")
if choice.stale:
    st.info(
        "This is still the problem from before: there is no sound new one yet, see the sidebar.",
        icon=":material/history:",
    )
try:
    loaded = compute.load(choice.view.checkpoint)
    report = compute.report(
        loaded, choice.problem, draws=choice.view.draws, seed=choice.view.draw_seed, fill=choice.view.fill
    )
except InputError as error:
    st.error(controls.literal(str(error)), icon=":material/error:")
else:
    st.fragment(picture, run_every=1.3 if st.session_state.get("x_playing") else None)(choice, report)
