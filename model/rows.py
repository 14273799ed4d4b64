"""Texts of a file as tensors, cut into tokens once: what training is fed where there is no graph, or no other wording.

As ``ProblemTensors`` is to training, but that a problem is always written the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor

from model.codec import EMPTY, NO_NODE, Codec, Continuation, PromptBatch, Reading, pushed_together
from model.errors import InputError
from model.problems.prosqa import ProsQAProblem
from model.problems.texts import TextProblem
from model.tokenizer import Vocabulary


@runtime_checkable
class WritesWords(Codec, Protocol):
    """A codec that can write any text."""

    @property
    def vocabulary(self) -> Vocabulary: ...

    @property
    def opened(self) -> bool:
        """Whether a prompt begins the chain, of which a question without a graph says nothing."""

    def names_of(self, problem: ProsQAProblem) -> tuple[str, ...]:
        """What nodes are called in prompts."""

    def asked(self, question: str) -> tuple[int, ...]:
        """The prompt of a question."""

    def told(self, step: str) -> tuple[int, ...]:
        """A step of the chain."""

    def answered(self, answer: str) -> tuple[int, ...]:
        """The answer, its mark before it and the end after it."""

    def said(self, written: Sequence[int]) -> str:
        """The answer in what a model wrote; empty where there is none."""


def writes_words(codec: Codec) -> WritesWords:
    """The codec, if it can write any question. Raises InputError if not."""
    if not isinstance(codec, WritesWords):
        raise InputError(f"questions in words need a text model; this one's format is {codec.name}")
    if codec.opened:
        raise InputError(
            "this model's prompts end with a chain's first words, so it takes questions with a graph alone"
        )
    return codec


@dataclass(frozen=True)
class TextRows:
    """N texts on one device; int32, EMPTY where a row has no more tokens."""

    question: Tensor
    """``N Q``, padded on the left."""
    steps: Tensor
    """``N S``: all steps, one after another."""
    step_of: Tensor
    """``N S``: which step a token belongs to."""
    answer: Tensor
    """``N A``: with its mark and the end."""
    n_hops: Tensor
    """``N``: number of steps."""
    row: Tensor
    """``N``: which of the first N texts this is, in ``answers``."""
    answers: tuple[str, ...] = ()
    """What is right, in words, of all texts of the file."""

    @classmethod
    def of(cls, codec: WritesWords, problems: Sequence[TextProblem]) -> TextRows:
        """On the CPU."""
        steps = [[codec.told(step) for step in problem.steps] for problem in problems]
        step_of = [[i for i, step in enumerate(each) for _ in step] for each in steps]
        texts = ([token for step in each for token in step] for each in steps)
        columns = (
            _padded([codec.asked(problem.question) for problem in problems], left=True),
            _padded(list(texts)),
            _padded(step_of),
            _padded([codec.answered(problem.answer) for problem in problems]),
            torch.tensor([len(problem.steps) for problem in problems], dtype=torch.int32),
            torch.arange(len(problems), dtype=torch.int32),
        )
        return cls(*columns, tuple(bare(problem.answer) for problem in problems))

    def __len__(self) -> int:
        return len(self.row)

    def __getitem__(self, rows: Tensor | slice) -> TextRows:
        return self._map(lambda tensor: tensor[rows])

    def to(self, device: torch.device | str) -> TextRows:
        return self._map(lambda tensor: tensor.to(device))

    def narrow(self, size: int) -> TextRows:
        """With room for questions of ``size`` tokens, which must hold them all."""
        return self._map(lambda tensor: tensor[:, -size:] if tensor is self.question else tensor)

    @property
    def device(self) -> torch.device:
        return self.question.device

    @property
    def size(self) -> Tensor:
        """``N``: tokens of the question, by which batches are packed."""
        return (self.question >= 0).sum(dim=1)

    @property
    def target(self) -> Tensor:
        """``N``: what ``Samples.answers`` says of a right answer."""
        return torch.zeros(len(self), dtype=torch.int64, device=self.device)

    @property
    def trained(self) -> dict[str, Any]:
        """What a model's config records: nothing, no graph is known."""
        return {}

    def text_length(self, codec: Codec) -> Tensor:
        """``N``: tokens after the thoughts, with all steps."""
        return len(codec.after) + (self.steps >= 0).sum(dim=1) + (self.answer >= 0).sum(dim=1)

    def guess(self, n_skip: int, lag: int) -> None:
        """No frontier is known to guess in."""

    def samples(self, codec: Codec, *, align: int = 1) -> RowSamples:
        """As they are written; nothing is drawn."""
        codec = writes_words(codec)
        ids = F.pad(self.question.long(), (-self.question.shape[1] % align, 0), value=EMPTY)
        return RowSamples(codec, self, PromptBatch(ids.masked_fill(ids < 0, codec.end), (ids >= 0).long()))

    def _map(self, change: Any) -> TextRows:
        return replace(self, **{field.name: change(getattr(self, field.name)) for field in fields(self)[:-1]})


@dataclass(frozen=True)
class RowSamples:
    """As ``model.codec.Samples`` describes."""

    codec: WritesWords
    rows: TextRows
    prompts: PromptBatch

    def continuation(self, n_skip: Tensor, *, least: int) -> Continuation:
        rows, device = self.rows, self.rows.device
        n = len(rows)
        none_left = (n_skip >= rows.n_hops)[:, None]
        steps = rows.steps.long().masked_fill(rows.step_of < n_skip[:, None], EMPTY)
        after = torch.tensor(self.codec.after, dtype=torch.long, device=device).expand(n, -1)
        answer = rows.answer.long()
        begins = torch.zeros_like(answer, dtype=torch.bool)
        begins[:, :1] = True
        nothing, no_step = (torch.zeros_like(part, dtype=torch.bool) for part in (after, steps))
        columns = (
            torch.cat([after, steps, answer], dim=1),
            torch.cat([nothing, ~no_step, torch.ones_like(begins)], dim=1),
            torch.cat([nothing, rows.step_of == n_skip[:, None], begins & none_left], dim=1),
            torch.cat([nothing, no_step, torch.ones_like(begins)], dim=1),
        )
        return pushed_together(columns, self.codec.end)

    def recited(self, generator: torch.Generator) -> Continuation:
        raise AssertionError("recite_epochs is for text")

    def answers(self, written: Tensor) -> Tensor:
        texts = written.reshape(len(self.rows), -1, written.shape[-1]).tolist()
        right = [self.rows.answers[row] for row in self.rows.row.tolist()]
        found = [
            [0 if bare(self.codec.said(text)) == answer else NO_NODE for text in each]
            for each, answer in zip(texts, right, strict=True)
        ]
        return torch.tensor(found, device=written.device).reshape(written.shape[:-1])

    def readings(self, k: int) -> list[Reading]:
        raise AssertionError("texts have no nodes")


def longest_answer(task: str) -> int:
    """Most tokens that are written after the thoughts, as in the public code."""
    return 64 if task == "gsm" else 128


def bare(answer: str) -> str:
    """An answer as it is compared: without thousands commas and blanks around, as the public code does."""
    return answer.replace(",", "").strip()


def _padded(texts: Sequence[Sequence[int]], *, left: bool = False) -> Tensor:
    longest = max(map(len, texts), default=0)
    free = [[EMPTY] * (longest - len(text)) for text in texts]
    rows = [[*empty, *text] if left else [*text, *empty] for text, empty in zip(texts, free, strict=True)]
    return torch.tensor(rows, dtype=torch.int32).reshape(len(texts), longest)
