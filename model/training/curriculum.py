"""Stages of training: how many thoughts stand in for how many steps, and the batches that teach it.

Stage s of Coconut replaces the first s steps of the chain by ``c_thought * s`` thoughts (Hao et al. 2024, section
3). The other methods of their table 1 are the same sequence with parts left out or replaced:

=================  ==============================================  =======================
method             stages                                          thoughts
=================  ==============================================  =======================
coconut            0..max_latent_stage (+ the final stage)         hidden states
pause_as_thought   as coconut                                      <pause> embeddings
no_curriculum      the last of coconut's alone                     hidden states
pause              answer only, from the start                     <pause> embeddings
no_thought         as coconut                                      none
icot               as coconut, on a schedule of its own            none
cot                the whole chain                                 none
no_cot             answer only                                     none
=================  ==============================================  =======================

Only the continuation after the thoughts is scored: prompt and thoughts are masked from the loss.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from model.codec import Codec, Continuation, PromptBatch
from model.training.config import ALL, Stage, TrainConfig, stages
from model.training.data import Problems, samples_of


@dataclass(frozen=True)
class TrainBatch:
    """B problems to learn from, all on one device."""

    prompt: PromptBatch
    text: Continuation
    """What is to be written after the thoughts."""
    after: Tensor
    """``B``: thoughts that each row has before its continuation."""
    n_thoughts: int
    """Thoughts to think: as many as the stage has, so that every process and every batch makes as many passes."""

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        text = self.text
        prompt = self.prompt.input_ids, self.prompt.attention_mask
        return *prompt, text.tokens, text.scored, text.first, text.due, self.after

    def map(self, change: Callable[[Tensor], Tensor]) -> TrainBatch:
        """The batch with every tensor changed."""
        ids, mask, *text, after = map(change, self.tensors)
        return TrainBatch(PromptBatch(ids, mask), Continuation(*text), after, self.n_thoughts)

    def part(self, index: int, n_parts: int) -> TrainBatch:
        """One of ``n_parts`` equal slices of the rows."""
        return self.map(lambda tensor: tensor[index::n_parts])


def make_batch(
    config: TrainConfig,
    codec: Codec,
    problems: Problems,
    stage: int,
    generator: torch.Generator,
    *,
    recite: bool = False,
) -> TrainBatch:
    """These problems at a stage, as fresh prompt samples and (``uniform_prob``) in mixed stages.

    ``recite``: without thoughts, and their facts in place of chain and answer.

    Everything random comes from ``generator``, on the device of both.
    """
    plan, n = stages(config), len(problems)

    def random() -> Tensor:
        return torch.rand(n, generator=generator, device=problems.device)

    # CUDA's products of bfloat16 take slower ways at lengths that are no multiple of 8.
    align = 8 if problems.device.type == "cuda" else 1
    samples = samples_of(codec, problems, generator, align=align)
    if recite:
        return TrainBatch(samples.prompts, samples.recited(generator), torch.zeros(n, device=problems.device).long(), 0)
    mixed = random() < config.uniform_prob
    reached = stage + 1 if config.mix == "reached" else problems.n_hops.long() + 1
    at = torch.where(mixed, (random() * reached).long().clamp(max=len(plan) - 1), stage)
    after, n_skip = (column[at] for column in _columns(plan, problems.device))
    if config.final_stage and not config.pad_latent_to_max:
        needed = config.c_thought * problems.n_hops.long()
        after = torch.where(n_skip == ALL, torch.minimum(after, needed), after)
    if config.removal_smoothing is not None:
        # o = floor of an exponential variable has P(o) proportional to exp(-rate * o).
        more = -torch.log1p(-random()) / max(config.removal_smoothing, 1e-6)
        n_skip = n_skip + more.clamp(max=ALL).long()
    least = 0 if config.uniform_prob > 0 else plan[stage].n_skip
    last = stage if config.mix == "reached" or not config.uniform_prob else len(plan) - 1
    return TrainBatch(samples.prompts, samples.continuation(n_skip, least=least), after, plan[last].n_thoughts)


def first_token_bound(config: TrainConfig, problems: Problems, stage: int, lag: int = 0) -> float | None:
    """Mean loss (nats) on the first step after the thoughts for one who knows the frontier and guesses in it.

    That is ``ProblemTensors.guess``; None where no frontier is known. A stage whose loss is above this has not learned
    to look up edges, however flat its curve is: the plateau before that looks settled and is not.
    """
    each = [problems.guess(s.n_skip, lag) for s in stages(config)[: stage + 1]]
    if any(guess is None for guess in each):
        return None
    means = torch.stack([guess.mean() for guess in each if guess is not None])
    return float((1 - config.uniform_prob) * means[stage] + config.uniform_prob * means.mean())


class BatchOrder:
    """Which problems make up each step: every epoch visits each problem once, in batches of like prompt length.

    Stateless: the rows of a step follow from ``seed`` and the step's number, so a run can continue from anywhere.
    What does not fill a batch at the end of a length bucket waits for another epoch.
    """

    def __init__(
        self, size: Tensor, *, batch_size: int, n_buckets: int, seed: int, device: torch.device | str = "cpu"
    ) -> None:
        assert len(size) >= batch_size
        by_length = size.argsort(stable=True)
        self._buckets: Sequence[Tensor] = by_length.tensor_split(_ends(size, n_buckets, batch_size))
        self._widths = [int(size[bucket].max()) for bucket in self._buckets]
        self._batch_size, self._seed, self._device = batch_size, seed, device
        self._epoch, self._order = -1, list[tuple[Tensor, int]]()
        self.steps_per_epoch = sum(len(bucket) // batch_size for bucket in self._buckets)

    def __call__(self, step: int) -> tuple[Tensor, int]:
        """(rows, room for their ``size``) of step 0, 1, ...; the room is that of the bucket, so that shapes repeat.

        Rows are on the device already: sending those of every step on their own would make each wait for the last.
        """
        epoch, place = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, self._shuffle(epoch)
        return self._order[place]

    def _shuffle(self, epoch: int) -> list[tuple[Tensor, int]]:
        generator = torch.Generator().manual_seed(mix_seed(self._seed, epoch))
        batches = []
        for bucket, width in zip(self._buckets, self._widths, strict=True):
            shuffled = bucket[torch.randperm(len(bucket), generator=generator)]
            whole = len(bucket) // self._batch_size * self._batch_size
            rows_of = shuffled[:whole].to(self._device).split(self._batch_size)
            batches += [(rows, width) for rows in rows_of] if whole else []
        return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]


def _ends(lengths: Tensor, n_buckets: int, least: int) -> list[int]:
    """Where to cut the sorted lengths into at most so many buckets of at least ``least``, for the least padding.

    Cuts lie at multiples of ``least``, so that all batches but the last are whole.
    """
    length, count = lengths.unique(return_counts=True)
    below = [0, *count.cumsum(0).tolist()]
    # best[i]: (padded length in all, cuts) of the shortest i lengths; one bucket more at every round
    best: list[tuple[float, list[int]]] = [(0.0, []), *((math.inf, list[int]()) for _ in length)]
    found = best[-1]
    for _ in range(n_buckets):
        best = [
            min(
                (
                    (best[i][0] + (below[j] - below[i]) * int(length[j - 1]), [*best[i][1], below[j]])
                    for i in range(j)
                    if below[j] - below[i] >= least
                ),
                default=(math.inf, []),
            )
            for j in range(len(below))
        ]
        found = min(found, best[-1])
    return sorted({cut // least * least for cut in found[1][:-1]} - {0})


@cache
def _columns(plan: tuple[Stage, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """Thoughts and dropped steps of every stage; made once, since making a tensor on CUDA waits for the device."""
    return (
        torch.tensor([s.n_thoughts for s in plan], device=device),
        torch.tensor([s.n_skip for s in plan], device=device),
    )


def mix_seed(*parts: int) -> int:
    """One 63-bit seed from several numbers, such that neighbouring numbers give unrelated seeds."""
    value = 0x9E3779B97F4A7C15
    for part in parts:
        value = ((value ^ part) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        value ^= value >> 31
    return value >> 1
