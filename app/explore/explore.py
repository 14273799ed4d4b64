"""Explore: see a Coconut GPT-2 search a ProsQA graph."""

from __future__ import annotations

import streamlit as st

from app import compute, words
from app import problem_picker as picker
from app.explore import panels
from app.explore.state import url
from probing.read.report import ProbeReport


def picture(choice: picker.Choice, report: ProbeReport) -> None:
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
            words.heading(report.problem)
        panels.about()
        share = st.popover("Share", icon=":material/link:")
        download = st.popover("Download", icon=":material/download:")
    panels.verdict(report)
    k, value = panels.steps(report, playing=playing), state.x_value
    with share:
        chosen = None if node == report.problem.target else node
        view = choice.view.model_copy(update={"k": k, "value": value, "node": chosen}).of(choice.problem)
        words.share(lambda: url(st.context.url or "", view), "This link restores the whole view, the graph included.")
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


picker.open_link()
choice = picker.sidebar()
if st.session_state.x_link_error:
    words.wrong(st.session_state.x_link_error, icon=":material/link_off:")
if choice.stale:
    st.info(
        "This is still the problem from before: there is no sound new one yet, see the sidebar.",
        icon=":material/history:",
    )
view = choice.view
report = words.attempt(
    lambda: compute.report(
        compute.load(view.checkpoint), choice.problem, samples=view.draws, seed=view.draw_seed, pad=view.fill
    )
)
if report is not None:
    st.fragment(picture, run_every=1.3 if st.session_state.get("x_playing") else None)(choice, report)
