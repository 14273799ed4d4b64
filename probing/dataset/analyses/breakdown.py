"""Where a model breaks: accuracy, frontier and categories by hops, nodes, edges and density."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from model.metrics import auroc_beyond
from model.problems.prosqa import ProsQAProblem
from model.stats import Floats
from probing.dataset.analyses.common import Runs, node_groups
from probing.dataset.cells import Cells, line
from probing.dataset.findings import Section
from probing.dataset.recording import Recording
from probing.draw.values import Chart
from probing.read.categories import CATEGORIES

PROPERTIES: dict[str, Callable[[ProsQAProblem], tuple[float, str]]] = {
    "hops": lambda problem: (problem.n_hops, str(problem.n_hops)),
    "nodes": lambda problem: _bin(problem.n_nodes, 4),
    "edges": lambda problem: _bin(len(problem.edges), 5),
    "density": lambda problem: _tenths(len(problem.edges) / problem.n_nodes),
}
"""Property: (order, label) of a problem's group. Density is edges over nodes."""
FRONTIER = "frontier AUROC"


def groups_of(recording: Recording, what: str) -> list[tuple[str, np.ndarray]]:
    """(label, rows) of each group of problems, in order."""
    found: dict[tuple[float, str], list[int]] = {}
    for row, problem in enumerate(recording.problems):
        found.setdefault(PROPERTIES[what](problem), []).append(row)
    return [(key[1], np.array(rows)) for key, rows in sorted(found.items())]


def search_auroc(recording: Recording) -> Floats:
    """``M``: AUROC of the frontier against nodes beyond it, mean over thoughts 1..hops; NaN where none is defined."""
    values = auroc_beyond(recording.logit[:, :-1], node_groups(recording))
    values[np.arange(1, recording.n_thoughts + 1) > recording.n_hops[:, None]] = np.nan
    count = (~np.isnan(values)).sum(axis=1)
    total: Floats = np.nansum(values, axis=1)
    return np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0)


def breakdown(runs: Runs) -> Section:
    """Accuracy, frontier AUROC and categories by hops, nodes, edges and density."""
    cells, main = Cells("breakdown"), runs.main
    for r in runs.recordings:
        auroc_of = search_auroc(r) if r.n_thoughts else None
        right, other = r.correct[:, -1], r.answer[:, -1] == np.array([problem.neg_target for problem in r.problems])
        flags = {
            "accuracy": right,
            "answered the other candidate": other,
            "answered neither candidate": ~right & ~other,
        }
        for what in PROPERTIES:
            for label, rows in groups_of(r, what):
                here = {"source": r.name, "group": f"{what} {label}"}
                for metric, found in flags.items():
                    cells.share(found[rows], metric=metric, step=r.n_thoughts, unit="share", **here)
                if auroc_of is not None:
                    cells.mean(auroc_of[rows], metric=FRONTIER, **here)
                for k in sorted({0, r.n_thoughts}) if what == "hops" else ():
                    for c, name in enumerate(CATEGORIES):
                        found = r.category[rows, k] == c
                        cells.share(found, metric=f"category: {name}", step=k, unit="share", **here)
    charts = []
    for metric, title, label in (
        ("accuracy", "Accuracy after all thoughts", "accuracy"),
        (FRONTIER, "Frontier against nodes beyond it, mean over thoughts 1..hops", "AUROC, beyond (logit lens)"),
    ):
        for what in PROPERTIES:
            series = []
            for r in runs.recordings:
                bars = {name: cells.of(metric, r.name, f"{what} {name}") for name, _ in groups_of(r, what)}
                if all(bars.values()):
                    each = [cell for (cell,) in bars.values()]
                    series.append(line(each, r.name, x=list(bars), control=runs.is_untrained(r)))
            charts.append(
                Chart(
                    name=f"{metric.split()[-1].lower()}_by_{what}", title=f"{title}, by {what}", kind="bars",
                    x_label="edges / nodes" if what == "density" else what, y_label=label, y_range=(0, 1),
                    series=tuple(series),
                )
            )  # fmt: skip
    by_hops = [c for label, _ in groups_of(main, "hops") for c in cells.of("accuracy", main.name, f"hops {label}")]
    said = "; ".join(f"{c.group.removeprefix('hops ')}: {c.text('percent')} (n = {c.n:,})" for c in by_hops)
    return runs.section(
        cells,
        charts,
        [f"By hops, {main.name} is right in {said}."],
        title="Generalisation: hops, size, density",
        shows="Where accuracy and the frontier pattern hold and where they break.",
        definition="Problems grouped by hops from the root to the target, by number of nodes (bins of 4), by number of "
        "edges (bins of 5) and by density (edges over nodes, bins of 0.2). Accuracy after all "
        "thoughts; the AUROC of the frontier against nodes beyond it, averaged over the thoughts up to the number of "
        "hops. How it breaks: whether a wrong answer is the other candidate or neither, and, by hops, the six "
        "categories after no thought and after all (table).",
        interval="Wilson 95 % for accuracy, over problems for AUROC; n of each group in the table.",
        control="The untrained model, and chance (0.5).",
        does_not_show="Hops, nodes, edges and density go together in these graphs, so a fall along one may be due to "
        "another. A group with few problems has a wide interval: read n.",
        paper="Out-of-distribution sets as in Martin 2026 and Cheng and Zhang 2026.",
    )


def _bin(value: int, width: int) -> tuple[float, str]:
    low = value // width * width
    return low, f"{low}-{low + width - 1}"


def _tenths(value: float) -> tuple[float, str]:
    low = int(value * 10 + 1e-9) // 2 * 2
    return low, f"{low / 10:.1f}-{(low + 2) / 10:.1f}"
