"""Explore: see a Coconut GPT-2 search a ProsQA graph."""

from __future__ import annotations

import streamlit as st

from app import compute, words
from app import problem_picker as picker
from app.explore import panels
from app.explore.state import url
from probing.draw import echarts, of_report
from probing.draw.values import Graph
from probing.read.report import ProbeReport


def settle(report: ProbeReport) -> tuple[int, bool]:
    """The node whose trajectory is shown, and whether the picture plays; while it does, each run is one thought on."""
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
    return state.x_node, playing


def picture(choice: picker.Choice, report: ProbeReport) -> None:
    """All that depends on the thought, the value and the node; moving the slider runs this alone."""
    node, playing = settle(report)
    with st.container(horizontal=True, vertical_alignment="center"):
        with st.container(width="stretch"):
            words.heading(report.problem)
        panels.about()
        share = st.popover("Share", icon=":material/link:")
        download = st.popover("Download", icon=":material/download:")
    panels.verdict(report)
    k, value = panels.steps(report, playing=playing), st.session_state.x_value
    with share:
        chosen = None if node == report.problem.target else node
        view = choice.view.model_copy(update={"k": k, "value": value, "node": chosen}).of(choice.problem)
        words.share(lambda: url(st.context.url or "", view), "This link restores the whole view, the graph included.")
    with download:
        panels.downloads(report, choice.problem, value, k)
    graph = of_report.graph(report, k, value=value)
    heatmap = of_report.heatmap(report, value=value, state=k)
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        with st.container(width=620):
            panels.sentence(report, graph)
        panels.colours()
    beside = graph.width <= 7  # narrow enough to stand beside the heatmap
    with st.container(horizontal=beside, gap="medium"):
        with st.container(width="stretch"):
            panels.graph(graph, echarts.height(heatmap), node)
        with st.container(width=420 if beside else "stretch"):
            panels.staircase(heatmap, node)
    below(report, graph, value, node)


def below(report: ProbeReport, graph: Graph, value: str, node: int) -> None:
    """The charts and numbers of the state drawn."""
    k, last = graph.state, report.n_thoughts
    measured = f"Thought {min(k + 1, last)} beside its controls" if last else "No thoughts to measure"
    cells = (
        ("##### Is it the frontier?", lambda: panels.metrics(report, k)),
        ("##### Where its probability is", lambda: panels.masses(report, graph)),
        ("##### Answer by number of thoughts", lambda: panels.answers(report, k)),
        ("##### One node through the thoughts", lambda: panels.one_node(report, value, k, node)),
        (f"##### Next token after {panels.thoughts(k)}", lambda: panels.tokens(report, k)),
        (f"##### {measured}", lambda: panels.numbers(report, k)),
    )
    with st.grid(3, min_column_width=310, gap="small", border=True) as grid:
        for title, draw in cells:
            with grid.cell():
                st.markdown(title)
                draw()


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
