"""The format of *Reasoning by Superposition*'s public files, a token per node: the only place that knows its ids.

Layout (Zhu et al. 2025; github.com/Ber666/reasoning-by-superposition)::

    <eos> s t | s t | ... | s t [Q] a b [R] r        then thoughts, then  [A] answer

Node 7 is token 7 in every problem, never another. Facts and candidates keep the order that the problem gives them; the
further prompt samples of a problem reorder both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from model.codec import NO_NODE, EdgeSpan, Prompt, PromptSamples, Size, TokenPerNode, Written
from model.errors import ProblemTooLargeError
from model.problems.arrays import ProblemTensors
from model.problems.prosqa import ProsQAProblem

N_NODES = 31
START, END, LATENT, EDGE, QUESTION, ROOT, ANSWER, EOS = range(N_NODES, N_NODES + 8)
MARKERS = {"[A]": ANSWER, "|": EDGE, "[Q]": QUESTION, "[R]": ROOT, "<eos>": EOS}


@dataclass(frozen=True)
class SymbolSample:
    """The order in which facts and candidates stand."""

    edge_order: tuple[int, ...]
    candidates: tuple[int, int]


@dataclass(frozen=True)
class SymbolCodec(TokenPerNode):
    """As ``model.codec.Codec`` describes; a node's key is its number. Rows 31 to 33 and 39 are unused."""

    rows: int = 40

    @property
    def name(self) -> str:
        return f"symbols-{self.rows}"

    @property
    def vocab_size(self) -> int:
        return self.rows

    @property
    def n_keys(self) -> int:
        return N_NODES

    @property
    def special(self) -> dict[str, int]:
        return MARKERS

    @property
    def answer_mark(self) -> str:
        return "[A]"

    @property
    def after(self) -> tuple[int, ...]:
        return (ANSWER,)

    @property
    def end(self) -> int:
        return EOS

    @property
    def pause(self) -> int:
        return LATENT

    def check_fits(self, problem: ProsQAProblem, *, n_positions: int, n_thoughts: int, generates: bool = False) -> None:
        if problem.n_nodes > N_NODES:
            raise ProblemTooLargeError(f"the graph has {problem.n_nodes} nodes; this model has {N_NODES} node tokens")
        needed = self.prompt_length(len(problem.edges)) + n_thoughts + 3
        if needed > n_positions:
            raise ProblemTooLargeError(
                f"the graph's {len(problem.edges)} edges and {n_thoughts} thoughts need {needed} token positions; "
                f"this model has {n_positions}"
            )

    def prompt(self, problem: ProsQAProblem, rng: np.random.Generator, *, pad_to: Size | None = None) -> Prompt:
        pair = (problem.target, problem.neg_target)
        asked = pair if problem.question.endswith(problem.question_sentence(pair)) else pair[::-1]
        return self.encode(problem, SymbolSample(tuple(range(len(problem.edges))), asked))

    def drawn(self, problem: ProsQAProblem, rng: np.random.Generator, *, pad_to: Size | None = None) -> Prompt:
        order, pair = rng.permutation(len(problem.edges)), (problem.target, problem.neg_target)
        return self.encode(problem, SymbolSample(tuple(order.tolist()), pair if rng.random() < 0.5 else pair[::-1]))

    def rewritten(self, prompt: Prompt, problem: ProsQAProblem) -> Prompt:
        return self.encode(problem, prompt.sample)

    def encode(self, problem: ProsQAProblem, sample: SymbolSample) -> Prompt:
        """The prompt of a problem with facts and candidates in an order."""
        ids, start = [EOS], [0] * len(problem.edges)
        for i in sample.edge_order:
            start[i] = len(ids)
            ids += (*problem.edges[i], EDGE)
        # The last fact is ended by what follows it, which takes the place of its mark.
        ids[len(ids) - 1 if problem.edges else 1 :] = (QUESTION, *sample.candidates, ROOT, problem.root)
        spans = tuple(EdgeSpan(at, at + 1, at + 2, at + 3) for at in start)
        return Prompt(problem, tuple(ids), tuple(range(problem.n_nodes)), spans, 0, sample)

    def node_tokens(self, prompt: Prompt) -> tuple[tuple[int, ...], ...]:
        return tuple((key,) for key in prompt.keys)

    def longest_generation(self, problem: ProsQAProblem) -> int:
        return 1

    def has_ended(self, written: Tensor) -> Tensor:
        return torch.ones_like(written[..., 0], dtype=torch.bool)

    def parse(self, written: Sequence[int], prompt: Prompt) -> Written:
        """The first token is the answer: [A] is given, and no steps are written."""
        return Written((), written[0] if written[0] < prompt.problem.n_nodes else NO_NODE)

    def key_tokens(self) -> tuple[tuple[int, ...], ...]:
        return tuple((key,) for key in range(N_NODES))

    def words(self, token: int, prompt: Prompt) -> str:
        """A marker, a node's name, or ``node 17`` where the graph has no such node."""
        if token < prompt.problem.n_nodes:
            return prompt.problem.idx_to_symbol[token]
        names = {number: name for name, number in MARKERS.items()}
        return names.get(token, f"node {token}" if token < N_NODES else f"row {token}")

    def prompt_length(self, n_edges: int) -> int:
        return 3 * n_edges + 5

    def continuation_length(self, n_hops: int) -> int:
        return 3

    def samples(self, problems: ProblemTensors, generator: torch.Generator, *, align: int = 1) -> PromptSamples:
        rng = np.random.default_rng(int(torch.randint(2**62, (), generator=generator, device=generator.device)))
        each = tuple(self.drawn(problem, rng) for problem in problems.problems())
        return PromptSamples(self, each, problems.device, align)

    def continuation(self, prompt: Prompt, n_skip: int) -> list[tuple[int, bool, bool, bool]]:
        return [(ANSWER, False, False, False), (prompt.problem.target, True, True, True), (EOS, True, False, False)]
