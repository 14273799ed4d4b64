"""Numbers over a data set: each is a mean or share over graphs, with n and a 95 % interval.

Several values of one graph (its nodes, its edges) are not independent, so they are averaged within the graph first
and the interval is bootstrapped over graphs.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field
from scipy.stats import bootstrap

from model.stats import Floats, wilson
from model.values import Value

N_RESAMPLES = 999
Number = Annotated[float, Field(allow_inf_nan=False)]


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


def over_graphs(values: Floats, *, seed: int = 0) -> tuple[float | None, float | None, float | None, int]:
    """(mean, low, high, n) of one value per graph, NaN where it is undefined; percentile bootstrap over graphs.

    No interval from fewer than two graphs. Where all values are equal the interval is a point: judge it with n.
    """
    defined = values[~np.isnan(values)]
    n = len(defined)
    if n == 0:
        return None, None, None, 0
    mean = float(defined.mean())
    if n == 1:
        return mean, None, None, 1
    if bool((defined == defined[0]).all()):
        return mean, mean, mean, n
    found = bootstrap(
        (defined,),
        np.mean,
        n_resamples=N_RESAMPLES,
        method="percentile",
        vectorized=True,
        batch=max(1, 2_000_000 // n),
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return mean, float(found.low), float(found.high), n


def mean_cell(values: Floats, *, seed: int = 0, **what: str | int | None) -> Cell:
    """A cell of a mean over graphs."""
    value, low, high, n = over_graphs(np.asarray(values, float), seed=seed)
    return Cell.model_validate({**what, "value": value, "low": low, "high": high, "n": n})


def mean_cells(values: Floats, *, first_step: int, seed: int = 0, **what: str | int | None) -> list[Cell]:
    """One cell for each column of ``M S`` values; the columns are steps ``first_step``, ``first_step + 1``, ..."""
    return [
        mean_cell(values[:, column], seed=seed, step=first_step + column, **what) for column in range(values.shape[1])
    ]


def share_cell(flags: np.ndarray, **what: str | int | None) -> Cell:
    """A cell of a share of graphs, with a Wilson interval."""
    n = len(flags)
    if n == 0:
        return Cell.model_validate({**what, "value": None, "n": 0})
    hits = float(np.asarray(flags, float).sum())
    low, high = wilson(hits, n)
    return Cell.model_validate({**what, "value": hits / n, "low": low, "high": high, "n": n})
