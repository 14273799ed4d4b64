"""Problem to token ids and back: the only place that knows how a prompt is written.

Layout (Zhu et al. 2025, appendix; one token a node)::

    <bos>  s t |  s t |  ...  [Q] a b [R] r        then thoughts, then  [A] answer <eos>

Nodes have no vocabulary of their own. Each prompt assigns the graph's nodes to some of ``n_slots`` exchangeable
**slots**, so any names work, and a problem means the same under every slot assignment, edge order and candidate
order. One such choice is a ``Draw``; averaging over draws is the error bar of everything measured per node.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from model.errors import CheckpointError, ProblemTooLargeError
from model.problems.arrays import ProblemTensors
from model.problems.prosqa import ProsQAProblem

if TYPE_CHECKING:
    from model.coconut import CoconutConfig

PAD, BOS, EDGE, QUESTION, ROOT, ANSWER, EOS, PAUSE = range(8)
MARKERS = ("<pad>", "<bos>", "|", "[Q]", "[R]", "[A]", "<eos>", "<pause>")
FIRST_SLOT = len(MARKERS)


@dataclass(frozen=True)
class Draw:
    """One way to write a problem: the arbitrary choices that change no meaning."""

    slots: tuple[int, ...]
    """Slot of each node, in 0..n_slots-1, all different."""
    edge_order: tuple[int, ...]
    """A permutation of the edges, fillers counted after the problem's own."""
    candidates: tuple[int, int]
    """The two candidate nodes in the order they are asked."""
    filler: tuple[tuple[int, int], ...] = ()
    """Unrelated facts, (slot, slot) edges between slots that no node has. See ``SlotCodec.draw``."""


@dataclass(frozen=True)
class Size:
    """Size of a graph."""

    nodes: int
    edges: int


@dataclass(frozen=True)
class Prompt:
    """A problem written as token ids under one draw."""

    problem: ProsQAProblem
    draw: Draw
    input_ids: tuple[int, ...]
    node_tokens: tuple[int, ...]
    """Token id of each node."""


@dataclass(frozen=True)
class PromptBatch:
    """Prompts aligned at their last token by left padding.

    ``input_ids`` and ``attention_mask`` are ``batch length`` (int64); the mask is 0 on padding, which has no position.
    """

    input_ids: Tensor
    attention_mask: Tensor

    def to(self, device: torch.device | str) -> PromptBatch:
        return PromptBatch(self.input_ids.to(device), self.attention_mask.to(device))


