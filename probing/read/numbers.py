"""Numbers in thoughts: the probability, by the logit lens of a state, that a number is what comes next.

A number is spelled with a space before it or without, in one token or several, and both are summed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from model.coconut import CoconutGPT2, ThoughtTrace
from model.codec import Reading
from model.errors import InputError
from model.problems.texts import TextProblem
from model.readout import node_scores
from model.rows import writes_words
from model.stats import Floats
from model.values import Number, Value
from probing.read.lens import asked

N_OTHERS = 20


class NumbersRead(Value):
    """Numbers in the states of one question: n = 1."""

    numbers: tuple[str, ...]
    probability: tuple[tuple[Number, ...], ...]
    """``numbers K+1``: at state h_k, k = 0..K; thought t = h_(t-1)."""
    control: tuple[Number, ...]
    """``K+1``: the most probable of N_OTHERS other numbers of as many digits, drawn at random."""


@torch.inference_mode()
def numbers_read(
    model: CoconutGPT2, problem: TextProblem, numbers: Sequence[str], *, seed: int = 0, n_thoughts: int | None = None
) -> NumbersRead:
    """Whether these numbers are in the thoughts on a question. Raises InputError as ``asked`` does, and for a number
    that the model's tokens cannot write."""
    vocabulary = writes_words(model.codec).vocabulary
    for number in numbers:
        if not vocabulary.writes(number):
            raise InputError(f"{number!r} cannot be written with this model's tokens")
    prompt = asked(model, problem, n_thoughts=n_thoughts)
    trace = model.think(prompt.batch(model), prompt.n_thoughts)
    rng, digits = np.random.default_rng(seed), max(len(number.strip("-")) for number in numbers)
    drawn = rng.integers(10 ** (digits - 1) if digits > 1 else 0, 10**digits, size=4 * N_OTHERS).tolist()
    others = [str(number) for number in dict.fromkeys(drawn) if str(number) not in numbers][:N_OTHERS]
    found = number_probabilities(model, trace, [*numbers, *others])
    return NumbersRead(
        numbers=tuple(numbers), probability=tuple(tuple(found[number]) for number in numbers),
        control=tuple(np.max([found[number] for number in others], axis=0)),
    )  # fmt: skip


def number_probabilities(model: CoconutGPT2, trace: ThoughtTrace, numbers: Sequence[str]) -> dict[str, Floats]:
    """Of every number, the probability (``K+1``) that it is what comes next after k = 0..K thoughts of one run."""
    sequences = {number: spelled(model, number) for number in numbers}
    distinct = list(dict.fromkeys(sequence for each in sequences.values() for sequence in each))
    # Numbers can begin one another (" 180", " 180" "1"), so those of several tokens are read for themselves.
    short = [sequence for sequence in distinct if len(sequence) == 1]
    groups = [short] * bool(short) + [[sequence] for sequence in distinct if len(sequence) > 1]
    found: dict[tuple[int, ...], Floats] = {}
    for group in groups:
        _, p = node_scores(model, trace, [[Reading((), tuple(group))] * (trace.n_thoughts + 1)])
        found |= {sequence: p[0, :, i] for i, sequence in enumerate(group)}
    return {number: np.sum([found[sequence] for sequence in each], axis=0) for number, each in sequences.items()}


def spelled(model: CoconutGPT2, number: str) -> tuple[tuple[int, ...], ...]:
    """The tokens of a number with a space before it and without."""
    vocabulary = writes_words(model.codec).vocabulary
    return tuple(dict.fromkeys((vocabulary.ids(f" {number}"), vocabulary.ids(number))))
