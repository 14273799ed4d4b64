"""Training's state: the runs chosen, the thought and the moment looked at (``Course``)."""

from __future__ import annotations

import time
from typing import Annotated

import streamlit as st

from app import compute
from app.links import Folder, Link, opened, whole
from app.problem_picker import folder_or, put_folder
from app.words import choice, kept
from model.training.dynamics import DynamicsRecord
from model.training.folder import RunFolder

NONE = "none"
LIVE_SECONDS = 300
"""A run without a result that wrote this recently is looked at again every few seconds."""


class Course(Link):
    """What Training shows; the moment is the newest."""

    run: Folder = ""
    """The run's folder, or a checkpoint's; empty for the first that is there."""
    beside: Folder = ""
    """Another that is set beside it; empty for none."""
    thought: Annotated[int, whole(1, 99)] = 1


def open_link() -> None:
    """Once a session: choose what the link asks for."""
    course = opened(Course, "t")
    if course is not None:
        listed = [str(path) for path in compute.run_folders()]
        put_folder("t_run", "t_folder", course.run or next(iter(listed), ""), listed)
        put_folder("t_beside_run", "t_beside_folder", course.beside or NONE, [NONE, *listed])
        st.session_state.t_thought = course.thought


def sidebar() -> tuple[str, str]:
    """The folder to show and the one to set beside it; empty for none."""
    listed = [str(path) for path in compute.run_folders()]
    where = "a run folder, or a checkpoint folder"
    with st.sidebar:
        st.markdown("#### Run")
        folder = folder_or("Run", "t_run", "t_folder", listed, placeholder=where, show=compute.short_path)
        st.markdown("#### Beside it", help="Another run in the same charts, dashed grey: a control trained by another "
                    "method, or another seed.")  # fmt: skip
        beside = folder_or(
            "Beside it", "t_beside_run", "t_beside_folder", [NONE, *listed], placeholder=where, show=compute.short_path
        )
    state = st.session_state
    state.t_folder_shown = folder or state.get("t_folder_shown", "")  # while no path is typed yet, the one from before
    return state.t_folder_shown, "" if beside == NONE else beside


def is_live(run: RunFolder) -> bool:
    """Whether more is to be expected: no result yet, and something was written lately."""
    ours = run.result is None and compute.is_run(run.path)
    return ours and time.time() - compute.last_written(run.path) < LIVE_SECONDS


def chosen(record: DynamicsRecord) -> tuple[int, int]:
    """The thought and the moment; at the newest moment the slider follows a run that is not over."""
    state, last = st.session_state, len(record.points) - 1
    thoughts = [numbers.thought for numbers in record.points[0].thoughts]
    same = state.get("t_shown") == (record.name, record.method, record.seed)
    if not same or state.get("t_at", 0) >= state.get("t_last", 0):
        state.t_at = last
    state.t_at = min(state.t_at, last)
    state.t_last, state.t_shown = last, (record.name, record.method, record.seed)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        thought = st.segmented_control(
            "Thought", **choice("t_thought", thoughts), required=True,
            help="Thought t is the state after t - 1 thoughts; it should hold the nodes at distance t "
            "(with c thoughts per step: t / c, rounded up).",
        )  # fmt: skip
        assert thought is not None
        if last:
            st.select_slider(
                "Moment of training", range(last + 1), **kept("t_at"),
                format_func=lambda i: f"{record.points[i].problems:,} problems, stage {record.points[i].stage}",
            )  # fmt: skip
    return thought, state.t_at
