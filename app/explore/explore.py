"""Explore: see a Coconut GPT-2 search a ProsQA graph."""

from __future__ import annotations

from dataclasses import dataclass, replace

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
from model.problems.prosqa import ProsQAProblem
from probing.draw import of_report
from probing.read.report import ProbeReport


@dataclass(frozen=True)
class Beside:
    """The second model on the same problem: its report, or why there is none."""

    name: str = ""
    """As links have it; empty for none."""
    report: ProbeReport | None = None
    said: str = ""
    """Which problem both are shown on, or why the second is not shown; empty where there is nothing to say."""


@dataclass(frozen=True)
class Drawn:
    """All that the picture is drawn from."""

    choice: picker.Choice
    loaded: compute.Loaded
    report: ProbeReport
    beside: Beside


def clock() -> float | None:
    """Seconds of a frame, while the picture plays."""
    session = st.session_state
    return (0.7 if session.x_mind else 1.3) if session.get("x_playing") else None


def picture(drawn: Drawn, ticking: float | None) -> None:
    """All that depends on the thought, the value and the node; moving the slider runs this alone, and so do frames."""
    if clock() != ticking:  # a press: the page with its own clock, or none; its first frame has not been seen yet
        st.session_state.x_tick = False
        st.rerun()
    choice, loaded, report, beside = drawn.choice, drawn.loaded, drawn.report, drawn.beside
    session, (node, playing), rival = st.session_state, settle(report), beside.report
    with words.header(words.asked(report.problem)):
        gallery()
        offer()
        panels.about()
        share = st.popover("Share", icon=":material/link:")
        download = st.popover("Download", icon=":material/download:")
    tour()
    if beside.said:
        st.info(words.literal(beside.said), icon=":material/compare_arrows:")
    said = st.container()
    blocked = mind.why_not(choice.problem, loaded, report.n_thoughts)
    k, value = panels.steps(report, blocked, playing=playing), session.x_value
    with said:
        result = None
        if session.x_mind and blocked:
            st.info(words.literal(f"Its mind cannot be changed here. {blocked}"), icon=":material/psychology_alt:")
        elif session.x_mind:
            result = words.attempt(lambda: mind.changed(choice, loaded))
        if result is not None:
            mind.told(choice, result, report, k, beside.name)
        elif rival is None:
            panels.verdict(report)
    chosen = None if node == report.problem.target else node
    view = choice.setup.on(
        View, k=k, value=value, node=chosen, thoughts=session.x_thoughts, against=beside.name, mind=session.x_mind,
        present=session.x_present,
    ).of(choice.problem)  # fmt: skip
    if not playing:  # or Back would go through every frame
        write(view, "x")
    with share:
        share_link(view, "This link, as the address bar, restores the whole view, the graph included.")
    with download:
        panels.downloads(report, choice.problem, value, k)
    if result is not None:
        mind.replay(result, k, playing=playing)
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
        panels.legend()
        panels.side_by_side(report, rival, graph, k, value, playing=playing)
        st.caption(
            f"From here on {words.bold(report.model.name)} alone, n = {report.n_samples} prompt samples; its controls "
            "stand in the charts and in the table."
        )
    narrow = graph.width <= 7 and rival is None  # enough to stand beside the heatmap
    with st.container(horizontal=narrow, gap="medium", key="x_pair" if rival is None else "x_below"):
        if rival is None:
            with st.container(width="stretch"):
                panels.graph(graph, node, playing=playing)
        with st.container(width=420 if narrow else "stretch"):
            panels.staircase(heatmap, node)
    panels.below(report, graph, value, node)
    in_words.words(loaded, choice.problem, report, k, node)


def read(choice: picker.Choice, against: str) -> Drawn:
    """The reports of the model chosen, and of the one it is compared with on a problem that both can take. Raises
    InputError where the first cannot be opened or takes no such problem."""
    loaded, setup = compute.load(choice.setup.checkpoint), choice.setup

    def of(one: compute.Loaded, problem: ProsQAProblem, n_thoughts: int | None) -> ProbeReport:
        return compute.report(
            one, problem, samples=setup.samples, seed=setup.sample_seed, pad=setup.pad, n_thoughts=n_thoughts
        )

    beside, problem = Beside(against), choice.problem
    if against:
        try:
            own = {compute.UNTRAINED: compute.untrained(loaded), compute.WORDS: loaded}
            compute.need_graphs(*({against} - set(own)))
            rival = own.get(against) or compute.load(against)
            other = setup.checkpoint if against in own else against
            shared, said = in_common(problem, {setup.checkpoint: loaded, other: rival})
            n = 0 if against == compute.WORDS else thoughts_for(shared)
            beside, problem = Beside(against, of(rival, shared, n), said), shared
        except InputError as error:
            beside = Beside(against, said=f"The second model is not shown: {error}.")
    return Drawn(replace(choice, problem=problem), loaded, of(loaded, problem, thoughts_for(problem)), beside)


def in_common(problem: ProsQAProblem, models: dict[str, compute.Loaded]) -> tuple[ProsQAProblem, str]:
    """The problem, where all these models (by the names of their checkpoints) can take it, else the first of their own
    examples that all can; and which, in a sentence. Raises InputError where there is none."""

    def takes(name: str, problem: ProsQAProblem) -> InputError | None:
        try:
            models[name].model.config.check_fits(problem, thoughts_for(problem))
        except InputError as error:
            return error
        return None

    unfit = {name: error for name in models if (error := takes(name, problem))}
    if not unfit:
        return problem, ""
    for whose in reversed(models):  # what the second was made for is most often the smaller
        own = compute.example(whose)
        for name in models:
            own = compute.named(name, own)
        if not any(takes(name, own) for name in models):
            return own, f"{' and '.join(unfit)} cannot take this problem, so both are shown on the example of {whose}."
    name, error = next(iter(unfit.items()))
    raise InputError(f"no problem is known that both {' and '.join(models)} can take; {name}: {error}")


def question(choice: picker.Choice) -> None:
    """The page of a model of questions in words. Raises InputError where the model cannot be opened."""
    in_words.question(compute.load(choice.setup.checkpoint))
    asked = st.session_state.x_question
    write(choice.setup.on(View, k=st.session_state.x_k, question="" if asked == QUESTION else asked), "x")


def page() -> None:
    session, choice = st.session_state, picker.sidebar()
    graphless = compute.graphless(choice.setup.checkpoint)
    with st.sidebar:
        against = panels.options(choice.setup.checkpoint, graphs=not graphless)
    if not graphless:
        panels.hero()
    if choice.stale:
        words.previous()
    if graphless:
        session.x_sound = None
        words.attempt(lambda: question(choice))
        return
    drawn = words.attempt(lambda: read(choice, against))
    if drawn is not None:
        session.x_sound = drawn.choice, against
    elif sound := session.get("x_sound"):
        if not choice.stale:
            words.previous()
        drawn = words.attempt(lambda: read(*sound))
    if drawn is None:
        return
    panels.autoplay()
    ticking = clock()
    st.fragment(picture, run_every=ticking)(drawn, ticking)


state.open_link()
words.present()
page()
