"""Data set runs in the background of the app: one at a time, with progress, cancelled by a flag, kept in a folder.

The page draws a ``Job``; the work is ``probing.dataset.run.run_dataset``, which can be stopped at any moment and is
resumed from its folder when it is asked for again.
"""

from __future__ import annotations

import json
import re
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import streamlit as st

from app import compute, hosted
from model.errors import InputError
from model.files import short_hash
from model.problems.generate import Kind, generate
from model.problems.prosqa import ProsQAProblem, digest
from probing.dataset.findings import DatasetResult, RunModel
from probing.dataset.record import Settings, check_takes, make_sources, open_recording
from probing.dataset.recording import Recording
from probing.dataset.run import run_dataset
from probing.draw.of_report import question
from probing.read.categories import CATEGORIES

ASIDE = 5
"""Seconds that a run lets pages go before each of its chunks, at most."""


@dataclass(frozen=True)
class Order:
    """What is to be run."""

    problems: tuple[ProsQAProblem, ...]
    data: str
    """What the problems are called in the report."""
    checkpoint: str
    """Name of a shipped checkpoint, or a path."""
    compare: tuple[str, ...]
    analyses: tuple[str, ...]
    seed: int = 0

    def folder(self) -> Path:
        """Where it is kept: one folder for the same problems, checkpoints and seed, so that it can be resumed."""
        main = compute.folder(self.checkpoint)
        paths = [str(compute.folder(name).resolve()) for name in (self.checkpoint, *self.compare)]
        key = json.dumps([digest(self.problems), paths, self.seed])
        short = short_hash([key.encode()])[:8]
        name = re.sub(r"[^A-Za-z0-9]+", "-", f"{main.resolve().name} {Path(self.data).stem}").strip("-")[:60]
        return results_root() / f"{name}-{short}"


@dataclass(eq=False)
class Job:
    """A run that is running or has ended. Written by its thread, read by the page."""

    order: Order
    out: Path
    models: tuple[Path, ...]
    """Folders of the checkpoints."""
    stop: threading.Event = field(default_factory=threading.Event)
    progress: dict[str, tuple[int, int]] = field(default_factory=dict)
    """(done, of how many) of each part begun, in order; empty while it waits for another run."""
    outcome: str = ""
    """Empty while it runs; then ``finished``, ``cancelled``, ``late`` (it took longer than it may) or ``failed``."""
    error: str = ""
    """What was wrong with the input, where that was why it failed."""
    thread: threading.Thread | None = None

    @property
    def is_over(self) -> bool:
        return bool(self.outcome)

    @property
    def before(self) -> int:
        """How many runs are to end before it begins."""
        with _line_moves:
            return _line.index(self) if self in _line else 0

    def end(self) -> None:
        """Stop it, and wait until it has."""
        self.stop.set()
        if self.thread is not None:
            self.thread.join()


_jobs: dict[Path, Job] = {}
"""The job that is running, or waiting, for each folder."""
_line: list[Job] = []
"""Those that run or wait, in the order they came: one at a time, since two at once would only be slower."""
_line_moves = threading.Condition()


def start(order: Order) -> Job:
    """Begin a run in a thread of its own; a run that is already on, as after its tab was closed, is given again.

    Raises InputError for a checkpoint that is none or takes none of the problems, and as ``hosted.count_run`` does.
    """
    models = tuple(compute.folder(name) for name in (order.checkpoint, *order.compare))
    for source in make_sources(models[0], models[1:]):
        check_takes(source, order.problems, Settings(seed=order.seed))
    compute.need_graphs(order.checkpoint, *order.compare)
    job = Job(order, order.folder(), models)
    if (found := _jobs.get(job.out)) and not found.stop.is_set():
        return found
    hosted.count_run(len(order.problems), job.end)
    _jobs[job.out] = job
    _begin(job)
    return job


def running(order: Order) -> Job | None:
    """The run of an order that is running or waiting; None for none."""
    job = _jobs.get(order.folder())
    return None if job is None or job.stop.is_set() else job


