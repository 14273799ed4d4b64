"""k-switch (Hao et al. 2024, section 5): stop after k thoughts, let the model write on, sort what it wrote."""

from __future__ import annotations

from typing import Any

import numpy as np

from probing.dataset.analyses.common import Runs
from probing.dataset.cells import Cell, mean_cells, share_cell
from probing.dataset.findings import Chart, Published, Section, Series, lines
from probing.dataset.recording import Recording
from probing.read.categories import CATEGORIES, DEFINITIONS

NAME = "kswitch"


def kswitch(runs: Runs) -> Section:
    """Accuracy and the six categories by number of thoughts."""
    cells: list[Cell] = []
    for recording in runs.recordings:
        cells += accuracy_cells(recording)
        cells += category_cells(recording)
    rule = [problem == "target" for problem in runs.main.columns["blind_rule"]]
    ties = [problem == "tie" for problem in runs.main.columns["blind_rule"]]
    blind = share_cell(
        np.array(rule) + np.array(ties) / 2, analysis=NAME, metric="accuracy", source="root-blind rule", unit="share"
    )
    cells.append(blind)
    main = runs.main
    last = main.n_thoughts
    final = next(cell for cell in cells if cell.metric == "accuracy" and cell.step == last)
    first = next(cell for cell in cells if cell.metric == "accuracy" and cell.step == 0)
    says = [f"Left to write on after {last} thoughts, {main.name} answers {_percent(final)} right (n = {final.n:,})."]
    if last:
        says.append(f"Without a thought, the same weights answer {_percent(first)} right.")
    says.append(f"The rule that never looks at the asked entity is right in {_percent(blind)}; chance is 50 %.")
    return Section(
        name=NAME,
        title="k-switch: answers and paths after each number of thoughts",
        shows="The model is stopped after k = 0, 1, ... thoughts and left to write on in language: the rest of its "
        "path, then its answer. Each continuation falls in exactly one of six categories.",
        definition="Accuracy: the first answer written is the target; no answer counts as wrong. Categories: "
        + "; ".join(f"{name}: {text}" for name, text in DEFINITIONS.items())
        + ". A completion is a walk of exactly k hidden edges from the root, an edge to the first printed node, and "
        "the printed edges. A printed path is judged by its nodes; whether the answer agrees is a number of its own.",
        interval="Wilson 95 % over problems.",
        control="The untrained model (fresh weights of the same config), the rule that picks the candidate with the "
        "deeper backward search and never looks at the asked entity (ties count half), and chance (50 %).",
        does_not_show="That accuracy rises with k does not show that thoughts search: models trained with pauses in "
        "place of thoughts, on the same curriculum, do as well on the public data. A model trained without mixing of "
        "stages (uniform_prob 0) was never trained to write after fewer than its last k.",
        paper="Hao et al. 2024 (arXiv 2412.06769), section 5 and appendix.",
        n=len(main),
        says=tuple(says),
        cells=tuple(cells),
        charts=tuple(_charts(runs, cells)),
        published=(
            Published(
                what="Accuracy by k, %",
                source="Hao et al. 2024; nothing is printed: read off the picture, ± 3 points or worse",
                columns=("k = 0", "1", "2", "3", "4", "5", "6", "CoT", "No-CoT"),
                rows=(("80-87", "82-86", "84-91", "88-96", "94-97", "96-98", "96-99", "75-80", "72-75"),),
                differs="Pretrained GPT-2 small in natural language; the public test file.",
            ),
        ),
    )


def accuracy_cells(recording: Recording) -> list[Cell]:
    """Accuracy by k, and the share of printed paths whose answer is not their last node."""
    what: dict[str, Any] = {"analysis": NAME, "source": recording.name, "unit": "share"}
    cells = [
        share_cell(recording.correct[:, k], metric="accuracy", step=k, **what) for k in range(recording.n_thoughts + 1)
    ]
    for k in range(recording.n_thoughts + 1):
        paths = [
            (paths[k], answers[k]) for paths, answers in zip(recording.columns["path"], recording.answer, strict=True)
        ]
        against = np.array([path[-1] != answer for path, answer in paths if len(path)], dtype=bool)
        cells.append(share_cell(against, metric="answer contradicts path", step=k, **what))
    return cells


def category_cells(recording: Recording) -> list[Cell]:
    """Share of each category by k; the six add up to 1."""
    return [
        share_cell(
            recording.category[:, k] == c,
            analysis=NAME, metric="category", source=recording.name, group=name, step=k, unit="share",
        )
        for c, name in enumerate(CATEGORIES)
        for k in range(recording.n_thoughts + 1)
    ]  # fmt: skip


def commitment_step(recording: Recording) -> np.ndarray:
    """``M``: the first k from which on the written answer is the one after all thoughts."""
    same = recording.answer == recording.answer[:, -1:]
    return (~np.logical_and.accumulate(same[:, ::-1], axis=1)).sum(axis=1)


