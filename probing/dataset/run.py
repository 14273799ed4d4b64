"""Run a data set: record every model once, then make every analysis from the recordings.

``run_dataset`` is what the command line and the app call. Its folder can be opened again at any time
(``DatasetResult.load(folder / "result.json")``), and a run that was stopped resumes where it was.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from model.errors import InputError
from model.files import held
from model.problems.prosqa import ProsQAProblem, digest
from model.values import Cancelled, Progress, silent
from probing.dataset.analyses.attention import attention
from probing.dataset.analyses.breakdown import breakdown
from probing.dataset.analyses.commitment import commitment
from probing.dataset.analyses.common import Runs
from probing.dataset.analyses.compare import compare
from probing.dataset.analyses.entropy import entropy
from probing.dataset.analyses.frontier import frontier
from probing.dataset.analyses.geometry import geometry
from probing.dataset.analyses.height import height
from probing.dataset.analyses.kswitch import kswitch
from probing.dataset.analyses.lens import lens
from probing.dataset.analyses.parallelism import parallelism
from probing.dataset.analyses.probes import linear_probes
from probing.dataset.analyses.superposition import superposition
from probing.dataset.analyses.tree import tree
from probing.dataset.findings import DatasetResult, Section
from probing.dataset.record import Settings, Source, open_recording, record_all
from probing.dataset.report_page import write_result


@dataclass(frozen=True)
class Analysis:
    """One way to look at the recordings of a run."""

    run: Callable[[Runs], Section]
    without_thoughts: bool = False
    """It makes sense where the main model has no thoughts."""
    n_models: int = 1
    """Models it needs."""

    def fits(self, runs: Runs) -> bool:
        return len(runs.recordings) >= self.n_models and (self.without_thoughts or runs.main.n_thoughts > 0)


ANALYSES: dict[str, Analysis] = {
    "kswitch": Analysis(kswitch, without_thoughts=True),
    "tree": Analysis(tree),
    "parallelism": Analysis(parallelism),
    "height": Analysis(height),
    "superposition": Analysis(superposition),
    "frontier": Analysis(frontier),
    "attention": Analysis(attention),
    "lens": Analysis(lens),
    "probes": Analysis(linear_probes),
    "geometry": Analysis(geometry),
    "entropy": Analysis(entropy),
    "commitment": Analysis(commitment),
    "breakdown": Analysis(breakdown, without_thoughts=True),
    "compare": Analysis(compare, without_thoughts=True, n_models=2),
}
"""Every analysis, in the order of the report."""


def choose_analyses(text: str) -> tuple[str, ...]:
    """Names from a list such as ``all``, ``kswitch,height`` or ``all,-probes``. Raises InputError for any other."""
    chosen: list[str] = []
    for word in (word.strip() for word in text.split(",")):
        name = word.removeprefix("-")
        if name != "all" and name not in ANALYSES:
            raise InputError(
                f"analysis {word!r} is not known; known are all, {', '.join(ANALYSES)}, and -NAME to leave out"
            )
        names = list(ANALYSES) if name == "all" else [name]
        chosen = [n for n in chosen if n not in names] if word.startswith("-") else [*chosen, *names]
    if not chosen:
        raise InputError(f"--analyses {text!r} chooses none; known are all, {', '.join(ANALYSES)}")
    return tuple(name for name in ANALYSES if name in chosen)


def run_dataset(
    sources: Sequence[Source],
    problems: Sequence[ProsQAProblem],
    out: str | Path,
    *,
    data: str,
    settings: Settings | None = None,
    analyses: Sequence[str] = tuple(ANALYSES),
    tree_problem: int | None = None,
    n_probe_problems: int = 300,
    progress: Progress = silent,
    cancelled: Cancelled = lambda: False,
) -> DatasetResult | None:
    """Record, analyse and write everything into ``out``; None if it was cancelled, or on any rank but the first.

    ``out`` gets a folder per model with its recording (``rows.parquet``, ``states.safetensors``), ``result.json``,
    ``table.csv``, ``figures/`` and ``report.html``. Stopped runs continue where they were. Raises as ``record_all``.
    """
    settings = settings or Settings()
    shared = int(os.environ.get("WORLD_SIZE", "1")) > 1  # ranks write one folder together
    with held(out, share=os.environ["RANK"] if shared else ""):
        models = record_all(
            sources, problems, out, data=data, settings=settings, progress=progress, cancelled=cancelled
        )
        if models is None:
            return None
        runs = Runs(
            tuple(open_recording(out, model) for model in models), tuple(models), settings.seed,
            tree_problem=tree_problem, n_probe_problems=n_probe_problems, out=Path(out), progress=progress,
        )  # fmt: skip
        names = [name for name in analyses if ANALYSES[name].fits(runs)]
        sections = []
        for i, name in enumerate(names):
            if cancelled():
                return None
            progress("analyses", i, len(names))
            sections.append(ANALYSES[name].run(runs))
        progress("analyses", len(names), len(names))
        result = DatasetResult(
            data=data, data_hash=digest(problems), n_problems=len(problems), seed=settings.seed, models=tuple(models),
            sections=tuple(sections),
        )  # fmt: skip
        write_result(result, out, progress=progress)
        return result
