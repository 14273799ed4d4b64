"""Gradients of a training step, summed where autograd would add them up one use at a time.

A step uses every weight once for the prompt, once for each thought and once for the continuation, and every thought
looks at the prompt's keys. Autograd makes one full-size gradient for each use and adds them. Here each use leaves its
factors behind, and when the last has gone by they are multiplied at once: fewer and larger products, and nothing
full-size is added. So one backward pass is all that a graph made of these can take.

The order is autograd's own: a use takes what it uses from an *anchor* node and sends nothing back along that edge, but
the anchor is not run before every use has been.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import GPT2LMHeadModel

from model.transformer import Operations, additive, attention_scale, with_room

SMALL = 8192
"""Uses of fewer rows than this are joined before they are multiplied."""


class Deferred(Operations):
    """``Operations`` of one step. Tensors are those that the modules hold while it runs (their cast copies, say)."""

    def __init__(self) -> None:
        self._anchors: dict[int, tuple[Tensor, Tensor, list[tuple[Tensor, ...]]]] = {}

    def norm(self, x: Tensor, norm: torch.nn.LayerNorm) -> Tensor:
        weight, bias, uses = self._anchor(norm, _Norms)
        return _Norm.apply(x, weight, bias, norm.eps, uses)

    def affine(self, x: Tensor, module: Any, columns: slice = slice(None)) -> Tensor:
        weight, bias, uses = self._anchor(module, _Affines)
        return _Affine.apply(x, weight, bias, columns, uses)

    def close(self) -> None:
        """Let go of the graph, which holds this in turn: no further use."""
        self._anchors.clear()

    def _anchor(self, module: Any, anchor: Any) -> tuple[Tensor, Tensor, list[tuple[Tensor, ...]]]:
        if id(module) not in self._anchors:
            uses: list[tuple[Tensor, ...]] = []
            self._anchors[id(module)] = (*anchor.apply(module.weight, module.bias, uses), uses)
        return self._anchors[id(module)]


class DeferredMemory:
    """Keys and values of one step: of the prompt, then K thoughts, then the tokens that are fed after them.

    Thought t may look at the prompt and at thoughts 1..t; token i of row b at the prompt, the first ``after[b]``
    thoughts and tokens 0..i.
    """

    def __init__(
        self, model: GPT2LMHeadModel, attention_mask: Tensor, n_thoughts: int, n_tokens: int, after: Tensor
    ) -> None:
        assert not model.config.attn_pdrop, "attention dropout is not for deferred gradients"
        device, dtype = attention_mask.device, model.transformer.wte.weight.dtype
        prompt, (n_rows, n), n_more = attention_mask.bool(), attention_mask.shape, n_thoughts + n_tokens
        more = torch.ones(n_more, n_more, dtype=torch.bool, device=device).tril().repeat(n_rows, 1, 1)
        more[:, n_thoughts:, :n_thoughts] = (torch.arange(n_thoughts, device=device) < after[:, None])[:, None]
        self._n_free = n_more + -(n + n_more) % 8  # rows whose length is a multiple of 8 are multiplied faster
        allowed = torch.cat([prompt[:, None].expand(-1, 1 + n_more, -1), F.pad(more, (0, 0, 1, 0))], dim=2)
        self._later = additive(F.pad(allowed, (0, self._n_free - n_more)), dtype)
        causal = torch.ones(n, n, dtype=torch.bool, device=device).tril()
        self._causal = additive(causal & prompt[:, None], dtype)
        self._model, self._n_prompt = model, n
        self._rooms: list[_Room] = []

    def read(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attention of the prompt's tokens, or of its last one, to the prompt."""
        rows, scale = self._later.shape[2], attention_scale(self._model, layer)
        room = _Room(with_room(k, self._n_free), with_room(v, self._n_free), rows, scale)
        self._rooms.append(room)
        room.hold(k, v)
        if q.shape[2] == 1:
            return room.look(q, self._later, slice(0, 1))
        return F.scaled_dot_product_attention(q, k, v, attn_mask=self._causal, scale=room.scale)

    def look(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attention of the next thoughts or tokens to what is before them and themselves."""
        room = self._rooms[layer]
        first = room.n_filled
        end = first + k.shape[2]
        room.keys[:, :, first:end], room.values[:, :, first:end] = k.detach(), v.detach()
        room.hold(k, v)
        return room.look(q, self._later, slice(first + 1 - self._n_prompt, end + 1 - self._n_prompt))

    def close(self) -> None:
        """Let go of the graph, which holds this in turn: no further use."""
        for room in self._rooms:
            room.anchors.clear()


class _Room:
    """One layer's keys and values, ``B n_head places head_width``, filled from the front and 0 beyond."""

    def __init__(self, keys: Tensor, values: Tensor, n_rows: int, scale: float) -> None:
        self.keys, self.values, self.scale = keys, values, scale
        self.n_rows = n_rows
        """Of all looks: of the prompt's last token, then of every thought and token after it."""
        self.n_filled = 0
        self.anchors: list[Tensor] = []
        self.sent: list[Tensor] = []
        """What looks send back, a row each, 0 until gradients have come back to it: queries and gradients of what they
        saw, ``B n_head rows head_width``; gradients of scores and weights, ``B n_head rows places``."""

    def hold(self, k: Tensor, v: Tensor) -> None:
        """The next places hold these, which are written there already."""
        places = slice(self.n_filled, self.n_filled + k.shape[2])
        self.anchors += _Held.apply(k, v, self, places)
        self.n_filled = places.stop

    def look(self, q: Tensor, masks: Tensor, rows: slice) -> Tensor:
        """Attention to what is held, where the additive masks ``B 1 rows places`` let these rows."""
        return _Look.apply(q, self, masks, rows, *self.anchors)

    def send(self, rows: slice, *parts: Tensor) -> None:
        """Keep what a look sends back."""
        if not self.sent:
            wide, narrow = (
                (*self.keys.shape[:2], self.n_rows, width) for width in (self.keys.shape[2], self.keys.shape[3])
            )  # fmt: skip
            self.sent = [self.keys.new_zeros(shape) for shape in (narrow, narrow, wide, wide)]
        for room, part in zip(self.sent, parts, strict=True):
            room[:, :, rows] = part


class _Held(torch.autograd.Function):
    """Anchor of some keys and values: what all looks send back to them."""

    @staticmethod
    def forward(ctx: Any, k: Tensor, v: Tensor, room: _Room, places: slice) -> tuple[Tensor, Tensor]:
        ctx.room, ctx.places = room, places
        ctx.set_materialize_grads(False)
        return k.view_as(k), v.view_as(v)

    @staticmethod
    def backward(ctx: Any, _k: Tensor | None, _v: Tensor | None) -> tuple[Tensor | None, ...]:
        queries, d_seen, d_scores, weights = ctx.room.sent
        at = ctx.places
        return d_scores[..., at].transpose(2, 3) @ queries, weights[..., at].transpose(2, 3) @ d_seen, None, None


class _Look(torch.autograd.Function):
    """Queries attend to what a mask lets them see of a room."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, room: _Room, masks: Tensor, rows: slice, *anchors: Tensor) -> Tensor:
        scores = (q @ room.keys.transpose(2, 3)).mul_(room.scale).add_(masks[:, :, rows])
        weights = scores.softmax(dim=-1)
        ctx.room, ctx.rows, ctx.n_anchors = room, rows, len(anchors)
        ctx.save_for_backward(q, weights)
        return weights @ room.values

    @staticmethod
    def backward(ctx: Any, d_seen: Tensor) -> tuple[Tensor | None, ...]:
        room, (q, weights) = ctx.room, ctx.saved_tensors
        d_weights = d_seen @ room.values.transpose(2, 3)
        d_scores = torch._softmax_backward_data(d_weights, weights, -1, weights.dtype).mul_(room.scale)
        room.send(ctx.rows, q, d_seen, d_scores, weights)
        return d_scores @ room.keys, None, None, None, *(None,) * ctx.n_anchors


class _Affine(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, columns: slice, uses: list) -> Tensor:
        rows = x.flatten(0, 1)
        ctx.save_for_backward(rows, weight)
        ctx.columns, ctx.uses = columns, uses
        return torch.addmm(bias[columns], rows, weight[:, columns]).unflatten(0, x.shape[:2])

    @staticmethod
    def backward(ctx: Any, d_y: Tensor) -> tuple[Tensor | None, ...]:
        rows, weight = ctx.saved_tensors
        d_rows = d_y.flatten(0, 1)
        ctx.uses.append((rows.detach(), d_rows, ctx.columns))
        return (d_rows @ weight[:, ctx.columns].t()).unflatten(0, d_y.shape[:2]), None, None, None, None


class _Affines(torch.autograd.Function):
    """Anchor of a weight and its bias."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, bias: Tensor, uses: list) -> tuple[Tensor, Tensor]:
        ctx.uses, ctx.like = uses, (weight.shape, weight.dtype, weight.device)
        ctx.set_materialize_grads(False)
        return weight.view_as(weight), bias.view_as(bias)

    @staticmethod
    def backward(ctx: Any, _w: Tensor | None, _b: Tensor | None) -> tuple[Tensor | None, ...]:
        shape, dtype, device = ctx.like
        d_weight, d_bias = (torch.zeros(size, dtype=dtype, device=device) for size in (shape, shape[1:]))
        parts = {columns.start: columns for *_, columns in ctx.uses}
        for start, columns in parts.items():
            for x, d_y in _in_groups([use[:2] for use in ctx.uses if use[2].start == start]):
                d_weight[:, columns].addmm_(x.t(), d_y)
                d_bias[columns] += _sum(d_y)
        ctx.uses.clear()
        return d_weight, d_bias, None


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, uses: list) -> Tensor:
        y, mean, rstd = torch.native_layer_norm(x, weight.shape, weight, bias, eps)
        ctx.save_for_backward(x, mean, rstd, weight, bias)
        ctx.uses = uses
        return y

    @staticmethod
    def backward(ctx: Any, d_y: Tensor) -> tuple[Tensor | None, ...]:
        x, mean, rstd, weight, bias = ctx.saved_tensors
        ctx.uses.append((x.detach(), d_y, mean, rstd, weight.detach()))
        d_x, _, _ = torch.ops.aten.native_layer_norm_backward(
            d_y.contiguous(), x, weight.shape, mean, rstd, weight, bias, [True, False, False]
        )
        return d_x, None, None, None, None


