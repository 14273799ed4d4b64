from __future__ import annotations

import numpy as np
import pytest
from planted import HELD, Planted, _parse
from torch import Tensor

from model.errors import InputError
from model.problems.generate import generate
from model.problems.prosqa import distances
from probing.edit.residual import _r2, explained


class Trailing(Planted):
    """Thought t holds the nodes at distance t, and half as strongly those at distance t - 1."""

    def _layer(self, fed: Tensor, distance: int) -> Tensor:
        states = super()._layer(fed, distance)
        for row, (adjacency, root, _) in enumerate(map(_parse, fed[:, 0])):
            for token, d in enumerate(distances(adjacency, root)):
                if d == distance - 1:
                    states[row, token] += HELD / 2
        return states


def test_what_was_planted_is_found_and_nothing_else() -> None:
    problems = list(generate("balanced", 300, 7, hops=(3, 4)))
    plain = {(row.thought, row.features): row for row in explained(Planted((2,), 2), problems, ridge_lambda=0.1)}
    assert plain[1, "nodes at distance t"].r2 > 0.98
    trailing = {(row.thought, row.features): row for row in explained(Trailing((2,), 2), problems, ridge_lambda=0.1)}
    alone = trailing[2, "nodes at distance t"].r2
    own = trailing[2, "nodes at distance t - 1"]
    assert alone < 0.93 < 0.97 < own.r2
    assert own.control < alone + 0.01, "another problem's nodes explain nothing"
    for name in ("the candidates", "products of two of them", "the counterfactual frontier"):
        assert trailing[2, name].r2 < alone + 0.02, name
    assert own.n == 60
    with pytest.raises(InputError, match="at least 200 problems"):
        explained(Planted((2,), 2), problems[:20])


def test_r2_is_the_share_of_the_variance_of_all_coordinates() -> None:

    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, (1000, 3)).astype(float)
    y = np.stack([10 * x[:, 0], rng.normal(size=1000)], axis=1)
    held = y[800:]
    expected = 1 - held[:, 1].var() / held.var(axis=0).sum()
    assert _r2(x, y, 1e-6) == pytest.approx(expected, abs=0.01)
