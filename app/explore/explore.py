"""Explore: see a Coconut GPT-2 search a ProsQA graph."""

from __future__ import annotations

import streamlit as st

from app import compute, words
from app import problem_picker as picker
from app.explore import panels
from app.explore.state import View, open_link, settle, thoughts_for
from app.links import share as share_link
from probing.draw import echarts, of_report
from probing.read.report import ProbeReport


def picture(choice: picker.Choice, report: ProbeReport) -> None:
    """All that depends on the thought, the value and the node; moving the slider runs this alone."""
    node, playing = settle(report)
    with words.header(words.asked(report.problem)):
        panels.about()
        share = st.popover("Share", icon=":material/link:")
        download = st.popover("Download", icon=":material/download:")
    panels.verdict(report)
    k, value = panels.steps(report, playing=playing), st.session_state.x_value
    with share:
        chosen = None if node == report.problem.target else node
        view = choice.setup.on(View, k=k, value=value, node=chosen, thoughts=st.session_state.x_thoughts).of(
            choice.problem
        )
        share_link(view, "This link restores the whole view, the graph included.")
    with download:
        panels.downloads(report, choice.problem, value, k)
    graph = of_report.graph(report, k, value=value)
    heatmap = of_report.heatmap(report, value=value, state=k)
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        with st.container(width=620):
            panels.sentence(report, graph)
        panels.colours()
    beside = graph.width <= 7  # narrow enough to stand beside the heatmap
    with st.container(horizontal=beside, gap="medium", key="x_pair"):
        with st.container(width="stretch"):
            panels.graph(graph, echarts.height(heatmap), node)
        with st.container(width=420 if beside else "stretch"):
            panels.staircase(heatmap, node)
    panels.below(report, graph, value, node)


open_link()
choice = picker.sidebar()
with st.sidebar:
    panels.how_many_thoughts()
if choice.stale:
    st.info(
        "This is still the problem from before: there is no sound new one yet, see the sidebar.",
        icon=":material/history:",
    )
setup = choice.setup
report = words.attempt(
    lambda: compute.report(
        compute.load(setup.checkpoint),
        choice.problem,
        samples=setup.samples,
        seed=setup.sample_seed,
        pad=setup.pad,
        n_thoughts=thoughts_for(choice.problem),
    )
)
if report is not None:
    st.fragment(picture, run_every=1.3 if st.session_state.get("x_playing") else None)(choice, report)