class _Norms(torch.autograd.Function):
    """Anchor of a layer norm's weight and bias."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, bias: Tensor, uses: list) -> tuple[Tensor, Tensor]:
        ctx.uses = uses
        ctx.set_materialize_grads(False)
        return weight.view_as(weight), bias.view_as(bias)

    @staticmethod
    def backward(ctx: Any, _w: Tensor | None, _b: Tensor | None) -> tuple[Tensor | None, ...]:
        weight = ctx.uses[0][4]
        d_weight, d_bias = torch.zeros_like(weight), torch.zeros_like(weight)
        for x, d_y, mean, rstd in _in_groups([tuple(part.flatten(0, 1) for part in use[:4]) for use in ctx.uses]):
            d_weight += _sum(torch.addcmul(-mean * rstd, x, rstd).to(x.dtype).mul_(d_y))
            d_bias += _sum(d_y)
        ctx.uses.clear()
        return d_weight, d_bias, None


def _sum(rows: Tensor) -> Tensor:
    """Over rows, as a matrix product: for many of them in bfloat16 several times as fast as ``sum``."""
    return (rows.new_ones(1, len(rows)) @ rows)[0]


def _in_groups(uses: list[tuple[Tensor, ...]]) -> list[tuple[Tensor, ...]]:
    """Uses of many rows as they are, those of few joined into one."""
    small = [use for use in uses if len(use[0]) < SMALL]
    joined = [tuple(torch.cat(each) for each in zip(*small, strict=True))] if small else []
    return [*(use for use in uses if len(use[0]) >= SMALL), *joined]
