"""Height (Hao et al. 2024, section 5): the value of frontier nodes against their distance to the leaves."""

from __future__ import annotations

import numpy as np

from model.metrics import group_mean
from model.stats import Floats
from probing.dataset.analyses.common import SHUFFLED, Runs, node_groups, shuffled_mean
from probing.dataset.cells import Cells, line
from probing.dataset.findings import Section
from probing.dataset.recording import Recording
from probing.draw.values import Chart, Series

HEIGHTS = {"longest": "longest distance down to a leaf", "shortest": "shortest distance down to a leaf"}
MOST_HEIGHT = 6
SIDES = ("correct", "incorrect")


def heights(recording: Recording, which: str) -> Floats:
    """``M N``: height of each node (HEIGHTS), NaN on padding."""
    return recording.of_nodes([getattr(problem, f"height_{which}") for problem in recording.problems])


def height(runs: Runs) -> Section:
    """Value of frontier nodes against their height, for correct and incorrect nodes."""
    cells, main = Cells("height"), runs.main
    for r in runs.thinking:
        frontier, value = node_groups(r)["frontier"], r.value[:, :-1]
        correct = np.isfinite(r.distance_to_target)
        for which in HEIGHTS:
            tall = heights(r, which)
            for side in SIDES:
                for h in range(MOST_HEIGHT + 1):
                    members = frontier & ((correct == (side == "correct")) & r.is_node & (tall == h))[:, None, :]
                    if not members.any():
                        continue
                    found = {r.name: group_mean(value, members)}
                    if r is main:
                        found[SHUFFLED] = shuffled_mean(value, frontier, members)
                    for source, values in found.items():
                        for t in np.flatnonzero(members.any(axis=(0, 2))):
                            cells.mean(
                                values[:, t], metric="value", source=source, group=f"{which} height {h}, {side}",
                                step=int(t) + 1, unit="probability",
                            )  # fmt: skip

    def by_height(source: str, which: str, side: str, t: int, label: str = "") -> Series:
        found = {
            h: cell
            for h in range(MOST_HEIGHT + 1)
            for cell in cells.of("value", source, f"{which} height {h}, {side}")
            if cell.step == t
        }
        return line(list(found.values()), side + label, x=list(found), control=source == SHUFFLED)

    charts = [
        Chart(
            name=f"height_{which}_{t}", title=f"Thought {t}: value against height ({text})", kind="lines",
            x_label=f"height ({which})", y_label="mean value of a frontier node",
            series=tuple(
                by_height(source, which, side, t, label)
                for source, label in ((main.name, ""), (SHUFFLED, ", shuffled in the frontier")) for side in SIDES
            ),
        )
        for which, text in HEIGHTS.items() for t in range(1, min(2, main.n_thoughts) + 1)
    ]  # fmt: skip
    low = [(side, cells.of("value", main.name, f"shortest height 1, {side}")) for side in SIDES]
    return runs.section(
        cells,
        charts,
        (
            f"Thought 1, mean value of {side} frontier nodes one step above a leaf (shortest): {found[0].text()} "
            f"(n = {found[0].n:,})."
            for side, found in low
            if found and found[0].step == 1
        ),
        title="Value vs. distance to leaf: height",
        shows="Whether nodes near the leaves are judged better: the value of correct and incorrect frontier nodes by "
        "their height.",
        definition="Nodes at distance t from the root, in thought t. Correct: the target can be reached from it. "
        "Height by both of the paper's definitions, longest (caption of its tree figure) and shortest (its text) "
        "distance down to a leaf. Averaged within a problem, then over the problems that have such a node.",
        interval="Over problems, 95 %; n counts problems, and differs from point to point.",
        control="Values shuffled among the frontier nodes of the same thought (exact mean over shuffles), which keeps "
        "how much the frontier holds and loses which node holds it; the untrained model is in the table.",
        does_not_show="Height goes with distance from the root, number of siblings and frontier size, so a slope is "
        "not by itself foresight.",
        paper="Hao et al. 2024 (arXiv 2412.06769), section 5, height figure (no numbers printed).",
    )
