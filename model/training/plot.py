"""Training dynamics as a picture: what the thoughts come to hold while a model learns.

``draw`` takes a record and gives a matplotlib figure; ``write`` saves it (svg, png, pdf), or the same numbers as csv.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from model.errors import InputError
from model.files import atomic_path
from model.stats import wilson
from model.training.dynamics import DynamicsRecord

KINDS = ("svg", "png", "pdf", "csv")


def draw(record: DynamicsRecord) -> Figure:
    """Four panels over problems seen: AUROC of the frontier, its mass, logit gap, accuracy by number of thoughts.

    A line per thought (or k), darker for later ones; shaded: 95 % intervals; dotted: the control (another problem's
    thought); vertical lines: the first point of each stage. Raises InputError for a record without points.
    """
    if not record.points:
        raise InputError(f"{record.name}: the record of training dynamics is empty")
    figure = Figure(figsize=(11, 7.5), layout="constrained")
    axes = figure.subplots(2, 2, sharex=True)
    seen = [point.problems for point in record.points]
    n_thoughts = len(record.points[0].thoughts)
    for t in range(n_thoughts):
        numbers = [point.thoughts[t] for point in record.points]
        color, label = _color(t, n_thoughts), f"thought {numbers[0].thought} (n = {numbers[0].n})"
        auroc, error = _values([v.auroc for v in numbers]), _values([v.auroc_se for v in numbers])
        axes[0, 0].plot(seen, auroc, color=color, label=label)
        low = [a - 1.96 * e for a, e in zip(auroc, error, strict=True)]
        high = [min(1.0, a + 1.96 * e) for a, e in zip(auroc, error, strict=True)]
        axes[0, 0].fill_between(seen, low, high, color=color, alpha=0.2, linewidth=0)
        axes[0, 0].plot(seen, _values([v.auroc_control for v in numbers]), color=color, linestyle=":", linewidth=1)
        axes[0, 1].plot(seen, [v.mass["frontier"] for v in numbers], color=color)
        axes[0, 1].plot(seen, [v.mass["beyond"] for v in numbers], color=color, linestyle="--", linewidth=1)
        axes[1, 0].plot(seen, _values([v.logit_gap for v in numbers]), color=color)
    for k in range(len(record.points[0].accuracy_by_k)):
        accuracy = [point.accuracy_by_k[k] for point in record.points]
        color = _color(k, len(record.points[0].accuracy_by_k))
        axes[1, 1].plot(seen, accuracy, color=color, label=f"k = {k}")
        bands = [wilson(a * record.n_problems, record.n_problems) for a in accuracy]
        axes[1, 1].fill_between(seen, *zip(*bands, strict=True), color=color, alpha=0.2, linewidth=0)
    axes[0, 0].axhline(0.5, color="0.6", linewidth=0.8)
    axes[1, 1].axhline(0.5, color="0.6", linewidth=0.8)
    _title(axes[0, 0], "AUROC, beyond (logit lens; dotted: another problem's thought)", "AUROC")
    _title(axes[0, 1], "Probability on the frontier (dashed: on nodes beyond)", "probability")
    _title(axes[1, 0], "Logit, frontier minus beyond", "nats")
    _title(axes[1, 1], f"Answers right after k thoughts (n = {record.n_problems})", "accuracy")
    axes[0, 0].legend(fontsize="small")
    axes[1, 1].legend(fontsize="small")
    for axis in axes.flat:
        for _, start in record.stage_starts[1:]:
            axis.axvline(start, color="0.8", linewidth=0.8, zorder=0)
    for axis in axes[1]:
        axis.set_xlabel("problems seen in training")
    figure.suptitle(f"{record.name}: {record.method}, seed {record.seed}")
    return figure


def write(record: DynamicsRecord, path: str | Path) -> None:
    """Save the picture, or its numbers, by the file's ending. Raises InputError for another than KINDS."""
    path = Path(path)
    kind = path.suffix.lower().removeprefix(".")
    if kind not in KINDS:
        raise InputError(f"{path}: the ending must be one of {', '.join(KINDS)}")
    with atomic_path(path) as temporary:
        if kind == "csv":
            pd.DataFrame(record.rows()).to_csv(temporary, index=False)
        else:
            metadata: dict[str, Any] = {"Date": None} if kind == "svg" else {}
            draw(record).savefig(temporary, format=kind, dpi=150, metadata=metadata)


def _title(axis: Axes, title: str, unit: str) -> None:
    axis.set_title(title, fontsize="medium", loc="left")
    axis.set_ylabel(unit)


def _color(i: int, n: int) -> Any:
    return colormaps["viridis_r"](0.15 + 0.85 * (i / max(1, n - 1)))


def _values(values: Sequence[float | None]) -> list[float]:
    return [float("nan") if value is None else value for value in values]
