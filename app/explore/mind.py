"""Change its mind: one thought edited, and both searches replayed side by side, with a control."""

from __future__ import annotations

import streamlit as st

from app import compute
from app.explore import panels
from app.figures import figure
from app.intervene.panels import badge
from app.intervene.state import NO_OTHER, Lab, prepare, preset
from app.links import Samples, Setup
from app.problem_picker import Choice
from app.words import bold, capital, literal
from model.errors import InputError
from model.problems.prosqa import ProsQAProblem
from probing.draw import of_intervention
from probing.draw.of_intervention import AFTER, BEFORE, CONTROL, runs, said
from probing.edit.batch import n_thoughts_of
from probing.edit.one_problem import Intervention
from probing.read.report import ProbeReport

N_SAMPLES: Samples = 4
"""At most: as on Intervene, an edit with its controls then takes about a second."""


def why_not(problem: ProsQAProblem, loaded: compute.Loaded, n_thoughts: int) -> str:
    """Why the branches cannot be swapped here, where the model is given so many thoughts; empty where they can."""
    try:
        trained = n_thoughts_of(loaded.model)
        found = compute.directions(loaded)
    except InputError as error:
        return f"{capital(str(error))}."
    if problem.counterfactual is None:
        return NO_OTHER
    if n_thoughts != trained:
        return f"Edits are made in a run of as many thoughts as in training, {trained}; here it is given {n_thoughts}."
    return "" if found else "No node directions are stored for this model; fit them on Intervene."


def prompts(setup: Setup) -> int:
    """Prompt samples of the replay."""
    return min(N_SAMPLES, setup.samples)


def changed(choice: Choice, loaded: compute.Loaded) -> Intervention:
    """The search before and after the branches are swapped in one thought, with its controls. Raises InputError as
    ``compute.intervention`` does."""
    setup = choice.setup
    return compute.intervention(
        loaded, compute.directions(loaded), choice.problem, preset("swap"),
        samples=prompts(setup), seed=setup.sample_seed, pad=setup.pad,
    )  # fmt: skip


def outcome(result: Intervention) -> None:
    """What became of the answer, in a sentence."""
    found, problem = {run.name: run for run in runs(result)}, result.problem
    before, after = found[BEFORE], found[AFTER]
    was, now, control = (said(found[name], problem)[0] for name in (BEFORE, AFTER, CONTROL))
    told = of_intervention.answer(after, problem, bold)
    if was != now:
        told = f"from {_named(was)} to {told}"
    how = "Still" if was is now is None else badge(before, after, problem)
    st.markdown(f"{how} {told}. :gray[After a random change as large: {_named(control)}.]")


def _named(candidate: str | None) -> str:
    return "at chance" if candidate is None else bold(candidate)


def told(choice: Choice, result: Intervention, report: ProbeReport, k: int, rival: str) -> None:
    """What is answered, and, once that is drawn, what became of it; what the replays are of; the way to Intervene.

    ``rival`` is a second model that is put aside meanwhile.
    """
    n, many = result.n_samples, choice.setup.samples
    with st.container(horizontal=True, vertical_alignment="center", key="x_told"):
        with st.container(width="stretch", gap="xxsmall"):
            if k == report.n_thoughts:
                outcome(result)
            else:
                st.markdown(panels.answer(report))
            means = f"Replays are means of {n} prompt sample{'s' * (n > 1)}"
            fewer = f", one search of {many}" if n < many else ""
            aside = f" The comparison with {literal(panels.RIVALS.get(rival, rival))} is put aside." if rival else ""
            st.caption(
                f"{means}{fewer}. − removed from thought 1, + added; ringed: the answer.{aside}",
                help="An edit runs together with all its controls, hence with fewer samples.",
            )
        onward(choice, result)


def onward(choice: Choice, result: Intervention) -> None:
    """The way to Intervene, with the same edit."""
    lab = choice.setup.on(Lab, edit=str(result.plan), samples=result.n_samples)
    if st.button(
        "Open in Intervene", icon=":material/science:", key="x_mind_open", on_click=prepare, args=(lab,),
        help="The same edit beside every control.",
    ):  # fmt: skip
        st.switch_page("intervene/intervene.py")


def replay(result: Intervention, k: int, *, playing: bool) -> None:
    """The search before, after one thought is edited, and after a random change of the same size."""
    thought = k + 1 if k < result.n_thoughts else None
    out, put = of_intervention.moved_at(result.touched, thought)
    graphs = of_intervention.pair(result, thought, out=out, put=put, beside=(CONTROL,))
    titles = ("As it thinks", "Thought 1: branches swapped", "Control: random change")
    # Three side by side on a small laptop, where that leaves names room.
    with st.container(horizontal=True, gap="small", key="x_minds" if graphs[0].width <= 5 else "x_minds_wide"):
        for title, graph in zip(titles, graphs, strict=False):
            with st.container(width="stretch"):
                st.markdown(f"**{title}**  \n{literal(graph.subtitle[0])}")
                figure(
                    graph, f"x_mind_{graph.state}", name=f"coconut-mind-{graph.state}", moving=playing, small=True,
                )  # fmt: skip
