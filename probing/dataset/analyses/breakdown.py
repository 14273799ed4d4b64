"""Where a model breaks: accuracy and frontier by hops, nodes and density; and models against each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.stats import binomtest, false_discovery_control

from model.metrics import auroc
from model.problems.prosqa import ProsQAProblem
from model.stats import Floats
from probing.dataset.analyses.common import Runs, node_groups
from probing.dataset.analyses.kswitch import _percent
from probing.dataset.cells import Cell, mean_cell, share_cell
from probing.dataset.findings import Chart, Published, Section, Series
from probing.dataset.recording import Recording
from probing.read.categories import CATEGORIES

PROPERTIES: dict[str, Callable[[ProsQAProblem], tuple[float, str]]] = {
    "hops": lambda problem: (problem.n_hops, str(problem.n_hops)),
    "nodes": lambda problem: _bin(problem.n_nodes, 4),
    "edges": lambda problem: _bin(len(problem.edges), 5),
    "density": lambda problem: _tenths(len(problem.edges) / problem.n_nodes),
}
"""Property: (order, label) of a problem's group. Density is edges over nodes."""


def groups_of(recording: Recording, what: str) -> list[tuple[str, np.ndarray]]:
    """(label, rows) of each group of problems, in order."""
    found: dict[tuple[float, str], list[int]] = {}
    for row, problem in enumerate(recording.problems):
        found.setdefault(PROPERTIES[what](problem), []).append(row)
    return [(key[1], np.array(rows)) for key, rows in sorted(found.items())]


def search_auroc(recording: Recording) -> Floats:
    """``M``: AUROC of the frontier against nodes beyond it, mean over thoughts 1..hops; NaN where none is defined."""
    groups = node_groups(recording)
    values = auroc(recording.logit[:, :-1], groups["frontier"], groups["not reached"])
    values[np.arange(1, recording.n_thoughts + 1) > recording.n_hops[:, None]] = np.nan
    count = (~np.isnan(values)).sum(axis=1)
    total: Floats = np.nansum(values, axis=1)
    return np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0)


def breakdown(runs: Runs) -> Section:
    """Accuracy, frontier AUROC and categories by hops, nodes and density."""
    cells: list[Cell] = []
    charts: list[Chart] = []
    main = runs.main
    for recording in runs.recordings:
        auroc_of = search_auroc(recording) if recording.n_thoughts else None
        other = recording.answer[:, -1] == np.array([problem.neg_target for problem in recording.problems])
        for what in PROPERTIES:
            for label, rows in groups_of(recording, what):
                here: dict[str, Any] = {"analysis": "breakdown", "source": recording.name, "group": f"{what} {label}"}
                right = recording.correct[rows, -1]
                for metric, flags in (
                    ("accuracy", right),
                    ("answered the other candidate", other[rows]),
                    ("answered neither candidate", ~right & ~other[rows]),
                ):
                    cells.append(share_cell(flags, metric=metric, step=recording.n_thoughts, unit="share", **here))
                if auroc_of is not None:
                    cells.append(mean_cell(auroc_of[rows], metric="frontier AUROC", **here))
                if what == "hops":
                    cells += [
                        share_cell(
                            recording.category[rows, k] == c, metric=f"category: {name}", step=k, unit="share", **here
                        )
                        for k in sorted({0, recording.n_thoughts})
                        for c, name in enumerate(CATEGORIES)
                    ]
    for metric, title, label in (
        ("accuracy", "Accuracy after all thoughts", "accuracy"),
        ("frontier AUROC", "Frontier against nodes beyond it, mean over thoughts 1..hops", "AUROC"),
    ):
        for what in PROPERTIES:
            series = []
            for recording in runs.recordings:
                found = [
                    c for c in cells if c.source == recording.name and c.metric == metric and c.group.split()[0] == what
                ]
                if found:
                    series.append(
                        Series(
                            name=recording.name, x=tuple(c.group.split(maxsplit=1)[1] for c in found),
                            y=tuple(c.value for c in found), low=tuple(c.low for c in found),
                            high=tuple(c.high for c in found), labels=tuple(f"n = {c.n}" for c in found),
                            control=runs.is_untrained(recording),
                        )
                    )  # fmt: skip
            charts.append(
                Chart(
                    name=f"{metric.split()[-1].lower()}_by_{what}", title=f"{title}, by {what}", kind="bars",
                    x_label="edges / nodes" if what == "density" else what, y_label=label, y_range=(0, 1),
                    series=tuple(series),
                )
            )  # fmt: skip
    by_hops = [c for c in cells if c.source == main.name and c.metric == "accuracy" and c.group.startswith("hops")]
    return Section(
        name="breakdown",
        title="In and out of distribution: hops, size, density",
        shows="Where accuracy and the frontier pattern hold and where they break.",
        definition="Problems grouped by hops from the root to the target, by number of nodes (bins of 4), by number of "
        "edges (bins of 5; three tokens each) and by density (edges over nodes, bins of 0.2). Accuracy after all "
        "thoughts; the AUROC of the frontier against nodes beyond it, averaged over the thoughts up to the number of "
        "hops. How it breaks: whether a wrong answer is the other candidate or neither, and, by hops, the six "
        "categories after no thought and after all (table).",
        interval="Wilson 95 % for accuracy, bootstrap over problems for AUROC; n of each group in the table.",
        control="The untrained model, and chance (0.5).",
        does_not_show="Hops, nodes, edges and density go together in these graphs, so a fall along one may be due to "
        "another. A group with few problems has a wide interval: read n.",
        paper="Out-of-distribution sets as in Martin 2026 and Cheng and Zhang 2026.",
        n=len(main),
        says=(
            f"By hops, {main.name} is right in "
            + "; ".join(f"{c.group.removeprefix('hops ')}: {_percent(c)} (n = {c.n:,})" for c in by_hops)
            + ".",
        ),
        cells=tuple(cells),
        charts=tuple(charts),
        published=(
            Published(
                what="Accuracy out of distribution, % (CoT / Coconut / pause / pause, 6 passes)",
                source="Martin 2026, independent, one seed",
                columns=("7 hops", "8 hops", "DAG", "dense"),
                rows=(
                    (
                        "10.7 / 66.0 / 75.4 / 76.9", "8.2 / 67.5 / 75.1 / 75.2",
                        "28.2 / 59.2 / 51.9 / 59.8", "14.1 / 61.2 / 68.4 / 64.8",
                    ),
                ),
                differs="Fine-tuned GPT-2 trained on the public file; other generator.",
            ),
        ),
    )  # fmt: skip


