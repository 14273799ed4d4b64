"""The drawn parts of Intervene. Each takes values and draws them; nothing is computed about thoughts here."""

from __future__ import annotations

from functools import partial
from typing import Any

import streamlit as st

from app import compute
from app import problem_picker as controls
from app.explore.panels import theme
from app.intervene import state as lab
from app.intervene.link import Lab, url
from app.problem_picker import literal
from model.errors import InputError
from model.problems.prosqa import ProsQAProblem
from probing.draw import echarts as figures
from probing.draw import of_intervention
from probing.draw.export import MEDIA_TYPES
from probing.draw.of_intervention import (
    FORMATS,
    VALUES,
    Run,
    describe,
    export,
    has_value,
    missing_controls,
    pair,
    runs,
    said,
)
from probing.edit.one_problem import Intervention

SMALL = 300


def question(problem: ProsQAProblem) -> None:
    first, second = sorted((problem.target, problem.neg_target))
    st.markdown(f"## Is {bold(problem, problem.root)} a {bold(problem, first)} or a {bold(problem, second)}?")


def presets(problem: ProsQAProblem, *, fitted: bool) -> None:
    """The buttons to start from, and the way back."""
    state, other = st.session_state, problem.counterfactual is not None
    unfit = None if fitted else "This checkpoint has no write directions yet; see below."
    buttons = (
        ("swap", "Swap branches", ":material/swap_horiz:", unfit or (None if other else lab.NO_OTHER),
         "Take the target's branch out of the thought and put the other candidate's in."),
        ("cut", "Cut the target's branch", ":material/content_cut:", unfit,
         "Take the nodes that lead to the target out of the thought, and put nothing in."),
        ("transplant", "Transplant the other question", ":material/move_down:", None if other else lab.NO_OTHER,
         "Ask the same graph about the other root, and feed this run that run's thought."),
        ("random", "Random direction (control)", ":material/shuffle:", unfit if not state.i_edit else None,
         "Move the thought as far as the edit does, but in a random direction."),
        ("compose", "Compose a thought", ":material/edit_note:", unfit,
         "Throw the thought away and write one: click nodes into it, and watch the search go on from there."),
    )  # fmt: skip
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        for kind, label, icon, why, help_text in buttons:
            primary = kind == ("swap" if other else "cut") and not state.i_edit
            st.button(
                label,
                key=f"i_preset_{kind}",
                icon=icon,
                type="primary" if primary else "secondary",
                disabled=why is not None,
                help=why or help_text,
                on_click=lab.preset,
                args=(kind,),
            )


def history() -> None:
    """The way back."""
    state = st.session_state
    last = len(state.i_history) - 1
    for label, key, icon, call, args, off in (
        ("Undo", "i_undo", ":material/undo:", lab.step, (-1,), state.i_at == 0),
        ("Redo", "i_redo", ":material/redo:", lab.step, (1,), state.i_at == last),
        ("Start over", "i_clear", ":material/restart_alt:", lab.apply, ("",), not state.i_edit),
    ):
        st.button(label, key=key, icon=icon, on_click=call, args=args, disabled=off, type="tertiary")


