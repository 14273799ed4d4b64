"""The exchangeable-slot format, one token per node: the only place that knows its token ids.

Layout (Zhu et al. 2025, appendix; one token per node)::

    <bos>  s t |  s t |  ...  [Q] a b [R] r        then thoughts, then  [A] answer <eos>

Nodes have no vocabulary of their own. Each prompt assigns the graph's nodes to some of ``n_slots`` exchangeable
**slots**, so any names work, and a problem means the same under every slot assignment, edge order and candidate
order. One such choice is a ``Draw``; averaging over them is the error bar of everything measured per node.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from model.codec import (
    NO_NODE,
    Continuation,
    EdgeSpan,
    Prompt,
    PromptBatch,
    Reading,
    Size,
    TokenPerNode,
    Written,
    distractor_facts,
)
from model.errors import ProblemTooLargeError
from model.problems.arrays import ProblemTensors
from model.problems.prosqa import ProsQAProblem

PAD, BOS, EDGE, QUESTION, ROOT, ANSWER, EOS, PAUSE = range(8)
MARKERS = ("<pad>", "<bos>", "|", "[Q]", "[R]", "[A]", "<eos>", "<pause>")
FIRST_SLOT = len(MARKERS)


@dataclass(frozen=True)
class Draw:
    """One way to write a problem: the arbitrary choices that change no meaning."""

    slots: tuple[int, ...]
    """Slot of each node, in 0..n_slots-1, all different."""
    edge_order: tuple[int, ...]
    """A permutation of the edges, distractor facts counted after the problem's own."""
    candidates: tuple[int, int]
    """The two candidate nodes in the order they are asked."""
    distractors: tuple[tuple[int, int], ...] = ()
    """Distractor facts, (slot, slot) edges between slots that no node has. See ``SlotCodec.draw``."""

    @property
    def tokens(self) -> tuple[int, ...]:
        """Token of each node."""
        return tuple(FIRST_SLOT + slot for slot in self.slots)


