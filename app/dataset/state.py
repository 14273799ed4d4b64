"""Dataset's state: what is to be run, the run in progress, and the result shown (``Reading``)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import streamlit as st
from pydantic import Field

from app import compute, hosted, jobs
from app.jobs import Order
from app.links import MAX_SEED, Flag, Folder, HopRange, Link, NodeRange, OneKind, Seed, Setup, opened, whole, write
from app.problem_picker import OTHER_FOLDER, folder_or, put_folder, ranges, upload
from app.words import attempt, kept, wrong
from model import checkpoint
from model.formats.graph import Graph
from model.problems.generate import KINDS, MAX_PROBLEMS
from model.problems.prosqa import ProsQAProblem
from probing.dataset.recording import CHUNK
from probing.dataset.run import ANALYSES

NONE = "none"
MODES = {"Open": ":material/insights: Results", "Run": ":material/add: New run"}
SHIPPED = checkpoint.DEFAULT_CHECKPOINT / "dataset"
"""A finished run that comes with the project: the main model and its control on the public validation file, n = 300,
its numbers rounded to five figures."""
SLOW = ("probes",)
RESUMES = f"Every {CHUNK} problems that were done are kept: the same run goes on from there."
USUAL = Setup()


class Reading(Link):
    """What Dataset shows of a result that is there, or of generated problems, the run of them that is described."""

    result: Folder = ""
    """Its folder; empty for the newest."""
    section: Annotated[str, Field(max_length=50, description="the name of an analysis, summary or problems")] = (
        "summary"
    )
    new: Annotated[Flag, Field(description="0 or 1")] = False
    """Whether a new run is described; what follows belongs to it."""
    kind: OneKind = USUAL.kind
    n: Annotated[int, whole(1, MAX_PROBLEMS)] = 200
    seed: Seed = 0
    hops: HopRange = USUAL.hops
    nodes: NodeRange = USUAL.nodes
    checkpoint: Folder = checkpoint.DEFAULT_CHECKPOINT.name
    compare: Folder = ""


def open_link() -> None:
    """Set what the link asks for; once a session, what the widgets of a new run begin with too."""
    state, reading = st.session_state, opened(Reading, "d")
    if reading is None:
        return
    if "d_mode" not in state:
        _begin_with()
    if reading.new:
        names = compute.models()
        state.update({f"d_{name}": getattr(reading, name) for name in ("kind", "seed", "hops", "nodes")})
        state.update(d_mode="Run", d_source="Generated", d_n=min(reading.n, hosted.LIMITS.problems), d_attach=True)
        put_folder("d_checkpoint", "d_checkpoint_folder", reading.checkpoint, names)
        put_folder("d_compare", "d_compare_folder", reading.compare or NONE, [NONE, *names])
        return
    listed = [hosted.name_of(path) for path in (*jobs.saved(), SHIPPED)]
    asked = compute.long_path(reading.result, listed)
    state.update(
        d_mode="Open",
        d_section=reading.section,
        d_result=OTHER_FOLDER if asked else None,
        d_folder=asked,
        d_shown=asked or listed[0],
    )


def _begin_with() -> None:
    """What the widgets of a new run are set to at first."""
    usual = checkpoint.DEFAULT_CHECKPOINT.name
    st.session_state.update(
        d_source="Generated",
        d_kind=KINDS[0],
        d_n=min(200, hosted.LIMITS.problems),
        d_seed=0,
        d_hops=USUAL.hops,
        d_nodes=USUAL.nodes,
        d_checkpoint=usual if usual in compute.shipped() else OTHER_FOLDER,
        d_compare=NONE,
        d_analyses=[name for name in ANALYSES if name not in SLOW],
    )


def titles() -> dict[str, str]:
    """What every analysis is called, as in the result that is shipped; its code name where that is not there."""
    known = {section.name: section.short_title for section in jobs.result(SHIPPED).sections}
    return {name: known.get(name, name) for name in ANALYSES}


def sidebar() -> Callable[[], Order] | None:
    """Draw the sidebar: the folder to show is set in the session's state. Gives what makes the run that is described;
    None where it is not ready, or where a result is looked at."""
    state = st.session_state
    with st.sidebar:
        st.segmented_control(
            "Mode", list(MODES), **kept("d_mode"), required=True, label_visibility="collapsed",
            format_func=MODES.__getitem__, width="stretch",
        )  # fmt: skip
        if state.d_mode == "Open":
            saved = [hosted.name_of(path) for path in (*jobs.saved(), SHIPPED)]
            names = {OTHER_FOLDER: OTHER_FOLDER, hosted.name_of(SHIPPED): "shipped: main model, public validation file"}
            folder = folder_or(
                "Result", "d_result", "d_folder", saved, placeholder="a folder with result.json", titled=True,
                models=False, show=lambda text: names.get(text, Path(text).name),
            )  # fmt: skip
            state.d_shown = folder or state.d_shown  # while no path is typed yet, the one from before
            return None
        st.markdown("#### Problems")
        problems, data = _problems()
        called = titles()
        with st.popover(f"Analyses: {len(state.d_analyses)} of {len(ANALYSES)}", width="stretch"):
            chosen = st.multiselect(
                "Analyses", list(ANALYSES), **kept("d_analyses"), label_visibility="collapsed",
                format_func=lambda name: f"{called[name]} (slow)" if name in SLOW else called[name],
            )  # fmt: skip
        st.markdown("#### Models", help="Fresh random weights of the first model's config are always run beside it.")
        main, beside = (
            folder_or(label, key, f"{key}_folder", options, placeholder="a checkpoint or run folder", titled=True)
            for label, key, options in (
                ("Checkpoint", "d_checkpoint", compute.models()),
                ("Compare with", "d_compare", [NONE, *compute.models()]),
            )
        )
    if problems is None or not main or not chosen or state.get("d_job") is not None:
        return None
    compare = (beside,) if beside and beside != NONE else ()
    if state.d_source == "Generated":
        about = {name: state[f"d_{name}"] for name in ("kind", "n", "seed", "hops", "nodes")}
        write(Reading(new=True, checkpoint=main, compare="".join(compare), **about), "d")
    return lambda: Order(problems, data, main, compare, tuple(name for name in ANALYSES if name in chosen))


def attach(make: Callable[[], Order] | None) -> None:
    """After a link to a new run: where just that runs already, as before the page was loaded anew, show it."""
    if st.session_state.pop("d_attach", False) and make is not None:
        job = attempt(lambda: jobs.running(make()))
        if job is not None:
            st.session_state.d_job = job


def begin(make: Callable[[], Order]) -> None:
    """Begin a run."""
    state = st.session_state
    state.d_job = attempt(lambda: jobs.start(make()))
    if state.d_job is not None:
        st.rerun()
    del state.d_job


def _problems() -> tuple[tuple[ProsQAProblem, ...] | None, str]:
    """The problems and what they are called; None where there are none yet, or where they are wrong."""
    state = st.session_state
    source = st.segmented_control(
        "Source", ["Generated", "File"], **kept("d_source"), required=True, label_visibility="collapsed"
    )
    if source == "Generated":
        left, right = st.columns(2)
        left.number_input("Problems (n)", 1, hosted.LIMITS.problems, step=100, **kept("d_n"))
        right.number_input("Seed", 0, MAX_SEED, step=1, **kept("d_seed"))
        ranges("d")
        name = f"{state.d_n} {state.d_kind} problems, seed {state.d_seed}"
        if (state.d_hops, state.d_nodes) != (USUAL.hops, USUAL.nodes):
            name += ", {}-{} hops, {}-{} nodes".format(*state.d_hops, *state.d_nodes)
        wanted = (state.d_kind, state.d_n, state.d_seed, state.d_hops, state.d_nodes)
        return attempt(lambda: jobs.made(*wanted)), name
    larger = "; larger files by the command `python -m probing dataset`, whose folder can be opened here"
    found = upload("d_upload", larger="" if hosted.LIMITS.hosted else larger)
    if found is None:
        return None, ""
    name, read = found
    problems = attempt(lambda: (read.ask(),)) if isinstance(read, Graph) else read
    if problems is None:
        return None, ""
    most = min(len(problems), hosted.LIMITS.problems)
    state.setdefault("d_first", most)
    state.d_first = min(max(state.d_first, 1), most)
    n = st.number_input(f"The first n of {len(problems):,} problems", 1, most, step=1, **kept("d_first"))
    return problems[:n], name


def take_over() -> None:
    """What became of a run that is over, said once; its result is shown."""
    state = st.session_state
    job = state.get("d_job")
    if job is None or not job.is_over:
        return
    del state.d_job
    if job.outcome == "finished":
        state.d_shown = state.d_result = hosted.name_of(job.out)
        state.d_mode = "Open"
        state.d_checkpoint_of = {state.d_shown: job.order.checkpoint}
    elif job.outcome == "cancelled":
        st.info(f"Cancelled. {RESUMES}", icon=":material/stop_circle:")
    elif job.outcome == "late":
        wrong(
            f"Stopped after {hosted.LIMITS.minutes:g} minutes, the most that a run may take on this server. {RESUMES}"
        )
    elif job.error:
        wrong(job.error)
    else:
        st.error("The run failed by a mistake of ours; the server's log has the details.", icon=":material/bug_report:")
