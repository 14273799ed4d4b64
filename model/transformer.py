"""One pass of GPT-2 over Hugging Face's parameters, written for thoughts that are fed one at a time.

``GPT2LMHeadModel`` stays the container of the weights; only the order of its arithmetic is ours, and equal to its own
within rounding (tests/test_transformer.py). HF's forward makes its masks anew at every call, copies the whole cache
for every thought, and computes the last block at positions that nobody reads: two thirds of a short prompt's work in
a model of two layers is for nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import GPT2LMHeadModel

KeysValues = tuple[Tensor, Tensor]
"""Keys and values of one layer, each ``B n_head length head_width``."""

Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""(layer from 0, queries, keys, values of the new positions) to what the queries attend to, all of one shape but for
the number of queries: ``B n_head n head_width``."""

Stream = Callable[[int, Tensor], Tensor]
"""(blocks passed: 1..n_layer, residual stream at the last position, ``B n_embd``) to what goes on in its place."""

MOST_ONE_HOT = 1024
"""Rows of embedding tables up to which, in training on CUDA, looking up is multiplying by one-hot rows."""


def embed(model: GPT2LMHeadModel, ids: Tensor, position: Tensor) -> Tensor:
    """Token and position embeddings, ``B n n_embd``, of int64 ``B n``."""
    tokens, places = model.transformer.wte.weight, model.transformer.wpe.weight
    if ids.is_cuda and tokens.requires_grad and torch.is_grad_enabled() and len(tokens) + len(places) <= MOST_ONE_HOT:
        # The gradient of a lookup of so few rows is one matrix product; scattering it takes ten times as long.
        row = torch.arange(len(tokens) + len(places), device=ids.device)
        hot = (ids[..., None] == row) | ((position + len(tokens))[..., None] == row)
        return _drop(model, hot.to(tokens.dtype) @ torch.cat([tokens, places]))
    return _drop(model, F.embedding(ids, tokens) + F.embedding(position, places))


def place(model: GPT2LMHeadModel, vectors: Tensor, position: Tensor) -> Tensor:
    """Vectors fed in place of token embeddings, ``B n n_embd``, with their positions added."""
    return _drop(model, vectors + F.embedding(position, model.transformer.wpe.weight))


def run(
    model: GPT2LMHeadModel, x: Tensor, attend: Attend, *, n_read: int | None = None, stream: Stream | None = None
) -> Tensor:
    """Last hidden states, after ``ln_f``, of the last ``n_read`` (default: all) of the positions ``B n n_embd``."""
    config = model.config
    blocks: list[Any] = list(model.transformer.h)  # HF's modules, for their parameters only
    for layer, block in enumerate(blocks):
        heads = block.attn
        width, weight, bias = heads.embed_dim, heads.c_attn.weight, heads.c_attn.bias
        y = _norm(x, block.ln_1)
        if layer == len(blocks) - 1 and n_read is not None and n_read < x.shape[1]:
            x = x[:, -n_read:]
            q = _affine(y[:, -n_read:], weight[:, :width], bias[:width])
            k, v = _affine(y, weight[:, width:], bias[width:]).split(width, dim=2)
        else:
            q, k, v = _affine(y, weight, bias).split(width, dim=2)
        seen = attend(layer, *(part.unflatten(2, (heads.num_heads, -1)).transpose(1, 2) for part in (q, k, v)))
        p = config.resid_pdrop if model.training else 0.0
        y = _affine(seen.transpose(1, 2).flatten(2), heads.c_proj.weight, heads.c_proj.bias)
        x = x + F.dropout(y, p, training=p > 0)
        y = _affine(_norm(x, block.ln_2), block.mlp.c_fc.weight, block.mlp.c_fc.bias)
        y = F.gelu(y, approximate="tanh") if config.activation_function in _TANH_GELU else block.mlp.act(y)
        x = x + F.dropout(_affine(y, block.mlp.c_proj.weight, block.mlp.c_proj.bias), p, training=p > 0)
        if stream is not None:
            x = torch.cat([x[:, :-1], stream(layer + 1, x[:, -1])[:, None]], dim=1)
    return _norm(x, model.transformer.ln_f)


