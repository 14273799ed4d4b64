"""Accuracy after every number of thoughts, with intervals, beside the shortcut baselines; of texts, beside controls."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from model.coconut import CoconutGPT2, zero_thoughts
from model.codec import NO_NODE, Prompt, PromptBatch
from model.errors import InputError
from model.problems.prosqa import ProsQAProblem
from model.problems.texts import TextProblem
from model.readout import forced_answers, generated_answers
from model.rows import bare, longest_answer, writes_words
from model.stats import Estimate, Floats, mean, share
from model.values import Progress, silent


@dataclass(frozen=True)
class Evaluation:
    """Answers of a model to M problems in R prompt samples, by free generation after k = 0..K thoughts."""

    problems: tuple[ProsQAProblem, ...]
    answers: np.ndarray
    """``M R K+1``: node that was answered, -1 for no node of the graph or no answer at all."""
    forced: np.ndarray
    """``M R K+1`` (bool): whether the target is the more probable candidate when an answer is forced."""

    @property
    def correct(self) -> Floats:
        """``M R K+1``: 1 where the target was answered."""
        target = np.array([problem.target for problem in self.problems])
        return (self.answers == target[:, None, None]).astype(float)

    def after_hops(self, more: int = 0) -> Evaluation:
        """The same with one column: the answers after as many thoughts as the target is hops away, and ``more``."""
        k = np.array([problem.n_hops + more for problem in self.problems])[:, None, None]
        columns = (np.take_along_axis(values, k, axis=2) for values in (self.answers, self.forced))
        return Evaluation(self.problems, *columns)

    def accuracy(self, rows: Sequence[int] | None = None, *, forced: bool = False) -> list[Estimate]:
        """For each k over these problems (default all), in free generation or of the forced answer.

        One sample per problem: Wilson's interval over problems. Several samples of a problem are not independent, so
        then Student's t over the problems' own shares.
        """
        correct = self.forced.astype(float) if forced else self.correct
        shares = (correct if rows is None else correct[list(rows)]).mean(axis=1)
        found = [share(column) if self.answers.shape[1] == 1 else mean(column, within=(0, 1)) for column in shares.T]
        return [each for each in found if each is not None]


def after_hops(text: str) -> int | None:
    """How many thoughts more than the target is hops away: 0 of ``hops``, 1 of ``hops+1`` or ``+1``; else None."""
    name, plus, more = text.partition("+")
    if name not in ("hops", "") or not (name or plus) or (plus and not (more.isascii() and more.isdigit())):
        return None
    return int(more or 0)


def summary(result: Evaluation, ks: Iterable[int]) -> dict[str, Any]:
    """Plain data: ``n`` problems, ``accuracy`` and ``ci95`` by k, ``forced`` alike, and the same ``by_hops``.

    Where there is no interval its ends are None.
    """

    def table(rows: Sequence[int]) -> dict[str, Any]:
        free, forced = (_by_k(result.accuracy(rows, forced=forced), ks) for forced in (False, True))
        return {"n": len(rows), **free, "forced": forced}

    ks = list(ks)
    return _tables(table, "by_hops", [problem.n_hops for problem in result.problems])


def _by_k(found: Sequence[Estimate], ks: Iterable[int]) -> dict[str, Any]:
    return {
        "accuracy": {str(k): found[k].value for k in ks},
        "ci95": {str(k): [found[k].low, found[k].high] for k in ks},
    }


def _tables(table: Callable[[Sequence[int]], dict[str, Any]], name: str, groups: Sequence[int]) -> dict[str, Any]:
    """The table of all rows, and under ``name`` that of each group of them."""
    each = {str(group): [row for row, own in enumerate(groups) if own == group] for group in sorted(set(groups))}
    return table(range(len(groups))) | {name: {group: table(rows) for group, rows in each.items()}}


@torch.inference_mode()
def evaluate(
    model: CoconutGPT2,
    problems: Sequence[ProsQAProblem],
    *,
    n_thoughts: int | None = None,
    n_samples: int = 1,
    seed: int = 0,
    pad: bool = False,
    batch_size: int = 16,
    progress: Progress = silent,
) -> Evaluation:
    """Answers to every problem after k = 0..n_thoughts thoughts (default: the number the model was trained for).

    Prompts are batched by length; a problem's samples depend on (seed, problem number) alone, so the result does not
    depend on ``batch_size``. ``pad`` brings graphs smaller than any in training up to its size with distractor facts
    (``Codec.prompt``). Raises InputError if there is no problem or one does not fit the model.
    """
    if not problems:
        raise InputError("no problem to evaluate")
    if batch_size < 1 or n_samples < 1:
        raise InputError(f"batch size and samples must be 1 or more, got {batch_size} and {n_samples}")
    n_thoughts = model.config.n_thoughts if n_thoughts is None else n_thoughts
    codec = model.codec
    prompts: list[Prompt] = []
    for row, problem in enumerate(problems):
        try:
            model.config.check_fits(problem, n_thoughts)
        except InputError as error:
            raise type(error)(f"problem {row}: {error}") from None
        rng = np.random.default_rng([seed, row])
        size = model.config.padding_for(problem) if pad else None
        prompts.append(codec.prompt(problem, rng, pad_to=size))
        prompts += [codec.drawn(problem, rng, pad_to=size) for _ in range(n_samples - 1)]
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i].input_ids))
    batches = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    answers, forced = (np.full((len(prompts), n_thoughts + 1), value) for value in (NO_NODE, False))
    done = 0
    for rows in batches:
        batch = [prompts[i] for i in rows]
        trace = model.think(codec.collate(batch).to(model.device), n_thoughts)
        forced[rows] = forced_answers(model, trace, batch).log_odds > 0
        for i, written in zip(rows, generated_answers(model, trace, batch), strict=True):
            answers[i] = [each.answer for each in written]
        done += len(rows)
        progress("evaluate", done, len(prompts))
    return Evaluation(tuple(problems), *(x.reshape(len(problems), n_samples, -1) for x in (answers, forced)))


@dataclass(frozen=True)
class TextEvaluation:
    """Answers of a model to M questions in words, by free generation."""

    problems: tuple[TextProblem, ...]
    said: tuple[tuple[str, ...], ...]
    """Of each problem, the answer after k = 0..K thoughts, then after K thoughts that were fed as zeros."""

    @property
    def correct(self) -> np.ndarray:
        """``M K+2`` (bool): word for word, thousands commas aside, as the public code compares."""
        return np.array(
            [
                [bare(answer) == bare(problem.answer) for answer in each]
                for each, problem in zip(self.said, self.problems, strict=True)
            ]
        )

    def accuracy(self, rows: Sequence[int] | None = None) -> list[Estimate]:
        """For each column of ``correct``, over these problems (default all)."""
        chosen = self.correct if rows is None else self.correct[list(rows)]
        return [found for column in chosen.T if (found := share(column)) is not None]

    def summary(self) -> dict[str, Any]:
        """Plain data: ``n``, ``accuracy`` and ``ci95`` by k, the controls, and ``by_steps`` alike."""

        def table(rows: Sequence[int]) -> dict[str, Any]:
            *by_k, zeroed = self.accuracy(rows)
            zero = zeroed.model_dump(mode="json")
            return {"n": len(rows), **_by_k(by_k, range(len(by_k))), "thoughts_zeroed": zero}

        steps = [len(problem.steps) for problem in self.problems]
        return _tables(table, "by_steps", steps) | {"stepless": steps.count(0)}


def room_for_answer(model: CoconutGPT2, n_tokens: int, n_thoughts: int, *, where: str = "the question") -> int:
    """Most tokens to write after a question of so many and these thoughts: ``longest_answer``, or as many as fit.

    Raises InputError, naming ``where``, if there is room for none.
    """
    n_positions = model.config.n_positions
    room = n_positions - n_tokens - n_thoughts - len(model.codec.after)
    if room < 1:
        raise InputError(
            f"{where}: {n_tokens} tokens and {n_thoughts} thoughts leave no room for an answer in {n_positions} "
            "positions"
        )
    return min(longest_answer(model.config.task), room)


@torch.inference_mode()
def evaluate_texts(
    model: CoconutGPT2,
    problems: Sequence[TextProblem],
    *,
    n_thoughts: int | None = None,
    batch_size: int = 16,
    progress: Progress = silent,
) -> TextEvaluation:
    """Answers to questions in words after k = 0..n_thoughts thoughts (default: as trained), and with thoughts zeroed.

    Greedy, up to ``longest_answer`` tokens. Raises InputError if the model's format writes no words, there is no
    problem, or one does not fit.
    """
    codec = writes_words(model.codec)
    if not problems:
        raise InputError("no problem to evaluate")
    n_thoughts = model.config.n_thoughts if n_thoughts is None else n_thoughts
    asked = [codec.asked(problem.question) for problem in problems]
    for row, ids in enumerate(asked):
        room_for_answer(model, len(ids), n_thoughts, where=f"problem {row}")
    order = sorted(range(len(asked)), key=lambda i: len(asked[i]))
    said: list[tuple[str, ...]] = [()] * len(asked)
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        prompts = PromptBatch.padded([asked[i] for i in rows], codec.end).to(model.device)
        trace = model.think(prompts, n_thoughts)
        n = room_for_answer(model, prompts.input_ids.shape[1], n_thoughts)
        by_k = model.write_after_each(trace, n, stop=codec.has_ended, first=codec.after)
        idle = model.think(trace.upto(0), n_thoughts, edit=zero_thoughts)
        last = model.write(idle, n, stop=codec.has_ended, first=codec.after)
        for i, texts, zero in zip(rows, by_k.tolist(), last.tolist(), strict=True):
            said[i] = tuple(codec.said(text) for text in (*texts, zero))
        progress("evaluate", start + len(rows), len(asked))
    return TextEvaluation(tuple(problems), tuple(said))
