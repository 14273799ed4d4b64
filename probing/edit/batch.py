"""A clean run: some problems, how they were written, and what the model thought when left alone.

Every measurement of an intervention is a difference from a clean run, and shares with it the prompt pass and all
thoughts before the first one that is edited.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from model.coconut import CoconutGPT2, ThoughtTrace
from model.codec import Prompt, PromptBatch
from model.errors import CheckpointError
from model.problems.prosqa import ProsQAProblem


@dataclass(frozen=True, eq=False)
class CleanRun:
    """B problems and the model's unedited run of all its K thoughts on them."""

    ids: tuple[int, ...]
    """A number for each problem, from which what edits sample of its graph is seeded."""
    noise_ids: tuple[int, ...]
    """A number for each row, from which its noise is seeded: other than ``ids`` where a problem stands in several."""
    prompts: tuple[Prompt, ...]
    trace: ThoughtTrace

    @property
    def problems(self) -> tuple[ProsQAProblem, ...]:
        return tuple(prompt.problem for prompt in self.prompts)

    @property
    def n_thoughts(self) -> int:
        return self.trace.n_thoughts


def n_thoughts_of(model: CoconutGPT2) -> int:
    """Thoughts the model has before it answers. Raises CheckpointError for a model trained with none."""
    n = model.config.n_thoughts
    if n < 1:
        raise CheckpointError(
            f"this checkpoint ({model.config.method}, stage {model.config.trained_stage}) has no thoughts to edit"
        )
    return n


def draw_prompt(model: CoconutGPT2, problem: ProsQAProblem, *, seed: int, number: int, pad: bool = False) -> Prompt:
    """One prompt sample of the problem, which depends on (seed, number) alone.

    ``pad`` pads a graph smaller than any in training to the training size with distractor facts. Raises
    ProblemTooLargeError if the model cannot take it.
    """
    model.config.check_fits(problem)
    size = model.config.padding_for(problem) if pad else None
    return model.codec.prompt(problem, np.random.default_rng([seed, number]), pad_to=size)


@torch.inference_mode()
def clean_run(
    model: CoconutGPT2, prompts: Sequence[Prompt], ids: Sequence[int], noise_ids: Sequence[int] | None = None
) -> CleanRun:
    """The model's own run of all its thoughts on these prompts, as one batch; ``noise_ids`` are ``ids`` by default."""
    assert len(prompts) == len(ids)
    batch = model.codec.collate(prompts).to(model.device)
    # With an edit that changes nothing, models with pauses think one at a time as edited runs do: an identity edit
    # is then the same arithmetic and differs by exactly zero.
    trace = model.think(batch, n_thoughts_of(model), edit=lambda t, thought: thought)
    return CleanRun(tuple(ids), tuple(ids if noise_ids is None else noise_ids), tuple(prompts), trace)


def start_before(model: CoconutGPT2, run: CleanRun, t: int) -> ThoughtTrace | PromptBatch:
    """What to think on from so that thought t comes next; for t = 0 the prompts, to be read anew."""
    return run.trace.upto(t - 1) if t else model.codec.collate(run.prompts).to(model.device)


def prompt_batches(
    model: CoconutGPT2, problems: Sequence[ProsQAProblem], *, seed: int, size: int, skip: int = 0
) -> Iterator[tuple[range, list[Prompt]]]:
    """(numbers of the problems, one prompt sample of each), at most ``size`` at a time, without the first ``skip``."""
    for start in range(skip, len(problems), size):
        rows = range(start, min(start + size, len(problems)))
        yield rows, [draw_prompt(model, problems[row], seed=seed, number=row) for row in rows]
