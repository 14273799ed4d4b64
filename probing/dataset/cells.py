"""Numbers over a data set: each is a mean or share over graphs, with n and a 95 % interval.

Several values of one graph (its nodes, its edges) are not independent, so they are averaged within the graph first
and the interval is over graphs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from model import stats
from model.metrics import METRICS
from model.stats import Estimate, Floats, Style
from model.values import Number, Value
from probing.draw.values import Series


class Cell(Value):
    """One number of one analysis: a row of ``table.csv``."""

    analysis: str
    metric: str
    source: str
    """Which model, or the control: a checkpoint's name, "untrained", "shuffled", ..."""
    group: str = ""
    """What the number is restricted to: a node group, a category, a layer, a number of hops."""
    step: int | None = None
    """Number of thoughts k, or number of the thought t; the metric's definition says which."""
    value: Number | None
    """None where it is not defined for any graph."""
    low: Number | None = None
    high: Number | None = None
    n: int
    """Graphs behind the value."""
    unit: str = ""

    def text(self, style: Style = "short") -> str:
        """The value with its interval, as ``Estimate.text``; "undefined" where there is none."""
        if self.value is None:
            return "undefined"
        return Estimate(value=self.value, low=self.low, high=self.high, n=self.n).text(style)


class Cells(list[Cell]):
    """The cells of one analysis, in the order they are found. ``what`` is metric, source, group, step and unit."""

    def __init__(self, analysis: str) -> None:
        super().__init__()
        self.analysis = analysis

    def add(self, value: float | Estimate | None, *, n: int = 0, **what: Any) -> Cell:
        """An estimate with its own n, or a bare number of n graphs."""
        low = high = None
        if isinstance(value, Estimate):
            value, low, high, n = value.cells()
        cell = Cell(analysis=self.analysis, value=value, low=low, high=high, n=n, **what)
        self.append(cell)
        return cell

    def mean(self, values: ArrayLike, **what: Any) -> Cell:
        """The mean of one value per graph, NaN where undefined, with its interval."""
        return self.add(stats.mean(values, within=_bounds(**what)), **what)

    def means(self, values: Floats, *, first: int, **what: Any) -> list[Cell]:
        """The mean of each column of ``M S`` values; the columns are steps ``first``, ``first + 1``, ..."""
        return [self.mean(column, step=step, **what) for step, column in enumerate(values.T, first)]

    def share(self, flags: ArrayLike, **what: Any) -> Cell:
        """The share of true flags, one a graph, with a Wilson interval."""
        return self.add(stats.share(flags), **what)

    def shares(self, flags: np.ndarray, **what: Any) -> list[Cell]:
        """The share of each column of ``M K+1`` flags; the columns are steps 0, 1, ..."""
        return [self.share(column, step=step, **what) for step, column in enumerate(flags.T)]

    def of(self, metric: str, source: str, group: str = "") -> list[Cell]:
        """The cells of a metric by step."""
        return [cell for cell in self if (cell.metric, cell.source, cell.group) == (metric, source, group)]

    def line(
        self, metric: str, source: str, group: str = "", *, name: str | None = None, control: bool = False
    ) -> Series:
        """A line through the cells of a metric, by step."""
        return line(self.of(metric, source, group), source if name is None else name, control=control)


def _bounds(*, metric: str, unit: str = "", **_: Any) -> stats.Range:
    """Least and greatest value of what a cell holds, where they are known."""
    if metric in METRICS:
        return METRICS[metric].bounds
    if metric == "attention":
        return (0, None)
    if metric.startswith(("cosine", "RSA", "selectivity")) or "difference" in metric:
        return (-1, 1)
    of_one = unit in ("probability", "share") or metric.startswith(
        ("AUROC", "frontier AUROC", "average precision", "base rate")
    )
    return (0, 1) if of_one else (None, None)


def line(cells: Sequence[Cell], name: str, *, x: Sequence[float | str] | None = None, control: bool = False) -> Series:
    """Cells with their intervals, by step or at these places; under words, n is written too."""
    named = x is not None and any(isinstance(place, str) for place in x)
    return Series(
        name=name,
        x=tuple(float(cell.step) for cell in cells if cell.step is not None) if x is None else tuple(x),
        y=tuple(cell.value for cell in cells),
        low=tuple(cell.low for cell in cells),
        high=tuple(cell.high for cell in cells),
        labels=tuple(f"n = {cell.n}" for cell in cells) if named else None,
        control=control,
    )
