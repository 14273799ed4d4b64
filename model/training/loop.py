"""The training loop: a generator of ``TrainStep`` values. Files, resuming and validation are in ``model.training.run``.

Each step reads one batch of problems, written afresh, through the one thought loop and takes one AdamW step. The
randomness of step i follows from (seed, i) alone, so a run that stopped resumes exactly where it was.

With several processes every one draws the whole batch, takes its slice, makes as many passes, and divides its loss by
the number of scored tokens of the whole batch: summed over processes, gradients and losses are those of one process.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from model.coconut import CoconutConfig, CoconutGPT2, codec_named
from model.errors import InputError
from model.training.config import TrainConfig, stages
from model.training.cuda_graphs import GraphedStep
from model.training.curriculum import BatchOrder, TrainBatch, first_token_bound, make_batch, mix_seed
from model.training.data import Problems
from model.training.state import Stepper, TrainingError, TrainState, TrainStep, World

IGNORE = -100
STATS = ("loss", "scored", "first", "rows", "correct", "grad_norm")
"""Sums over a step's batch (grad_norm: of the step), in the order of the tensor that a step returns."""


def model_config(config: TrainConfig, problems: Problems, size: Mapping[str, Any] | None = None) -> CoconutConfig:
    """The config of the model that these settings train on these problems, before any stage is reached.

    ``size``: n_layer, n_head, n_embd and n_positions where they are not those of the settings.
    """
    codec = codec_named(config.codec_name, config.codec_format)
    size = size or {name: getattr(config, name) for name in ("n_layer", "n_head", "n_embd", "n_positions")}
    return CoconutConfig(
        **size,
        vocab_size=codec.vocab_size,
        resid_pdrop=config.dropout,
        embd_pdrop=config.dropout,
        attn_pdrop=config.dropout,
        initializer_range=config.initializer_range,
        bos_token_id=None,
        eos_token_id=None,
        codec=codec.name,
        codec_format=dict(codec.format) or None,
        method=config.method,
        c_thought=config.c_thought,
        max_latent_stage=config.max_latent_stage,
        trained_stage=0,
        uniform_prob=config.uniform_prob,
        feed=config.feed,
        mimetic_start=config.mimetic_start,
        task=config.task,
        **problems.trained,
    )


