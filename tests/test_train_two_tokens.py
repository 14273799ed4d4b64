"""Training on a codec whose nodes are several tokens: nothing in it may know a token id or a slot."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import get_args

import pytest
import torch
import two_tokens
from test_runs import outcome, run_settings
from two_tokens import TwoTokens

from model import checkpoint
from model.coconut import CoconutGPT2
from model.codec import Codec
from model.codec_text import TextCodec
from model.problems.arrays import ProblemTensors
from model.problems.generate import Recipe, generate_arrays
from model.readout import node_log_probs
from model.training.config import Method, TrainConfig, stages
from model.training.curriculum import make_batch
from model.training.dynamics import DynamicsRecord, measure
from model.training.loop import batch_loss, make_optimizer, model_config, train
from model.training.run import train_run
from model.training.state import TrainState

CODEC = TwoTokens(20)
PROBLEMS = ProblemTensors.from_arrays(generate_arrays(Recipe("balanced", (2, 3), (8, 10)), 24, 0))


def settings(**values: object) -> TrainConfig:
    return run_settings(codec="two", n_slots=20, n_positions=256, **values)


def model() -> CoconutGPT2:
    return checkpoint.untrained(model_config(settings(), PROBLEMS))


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_what_is_taught_is_what_the_codec_parses(stage: int) -> None:
    batch = make_batch(settings(uniform_prob=0.0), CODEC, PROBLEMS, stage, generator())
    samples = CODEC.samples(PROBLEMS, generator())
    assert torch.equal(samples.prompts.input_ids, batch.prompt.input_ids)
    for row, (prompt, problem) in enumerate(zip(samples.each, PROBLEMS.problems(), strict=True)):
        assert prompt.problem == problem
        taught = CODEC.parse(batch.text.tokens[row][batch.text.scored[row]].tolist(), prompt)
        assert taught.path == problem.shortest_path[1:][stage:]
        assert taught.answer == problem.target
        name = CODEC.key_tokens()[prompt.keys[problem.target]]
        assert tuple(batch.text.tokens[row][batch.text.due[row]].tolist()) == name
    written = batch.text.tokens[:, 1:]  # what follows the token that ends the thoughts
    assert torch.equal(samples.answers(written), PROBLEMS.target.long())
    assert torch.equal(samples.answers(written[:, None].expand(-1, 3, -1))[:, 2], PROBLEMS.target.long())


@torch.no_grad()
def test_the_loss_of_the_first_step_is_what_the_read_out_says_of_its_node() -> None:
    ours, stage = model(), 1
    batch = make_batch(settings(uniform_prob=0.0), CODEC, PROBLEMS, stage, generator())
    loss, stats = batch_loss(ours, batch)
    prompts = CODEC.samples(PROBLEMS, generator()).each
    trace = ours.think(batch.prompt, batch.n_thoughts)
    found = node_log_probs(ours, trace, prompts)
    step = torch.tensor([[two_tokens.END, two_tokens.STEP]]).expand(len(prompts), -1)
    begun = ours.continuation_logits(trace, step).log_softmax(dim=-1)[:, 1, two_tokens.STEP]
    nodes = [found.nodes[row, stage, prompt.problem.shortest_path[stage + 1]] for row, prompt in enumerate(prompts)]
    assert stats[2].item() == pytest.approx(-sum(nodes) - begun.sum().item(), rel=1e-4)
    assert loss.item() > stats[2].item()


def test_it_learns() -> None:
    config = settings(num_epochs=40, lr=3e-3, dropout=0.0)
    state = TrainState(ours := model(), torch.optim.AdamW(ours.parameters()))
    steps = list(train(state, config, PROBLEMS))
    assert steps[-1].stage == 2
    assert steps[-1].loss < 0.5 * steps[0].loss
    moment = {"seed": 0, "step": 0, "n_seen": 0, "stage": 0}
    trained, fresh = (measure(each, PROBLEMS, **moment).thoughts for each in (state.model, model()))
    for before, after in zip(fresh, trained, strict=True):  # it writes names where an untrained model writes anything
        at_first, now = (sum(t.mass[name] for name in ("passed", "frontier", "beyond")) for t in (before, after))
        assert now > 4 * at_first


def text_settings() -> TrainConfig:
    return run_settings(codec="text", n_slots=0, codec_format={"compact": True}, n_positions=256)


@pytest.mark.parametrize(("config", "codec"), [(settings(), CODEC), (text_settings(), TextCodec(compact=True))])
def test_a_run_is_recorded_and_resumed_to_the_bit(config: TrainConfig, codec: Codec, tmp_path: Path) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert [step.step for step in train_run(config, whole)][-1] == 24
    list(islice(train_run(config, stopped), 7))
    list(train_run(config, stopped, resume=True))
    assert outcome(stopped) == outcome(whole)
    assert checkpoint.load(whole).codec == codec
    record = DynamicsRecord.load(whole / "emergence.json")
    assert [point.step for point in record.points] == [0, 4, 8, 12, 16, 20, 24]
    assert all(0 <= t.auroc_beyond <= 1 and 0 < t.mass["frontier"] < 1 for t in record.points[-1].thoughts)


@pytest.mark.parametrize("method", get_args(Method))
def test_every_method_is_trained_in_english(method: Method) -> None:
    """Losses fall, and what each is taught after its thoughts is what it is named for."""
    config = run_settings(
        codec="text", n_slots=0, codec_format={"compact": True}, n_positions=256, method=method, num_epochs=6,
        epochs_per_stage=2, uniform_prob=0.0, dropout=0.0, lr=3e-3,
    )  # fmt: skip
    ours = checkpoint.untrained(model_config(config, PROBLEMS))
    steps = list(train(TrainState(ours, make_optimizer(config, ours)), config, PROBLEMS))
    assert steps[-1].loss < 0.9 * steps[0].loss
    batch = make_batch(config, ours.codec, PROBLEMS, steps[-1].stage, generator())
    text = ours.codec.vocabulary.text(batch.text.tokens[0][batch.text.scored[0]].tolist())
    chain = text.split("###")[0].count(" is a ")
    hops = int(PROBLEMS.n_hops[0])
    if method == "cot":
        assert chain == hops
    elif method in ("no_cot", "pause"):
        assert chain == 0
    else:
        assert chain == max(hops - stages(config)[steps[-1].stage].n_skip, 0)
