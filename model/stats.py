"""Intervals. Every number that leaves this project carries one, with the number of cases behind it."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]


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
