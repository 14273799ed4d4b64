"""Commitment: from which number of thoughts on the answer is fixed, and how the probability of the target moves."""

from __future__ import annotations

import numpy as np

from probing.dataset.analyses.common import Runs
from probing.dataset.cells import Cells
from probing.dataset.findings import Section
from probing.dataset.recording import Recording
from probing.draw.values import Chart, Series

FIXED = "answer fixed by k"
N_LINES = 40


def commitment_step(recording: Recording) -> np.ndarray:
    """``M``: the first k from which on the generated answer is the one after all thoughts."""
    same = recording.answer == recording.answer[:, -1:]
    return (~np.logical_and.accumulate(same[:, ::-1], axis=1)).sum(axis=1)


def commitment(runs: Runs) -> Section:
    """When the answer is fixed, and how the probability of the target moves."""
    cells, main = Cells("commitment"), runs.main
    rises = "P(target) higher after all thoughts than after none"
    for r in runs.thinking:
        step = commitment_step(r)[r.answer[:, -1] >= 0]
        cells.shares(step[:, None] <= np.arange(r.n_thoughts + 1), metric=FIXED, source=r.name, unit="share")
        cells.means(r.p_target, first=0, metric="p_target", source=r.name, unit="probability")
        cells.means(r.p_neg_target, first=0, metric="p_neg_target", source=r.name, unit="probability")
        cells.share(r.p_target[:, -1] > r.p_target[:, 0], metric=rises, source=r.name, unit="share")
    fixed, rise = cells.of(FIXED, main.name), cells.of(rises, main.name)[0]
    later = fixed[min(3, main.n_thoughts)]
    ks = tuple(range(main.n_thoughts + 1))
    charts = [
        Chart(
            name="commitment", title="Share of problems whose final answer is fixed by k", kind="lines",
            x_label="thoughts k", y_label="share of problems", series=runs.lines(cells, FIXED), y_range=(0, 1),
        ),
        Chart(
            name="p_target", title="Probability of the target when [A] is written after k thoughts", kind="lines",
            x_label="thoughts k", y_label="probability", y_range=(0, 1),
            series=(
                *runs.lines(cells, "p_target"), cells.line("p_neg_target", main.name, name="other candidate"),
            ),
        ),
        Chart(
            name="p_target_trajectories", kind="lines",
            title=f"P(target) of the first {min(N_LINES, len(main))} problems, one line per problem",
            x_label="thoughts k", y_label="probability", y_range=(0, 1),
            series=tuple(
                Series(name=f"problem {number}", x=ks, y=tuple(p.tolist()))
                for number, p in zip(main.numbers[:N_LINES], main.p_target, strict=False)
            ),
        ),
    ]  # fmt: skip
    return runs.section(
        cells,
        charts,
        (
            f"The final answer of {main.name} is fixed without a thought in {fixed[0].text('percent')}, by "
            f"k = {later.step} in {later.text('percent')} (n = {later.n:,}).",
            f"P(target) is higher after all thoughts than after none in {rise.text('percent')}.",
        ),
        title="Commitment: when the answer is fixed",
        shows="From which number of thoughts on the generated answer no longer changes, and the probability of the "
        "target when the answer is forced at once.",
        definition="Fixed by k: the answer generated after j thoughts is the one generated after all of them, for "
        "every j >= k; of problems that get an answer at all. P(target): probability of the target when an answer is "
        "forced right after thought k.",
        interval="Wilson 95 % for shares; over problems, 95 %, for means.",
        control="The untrained model, which has no answer to commit to; the other candidate's probability.",
        does_not_show="A late commitment does not show that the thoughts before it were necessary, nor an early one "
        "that later thoughts are idle: see the interventions of the verdict sheet.",
        paper="Li et al. 2026 (arXiv 2602.08783), early decodability; Aswal et al. 2026 (arXiv 2606.12689).",
    )
