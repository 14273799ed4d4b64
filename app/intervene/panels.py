"""The drawn parts of Intervene. Each takes values and draws them; nothing is computed about thoughts here."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import streamlit as st

from app import compute
from app.figures import cards, figure, files
from app.intervene import state as lab
from app.problem_picker import folder_or
from app.words import bold, choice, literal, theme
from model.problems.prosqa import ProsQAProblem
from model.stats import MIN_CASES
from probing.draw import of_intervention
from probing.draw.marks import unbroken
from probing.draw.of_intervention import FORMATS, VALUE_NAMES, VALUES, Run, has_value, runs, said
from probing.draw.values import display_name
from probing.edit.directions import ESTIMATORS
from probing.edit.kinds import KINDS
from probing.edit.one_problem import Intervention

SMALL = 300


def buttons(*, fitted: bool) -> None:
    """The buttons to start from."""
    with st.container(horizontal=True, gap="xsmall", vertical_alignment="center", key="i_presets"):
        for name, label, icon, help_text in (
            ("swap", "Swap branches (steer)", "swap_horiz",
             "Remove the target's branch from the thought, and add the distractor's."),
            ("cut", "Ablate target branch", "content_cut",
             "Subtract the directions of the nodes that lead to the target, and add nothing."),
            ("transplant", "Patch from counterfactual", "move_down",
             "Ask the same graph from the other root (the counterfactual question), and feed this run that run's "
             "thought."),
            ("random", "Random direction (control)", "shuffle",
             "Move the thought as far as the edit does, but in a random direction."),
            ("collapse", "Keep its best node", "call_merge",
             "Are several nodes at once necessary? Write the thought anew from the one node that stands out most in "
             "it: where that node is a dead end, a model that needs its other branches gets lost."),
            ("compose", "Write a thought", "edit_note",
             "Throw the thought away and write one: click nodes into it, and watch the search continue from there."),
        ):  # fmt: skip
            why, on = lab.why_not(name, fitted=fitted), lab.active(name)
            st.button(
                label, key=f"i_preset_{name}", icon=f":material/{icon}:", disabled=why is not None,
                help=why or help_text, on_click=lab.press, args=(name,), type="primary" if on else "secondary",
            )  # fmt: skip


def offer(loaded: compute.Loaded, *, second: bool = False) -> None:
    """What to do about a checkpoint without directions; the edit is left as it is for one that is compared with."""

    def fit() -> None:
        st.session_state.i_fitted.append(loaded.fingerprint)
        if second:
            return
        st.session_state.i_estimator = "unembedding"
        if st.session_state.i_edit:
            lab.from_widgets()

    with st.container(horizontal=True, vertical_alignment="center"):
        st.info(
            f"No node directions are stored for {literal(loaded.name)}, so nodes cannot be written or ablated yet. "
            "Interchange interventions, zero and noise need none. The output layer's own directions (unembedding) need "
            f"only one length each: it can be fitted here on {compute.FIT_ON} generated problems, in half a minute.",
            icon=":material/straighten:",
        )
        st.button("Fit here", on_click=fit, key=f"i_fit_{loaded.name}", icon=":material/straighten:")


def history() -> None:
    """The way back."""
    state = st.session_state
    last = len(state.i_history) - 1
    for label, key, icon, call, args, off in (
        ("Undo", "i_undo", ":material/undo:", lab.step, (-1,), state.i_at == 0),
        ("Redo", "i_redo", ":material/redo:", lab.step, (1,), state.i_at == last),
        ("Start over", "i_clear", ":material/restart_alt:", lab.clear, (), not state.i_edit),
    ):
        st.button(label, key=key, icon=icon, on_click=call, args=args, disabled=off, type="tertiary")


def editor(problem: ProsQAProblem, n_thoughts: int) -> None:
    """The edit by hand: which thoughts, what kind, which nodes, how strongly."""
    state, hands = st.session_state, lab.hands()
    changes: Callable[..., dict[str, Any]] = partial(dict, on_change=lab.from_widgets, persist_state="session")
    state.i_thoughts = [t for t in state.i_thoughts if t <= n_thoughts]
    with st.container(border=True, gap="small"):
        with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
            kinds = [kind for kind in hands if kind != lab.TYPED or state.i_kind == lab.TYPED]
            st.selectbox(
                "Edit type", kinds, format_func=hands.__getitem__, key="i_kind", width=300,
                **changes(on_change=lab.chosen),
            )  # fmt: skip
            if any("top" in kind.takes for kind in lab.group(state.i_kind)):
                st.selectbox(
                    "Best nodes kept", (1, 2, 3, 0), format_func=lambda top: str(top or "as many as at distance t"),
                    key="i_top", width=200, **changes(),
                )  # fmt: skip
            label, help_text = "Steering coefficient", "1: as much as the model itself writes, as fitted. 0: nothing."
            if -3 <= state.i_coefficient <= 5:
                st.slider(label, -3.0, 5.0, step=0.1, key="i_coefficient", help=help_text, **changes())
            else:
                st.number_input(label, key="i_coefficient", help=help_text, **changes())
            with st.popover("Options", icon=":material/tune:"):
                st.pills(
                    "Edited thoughts", range(1, n_thoughts + 1), selection_mode="multi", key="i_thoughts", **changes(),
                    help="One is edited by showing it; here several at once.",
                )  # fmt: skip
                st.selectbox(
                    "Node directions", ESTIMATORS, key="i_estimator", **changes(),
                    help="ridge: regression of thoughts on what they should hold; difference: mean with a node minus "
                    "mean without; unembedding: what the output layer reads, with one fitted length.",
                )  # fmt: skip
                st.toggle("Preserve norm", key="i_keep_norm", **changes())
                st.toggle(
                    "Coefficient measured", key="i_measured", **changes(),
                    help="Off: the coefficient is fixed, each node counts as its fitted direction. On: nodes are taken "
                    "out with the coefficient measured in this very thought.",
                )  # fmt: skip
                st.button(
                    "Add another edit", icon=":material/add:", on_click=lab.add_another,
                    disabled=not state.i_edit, key="i_more",
                )  # fmt: skip
        with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
            for key, label in lab.node_widgets(state.i_kind).items():
                st.multiselect(
                    label, lab.node_options(problem, state[key]), format_func=partial(lab.option_label, problem),
                    key=key, placeholder="click nodes, or choose", **changes(),
                    help="Behind each node: its distance from the root. Sets follow the thought and the problem.",
                )  # fmt: skip
            only = [kind.name for kind in KINDS.values() if not kind.hand]
            st.text_input(
                "Edit as text", key="i_text", placeholder=str(lab.preset(lab.usual())),
                **changes(on_change=lab.typed),
                help="What `python -m probing intervene --edit` takes; edits joined by & are made together. "
                f"Kinds that can only be typed: {', '.join(only)}.",
            )  # fmt: skip


def invitation(problem: ProsQAProblem) -> None:
    state = st.session_state
    if not state.i_edit:
        button = {"swap": "Swap branches (steer)", "cut": "Ablate target branch"}[lab.usual()]
        st.markdown(
            f"**Flip the answer by hand.** Press **{button}**: nodes marked − are removed from thought "
            f"{lab.ready()[-1].thoughts[0]}, + are added; the model continues from there. Or click nodes in the graph."
        )
    elif state.i_kind == "write":
        st.markdown(
            "**Compose.** Click nodes to write them into the thought, or out of it. One node that leads to "
            f"{bold(problem.idx_to_symbol[problem.neg_target])} is enough to see where the search continues."
        )
    else:
        st.markdown(
            "Click a node to remove it from the thought, or to add it. Each change runs the edit with its controls."
        )


def answer(result: Intervention, method: str, *, edited: bool) -> None:
    """The answer before and after in plain words, with any warnings; the controls have a chart."""
    problem, (before, after) = result.problem, runs(result)[:2]
    was, now = (unbroken(of_intervention.answer(run, problem, bold)) for run in (before, after))
    if method == "pause":
        st.caption("A pause model is fed a token in place of each state; what is shown are the states it makes.")
    if not edited:
        st.markdown(f"**Before:** {was}. :gray[Nothing is edited yet.]", help=lab.WHY_FEW)
        _neither(before)
        return
    what = literal(result.plan.describe(display_name))
    st.markdown(f"**Before:** {was}. **After {what}:** {now}. {badge(before, after, problem)}", help=lab.WHY_FEW)
    _neither(before, after)
    for warning in result.warnings:
        st.warning(literal(warning), icon=":material/warning:")


def _neither(*shown: Run) -> None:
    for run in shown:
        if run.neither:
            st.caption(
                f"{run.label.capitalize()}: in {run.neither} of {run.n} prompt samples the most probable token is "
                "neither candidate; percentages are between the two alone."
            )


def badge(before: Run, after: Run, problem: ProsQAProblem) -> str:
    """Whether the answer is another, as a badge (markdown)."""
    was, now = said(before, problem)[0], said(after, problem)[0]
    if was == now:
        return ":gray-badge[still at chance]" if now is None else ":gray-badge[answer unchanged]"
    return ":orange-badge[answer at chance]" if now is None else ":blue-badge[:material/check: answer flips]"


def first_screen(result: Intervention, second: Callable[[], tuple[Run, ...]], *, edited: bool) -> None:
    """Every thought before and after, and the answer beside its controls."""

    def clicked(_: int, point: int) -> None:
        st.session_state.i_show = point + 1 if point < result.n_thoughts else 0

    row = st.container(horizontal=True, gap="medium", key="i_first")
    with row, st.container(width="stretch"):
        st.markdown("**Every thought**  :gray[how much of it lies on the nodes that each search is due to hold]")
        drawn = of_intervention.strip(result, edited=edited)
        caption = f"{searches(result.problem)} Click a column to see that thought in the graph below."
        figure(drawn, "i_strip", height=96 + 32 * len(drawn.series), caption=caption, on_hit=clicked)
    if edited:
        with row, st.container(width="stretch"):
            st.markdown("**The edit beside its controls**")
            effects(result, second())


def searches(problem: ProsQAProblem) -> str:
    """How the rows of the strip are read (markdown)."""
    (root, target), other = (bold(problem.idx_to_symbol[v]) for v in (problem.root, problem.target)), ""
    if problem.counterfactual is not None:
        who = bold(problem.idx_to_symbol[problem.counterfactual.root])
        wrong = bold(problem.idx_to_symbol[problem.neg_target])
        other = (
            f", and that from {who} to {wrong}, which the counterfactual question asks for. A node can be due in both, "
            "so the two may add to more than 1"
        )
    return (
        f"Rows: the search from {root} to {target}, which the question asks for{other}. *{of_intervention.OVER}*: the "
        f"search is over, it holds no node so far away. *answer*: the probability of {target}"
        f"{f' or {wrong}' if other else ''}, of the two."
    )


def effects(result: Intervention, extra: tuple[Run, ...]) -> None:
    """Where the answer lies under the edit, its controls and a second checkpoint."""
    lines = "lines: 95 % intervals" if result.n_samples >= MIN_CASES else f"no intervals of fewer than {MIN_CASES}"
    samples = (
        f"faint: every prompt sample; {lines}" if result.n_samples > 1 else "a single prompt sample has no interval"
    )
    gone = "; ".join(of_intervention.missing_controls(result))
    other = bold(result.problem.idx_to_symbol[result.problem.neg_target])
    lacking = f" Not in this graph (too few such nodes): {gone}." if gone else ""
    caption = f"P({other}), of the two; {samples}. Right: samples that answer {other}.{lacking}"
    caption += f" Passes in {result.precision}."
    figure(of_intervention.effects(result, extra), "i_effects", caption=caption)


def before_and_after(result: Intervention, shown: int, value: str, *, edited: bool) -> None:
    """Both graphs at one thought, on one scale; a click edits."""
    out, put = of_intervention.moved_at(result.touched if edited else lab.touched(), shown)
    graphs = of_intervention.pair(result, shown or None, value=value, out=out, put=put)
    if not edited:
        graphs = graphs[:1]
    row = st.container(horizontal=True, gap="medium", key="i_pair")
    for graph, key in zip(graphs, ("i_before", "i_after"), strict=False):
        with row, st.container(width="stretch"):
            st.markdown(f"**{literal(graph.heading)}** :gray[· {literal(graph.subtitle[0])}]")
            figure(graph, key, name=f"coconut-edit-{key[2:]}", on_hit=lambda state, node: lab.click(node))
    scale = graphs[0].scale
    badges = "; − removed, + added" if out or put else ""
    edits = f"Click a node to edit thought {shown}. " if shown else ""
    st.caption(
        f"{edits}Colour: {scale.label}, {scale.low:.3g} to {scale.high:.3g}, mean of n = {result.n_samples}. "
        f"Orange: the nodes that this thought should hold{badges}."
    )


def shown_thought(result: Intervention) -> int:
    """Which thought is drawn, and, before any edit, will be edited; 0 for the answer state."""
    state = st.session_state
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        st.segmented_control(
            "Thought", **choice("i_show", [*range(1, result.n_thoughts + 1), 0]), required=True,
            format_func=lambda t: f"Thought {t}" if t == 1 else str(t) if t else "answer", on_change=lab.looked,
            label_visibility="collapsed",
        )  # fmt: skip
        usable = [value for value in VALUES if has_value(result, value, state.i_show or None)]
        st.segmented_control(
            "Colour", format_func=VALUE_NAMES.__getitem__, **choice("i_value", usable), required=True,
            label_visibility="collapsed",
            help="; ".join(f"**{VALUE_NAMES[value]}**: {meaning}" for value, meaning in VALUES.items()),
        )  # fmt: skip
    return int(state.i_show)


def below(result: Intervention, shown: int) -> None:
    """What the edit changed, beside every control that exists."""
    t = shown or None
    cards(2, 330, {
        "Which search do the thoughts follow?": lambda: figure(
            of_intervention.searches(result, t), "i_searches", height=SMALL,
            caption="Share of each thought on either question's frontier, each as the model made it, so the edit shows "
            "from the thought after it on. A search that follows the edit changes sides."),
        "How far did later thoughts move?": lambda: figure(
            of_intervention.drift(result, t), "i_drift", height=SMALL,
            caption="KL(before ‖ after) of the next-token distribution, nats. Exactly 0 up to the edited thought."),
        "Change of every node in every thought": lambda: figure(
            of_intervention.changes(result, t), "i_changes", name="coconut-edit-changes",
            height=max(SMALL + 40, 50 + 14 * result.problem.n_nodes),
            caption="Probability after minus before: what is above 0 came in. Orange: what the thought should hold."),
    }.items())  # fmt: skip


def second() -> str:
    """Which checkpoint the edit is also made on; empty for none."""
    names = {"": "nothing", compute.UNTRAINED: "untrained control"}
    with st.sidebar:
        st.markdown("#### Compare with")
        return folder_or(
            "Second checkpoint", "i_against", "i_against_folder", [*names, *compute.models()],
            placeholder="folder, file or Hub id (org/repo)", show=lambda name: names.get(name, name),
        )  # fmt: skip


def downloads(result: Intervention, shown: int, value: str) -> None:
    """Graphs before and after, tables and everything, made from the object that is drawn."""
    st.caption("The graph before and after with the answers of every control; CSV and JSON hold every number.")
    make = partial(of_intervention.export, result, thought=shown or None, value=value, theme=theme().name)
    files(make, FORMATS, "coconut-edit", "i_get")


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

**Node directions** say how a node is written in thought t: fitted on other problems, once per checkpoint
(`python -m probing directions`). A steering coefficient of 1 is as much as the model itself writes.

**The counterfactual question** is about the same graph, asked from another root, so that the distractor is right.
The counterfactual branch are the nodes that its search would hold on the way there. An *interchange intervention*
feeds this run a thought of that question's run.

**What it does not show.** This is one problem under a few samples of its prompt. What holds for the model is measured
over many: `python -m probing intervene`, and the verdict sheet.
"""
        )
