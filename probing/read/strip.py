"""One run as a line of text: the prompt, its thoughts where they stand, and what is written after k of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from model.coconut import CoconutGPT2, zero_thoughts
from model.flags import norms
from model.problems.prosqa import ProsQAProblem
from model.problems.texts import TextProblem
from model.readout import next_log_probs
from model.rows import writes_words
from model.values import Number, Value
from probing.read.lens import Asked, asked


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
    said: tuple[str, ...] = ()
    """Of a question in words: the answer in each of these, empty where there is none."""
    zeroed: str = ""
    """Of a question in words: the answer when all thoughts are fed as zeros, the control of the last of these."""


@torch.inference_mode()
def token_strip(
    model: CoconutGPT2, problem: ProsQAProblem | TextProblem, *, seed: int = 0, n_thoughts: int | None = None
) -> Strip:
    """Of the first prompt sample of a problem, or of a question in words. Raises InputError as ``asked`` does."""
    prompt, codec = asked(model, problem, seed=seed, n_thoughts=n_thoughts), model.codec
    trace = model.think(prompt.batch(model), prompt.n_thoughts)
    texts = model.write_after_each(trace, prompt.longest, stop=codec.has_ended, first=codec.after)[0].tolist()
    best = next_log_probs(model, trace.states[0, :-1]).exp().max(dim=-1)
    said: tuple[str, ...] = ()
    zeroed = ""
    if isinstance(problem, TextProblem):
        words = writes_words(codec)
        idle = model.think(trace.upto(0), prompt.n_thoughts, edit=zero_thoughts)
        (last,) = model.write(idle, prompt.longest, stop=codec.has_ended, first=codec.after).tolist()
        said, zeroed = tuple(map(words.said, texts)), words.said(last)
    return Strip(
        prompt=pieces(prompt, prompt.tokens, model),
        thoughts=tuple(
            (prompt.word(model, token), p) for token, p in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ),
        lengths=norms(model, trace),
        written=tuple(pieces(prompt, (*codec.after, *_ended(text, model)), model) for text in texts),
        said=said,
        zeroed=zeroed,
    )


def pieces(prompt: Asked, tokens: Sequence[int], model: CoconutGPT2) -> tuple[Piece, ...]:
    """Tokens in words, names of nodes each for itself, what is between them together."""
    known = () if prompt.prompt is None else model.codec.node_tokens(prompt.prompt)
    names = sorted(((name, node) for node, name in enumerate(known)), key=lambda each: -len(each[0]))
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


def _said(tokens: Sequence[int], prompt: Asked, model: CoconutGPT2) -> str:
    text = prompt.text(model, tokens)
    return text if model.codec.vocabulary is not None else f" {text}"


def _ended(written: Sequence[int], model: CoconutGPT2) -> list[int]:
    """Up to the end and with it, or up to where the codec says that nothing more means anything."""
    for n in range(1, len(written) + 1):
        if bool(model.codec.has_ended(torch.tensor(written[:n]))):
            return list(written[:n])
    return list(written)
