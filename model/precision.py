"""What passes without gradients multiply in: float32, or bfloat16 where the processor is faster with it.

In bfloat16 only what enters the products of a block is rounded, inputs and weights, and what leaves them; all else is
float32: the residual stream, layer norms, attention, states, thoughts and what edits make of them, logits, and what is
computed from them. The weights of the model stay as they are, and so do its fingerprint and its files.
"""

from __future__ import annotations

import time
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from model.coconut import CoconutGPT2
from model.errors import InputError
from model.problems.generate import generate
from model.transformer import PLAIN, Operations, Precision
from model.values import Wanted

HAS_BFLOAT16 = ("avx512_bf16", "amx_bf16")
"""What processors call products of bfloat16."""
MOST_APART = 0.02
"""Largest difference of a probability at which the two agree."""
FASTER = 0.9
"""Share of float32's time that bfloat16 must stay below."""
PROBLEMS, REPEATS = 2, 2
"""Of the comparison: problems, and runs of each."""


class Bfloat16(Operations):
    """``Operations`` whose products are made in bfloat16, of weights as they are when this is made; where gradients
    flow, in float32."""

    precision: Precision = "bfloat16"

    def __init__(self, model: CoconutGPT2) -> None:
        self._rounded: dict[torch.nn.Module, tuple[Tensor, Tensor]] = {}
        for block in model.transformer.h:
            part: Any = block  # HF's module, for its parameters only
            for module in (part.attn.c_attn, part.attn.c_proj, part.mlp.c_fc, part.mlp.c_proj):
                weight = module.weight.detach().t().contiguous()  # a third faster than the other way round
                self._rounded[module] = weight.bfloat16(), module.bias.detach().bfloat16()

    def affine(self, x: Tensor, module: Any, columns: slice = slice(None)) -> Tensor:
        if torch.is_grad_enabled():
            return super().affine(x, module, columns)
        weight, bias = self._rounded[module]
        return F.linear(x.bfloat16(), weight[columns], bias[columns]).float()


def use(model: CoconutGPT2, wanted: Wanted) -> CoconutGPT2:
    """The same model, which from now on computes so; on its device, with its weights as they are now."""
    model.operations = Bfloat16(model) if settled(model, wanted) == "bfloat16" else PLAIN
    return model


def settled(model: CoconutGPT2, wanted: Wanted) -> Precision:
    """What ``auto`` is for this model on this machine, measured; else what is wanted."""
    if wanted != "auto":
        return wanted
    return "bfloat16" if worth_it(model) else "float32"


def worth_it(model: CoconutGPT2) -> bool:
    """Whether bfloat16 is to be taken: the processor has it, this model thinks faster with it, and says the same.

    Both think over the same generated problems in turn, and every probability of a next token after every thought must
    agree within MOST_APART. For a small model this takes less than half a second. Never on a device that is no
    processor, nor for a model that takes no such problem.
    """
    has = torch.cpu.get_capabilities()
    if model.device.type != "cpu" or not any(has.get(name) for name in HAS_BFLOAT16):
        return False
    config, codec = model.config, model.codec
    problems = list(generate("balanced", PROBLEMS, seed=0))
    try:
        for problem in problems:
            codec.check_fits(problem, n_positions=config.n_positions, n_thoughts=config.n_thoughts)
    except InputError:
        return False
    prompts = codec.collate([codec.prompts(problem, 1, seed=0)[0] for problem in problems])
    ways, before = (PLAIN, Bfloat16(model)), model.operations
    seconds, said = (list[float](), list[float]()), [torch.empty(0)] * 2
    with torch.inference_mode():
        for _ in range(REPEATS):
            for i, model.operations in enumerate(ways):
                start = time.perf_counter()
                trace = model.think(prompts, config.n_thoughts)
                seconds[i].append(time.perf_counter() - start)
                said[i] = model.logits(trace.states).softmax(dim=-1)
    model.operations = before
    return bool((said[0] - said[1]).abs().max() <= MOST_APART) and min(seconds[1]) < FASTER * min(seconds[0])