class Cache:
    """Keys and values of the positions so far, longer by those of every pass that ``attend`` is used for.

    Passes make new tensors: what the cache was opened with is left as it is.
    """

    def __init__(self, model: GPT2LMHeadModel, layers: Sequence[KeysValues] = ()) -> None:
        self._model = model
        self.layers = list(layers)

    def attend(self, allowed: Tensor) -> Attend:
        """Attention of a pass whose new positions may look where ``allowed`` (bool, ``B n seen+n``) says."""
        mask: Tensor | None = None

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            nonlocal mask
            if layer < len(self.layers):
                before_k, before_v = self.layers[layer]
                k, v = torch.cat([before_k, k], dim=2), torch.cat([before_v, v], dim=2)
                self.layers[layer] = k, v
            else:
                self.layers.append((k, v))
            if mask is None:
                mask = additive(allowed, q.dtype)
            p = self._model.config.attn_pdrop if self._model.training else 0.0
            scale = attention_scale(self._model, layer)
            rows = mask[:, :, -q.shape[2] :]
            return F.scaled_dot_product_attention(q, k, v, attn_mask=rows, dropout_p=p, scale=scale)

        return attend


class GrowingMemory:
    """Keys and values in a run of thoughts, made anew for every thought: the plain way, for any use of gradients."""

    def __init__(self, model: GPT2LMHeadModel, layers: Sequence[KeysValues], attention_mask: Tensor) -> None:
        self._cache, self._mask = Cache(model, layers), attention_mask

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """As ``Attend``, for one new position that may look at everything before it."""
        if layer == 0:
            self._mask = F.pad(self._mask, (0, 1), value=1)
            self._look = self._cache.attend(self._mask[:, None].bool())
        return self._look(layer, q, k, v)

    def layers(self) -> tuple[KeysValues, ...]:
        """All keys and values after the last thought."""
        return tuple(self._cache.layers)


class ThoughtMemory:
    """Keys and values in a run of thoughts: room for all is made once, so a thought writes its own and copies nothing.

    Gradients: what a thought sends back to the prompt's keys and values is a sum over thoughts, and is computed in
    one product for all of them when the last has gone by, not as one full-size tensor for each.
    """

    def __init__(
        self, model: GPT2LMHeadModel, layers: Sequence[KeysValues], attention_mask: Tensor, n_thoughts: int
    ) -> None:
        assert model.training or not torch.is_grad_enabled(), "gradients are for one backward pass over the whole run"
        assert not (model.training and model.config.attn_pdrop), "thoughts are fed without attention dropout"
        n_seen = attention_mask.shape[1]
        mask = F.pad(additive(attention_mask[:, None].bool(), layers[0][0].dtype), (0, n_thoughts))
        self._rooms = [_Room.of(k, v, mask, n_thoughts, attention_scale(model, i)) for i, (k, v) in enumerate(layers)]
        self._parts = [[_Prefix.apply(k, v, room)] for (k, v), room in zip(layers, self._rooms, strict=True)]
        self._n_before = n_seen
        self._graph = torch.is_grad_enabled()

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """As ``Attend``, for one new position that may look at everything before it."""
        parts = self._parts[layer]
        done = len(parts) - 1
        if self._graph:
            parts.append((k, v))
        else:
            parts.append(())
        return _Look.apply(q, k, v, *parts[0], self._rooms[layer], done)

    def layers(self) -> tuple[KeysValues, ...]:
        """All keys and values after the last thought."""
        if not self._graph:
            return tuple((room.keys, room.values) for room in self._rooms)
        return tuple(
            _Joined.apply(room, *(tensor for part in parts for tensor in part))
            for room, parts in zip(self._rooms, self._parts, strict=True)
        )


@dataclass(eq=False)
class _Room:
    """One layer's keys and values, ``B n_head P+K head_width``, the K thoughts' places filled one after another."""

    keys: Tensor
    values: Tensor
    mask: Tensor
    """``B 1 1 P+K``: additive."""
    n_before: int
    scale: float
    pending: list[tuple[int, Tensor, Tensor, Tensor, Tensor]] = field(default_factory=list)
    """Of the thoughts that gradients have come back to, last thought first: (places it saw, query, gradient of its
    scores, its attention weights, gradient of what it attended to)."""

    @classmethod
    def of(cls, keys: Tensor, values: Tensor, mask: Tensor, n_thoughts: int, scale: float) -> _Room:
        n_before = keys.shape[2]
        shape = (*keys.shape[:2], n_before + n_thoughts, keys.shape[3])
        room = cls(keys.new_empty(shape), values.new_empty(shape), mask, n_before, scale)
        room.keys[:, :, :n_before], room.values[:, :, :n_before] = keys.detach(), values.detach()
        return room


