"""Questions in words, such as GSM8k's: what can be said of their thoughts without a graph.

*Read*: is an intermediate result of the written chain the next token by the logit lens of a thought? A number is
spelled with a space before it or without, and both are summed. The control is a result of another problem's chain,
which this one has not.

*Used*: is the answer that of the problem whose thoughts are fed? Thoughts of another problem are fed in place of the
own ones; beside it, zeros and noise as long as the own thoughts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from model.coconut import CoconutGPT2, Edit, ThoughtTrace
from model.codec import PromptBatch
from model.errors import InputError
from model.evaluate import room_for_answer
from model.problems.texts import TextProblem
from model.rows import bare, writes_words
from model.stats import Estimate, mean, share, sure
from model.values import Progress, Value, silent
from probing.read.numbers import number_probabilities

CHANGES = {
    "": "own thoughts",
    "transplant": "thoughts of another problem",
    "zeroed": "thoughts fed as zeros",
    "noise": "noise as long as the own thoughts",
}
"""What is fed in place of the thoughts, in words; the last two are controls of the second."""


class NumberRead(Value):
    """One result of the chain in one thought, over problems."""

    thought: int
    """t: h_(t-1), 1 to K; K + 1 is the state after all of them."""
    step: int
    """Which step's result, from 1."""
    probability: Estimate
    """Of the result, both spellings summed."""
    control: Estimate
    """Of a result of another problem."""
    above: Estimate
    """Share of problems whose result is more probable than the other's, ties as half; one half is chance."""


class TextChange(Value):
    """What a model answers when something else is fed in place of its thoughts."""

    change: str
    """A key of CHANGES."""
    own: Estimate
    """Share of answers that are right."""
    other: Estimate
    """Share that are the right answer of the problem whose thoughts are fed."""


class TextFindings(Value):
    """Of one model on M problems."""

    n: int
    n_stepless: int
    """Problems without steps: they have no result to read."""
    n_thoughts: int
    numbers: tuple[NumberRead, ...]
    changes: tuple[TextChange, ...]
    accuracy_by_k: tuple[Estimate, ...]
    """Share of right answers after k = 0, 1, ... thoughts."""

    def rows(self) -> list[tuple[object, ...]]:
        """thought, step, what, value, low, high, n: all numbers as one table."""
        found: list[tuple[object, ...]] = []
        for one in self.numbers:
            for what in ("probability", "control", "above"):
                found.append((one.thought, one.step, what, *getattr(one, what).cells()))
        for change in self.changes:
            found += [("", "", f"{change.change or 'own'}: {what}", *getattr(change, what).cells()) for what in SAYS]
        found += [(k, "", "accuracy after k thoughts", *each.cells()) for k, each in enumerate(self.accuracy_by_k)]
        return found


SAYS = ("own", "other")
COLUMNS = ("thought", "step", "what", "value", "low", "high", "n")


