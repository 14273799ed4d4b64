"""How a problem is written for a model and how nodes and answers are read back: what every prompt format must say.

A format is a ``Codec``: which tokens ask a problem, which follow the thoughts, which tokens read each node (one or
several), and what a text that the model wrote means. Above this line and ``model.readout`` nobody knows a token id.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from model.errors import InputError
from model.problems.arrays import ProblemTensors
from model.problems.prosqa import ProsQAProblem
from model.tokenizer import Vocabulary

T = TypeVar("T")
NO_NODE = -1
"""Stands for what was written and is no node of the graph, and for no answer."""
NO_KEY = -1
"""Key of a node whose name is none of those a codec knows beforehand: it can be read, and has no direction."""


EMPTY = -1
"""Where a place of fixed width has no token."""


@dataclass(frozen=True)
class Size:
    """Size of a graph."""

    nodes: int
    edges: int


@dataclass(frozen=True)
class EdgeSpan:
    """Where one edge stands in a prompt: its tokens are ``start`` to ``end`` - 1, its source first."""

    start: int
    target: int
    """First token of the target."""
    mark: int
    """First token of what ends the fact."""
    end: int


@dataclass(frozen=True)
class Prompt:
    """A problem as token ids, under one sample of the choices that change no meaning."""

    problem: ProsQAProblem
    input_ids: tuple[int, ...]
    keys: tuple[int, ...]
    """Key of each node, in 0..n_keys-1 or NO_KEY: what the model knows the node by, in all problems that have it."""
    edge_spans: tuple[EdgeSpan, ...]
    """Of each edge of the problem, in its order; distractor facts are not listed."""
    n_distractors: int
    """Distractor facts that were added."""
    sample: Any
    """The choices made; for the codec alone."""

    def key(self, node: int) -> int:
        """Key of a node. Raises InputError where it is NO_KEY."""
        if self.keys[node] == NO_KEY:
            raise InputError(
                f"{self.problem.idx_to_symbol[node]!r} is none of the names that directions are fitted for; "
                "it can be read, and edits that take nodes cannot name it"
            )
        return self.keys[node]


@dataclass(frozen=True)
class PromptBatch:
    """Prompts aligned at their last token by left padding.

    ``input_ids`` and ``attention_mask`` are ``batch length`` (int64); the mask is 0 on padding, which has no position.
    """

    input_ids: Tensor
    attention_mask: Tensor

    @classmethod
    def of(cls, prompts: Sequence[Prompt], pad: int) -> PromptBatch:
        return cls.padded([prompt.input_ids for prompt in prompts], pad)

    @classmethod
    def padded(cls, texts: Sequence[Sequence[int]], pad: int) -> PromptBatch:
        length = max(map(len, texts))
        ids = torch.full((len(texts), length), pad, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, text in enumerate(texts):
            ids[row, length - len(text) :] = torch.tensor(text)
            mask[row, length - len(text) :] = 1
        return cls(ids, mask)

    def to(self, device: torch.device | str) -> PromptBatch:
        return PromptBatch(self.input_ids.to(device), self.attention_mask.to(device))


@dataclass(frozen=True)
class Reading:
    """How nodes are read: ``prefix`` is written first, then one sequence of tokens per node, prefix-free."""

    prefix: tuple[int, ...]
    sequences: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Written:
    """A text that a model wrote after some thoughts, as nodes of the problem."""

    path: tuple[int, ...]
    """Nodes written before the answer; -1 for anything that is no node of the graph."""
    answer: int
    """The node answered; -1 for anything else or no answer."""


@dataclass(frozen=True)
class Continuation:
    """What N problems are taught to write after their thoughts, padded at the end; all ``N n`` on one device."""

    tokens: Tensor
    """int64"""
    scored: Tensor
    """bool: tokens that the model has to write; the others are padding or given (``Codec.after``)."""
    first: Tensor
    """bool: of the scored, those of the first step, or of what begins the answer where no step is left."""
    due: Tensor
    """bool: the target's tokens where it is first due, as the last step or, where no step is left, as the answer."""


def pushed_together(columns: Sequence[Tensor], end: int) -> Continuation:
    """Tokens and three masks (``N n``) without the places that are EMPTY, these after all others as padding."""
    tokens, *masks = columns
    valid = tokens >= 0
    order = (~valid).int().argsort(dim=1, stable=True)
    if tokens.device.type == "cpu":  # CUDA graphs want shapes that repeat
        order = order[:, : int(valid.sum(dim=1).max())]
    tokens, valid, *masks = (part.gather(1, order) for part in (tokens, valid, *masks))
    return Continuation(tokens.masked_fill(~valid, end), *(mask & valid for mask in masks))


