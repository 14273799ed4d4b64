"""What a model's states, vectors and texts say about the nodes of a graph, for any codec.

A node is read as its codec says: after a prefix, by the product of its tokens' probabilities. Where a node is one token
and needs no prefix, that is the logit lens: a state h_k has already passed ``ln_f``, so ``lm_head`` alone decodes it
(Zhu et al. 2025, section 5), and no further pass is made. Node tokens differ between prompt samples of one problem;
here they are put back in the order of the problem's nodes, so that samples can be averaged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.coconut import CoconutGPT2, ThoughtTrace
from model.codec import Prompt, Reading, Written
from model.stats import Floats

CHUNK = 128
"""Next-token distributions made at a time."""
MOST_PLACES = 4096
"""Tokens written in one pass to read nodes of several tokens, of all runs together."""

Readings = Sequence[Sequence[Reading]]
"""By run, then by the states that are read: all K + 1, or the last alone."""


@dataclass(frozen=True)
class NodeLogProbs:
    """What the states h_0..h_K of B runs say about the N nodes of their graphs; NaN where a graph has fewer.

    Row t - 1 is what thought t holds, read from h_(t-1), or after it was fed where the codec reads so (``Codec.lag``);
    row K is read after all thoughts: the next step, or with such a codec the answer. ``probability``, ``special`` and
    ``other`` sum to 1 over everything the model could write where nodes are read.
    """

    nodes: Floats
    """``B K+1 N``: log-probability (nats) that the next step is this node: the sum over its tokens."""
    probability: Floats
    """``B K+1 N``: the same as a probability, raw (over everything)."""
    logit: Floats
    """``B K+1 N``: inner product of the state with the node's embedding; ``nodes`` where a node is several tokens."""
    log_norm: Floats
    """``B K+1``: ``logit - nodes``."""
    cosine: Floats
    """``B K+1 N``: cosine of the state with the node's key vector, in [-1, 1]."""
    special: Floats
    """``B K+1 S``: probability of each of ``Codec.special``."""
    other: Floats
    """``B K+1``: probability on what is neither a node of the graph nor special."""
    norm: Floats
    """``B K+1``: Euclidean norm of the state."""

    @property
    def normalised(self) -> Floats:
        """``B K+1 N``: probability among the nodes alone; sums to 1 over nodes."""
        return self.probability / np.nansum(self.probability, axis=-1, keepdims=True)

    @property
    def left_over(self) -> Floats:
        """``B K+1``: probability on anything that is no node of the graph, so what ``normalised`` leaves out."""
        return self.special.sum(axis=-1) + self.other


@dataclass(frozen=True)
class VectorReading:
    """The logit lens of vectors that need not be states: each token of a node is read from the vector alone."""

    nodes: Floats
    """``B T N``: log-probability (nats), the sum over the node's tokens; NaN where a graph has fewer nodes."""
    logit: Floats
    """``B T N``: inner product with the node's embedding; ``nodes`` where a node is several tokens."""


@dataclass(frozen=True)
class ForcedAnswers:
    """The answers of B runs when an answer is forced after k thoughts. ``B K+1`` each; log-probabilities in nats."""

    log_p_target: Floats
    log_p_other: Floats
    """Of the other candidate."""
    neither: NDArray[np.bool_]
    """The most probable token begins neither candidate: an answer between two that the model would not give."""

    @property
    def log_odds(self) -> Floats:
        """log P(target) - log P(other candidate)."""
        return self.log_p_target - self.log_p_other

    @property
    def p_target(self) -> Floats:
        return np.exp(self.log_p_target)

    @property
    def p_other(self) -> Floats:
        return np.exp(self.log_p_other)