def editor(problem: ProsQAProblem, n_thoughts: int) -> None:
    """The edit by hand: which thoughts, what kind, which nodes, how strongly."""
    state = st.session_state

    def changed_kind() -> None:
        lab.choose(state.i_kind)

    def typed() -> None:
        lab.apply(state.i_text.strip())

    state.i_thoughts = [t for t in state.i_thoughts if t <= n_thoughts]
    with st.container(border=True, gap="small"):
        with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
            with st.container(width=330):
                st.pills(
                    "Edit thought",
                    range(1, n_thoughts + 1),
                    selection_mode="multi",
                    key="i_thoughts",
                    on_change=lab.from_widgets,
                    persist_state="session",
                    help="Thought t should hold the nodes t hops from the root. Several can be edited at once.",
                )
            kinds = [kind for kind in lab.hands() if kind != lab.TYPED or state.i_kind == lab.TYPED]
            st.selectbox(
                "What to do", kinds, format_func=lab.hands().__getitem__, key="i_kind", on_change=changed_kind,
                persist_state="session", width=300,
            )  # fmt: skip
            st.slider(
                "Strength",
                -3.0,
                5.0,
                step=0.1,
                key="i_strength",
                on_change=lab.from_widgets,
                persist_state="session",
                help="1: as much as the model itself writes, as fitted. 0: nothing.",
            ) if -3 <= state.i_strength <= 5 else st.number_input(
                "Strength", key="i_strength", on_change=lab.from_widgets, persist_state="session"
            )
            with st.popover("More", icon=":material/tune:"):
                st.selectbox(
                    "Write directions",
                    lab.estimators(),
                    key="i_estimator",
                    on_change=lab.from_widgets,
                    persist_state="session",
                    help="ridge: regression of thoughts on what they should hold; difference: mean with a node minus "
                    "mean without; unembedding: what the output layer reads, with one fitted length.",
                )
                st.toggle("Keep the norm", key="i_keep_norm", on_change=lab.from_widgets, persist_state="session")
                st.toggle(
                    "Take out what is held",
                    key="i_held",
                    on_change=lab.from_widgets,
                    persist_state="session",
                    help="Take nodes out with the weight this very thought holds them with, not with the usual one.",
                )
                st.button(
                    "Keep this edit, add another",
                    icon=":material/add:",
                    on_click=lab.add_another,
                    disabled=not state.i_edit,
                    key="i_more",
                )
        with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
            labels = {lab.BRANCHES: "Take out"}.get(state.i_kind, "Nodes")
            if state.i_kind == lab.BRANCHES or lab.with_nodes(state.i_kind):
                _nodes(problem, labels, "i_out")
            if state.i_kind == lab.BRANCHES:
                _nodes(problem, "Put in", "i_in")
            st.text_input(
                "The same as text",
                key="i_text",
                on_change=typed,
                persist_state="session",
                placeholder=lab.prepared(problem),
                help="What `python -m probing intervene --edit` takes; edits joined by & are made together. "
                "Kinds: truncate, patch and rewire can only be typed.",
            )


def _nodes(problem: ProsQAProblem, label: str, key: str) -> None:
    st.multiselect(
        label,
        lab.node_options(problem, st.session_state[key]),
        format_func=partial(lab.option_label, problem),
        key=key,
        on_change=lab.from_widgets,
        persist_state="session",
        placeholder="click nodes, or choose",
        help="Behind each node: its distance from the root. Sets follow the thought and the problem.",
    )


def invitation(problem: ProsQAProblem) -> None:
    state = st.session_state
    other = bold(problem, problem.neg_target)
    if not state.i_edit:
        button = "Swap branches" if problem.counterfactual is not None else "Cut the target's branch"
        st.markdown(
            f"**Flip the answer by hand.** Press **{button}**: what wears a − leaves thought 1, what wears a + enters "
            "it, and the model thinks on from there. Or click nodes in the graph."
        )
    elif state.i_kind == "write":
        st.markdown(
            f"**Compose.** Click nodes to write them into the thought, or out of it. One node that leads to {other} is "
            "enough to see where the search goes on."
        )
    else:
        st.markdown(
            "Click a node to take it out of the thought, or to put it in. Each change runs the edit with its controls."
        )


def answer(result: Intervention) -> None:
    """The answer before and after in plain words, with what the controls did."""
    problem, found = result.problem, runs(result)
    before, after, *others = found
    said_before, said_after, badge = _answer(before, problem), _answer(after, problem), _badge(before, after, problem)
    what = literal(describe(result.edits))
    st.markdown(f"**Before:** {said_before} **After {what}:** {said_after} {badge}")
    notes = [f"{literal(run.label)} {run.follows} of {run.n}" for run in others]
    if others:
        other = bold(problem, problem.neg_target)
        st.caption(f"Controls, draws that answer {other}: {'; '.join(notes)}.")
    for run in (before, after):
        if run.neither:
            st.caption(
                f"{run.label.capitalize()}: in {run.neither} of {run.n} draws the likeliest word is neither candidate."
            )