@dataclass(frozen=True)
class SlotCodec(TokenPerNode):
    """The exchangeable-slot format, as ``model.codec.Codec`` describes; a node's key is its slot."""

    n_slots: int = 40

    @property
    def name(self) -> str:
        return f"slots-{self.n_slots}"

    @property
    def vocab_size(self) -> int:
        return FIRST_SLOT + self.n_slots

    @property
    def n_keys(self) -> int:
        return self.n_slots

    @property
    def special(self) -> dict[str, int]:
        return {name: token for token, name in enumerate(MARKERS)}

    @property
    def answer_mark(self) -> str:
        return MARKERS[ANSWER]

    @property
    def after(self) -> tuple[int, ...]:
        return ()

    @property
    def end(self) -> int:
        return EOS

    @property
    def pause(self) -> int:
        return PAUSE

    @property
    def slot_tokens(self) -> range:
        """Token ids of all slots."""
        return range(FIRST_SLOT, self.vocab_size)

    def check_fits(self, problem: ProsQAProblem, *, n_positions: int, n_thoughts: int, generates: bool = False) -> None:
        if problem.n_nodes > self.n_slots:
            raise ProblemTooLargeError(
                f"the graph has {problem.n_nodes} nodes; this model has {self.n_slots} node slots"
            )
        n_before = self.prompt_length(len(problem.edges)) + n_thoughts
        if n_before + 3 > n_positions:
            raise ProblemTooLargeError(
                f"the graph's {len(problem.edges)} edges and {n_thoughts} thoughts need {n_before + 3} token "
                f"positions; this model has {n_positions} (at most {(n_positions - n_thoughts - 9) // 3} edges)"
            )
        if generates and n_before + self.longest_generation(problem) > n_positions:
            raise ProblemTooLargeError(f"its longest path leaves no room in the model's {n_positions} positions")

    def draw(self, problem: ProsQAProblem, rng: np.random.Generator, *, pad_to: Size | None = None) -> Draw:
        """A random slot assignment, edge order and candidate order.

        A model is lost on graphs much smaller than those it was trained on. ``pad_to`` brings a smaller graph up to
        a size by adding random distractor facts between slots that no node has: the question, the graph and every
        distance stay as they are. Graphs of that size or more are left alone.
        """
        slots = rng.permutation(self.n_slots)
        distractors: list[tuple[int, int]] = []
        if pad_to is not None and len(problem.edges) < pad_to.edges:
            distractors = distractor_facts(slots[problem.n_nodes :].tolist(), problem, pad_to, rng)
        order = rng.permutation(len(problem.edges) + len(distractors))
        pair = (problem.target, problem.neg_target)
        return Draw(
            slots=tuple(slots[: problem.n_nodes].tolist()),
            edge_order=tuple(order.tolist()),
            candidates=pair if rng.random() < 0.5 else pair[::-1],
            distractors=tuple(distractors),
        )

    def encode(self, problem: ProsQAProblem, draw: Draw) -> Prompt:
        """The prompt of a problem under a draw."""
        assert len(draw.slots) == problem.n_nodes
        assert len(draw.edge_order) == len(problem.edges) + len(draw.distractors)
        token = draw.tokens
        edges = [(token[source], token[target]) for source, target in problem.edges]
        edges += [(FIRST_SLOT + source, FIRST_SLOT + target) for source, target in draw.distractors]
        ids, start = [BOS], [0] * len(edges)
        for i in draw.edge_order:
            start[i] = len(ids)
            ids += (*edges[i], EDGE)
        first, second = draw.candidates
        ids += (QUESTION, token[first], token[second], ROOT, token[problem.root])
        spans = tuple(EdgeSpan(at, at + 1, at + 2, at + 3) for at in start[: len(problem.edges)])
        return Prompt(problem, tuple(ids), draw.slots, spans, len(draw.distractors), draw)

    def drawn(self, problem: ProsQAProblem, rng: np.random.Generator, *, pad_to: Size | None = None) -> Prompt:
        return self.encode(problem, self.draw(problem, rng, pad_to=pad_to))

    def prompt(self, problem: ProsQAProblem, rng: np.random.Generator, *, pad_to: Size | None = None) -> Prompt:
        return self.drawn(problem, rng, pad_to=pad_to)

    def rewritten(self, prompt: Prompt, problem: ProsQAProblem) -> Prompt:
        """With the same slots, edge order and candidate order."""
        return self.encode(problem, prompt.sample)

    def collate(self, prompts: Sequence[Prompt]) -> PromptBatch:
        return PromptBatch.of(prompts, PAD)

    # --- reading --------------------------------------------------------------------------------------------------

    def node_tokens(self, prompt: Prompt) -> tuple[tuple[int, ...], ...]:
        return tuple((token,) for token in prompt.sample.tokens)

    def longest_generation(self, problem: ProsQAProblem) -> int:
        return problem.height_longest[problem.root] + 2  # its nodes, [A], the answer

    def has_ended(self, written: Tensor) -> Tensor:
        return (written[..., :-1] == ANSWER).any(dim=-1)

    def parse(self, written: Sequence[int], prompt: Prompt) -> Written:
        """Up to the first [A] and the token after it, or to ``<eos>``."""
        node_of = {token: node for node, token in enumerate(prompt.sample.tokens)}
        path: list[int] = []
        for i, token in enumerate(written):
            if token == ANSWER:
                answer = node_of.get(written[i + 1], NO_NODE) if i + 1 < len(written) else NO_NODE
                return Written(tuple(path), answer)
            if token == EOS:
                break
            path.append(node_of.get(token, NO_NODE))
        return Written(tuple(path), NO_NODE)

    def key_tokens(self) -> tuple[tuple[int, ...], ...]:
        return tuple((token,) for token in self.slot_tokens)

    def words(self, token: int, prompt: Prompt) -> str:
        """A marker, a node's name, or ``slot 17`` where no node has that slot."""
        if token < FIRST_SLOT:
            return MARKERS[token]
        if token in prompt.sample.tokens:
            return prompt.problem.idx_to_symbol[prompt.sample.tokens.index(token)]
        return f"slot {token - FIRST_SLOT}"

    # --- training -------------------------------------------------------------------------------------------------

    def prompt_length(self, n_edges: int) -> int:
        return 1 + 3 * n_edges + 5

    def continuation_length(self, n_hops: int) -> int:
        return n_hops + 3  # [A], the answer, <eos>

    def samples(self, problems: ProblemTensors, generator: torch.Generator, *, align: int = 1) -> SlotSamples:
        """All at once: distributed as ``collate([encode(p, draw(p, rng)) for p in problems])`` is."""
        device, (n, most_edges, _) = problems.device, problems.edges.shape

        def random(*size: int) -> Tensor:
            return torch.rand(*size, generator=generator, device=device)

        n_nodes = problems.distance.shape[1]
        token = FIRST_SLOT + random(n, self.n_slots).argsort(dim=1)[:, :n_nodes]
        # Padding gets the lowest keys, so that it comes first and the prompts end together.
        real = problems.edges[:, :, 0] >= 0
        order = torch.where(real, random(n, most_edges), -1.0).argsort(dim=1, stable=True)
        edges = problems.edges.long().gather(1, order[:, :, None].expand(-1, -1, 2))
        ids = torch.full((n, self.prompt_length(most_edges)), PAD, dtype=torch.long, device=device)
        tokens = token.gather(1, edges.clamp(min=0).flatten(1)).view(n, most_edges, 2)
        triples = torch.cat([tokens, torch.full_like(tokens[:, :, :1], EDGE)], dim=2)
        ids[:, 1:-5] = torch.where(edges[:, :, :1] >= 0, triples, PAD).flatten(1)
        start = 3 * (most_edges - problems.n_edges.long())
        ids.scatter_(1, start[:, None], BOS)
        asked = torch.stack([problems.target, problems.neg_target], dim=1).long()
        asked = torch.where(random(n, 1) < 0.5, asked, asked.flip(1))
        ids[:, -5], ids[:, -2] = QUESTION, ROOT
        ids[:, -4:-2] = token.gather(1, asked)
        ids[:, -1:] = token.gather(1, problems.root.long()[:, None])
        mask = (torch.arange(ids.shape[1], device=device) >= start[:, None]).long()
        more = (-ids.shape[1] % align, 0)
        prompts = PromptBatch(F.pad(ids, more, value=PAD), F.pad(mask, more))
        return SlotSamples(self, problems, prompts, token)