@torch.inference_mode()
def node_log_probs(model: CoconutGPT2, trace: ThoughtTrace, prompts: Sequence[Prompt]) -> NodeLogProbs:
    """What the states of a trace say about the nodes of their problems; prompts in the order of the batch."""
    codec, n_thoughts = model.codec, trace.n_thoughts
    ks = [min(k + codec.lag, n_thoughts) for k in range(n_thoughts + 1)]
    readings = [[codec.reading(prompt, k) for k in ks] for prompt in prompts]
    if codec.lag:  # thought t is read behind h_t, and what is left to read after the last is the answer
        readings = [[*row[:-1], codec.answer_reading(prompt)] for row, prompt in zip(readings, prompts, strict=True)]
    place, nodes = _read(model, trace, readings, ks)
    states, keys = trace.states.float(), _node_vectors(model, prompts)
    one_token, norm = _one_token(readings), states.norm(dim=-1)
    logit = _at_nodes(place.float(), readings) if one_token else nodes
    inner = logit.float() if one_token else states @ keys.transpose(1, 2)
    cosine = inner / (norm[..., None] * keys.norm(dim=-1)[:, None])
    anything = place.float().double().softmax(dim=-1)
    probability = _at_nodes(anything, readings) if one_token else nodes.exp()
    special = anything[..., list(codec.special.values())]
    other = 1 - special.sum(dim=-1) - probability.nansum(dim=-1)
    return NodeLogProbs(
        nodes=_array(nodes),
        probability=_array(probability),
        logit=_array(logit),
        log_norm=_array(place.double().logsumexp(dim=-1) if one_token else torch.zeros_like(norm)),
        cosine=_array(cosine.masked_fill(nodes.isnan(), torch.nan)),
        special=_array(special),
        other=_array(other.clamp(min=0)),
        norm=_array(norm),
    )


@torch.inference_mode()
def node_scores(model: CoconutGPT2, trace: ThoughtTrace, readings: Readings) -> tuple[Floats, Floats]:
    """``logit`` and ``probability`` as in ``NodeLogProbs``, ``B n N`` each, of the last n states, read as told."""
    place, nodes = _read(model, trace, readings)
    if _one_token(readings):
        anything = place.float().double().softmax(dim=-1)
        return _array(_at_nodes(place.float(), readings)), _array(_at_nodes(anything, readings))
    return _array(nodes), _array(nodes.exp())


@torch.inference_mode()
def vector_log_probs(model: CoconutGPT2, vectors: Tensor, prompts: Sequence[Prompt]) -> VectorReading:
    """The logit lens of any vectors, ``B T n_embd``, such as thoughts as they were fed."""
    readings = [[Reading((), model.codec.node_tokens(prompt))] * vectors.shape[1] for prompt in prompts]
    logits = model.logits(vectors).double()
    log_probs = logits.log_softmax(dim=-1)
    if _one_token(readings):
        return VectorReading(_array(_at_nodes(log_probs, readings)), _array(_at_nodes(logits, readings)))
    nodes = _blank(vectors, readings)
    for row, (first, *_) in enumerate(readings):
        for node, sequence in enumerate(first.sequences):
            nodes[row, :, node] = log_probs[row][:, list(sequence)].sum(dim=-1)
    return VectorReading(_array(nodes), _array(nodes))


def next_log_probs(model: CoconutGPT2, states: Tensor) -> Tensor:
    """``... vocab``: log-probabilities (nats) of the next token, of states ``... n_embd``."""
    return model.logits(states).log_softmax(dim=-1)


def key_vectors(model: CoconutGPT2) -> Tensor:
    """``n_keys n_embd``: mean unembedding row over each key's tokens, without gradient."""
    return torch.stack([_mean_row(model, tokens) for tokens in model.codec.key_tokens()])


@torch.inference_mode()
def forced_answers(
    model: CoconutGPT2, trace: ThoughtTrace, prompts: Sequence[Prompt], *, last_only: bool = False
) -> ForcedAnswers:
    """The answers if one is forced after k = 0..K thoughts; ``last_only``: after all of them, ``B 1``."""
    pairs = _candidates(model, prompts, 1 if last_only else trace.n_thoughts + 1)
    place, found = _read(model, trace, pairs)
    starts = torch.tensor([[[sequence[0] for sequence in reading.sequences] for reading in row] for row in pairs])
    neither = (place.argmax(dim=-1, keepdim=True) != starts.to(place.device)).all(dim=-1)
    return ForcedAnswers(_array(found[..., 0]), _array(found[..., 1]), neither.cpu().numpy())


