"""A codec whose nodes are two or three tokens, with a prefix to read them: stands for formats like English.

``<begin>  s t | s t | ... [ask] a b [of] r`` then thoughts, then ``[end]``, then a path of ``[step] node``, then
``[so] answer <eos>``. A node's name is a ten and a one, or ``ten4 ten one`` for keys from 20 on. Ids are in another
order than those of slots, so that nothing which knows those can pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from model.checkpoint import untrained
from model.coconut import CODECS, CoconutConfig, CoconutGPT2
from model.codec import NO_NODE, Continuation, EdgeSpan, Prompt, PromptBatch, Reading, Size, Written
from model.errors import ProblemTooLargeError
from model.problems.arrays import ProblemTensors
from model.problems.prosqa import ProsQAProblem

BEGIN, PAD, STEP, EOS, SO, END, ASK, OF, MARK = range(9)
TEN, ONE = 9, 14


@dataclass(frozen=True)
class Choice:
    keys: tuple[int, ...]
    edge_order: tuple[int, ...]
    candidates: tuple[int, int]


@dataclass(frozen=True)
class TwoTokens:
    """As ``model.codec.Codec`` describes."""

    n_keys: int = 40

    @property
    def name(self) -> str:
        return f"two-{self.n_keys}"

    @property
    def format(self) -> dict[str, int]:
        return {}

    @property
    def vocabulary(self) -> None:
        return None

    @property
    def lag(self) -> int:
        return 0

    @property
    def vocab_size(self) -> int:
        return ONE + 5

    @property
    def special(self) -> dict[str, int]:
        return {"so": SO, "eos": EOS, "step": STEP}

    @property
    def answer_mark(self) -> str:
        return "so"

    @property
    def after(self) -> tuple[int, ...]:
        return (END,)

    @property
    def end(self) -> int:
        return EOS

    @property
    def pause(self) -> int:
        return END

    def has_room(self, n_nodes: int, n_parentless: int) -> bool:
        return n_nodes <= self.n_keys

    def key_tokens(self) -> tuple[tuple[int, ...], ...]:
        short = [(TEN + i, ONE + j) for i in range(4) for j in range(5)]
        return tuple([*short, *((TEN + 4, *tokens) for tokens in short)][: self.n_keys])

    def check_fits(self, problem: ProsQAProblem, *, n_positions: int, n_thoughts: int, generates: bool = False) -> None:
        n_tokens = 7 * len(problem.edges) + 12 + n_thoughts + (self.longest_generation(problem) if generates else 4)
        if problem.n_nodes > self.n_keys or n_tokens > n_positions:
            raise ProblemTooLargeError(f"{problem.n_nodes} nodes and {n_tokens} tokens are too many")

    def prompt(self, problem: ProsQAProblem, rng: np.random.Generator, *, pad_to: Size | None = None) -> Prompt:
        assert pad_to is None
        pair = (problem.target, problem.neg_target)
        keys, order = rng.permutation(self.n_keys)[: problem.n_nodes], rng.permutation(len(problem.edges))
        choice = Choice(tuple(keys.tolist()), tuple(order.tolist()), pair if rng.random() < 0.5 else pair[::-1])
        return self._written(problem, choice)

    def drawn(self, problem: ProsQAProblem, rng: np.random.Generator, *, pad_to: Size | None = None) -> Prompt:
        return self.prompt(problem, rng, pad_to=pad_to)

    def prompts(
        self, problem: ProsQAProblem, n_samples: int, *, seed: int, pad_to: Size | None = None
    ) -> tuple[Prompt, ...]:
        return tuple(self.prompt(problem, np.random.default_rng([seed, i])) for i in range(n_samples))

    def rewritten(self, prompt: Prompt, problem: ProsQAProblem) -> Prompt:
        return self._written(problem, prompt.sample)

    def collate(self, prompts: Sequence[Prompt]) -> PromptBatch:
        return PromptBatch.of(prompts, PAD)

    def node_tokens(self, prompt: Prompt) -> tuple[tuple[int, ...], ...]:
        return self._names(prompt.keys)

    def reading(self, prompt: Prompt, k: int) -> Reading:
        return Reading((END, STEP) if k else (END,), self._names(prompt.keys))

    def answer_reading(self, prompt: Prompt) -> Reading:
        return Reading((END, SO), self._names(prompt.keys))

    def longest_generation(self, problem: ProsQAProblem) -> int:
        return 4 * problem.height_longest[problem.root] + 4

    def has_ended(self, written: Tensor) -> Tensor:
        return (written == EOS).any(dim=-1)

    def parse(self, written: Sequence[int], prompt: Prompt) -> Written:
        node_of = {name: node for node, name in enumerate(self._names(prompt.keys))}
        parts: list[tuple[int, list[int]]] = [(STEP, [])]
        for token in written:
            if token == EOS:
                break
            if token in (STEP, SO):
                parts.append((token, []))
            else:
                parts[-1][1].append(token)
        if not parts[0][1]:
            parts = parts[1:]
        path: list[int] = []
        for mark, name in parts:
            node = node_of.get(tuple(name), NO_NODE)
            if mark == SO:
                return Written(tuple(path), node)
            path.append(node)
        return Written(tuple(path), NO_NODE)

    def words(self, token: int, prompt: Prompt) -> str:
        return f"token {token}"

    def prompt_length(self, n_edges: int) -> int:
        return 7 * n_edges + 12

    def continuation_length(self, n_hops: int) -> int:
        return 1 + 4 * n_hops + 4 + 1

    def samples(self, problems: ProblemTensors, generator: torch.Generator, *, align: int = 1) -> TwoTokenSamples:
        rng = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
        return TwoTokenSamples(self, tuple(self.prompt(problem, rng) for problem in problems.problems()))

    def _names(self, keys: Sequence[int]) -> tuple[tuple[int, ...], ...]:
        tokens = self.key_tokens()
        return tuple(tokens[key] for key in keys)

    def _written(self, problem: ProsQAProblem, choice: Choice) -> Prompt:
        name = self._names(choice.keys)
        ids, span = [BEGIN], {}
        for i in choice.edge_order:
            (source, target), start = problem.edges[i], len(ids)
            ids += (*name[source], *name[target], MARK)
            span[i] = EdgeSpan(start, start + len(name[source]), len(ids) - 1, len(ids))
        first, second = choice.candidates
        ids += (ASK, *name[first], *name[second], OF, *name[problem.root])
        spans = tuple(span[i] for i in range(len(problem.edges)))
        return Prompt(problem, tuple(ids), choice.keys, spans, 0, choice)


@dataclass(frozen=True)
class TwoTokenSamples:
    """As ``model.codec.Samples`` describes, one problem at a time."""

    codec: TwoTokens
    each: tuple[Prompt, ...]

    @property
    def prompts(self) -> PromptBatch:
        return self.codec.collate(self.each)

    def continuation(self, n_skip: Tensor, *, least: int) -> Continuation:
        texts = [self._text(prompt, skip) for prompt, skip in zip(self.each, n_skip.tolist(), strict=True)]
        padding = (PAD, False, False, False)
        longest = max(map(len, texts))
        rows = [[*text, *[padding] * (longest - len(text))] for text in texts]
        tokens, *masks = (torch.tensor([[place[i] for place in row] for row in rows]) for i in range(4))
        return Continuation(tokens, *masks)

    def answers(self, written: Tensor) -> Tensor:
        rows = zip(written.reshape(len(self.each), -1, written.shape[-1]).tolist(), self.each, strict=True)
        found = [[self.codec.parse(text, prompt).answer for text in texts] for texts, prompt in rows]
        return torch.tensor(found).reshape(written.shape[:-1])

    def readings(self, k: int) -> list[Reading]:
        return [self.codec.reading(prompt, k) for prompt in self.each]

    def _text(self, prompt: Prompt, n_skip: int) -> list[tuple[int, bool, bool, bool]]:
        """(token, scored, of the first step, due) of every place."""
        names = self.codec.key_tokens()
        steps = prompt.problem.shortest_path[1:][n_skip:]
        text = [(END, False, False, False)]
        for i, node in enumerate(steps):
            first, last = i == 0, i == len(steps) - 1
            if i or n_skip:  # as ``reading`` has it: the first step of all has no mark
                text.append((STEP, True, first, False))
            text += [(token, True, first, last) for token in names[prompt.keys[node]]]
        answer = names[prompt.keys[prompt.problem.target]]
        text += [(SO, True, not steps, False), *((token, True, False, not steps) for token in answer)]
        return [*text, (EOS, True, False, False)]


CODECS["two"] = TwoTokens


def two_token_model(seed: int = 2) -> CoconutGPT2:
    """A small random model that reads and writes so."""
    codec = TwoTokens()
    config = CoconutConfig(
        n_layer=2, n_head=2, n_embd=32, n_positions=512, vocab_size=codec.vocab_size, codec=codec.name,
        resid_pdrop=0, embd_pdrop=0, attn_pdrop=0,
    )  # fmt: skip
    model = untrained(config, seed=seed)
    with torch.no_grad():  # wide enough apart that probabilities differ
        model.transformer.wte.weight.mul_(20)
    return model
