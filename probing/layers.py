"""Reading and changing the residual stream after a chosen block, at one position of the run.

The one place of this project that uses module hooks. A hook acts only in the thread that set it, only inside its
``with`` block, and is removed however the block ends, so a model shared between sessions stays as it was.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor

from model.coconut import CoconutGPT2

Stream = Callable[[Tensor], Tensor]
"""``B n_embd`` to ``B n_embd``: the residual stream at the last position of a forward pass."""


@contextmanager
def residual(model: CoconutGPT2, layer: int, change: Stream) -> Iterator[None]:
    """While open, ``change`` sees and replaces the residual stream behind ``layer`` blocks, at the last position.

    ``layer`` runs from 1 (after the first block) to ``n_layer`` (before ``ln_f``).
    """
    blocks = model.transformer.h
    assert 1 <= layer <= len(blocks), layer
    owner = threading.get_ident()

    def hook(module: object, inputs: object, output: Tensor | tuple[Tensor, ...]) -> Tensor | tuple[Tensor, ...] | None:
        if threading.get_ident() != owner:
            return None
        hidden = output[0] if isinstance(output, tuple) else output
        hidden = hidden.clone()
        hidden[:, -1] = change(hidden[:, -1])
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    handle = blocks[layer - 1].register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def recorded(model: CoconutGPT2, layer: int) -> Iterator[list[Tensor]]:
    """While open, collects the residual stream behind ``layer`` blocks at the last position of every forward pass."""
    seen: list[Tensor] = []

    def keep(hidden: Tensor) -> Tensor:
        seen.append(hidden.clone())
        return hidden

    with residual(model, layer, keep):
        yield seen