def answer_log_odds(model: CoconutGPT2, trace: ThoughtTrace, prompts: Sequence[Prompt]) -> Tensor:
    """``B``: log P(target) - log P(other candidate), nats, forced after all thoughts. Gradients flow."""
    pairs = _candidates(model, prompts, 1)
    _, found = _read(model, trace, pairs)
    return found[:, 0, 0] - found[:, 0, 1]


@torch.inference_mode()
def generated_answers(model: CoconutGPT2, trace: ThoughtTrace, prompts: Sequence[Prompt]) -> list[list[Written]]:
    """``B`` by ``K+1``: what the model writes by itself after k = 0..K thoughts. One pass for all k."""
    codec = model.codec
    longest = [codec.longest_generation(prompt.problem) for prompt in prompts]
    written = model.write_after_each(trace, max(longest), stop=codec.has_ended, first=codec.after).tolist()
    return [
        [codec.parse(tokens[:n], prompt) for tokens in row]
        for row, n, prompt in zip(written, longest, prompts, strict=True)
    ]


# --- private --------------------------------------------------------------------------------------------------------


def _mean_row(model: CoconutGPT2, tokens: Sequence[int]) -> Tensor:
    return model.lm_head.weight.detach()[list(tokens)].mean(dim=0)


def _node_vectors(model: CoconutGPT2, prompts: Sequence[Prompt]) -> Tensor:
    """``B N n_embd`` (float32): as ``key_vectors``, of the nodes of each prompt."""
    names = [model.codec.node_tokens(prompt) for prompt in prompts]
    if all(len(name) == 1 for row in names for name in row):
        return model.lm_head.weight.detach()[_padded([[name[0] for name in row] for row in names])].float()
    rows = [torch.stack([_mean_row(model, name) for name in row]) for row in names]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).float()


def _candidates(model: CoconutGPT2, prompts: Sequence[Prompt], n_read: int) -> Readings:
    """The target and the other candidate of every problem, read as the answer."""
    found = []
    for prompt in prompts:
        of, problem = model.codec.answer_reading(prompt), prompt.problem
        found.append([Reading(of.prefix, (of.sequences[problem.target], of.sequences[problem.neg_target]))] * n_read)
    return found


def _one_token(readings: Readings) -> bool:
    return all(len(sequence) == 1 for row in readings for reading in row for sequence in reading.sequences)


def _read(
    model: CoconutGPT2, trace: ThoughtTrace, readings: Readings, ks: Sequence[int] | None = None
) -> tuple[Tensor, Tensor]:
    """Next-token logits behind the prefixes, ``B n vocab``; log-probabilities of the sequences, ``B n N`` (float64).

    ``ks``: the number of thoughts that each of the n readings is made after; by default those of the last n states.
    """
    n_states = trace.n_thoughts + 1
    last = list(range(n_states - len(readings[0]), n_states))
    ks = last if ks is None else list(ks)
    prefixes = {reading.prefix for row in readings for reading in row}
    if ks != last or not _one_token(readings) or len(prefixes) > 1 or max(map(len, prefixes)) > 1:
        return _read_along_trees(model, trace, readings, ks)
    (prefix,) = prefixes
    n_read = len(readings[0])
    if not prefix:
        place = model.logits(trace.states[:, -n_read:])
    elif n_read == trace.n_thoughts + 1:
        place = model.logits_after(trace, *prefix)
    else:
        # One token after the last thought alone, and what stands at the place that is read means nothing.
        forced = torch.full((trace.batch_size, 2), *prefix, device=trace.states.device)
        place = model.continuation_logits(trace, forced)[:, 1:]
    return place, _at_nodes(place.double().log_softmax(dim=-1), readings)


class _Tree:
    """All that is written in one run to read it: what several sequences begin with is written once.

    Sources are states from which a next token is read: 0..K the run's own, then those of the tokens of the tree.
    """

    def __init__(self, n_states: int) -> None:
        self.n_states = n_states
        self.tokens: list[int] = []
        self.after: list[int] = []
        self.before: list[list[int]] = []
        """Of each token, the tokens on its branch, itself last."""
        self._known: dict[tuple[int, int], int] = {}

    def source(self, source: int, tokens: Sequence[int]) -> int:
        """The source behind tokens that are written from a source."""
        for token in tokens:
            if (source, token) not in self._known:
                number = len(self.tokens)
                root = source < self.n_states
                self.after.append(source if root else self.after[source - self.n_states])
                self.before.append([*([] if root else self.before[source - self.n_states]), number])
                self.tokens.append(token)
                self._known[source, token] = self.n_states + number
            source = self._known[source, token]
        return source


