"""The benchmark's reference computes the same loss and gradient as the step it is compared with."""

from __future__ import annotations

import pytest
import torch
from test_train import PROBLEMS, fresh, settings

from benchmarks.bench_train import reference_loss
from model.codec_slots import SlotCodec
from model.training.curriculum import make_batch
from model.training.loop import batch_loss


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_reference_and_ours_agree_in_loss_and_gradient(stage: int) -> None:
    config = settings(uniform_prob=0.0, c_thought=2)
    model = fresh(config).model
    batch = make_batch(config, SlotCodec(10), PROBLEMS[:6], stage, torch.Generator().manual_seed(0))
    parameters = list(model.parameters())
    ours, theirs = batch_loss(model, batch)[0], reference_loss(model, batch)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)
    for mine, other in zip(torch.autograd.grad(ours, parameters), torch.autograd.grad(theirs, parameters), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-4)