@dataclass(frozen=True)
class SlotSamples:
    """As ``model.codec.Samples`` describes."""

    codec: SlotCodec
    problems: ProblemTensors
    prompts: PromptBatch
    tokens: Tensor
    """``N V``: token of each node; of some free slot where a problem has fewer nodes."""

    def continuation(self, n_skip: Tensor, *, least: int) -> Continuation:
        problems, most_hops = self.problems, self.problems.path.shape[1]
        length = self.codec.continuation_length(max(most_hops - least, 0))
        left = (problems.n_hops.long() - n_skip).clamp(min=0)[:, None]
        place = torch.arange(length, device=problems.device)[None].expand(len(problems), -1)
        hop = (n_skip[:, None] + place).clamp(max=most_hops - 1)
        node = self.tokens.gather(1, problems.path.long().gather(1, hop).clamp(min=0))
        target = self.tokens.gather(1, problems.target.long()[:, None]).expand_as(place)
        ids = torch.where(place < left, node, PAD)
        ids = torch.where(place == left, ANSWER, ids)
        ids = torch.where(place == left + 1, target, ids)
        ids = torch.where(place == left + 2, EOS, ids)
        due = torch.where(left > 0, left - 1, 1)
        return Continuation(ids, place <= left + 2, place == 0, place == due)

    def recited(self, generator: torch.Generator) -> Continuation:
        raise AssertionError("recite_epochs is for text")

    def answers(self, written: Tensor) -> Tensor:
        node = torch.where(self.problems.real, torch.arange(self.tokens.shape[1], device=self.tokens.device), NO_NODE)
        node_of = node.new_full((len(node), self.codec.vocab_size), NO_NODE).scatter(1, self.tokens, node)
        token = answer_tokens(written).clamp(min=PAD)  # no answer is no node, as <pad> is none
        return node_of.gather(1, token.reshape(len(node), -1)).view_as(token)

    def readings(self, k: int) -> list[Reading]:
        rows = zip(self.tokens.tolist(), self.problems.n_nodes.tolist(), strict=True)
        return [Reading((), tuple((token,) for token in tokens[:n])) for tokens, n in rows]


def answer_tokens(written: Tensor) -> Tensor:
    """``... n`` to ``...``: of tokens that were written, the one after the first [A]; -1 if there is none."""
    # The first [A] is where the running count turns from 0 to 1; its answer is one token on.
    marker = (written == ANSWER).cumsum(dim=-1).clamp(max=1)
    position = (1 - marker).sum(dim=-1) + 1
    missing = position >= written.shape[-1]
    answer = written.gather(-1, position.clamp(max=written.shape[-1] - 1)[..., None])[..., 0]
    return answer.masked_fill(missing, -1)
