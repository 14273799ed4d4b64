"""Estimates: every number that leaves this project carries its 95 % interval and the number of cases behind it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import NormalDist
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import model_validator
from scipy import special

from model.values import Number, Value

Floats = NDArray[np.float64]
Style = Literal["percent", "plain", "short", "points", "count"]

Range = tuple[float | None, float | None]
"""Least and greatest value a quantity can have; None where there is no such."""

MIN_CASES = 5
"""Fewer cases than these get no interval of their mean."""
UNSEEN = 1 / 3
"""Of the greatest variance a bounded quantity can have, what is assumed of cases not seen: ``mean_interval``. Chosen so
that intervals cover 93 % or more from 5 cases on, for quantities that crowd at a bound (tests/test_stats.py)."""


class Estimate(Value):
    """A number with its 95 % interval and the cases behind it; ``low`` and ``high`` are None where there is none.

    Intervals lie within what is possible; in files of older versions they may not, and ``text`` can cut them.
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


def leaning(k: float, n: int) -> int:
    """Which way k of n cases lean: 1 if to more than half, -1 if to less, and 0 if they are at chance.

    They are where one half lies within Wilson's 95 % interval of the share, unless all cases agree.
    """
    low, high = wilson(k, n)
    return 1 if k == n or low > 0.5 else -1 if k == 0 or high < 0.5 else 0


def text(found: Estimate | None, style: Style = "plain", *, bounds: tuple[float, float] | None = None) -> str:
    """``found.text``; ``–`` for None."""
    return "–" if found is None else found.text(style, bounds=bounds)


def percent(share: float) -> str:
    """``97.5 %``; never 0 or 100 % of what is not."""
    shown = f"{100 * share + 0:.1f} %"
    if shown == "0.0 %" and share > 0:
        return "< 0.1 %"
    return "> 99.9 %" if shown == "100.0 %" and share < 1 else shown


def below(p: float) -> str:
    """A p or q value behind its letter: ``= .012``, or ``< .001``."""
    return "< .001" if p < 0.001 else f"= {p:.3f}".replace("0.", ".", 1)


def short_number(value: float) -> str:
    """A number in at most four characters where it can: ``.36``, ``1``, ``-2.1``, ``13``."""
    if abs(value) >= 9.95:
        return f"{value:.0f}"
    if abs(value) >= 0.995:
        return f"{value:.1f}".removesuffix(".0")
    return f"{value:.2f}".replace("-0.00", "0.00").replace("0.", ".", 1)


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


def mean(values: ArrayLike, *, within: Range = (None, None)) -> Estimate | None:
    """The mean of one value per case, NaN left out, with the interval of ``mean_interval``; None of no cases.

    No interval of fewer than MIN_CASES, and none where all values are equal and nothing bounds them.
    """
    defined = np.asarray(values, dtype=float)
    defined = defined[~np.isnan(defined)]
    return _estimates(defined[:, None], within)[0] if len(defined) else None


def _estimates(values: Floats, within: Range) -> tuple[Estimate, ...]:
    """``mean`` of every column of one or more cases, none of them NaN."""
    n, (value, low, high) = len(values), mean_interval(values, within=within)
    if low is None or high is None:
        return tuple(Estimate(value=each, n=n) for each in value.tolist())
    return tuple(
        Estimate(value=each, n=n) if lowest == highest else Estimate(value=each, low=lowest, high=highest, n=n)
        for each, lowest, highest in zip(value.tolist(), low.tolist(), high.tolist(), strict=True)
    )


def sure(found: Estimate | None) -> Estimate:
    """The estimate of cases that are known to be there."""
    assert found is not None
    return found


def means(values: Floats, *, within: Range = (None, None)) -> tuple[Estimate | None, ...]:
    """``mean`` of every column."""
    if len(values) and not np.isnan(values).any():
        return _estimates(values, within)
    return tuple(mean(column, within=within) for column in values.T)


def paired(ours: ArrayLike, control: ArrayLike, *, within: Range = (-1, 1)) -> Estimate | None:
    """Mean paired difference (same cases, same order); by default of quantities in [0, 1], such as shares."""
    return mean(np.asarray(ours, dtype=float) - np.asarray(control, dtype=float), within=within)


def from_error(value: float, error: float | None, n: int) -> Estimate:
    """A mean whose standard error is known, with the normal interval."""
    if error is None:
        return Estimate(value=value, n=n)
    half = NormalDist().inv_cdf(0.975) * error
    return Estimate(value=value, low=value - half, high=value + half, n=n)


def mean_interval(
    values: Floats, *, within: Range = (None, None), confidence: float = 0.95
) -> tuple[Floats, Floats | None, Floats | None]:
    """Mean over the first axis and its two-sided interval; no interval from fewer than MIN_CASES values.

    Student's t interval. A quantity between bounds a and b that crowds at one of them has rare far values which few
    cases do not show. So there z^2 unseen cases are added to the n seen ones, as Wilson's interval does; their variance
    is UNSEEN of the greatest possible, (m - a)(b - m), the less the farther the values are from the nearer bound in
    standard deviations. Where all values are equal, each end is as far towards its bound as Wilson's of n equal
    answers. The interval ends within the bounds, and is Student's t for large n. NaN along the axis gives NaN.
    """
    n, (least, most) = values.shape[0], within
    mean = values.mean(axis=0)
    if n < MIN_CASES:
        return mean, None, None
    same = (values == values[:1]).all(axis=0)  # told so, as sums of equal values can be rounded
    mean, variance = np.where(same, values[0], mean), np.where(same, 0, values.var(axis=0))
    equal, share = np.zeros(mean.shape, dtype=bool), 0.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    if least is not None and most is not None:
        equal, share = same, z * z / (n + z * z)
        middle = (1 - share) * mean + share * (least + most) / 2
        room = np.maximum(np.minimum(mean - least, most - mean), np.finfo(float).tiny)
        crowded = np.minimum(np.sqrt(variance) / room, 1)
        variance = (1 - share) * variance + share * UNSEEN * crowded * (middle - least) * (most - middle)
    half = special.stdtrit(n - 1, (1 + confidence) / 2) * np.sqrt(variance / (n - 1))
    low = np.where(equal, mean - share * (mean - (least or 0)), mean - half)
    high = np.where(equal, mean + share * ((most or 0) - mean), mean + half)
    return mean, np.clip(low, least, most), np.clip(high, least, most)


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
