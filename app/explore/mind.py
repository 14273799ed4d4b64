"""Change its mind: one thought edited, and both searches replayed side by side, with a control."""

from __future__ import annotations

import streamlit as st

from app import compute
from app.figures import figure
from app.intervene.panels import badge
from app.intervene.state import NO_OTHER, Lab, prepare, preset
from app.links import Samples
from app.problem_picker import Choice
from app.words import bold, literal
from model.errors import InputError
from model.problems.prosqa import ProsQAProblem
from probing.draw import of_intervention
from probing.draw.of_intervention import AFTER, BEFORE, CONTROL, runs, said
from probing.edit.one_problem import Intervention

N_SAMPLES: Samples = 4
"""As on Intervene: an edit with its controls then takes about a second."""


def why_not(problem: ProsQAProblem, loaded: compute.Loaded) -> str:
    """Why the branches cannot be swapped here; empty where they can."""
    if problem.counterfactual is None:
        return NO_OTHER
    try:
        found = compute.directions(loaded)
        return "" if found else "No node directions are stored for this model; fit them on Intervene."
    except InputError as error:
        return str(error)


def changed(choice: Choice, loaded: compute.Loaded) -> Intervention:
    """The search before and after the branches are swapped in one thought, with its controls."""
    setup = choice.setup
    return compute.intervention(
        loaded, compute.directions(loaded), choice.problem, preset("swap"),
        samples=N_SAMPLES, seed=setup.sample_seed, pad=setup.pad,
    )  # fmt: skip


def outcome(result: Intervention) -> None:
    """What became of the answer, in a sentence."""
    found, problem = {run.name: run for run in runs(result)}, result.problem
    before, after = found[BEFORE], found[AFTER]
    was, now, control = (bold(said(found[name], problem)[0] or "at chance") for name in (BEFORE, AFTER, CONTROL))
    other = bold(problem.idx_to_symbol[problem.neg_target])
    st.markdown(
        f"{badge(before, after, problem)} from {was} to {now}: {other} in {after.follows} of {after.n} prompt samples. "
        f":gray[After a random change as large: {control}.]"
    )


def replay(choice: Choice, result: Intervention, k: int, *, playing: bool) -> None:
    """The search before, after one thought is edited, and after a random change of the same size."""
    setup = choice.setup
    thought = k + 1 if k < result.n_thoughts else None
    out, put = of_intervention.moved_at(result.touched, thought)
    graphs = of_intervention.pair(result, thought, out=out, put=put, beside=(CONTROL,))
    titles = ("As it thinks", "Thought 1: branches swapped", "Control: random change")
    with st.container(horizontal=True, gap="small", key="x_minds"):
        for i, (title, graph) in enumerate(zip(titles, graphs, strict=False)):
            with st.container(width="stretch"):
                st.markdown(f"**{title}**  \n{literal(graph.subtitle[0])}")
                figure(
                    graph, f"x_mind_{graph.state}", name=f"coconut-mind-{graph.state}", height=380 if i < 2 else 280,
                    moving=playing, small=True, named=i < 2,
                )  # fmt: skip
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.caption(
            f"Mean of n = {result.n_samples} prompt samples. − taken out of thought 1, + put in; the model continues "
            "from there. Ringed: its answer.",
            width=700,
        )
        lab = setup.on(Lab, edit=str(result.plan), samples=N_SAMPLES)
        if st.button(
            "Open in Intervene, with every control", icon=":material/science:", key="x_mind_open", on_click=prepare,
            args=(lab,),
        ):  # fmt: skip
            st.switch_page("intervene/intervene.py")