class _Prefix(torch.autograd.Function):
    """Keys and values from before the thoughts, unchanged; backward adds what all thoughts sent to them."""

    @staticmethod
    def forward(ctx: Any, keys: Tensor, values: Tensor, room: _Room) -> tuple[Tensor, Tensor]:
        ctx.room = room
        return keys.view_as(keys), values.view_as(values)

    @staticmethod
    def backward(ctx: Any, d_keys: Tensor, d_values: Tensor) -> tuple[Tensor | None, ...]:
        n, pending = ctx.room.n_before, ctx.room.pending
        if not pending:
            return d_keys, d_values, None
        queries = torch.cat([q for _, q, _, _, _ in pending], dim=2)
        d_scores = torch.cat([d[..., :n] for _, _, d, _, _ in pending], dim=2)
        weights = torch.cat([w[..., :n] for _, _, _, w, _ in pending], dim=2)
        d_seen = torch.cat([d for _, _, _, _, d in pending], dim=2)
        pending.clear()
        return _sum(d_keys, d_scores, queries), _sum(d_values, weights, d_seen), None


class _Look(torch.autograd.Function):
    """One thought's attention to everything before it and itself."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, _k: Tensor, _v: Tensor, room: _Room, done: int) -> Tensor:
        n = room.n_before + done + 1
        room.keys[:, :, n - 1 : n], room.values[:, :, n - 1 : n] = k, v
        scores = (q @ room.keys[:, :, :n].transpose(2, 3)).mul_(room.scale).add_(room.mask[..., :n])
        weights = scores.softmax(dim=-1)
        ctx.room, ctx.n = room, n
        ctx.save_for_backward(q, weights)
        return weights @ room.values[:, :, :n]

    @staticmethod
    def backward(ctx: Any, d_seen: Tensor) -> tuple[Tensor | None, ...]:
        room, n, (q, weights) = ctx.room, ctx.n, ctx.saved_tensors
        d_weights = d_seen @ room.values[:, :, :n].transpose(2, 3)
        d_scores = torch._softmax_backward_data(d_weights, weights, -1, weights.dtype).mul_(room.scale)
        room.pending.append((n, q, d_scores, weights, d_seen))
        # Gradients have come back from every later thought by now: they are in the graph between it and this one.
        own = [(q, d[..., n - 1 : n], w[..., n - 1 : n], s) for _, q, d, w, s in room.pending]
        queries, d_mine, w_mine, seen = (torch.cat(parts, dim=2) for parts in zip(*own, strict=True))
        d_k, d_v = d_mine.transpose(2, 3) @ queries, w_mine.transpose(2, 3) @ seen
        return d_scores @ room.keys[:, :, :n], d_k, d_v, None, None, None, None


class _Joined(torch.autograd.Function):
    """All keys and values of a room, of which the parts (keys, values, keys, values, ...) are what was put in."""

    @staticmethod
    def forward(ctx: Any, room: _Room, *parts: Tensor) -> KeysValues:
        ctx.sizes = [part.shape[2] for part in parts[::2]]
        return room.keys, room.values

    @staticmethod
    def backward(ctx: Any, d_keys: Tensor, d_values: Tensor) -> tuple[Tensor | None, ...]:
        pairs = zip(d_keys.split(ctx.sizes, dim=2), d_values.split(ctx.sizes, dim=2), strict=True)
        return None, *(part for pair in pairs for part in pair)


def additive(allowed: Tensor, dtype: torch.dtype) -> Tensor:
    """``B n seen`` (bool) as the additive attention mask ``B 1 n seen``. A row may allow nothing (padding)."""
    none = torch.finfo(dtype).min
    return torch.zeros(allowed.shape, dtype=dtype, device=allowed.device).masked_fill_(~allowed, none)[:, None]


def attention_scale(model: GPT2LMHeadModel, layer: int) -> float:
    """What a layer's (from 0) scores are multiplied by."""
    config = model.config
    scale = (config.n_embd // config.n_head) ** -0.5 if config.scale_attn_weights else 1.0
    return scale / (layer + 1) if config.scale_attn_by_inverse_layer_idx else scale


_TANH_GELU = ("gelu_new", "gelu_pytorch_tanh")


def _drop(model: GPT2LMHeadModel, x: Tensor) -> Tensor:
    p = model.config.embd_pdrop if model.training else 0.0
    return F.dropout(x, p, training=p > 0)


def _norm(x: Tensor, norm: torch.nn.LayerNorm) -> Tensor:
    return F.layer_norm(x, norm.normalized_shape, norm.weight, norm.bias, norm.eps)


def _affine(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return torch.addmm(bias, x.flatten(0, 1), weight).unflatten(0, x.shape[:2])


def _sum(so_far: Tensor, weights: Tensor, rows: Tensor) -> Tensor:
    """``so_far + weights^T rows``, as one batched product."""
    shape = so_far.shape
    product = torch.baddbmm(so_far.flatten(0, 1), weights.flatten(0, 1).transpose(1, 2), rows.flatten(0, 1))
    return product.view(shape)
