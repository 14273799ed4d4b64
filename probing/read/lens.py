"""The lens grid: what each layer would say next at each thought of one prompt (nostalgebraist 2020, "logit lens").

A cell is the residual stream behind a block at the position of a state, put through the last layer norm and the
unembedding. The last layer is the state itself. It shows what could be read there, not what the model reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.coconut import CoconutGPT2
from model.codec import Prompt, PromptBatch
from model.errors import InputError
from model.evaluate import room_for_answer
from model.problems.prosqa import ProsQAProblem
from model.problems.texts import TextProblem
from model.readout import next_log_probs
from model.rows import writes_words
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


@dataclass(frozen=True)
class Asked:
    """What a model is asked, in tokens: one prompt sample, and the thoughts to have on it."""

    tokens: tuple[int, ...]
    n_thoughts: int
    longest: int
    """Most tokens to write after the thoughts."""
    prompt: Prompt | None
    """The prompt sample; None of a question in words, of which no graph is known."""

    def batch(self, model: CoconutGPT2) -> PromptBatch:
        """The prompt alone in a batch."""
        return PromptBatch.padded([self.tokens], model.codec.end).to(model.device)

    def word(self, model: CoconutGPT2, token: int) -> str:
        """A token in words."""
        vocabulary = model.codec.vocabulary
        if self.prompt is None:
            assert vocabulary is not None
            return vocabulary.word(token)
        return model.codec.words(token, self.prompt)

    def text(self, model: CoconutGPT2, tokens: Sequence[int]) -> str:
        """Several tokens in words."""
        vocabulary = model.codec.vocabulary
        if vocabulary is not None:
            return vocabulary.text(tokens)
        return " ".join(self.word(model, token) for token in tokens)


def asked(
    model: CoconutGPT2, problem: ProsQAProblem | TextProblem, *, seed: int = 0, n_thoughts: int | None = None
) -> Asked:
    """The first prompt sample of a problem, padded as in ``probe``, or a question in words as it is; ``n_thoughts``:
    as many as the model was trained to have if None.

    Raises InputError if it does not fit the model, or its format writes no words.
    """
    config = model.config
    if n_thoughts is None:
        n_thoughts = config.n_thoughts if isinstance(problem, TextProblem) else config.thoughts_for(problem)
    if isinstance(problem, TextProblem):
        tokens = writes_words(model.codec).asked(problem.question)
        return Asked(tokens, n_thoughts, room_for_answer(model, len(tokens), n_thoughts), None)
    config.check_fits(problem, n_thoughts)
    (prompt,) = model.codec.prompts(problem, 1, seed=seed, pad_to=config.padding_for(problem))
    room = config.n_positions - len(prompt.input_ids) - n_thoughts - len(model.codec.after)
    longest = max(min(model.codec.longest_generation(problem), room), 1)
    return Asked(prompt.input_ids, n_thoughts, longest, prompt)


@torch.inference_mode()
def lens_grid(
    model: CoconutGPT2, problem: ProsQAProblem | TextProblem, *, seed: int = 0, n_thoughts: int | None = None
) -> LensGrid:
    """Of the first prompt sample of a problem, or of a question in words. Raises InputError as ``asked`` does."""
    prompt = asked(model, problem, seed=seed, n_thoughts=n_thoughts)
    seen: dict[tuple[int, int], Tensor] = {}

    def look(t: int, layer: int, hidden: Tensor) -> Tensor:
        seen[layer, t] = hidden[0]
        return hidden

    model.think(prompt.batch(model), prompt.n_thoughts, stream=look)
    states, layers = range(prompt.n_thoughts + 1), range(1, model.config.n_layer + 1)
    hidden = torch.stack([torch.stack([seen[layer, k] for k in states]) for layer in layers])
    log_probs = next_log_probs(model, model.transformer.ln_f(hidden)).float().cpu()
    return _grid(log_probs, prompt, model)


def _grid(log_probs: Tensor, prompt: Asked, model: CoconutGPT2) -> LensGrid:
    """``layer state vocab``."""
    n_tokens = log_probs.shape[-1]
    top = log_probs.topk(min(TOP, n_tokens), dim=-1)
    said = {token: prompt.word(model, token) for token in top.indices.unique().tolist()}
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
    text = prompt.text(model, prompt.tokens)
    return LensGrid(cells=cells, words=tuple(words), ways=_nested(ways), n_tokens=n_tokens, prompt=text)


def _nested(values: Tensor) -> tuple[tuple[tuple[float, ...], ...], ...]:
    return tuple(tuple(tuple(row) for row in table) for table in values.tolist())
