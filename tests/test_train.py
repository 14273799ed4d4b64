"""The loop: what it learns from, when stages end, and that batches, processes and slices change nothing."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from model import checkpoint
from model.coconut import METHODS
from model.codec_slots import SlotCodec
from model.problems.arrays import ProblemTensors
from model.problems.generate import Recipe, generate_arrays
from model.training.config import TrainConfig, parse_train_config
from model.training.curriculum import make_batch
from model.training.loop import (
    TrainingError,
    TrainState,
    batch_loss,
    batch_order,
    learning_rate,
    make_optimizer,
    model_config,
    settled,
    train,
)

ROOT = Path(__file__).parent.parent
PROBLEMS = ProblemTensors.from_arrays(generate_arrays(Recipe("balanced", (2, 3), (8, 10)), 96, 0))
SMALL = {
    "name": "small",
    "max_latent_stage": 2,
    "epochs_per_stage": 1,
    "num_epochs": 4,
    "advance": "schedule",
    "batch_size_training": 8,
    "n_layer": 2,
    "n_head": 2,
    "n_embd": 16,
    "n_positions": 96,
    "n_slots": 10,
    "n_nodes": [8, 10],
    "n_hops": [2, 3],
    "warmup_steps": 2,
    "lr": 1e-3,
    "log_every": 4,
    "device": "cpu",
}


def settings(**values: object) -> TrainConfig:
    return parse_train_config(SMALL | values, where="settings")


def fresh(config: TrainConfig) -> TrainState:
    model = checkpoint.untrained(model_config(config, PROBLEMS), seed=config.seed)
    return TrainState(model, make_optimizer(config, model))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_and_its_loss_falls(method: str) -> None:
    config = settings(method=method, num_epochs=8, lr=1e-2, c_thought=2, final_stage=True)
    state = fresh(config)
    steps = list(train(state, config, PROBLEMS))
    assert steps[-1].step == steps[-1].n_steps == state.step
    assert steps[-1].stage == config.n_stages - 1
    assert steps[-1].loss < steps[0].loss
    assert state.model.config.method == method
    without_thoughts = method in ("cot", "no_cot", "icot", "no_thought")
    assert steps[-1].n_thoughts == state.model.config.n_thoughts == (0 if without_thoughts else 4)


def test_the_loss_is_the_mean_over_scored_tokens_computed_one_problem_at_a_time() -> None:
    config = settings(uniform_prob=0.5)
    model, codec = fresh(config).model, SlotCodec(config.n_slots)
    batch = make_batch(config, codec, PROBLEMS[:12], 2, torch.Generator().manual_seed(0))
    loss, stats = batch_loss(model, batch)
    total = first = 0.0
    correct = 0
    with torch.no_grad():
        for i in range(12):
            row = batch.part(i, 12)
            trace = model.think(row.prompt, int(row.after[0]))
            tokens = row.text.tokens[:, row.text.scored[0]]
            logp = model.continuation_logits(trace, tokens).log_softmax(dim=-1)[0]
            each = -logp[torch.arange(len(tokens[0])), tokens[0]]
            total, first = total + each.sum().item(), first + each[0].item()
            row_tokens = tokens[0].tolist()
            due = row_tokens.index(row_tokens[-2])  # the target comes last but <eos>, and once before if a step is left
            correct += int(logp[due].argmax() == row_tokens[due])
    assert loss.item() == pytest.approx(total, rel=1e-5)
    assert stats.tolist() == pytest.approx([total, int(batch.text.scored.sum()), first, 12, correct], rel=1e-5)


def test_the_prompt_is_not_scored_and_thoughts_carry_gradient() -> None:
    """Only the continuation has a loss; without it there is no gradient, and with it thoughts pass it on."""
    config = settings(uniform_prob=0.0)
    model, codec = fresh(config).model, SlotCodec(config.n_slots)
    batch = make_batch(config, codec, PROBLEMS[:4], 2, torch.Generator().manual_seed(0))
    loss, _ = batch_loss(model, batch)
    text = dataclasses.replace(batch.text, scored=torch.zeros_like(batch.text.scored))
    nothing = dataclasses.replace(batch, text=text)
    assert batch_loss(model, nothing)[0].item() == 0
    grads = torch.autograd.grad(loss, list(model.parameters()))
    assert all(grad.abs().sum() > 0 for grad in grads)


def test_learning_rate_warms_up_holds_and_falls_to_nothing() -> None:
    config = settings(lr=1.0, warmup_steps=10, decay_share=0.5)
    rates = [learning_rate(config, step, 100) for step in range(100)]
    assert rates[:10] == pytest.approx([0.1 * (i + 1) for i in range(10)])
    assert rates[10:50] == [1.0] * 40
    assert rates[75] == pytest.approx(0.5)
    assert rates == sorted(rates[:10]) + sorted(rates[10:], reverse=True)
    assert rates[-1] < 0.01
    assert learning_rate(settings(lr=1.0, warmup_steps=0, decay_share=0), 99, 100) == 1.0


def test_a_stage_has_settled_when_flat_and_below_the_frontier_bound() -> None:
    plateau = [(10, 2.0, 2.7)] * 20
    falling = [(10, 0.5 + 2.0 * 0.8**i, 0.9) for i in range(20)]
    learned = [(10, 0.5, 0.8)] * 20
    assert not settled(plateau, 50, 0.02, bound=1.0)  # flat, but nobody looked an edge up
    assert not settled(falling, 50, 0.02, bound=1.0)
    assert settled(learned, 50, 0.02, bound=1.0)
    assert settled(falling + learned, 50, 0.02, bound=1.0)
    assert not settled(falling + learned[:7], 50, 0.02, bound=1.0)  # the earlier window still saw the fall
    assert not settled(learned[:9], 50, 0.02, bound=1.0)  # two whole windows are needed
    assert settled([(100, 0.5, 0.8), (100, 0.5, 0.8)], 100, 0.02, bound=0.76)  # .05 nats of slack
    assert not settled([(100, 0.5, 0.8), (100, 0.5, 0.8)], 100, 0.02, bound=0.7)


def test_stages_end_by_schedule_at_exact_steps() -> None:
    config = settings(epochs_per_stage=[1.5, 0.5], num_epochs=3)
    order = batch_order(config, PROBLEMS)
    assert order.steps_per_epoch == 12
    ends = [(s.step, s.stage_ended) for s in train(fresh(config), config, PROBLEMS) if s.stage_ended]
    assert ends == [(18, "schedule"), (24, "schedule")]


def test_a_stage_that_does_not_settle_ends_at_its_limit_and_leaves_room_for_the_later_ones() -> None:
    config = settings(advance="settled", epochs_per_stage=1.5, num_epochs=4, min_epochs_per_stage=0.5)
    ends = [(s.step, s.stage_ended) for s in train(fresh(config), config, PROBLEMS) if s.stage_ended]
    assert ends == [(18, "limit"), (36, "limit")]
    config = settings(advance="settled", epochs_per_stage=100, num_epochs=4, min_epochs_per_stage=0.5)
    ends = [(s.step, s.stage_ended) for s in train(fresh(config), config, PROBLEMS) if s.stage_ended]
    assert ends == [(36, "limit"), (42, "limit")]


def test_a_stage_that_settles_ends_as_soon_as_two_windows_are_flat(monkeypatch: pytest.MonkeyPatch) -> None:
    config = settings(
        advance="settled", lr=1e-9, epochs_per_stage=50, num_epochs=6, settle_window=0.5, settle_tolerance=0.2
    )
    monkeypatch.setattr("model.training.loop.first_token_bound", lambda *_: 100.0)
    ends = [(s.step, s.stage_ended) for s in train(fresh(config), config, PROBLEMS) if s.stage_ended]
    assert ends == [(12, "settled"), (24, "settled")]
    monkeypatch.setattr("model.training.loop.first_token_bound", lambda *_: 0.1)
    ends = [(s.step, s.stage_ended) for s in train(fresh(config), config, PROBLEMS) if s.stage_ended]
    assert ends == [(70, "limit"), (71, "limit")]  # as flat, but nothing was learned


@pytest.mark.parametrize(("reset", "fresh_at"), [(False, set()), ("stage", {12, 24}), ("epoch", {12, 24, 36})])
def test_the_optimizer_is_reset_when_asked(reset: object, fresh_at: set[int]) -> None:
    config = settings(reset_optimizer=reset, log_every=1)
    state = fresh(config)
    ages = {}
    for step in train(state, config, PROBLEMS):
        ages[step.step] = int(next(iter(state.optimizer.state.values()), {"step": 0})["step"])
    begun = {step - 1 for step, age in ages.items() if age == 1 and step > 1} | {s for s, a in ages.items() if a == 0}
    assert begun == fresh_at


def test_the_same_seed_trains_the_same_weights_and_another_does_not() -> None:
    def weights(**values: object) -> torch.Tensor:
        config = settings(num_epochs=1, dropout=0.1, **values)
        state = fresh(config)
        for _ in train(state, config, PROBLEMS):
            torch.rand(3)  # what others draw from the global generator must not matter
        return torch.cat([p.detach().flatten() for p in state.model.parameters()])

    first = weights()
    assert torch.equal(weights(), first)
    assert not torch.equal(weights(seed=1), first)


def test_a_loss_that_is_not_finite_stops_with_the_knob_to_turn() -> None:
    config = settings(lr=1e30, clip=1e30, warmup_steps=0)
    with pytest.raises(TrainingError, match=r"not finite in steps \d+ to \d+; lower lr \(now 1e\+30\)"):
        list(train(fresh(config), config, PROBLEMS))


def test_out_of_memory_names_the_knob(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    config = settings()
    monkeypatch.setattr("model.training.loop.batch_loss", full)
    with pytest.raises(TrainingError, match=r"batch_size_training \(now 8\)"):
        list(train(fresh(config), config, PROBLEMS))


def test_bfloat16_gives_the_same_losses_within_its_precision() -> None:
    losses = {
        precision: [s.loss for s in train(fresh(c), c, PROBLEMS)]
        for precision in ("float32", "bfloat16")
        for c in [settings(precision=precision, num_epochs=1)]
    }
    assert losses["bfloat16"] != losses["float32"]
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=2e-2)


TWO = """
import json, sys
import torch
import torch.distributed as dist
sys.path[:0] = ["tests", "."]
import test_train
from model.training.loop import World, train
torch.set_num_threads(1)
rank, port = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
found = []
for values in json.loads(sys.argv[3]):
    config = test_train.settings(**values)
    steps = list(train(test_train.fresh(config), config, test_train.PROBLEMS, world=World(rank, 2)))
    found.append([[s.loss, s.first_token_loss, s.accuracy, s.grad_norm] for s in steps])
print(json.dumps(found))
dist.destroy_process_group()
"""


TEXT = {
    "codec": "text",
    "codec_format": {"compact": True, "opened": True},
    "n_positions": 512,
    "recite_epochs": 0.5,
    "n_slots": 0,
}


def test_two_processes_give_the_losses_of_one(free_port: int) -> None:
    """Of slots, then of text."""
    runs = [{**codec, "num_epochs": 1.5, "uniform_prob": 0.3} for codec in ({}, TEXT)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", TWO, str(rank), str(free_port), json.dumps(runs)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
        )
        for rank in range(2)
    ]
    outputs = [json.loads(process.communicate(timeout=240)[0]) for process in processes]
    assert outputs[0] == outputs[1]
    for values, found in zip(runs, outputs[0], strict=True):
        config = settings(**values)
        one = [[s.loss, s.first_token_loss, s.accuracy, s.grad_norm] for s in train(fresh(config), config, PROBLEMS)]
        for mine, theirs in zip(one, found, strict=True):
            assert theirs == pytest.approx(mine, rel=1e-4, abs=1e-6)