def _answer(run: Run, problem: ProsQAProblem) -> str:
    name, p = said(run, problem)
    if name is None:
        other = literal(problem.idx_to_symbol[problem.neg_target])
        return f"**undecided** ({other} {percent(run.p_other.value)}, in {run.follows} of {run.n} draws)."
    count = run.follows if p == run.p_other.value else run.n - run.follows
    return f"**{literal(name)}** ({percent(p)}, {count} of {run.n} draws)."


def percent(share: float) -> str:
    """Never 0 or 100 % of something that is not."""
    text = f"{100 * share:.0f} %"
    return "> 99 %" if text == "100 %" and share < 0.9995 else "< 1 %" if text == "0 %" and share > 0.0005 else text


def _badge(before: Run, after: Run, problem: ProsQAProblem) -> str:
    was, now = said(before, problem)[0], said(after, problem)[0]
    if was == now:
        return ":gray-badge[still undecided]" if now is None else ":gray-badge[the answer stays]"
    if now is None:
        return ":orange-badge[the answer is lost]"
    if after.p_other.value > 0.5:
        return ":blue-badge[:material/check: the answer follows]"
    return ":green-badge[the answer turns to the target]"


def before_and_after(result: Intervention, shown: int, value: str, *, edited: bool) -> None:
    """Both graphs at one thought, on one scale; a click edits."""
    problem, thought = result.problem, shown or None
    out, put = lab.touched(problem, shown) if problem == st.session_state.i_problem else ((), ())
    scenes = pair(result, thought, value=value, out=out, put=put)

    def clicked(key: str) -> None:
        state = st.session_state
        groups: Any = state[key].selection.selected
        hit = figures.hit(scenes[0], groups)
        node = hit[1] if hit else state.i_last.get(key)  # a second click on a node takes its selection back
        if node is not None and 0 <= node < problem.n_nodes:
            state.i_last[key] = node
            lab.click(problem, node)

    left, right = st.columns(2, gap="medium")
    for column, scene, key in ((left, scenes[0], "i_before"), (right, scenes[1], "i_after")):
        with column:
            why = "this edit cannot be made" if st.session_state.i_edit else "nothing is edited yet"
            title = scene.heading if edited or key == "i_before" else f"After: the same, as {why}"
            st.markdown(f"**{literal(title)}** :gray[· {literal(scene.subtitle[0])}]")
            st.echarts_chart(
                figures.option(scene, theme()),
                key=key,
                on_select=partial(clicked, key),
                height=figures.height(scene),
                renderer="svg",
                alt=scene.words.alt,
            )
    scale = scenes[0].scale
    ends = f"{scale.low:.3g} to {scale.high:.3g}"
    badges = "; − taken out, + put in" if out or put else ""
    st.caption(
        f"Blue: {VALUES[value]}, mean of n = {result.n_draws}, {ends} in both graphs. "
        f"Orange: the nodes that this thought should hold{badges}."
    )


def shown_thought(result: Intervention) -> int:
    """Which thought is drawn; 0 for the answer state."""
    state = st.session_state
    options = [*range(1, result.n_thoughts + 1), 0]
    if state.get("i_show") not in options:
        state.i_show = 1
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        st.segmented_control(
            "Show thought",
            options,
            format_func=lambda t: str(t) if t else "answer",
            key="i_show",
            required=True,
            persist_state="session",
        )
        usable = [value for value in VALUES if has_value(result, value, state.i_show or None)]
        if state.get("i_value") not in usable:
            state.i_value = usable[0]
        st.segmented_control(
            "Colour",
            usable,
            key="i_value",
            required=True,
            persist_state="session",
            help="; ".join(f"**{value}**: {meaning}" for value, meaning in VALUES.items()),
        )
    return int(state.i_show)


def effects(result: Intervention, extra: tuple[Run, ...]) -> None:
    """The edit beside every control that exists."""
    chart = of_intervention.effects(result, extra)
    st.echarts_chart(
        figures.option(chart, theme()), key="i_effects", height=figures.height(chart), renderer="svg",
        alt=chart.about().alt,
    )  # fmt: skip
    draws = "faint: every draw; lines: 95 % intervals" if result.n_draws > 1 else "a single draw has no interval"
    gone = missing_controls(result)
    lacking = f" Not in this graph (too few such nodes): {'; '.join(gone)}." if gone else ""
    st.caption(f"Probability of the other candidate, of the two; {draws}. Right: draws that answer it.{lacking}")


