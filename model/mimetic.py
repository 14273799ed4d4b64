"""Random weights from which a small model learns to look facts up in words.

A fact is looked up by attending to places that are alike in what stands a few places before. Plain random weights have
to find position, likeness and copying all at once; here they begin with each: positions as sinusoids (Vaswani et al.
2017, section 3.5), queries and keys of a head as one projection, so that it attends to what is alike and near, values
and outputs as one rotation and its inverse, so that it copies what it attends to (after Trockman & Kolter 2023,
"Mimetic Initialization of Self-Attention Layers", whose values in images have the opposite sign).
docs/results/text.md has what it is worth.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import GPT2LMHeadModel

POSITIONS, ALIKE, COPIED, RANDOM = 0.25, 1.0, 0.7, 0.5
"""Amplitude of the sinusoids; scales of query and key, of value and output, and of the plain random weights beside."""


@torch.no_grad()
def begin_mimetic(model: GPT2LMHeadModel) -> None:
    """Change plain random weights, in place, to such a start; random numbers are PyTorch's next."""
    config = model.config
    wide, n_head = config.n_embd, config.n_head
    model.transformer.wpe.weight.copy_(POSITIONS * sinusoids(config.n_positions, wide))
    blocks: list[Any] = list(model.transformer.h)
    for block in blocks:
        attention = block.attn
        into, out = attention.c_attn.weight, attention.c_proj.weight
        into *= RANDOM
        out *= RANDOM
        query, key, value = into.split(wide, dim=1)
        alike = torch.cat([_orthonormal(wide, wide // n_head) for _ in range(n_head)], dim=1)
        query += ALIKE * alike
        key += ALIKE * alike
        rotation = _orthonormal(wide, wide)
        value += COPIED * rotation
        out += COPIED * rotation.T


def sinusoids(n: int, width: int) -> Tensor:
    """``n width``: sine and cosine of each position in turn, at wavelengths from 2 pi to 20,000 pi."""
    rate = 10_000.0 ** -(torch.arange(0, width, 2) / width)
    angle = torch.arange(n)[:, None] * rate
    return torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1)[:, :width]


def _orthonormal(rows: int, columns: int) -> Tensor:
    return torch.linalg.qr(torch.randn(rows, columns))[0]
