"""Where thoughts look, and how edges come to carry their ends (Zhu et al. 2025, section 5 and table 1).

The shipped attention kernels return no weights, so everything here runs on an **eager twin**: a second model object
over the same tensors. Nothing is copied and the model itself is left as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import DynamicCache, GPT2Model

from model.coconut import CoconutConfig, CoconutGPT2, ThoughtTrace
from model.codec import PromptBatch

COPY_COLUMNS = ("source", "target", "itself", "elsewhere")
"""Where an edge token looks in the first layer."""


@dataclass(frozen=True, eq=False)
class Replay:
    """The positions of h_0..h_K seen from inside. B prompts, L layers, K + 1 states, P prompt tokens."""

    states: Tensor
    """``B K+1 n_embd``: the last hidden states again; equal to the trace's."""
    residual: Tensor
    """``L B K+1 n_embd``: the residual stream before block 1, 2, ..., L, not normalised."""
    attention: Tensor
    """``L B K+1 P+K``: attention weights summed over heads; each row sums to the number of heads."""


class EagerTwin:
    """A model over the same weights that also returns its attention weights."""

    def __init__(self, model: CoconutGPT2) -> None:
        self._all = _share(model, model.config.n_layer)
        self._first = _share(model, 1)

    @torch.inference_mode()
    def replay(self, batch: PromptBatch, trace: ThoughtTrace) -> Replay:
        """Run the last prompt token and all thoughts of a trace again, in one pass over its cache."""
        n_prompt, n_thoughts = batch.input_ids.shape[1], trace.n_thoughts
        cache = DynamicCache(config=self._all.config)
        for layer, (keys, values) in enumerate(trace.cache):
            cache.update(keys[:, :, : n_prompt - 1], values[:, :, : n_prompt - 1], layer)
        last = self._all.wte(batch.input_ids[:, -1:])
        seen = n_prompt + n_thoughts
        causal = torch.ones(n_thoughts + 1, seen, dtype=torch.bool, device=last.device).tril(diagonal=n_prompt - 1)
        allowed = causal & trace.attention_mask[:, None, :].bool()
        mask = torch.zeros(allowed.shape, dtype=last.dtype, device=last.device)
        mask = mask.masked_fill(~allowed, torch.finfo(last.dtype).min)[:, None]
        start = batch.attention_mask.sum(dim=1) - 1
        position = start[:, None] + torch.arange(n_thoughts + 1, device=last.device)
        out = self._all(
            inputs_embeds=torch.cat([last, trace.thoughts], dim=1),
            attention_mask=mask,
            position_ids=position,
            past_key_values=cache,
            use_cache=True,
            output_attentions=True,
            output_hidden_states=True,
        )
        assert len(out.attentions) == self._all.config.n_layer, "this attention kernel returns no weights"
        attention = torch.stack([layer.sum(dim=1) for layer in out.attentions])
        return Replay(out.last_hidden_state, torch.stack(out.hidden_states[:-1]), attention)

    @torch.inference_mode()
    def copy_map(self, batch: PromptBatch, n_edges: list[int]) -> Tensor:
        """``B n_head 4``: where the ``|`` tokens look in layer 1, mean over edges (COPY_COLUMNS; rows sum to 1)."""
        mask = batch.attention_mask
        position = (mask.cumsum(dim=1) - 1).clamp(min=0)
        out = self._first(
            input_ids=batch.input_ids,
            attention_mask=mask,
            position_ids=position,
            output_attentions=True,
            use_cache=False,
        )
        assert len(out.attentions) == 1, "this attention kernel returns no weights"
        rows = []
        length = batch.input_ids.shape[1]
        for b, n in enumerate(n_edges):
            mark = length - int(mask[b].sum()) + 3 * torch.arange(1, n + 1, device=mask.device)
            weights = out.attentions[0][b]
            near = torch.stack([weights[:, mark, mark - back].mean(dim=1) for back in (2, 1, 0)], dim=1)
            rows.append(torch.cat([near, 1 - near.sum(dim=1, keepdim=True)], dim=1))
        return torch.stack(rows)


def edge_attention(replay: Replay, batch: PromptBatch, row: int, edge_order: tuple[int, ...], n_edges: int) -> Tensor:
    """``L K+1 E``: attention of each state's position to each edge of one problem, its three tokens added up.

    ``edge_order`` is the draw's; filler edges, numbered from ``n_edges`` on, are left out.
    """
    length = batch.input_ids.shape[1]
    first = length - int(batch.attention_mask[row].sum()) + 1
    weights = replay.attention[:, row, :, first : first + 3 * len(edge_order)]
    by_place = weights.unflatten(-1, (len(edge_order), 3)).sum(dim=-1)
    place = {edge: i for i, edge in enumerate(edge_order)}
    return by_place[..., [place[edge] for edge in range(n_edges)]]


def _share(model: CoconutGPT2, n_layer: int) -> GPT2Model:
    config = CoconutConfig.from_dict(model.config.to_dict() | {"n_layer": n_layer})
    # Made without storage: every tensor is the model's own.
    with torch.device("meta"):
        twin = GPT2Model._from_config(config, attn_implementation="eager")
    own = twin.state_dict().keys()
    shared = {name: tensor for name, tensor in model.transformer.state_dict().items() if name in own}
    twin.load_state_dict(shared, assign=True)
    return twin.eval()
