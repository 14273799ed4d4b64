"""Estimates: intervals against their closed forms, texts, and what older versions saved."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from model import stats
from model.errors import InputError
from model.stats import Estimate

SHAPES = {
    "normal": (lambda rng, size: rng.normal(0.8, 0.05, size), (None, None)),
    "far from both ends": (lambda rng, size: rng.normal(0.5, 0.03, size), (0, 1)),
    "uniform": (lambda rng, size: rng.random(size), (0, 1)),
    "high": (lambda rng, size: rng.beta(9, 1, size), (0, 1)),
    "two-sided": (lambda rng, size: rng.beta(2, 0.5, size), (0, 1)),
    "mostly 1": (lambda rng, size: np.where(rng.random(size) < 0.7, 1, rng.beta(5, 1, size)), (0, 1)),
    "cut at 1": (lambda rng, size: np.minimum(1, 1 - 0.15 * np.maximum(0, rng.normal(size=size) - 0.3)), (0, 1)),
    "difference": (lambda rng, size: rng.beta(9, 1, size) - rng.beta(5, 1, size), (-1, 1)),
}
"""Draws of a quantity, and what bounds it."""


def test_mean_is_students_t_over_what_is_defined() -> None:
    values = np.array([0.2, np.nan, 0.5, 0.9, 0.1, 0.6])
    found = stats.mean(values)
    known = values[~np.isnan(values)]
    low, high = scipy_stats.t.interval(0.95, 4, known.mean(), scipy_stats.sem(known))
    assert found.cells() == pytest.approx((known.mean(), low, high, 5))
    assert stats.mean([np.nan]) is None
    assert stats.mean([]) is None
    assert stats.mean([0.3]) == Estimate(value=0.3, n=1)
    assert stats.means(np.array([[0.0, np.nan], [1.0, np.nan]]))[1] is None


def test_few_or_equal_values_claim_nothing_that_they_do_not_show() -> None:
    assert stats.mean([0.2, 0.4, 0.5, 0.9]).cells() == (0.5, None, None, 4)
    assert stats.mean(np.ones(9)).cells() == (1, None, None, 9)
    found = stats.mean(np.ones(9), within=(0, 1))
    assert found.cells() == pytest.approx((1, *stats.wilson(9, 9), 9))
    same = stats.paired(np.full(80, 0.5), np.full(80, 0.5))
    assert -0.05 < same.low < same.value == 0 < same.high < 0.05
    assert stats.paired([1.0] * 6, [0.0] * 6).high == 1
    assert stats.paired([], []) is None


@pytest.mark.parametrize("n", [5, 10, 20, 30, 100])
@pytest.mark.parametrize("shape", SHAPES)
def test_intervals_of_means_cover_the_mean_as_often_as_they_say(shape: str, n: int) -> None:
    """Nominal 95 %: at least 93 % of 8,000 samples, for values spread, skewed, and mostly at the edge of the range."""
    draw, within = SHAPES[shape]
    rng = np.random.default_rng(n)
    truth = draw(rng, 2_000_000).mean()
    _, low, high = stats.mean_interval(draw(rng, (n, 8_000)), within=within)
    assert np.mean((low <= truth) & (truth <= high)) > 0.93
    assert within == (None, None) or (within[0] <= low.min() and high.max() <= within[1])


@pytest.mark.parametrize("n", [5, 10, 20, 100])
def test_intervals_of_shares_cover_on_average(n: int) -> None:
    """Wilson's interval covers about 95 % averaged over shares; its coverage jumps from one share to the next."""
    shares = np.linspace(0.02, 0.98, 49)
    ends = [stats.wilson(k, n) for k in range(n + 1)]
    chance = scipy_stats.binom.pmf(np.arange(n + 1)[:, None], n, shares)
    inside = np.array([(low <= shares) & (shares <= high) for low, high in ends])
    assert (chance * inside).sum(axis=0).mean() > 0.93


def test_the_interval_of_many_bounded_values_is_students_t() -> None:
    values = np.random.default_rng(2).beta(4, 2, 20_000)
    bounded, free = stats.mean(values, within=(0, 1)), stats.mean(values)
    assert bounded.cells() == pytest.approx(free.cells(), abs=1e-5)


def test_shares_count_whole_and_half_successes() -> None:
    found = stats.share([True, True, False, True])
    assert (found.value, found.n, found.k) == (0.75, 4, 3)
    assert (found.low, found.high) == stats.wilson(3, 4)
    assert stats.share(3, 4) == found
    assert (stats.share(1.5, 3).value, stats.share(1.5, 3).k) == (0.5, None)
    assert stats.share([]) is None
    assert stats.share(0, 0) is None


def test_a_standard_error_gives_the_normal_interval() -> None:
    found = stats.from_error(0.5, 0.1, 9)
    assert (found.low, found.high) == pytest.approx((0.304, 0.696), abs=1e-4)
    assert stats.from_error(0.5, 0.0, 9).cells() == (0.5, 0.5, 0.5, 9)
    assert stats.from_error(0.5, None, 1).cells() == (0.5, None, None, 1)


def test_texts() -> None:
    found = Estimate(value=0.975, low=0.961, high=0.984, n=40, k=39)
    assert found.text("percent") == "97.5 % [96.1, 98.4]"
    assert found.text() == "0.975 [0.961, 0.984]"
    assert found.text("count") == "39 of 40"
    assert Estimate(value=0.98, low=0.96, high=1.02, n=4).text("short", bounds=(0, 1)) == ".98 [.96, 1]"
    assert Estimate(value=0.51, low=0.462, high=0.559, n=4).text("points") == "+51.0 points [46.2, 55.9]"
    assert Estimate(value=0.5, n=1).text() == "0.500"
    assert stats.text(None) == "–"


@given(st.floats(0, 1))
def test_percent_says_none_and_all_only_of_none_and_all(share: float) -> None:
    assert (stats.percent(share) == "0.0 %") == (share == 0)
    assert (stats.percent(share) == "100.0 %") == (share == 1)


@pytest.mark.parametrize(
    "old",
    [
        {"mean": 0.5, "low": 0.4, "high": 0.6, "n": 8},
        {"value": 0.5, "ci95": [0.4, 0.6], "n": 8},
        {"k": 4, "n": 8, "value": 0.5, "ci95": [0.4, 0.6]},
    ],
)
def test_estimates_of_older_versions_open(old: dict) -> None:
    assert Estimate.model_validate(old).cells() == (0.5, 0.4, 0.6, 8)
    assert Estimate.parse(json.dumps(old), where="x").cells() == (0.5, 0.4, 0.6, 8)


def test_values_survive_json_and_say_what_is_wrong(tmp_path: Path) -> None:
    found = Estimate(value=1 / 3, low=-0.1, high=math.pi, n=3)
    found.save(tmp_path / "x.json")
    assert Estimate.load(tmp_path / "x.json") == found
    for text, message in (
        ('{"value": 1}', r"not an estimate \(n: Field required\)"),
        ('{"value": NaN, "n": 1}', "not an estimate"),
        ('{"value": 1, "n": 1, "more": 2}', r"more: Extra inputs"),
        ("[", r"the whole: Invalid JSON"),
        ('{"n": 1, "value": "?", "ci95": 3}', "not an estimate"),
    ):
        with pytest.raises(InputError, match=message):
            Estimate.parse(text, where="x.json")
