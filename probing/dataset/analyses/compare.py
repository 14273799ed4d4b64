"""Models against each other on the same problems, paired."""

from __future__ import annotations

import numpy as np
from scipy.stats import binomtest, false_discovery_control

from model.stats import below
from probing.dataset.analyses.common import Runs
from probing.dataset.cells import Cells, line
from probing.dataset.findings import Section
from probing.draw.values import Chart


def mcnemar(ours: np.ndarray, theirs: np.ndarray) -> tuple[int, int, float]:
    """(only ours right, only theirs right, two-sided exact p) of two models on the same problems.

    McNemar's exact test: of the problems on which they differ, each side wins half if neither is better.
    """
    b, c = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
    return b, c, 1.0 if b + c == 0 else float(binomtest(b, b + c).pvalue)


def compare(runs: Runs) -> Section:
    """The main model against each other model on the same problems."""
    cells, main = Cells("compare"), runs.main
    tests: dict[str, tuple[int, float]] = {}
    final = {}
    for other in runs.recordings[1:]:
        _, ours, theirs = np.intersect1d(main.numbers, other.numbers, return_indices=True)
        steps = [("after all thoughts", -1)]
        if other.n_thoughts and main.n_thoughts:
            # The last k is the first test again where both have as many thoughts.
            last = min(main.n_thoughts, other.n_thoughts) - (main.n_thoughts == other.n_thoughts)
            steps += [(f"k = {k}", k) for k in range(last + 1)]
        for label, k in steps:
            a, b = main.correct[ours, k], other.correct[theirs, k]
            what = {"source": main.name, "group": f"minus {other.name}, {label}"}
            change = cells.mean(a.astype(float) - b, metric="accuracy difference", unit="share", **what)
            if k == -1:
                final[other.name] = change
            only_a, only_b, p = mcnemar(a, b)
            for metric, value in (("only this model right", only_a), ("only the other right", only_b)):
                cells.add(value, n=len(a), metric=metric, unit="problems", **what)
            tests[what["group"]] = len(a), p
    q_of = {}
    adjusted = false_discovery_control([p for _, p in tests.values()])
    for (group, (n, p)), q in zip(tests.items(), adjusted, strict=True):
        cells.add(p, n=n, metric="McNemar p", source=main.name, group=group)
        cells.add(float(q), n=n, metric="McNemar q", source=main.name, group=group)
        q_of[group] = float(q)
    chart = Chart(
        name="compare", title="Difference in accuracy after all thoughts", kind="bars", x_label="against",
        y_label="difference in accuracy", series=(line(list(final.values()), main.name, x=list(final)),),
    )  # fmt: skip
    return runs.section(
        cells,
        [chart],
        (
            f"{c.source}: {c.text('points')} against {other} (q {below(q_of[c.group])}; n = {c.n:,})."
            for other, c in final.items()
        ),
        title="Models side by side: accuracy on the same problems",
        shows=f"How much more often {main.name} is right than each other model, on the same problems.",
        definition="Difference in accuracy, paired by problem. McNemar's exact test on the problems where exactly one "
        "of the two is right; q: p corrected over all these tests (Benjamini-Hochberg).",
        interval="Over problems, 95 %.",
        control="The untrained model is one of those compared. The test itself is the null: neither model is better.",
        does_not_show="Equal accuracy does not show an equal mechanism: on the public data, pause models come within a "
        "percent of Coconut (McNemar p = .845 on 500 items, Martin 2026).",
        paper="Martin 2026 for the published comparison.",
    )