def mcnemar(ours: np.ndarray, theirs: np.ndarray) -> tuple[int, int, float]:
    """(only ours right, only theirs right, two-sided exact p) of two models on the same problems.

    McNemar's exact test: of the problems on which they differ, each side wins half if neither is better.
    """
    b, c = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
    return b, c, 1.0 if b + c == 0 else float(binomtest(b, b + c).pvalue)


def compare(runs: Runs) -> Section:
    """The main model against each other model on the same problems."""
    main = runs.main
    cells: list[Cell] = []
    tests: list[tuple[dict[str, Any], float]] = []
    for other in runs.recordings[1:]:
        _, ours, theirs = np.intersect1d(main.numbers, other.numbers, return_indices=True)
        steps = [("after all thoughts", -1, -1)]
        if other.n_thoughts and main.n_thoughts:
            steps += [(f"k = {k}", k, k) for k in range(min(main.n_thoughts, other.n_thoughts) + 1)]
        for label, k, j in steps:
            a, b = main.correct[ours, k], other.correct[theirs, j]
            what: dict[str, Any] = {"analysis": "compare", "source": main.name, "group": f"minus {other.name}, {label}"}
            cells.append(mean_cell(a.astype(float) - b, metric="accuracy difference", unit="share", **what))
            only_a, only_b, p = mcnemar(a, b)
            for metric, value in (("only this model right", only_a), ("only the other right", only_b)):
                cells.append(
                    Cell.model_validate({**what, "metric": metric, "value": value, "n": len(a), "unit": "problems"})
                )
            tests.append(({**what, "n": len(a)}, p))
    if tests:
        adjusted = false_discovery_control([p for _, p in tests])
        for (what, p), q in zip(tests, adjusted, strict=True):
            cells.append(Cell.model_validate({**what, "metric": "McNemar p", "value": p}))
            cells.append(Cell.model_validate({**what, "metric": "McNemar q", "value": float(q)}))
    final = [c for c in cells if c.metric == "accuracy difference" and c.group.endswith("after all thoughts")]
    p_of = {c.group: c for c in cells if c.metric == "McNemar q"}
    return Section(
        name="compare",
        title="Models side by side on the same problems",
        shows=f"How much more often {main.name} is right than each other model, on the same problems.",
        definition="Difference in accuracy, paired by problem. McNemar's exact test on the problems where exactly one "
        "of the two is right; q: p corrected over all these tests (Benjamini-Hochberg).",
        interval="Bootstrap over problems, 95 %.",
        control="The untrained model is one of those compared. The test itself is the null: neither model is better.",
        does_not_show="Equal accuracy does not show an equal mechanism: on the public data, pause models come within a "
        "percent of Coconut (McNemar p = .845 on 500 items, Martin 2026).",
        paper="Martin 2026 for the published comparison.",
        n=len(main),
        says=tuple(
            f"{c.source} {c.group.split(',')[0]}: {_percent(c)} points, q = {p_of[c.group].value:.2g} (n = {c.n:,})."
            for c in final
        ),
        cells=tuple(cells),
        charts=(
            Chart(
                name="compare", title="Difference in accuracy after all thoughts", kind="bars", x_label="against",
                y_label="difference in accuracy",
                series=(
                    Series(
                        name=main.name, x=tuple(c.group.split(",")[0] for c in final),
                        y=tuple(c.value for c in final), low=tuple(c.low for c in final),
                        high=tuple(c.high for c in final), labels=tuple(f"n = {c.n}" for c in final),
                    ),
                ),
            ),
        ),
    )  # fmt: skip


def _bin(value: int, width: int) -> tuple[float, str]:
    low = value // width * width
    return low, f"{low}-{low + width - 1}"


def _tenths(value: float) -> tuple[float, str]:
    low = int(value * 10 + 1e-9) // 2 * 2
    return low, f"{low / 10:.1f}-{(low + 2) / 10:.1f}"
