"""Entropy, best node and mass over the candidate next nodes (Aswal et al. 2026)."""

from __future__ import annotations

import numpy as np

from model.metrics import N_SHUFFLES, mass, shuffled
from model.metrics import entropy as entropy_in
from model.stats import Floats
from probing.dataset.analyses.common import SHUFFLED, Runs, node_groups
from probing.dataset.analyses.parallelism import cumulative_top
from probing.dataset.cells import Cells
from probing.dataset.findings import Section
from probing.dataset.recording import Recording
from probing.draw.values import Chart

OVER_FRONTIER = "entropy over the frontier"


def entropy(runs: Runs) -> Section:
    """Entropy, top-1 and mass over the candidate next nodes by k."""
    cells, main = Cells("entropy"), runs.main
    for r in runs.thinking:
        value = r.value[:, :-1]
        versions = {r.name: [value]}
        if r is main:
            rngs = [np.random.default_rng([runs.seed, i]) for i in range(N_SHUFFLES)]
            versions[SHUFFLED] = [shuffled(value, r.is_node[:, None, :], rng) for rng in rngs]
        for source, values in versions.items():
            found = [_numbers(r, v) for v in values]
            for metric in found[0]:
                cells.means(np.mean([f[metric] for f in found], axis=0), first=0, metric=metric, source=source)
    charts = [
        Chart(
            name=f"entropy_{name}", title=title, kind="lines", x_label="thoughts k", y_label=label, y_range=(0, 1),
            series=runs.lines(cells, metric, controls=[SHUFFLED]),
        )
        for metric, name, title, label in (
            (OVER_FRONTIER, "frontier", "Normalised entropy over the frontier", "entropy / log n"),
            ("entropy over all nodes", "nodes", "Normalised entropy over all nodes", "entropy / log n"),
            ("top-1 correct", "top1", "The best node is on a shortest path, at hop k + 1", "share of problems"),
        )
    ]  # fmt: skip
    return runs.section(
        cells,
        charts,
        (f"k = {c.step}: {OVER_FRONTIER} {c.text()} (n = {c.n:,})." for c in cells.of(OVER_FRONTIER, main.name)[:4]),
        title="Entropy over candidates",
        shows="How spread each thought is over the nodes it could go to next.",
        definition="After k thoughts: entropy of the values among the candidates, over the log of their number (1: all "
        "alike, 0: one node). Candidates are the nodes at hop k + 1, or all nodes of the graph. Only problems whose "
        "target is more than k hops away; the frontier entropy needs two candidates or more. Top-1 correct: the "
        "highest node of the whole graph lies on a shortest path at hop k + 1.",
        interval="Over problems, 95 %.",
        control="Node labels shuffled within each problem; the untrained model.",
        does_not_show="Low entropy on the right node can come from the curriculum alone: pause models, which carry "
        "nothing from thought to thought, show the same fall on the public data (Aswal et al.).",
        paper="Aswal et al. 2026 (arXiv 2606.12689).",
    )


def _numbers(recording: Recording, value: Floats) -> dict[str, Floats]:
    """``M K`` each, for values ``M K N``; NaN once the target is no more than k hops away."""
    groups = node_groups(recording)
    frontier, best = groups["frontier"], np.nanargmax(value, axis=-1)[..., None]
    tops = cumulative_top(np.where(frontier, value, 0))
    found = {
        OVER_FRONTIER: entropy_in(value, frontier, normalised=True),
        "entropy over all nodes": entropy_in(value, recording.is_node[:, None, :], normalised=True),
        "top-1 correct": np.take_along_axis(groups["optimal"], best, axis=-1)[..., 0].astype(float),
        "mass on the frontier": mass(value, frontier),
        "frontier top-3 minus top-1": tops[..., 2] - tops[..., 0],
    }
    searching = np.arange(recording.n_thoughts) < recording.n_hops[:, None]
    return {name: np.where(searching, values, np.nan) for name, values in found.items()}
