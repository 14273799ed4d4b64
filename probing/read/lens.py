"""The lens grid: what each layer would say next at each thought of one prompt (nostalgebraist 2020, "logit lens").

A cell is the residual stream behind a block at the position of a state, put through the last layer norm and the
unembedding. The last layer is the state itself. It shows what could be read there, not what the model reads.
"""

from __future__ import annotations

import torch
from torch import Tensor

from model.coconut import CoconutGPT2
from model.codec import Prompt
from model.errors import InputError
from model.problems.prosqa import ProsQAProblem
from model.readout import next_log_probs
from model.values import Number, Value

TOP = 10
MAX_KEPT = 400
"""Most tokens whose way through the grid is kept."""


class LensCell(Value):
    """What one layer says at one state: its TOP tokens, the most probable first."""

    words: tuple[str, ...]
    probability: tuple[Number, ...]


class LensGrid(Value):
    """L layers by K+1 states of one prompt sample: n = 1."""

    cells: tuple[tuple[LensCell, ...], ...]
    """``cells[layer - 1][k]``: behind that many blocks, at state h_k."""
    words: tuple[str, ...]
    """Tokens that are the top of a cell or among the first of one: those whose way is kept."""
    ways: tuple[tuple[tuple[Number, ...], ...], ...]
    """``ways[word][layer - 1][k]``: the token's probability everywhere."""
    n_tokens: int
    """Rows of the unembedding: a guess has probability 1 / n_tokens."""
    prompt: str
    """The prompt in words."""

    @property
    def n_layer(self) -> int:
        return len(self.cells)

    @property
    def n_states(self) -> int:
        return len(self.cells[0])

    def way(self, word: str) -> tuple[tuple[float, ...], ...]:
        """``layer state``. Raises InputError for a token whose way was not kept."""
        if word not in self.words:
            raise InputError(f"{word!r} is on top of no cell; known are {', '.join(self.words[:12])}, ...")
        return self.ways[self.words.index(word)]

    def rows(self) -> list[tuple[object, ...]]:
        """layer, state, rank, token, probability."""
        return [
            (layer, k, rank, word, p)
            for layer, row in enumerate(self.cells, start=1)
            for k, cell in enumerate(row)
            for rank, (word, p) in enumerate(zip(cell.words, cell.probability, strict=True), start=1)
        ]


COLUMNS = ("layer", "state", "rank", "token", "probability")


@torch.inference_mode()
def lens_grid(model: CoconutGPT2, problem: ProsQAProblem, *, seed: int = 0, n_thoughts: int | None = None) -> LensGrid:
    """Of the first prompt sample of a problem. Raises InputError if it does not fit the model."""
    prompt, n_thoughts = first_prompt(model, problem, seed=seed, n_thoughts=n_thoughts)
    codec = model.codec
    seen: dict[tuple[int, int], Tensor] = {}

    def look(t: int, layer: int, hidden: Tensor) -> Tensor:
        seen[layer, t] = hidden[0]
        return hidden

    model.think(codec.collate([prompt]).to(model.device), n_thoughts, stream=look)
    n_layer = model.config.n_layer
    hidden = torch.stack([torch.stack([seen[layer, k] for k in range(n_thoughts + 1)]) for layer in _to(n_layer)])
    log_probs = next_log_probs(model, model.transformer.ln_f(hidden)).float().cpu()
    return _grid(log_probs, prompt, model)


def first_prompt(
    model: CoconutGPT2, problem: ProsQAProblem, *, seed: int, n_thoughts: int | None
) -> tuple[Prompt, int]:
    """The first prompt sample of a problem, padded as in ``probe``, and the thoughts to have (default: as trained).

    Raises InputError if it does not fit the model.
    """
    n_thoughts = model.config.thoughts_for(problem) if n_thoughts is None else n_thoughts
    if n_thoughts < 0:
        raise InputError(f"thoughts must be 0 or more, got {n_thoughts}")
    model.codec.check_fits(problem, n_positions=model.config.n_positions, n_thoughts=n_thoughts)
    (prompt,) = model.codec.prompts(problem, 1, seed=seed, pad_to=model.config.padding_for(problem))
    return prompt, n_thoughts


def _to(n: int) -> range:
    return range(1, n + 1)


def _grid(log_probs: Tensor, prompt: Prompt, model: CoconutGPT2) -> LensGrid:
    """``layer state vocab``."""
    codec, n_tokens = model.codec, log_probs.shape[-1]
    top = log_probs.topk(min(TOP, n_tokens), dim=-1)
    said = {token: codec.words(token, prompt) for token in top.indices.unique().tolist()}
    # Tops first, then seconds, ...: who is never near the top has no way to follow.
    kept = list(dict.fromkeys(top.indices.permute(2, 0, 1).flatten().tolist()))[:MAX_KEPT]
    words = list(dict.fromkeys(said[token] for token in kept))
    first = {said[token]: token for token in reversed(kept)}
    ways = log_probs[..., [first[word] for word in words]].exp().permute(2, 0, 1)
    cells = tuple(
        tuple(
            LensCell(words=tuple(said[token] for token in tokens), probability=tuple(values))
            for tokens, values in zip(row, p, strict=True)
        )
        for row, p in zip(top.indices.tolist(), top.values.exp().tolist(), strict=True)
    )
    text = " ".join(codec.words(token, prompt) for token in prompt.input_ids)
    if codec.vocabulary is not None:
        text = codec.vocabulary.text(prompt.input_ids)
    return LensGrid(cells=cells, words=tuple(words), ways=_nested(ways), n_tokens=n_tokens, prompt=text)


def _nested(values: Tensor) -> tuple[tuple[tuple[float, ...], ...], ...]:
    return tuple(tuple(tuple(row) for row in table) for table in values.tolist())
