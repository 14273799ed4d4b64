"""Explore: see a Coconut GPT-2 search a ProsQA graph."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from app import compute, words
from app import problem_picker as picker
from app.explore import mind, panels, state
from app.explore.gallery import gallery
from app.explore.state import View, settle, thoughts_for
from app.links import share as share_link
from app.links import write
from model.errors import InputError
from probing.draw import echarts, of_report
from probing.read.report import ProbeReport


def picture(choice: picker.Choice, loaded: compute.Loaded, report: ProbeReport, rival: ProbeReport | None) -> None:
    """All that depends on the thought, the value and the node; moving the slider runs this alone."""
    session, (node, playing) = st.session_state, settle(report)
    with words.header(words.asked(report.problem)):
        gallery()
        panels.about()
        share = st.popover("Share", icon=":material/link:")
        download = st.popover("Download", icon=":material/download:")
    panels.verdict(report)
    k, value = panels.steps(report, mind.why_not(choice.problem, loaded), playing=playing), session.x_value
    chosen = None if node == report.problem.target else node
    view = choice.setup.on(
        View, k=k, value=value, node=chosen, thoughts=session.x_thoughts, against=session.x_rival, mind=session.x_mind,
        present=session.x_present,
    ).of(choice.problem)  # fmt: skip
    if not playing:  # or Back would go through every frame
        write(view, "x")
    with share:
        share_link(view, "This link, as the address bar, restores the whole view, the graph included.")
    with download:
        panels.downloads(report, choice.problem, value, k)
    if session.x_mind:
        mind.replay(choice, loaded, k, playing=playing)
        return
    graph = of_report.graph(report, k, value=value)
    heatmap = of_report.heatmap(report, value=value, state=k)
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        with st.container(width=640, key="x_said"):
            panels.sentence(report, graph)
        panels.colours()
    if rival is not None:
        panels.side_by_side(report, rival, graph, k, value, playing=playing)
    beside = graph.width <= 7 and rival is None  # narrow enough to stand beside the heatmap
    with st.container(horizontal=beside, gap="medium", key="x_pair"):
        if rival is None:
            with st.container(width="stretch"):
                panels.graph(graph, echarts.height(heatmap), node, playing=playing)
        with st.container(width=420 if beside else "stretch"):
            panels.staircase(heatmap, node)
    panels.below(report, graph, value, node)


def reports(choice: picker.Choice, loaded: compute.Loaded) -> tuple[picker.Choice, ProbeReport, ProbeReport | None]:
    """The report of the model chosen and of the one it is compared with, on a problem that both can take."""
    against, rival, problem = st.session_state.x_rival, None, choice.problem
    if against:
        rival = compute.untrained(loaded) if against == compute.UNTRAINED else compute.load(against)
        least = min(loaded, rival, key=lambda one: one.model.codec.n_keys)
        if problem.n_nodes > (most := least.model.codec.n_keys):
            problem = compute.example(against if least is rival else choice.setup.checkpoint)
            st.info(
                f"{words.literal(least.name)} takes at most {most} nodes, so both are shown on its own example.",
                icon=":material/compare_arrows:",
            )
    choice, setup = replace(choice, problem=problem), choice.setup

    def of(one: compute.Loaded) -> ProbeReport:
        return compute.report(
            one, problem, samples=setup.samples, seed=setup.sample_seed, pad=setup.pad,
            n_thoughts=thoughts_for(problem),
        )  # fmt: skip

    return choice, of(loaded), None if rival is None else of(rival)


def page() -> None:
    session, choice = st.session_state, picker.sidebar()
    with st.sidebar:
        panels.options(choice.setup.checkpoint)
    panels.hero()
    if choice.stale:
        st.info("Showing the previous problem until the input in the sidebar is valid.", icon=":material/history:")
    try:
        loaded = compute.load(choice.setup.checkpoint)
        choice, report, rival = reports(choice, loaded)
    except InputError as error:
        words.wrong(error)
        return
    panels.autoplay()
    clock = 1.3 if session.get("x_playing") else None
    st.fragment(picture, run_every=clock)(choice, loaded, report, rival)


state.open_link()
page()
