"""Run a data set: record every model once, then make every analysis from the recordings.

``run_dataset`` is what the command line and the app call. Its folder can be opened again at any time
(``DatasetResult.load(folder / "result.json")``), and a run that was stopped goes on where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from model.errors import InputError
from model.problems.prosqa import ProsQAProblem, digest
from model.values import Cancelled, Progress, silent
from probing.dataset.analyses.breakdown import breakdown, compare
from probing.dataset.analyses.common import Runs
from probing.dataset.analyses.geometry import geometry
from probing.dataset.analyses.kswitch import commitment, kswitch
from probing.dataset.analyses.node_values import entropy, height, parallelism, tree
from probing.dataset.analyses.probes import linear_probes, save_probes
from probing.dataset.analyses.superposition import attention, frontier_over_data, lens, superposition
from probing.dataset.findings import DatasetResult, Section
from probing.dataset.record import Settings, Source, open_recording, record_all
from probing.dataset.report_page import write_result

ANALYSES: dict[str, Callable[[Runs], Section]] = {
    "kswitch": kswitch,
    "tree": tree,
    "parallelism": parallelism,
    "height": height,
    "superposition": superposition,
    "frontier": frontier_over_data,
    "attention": attention,
    "lens": lens,
    "probes": linear_probes,
    "geometry": geometry,
    "entropy": entropy,
    "commitment": commitment,
    "breakdown": breakdown,
    "compare": compare,
}
"""Every analysis, in the order of the report."""
WITHOUT_THOUGHTS = ("kswitch", "breakdown", "compare")
"""Those that make sense where the main model has no thoughts."""


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
    ``table.csv``, ``figures/`` and ``report.html``. Stopped runs go on where they were. Raises as ``record_all``.
    """
    settings = settings or Settings()
    models = record_all(sources, problems, out, data=data, settings=settings, progress=progress, cancelled=cancelled)
    if models is None:
        return None
    runs = Runs(tuple(open_recording(out, model) for model in models), tuple(models), settings.seed)
    names = [name for name in analyses if runs.main.n_thoughts or name in WITHOUT_THOUGHTS]
    names = [name for name in names if len(runs.recordings) > 1 or name != "compare"]
    sections = []
    for i, name in enumerate(names):
        if cancelled():
            return None
        progress("analyses", i, len(names))
        if name == "probes":
            sections.append(linear_probes(runs, n_problems=n_probe_problems, progress=progress))
            for recording, model in zip(runs.recordings, models, strict=True):
                if recording.n_thoughts:
                    save_probes(recording, Path(out) / model.folder, n_problems=n_probe_problems)
        else:
            sections.append(tree(runs, tree_problem) if name == "tree" else ANALYSES[name](runs))
    progress("analyses", len(names), len(names))
    result = DatasetResult(
        data=data,
        data_hash=digest(problems),
        n_problems=len(problems),
        seed=settings.seed,
        models=tuple(models),
        sections=tuple(sections),
    )
    write_result(result, out, progress=progress)
    return result
