"""k-switch (Hao et al. 2024, section 5): stop after k thoughts, let the model write on, sort what it wrote."""

from __future__ import annotations

import numpy as np

from probing.dataset.analyses.common import Runs
from probing.dataset.cells import Cells
from probing.dataset.findings import Section
from probing.draw.values import Chart, Series
from probing.read.categories import CATEGORIES, DEFINITIONS

BASELINE = "shortcut baseline"
AS_HOPS = "accuracy, as many thoughts as hops"


def kswitch(runs: Runs) -> Section:
    """Accuracy, answers that contradict their path, and the six categories, which add up to 1, by k."""
    cells, main = Cells("kswitch"), runs.main
    for r in runs.recordings:
        cells.shares(r.correct, metric="accuracy", source=r.name, unit="share")
        for name, right in (("free", r.correct), ("forced", r.p_target > r.p_neg_target)) if r.n_thoughts else ():
            rows = np.flatnonzero(r.n_hops <= r.n_thoughts)
            cells.share(right[rows, r.n_hops[rows]], metric=AS_HOPS, source=r.name, group=name, unit="share")
        for k in range(r.n_thoughts + 1):
            paths = [(paths[k], answers[k]) for paths, answers in zip(r.columns["path"], r.answer, strict=True)]
            against = np.array([path[-1] != answer for path, answer in paths if len(path)], dtype=bool)
            cells.share(against, metric="answer contradicts path", source=r.name, step=k, unit="share")
        for c, name in enumerate(CATEGORIES):
            cells.shares(r.category == c, metric="category", source=r.name, group=name, unit="share")
    half = {"target": 1, "tie": 0.5}
    by_rule = [half.get(answer, 0) for answer in main.columns["blind_rule"]]
    baseline = cells.share(by_rule, metric="accuracy", source=BASELINE, unit="share")
    accuracy, last = cells.of("accuracy", main.name), main.n_thoughts
    final = accuracy[last]
    says = [
        f"In free generation after {last} thoughts, {main.name} answers {final.text('percent')} right "
        f"(n = {final.n:,})."
    ]
    if last:
        free, forced = (cells.of(AS_HOPS, main.name, group)[0] for group in ("free", "forced"))
        says.append(
            f"After as many thoughts as the target is hops away, {free.text('percent')} in free generation and "
            f"{forced.text('percent')} when an answer is forced (n = {free.n:,})."
        )
        says.append(f"Without a thought, the same weights answer {accuracy[0].text('percent')} right.")
    says.append(
        f"The shortcut baseline, which never looks at the queried entity, is right in {baseline.text('percent')}; "
        "chance is 50 %."
    )
    return runs.section(
        cells,
        _charts(runs, cells),
        says,
        title="Accuracy by number of thoughts (k-switch)",
        shows="The model is stopped after k = 0, 1, ... thoughts and goes into free generation in language: the "
        "rest of its path, then its answer. Each continuation falls in exactly one of six categories.",
        definition="Accuracy: the first answer written is the target; no answer counts as wrong. Categories: "
        + "; ".join(f"{name}: {text}" for name, text in DEFINITIONS.items())
        + ". A completion is a walk of exactly k hidden edges from the root, an edge to the first printed node, and "
        "the printed edges. A printed path is judged by its nodes; whether the answer agrees is a number of its own.",
        interval="Wilson 95 % over problems.",
        control="The untrained model (fresh weights of the same config), the shortcut baseline that picks the "
        "candidate with the deeper backward search and never looks at the queried entity (ties count half), and "
        "chance (50 %).",
        does_not_show="That accuracy rises with k does not show that thoughts search: models trained with pauses in "
        "place of thoughts, on the same curriculum, do as well on the public data. A model trained without mixing of "
        "stages (uniform_prob 0) was never trained to write after fewer than its last k.",
        paper="Hao et al. 2024 (arXiv 2412.06769), section 5 and appendix.",
    )


def _charts(runs: Runs, cells: Cells) -> list[Chart]:
    ks = range(max(r.n_thoughts for r in runs.recordings) + 1)
    charts = [
        Chart(
            name="accuracy_by_k", title="Accuracy in free generation after k thoughts", kind="lines",
            x_label="thoughts k", y_label="accuracy", y_range=(0, 1),
            series=(
                *runs.lines(cells, "accuracy", all_=True),
                *(
                    Series(name=name, x=tuple(ks), y=(value,) * len(ks), control=True)
                    for name, value in ((BASELINE, cells[-1].value), ("chance", 0.5))
                ),
            ),
        )
    ]  # fmt: skip
    silent = [r for r in runs.recordings if r.n_thoughts == 0]
    for recording in runs.thinking or silent[:1]:
        beside = [r for r in silent if r is not recording] if recording is runs.main else []
        bars = [(recording, k, f"k = {k}") for k in range(recording.n_thoughts + 1)]
        bars += [(other, 0, other.name) for other in beside]
        charts.append(
            Chart(
                name=f"categories_{recording.name}", kind="stacked", y_range=(0, 1),
                title=f"What {recording.name} writes after k thoughts (n = {len(recording):,})",
                x_label="thoughts k", y_label="share of problems",
                series=tuple(
                    Series(
                        name=name, x=tuple(label for _, _, label in bars),
                        y=tuple(float((r.category[:, k] == c).mean()) for r, k, _ in bars),
                    )
                    for c, name in enumerate(CATEGORIES)
                ),
            )
        )  # fmt: skip
    return charts