def commitment(runs: Runs) -> Section:
    """When the answer is fixed, and how the probability of the target moves."""
    cells: list[Cell] = []
    for recording in runs.thinking:
        what: dict[str, Any] = {"analysis": "commitment", "source": recording.name}
        step = commitment_step(recording)[recording.answer[:, -1] >= 0]
        for k in range(recording.n_thoughts + 1):
            cells.append(share_cell(step <= k, metric="answer fixed by k", step=k, unit="share", **what))
        cells += mean_cells(recording.p_target, first_step=0, metric="p_target", unit="probability", **what)
        cells += mean_cells(recording.p_neg_target, first_step=0, metric="p_neg_target", unit="probability", **what)
        rises = recording.p_target[:, -1] > recording.p_target[:, 0]
        cells.append(
            share_cell(rises, metric="P(target) higher after all thoughts than after none", unit="share", **what)
        )
    main = runs.main
    fixed = [cell for cell in cells if cell.source == main.name and cell.metric == "answer fixed by k"]
    later = fixed[min(3, main.n_thoughts)]
    rise = next(cell for cell in cells if cell.metric.startswith("P(target) higher"))

    def of(metric: str, control: bool = False) -> list[Series]:
        return [
            lines([c for c in cells if c.source == r.name and c.metric == metric], r.name, control=runs.is_untrained(r))
            for r in runs.thinking
        ]

    charts = [
        Chart(
            name="commitment", title="Share of problems whose final answer is fixed by k", kind="lines",
            x_label="thoughts k", y_label="share of problems", series=tuple(of("answer fixed by k")), y_range=(0, 1),
        ),
        Chart(
            name="p_target", title="Probability of the target when [A] is written after k thoughts", kind="lines",
            x_label="thoughts k", y_label="probability", y_range=(0, 1),
            series=(
                *of("p_target"),
                lines([c for c in cells if c.source == main.name and c.metric == "p_neg_target"], "other candidate"),
            ),
        ),
        Chart(
            name="p_target_trajectories", title=f"P(target) of the first {min(40, len(main))} problems, one line each",
            kind="lines", x_label="thoughts k", y_label="probability", y_range=(0, 1),
            series=tuple(
                Series(
                    name=f"problem {main.numbers[i]}", x=tuple(range(main.n_thoughts + 1)),
                    y=tuple(main.p_target[i].tolist()),
                )
                for i in range(min(40, len(main)))
            ),
        ),
    ]  # fmt: skip
    return Section(
        name="commitment",
        title="Commitment: when the answer is fixed",
        shows="From which number of thoughts on the written answer no longer changes, and the probability of the "
        "target when the answer is asked for at once.",
        definition="Fixed by k: the answer written after j thoughts is the one written after all of them, for every "
        "j >= k; of problems that get an answer at all. P(target): probability of the target's token when [A] is put "
        "right after thought k.",
        interval="Wilson 95 % for shares; bootstrap over problems, 95 %, for means.",
        control="The untrained model, which has no answer to commit to; the other candidate's probability.",
        does_not_show="A late commitment does not show that the thoughts before it were needed, nor an early one that "
        "later thoughts are idle: see the interventions of the verdict sheet.",
        paper="Li et al. 2026 (arXiv 2602.08783), early decodability; Aswal et al. 2026 (arXiv 2606.12689).",
        n=len(main),
        says=(
            f"The final answer of {main.name} is fixed without a thought in {_percent(fixed[0])}, by "
            f"k = {later.step} in {_percent(later)} (n = {later.n:,}).",
            f"P(target) is higher after all thoughts than after none in {_percent(rise)}.",
        ),
        cells=tuple(cells),
        charts=tuple(charts),
        published=(
            Published(
                what="P(correct) rises from k = 0 to the last k, % of items",
                source="Aswal et al. 2026, table file, 496 items of the public test file",
                columns=("pause as thought", "Coconut"),
                rows=(("68", "61"),),
                differs="Fine-tuned GPT-2 in natural language; P of the correct next concept.",
            ),
        ),
    )


def _charts(runs: Runs, cells: list[Cell]) -> list[Chart]:
    accuracy = [cell for cell in cells if cell.metric == "accuracy"]
    series = []
    for recording in runs.recordings:
        found = [cell for cell in accuracy if cell.source == recording.name]
        series.append(lines(found, recording.name, control=runs.is_untrained(recording)))
    last = max(recording.n_thoughts for recording in runs.recordings)
    for name, value in (("root-blind rule", accuracy[-1].value), ("chance", 0.5)):
        series.append(Series(name=name, x=tuple(range(last + 1)), y=(value,) * (last + 1), control=True))
    charts = [
        Chart(
            name="accuracy_by_k", title="Accuracy when left to write on after k thoughts", kind="lines",
            x_label="thoughts k", y_label="accuracy", series=tuple(series), y_range=(0, 1),
        )
    ]  # fmt: skip
    silent = [recording for recording in runs.recordings if recording.n_thoughts == 0]
    for recording in runs.thinking or silent[:1]:
        beside = [r for r in silent if r is not recording] if recording is runs.main else []
        bars = [(recording, k, f"k = {k}") for k in range(recording.n_thoughts + 1)]
        bars += [(other, 0, other.name) for other in beside]
        charts.append(
            Chart(
                name=f"categories_{recording.name}",
                title=f"What {recording.name} writes after k thoughts (n = {len(recording):,})",
                kind="stacked",
                x_label="thoughts k",
                y_label="share of problems",
                y_range=(0, 1),
                series=tuple(
                    Series(
                        name=name,
                        x=tuple(label for _, _, label in bars),
                        y=tuple(float((r.category[:, k] == c).mean()) for r, k, _ in bars),
                    )
                    for c, name in enumerate(CATEGORIES)
                ),
            )
        )
    return charts


def _percent(cell: Cell) -> str:
    if cell.value is None:
        return "-"
    text = f"{100 * cell.value:.1f} %"
    return text if cell.low is None or cell.high is None else f"{text} [{100 * cell.low:.1f}, {100 * cell.high:.1f}]"
