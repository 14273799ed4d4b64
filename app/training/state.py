"""Training's state: the runs chosen, the thought and the moment looked at (``Course``)."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import streamlit as st
from pydantic import Field

from app import compute, hosted
from app.links import Folder, Link, opened, whole
from app.problem_picker import folder_or, put_folder
from app.words import choice, kept, scale
from model import checkpoint
from model.training.dynamics import DynamicsRecord
from model.training.folder import RunFolder

NONE = "none"
ONE_PROBLEM = "prosqa-symbol-rerun"
"""A second run of the main model's recipe, with the picture of one problem all through its training."""
FIRST = (ONE_PROBLEM, checkpoint.DEFAULT_CHECKPOINT.name)
"""The shipped records that are listed first: the one that shows most, and the main model's."""
LIVE_SECONDS = 300
"""A run without a result that wrote this recently is looked at again every few seconds."""


class Course(Link):
    """What Training shows."""

    run: Folder = ""
    """The run's folder or a checkpoint's, as ``compute.short_path`` writes it; empty for the first that is there."""
    beside: Folder = ""
    """Another that is set beside it; empty for none."""
    thought: Annotated[int, whole(1, 99)] = 1
    at: Annotated[int | None, Field(ge=0, le=9999, description="a whole number from 0 to 9999")] = None
    """The moment, counted from the one before training; None for the newest."""


def runs() -> list[str]:
    """The runs that can be chosen: the visitor's own, then shipped ones, FIRST of these first."""
    shipped = {checkpoint.CHECKPOINTS / name: place for place, name in enumerate(FIRST, start=1)}

    def place(path: Path) -> int:
        return shipped.get(path, len(FIRST) + 1) if path.parent == checkpoint.CHECKPOINTS else 0

    return [hosted.name_of(path) for path in sorted(compute.run_folders(), key=place)]


def open_link() -> None:
    """Once a session: choose what the link asks for; and let a run that was asked for begin to play."""
    if st.session_state.pop("t_begin", False):
        st.session_state.update(t_asked=0, t_playing=True, t_tick=False)
    course = opened(Course, "t")
    if course is not None:
        listed = runs()
        run, beside = compute.long_path(course.run, listed), compute.long_path(course.beside, listed)
        put_folder("t_run", "t_folder", run or next(iter(listed), ""), listed)
        put_folder("t_beside_run", "t_beside_folder", beside or NONE, [NONE, *listed])
        st.session_state.update(t_thought=course.thought, t_asked=course.at, t_shown=None, t_playing=False)


def show_one_problem() -> None:
    """Play a run whose record holds the picture of one problem."""
    st.session_state.update(t_run=hosted.name_of(checkpoint.CHECKPOINTS / ONE_PROBLEM), t_begin=True)


def sidebar() -> tuple[str, str]:
    """The folder to show and the one to set beside it; empty for none."""
    listed = runs()
    where = "a run folder, or a checkpoint folder"
    with st.sidebar:
        st.markdown("#### Run")
        folder = folder_or("Run", "t_run", "t_folder", listed, placeholder=where, show=compute.short_path, models=False)
        st.markdown("#### Compare with", help="Another run in the same charts, dashed grey: a control trained by "
                    "another method, or another seed.")  # fmt: skip
        beside = folder_or(
            "Compare with",
            "t_beside_run",
            "t_beside_folder",
            [NONE, *(path for path in listed if path != folder)],
            placeholder=where,
            show=compute.short_path,
            models=False,
        )
    state = st.session_state
    state.t_folder_shown = folder or state.get("t_folder_shown", "")  # while no path is typed yet, the one from before
    return state.t_folder_shown, "" if beside == NONE else beside


def is_live(run: RunFolder) -> bool:
    """Whether more is to be expected: no result yet, and something was written lately."""
    ours = run.result is None and compute.is_run(run.path)
    return ours and time.time() - compute.last_written(run.path) < LIVE_SECONDS


def play(playing: bool, last: int) -> None:
    """Let training run by, from the beginning where it is at its end; or stop."""
    state = st.session_state
    state.update(t_playing=playing, t_tick=False)
    if state.t_playing and state.t_at >= last:
        state.t_at = 0


def chosen(record: DynamicsRecord) -> tuple[int | None, int]:
    """The thought, None where none was read, and the moment; the newest where the run is not over."""
    state, last = st.session_state, len(record.points) - 1
    thoughts = [numbers.thought for numbers in record.points[0].thoughts]
    same = state.get("t_shown") == (record.name, record.method, record.seed)
    asked = state.pop("t_asked", None)
    if asked is not None:
        state.t_at = asked
    elif not same or state.get("t_at", 0) >= state.get("t_last", 0):
        state.t_at = last
    state.t_at = min(state.t_at, last)
    state.t_last, state.t_shown = last, (record.name, record.method, record.seed)
    playing = bool(state.get("t_playing"))
    if playing and state.get("t_tick"):
        state.t_at = min(state.t_at + 1, last)
        state.t_playing = state.t_at < last
        if not state.t_playing:
            st.rerun()
    state.t_tick = playing
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        if last:
            st.button(
                "Pause" if playing else "Play", key="t_play", type="primary", width=round(100 * scale()), on_click=play,
                icon=":material/pause:" if playing else ":material/play_arrow:", args=(not playing, last),
            )  # fmt: skip
        thought = None
        if thoughts and not record.has_thoughts:
            thought = thoughts[0]
        elif thoughts:
            thought = st.segmented_control(
                "Thought", **choice("t_thought", thoughts), required=True,
                help="Thought t is the state after t - 1 thoughts; it should hold the nodes at distance t "
                "(with c thoughts per step: t / c, rounded up).",
            )  # fmt: skip
        if last:
            st.select_slider(
                "Training step", range(last + 1), **kept("t_at"),
                format_func=lambda i: f"{record.points[i].problems:,} problems, stage {record.points[i].stage}",
            )  # fmt: skip
    return thought, state.t_at
