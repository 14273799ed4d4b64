"""Weights that training starts from: any GPT-2 in a file, a folder or on the Hub, with rows added for new tokens."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor

from model.coconut import CoconutConfig, CoconutGPT2
from model.errors import CheckpointError
from model.imports.families import HEADS, architecture
from model.imports.source import Source

NEW_ROWS_COPY = "<<"
"""The token whose row the public code gives to its new tokens."""
WTE = "transformer.wte.weight"
_NAME = re.compile(r"(?:.*?\.)?((?:wte|wpe|ln_f)\.\w+|h\.\d+\..+)")


def size_of(source: Source) -> dict[str, Any]:
    """The fields of a config that follow from weights, and from a config.json beside them where weights do not say.

    Raises CheckpointError if they are not those of a GPT-2.
    """
    size = architecture(source, _body(source))
    del size["vocab_size"]
    size["n_head"] = size["n_head"] or HEADS.get((size["n_embd"], size["n_layer"]))
    if size["n_head"] is None or size["n_embd"] % size["n_head"]:
        raise CheckpointError(
            f"{source.name}: the number of attention heads is in no config.json beside the weights; set n_head there"
        )
    return size


def started(source: Source, config: CoconutConfig) -> CoconutGPT2:
    """A model of this config with a source's weights; embedding rows that it lacks are copies of that of "<<".

    Raises CheckpointError naming the first tensor that does not fit.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = CoconutGPT2(config).eval()
    state, vocabulary = _body(source), model.codec.vocabulary
    rows = state.get(WTE)
    if rows is not None and len(rows) < config.vocab_size and vocabulary is not None:
        copied = vocabulary.ids(NEW_ROWS_COPY)
        if len(copied) != 1 or copied[0] >= len(rows):
            raise CheckpointError(f"{source.name}: {len(rows):,} rows of an embedding are not those of GPT-2's tokens")
        state[WTE] = torch.cat([rows, rows[copied[0]].expand(config.vocab_size - len(rows), -1)])
    wanted = {name: tensor for name, tensor in model.state_dict().items() if name != "lm_head.weight"}
    for name, tensor in wanted.items():
        if name not in state or state[name].shape != tensor.shape:
            found = tuple(state[name].shape) if name in state else "missing"
            raise CheckpointError(f"{source.name}: {name} is {found}, but the settings need {tuple(tensor.shape)}")
    model.load_state_dict({name: state[name] for name in wanted} | {"lm_head.weight": state[WTE]})
    return model


def _body(source: Source) -> dict[str, Tensor]:
    """GPT-2's tensors under HF's names, whatever stands before these."""
    found = ((_NAME.fullmatch(name), tensor) for name, tensor in source.tensors.items())
    return {f"transformer.{match[1]}": tensor for match, tensor in found if match}
