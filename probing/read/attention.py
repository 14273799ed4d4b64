"""Where thoughts look, and how edges come to carry their ends (Zhu et al. 2025, section 5 and table 1).

What a position attended to is in the trace's cache, so every attention weight can be computed again from it: the
positions of h_0..h_K run once more through ``model.transformer``, with an ``Attend`` that keeps its weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from model.coconut import CoconutGPT2, ThoughtTrace
from model.codec import Prompt, PromptBatch
from model.transformer import additive, attention_scale, embed, place, run

COPY_COLUMNS = ("source", "target", "itself", "elsewhere")
"""Where the token that ends an edge looks in the first layer."""


@dataclass(frozen=True, eq=False)
class Replay:
    """The positions of h_0..h_K seen from inside. B prompts, L layers, K + 1 states, P prompt tokens."""

    states: Tensor
    """``B K+1 n_embd``: the last hidden states again; equal to the trace's."""
    residual: Tensor
    """``L B K+1 n_embd``: the residual stream before block 1, 2, ..., L, not normalised."""
    attention: Tensor
    """``L B K+1 P+K``: attention weights summed over heads; each row sums to the number of heads."""


@torch.inference_mode()
def replay(model: CoconutGPT2, batch: PromptBatch, trace: ThoughtTrace) -> Replay:
    """The last prompt token and all thoughts of a trace once more, each position as a row of one batch."""
    n_prompt, n_states = batch.input_ids.shape[1], trace.n_thoughts + 1
    position = trace.next_position[:, None] - n_states + torch.arange(n_states, device=trace.states.device)
    last = embed(model, batch.input_ids[:, -1:], position[:, :1])
    x = torch.cat([last, place(model, trace.thoughts, position[:, 1:])], dim=1).flatten(0, 1)[:, None]
    seen = n_prompt + trace.n_thoughts
    causal = torch.ones(n_states, seen, dtype=torch.bool, device=x.device).tril(diagonal=n_prompt - 1)
    mask = additive(causal & trace.attention_mask[:, None].bool(), x.dtype)
    residual, attention = [x[:, 0]], []

    def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        keys, values = trace.cache[layer]
        q = q.unflatten(0, (-1, n_states))[:, :, :, 0].transpose(1, 2)
        weights = (q @ keys.transpose(2, 3) * attention_scale(model, layer) + mask).softmax(dim=-1)
        attention.append(weights.sum(dim=1))
        return (weights @ values).transpose(1, 2).flatten(0, 1)[:, :, None]

    def keep(layer: int, hidden: Tensor) -> Tensor:
        residual.append(hidden)
        return hidden

    states = run(model, x, attend, stream=keep, operations=model.operations)
    layers = torch.stack(residual[:-1]).unflatten(1, (-1, n_states))
    return Replay(states[:, 0].unflatten(0, (-1, n_states)), layers, torch.stack(attention))


@torch.inference_mode()
def copy_map(model: CoconutGPT2, batch: PromptBatch, prompts: Sequence[Prompt]) -> Tensor:
    """``B n_head 4``: where the last tokens of edges look in layer 1, mean over edges (COPY_COLUMNS; rows sum to 1)."""
    mask = batch.attention_mask
    block: Any = model.transformer.h[0]  # HF's module
    x = embed(model, batch.input_ids, (mask.cumsum(dim=1) - 1).clamp(min=0))
    qkv = block.attn.c_attn(block.ln_1(x)).unflatten(2, (3, block.attn.num_heads, -1))
    q, k = qkv[:, :, 0].transpose(1, 2), qkv[:, :, 1].transpose(1, 2)
    causal = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).tril()
    allowed = additive(causal & mask[:, None].bool(), x.dtype)
    weights = (q @ k.transpose(2, 3) * attention_scale(model, 0) + allowed).softmax(dim=-1)
    found = []
    for row, prompt in zip(weights, prompts, strict=True):
        start = x.shape[1] - len(prompt.input_ids)
        each = []
        for span in prompt.edge_spans:
            looks = row[:, start + span.end - 1, start:]
            source, target = looks[:, span.start : span.target], looks[:, span.target : span.mark]
            near = torch.stack([source.sum(dim=1), target.sum(dim=1), looks[:, span.end - 1]], dim=1)
            each.append(torch.cat([near, 1 - near.sum(dim=1, keepdim=True)], dim=1))
        found.append(torch.stack(each).mean(dim=0))
    return torch.stack(found)


def edge_attention(replay: Replay, batch: PromptBatch, row: int, prompt: Prompt) -> Tensor:
    """``L K+1 E``: attention of each state's position to each edge of one problem, its tokens added up."""
    start = batch.input_ids.shape[1] - len(prompt.input_ids)
    weights = replay.attention[:, row, :, start:]
    return torch.stack([weights[..., span.start : span.end].sum(dim=-1) for span in prompt.edge_spans], dim=-1)