def _begin(job: Job) -> None:
    with _line_moves:
        _line.append(job)
    job.thread = threading.Thread(target=_work, args=(job,), daemon=True)
    job.thread.start()


def _work(job: Job) -> None:
    try:
        job.outcome = _outcome(job)
    finally:
        with _line_moves:
            _line.remove(job)
            _line_moves.notify_all()
        job.outcome = job.outcome or "failed"
        if _jobs.get(job.out) is job:
            del _jobs[job.out]


def _outcome(job: Job) -> str:
    ends = 0.0

    def told(what: str, done: int, total: int) -> None:
        job.progress[what] = (done, total)

    def stopped() -> bool:
        """Asked before each chunk: what pages wait for goes before it, for a while."""
        compute.queue.quiet(ASIDE)
        return job.stop.is_set() or time.monotonic() > ends

    with _line_moves:
        while not job.stop.is_set() and _line[0] is not job:
            _line_moves.wait(0.5)
    if job.stop.is_set():
        return "cancelled"
    try:
        order, ends = job.order, time.monotonic() + 60 * hosted.LIMITS.minutes
        main, *compare = job.models
        result = run_dataset(
            make_sources(main, compare), order.problems, job.out, data=order.data,
            settings=Settings(seed=order.seed), analyses=order.analyses, progress=told, cancelled=stopped,
        )  # fmt: skip
        return "finished" if result is not None else "cancelled" if job.stop.is_set() else "late"
    except InputError as error:
        job.error = str(error)
        return "failed"


# --- problems and saved results ---------------------------------------------------------------------------------------


@st.cache_resource(max_entries=8, show_spinner="Making problems …")
def made(kind: Kind, n: int, seed: int, hops: tuple[int, int], nodes: tuple[int, int]) -> tuple[ProsQAProblem, ...]:
    """The first n generated problems of a seed. Raises InputError for ranges that cannot be met."""
    return tuple(generate(kind, n, seed, hops=hops, nodes=nodes))


def results_root() -> Path:
    return hosted.root(compute.RUNS) / "datasets"


def saved() -> list[Path]:
    """Folders of finished runs, the newest first."""
    found = [(path.stat().st_mtime, path.parent) for path in results_root().glob("*/result.json")]
    return [folder for _, folder in sorted(found, reverse=True)]


@st.cache_resource(max_entries=4, show_spinner="Reading the result …", hash_funcs=compute.KEYS)
def result(folder: Path) -> DatasetResult:
    """The result in a folder. Raises InputError if there is none, or it is damaged."""
    file = folder / "result.json"
    if not file.is_file():
        raise InputError(f"{folder}: no result.json; expected a folder written by 'probing dataset'")
    return DatasetResult.load(file)


BASELINE = {"target": "target", "neg_target": "distractor", "tie": "tie"}


@st.cache_resource(max_entries=4, show_spinner="Reading the problems …", hash_funcs=compute.KEYS)
def problems_table(folder: Path, model: RunModel) -> tuple[Recording, pd.DataFrame]:
    """A model's recording and one row per problem. Raises InputError if the recording is not there."""
    file = folder / model.folder / "rows.parquet"
    if not file.is_file():
        raise InputError(f"{file}: not there; the problems of a result are in the recording beside it")
    found = open_recording(folder, model, with_states=False)
    k = found.n_thoughts
    names = [problem.idx_to_symbol for problem in found.problems]
    table = pd.DataFrame(
        {
            "problem": found.numbers,
            "question": [question(problem) for problem in found.problems],
            "hops": found.n_hops,
            "nodes": [problem.n_nodes for problem in found.problems],
            "right": found.correct[:, k],
            "answer": [own[node] if node >= 0 else "–" for own, node in zip(names, found.answer[:, k], strict=True)],
            "P(target)": found.p_target[:, k].round(3),
            "category": [CATEGORIES[i] for i in found.category[:, k]],
            "right after k": ["".join("●" if right else "○" for right in row) for row in found.correct],
            "shortcut baseline": [BASELINE[said] for said in found.columns["blind_rule"]],
        }
    )
    return found, table
