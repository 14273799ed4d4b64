"""Models whose inner workings are known, for the claims made about models whose are not."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from model.coconut import CoconutConfig, CoconutGPT2, Edit, StreamEdit, ThoughtTrace
from model.codec import PromptBatch
from model.codec_slots import ANSWER, BOS, EDGE, QUESTION, ROOT
from model.problems.prosqa import distances

HELD = 8.0
"""What a held node's coordinate is."""


class Planted(CoconutGPT2):
    """A breadth-first search by hand that answers from some of its thoughts only.

    The embedding is the identity, so coordinate s of a thought is token s. State h_k holds the nodes at distance k + 1,
    whatever was fed before. The answer is the candidate that is reached from the strongest node of the thoughts in
    ``reads``, as they were fed; from the prompt if ``reads`` is empty; by a fixed coin if that does not decide.
    """

    def __init__(self, reads: Collection[int], n_thoughts: int = 4) -> None:
        super().__init__(
            CoconutConfig(
                n_layer=1,
                n_head=2,
                n_embd=48,
                n_positions=256,
                vocab_size=48,
                trained_stage=n_thoughts,
                resid_pdrop=0,
                embd_pdrop=0,
                attn_pdrop=0,
            )
        )
        self.reads = tuple(reads)
        with torch.no_grad():
            self.transformer.wte.weight.copy_(torch.eye(48))
        self.eval()

    def think(
        self,
        start: PromptBatch | ThoughtTrace,
        n_thoughts: int,
        *,
        edit: Edit | None = None,
        stream: StreamEdit | None = None,
    ) -> ThoughtTrace:
        assert stream is None
        trace = self._begin(start) if isinstance(start, PromptBatch) else start
        for _ in range(n_thoughts):
            t = trace.n_thoughts + 1
            thought = trace.states[:, -1] if edit is None else edit(t, trace.states[:, -1])
            (fed, _), *_ = trace.cache
            fed = torch.cat([fed, thought[:, None, None]], dim=2)
            trace = ThoughtTrace(
                torch.cat([trace.states, self._layer(fed, t + 1)[:, None]], dim=1),
                torch.cat([trace.thoughts, thought[:, None]], dim=1),
                torch.cat([trace.attention_mask, trace.attention_mask[:, -1:]], dim=1),
                ((fed, fed),),
            )
        return trace

    def logits_after(self, trace: ThoughtTrace, token: int) -> Tensor:
        assert token == ANSWER
        (fed, _), *_ = trace.cache
        return torch.stack(
            [self._answer(fed[:, 0, : fed.shape[2] - trace.n_thoughts + k]) for k in range(trace.n_thoughts + 1)], dim=1
        )

    def continuation_logits(self, trace: ThoughtTrace, tokens: Tensor, *, after: Tensor | None = None) -> Tensor:
        assert after is None
        assert tokens.shape[1] == 2
        assert int(tokens[0, 0]) == ANSWER
        (fed, _), *_ = trace.cache
        return torch.stack([self.logits(trace.states[:, -1]), self._answer(fed[:, 0])], dim=1)

    def _begin(self, prompt: PromptBatch) -> ThoughtTrace:
        fed = torch.nn.functional.one_hot(prompt.input_ids, 48).float()[:, None]
        state = self._layer(fed, 1)[:, None]
        return ThoughtTrace(state, state[:, :0], prompt.attention_mask, ((fed, fed),))

    def _layer(self, fed: Tensor, distance: int) -> Tensor:
        states = torch.zeros(len(fed), 48)
        for row, (adjacency, root, _) in enumerate(map(_parse, fed[:, 0])):
            for token, d in enumerate(distances(adjacency, root)):
                if d == distance:
                    states[row, token] = HELD
        return states

    def _answer(self, fed: Tensor) -> Tensor:
        logits = torch.full((len(fed), 48), -20.0)
        for row, sequence in enumerate(fed):
            adjacency, root, candidates = _parse(sequence)
            thoughts = sequence[_prompt_end(sequence) :]
            if self.reads:
                seen = [thoughts[t - 1] for t in self.reads if t <= len(thoughts)]
                strength = torch.stack(seen).amax(dim=0) if seen else torch.zeros(48)
            else:
                strength = torch.nn.functional.one_hot(torch.tensor(root), 48).float() * HELD
            parents: list[list[int]] = [[] for _ in range(48)]
            for source, ends in enumerate(adjacency):
                for end in ends:
                    parents[end].append(source)
            found = [
                max(float(strength[v]) for v, d in enumerate(distances(parents, goal)) if d < 48) for goal in candidates
            ]
            if abs(found[0] - found[1]) < 1e-4:
                coin = sum(token * (i + 1) for i, token in enumerate(sequence.argmax(dim=1).tolist()[:40])) % 2
                found = [1.0 - coin, float(coin)]
            for goal, value in zip(candidates, found, strict=True):
                logits[row, goal] = value
        return logits


def _prompt_end(sequence: Tensor) -> int:
    return int((sequence[:, ROOT] == 1).nonzero()[0]) + 2


def _parse(sequence: Tensor) -> tuple[list[list[int]], int, tuple[int, int]]:
    """(adjacency over tokens, root, candidates) of a prompt of one-hot rows."""
    ids = sequence[: _prompt_end(sequence)].argmax(dim=1).tolist()
    ids = ids[ids.index(BOS) + 1 :]
    adjacency: list[list[int]] = [[] for _ in range(48)]
    while ids[0] != QUESTION:
        source, target, mark, *ids = ids
        assert mark == EDGE
        adjacency[source].append(target)
    return adjacency, ids[4], (ids[1], ids[2])
