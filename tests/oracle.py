"""Slow, obvious implementations that the fast ones are checked against. No cache, no batch, no reuse."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from model.coconut import CoconutGPT2, Edit


def hidden(model: CoconutGPT2, embeddings: Tensor) -> Tensor:
    """Last hidden states of one sequence of input embeddings, ``length n_embd``."""
    position = torch.arange(embeddings.shape[0])[None]
    return model.transformer(inputs_embeds=embeddings[None], position_ids=position, use_cache=False).last_hidden_state[
        0
    ]


def think(
    model: CoconutGPT2, input_ids: tuple[int, ...], n_thoughts: int, edit: Edit | None = None
) -> tuple[Tensor, Tensor]:
    """(states h_0..h_K, embeddings of prompt and thoughts), the whole sequence recomputed for every thought."""
    embeddings = model.transformer.wte.weight[list(input_ids)]
    states = [hidden(model, embeddings)[-1]]
    for t in range(1, n_thoughts + 1):
        thought = states[-1] if edit is None else edit(t, states[-1][None])[0]
        embeddings = torch.cat([embeddings, thought[None]])
        states.append(hidden(model, embeddings)[-1])
    return torch.stack(states), embeddings


def write(model: CoconutGPT2, embeddings: Tensor, max_new_tokens: int, stop: int | None) -> list[int]:
    """Tokens written greedily after a sequence of embeddings."""
    written: list[int] = []
    while len(written) < max_new_tokens and (not written or written[-1] != stop):
        written.append(int(model.lm_head(hidden(model, embeddings)[-1]).argmax()))
        embeddings = torch.cat([embeddings, model.transformer.wte.weight[written[-1]][None]])
    return written


def auroc(score: np.ndarray, positive: np.ndarray, negative: np.ndarray) -> float:
    """The share of (positive, negative) pairs in which the positive scores higher, ties half; NaN without a pair."""
    pairs = [
        (score[i] > score[j]) + 0.5 * (score[i] == score[j])
        for i in np.flatnonzero(positive)
        for j in np.flatnonzero(negative)
    ]
    return float(np.mean(pairs)) if pairs else float("nan")


def average_precision(score: np.ndarray, positive: np.ndarray, members: np.ndarray) -> float:
    """Mean over positives of the share of positives among the members that score at least as high."""
    found = [positive[members & (score >= score[i])].mean() for i in np.flatnonzero(positive)]
    return float(np.mean(found)) if found else float("nan")