def _read_along_trees(
    model: CoconutGPT2, trace: ThoughtTrace, readings: Readings, ks: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """As ``_read``: one tree of tokens for each run, all of a few runs in one pass over the trace's cache."""
    n_states = trace.n_thoughts + 1
    trees, places, reads = list[_Tree](), list[list[int]](), list[list[tuple[int, int, int, int]]]()
    for row in readings:
        trees.append(tree := _Tree(n_states))
        places.append(row_places := [])
        reads.append(row_reads := [])
        for i, reading in enumerate(row):
            row_places.append(behind := tree.source(ks[i], reading.prefix))
            for node, sequence in enumerate(reading.sequences):
                source = behind
                for j, token in enumerate(sequence):
                    row_reads.append((i, node, source, token))
                    source = tree.source(source, [token]) if j < len(sequence) - 1 else source
    nodes, place = _blank(trace.states, readings), list[Tensor]()
    longest = max(len(tree.tokens) for tree in trees)
    size = max(1, MOST_PLACES // (longest + n_states))
    for start in range(0, len(trees), size):
        rows = torch.arange(start, min(start + size, len(trees)), device=trace.states.device)
        part = trace.select(rows) if len(trees) > size else trace
        states = torch.cat([part.states, _written(model, part, trees[start : start + size])], dim=1)
        for i, row in enumerate(rows.tolist()):
            place.append(model.logits(states[i, places[row]]))
            which, node, source, token = torch.tensor(reads[row], device=states.device).T
            used, at = source.unique(return_inverse=True)
            log_p = torch.empty(len(source), dtype=torch.float64, device=states.device)
            for first in range(0, len(used), CHUNK):
                logits = model.logits(states[i, used[first : first + CHUNK]])
                here = (at >= first) & (at < first + CHUNK)
                of_token = logits[at[here] - first, token[here]].double()
                log_p[here] = of_token - logits.float().logsumexp(dim=-1).double()[at[here] - first]
            nodes[row, :, : int(node.max()) + 1] = 0
            nodes[row].index_put_((which, node), log_p, accumulate=True)
    return torch.stack(place), nodes


def _written(model: CoconutGPT2, trace: ThoughtTrace, trees: Sequence[_Tree]) -> Tensor:
    """``B n n_embd``: the state behind every token of each run's tree."""
    longest, device = max(len(tree.tokens) for tree in trees), trace.states.device
    on_branch = torch.eye(longest, dtype=torch.bool).repeat(len(trees), 1, 1)
    for row, tree in enumerate(trees):
        lengths = [len(before) for before in tree.before]
        at = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
        on_branch[row, at, torch.tensor([token for before in tree.before for token in before])] = True
    tokens, after = (_padded([getattr(tree, name) for tree in trees]).to(device) for name in ("tokens", "after"))
    return model.branch_states(trace, tokens, after=after, on_branch=on_branch.to(device))


def _at_nodes(values: Tensor, readings: Readings) -> Tensor:
    """``B n N`` (float64): values of ``B n vocab`` at the nodes' only tokens."""
    found = _blank(values, readings)
    for row, (first, *_) in enumerate(readings):
        tokens = [sequence[0] for sequence in first.sequences]
        found[row, :, : len(tokens)] = values[row][:, tokens].double()
    return found


def _blank(values: Tensor, readings: Readings) -> Tensor:
    n_nodes = max(len(row[0].sequences) for row in readings)
    size = (len(readings), len(readings[0]), n_nodes)
    return torch.full(size, torch.nan, dtype=torch.float64, device=values.device)


def _padded(rows: Sequence[Sequence[int]]) -> Tensor:
    """Rows of numbers as one int64 tensor, zeros at the ends of shorter ones."""
    found = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    for i, row in enumerate(rows):
        found[i, : len(row)] = torch.tensor(row)
    return found


def _array(tensor: Tensor) -> Floats:
    return tensor.double().cpu().numpy()