@dataclass(frozen=True)
class SlotCodec:
    """The exchangeable-slot format. ``name`` is what a checkpoint's config records."""

    n_slots: int = 40

    @property
    def name(self) -> str:
        return f"slots-{self.n_slots}"

    @property
    def vocab_size(self) -> int:
        return FIRST_SLOT + self.n_slots

    @property
    def slot_tokens(self) -> range:
        """Token ids of all slots."""
        return range(FIRST_SLOT, self.vocab_size)

    def prompt_length(self, n_edges: int) -> int:
        """Tokens in the prompt of a problem with ``n_edges`` edges."""
        return 1 + 3 * n_edges + 5

    def check_fits(self, problem: ProsQAProblem, *, n_positions: int, n_thoughts: int) -> None:
        """Raise ProblemTooLargeError if the problem has more nodes than slots, or needs more positions than exist."""
        if problem.n_nodes > self.n_slots:
            raise ProblemTooLargeError(
                f"the graph has {problem.n_nodes} nodes; this model has {self.n_slots} node slots"
            )
        needed = self.prompt_length(len(problem.edges)) + n_thoughts + 3
        if needed > n_positions:
            raise ProblemTooLargeError(
                f"the graph's {len(problem.edges)} edges and {n_thoughts} thoughts need {needed} token positions; "
                f"this model has {n_positions} (at most {(n_positions - n_thoughts - 9) // 3} edges)"
            )

    def draw(self, problem: ProsQAProblem, rng: np.random.Generator, *, fill_to: Size | None = None) -> Draw:
        """A random slot assignment, edge order and candidate order.

        A model is lost on graphs much smaller than those it was trained on. ``fill_to`` brings a smaller graph up to
        a size by adding random unrelated facts between slots that no node has: the question, the graph and every
        distance stay as they are. Graphs of that size or more are left alone.
        """
        slots = rng.permutation(self.n_slots)
        filler: list[tuple[int, int]] = []
        if fill_to is not None and len(problem.edges) < fill_to.edges:
            n_free = max(fill_to.nodes - problem.n_nodes, 6)
            free = slots[problem.n_nodes :][:n_free]
            sources, targets = np.triu_indices(len(free), k=1)  # edges forward along a random order: no cycle
            chosen = rng.permutation(len(sources))[: fill_to.edges - len(problem.edges)]
            filler = [(int(free[sources[i]]), int(free[targets[i]])) for i in chosen]
        order = rng.permutation(len(problem.edges) + len(filler))
        pair = (problem.target, problem.neg_target)
        return Draw(
            slots=tuple(slots[: problem.n_nodes].tolist()),
            edge_order=tuple(order.tolist()),
            candidates=pair if rng.random() < 0.5 else pair[::-1],
            filler=tuple(filler),
        )

    def encode(self, problem: ProsQAProblem, draw: Draw) -> Prompt:
        """The prompt of a problem under a draw."""
        assert len(draw.slots) == problem.n_nodes
        assert len(draw.edge_order) == len(problem.edges) + len(draw.filler)
        token = tuple(FIRST_SLOT + slot for slot in draw.slots)
        edges = [(token[source], token[target]) for source, target in problem.edges]
        edges += [(FIRST_SLOT + source, FIRST_SLOT + target) for source, target in draw.filler]
        ids = [BOS]
        for i in draw.edge_order:
            ids += (*edges[i], EDGE)
        first, second = draw.candidates
        ids += (QUESTION, token[first], token[second], ROOT, token[problem.root])
        return Prompt(problem, draw, tuple(ids), token)

    def prompts(
        self, problem: ProsQAProblem, n_draws: int, *, seed: int, fill_to: Size | None = None
    ) -> tuple[Prompt, ...]:
        """The problem under ``n_draws`` random draws; draw i depends on (seed, i) alone."""
        return tuple(
            self.encode(problem, self.draw(problem, np.random.default_rng([seed, i]), fill_to=fill_to))
            for i in range(n_draws)
        )

    def collate(self, prompts: Sequence[Prompt]) -> PromptBatch:
        """Prompts as one left-padded batch."""
        length = max(len(prompt.input_ids) for prompt in prompts)
        ids = torch.full((len(prompts), length), PAD, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            ids[row, length - len(prompt.input_ids) :] = torch.tensor(prompt.input_ids)
            mask[row, length - len(prompt.input_ids) :] = 1
        return PromptBatch(ids, mask)

    def encode_arrays(self, problems: ProblemTensors, generator: torch.Generator) -> tuple[PromptBatch, Tensor]:
        """Every problem under a fresh random draw, all at once on the device of problems and generator.

        Returns the left-padded prompts, ``N 3E+6``, and the token id of each node, ``N V`` (of some free slot where
        a problem has fewer nodes). Distributed as ``collate([encode(p, draw(p, rng)) for p in problems])`` is.
        """
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
        return PromptBatch(ids, mask), token

    def continuations(self, problems: ProblemTensors, node_tokens: Tensor, n_skip: Tensor, length: int) -> Tensor:
        """``N length``: the rest of the path after its first ``n_skip`` hops, [A], the target, <eos>, then <pad>."""
        most_hops = problems.path.shape[1]
        left = (problems.n_hops.long() - n_skip).clamp(min=0)[:, None]
        place = torch.arange(length, device=problems.device)[None].expand(len(problems), -1)
        hop = (n_skip[:, None] + place).clamp(max=most_hops - 1)
        node = node_tokens.gather(1, problems.path.long().gather(1, hop).clamp(min=0))
        target = node_tokens.gather(1, problems.target.long()[:, None]).expand_as(place)
        ids = torch.where(place < left, node, PAD)
        ids = torch.where(place == left, ANSWER, ids)
        ids = torch.where(place == left + 1, target, ids)
        return torch.where(place == left + 2, EOS, ids)

    def token_name(self, token: int, prompt: Prompt) -> str:
        """What a token says in this prompt: a marker, a node's name, or ``slot 17`` where no node has that slot."""
        if token < FIRST_SLOT:
            return MARKERS[token]
        if token in prompt.node_tokens:
            return prompt.problem.idx_to_symbol[prompt.node_tokens.index(token)]
        return f"slot {token - FIRST_SLOT}"


def filler_size(problem: ProsQAProblem, config: CoconutConfig) -> Size | None:
    """The size to fill a problem up to: the mean training graph, for graphs smaller than any in training; else None."""
    nodes, edges = config.trained_nodes, config.trained_edges
    if nodes is None or edges is None or (problem.n_nodes >= nodes[0] and len(problem.edges) >= edges[0]):
        return None
    return Size(nodes[1], edges[1])


def codec_for(config: CoconutConfig) -> SlotCodec:
    """The codec a checkpoint was trained with. Raises CheckpointError for one unknown here or of another vocabulary."""
    kind, _, size = config.codec.partition("-")
    if kind != "slots" or not size.isdecimal():
        raise CheckpointError(
            f"the checkpoint's codec is {config.codec!r}; this version reads slots-N (one token a node)"
        )
    codec = SlotCodec(int(size))
    if config.vocab_size != codec.vocab_size:
        raise CheckpointError(
            f"the checkpoint has {config.vocab_size} tokens, but its codec {config.codec!r} needs {codec.vocab_size}"
        )
    return codec
