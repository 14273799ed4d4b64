"""One pass of GPT-2 over Hugging Face's parameters, written for thoughts that are fed one at a time.

``GPT2LMHeadModel`` stays the container of the weights; only the order of its arithmetic is ours, and equal to its own
within rounding (tests/test_transformer.py). HF's forward makes its masks anew at every call, copies the whole cache
for every thought, and computes the last block at positions that nobody reads: two thirds of a short prompt's work in
a model of two layers is for nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import GPT2LMHeadModel

KeysValues = tuple[Tensor, Tensor]
"""Keys and values of one layer, each ``B n_head length head_width``."""

Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""(layer from 0, queries, keys, values of the new positions) to what the queries attend to, all of one shape but for
the number of queries: ``B n_head n head_width``."""

Precision = Literal["float32", "bfloat16"]
"""What products are made in."""

Stream = Callable[[int, Tensor], Tensor]
"""(blocks passed: 1..n_layer, residual stream at the last position, ``B n_embd``) to what replaces it."""

ONEDNN_IS_BUILT = torch.backends.mkldnn.is_available() and torch.backends.mkl.is_available()
ONEDNN = ONEDNN_IS_BUILT and torch.backends.cpu.get_cpu_capability() == "AVX512"
"""Whether products of float32 are made by oneDNN in place of MKL. Not measured at run time: the same machine must give
the same bits every time."""

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


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``F.linear``: ``... in`` to ``... out`` with a weight ``out in``.

    Without gradients, float32 on a processor with AVX-512 goes to oneDNN, where torch would take MKL: the same sums in
    another order, in half the time where the processor is not Intel's. Without AVX-512 MKL is the faster one.
    """
    if torch.is_grad_enabled() or x.is_cuda or x.dtype != torch.float32 or not ONEDNN:
        return F.linear(x, weight, bias)
    if not (weight.is_contiguous() or weight.t().is_contiguous()):
        weight = weight.t().contiguous().t()  # by a part of a matrix oneDNN multiplies a thousand times more slowly
    found: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return found


class Operations:
    """What a pass does with parameters. ``model.deferred`` does the same with gradients made once a step, and
    ``model.precision`` with products in bfloat16."""

    precision: Precision = "float32"

    def norm(self, x: Tensor, norm: torch.nn.LayerNorm) -> Tensor:
        """Layer norm of ``B n n_embd``."""
        return F.layer_norm(x, norm.normalized_shape, norm.weight, norm.bias, norm.eps)

    def affine(self, x: Tensor, module: Any, columns: slice = slice(None)) -> Tensor:
        """``x W + b`` with some columns of the weight and bias of one of HF's ``Conv1D``: ``B n in`` to ``B n out``."""
        return linear(x, module.weight[:, columns].t(), module.bias[columns])


PLAIN = Operations()


def run(
    model: GPT2LMHeadModel,
    x: Tensor,
    attend: Attend,
    *,
    n_read: int | None = None,
    stream: Stream | None = None,
    operations: Operations = PLAIN,
) -> Tensor:
    """Last hidden states, after ``ln_f``, of the last ``n_read`` (default: all) of the positions ``B n n_embd``."""
    norm, affine = operations.norm, operations.affine
    config = model.config
    blocks: list[Any] = list(model.transformer.h)  # HF's modules, for their parameters only
    for layer, block in enumerate(blocks):
        heads = block.attn
        width = heads.embed_dim
        y = norm(x, block.ln_1)
        if layer == len(blocks) - 1 and n_read is not None and n_read < x.shape[1]:
            x = x[:, -n_read:]
            q = affine(y[:, -n_read:], heads.c_attn, slice(0, width))
            k, v = affine(y, heads.c_attn, slice(width, None)).split(width, dim=2)
        else:
            q, k, v = affine(y, heads.c_attn).split(width, dim=2)
        seen = attend(layer, *(part.unflatten(2, (heads.num_heads, -1)).transpose(1, 2) for part in (q, k, v)))
        p = config.resid_pdrop if model.training else 0.0
        y = affine(seen.transpose(1, 2).flatten(2), heads.c_proj)
        x = x + F.dropout(y, p, training=p > 0)
        y = affine(norm(x, block.ln_2), block.mlp.c_fc)
        y = F.gelu(y, approximate="tanh") if config.activation_function in _TANH_GELU else block.mlp.act(y)
        x = x + F.dropout(affine(y, block.mlp.c_proj), p, training=p > 0)
        if stream is not None:
            x = torch.cat([x[:, :-1], stream(layer + 1, x[:, -1])[:, None]], dim=1)
    return norm(x, model.transformer.ln_f)


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


class ThoughtMemory:
    """Keys and values in a run of thoughts without gradients: room for all is made once, so that no thought copies."""

    def __init__(
        self, model: GPT2LMHeadModel, layers: Sequence[KeysValues], attention_mask: Tensor, n_thoughts: int
    ) -> None:
        assert not torch.is_grad_enabled()
        self._mask = F.pad(additive(attention_mask[:, None].bool(), layers[0][0].dtype), (0, n_thoughts))
        self._scales = [attention_scale(model, layer) for layer in range(len(layers))]
        self.layers = tuple((with_room(keys, n_thoughts), with_room(values, n_thoughts)) for keys, values in layers)
        """All keys and values after the last thought."""
        self._seen = [attention_mask.shape[1]] * len(layers)

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """As ``Attend``, for one new position that may look at everything before it."""
        (keys, values), n = self.layers[layer], self._seen[layer]
        self._seen[layer] = n + 1
        keys[:, :, n : n + 1], values[:, :, n : n + 1] = k, v
        scores = (q @ keys[:, :, : n + 1].transpose(2, 3)).mul_(self._scales[layer]).add_(self._mask[..., : n + 1])
        return scores.softmax(dim=-1) @ values[:, :, : n + 1]


def additive(allowed: Tensor, dtype: torch.dtype) -> Tensor:
    """``B n seen`` (bool) as the additive attention mask ``B 1 n seen``. A row may allow nothing (padding)."""
    none = torch.finfo(dtype).min
    return torch.zeros(allowed.shape, dtype=dtype, device=allowed.device).masked_fill_(~allowed, none)[:, None]


def with_room(tensor: Tensor, n: int) -> Tensor:
    """A copy of ``B n_head length head_width``, longer by ``n`` places of zeros that are still to be written."""
    room = tensor.new_zeros(*tensor.shape[:2], tensor.shape[2] + n, tensor.shape[3])
    room[:, :, : tensor.shape[2]] = tensor.detach()
    return room


def attention_scale(model: GPT2LMHeadModel, layer: int) -> float:
    """What a layer's (from 0) scores are multiplied by."""
    config = model.config
    scale = (config.n_embd // config.n_head) ** -0.5 if config.scale_attn_weights else 1.0
    return scale / (layer + 1) if config.scale_attn_by_inverse_layer_idx else scale


_TANH_GELU = ("gelu_new", "gelu_pytorch_tanh")


def _drop(model: GPT2LMHeadModel, x: Tensor) -> Tensor:
    p = model.config.embd_pdrop if model.training else 0.0
    return F.dropout(x, p, training=p > 0)
