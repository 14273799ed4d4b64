"""Is each thought the search frontier? Every frontier metric by thought, beside its controls."""

from __future__ import annotations

import numpy as np

from model.metrics import METRICS, N_SHUFFLES, depth_reader, frontier_metrics, shuffled
from model.stats import Floats
from probing.dataset.analyses.common import SHUFFLED, Runs, node_groups
from probing.dataset.cells import Cells
from probing.dataset.findings import Section
from probing.dataset.recording import Recording
from probing.draw.values import Chart

FRONTIER_METRICS = (
    "auroc_other_root",
    "auroc_all",
    "auroc_beyond",
    "average_precision",
    "mass_frontier",
    "mass_optimal",
    "mass_passed",
    "mass_beyond",
    "effective_nodes",
    "best_rank",
)
BASE_RATE = "base rate"
DEPTH = "depth reader"
OF_DEPTH = ("auroc_all", "auroc_beyond", "average_precision", "mass_frontier", "mass_optimal")
"""Metrics that the depth reader has; head to head it is at .5 by its make."""


def frontier_values(recording: Recording, logit: Floats, value: Floats) -> dict[str, Floats]:
    """FRONTIER_METRICS for thoughts 1..K from scores ``M K N``, ``M K`` each; as ``model.metrics`` defines them.

    The one difference: the mass of an empty group is undefined here, where there it is 0.
    """
    groups = node_groups(recording)
    found = frontier_metrics(value, logit, groups, is_node=recording.is_node[:, None, :])
    for metric in FRONTIER_METRICS:
        if metric.startswith("mass_"):
            found[metric] = np.where(groups[metric.removeprefix("mass_")].any(axis=-1), found[metric], np.nan)
    return {metric: found[metric] for metric in FRONTIER_METRICS}


def frontier(runs: Runs) -> Section:
    """Every frontier metric by thought, beside other root, depth reader, shuffled labels and the untrained model."""
    cells, main = Cells("frontier"), runs.main

    def put(found: dict[str, Floats], source: str) -> None:
        for metric, values in found.items():
            cells.means(values, first=1, metric=metric, source=source, unit=METRICS[metric].unit)

    for r in runs.thinking:
        logit, value, members = r.logit[:, :-1], r.value[:, :-1], r.is_node[:, None, :]
        put(frontier_values(r, logit, value), r.name)
        if r is main:
            nulls = []
            for i in range(N_SHUFFLES):
                alike = [shuffled(x, members, np.random.default_rng([runs.seed, i])) for x in (logit, value)]
                nulls.append(frontier_values(r, *alike))
            put({metric: np.mean([null[metric] for null in nulls], axis=0) for metric in FRONTIER_METRICS}, SHUFFLED)
            readers = [depth_reader(problem, r.n_thoughts) for problem in r.problems]
            reader = np.stack([r.of_nodes([of[t] for of in readers]) for t in range(r.n_thoughts)], axis=1)
            share = reader / np.maximum(np.nansum(reader, axis=-1, keepdims=True), 1)
            depth = frontier_values(r, reader, np.nan_to_num(share))
            put({metric: depth[metric] for metric in OF_DEPTH}, DEPTH)
            size = node_groups(r)["frontier"].sum(axis=-1)
            base = np.where(size > 0, size / r.is_node.sum(axis=1)[:, None], np.nan)
            cells.means(base, first=1, metric="average_precision", source=BASE_RATE, unit="share")
    charts = []
    for metric in FRONTIER_METRICS:
        what = METRICS[metric]
        controls = [SHUFFLED, *[DEPTH] * (metric in OF_DEPTH), *[BASE_RATE] * (metric == "average_precision")]
        charts.append(
            Chart(
                name=f"frontier_{metric}", title=f"{what.label}: {what.definition}", kind="lines",
                x_label="thought t", y_label=what.label if not what.unit else f"{what.label} ({what.unit})",
                series=runs.lines(cells, metric, controls=controls),
            )
        )  # fmt: skip
    heads, beyond, depths = (
        cells.of(metric, source)
        for metric, source in (("auroc_other_root", main.name), ("auroc_beyond", main.name), ("auroc_beyond", DEPTH))
    )
    return runs.section(
        cells,
        charts,
        (
            f"Thought {head.step}: AUROC of the frontier {head.text()} against the other root's (.5 without knowing "
            f"the root; n = {head.n:,}), {ours.text()} against nodes beyond (the depth reader {depth.text()})."
            for head, ours, depth in list(zip(heads, beyond, depths, strict=True))[:3]
        ),
        title="Frontier decoding: how the search frontier stands out in each thought",
        shows="How well the nodes at distance t stand out in thought t, from its logits alone: nothing is fitted.",
        definition="; ".join(f"{METRICS[m].label}: {METRICS[m].definition}" for m in FRONTIER_METRICS)
        + ". Strict breadth-first layers; a metric is undefined where a group it needs is empty.",
        interval="Over problems, 95 %; n counts the problems where the metric is defined.",
        control="The counterfactual question's frontier, head to head; the depth reader, which knows how deep below "
        f"any parentless node each node lies, but not the root; node labels shuffled within each problem (mean of "
        f"{N_SHUFFLES}); the untrained model; for average precision the base rate.",
        does_not_show="Decodable is not used: a frontier that can be read out need not decide the answer. AUROC, all "
        "counts nodes nearer than t among the negatives, AUROC, beyond leaves them out; neither says how the "
        "frontier came about.",
        paper="Zhu et al. 2025 (arXiv 2505.12514), section 5, in numbers with controls.",
    )
