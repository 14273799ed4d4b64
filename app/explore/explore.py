"""Explore: see a Coconut GPT-2 search a ProsQA graph."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from app import compute, words
from app import problem_picker as picker
from app.explore import mind, panels, state
from app.explore import words as in_words
from app.explore.gallery import gallery
from app.explore.state import QUESTION, View, settle, thoughts_for
from app.explore.tour import offer, tour
from app.links import share as share_link
from app.links import write
from model.errors import InputError
from probing.draw import echarts, of_report
from probing.read.report import ProbeReport


def picture(
    choice: picker.Choice, loaded: compute.Loaded, report: ProbeReport, rival: ProbeReport | None, against: str
) -> None:
    """All that depends on the thought, the value and the node; moving the slider runs this alone."""
    session, (node, playing) = st.session_state, settle(report)
    if session.pop("x_stopped", False):
        st.rerun()  # the sidebar is not of this part of the page
    with words.header(words.asked(report.problem)):
        if session.x_present:
            st.button(
                "Stop presenting", icon=":material/close:", type="tertiary", key="x_stop", on_click=session.update,
                args=({"x_present": False, "x_stopped": True},),
            )  # fmt: skip
        gallery()
        offer()
        panels.about()
        share = st.popover("Share", icon=":material/link:")
        download = st.popover("Download", icon=":material/download:")
    tour()
    said = st.container()
    k, value = panels.steps(report, mind.why_not(choice.problem, loaded), playing=playing), session.x_value
    result = mind.changed(choice, loaded) if session.x_mind else None
    with said:
        if result is not None and k == report.n_thoughts:
            mind.outcome(result)
        elif result is not None or rival is None:
            panels.verdict(report)
    chosen = None if node == report.problem.target else node
    view = choice.setup.on(
        View, k=k, value=value, node=chosen, thoughts=session.x_thoughts, against=against, mind=session.x_mind,
        present=session.x_present,
    ).of(choice.problem)  # fmt: skip
    if not playing:  # or Back would go through every frame
        write(view, "x")
    with share:
        share_link(view, "This link, as the address bar, restores the whole view, the graph included.")
    with download:
        panels.downloads(report, choice.problem, value, k)
    if result is not None:
        mind.replay(choice, result, k, playing=playing)
        return
    graph = of_report.graph(report, k, value=value)
    heatmap = of_report.heatmap(report, value=value, state=k)
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        with st.container(width=640, key="x_said" if rival is None else "x_said_each"):
            if rival is None:
                panels.sentence(report, graph)
            else:  # what they answer is said of each
                panels.verdict(report, answered=False)
        panels.colours()
    if rival is not None:
        panels.side_by_side(report, rival, graph, k, value, playing=playing)
    beside = graph.width <= 7 and rival is None  # narrow enough to stand beside the heatmap
    with st.container(horizontal=beside, gap="medium", key="x_pair" if rival is None else "x_below"):
        if rival is None:
            with st.container(width="stretch"):
                panels.graph(graph, echarts.height(heatmap), node, playing=playing)
        with st.container(width=420 if beside else "stretch"):
            panels.staircase(heatmap, node)
    panels.below(report, graph, value, node)
    in_words.words(loaded, choice.problem, report, k, node)


def reports(
    choice: picker.Choice, loaded: compute.Loaded, against: str
) -> tuple[picker.Choice, ProbeReport, ProbeReport | None]:
    """The report of the model chosen and of the one it is compared with, on a problem that both can take."""
    rival, problem = None, choice.problem
    if against:
        own = {compute.UNTRAINED: compute.untrained(loaded), compute.WORDS: loaded}
        rival = own.get(against) or compute.load(against)
        rooms = {
            name: most
            for name, one in ((choice.setup.checkpoint, loaded), (against, rival))
            if (most := compute.room(one.model.codec)) is not None
        }
        least = min(rooms, key=rooms.__getitem__, default=None)
        if least is not None and problem.n_nodes > rooms[least]:
            problem = compute.example(least if least not in own else choice.setup.checkpoint)
            st.info(
                f"{words.literal(least)} takes at most {rooms[least]} nodes, so both are shown on its own example.",
                icon=":material/compare_arrows:",
            )
    choice, setup = replace(choice, problem=problem), choice.setup

    def of(one: compute.Loaded, n_thoughts: int | None) -> ProbeReport:
        return compute.report(
            one, problem, samples=setup.samples, seed=setup.sample_seed, pad=setup.pad, n_thoughts=n_thoughts
        )

    n = thoughts_for(problem)
    beside = None if rival is None else of(rival, 0 if against == compute.WORDS else n)
    return choice, of(loaded, n), beside


def page() -> None:
    session, choice = st.session_state, picker.sidebar()
    graphless = compute.graphless(choice.setup.checkpoint)
    with st.sidebar:
        against = panels.options(choice.setup.checkpoint, graphs=not graphless)
    if not graphless:
        panels.hero()
    if choice.stale:
        words.previous()
    try:
        loaded = compute.load(choice.setup.checkpoint)
        if graphless:
            in_words.question(loaded)
            asked = "" if session.x_question == QUESTION else session.x_question
            write(choice.setup.on(View, k=session.x_k, question=asked), "x")
            return
        choice, report, rival = reports(choice, loaded, against)
    except InputError as error:
        words.wrong(error)
        return
    panels.autoplay()
    pace = 0.7 if session.x_mind else 1.3
    clock = pace if session.get("x_playing") else None
    st.fragment(picture, run_every=clock)(choice, loaded, report, rival, against)


state.open_link()
words.present()
page()