def make_optimizer(config: TrainConfig, model: CoconutGPT2) -> torch.optim.AdamW:
    """AdamW with decay on matrices only. On CUDA its step can be captured, for which lr has to be a tensor."""
    parameters = list(model.parameters())
    cuda = parameters[0].device.type == "cuda"
    return torch.optim.AdamW(
        [
            {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": config.weight_decay},
            {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
        ],
        lr=torch.tensor(config.lr, device=parameters[0].device) if cuda else config.lr,
        betas=config.betas,
        fused=True,
        capturable=cuda,
    )


def batch_order(config: TrainConfig, problems: Problems) -> BatchOrder:
    """Raises InputError if there are fewer problems than one batch takes."""
    if len(problems) < config.batch_size_training:
        raise InputError(
            f"batch_size_training is {config.batch_size_training}, but there are only {len(problems)} training problems"
        )
    return BatchOrder(
        problems.size.cpu(),
        batch_size=config.batch_size_training,
        n_buckets=config.length_buckets,
        seed=config.seed,
        device=problems.device,
    )


def n_steps(config: TrainConfig, steps_per_epoch: int) -> int:
    """Steps of the whole run."""
    return max(1, round(config.num_epochs * steps_per_epoch))


def recite_steps(config: TrainConfig, steps_per_epoch: int) -> int:
    """Steps at the start in which facts are recited."""
    return round(config.recite_epochs * steps_per_epoch)


def learning_rate(config: TrainConfig, step: int, total: int) -> float:
    """Of step 0, 1, ...: linear warm-up, constant, then a cosine to 0 over the last ``decay_share``."""
    rate = config.lr * min(1.0, (step + 1) / max(1, config.warmup_steps))
    left = (total - step) / total
    if left < config.decay_share:
        rate *= 0.5 * (1 - math.cos(math.pi * left / config.decay_share))
    return rate


def train(
    state: TrainState,
    config: TrainConfig,
    problems: Problems,
    *,
    world: World = World(),
    say: Callable[[str], None] = lambda message: None,
) -> Iterator[TrainStep]:
    """Train ``state`` to the end of the run, a value every ``log_every`` steps, at stage ends and at the end.

    ``problems`` are on the model's device. Between two values ``state`` is whole and may be saved; it already stands
    in the next stage where ``stage_ended`` is set. ``say`` is told what a user should know. Raises TrainingError.
    """
    order = batch_order(config, problems)
    total, plan = n_steps(config, order.steps_per_epoch), stages(config)
    codec, device = state.model.codec, problems.device
    step_on = stepper(config, device, world, say)
    bound_of, recited = -1, recite_steps(config, order.steps_per_epoch)
    while state.step < total:
        limit = _stage_limit(config, state, order.steps_per_epoch, total)
        end = min(state.step + config.log_every - state.step % config.log_every, limit, total)
        end = min(end, recited) if state.step < recited else end
        if bound_of != state.stage:
            bound_of = state.stage
            bound = first_token_bound(config, problems, state.stage, codec.lag)
        started, first_step = time.perf_counter(), state.step
        sums = torch.zeros(len(STATS), device=device)
        state.model.train()
        while state.step < end:
            if config.reset_optimizer == "epoch" and state.step and state.step % order.steps_per_epoch == 0:
                state.optimizer = make_optimizer(config, state.model)
            rate = learning_rate(config, state.step, total)
            _set_learning_rate(state.optimizer, rate)
            rows, width = order(state.step)
            generator = torch.Generator(device).manual_seed(mix_seed(config.seed, 1, state.step))
            recite = state.step < recited
            batch = make_batch(config, codec, problems[rows].narrow(width), state.stage, generator, recite=recite)
            n_scored = batch.text.scored.sum()
            drawn = config.dropout > 0 or config.feed == "sampled"
            with _memory_errors(config), torch.random.fork_rng(devices=[], enabled=drawn):
                if drawn:
                    torch.manual_seed(mix_seed(config.seed, 2, state.step, world.rank))
                sums += step_on(state, batch.part(world.rank, world.size), n_scored)
            state.step += 1
        value = dict(zip(STATS, sums.tolist(), strict=True))
        state.seconds += time.perf_counter() - started
        state.model.eval()
        if not all(math.isfinite(number) for number in value.values()):
            raise TrainingError(
                f"the loss is not finite in steps {first_step + 1} to {state.step}; lower lr (now {config.lr:g}) "
                "or clip, and continue with --resume from the last checkpoint or start again"
            )
        done = state.step - first_step
        loss, first = value["loss"] / value["scored"], value["first"] / value["rows"]
        stage = state.stage
        if state.step > recited:
            state.history.append((done, loss, first))
        ended = _stage_ended(config, state, order.steps_per_epoch, limit, total, bound)
        if ended:
            state.stage, state.stage_start, state.history = stage + 1, state.step, []
            if config.reset_optimizer == "stage":
                state.optimizer = make_optimizer(config, state.model)
        state.model.config.trained_stage = trained_stage(config, stage)
        yield TrainStep(
            step=state.step,
            n_steps=total,
            stage=stage,
            n_thoughts=plan[stage].n_thoughts,
            loss=loss,
            first_token_loss=first,
            first_token_bound=bound,
            accuracy=value["correct"] / value["rows"],
            grad_norm=value["grad_norm"] / done,
            lr=rate,
            problems=state.step * config.batch_size_training,
            seconds=state.seconds,
            problems_per_second=done * config.batch_size_training / (time.perf_counter() - started),
            stage_ended=ended,
        )


def trained_stage(config: TrainConfig, stage: int) -> int:
    """What ``CoconutConfig.trained_stage`` records for a stage of the method."""
    match config.method:
        case "cot" | "no_cot":
            return 0
        case "pause" | "no_curriculum":
            return config.max_latent_stage
        case _:
            return min(stage, config.max_latent_stage)


def batch_loss(model: CoconutGPT2, batch: TrainBatch) -> tuple[Tensor, Tensor]:
    """(summed loss of the scored tokens, with gradient; the first five of STATS without)."""
    config, text = model.config, batch.text
    dropout = config.attn_pdrop or config.resid_pdrop or config.embd_pdrop
    if text.tokens.is_cuda and model.training and not dropout:  # on the CPU launches are cheap and this gains nothing
        logits = model.training_logits(batch.prompt, batch.n_thoughts, text.tokens, batch.after)
    else:
        trace = model.think(batch.prompt, batch.n_thoughts)
        logits = model.continuation_logits(trace, text.tokens, after=batch.after)
    logits = logits.float()
    labels = text.tokens.masked_fill(~text.scored, IGNORE)
    each = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORE, reduction="none")
    each = each.view_as(labels)
    loss = each.sum()
    # Row by row, which sums what earlier versions summed in the same order.
    first = each.masked_fill(~text.first, 0).cumsum(dim=1)[:, -1].sum()
    correct = ((logits.argmax(dim=-1) == text.tokens) | ~text.due).all(dim=1).sum()
    rows = torch.full_like(loss, len(labels))
    numbers = (loss, text.scored.sum(), first, rows, correct)
    return loss, torch.stack([number.detach().float() for number in numbers])


def loss_in(dtype: torch.dtype, model: CoconutGPT2, batch: TrainBatch) -> tuple[Tensor, Tensor]:
    """``batch_loss`` with the weights cast once for all their uses, which autocast would cast at every one."""
    if dtype == torch.float32:
        return batch_loss(model, batch)
    cast = {f"model.{name}": parameter.to(dtype) for name, parameter in model.named_parameters()}
    return torch.func.functional_call(_Loss(model), cast, (batch,))


class _Loss(torch.nn.Module):
    def __init__(self, model: CoconutGPT2) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: TrainBatch) -> tuple[Tensor, Tensor]:
        return batch_loss(self.model, batch)


