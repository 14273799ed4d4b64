"""One run as a line of text: the prompt, its thoughts where they stand, and what is written after k of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from model.coconut import CoconutGPT2
from model.codec import Prompt
from model.flags import norms
from model.problems.prosqa import ProsQAProblem
from model.readout import next_log_probs
from model.values import Number, Value
from probing.read.lens import first_prompt


class Piece(Value):
    """Some tokens in words: a node's name, or what stands between names."""

    text: str
    node: int | None = None


class Strip(Value):
    """Of one prompt sample: n = 1."""

    prompt: tuple[Piece, ...]
    thoughts: tuple[tuple[str, Number], ...]
    """Of thought 1, 2, ... the most probable token by the logit lens, and its probability."""
    lengths: tuple[Number, Number] | None
    """Mean norm of the thoughts, and of an embedding (``model.flags.norms``)."""
    written: tuple[tuple[Piece, ...], ...]
    """After k = 0..K thoughts, greedily, the tokens that close the thoughts first."""


@torch.inference_mode()
def token_strip(model: CoconutGPT2, problem: ProsQAProblem, *, seed: int = 0, n_thoughts: int | None = None) -> Strip:
    """Of the first prompt sample of a problem. Raises InputError if it does not fit the model."""
    prompt, n_thoughts = first_prompt(model, problem, seed=seed, n_thoughts=n_thoughts)
    codec = model.codec
    trace = model.think(codec.collate([prompt]).to(model.device), n_thoughts)
    room = model.config.n_positions - len(prompt.input_ids) - n_thoughts - len(codec.after)
    length = max(min(codec.longest_generation(problem), room), 1)
    texts = model.write_after_each(trace, length, stop=codec.has_ended, first=codec.after)[0]
    best = next_log_probs(model, trace.states[0, :-1]).exp().max(dim=-1)
    return Strip(
        prompt=pieces(prompt, prompt.input_ids, model),
        thoughts=tuple(
            (codec.words(token, prompt), p)
            for token, p in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ),
        lengths=norms(model, trace),
        written=tuple(pieces(prompt, (*codec.after, *_ended(text.tolist(), model)), model) for text in texts),
    )


def pieces(prompt: Prompt, tokens: Sequence[int], model: CoconutGPT2) -> tuple[Piece, ...]:
    """Tokens in words, names of nodes each for itself, what is between them together."""
    codec = model.codec
    names = sorted(
        ((name, node) for node, name in enumerate(codec.node_tokens(prompt))), key=lambda each: -len(each[0])
    )
    found: list[tuple[list[int], int | None]] = []
    at = 0
    while at < len(tokens):
        node, width = next(
            ((node, len(name)) for name, node in names if tuple(tokens[at : at + len(name)]) == name), (None, 1)
        )
        if node is None and found and found[-1][1] is None:
            found[-1][0].append(tokens[at])
        else:
            found.append((list(tokens[at : at + width]), node))
        at += width
    return tuple(Piece(text=_said(each, prompt, model), node=node) for each, node in found)


def _said(tokens: Sequence[int], prompt: Prompt, model: CoconutGPT2) -> str:
    codec = model.codec
    if codec.vocabulary is not None:
        return codec.vocabulary.text(tokens)
    return "".join(f" {codec.words(token, prompt)}" for token in tokens)


def _ended(written: Sequence[int], model: CoconutGPT2) -> list[int]:
    """Up to the end and with it, or up to where the codec says that nothing more means anything."""
    for n in range(1, len(written) + 1):
        if bool(model.codec.has_ended(torch.tensor(written[:n]))):
            return list(written[:n])
    return list(written)