class Samples(Protocol):
    """One prompt sample of each of N problems, on one device: what training feeds, scores and reads."""

    @property
    def prompts(self) -> PromptBatch: ...

    def continuation(self, n_skip: Tensor, *, least: int) -> Continuation:
        """The path after its first ``n_skip`` (``N``, at least ``least``) hops, the target as the answer, the end.

        For steps that are captured as CUDA graphs, shapes follow from ``least`` and those of the problems alone.
        """

    def recited(self, generator: torch.Generator) -> Continuation:
        """All facts of each problem in random order, where a format can write them; targets are first and due."""

    def answers(self, written: Tensor) -> Tensor:
        """``N ... n`` tokens that a model wrote to ``N ...``: the node that was answered, NO_NODE for anything else."""

    def readings(self, k: int) -> list[Reading]:
        """How the nodes of each problem are read after k thoughts, as the next step."""


class Codec(Protocol):
    """A prompt format. Everything that depends on (problem, seed) alone gives the same tokens every time."""

    @property
    def name(self) -> str:
        """What a checkpoint's config records."""

    @property
    def format(self) -> Mapping[str, Any]:
        """What a config records beside the name: arguments that make the codec again, as JSON holds them."""

    @property
    def vocabulary(self) -> Vocabulary | None:
        """The tokenizer that a checkpoint folder holds; None where nodes have no names of their own."""

    @property
    def vocab_size(self) -> int: ...

    @property
    def lag(self) -> int:
        """0 if thought t is read from the state that becomes it, h_(t-1); 1 if after it was fed: from h_t on."""

    @property
    def n_keys(self) -> int:
        """Keys a node can have, so the largest graph."""

    @property
    def special(self) -> Mapping[str, int]:
        """Name to token of what is written beside nodes, in the order of ``ProbeReport.marker``'s columns."""

    @property
    def answer_mark(self) -> str:
        """Which of ``special`` begins an answer."""

    @property
    def after(self) -> tuple[int, ...]:
        """Tokens between the thoughts and what the model writes by itself."""

    @property
    def end(self) -> int:
        """The token that ends a text."""

    @property
    def pause(self) -> int:
        """The token whose embedding models trained with pauses are fed in place of thoughts."""

    def check_fits(self, problem: ProsQAProblem, *, n_positions: int, n_thoughts: int, generates: bool = False) -> None:
        """Raise ProblemTooLargeError if the problem has more nodes than keys, or needs more positions than exist.

        ``generates``: the longest path must find room after the thoughts, not the answer alone.
        """

    def has_room(self, n_nodes: int, n_parentless: int) -> bool:
        """Whether training can give a key to every node of a graph, so many of them without parents."""

    def prompt(self, problem: ProsQAProblem, rng: np.random.Generator, *, pad_to: Size | None = None) -> Prompt:
        """As its question says it where a codec writes names as they are and nothing is added, else ``drawn``."""

    def drawn(self, problem: ProsQAProblem, rng: np.random.Generator, *, pad_to: Size | None = None) -> Prompt:
        """One prompt sample. ``pad_to`` brings a smaller graph up to a size by adding random distractor facts."""

    def prompts(
        self, problem: ProsQAProblem, n_samples: int, *, seed: int, pad_to: Size | None = None
    ) -> tuple[Prompt, ...]:
        """``prompt``, then prompt samples of a problem; sample i depends on (seed, i) alone."""
        rngs = (np.random.default_rng([seed, i]) for i in range(n_samples))
        return tuple((self.drawn if i else self.prompt)(problem, rng, pad_to=pad_to) for i, rng in enumerate(rngs))

    def rewritten(self, prompt: Prompt, problem: ProsQAProblem) -> Prompt:
        """Another problem over the same nodes, with the same choices where they have a meaning there."""

    def collate(self, prompts: Sequence[Prompt]) -> PromptBatch:
        """Prompts as one left-padded batch."""
        return PromptBatch.of(prompts, self.end)

    def node_tokens(self, prompt: Prompt) -> tuple[tuple[int, ...], ...]:
        """The tokens of each node's name."""

    def reading(self, prompt: Prompt, k: int) -> Reading:
        """How nodes are read after k thoughts, as the next step."""

    def answer_reading(self, prompt: Prompt) -> Reading:
        """How nodes are read as the answer, when it is forced."""

    def longest_generation(self, problem: ProsQAProblem) -> int:
        """Tokens after which any path that exists has ended and been answered."""

    def has_ended(self, written: Tensor) -> Tensor:
        """``... n`` tokens to ``...`` (bool): what follows means nothing."""

    def parse(self, written: Sequence[int], prompt: Prompt) -> Written:
        """What the tokens of one free generation say."""

    def key_tokens(self) -> tuple[tuple[int, ...], ...]:
        """The tokens of every key."""

    def words(self, token: int, prompt: Prompt) -> str:
        """What a token says in this prompt."""

    def prompt_length(self, n_edges: int) -> int:
        """Most tokens in the prompt of a problem with so many edges."""

    def continuation_length(self, n_hops: int) -> int:
        """Most tokens after the thoughts in a path of so many hops, the answer and the end."""

    def samples(self, problems: ProblemTensors, generator: torch.Generator, *, align: int = 1) -> Samples:
        """A fresh prompt sample of every problem, on the device of problems and generator.

        Prompts are padded to a multiple of ``align`` tokens.
        """


