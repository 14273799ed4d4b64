"""What can only be tested on CUDA: ``pytest -m gpu``. Everything else runs on the CPU as well."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from test_train import PROBLEMS, fresh, settings

from model import checkpoint
from model.codec_slots import SlotCodec
from model.training.config import TrainConfig
from model.training.curriculum import make_batch
from model.training.loop import TrainState, batch_loss, loss_in, make_optimizer, train

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")]
ROOT = Path(__file__).parent.parent


def on_cuda(config: TrainConfig) -> TrainState:
    state = fresh(config)
    torch.nn.Module.to(state.model, "cuda")
    return TrainState(state.model, make_optimizer(config, state.model))


@pytest.mark.parametrize("method", ["coconut", "pause_as_thought", "no_thought"])
def test_captured_steps_give_the_losses_of_eager_ones(method: str) -> None:
    def losses(cuda_graphs: bool) -> tuple[list[float], list[str]]:
        config = settings(method=method, device="cuda", precision="float32", cuda_graphs=cuda_graphs, num_epochs=8)
        said: list[str] = []
        return [s.loss for s in train(on_cuda(config), config, PROBLEMS.to("cuda"), say=said.append)], said

    captured, said = losses(True)
    assert said == []  # nothing fell back
    assert captured == pytest.approx(losses(False)[0], rel=1e-3)


def test_losses_and_gradients_equal_the_cpus() -> None:
    config = settings(uniform_prob=0.5)
    model = fresh(config).model.train()
    batch = make_batch(config, SlotCodec(config.n_slots), PROBLEMS[:12], 2, torch.Generator().manual_seed(0))
    batch_loss(model, batch)[0].backward()
    there = checkpoint.untrained(model.config, seed=config.seed).train()
    torch.nn.Module.to(there, "cuda")
    loss, stats = loss_in(torch.float32, there, batch.map(torch.Tensor.cuda))
    loss.backward()
    assert stats.tolist() == pytest.approx(batch_loss(model, batch)[1].tolist(), rel=1e-4)
    for mine, theirs in zip(model.parameters(), there.parameters(), strict=True):
        torch.testing.assert_close(theirs.grad.cpu(), mine.grad, atol=1e-4, rtol=1e-3)
    half, _ = loss_in(torch.bfloat16, there, batch.map(torch.Tensor.cuda))
    assert float(half.detach()) == pytest.approx(float(loss.detach()), rel=2e-2)


def test_a_run_killed_three_times_is_gone_on_with(tmp_path: Path) -> None:
    """What is drawn is the same; the last bits of arithmetic need not be."""
    values = settings(device="cuda", precision="float32", num_epochs=24, n_train=96, n_val=20, n_evals=24, n_dynamics=3)
    config, out = tmp_path / "c.yaml", tmp_path / "run"
    config.write_text(yaml.safe_dump(values.model_dump(mode="json")))

    def command(folder: Path, *more: str) -> list[str]:
        return [sys.executable, "-m", "model", "train", str(config), "--out", str(folder), *more]

    def losses(folder: Path) -> dict[int, float]:
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        steps = [(line["step"], line["loss"]) for line in lines if line["kind"] == "step"]
        assert len(dict(steps)) == len(steps)
        return dict(steps)

    environment = os.environ | {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
    for at in (60, 130, 200):
        more = ["--resume"] if out.exists() else []
        process = subprocess.Popen(command(out, *more), cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
        metrics = out / "metrics.jsonl"
        while not (metrics.exists() and f'"step": {at}' in metrics.read_text()):
            assert process.poll() is None
            time.sleep(0.02)
        process.kill()
        process.wait()
    subprocess.run(command(out, "--resume"), cwd=ROOT, env=environment, check=True, capture_output=True)
    subprocess.run(command(tmp_path / "whole"), cwd=ROOT, env=environment, check=True, capture_output=True)
    mine, whole = losses(out), losses(tmp_path / "whole")
    assert mine.keys() == whole.keys()
    assert list(mine.values()) == pytest.approx(list(whole.values()), rel=2e-2)
    assert checkpoint.load(out).config.trained_stage == 2
