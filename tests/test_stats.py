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


def test_mean_is_students_t_over_what_is_defined() -> None:
    values = np.array([0.2, np.nan, 0.5, 0.9, 0.1])
    found = stats.mean(values)
    known = values[~np.isnan(values)]
    low, high = scipy_stats.t.interval(0.95, 3, known.mean(), scipy_stats.sem(known))
    assert found.cells() == pytest.approx((known.mean(), low, high, 4))
    assert stats.mean([np.nan]) is None
    assert stats.mean([]) is None
    assert stats.mean([0.3]) == Estimate(value=0.3, n=1)
    assert stats.means(np.array([[0.0, np.nan], [1.0, np.nan]]))[1] is None


def test_the_bootstrap_is_over_cases_seeded_and_a_point_where_all_are_equal() -> None:
    values = np.random.default_rng(0).normal(size=80)
    found = stats.mean(values, how="bootstrap", seed=3)
    assert found == stats.mean(values, how="bootstrap", seed=3)
    t = stats.mean(values)
    assert found.low == pytest.approx(t.low, abs=0.05)
    assert found.high == pytest.approx(t.high, abs=0.05)
    assert stats.mean([0.5, 0.5], how="bootstrap").cells() == (0.5, 0.5, 0.5, 2)
    assert stats.paired(values, values).cells() == (0, 0, 0, 80)
    assert stats.paired(values + 1, values).value == pytest.approx(1)
    assert stats.paired([], []) is None


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