def distractor_facts(
    free: Sequence[T], problem: ProsQAProblem, size: Size, rng: np.random.Generator
) -> list[tuple[T, T]]:
    """Random facts among names or keys that no node has, which bring a smaller graph up to a size.

    They lead forward along the order of ``free``, so that there is no cycle.
    """
    some = free[: max(size.nodes - problem.n_nodes, 6)]
    sources, targets = np.triu_indices(len(some), k=1)
    chosen = rng.permutation(len(sources))[: size.edges - len(problem.edges)]
    return [(some[sources[i]], some[targets[i]]) for i in chosen]


class TokenPerNode(Codec, Protocol):
    """What formats have in common in which a node is one token, whatever its name."""

    @property
    def format(self) -> dict[str, Any]:
        return {}

    @property
    def vocabulary(self) -> None:
        return None

    @property
    def lag(self) -> int:
        return 0

    def has_room(self, n_nodes: int, n_parentless: int) -> bool:
        return n_nodes <= self.n_keys

    def reading(self, prompt: Prompt, k: int) -> Reading:
        return Reading((), self.node_tokens(prompt))

    def answer_reading(self, prompt: Prompt) -> Reading:
        return Reading((self.special[self.answer_mark],), self.node_tokens(prompt))


class WritesOne(Codec, Protocol):
    """A codec that says of one prompt what is taught after its thoughts."""

    def continuation(self, prompt: Prompt, n_skip: int) -> list[tuple[int, bool, bool, bool]]:
        """(token, scored, of the first step, due) of every place, as in ``Continuation``, without ``n_skip`` hops."""


@dataclass(frozen=True)
class PromptSamples:
    """``Samples`` of a codec that writes one problem at a time, on the CPU."""

    codec: WritesOne
    each: tuple[Prompt, ...]
    device: torch.device
    align: int

    @property
    def prompts(self) -> PromptBatch:
        found = self.codec.collate(self.each)
        more = (-found.input_ids.shape[1] % self.align, 0)
        ids, mask = F.pad(found.input_ids, more, value=self.codec.end), F.pad(found.attention_mask, more)
        return PromptBatch(ids, mask).to(self.device)

    def continuation(self, n_skip: Tensor, *, least: int) -> Continuation:
        texts = [self.codec.continuation(prompt, skip) for prompt, skip in zip(self.each, n_skip.tolist(), strict=True)]
        longest, padding = max(map(len, texts)), (self.codec.end, False, False, False)
        rows = [[*text, *[padding] * (longest - len(text))] for text in texts]
        tokens, *masks = (torch.tensor([[place[i] for place in row] for row in rows]) for i in range(4))
        return Continuation(*(part.to(self.device) for part in (tokens, *masks)))

    def recited(self, generator: torch.Generator) -> Continuation:
        raise AssertionError("recite_epochs is for text")

    def answers(self, written: Tensor) -> Tensor:
        rows = zip(written.reshape(len(self.each), -1, written.shape[-1]).tolist(), self.each, strict=True)
        found = [[self.codec.parse(text, prompt).answer for text in texts] for texts, prompt in rows]
        return torch.tensor(found, device=written.device).reshape(written.shape[:-1])

    def readings(self, k: int) -> list[Reading]:
        return [self.codec.reading(prompt, k) for prompt in self.each]