def searches(result: Intervention, shown: int) -> None:
    st.echarts_chart(
        figures.option(of_intervention.searches(result, shown or None), theme()),
        key="i_searches",
        height=SMALL,
        renderer="svg",
        alt="Probability of each thought on the frontier of either question, before and after",
    )
    st.caption("Share of each thought on either question's frontier. A search that follows the edit changes sides.")


def drift(result: Intervention, shown: int) -> None:
    st.echarts_chart(
        figures.option(of_intervention.drift(result, shown or None), theme()),
        key="i_drift",
        height=SMALL,
        renderer="svg",
        alt="Divergence of each thought from the run before, for the edit and its controls",
    )
    st.caption("KL(before ‖ after) of the next-token distribution, nats. Exactly 0 up to the edited thought.")


def changes(result: Intervention, shown: int) -> None:
    st.echarts_chart(
        figures.option(of_intervention.changes(result, shown or None), theme()),
        key="i_changes",
        height=max(SMALL + 40, 50 + 14 * result.problem.n_nodes),
        renderer="svg",
        alt="Change of every node's probability in every thought",
    )
    st.caption("Probability after minus before: blue came in, red went out. Orange: what the thought should hold.")


def second(problem: ProsQAProblem) -> str:
    """Which checkpoint the edit is also made on; empty for none."""
    state = st.session_state
    options = ["", compute.UNTRAINED, *compute.shipped(), controls.OTHER_FOLDER]
    if state.get("i_against") not in options:
        state.i_against = ""
    with st.sidebar:
        st.markdown("#### Compare with")
        chosen = st.selectbox(
            "Second checkpoint",
            options,
            format_func=lambda name: {"": "nothing", compute.UNTRAINED: "untrained control"}.get(name, name),
            key="i_against",
            persist_state="session",
            label_visibility="collapsed",
        )
        if chosen != controls.OTHER_FOLDER:
            return str(chosen)
        st.text_input("Second folder", key="i_against_folder", persist_state="session")
        return str(state.i_against_folder)


def share(view: Lab) -> None:
    try:
        st.caption("This link restores the problem and the edit.")
        st.code(url(st.context.url or "", view), language=None, wrap_lines=True)
    except InputError as error:
        st.error(literal(str(error)))


def downloads(result: Intervention, shown: int, value: str) -> None:
    """Graphs before and after, tables and everything, made from the object that is drawn."""
    st.caption("The graph before and after with the answers of every control; CSV and JSON hold every number.")
    with st.container(horizontal=True, gap="xsmall"):
        for format in FORMATS:
            st.download_button(
                format.upper(),
                partial(export, result, format, thought=shown or None, value=value, theme=theme().name),
                file_name=f"coconut-edit.{format}",
                mime=MEDIA_TYPES[format],
                on_click="ignore",
                key=f"i_get_{format}",
            )


def about() -> None:
    with st.expander("What does this show?", icon=":material/help:"):
        st.markdown(
            """
**Decodable is not used.** That a node can be read from a thought does not show that the model goes by it. Here the
thought itself is changed before it is fed back, and everything after it is the model's own work.

**The edit and its controls** are run on the same prompts at once. A *random direction* moves the thought just as far.
*Nodes out of reach* and *nodes that lead to neither* get the same treatment as the chosen ones. *At another thought*
puts the same content at a step it does not belong to. Only where the edit moves the answer and these do not does the
answer go by what was edited.

**Write directions** say how a node is written in thought t: fitted on other problems, once per checkpoint
(`python -m probing directions`). Strength 1 is as much as the model itself writes.

**The other question** is about the same graph, asked from another root, so that the other candidate is right. The other
branch are nodes that its search would hold on the way there.

**What it does not show.** This is one problem under a few draws of its prompt. What holds for the model is measured
over many: `python -m probing intervene`, and the verdict sheet.
"""
        )


def bold(problem: ProsQAProblem, node: int) -> str:
    name = problem.idx_to_symbol[node]
    return f"**{literal(name if len(name) <= 40 else name[:39] + '…')}**"
