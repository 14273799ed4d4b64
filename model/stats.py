"""Estimates: every number that leaves this project carries its 95 % interval and the number of cases behind it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import NormalDist
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import model_validator
from scipy import stats

from model.values import Number, Value

Floats = NDArray[np.float64]
Style = Literal["percent", "plain", "short", "points", "count"]

N_RESAMPLES = 999
"""Bootstrap resamples of a mean."""
N_RESAMPLES_PAIRED = 1999
"""Bootstrap resamples of a paired difference."""


class Estimate(Value):
    """A number with its 95 % interval and the cases behind it; ``low`` and ``high`` are None where there is none.

    Intervals are stored as computed; only ``text`` cuts them to what is possible.
    """

    called: ClassVar[str] = "an estimate"
    renamed: ClassVar[Mapping[str, str]] = {"mean": "value"}

    value: Number
    low: Number | None = None
    high: Number | None = None
    n: int
    k: int | None = None
    """Successes, of a share of whole cases."""

    @model_validator(mode="before")
    @classmethod
    def _from_pair(cls, values: Any) -> Any:
        """``ci95: [low, high]``, as older files have it."""
        if not isinstance(values, dict) or "ci95" not in values:
            return values
        ends = values["ci95"]
        ends = dict(zip(("low", "high"), ends, strict=False)) if isinstance(ends, list | tuple) else {"low": ends}
        return {key: value for key, value in values.items() if key != "ci95"} | ends

    def cells(self) -> tuple[float, float | None, float | None, int]:
        """(value, low, high, n): for tables and CSV."""
        return self.value, self.low, self.high, self.n

    def text(self, style: Style = "plain", *, bounds: tuple[float, float] | None = None) -> str:
        """The number with its interval, if it has one.

        percent ``97.5 % [96.1, 98.4]``, plain ``0.975 [0.961, 0.984]``, short ``.98 [.96, .98]``, points
        ``+51.0 points [46.2, 55.9]``, count ``15 of 16``. Never 0 % or 100 % of what is not. The interval is printed
        within ``bounds``, such as (0, 1) for a probability.
        """
        if style == "count":
            return f"{self.value * self.n if self.k is None else self.k:g} of {self.n}"
        shown = _number(self.value, style)
        if self.low is None or self.high is None:
            return shown
        least, most = bounds or (-math.inf, math.inf)
        low, high = (_end(min(max(end, least), most), style) for end in (self.low, self.high))
        return f"{shown} [{low}, {high}]"


def text(found: Estimate | None, style: Style = "plain", *, bounds: tuple[float, float] | None = None) -> str:
    """``found.text``; ``–`` for None."""
    return "–" if found is None else found.text(style, bounds=bounds)


def percent(share: float) -> str:
    """``97.5 %``; never 0 or 100 % of what is not."""
    shown = f"{100 * share:.1f} %"
    if shown == "0.0 %" and share > 0:
        return "< 0.1 %"
    return "> 99.9 %" if shown == "100.0 %" and share < 1 else shown


def short_number(value: float) -> str:
    """A number in at most four characters where it can: ``.36``, ``1``, ``-2.1``, ``13``."""
    if abs(value) >= 9.95:
        return f"{value:.0f}"
    if abs(value) >= 0.995:
        return f"{value:.1f}".removesuffix(".0")
    return f"{value:.2f}".replace("0.", ".", 1)


def share(flags: ArrayLike, n: int | None = None) -> Estimate | None:
    """The share of true flags, or of ``flags`` successes among n, with Wilson's interval; None of no cases.

    The number of successes may be a half number, where ties count half.
    """
    hits = np.asarray(flags, dtype=float)
    k, n = float(hits.sum()), hits.size if n is None else n
    if n == 0:
        return None
    low, high = wilson(k, n)
    return Estimate(value=k / n, low=low, high=high, n=n, k=int(k) if k == int(k) else None)


def mean(values: ArrayLike, *, how: Literal["t", "bootstrap"] = "t", seed: int = 0) -> Estimate | None:
    """The mean of one value per case, NaN left out: None of no cases, no interval from one.

    The interval is Student's t, or the percentiles of the bootstrap over cases.
    """
    defined = np.asarray(values, dtype=float)
    defined = defined[~np.isnan(defined)]
    n = len(defined)
    if n < 2:
        return Estimate(value=float(defined[0]), n=1) if n else None
    if how == "bootstrap":
        low, high = bootstrap_interval(defined, seed=seed, n_resamples=N_RESAMPLES)
        return Estimate(value=float(defined.mean()), low=low, high=high, n=n)
    found = mean_interval(defined)
    value, low, high = (float(number) for number in found if number is not None)
    return Estimate(value=value, low=low, high=high, n=n)


def means(values: Floats) -> tuple[Estimate | None, ...]:
    """``mean`` of every column."""
    return tuple(mean(column) for column in values.T)


def paired(ours: ArrayLike, control: ArrayLike, *, seed: int = 0) -> Estimate | None:
    """Mean paired difference (same cases, same order) with the percentiles of the bootstrap over cases.

    None of no cases. Where all differences are equal the interval is a point: judge it with n beside it.
    """
    values = np.asarray(ours, dtype=float) - np.asarray(control, dtype=float)
    if len(values) == 0:
        return None
    low, high = bootstrap_interval(values, seed=seed, n_resamples=N_RESAMPLES_PAIRED)
    return Estimate(value=float(values.mean()), low=low, high=high, n=len(values))


def from_error(value: float, error: float | None, n: int) -> Estimate:
    """A mean whose standard error is known, with the normal interval."""
    if error is None:
        return Estimate(value=value, n=n)
    half = NormalDist().inv_cdf(0.975) * error
    return Estimate(value=value, low=value - half, high=value + half, n=n)


def bootstrap_interval(values: Floats, *, seed: int, n_resamples: int) -> tuple[float, float]:
    """95 % percentile interval of the mean over resampled cases; a point where all values are equal."""
    if bool((values == values[0]).all()):
        return float(values.mean()), float(values.mean())
    found = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=n_resamples,
        method="percentile",
        vectorized=True,
        batch=max(1, 2_000_000 // len(values)),
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(found.low), float(found.high)


def mean_interval(values: Floats, *, confidence: float = 0.95) -> tuple[Floats, Floats | None, Floats | None]:
    """Mean over the first axis and Student's t interval of that mean; no interval from fewer than two values.

    Two-sided, and not clipped to the range of the values. NaN anywhere along the axis gives NaN.
    """
    n = values.shape[0]
    mean = values.mean(axis=0)
    if n < 2:
        return mean, None, None
    half = stats.t.ppf((1 + confidence) / 2, n - 1) * values.std(axis=0, ddof=1) / np.sqrt(n)
    return mean, mean - half, mean + half


def wilson(successes: float, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson score interval of a proportion; ``successes`` may be a half number, where ties count half."""
    assert 0 <= successes <= n
    assert n > 0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, spread = successes / n, z * z / n
    middle = (share + spread / 2) / (1 + spread)
    half = math.sqrt(share * (1 - share) * spread + spread * spread / 4) / (1 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)


def _number(value: float, style: Style) -> str:
    match style:
        case "percent":
            return percent(value)
        case "points":
            return f"{100 * value:+.1f} points"
        case _:
            return _end(value, style)


def _end(value: float, style: Style) -> str:
    match style:
        case "percent" | "points":
            return f"{100 * value:.1f}"
        case "short":
            return short_number(value)
        case _:
            return f"{value:.3f}"