def eager_step(config: TrainConfig, world: World, state: TrainState, batch: TrainBatch, n_scored: Tensor) -> Tensor:
    """One step: forward, backward, sum over processes, clip, update."""
    parameters = list(state.model.parameters())
    state.optimizer.zero_grad()
    loss, stats = loss_in(precision(config, n_scored.device), state.model, batch)
    (loss / n_scored).backward()
    if world.size > 1:
        for p in parameters:  # one that took no part, such as positions past the longest prompt's, still has a sum
            p.grad = torch.zeros_like(p) if p.grad is None else p.grad
        flat = torch.cat([*(p.grad.flatten() for p in parameters if p.grad is not None), stats])
        dist.all_reduce(flat)
        *parts, stats = flat.split([*(p.numel() for p in parameters), len(stats)])
        for p, part in zip(parameters, parts, strict=True):
            p.grad = part.view_as(p)
    norm = torch.nn.utils.clip_grad_norm_(parameters, config.clip)
    state.optimizer.step()
    return torch.cat([stats, norm.detach().float()[None]])


def stepper(config: TrainConfig, device: torch.device, world: World, say: Callable[[str], None]) -> Stepper:
    """How a step is taken here: as CUDA graphs on a single CUDA device if the settings want them, else eagerly."""

    def eager(state: TrainState, batch: TrainBatch, n_scored: Tensor) -> Tensor:
        return eager_step(config, world, state, batch, n_scored)

    if device.type == "cuda" and config.cuda_graphs:
        if world.size == 1:
            return GraphedStep(eager, say)
        say("several processes: steps run eagerly, without CUDA graphs")
    return eager


def precision(config: TrainConfig, device: torch.device) -> torch.dtype:
    """What a step computes in; weights, gradients' sums and the optimizer are float32 all the same."""
    use = config.precision == "bfloat16" or (config.precision == "auto" and device.type == "cuda")
    return torch.bfloat16 if use else torch.float32


# --- private ----------------------------------------------------------------------------------------------------------


def _set_learning_rate(optimizer: torch.optim.AdamW, rate: float) -> None:
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def _stage_limit(config: TrainConfig, state: TrainState, steps_per_epoch: int, total: int) -> int:
    """The step at which the stage ends at the latest."""
    later = len(stages(config)) - 1 - state.stage
    if later == 0:
        return total
    begun = max(state.stage_start, recite_steps(config, steps_per_epoch))
    longest = begun + max(1, round(config.stage_epochs(state.stage) * steps_per_epoch))
    if config.advance == "schedule":
        return longest
    reserved = total - max(1, round(config.min_epochs_per_stage * steps_per_epoch)) * later
    return max(min(longest, reserved), state.stage_start + 1)


def _stage_ended(
    config: TrainConfig, state: TrainState, steps_per_epoch: int, limit: int, total: int, bound: float | None
) -> str:
    if state.stage == len(stages(config)) - 1 or state.step == total:
        return ""
    if state.step >= limit:
        return "schedule" if config.advance == "schedule" else "limit"
    recited = recite_steps(config, steps_per_epoch)
    if config.advance == "schedule" or state.step <= recited:
        return ""
    least = config.min_epochs_per_stage * steps_per_epoch
    window = config.settle_window * steps_per_epoch
    if state.step - max(state.stage_start, recited) >= least and settled(
        state.history, window, config.settle_tolerance, bound
    ):
        return "settled"
    return ""


def settled(history: list[tuple[int, float, float]], window: float, tolerance: float, bound: float | None) -> bool:
    """Whether a stage's loss has settled: flat over two windows of steps, **and** the edge look-up learned.

    ``history`` holds (steps, mean loss, mean first-token loss). Flat: the mean loss of the last ``window`` steps is
    less than ``tolerance`` (a share) below that of the window before. Learned: its first-token loss is no higher than
    ``bound`` (``curriculum.first_token_bound``) plus .05 nats; the plateau before that is flat as well.
    """
    halves: list[list[tuple[int, float, float]]] = [[], []]
    taken = 0
    for entry in reversed(history):
        if taken >= 2 * window:
            break
        halves[taken >= window].append(entry)
        taken += entry[0]
    if taken < 2 * window:
        return False

    def mean(entries: list[tuple[int, float, float]], column: int) -> float:
        return sum(entry[0] * entry[column] for entry in entries) / sum(entry[0] for entry in entries)

    flat = mean(halves[0], 1) >= (1 - tolerance) * mean(halves[1], 1)
    return flat and (bound is None or learned(mean(halves[0], 2), bound))


def learned(first_token_loss: float, bound: float) -> bool:
    """Whether edges are looked up: no worse than a guess in the true frontier, give or take .05 nats."""
    return first_token_loss <= bound + 0.05


@contextmanager
def _memory_errors(config: TrainConfig) -> Iterator[None]:
    """Turn "out of memory" into a TrainingError that names the knob."""
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
            raise
        raise TrainingError(
            f"out of memory; lower batch_size_training (now {config.batch_size_training}), n_embd or n_layer"
        ) from None
