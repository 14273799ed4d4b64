"""The start that looks up sooner: what it is, and that it is recorded, so that untrained controls have it too."""

from __future__ import annotations

import math

import torch

from model import checkpoint
from model.coconut import CoconutConfig
from model.mimetic import ALIKE, POSITIONS, RANDOM, sinusoids

CONFIG = CoconutConfig(
    n_layer=2, n_head=4, n_embd=32, n_positions=64, vocab_size=48, initializer_range=0.02, mimetic_start=True,
    codec="slots-8",
)  # fmt: skip


def test_positions_are_sinusoids() -> None:
    table = sinusoids(64, 32)
    assert table.shape == (64, 32)
    for position, column in ((0, 0), (3, 0), (3, 1), (40, 10), (63, 31)):
        angle = position / 10_000 ** (column // 2 * 2 / 32)
        wanted = math.cos(angle) if column % 2 else math.sin(angle)
        assert math.isclose(float(table[position, column]), wanted, abs_tol=1e-4)
    model = checkpoint.untrained(CONFIG)
    torch.testing.assert_close(model.transformer.wpe.weight.data, POSITIONS * table)


def test_heads_attend_to_what_is_alike_and_copy_it() -> None:
    """In the mean over inputs: a vector's score with itself is |q|^2, with another 0; what is copied is the vector."""
    block = checkpoint.untrained(CONFIG).transformer.h[0].attn
    query, key, value = block.c_attn.weight.data.split(32, dim=1)
    for head in range(4):
        q, k = (part[:, 8 * head : 8 * head + 8] for part in (query, key))
        trace = torch.trace(q @ k.T) / 8  # of a projection onto 8 of 32 directions
        assert abs(trace - ALIKE**2) < 0.1
    copied = value @ block.c_proj.weight.data
    beside = copied - torch.eye(32) * copied.diagonal().mean()
    assert copied.diagonal().mean() > 0.4
    assert beside.abs().max() < 0.15
    assert RANDOM < 1


def test_the_start_is_of_the_seed_and_of_the_config() -> None:
    plain = CoconutConfig.from_dict(CONFIG.to_dict() | {"mimetic_start": False})
    prints = [checkpoint.fingerprint(checkpoint.untrained(CONFIG, seed=seed)) for seed in (0, 0, 1)]
    assert prints[0] == prints[1] != prints[2]
    assert checkpoint.fingerprint(checkpoint.untrained(plain)) not in prints
