"""What travels through training: this process among others, what a step tells, and all that a run changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from model.coconut import CoconutGPT2
from model.errors import InputError
from model.training.curriculum import TrainBatch
from model.values import Value


class TrainingError(InputError):
    """Training cannot continue: the loss is not finite, or memory is out. The last good checkpoint is untouched."""


@dataclass(frozen=True)
class World:
    """This process among those that train together."""

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        return self.rank == 0


class TrainStep(Value):
    """What happened in the steps since the value before. Losses in nats, means over the interval."""

    step: int
    """Steps done."""
    n_steps: int
    """Steps the whole run takes."""
    stage: int
    n_thoughts: int
    loss: float
    """Per scored token of the continuation."""
    first_token_loss: float
    """On the first token after the thoughts."""
    first_token_bound: float | None
    """What guessing uniformly in the true frontier would cost there (``curriculum.first_token_bound``); None where no
    frontier is known."""
    accuracy: float
    """Share of problems whose target is the most probable token where it is first due (as the last step of the chain,
    or after [A] where no step is left), given the true chain before it."""
    grad_norm: float
    """Before clipping."""
    lr: float
    problems: int
    """Problems seen since the start of the run."""
    seconds: float
    """Time spent in training steps since the start of the run."""
    problems_per_second: float
    stage_ended: str = ""
    """Why the stage ends here: ``settled``, ``limit`` or ``schedule``; empty where it continues."""


@dataclass
class TrainState:
    """Everything that a run changes; what a checkpoint must hold to continue exactly."""

    model: CoconutGPT2
    optimizer: torch.optim.AdamW
    step: int = 0
    stage: int = 0
    stage_start: int = 0
    """Step at which the stage began."""
    history: list[tuple[int, float, float]] = field(default_factory=list)
    """Of the stage so far, for each TrainStep: (steps, mean loss, mean first-token loss)."""
    seconds: float = 0.0
    best: tuple[int, float] = (-1, 0.0)
    """Stage and accuracy of the best validation so far."""


Stepper = Callable[[TrainState, TrainBatch, Tensor], Tensor]
"""(state, this process's part of the batch, scored tokens of the whole batch) to STATS, the weights updated."""
