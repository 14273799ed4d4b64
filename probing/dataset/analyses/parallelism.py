"""Parallelism (Hao et al. 2024, section 5): how many nodes a thought holds.

The **value** of a node after k thoughts is the probability of its name as the next thing written: the product of the
probabilities of its tokens. Raw values leave mass over for everything that is no node; normalised values are divided
by the sum over the graph's nodes.
"""

from __future__ import annotations

import numpy as np

from model.stats import Floats
from probing.dataset.analyses.common import READ, Runs
from probing.dataset.cells import Cells
from probing.dataset.findings import Section
from probing.draw.values import Chart, Series

TOP = (1, 2, 3)
GAP = "top-3 minus top-1"
PERCENTILES = tuple(range(0, 101, 2))


def cumulative_top(value: Floats) -> Floats:
    """``... 3``: sum of the highest 1, 2 and 3 values along the last axis; NaN counts as nothing."""
    best = -np.sort(-np.nan_to_num(value), axis=-1)[..., : len(TOP)]
    best = np.concatenate([best, np.zeros((*best.shape[:-1], len(TOP) - best.shape[-1]))], axis=-1)
    return best.cumsum(axis=-1)


def parallelism(runs: Runs) -> Section:
    """Cumulative top-1/2/3 values and their gap, by thought."""
    cells, main = Cells("parallelism"), runs.main
    for r in runs.thinking:
        raw = r.value[:, :-1]
        for kind, values in (("raw", raw), ("normalised", raw / np.nansum(raw, axis=-1, keepdims=True))):
            tops = cumulative_top(values)
            for metric, found in (
                *((f"top-{top}", tops[..., i]) for i, top in enumerate(TOP)),
                (GAP, tops[..., 2] - tops[..., 0]),
            ):
                cells.means(found, first=1, metric=metric, source=r.name, group=kind, unit="probability")
        cells.means(r.left_over[:, :-1], first=1, metric="left over", source=r.name, unit="probability")
    tops = cumulative_top(main.value[:, :-1])
    charts = [
        Chart(
            name=f"parallelism_{t}", title=f"Thought {t}: cumulative value of the best nodes", kind="lines",
            x_label="percentile of problems", y_label="cumulative value", y_range=(0, 1),
            series=tuple(
                Series(
                    name=f"top-{top}", x=PERCENTILES,
                    y=tuple(np.percentile(tops[:, t - 1, i], PERCENTILES).tolist()),
                )
                for i, top in enumerate(TOP)
            ),
        )
        for t in range(1, min(4, main.n_thoughts) + 1)
    ]  # fmt: skip
    charts.append(
        Chart(
            name="parallelism_gap", title="Top-3 minus top-1: how much is held beside the best node", kind="lines",
            x_label="thought t", y_label="probability", series=runs.lines(cells, GAP, "raw"),
        )
    )  # fmt: skip
    return runs.section(
        cells,
        charts,
        (f"Thought {c.step}: {GAP} is {c.text()} (n = {c.n:,})." for c in cells.of(GAP, main.name, "raw")[:4]),
        title="Parallelism: how many nodes a thought holds",
        shows="The cumulative value of the best one, two and three nodes in each thought, problem by problem (sorted).",
        definition=f"Value of a node in thought t: {READ}. "
        "Top-i: sum of the i highest values of any nodes of the graph, right or wrong. Wide gaps mean that several "
        "nodes are held. Raw and normalised among nodes; 'left over' is what raw values leave to non-nodes.",
        interval="Over problems, 95 %.",
        control="The untrained model. A shuffle of labels changes nothing here, so a gap alone does not say that the "
        "nodes held are the right ones: see the frontier section.",
        does_not_show="A model that is unsure and a model that searches in parallel both have wide gaps. Narrowing "
        "gaps also come with the frontier's own size, which shrinks after hop 2 in these graphs.",
        paper="Hao et al. 2024 (arXiv 2412.06769), section 5, parallelism figure (no numbers printed).",
    )
