"""Explore's state: what the page shows (``View``), opened from a link or from another page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import streamlit as st
from pydantic import Field

from app import compute, hosted
from app import problem_picker as picker
from app.links import Flag, Folder, Setup, opened, whole
from model.checkpoint import CHECKPOINTS
from model.evaluate import after_hops
from model.problems.prosqa import ProsQAProblem
from probing.read.report import VALUES, ProbeReport

QUESTION = (
    "A box holds 6 bags of 30 marbles each. 5 marbles are lost. How many are left?||<<6*30=180>> <<180-5=175>> #### 175"
)
"""As GSM8k-Aug has them: the question, the steps, the answer."""


class View(Setup):
    """What Explore shows."""

    value: Annotated[str, Field(pattern=f"^({'|'.join(VALUES)})$", description=f"one of {', '.join(VALUES)}")] = (
        "probability"
    )
    """What nodes are coloured by: one of ``probing.read.report.VALUES``."""
    thoughts: Annotated[
        str, Field(pattern=r"^(trained|hops|hops\+1|\d|1\d)$", description="trained, hops, hops+1 or 0-19")
    ] = "trained"
    """How many thoughts the model is given: as in training, as many as the target is hops away, or a number."""
    k: Annotated[int, whole(0, 99)] = 1
    """The state shown: h_k."""
    node: Annotated[int | None, Field(ge=0, le=999, description="a whole number from 0 to 999")] = None
    """The node whose trajectory is shown; None for the target."""
    against: Folder = ""
    """A second model on the same problem: a checkpoint's name or folder, "untrained", "words" for the model itself
    without thoughts, or empty for none."""
    question: Annotated[str, Field(max_length=4_000, description="at most 4,000 characters")] = ""
    """A question in words, for a model of such; empty for the one that the page has."""
    mind: Flag = False
    """Whether the search is replayed beside one with an edited thought."""
    present: Flag = False
    """Whether the page is for an audience: no sidebar, big type."""


def open_link() -> None:
    """Set every widget to what the link asks for; a first visit without one sees the example play."""
    first = "x_opened" not in st.session_state
    view = opened(View, "x")
    if view is not None:
        put(view)
        st.session_state.x_greeting = first and not st.query_params.to_dict()


def put(view: View) -> None:
    """Set every widget to a view; before the widgets are drawn."""
    picker.put(view)
    st.session_state.update(
        x_value=view.value, x_k=view.k, x_node=view.node, x_thoughts=view.thoughts, x_mind=view.mind,
        x_present=view.present, x_playing=False, x_question=view.question or QUESTION,
    )  # fmt: skip
    picker.put_folder(
        "x_rival", "x_rival_folder", view.against, ("", compute.UNTRAINED, compute.WORDS, *compute.models())
    )


def open_in_explore(view: View) -> None:
    """Go to Explore, from another page, with a view."""
    put(view)
    st.session_state.update(x_opened=True, x_link_error=None)
    st.switch_page("explore/explore.py")


def with_checkpoint(path: Path) -> View:
    """Explore as it opens, with the checkpoint of a folder."""
    return View(checkpoint=path.name if path.parent == CHECKPOINTS else hosted.name_of(path))


def thoughts_for(problem: ProsQAProblem) -> int | None:
    """The number of thoughts that the sidebar asks for; None for as many as the model was trained with."""
    chosen = st.session_state.x_thoughts
    more = after_hops(chosen)
    return problem.n_hops + more if more is not None else None if chosen == "trained" else int(chosen)


def settle(report: ProbeReport) -> tuple[int, bool]:
    """The node whose trajectory is shown, and whether the picture plays; while it does, each run is one thought on."""
    state = st.session_state
    playing = bool(state.get("x_playing"))
    if playing and state.get("x_tick"):
        if state.x_k < (last := report.n_thoughts):
            # Thoughts after the search hold no node: from it to the answer.
            state.x_k = state.x_k + 1 if state.x_k + 1 < min(report.problem.n_hops, last) else last
        else:
            state.update(x_playing=False, x_auto=False)
            st.rerun()
    state.x_tick = playing
    another = state.get("x_shown", report.problem_row) != report.problem_row
    state.x_shown = report.problem_row
    if another or not isinstance(state.get("x_node"), int) or not 0 <= state.x_node < report.n_nodes:
        state.x_node = report.problem.target
    return state.x_node, playing