@torch.inference_mode()
def text_findings(
    model: CoconutGPT2,
    problems: Sequence[TextProblem],
    *,
    seed: int = 0,
    batch_size: int = 16,
    progress: Progress = silent,
) -> TextFindings:
    """Read and change the thoughts of these problems. Raises InputError if the model has none or writes no words, or
    there are fewer than two problems with different answers."""
    codec, n_thoughts = writes_words(model.codec), model.config.n_thoughts
    if not n_thoughts:
        raise InputError(f"this model ({model.config.method}) has no thoughts to read or change")
    if len({bare(problem.answer) for problem in problems}) < 2:
        raise InputError("interchanging thoughts needs at least two problems with different answers")
    rng = np.random.default_rng(seed)
    donors = [_other(problems, i, rng) for i in range(len(problems))]
    asked = [codec.asked(problem.question) for problem in problems]
    length = room_for_answer(model, max(map(len, asked)), n_thoughts, where="the longest question")
    right: dict[str, list[tuple[bool, bool]]] = {change: [] for change in CHANGES}
    by_k: list[list[bool]] = []
    read: dict[tuple[int, int], list[tuple[float, float]]] = {}

    def answers(written: torch.Tensor) -> list[str]:
        return [bare(codec.said(text)) for text in written.tolist()]

    for start in range(0, len(problems), batch_size):
        rows = range(start, min(start + batch_size, len(problems)))
        trace = model.think(PromptBatch.padded([asked[i] for i in rows], codec.end).to(model.device), n_thoughts)
        theirs = model.think(
            PromptBatch.padded([asked[donors[i]] for i in rows], codec.end).to(model.device), n_thoughts
        ).thoughts
        after_each = model.write_after_each(trace, length, stop=codec.has_ended, first=codec.after)
        wanted = [bare(problems[i].answer) for i in rows]
        by_k += [
            [bare(codec.said(text)) == answer for text in texts]
            for texts, answer in zip(after_each.tolist(), wanted, strict=True)
        ]
        noise = torch.from_numpy(rng.standard_normal(trace.thoughts.shape)).to(trace.thoughts)
        noise *= trace.thoughts.norm(dim=-1, keepdim=True) / noise.norm(dim=-1, keepdim=True)
        fed: Mapping[str, torch.Tensor] = {
            "transplant": theirs, "zeroed": torch.zeros_like(theirs), "noise": noise,
        }  # fmt: skip
        for change in CHANGES:
            thought = model.think(trace.upto(0), n_thoughts, edit=_instead(fed[change])) if change else trace
            said = answers(model.write(thought, length, stop=codec.has_ended, first=codec.after))
            others = [bare(problems[donors[i]].answer) for i in rows]
            right[change] += [(s == own, s == other) for s, own, other in zip(said, wanted, others, strict=True)]
        _read_numbers(model, trace, [problems[i] for i in rows], [problems[donors[i]] for i in rows], read)
        progress("texts", rows.stop, len(problems))
    numbers = [
        NumberRead(
            thought=thought, step=step, probability=sure(mean([a for a, _ in pairs], within=(0, 1))),
            control=sure(mean([b for _, b in pairs], within=(0, 1))),
            above=sure(mean([(a > b) + (a == b) / 2 for a, b in pairs], within=(0, 1))),
        )
        for (thought, step), pairs in sorted(read.items())
    ]  # fmt: skip
    changes = [
        TextChange(change=change, own=sure(share(own)), other=sure(share(other)))
        for change, (own, other) in ((change, zip(*found, strict=True)) for change, found in right.items())
    ]
    return TextFindings(
        n=len(problems), n_stepless=sum(not problem.steps for problem in problems), n_thoughts=n_thoughts,
        numbers=tuple(numbers), changes=tuple(changes),
        accuracy_by_k=tuple(sure(share(column)) for column in zip(*by_k, strict=True)),
    )  # fmt: skip


# --- private ----------------------------------------------------------------------------------------------------------


def _read_numbers(
    model: CoconutGPT2,
    trace: ThoughtTrace,
    problems: Sequence[TextProblem],
    donors: Sequence[TextProblem],
    read: dict[tuple[int, int], list[tuple[float, float]]],
) -> None:
    """Add (own, control) probabilities of every step's result in every state."""
    pairs = [
        [(own, other) for own, other in zip(mine.results, theirs.results, strict=False) if other not in mine.results]
        for mine, theirs in zip(problems, donors, strict=True)
    ]
    for row, each in enumerate(pairs):
        if not each:
            continue
        numbers = [number for pair in each for number in pair]
        found = number_probabilities(model, trace.select(torch.tensor([row], device=trace.states.device)), numbers)
        for step, (own, other) in enumerate(each, start=1):
            for k in range(trace.n_thoughts + 1):
                read.setdefault((k + 1, step), []).append((float(found[own][k]), float(found[other][k])))


def _instead(thoughts: torch.Tensor) -> Edit:
    return lambda t, thought: thoughts[:, t - 1]


def _other(problems: Sequence[TextProblem], i: int, rng: np.random.Generator) -> int:
    """Another problem with another answer: of as many steps, else of more, else with any, where there is one."""
    others = [j for j, each in enumerate(problems) if bare(each.answer) != bare(problems[i].answer)]
    n = len(problems[i].steps)
    for fits in (lambda m: m == n, lambda m: m > n, lambda m: m > 0, lambda m: True):
        chosen = [j for j in others if fits(len(problems[j].steps))]
        if chosen:
            return int(rng.choice(chosen))
    raise AssertionError("checked before")
