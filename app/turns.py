"""Whose forward passes are next: small ones first, and everybody's in the end."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from app import memory
from model.coconut import CoconutGPT2
from model.problems.prosqa import ProsQAProblem
from model.problems.texts import TextProblem
from model.rows import longest_answer, writes_words

PATIENCE = 10
"""Who waits lets others go before them that came later, until that has taken this many times their own cost."""
PER_SECOND = 1e11
"""Parameters times positions that two cores do in a second."""


def cost(model: CoconutGPT2, problem: ProsQAProblem | TextProblem, n_thoughts: int, *, passes: int) -> float:
    """Seconds that so many passes take two cores, roughly, for each prompt sample.

    A pass has the positions of the prompt, of the thoughts, and of a continuation read out after each of them.
    """
    config, codec = model.config, model.codec
    if isinstance(problem, TextProblem):
        prompt, after = len(writes_words(codec).asked(problem.question)), longest_answer(config.task)
    else:
        padded = config.padding_for(problem)
        n_edges = max(len(problem.edges), padded.edges if padded else 0)
        prompt, after = codec.prompt_length(n_edges), codec.continuation_length(problem.n_hops)
    positions = prompt + n_thoughts + (n_thoughts + 1) * after
    return passes * positions * model.num_parameters() / PER_SECOND


class Turns:
    """A queue. Costs are in seconds. Who comes alone gets all of torch's threads; while others wait, as many go at once
    as there are threads, with one each: two threads do not make one pass twice as fast. Not so where they are not
    ``together``, as on a GPU: one at a time then."""

    def __init__(self, threads: int | None = None, *, together: bool = True) -> None:
        self._changed = threading.Condition()
        self._waiting: list[tuple[float, int]] = []
        self._numbers = itertools.count()
        self._threads = self._free = threads or torch.get_num_threads()
        self._together = together

    @contextmanager
    def turn(self, cost: float) -> Iterator[Callable[[], None]]:
        """The block is run when it is its turn. What is given can be called inside, as a long one should, to let those
        go before who have less to do."""
        place = time.monotonic() + PATIENCE * cost, next(self._numbers)
        taken = self._take(place)

        def step_aside() -> None:
            nonlocal taken
            self._leave(taken)
            taken = self._take(place)

        try:
            yield step_aside
        finally:
            self._leave(taken)
            if self._is_quiet():  # it takes a tenth of the time of passes, which those who wait would wait for
                memory.give_back()

    def quiet(self, patience: float) -> None:
        """Wait until nobody is in the queue, or for so many seconds: for work that can always wait a little."""
        with self._changed:
            self._changed.wait_for(self._is_quiet, patience)

    def _is_quiet(self) -> bool:
        return self._free == self._threads and not self._waiting

    def _take(self, place: tuple[float, int]) -> int:
        with self._changed:
            heapq.heappush(self._waiting, place)
            self._changed.wait_for(lambda: self._free > 0 and self._waiting[0] == place)
            heapq.heappop(self._waiting)
            alone = self._is_quiet()
            taken = 1 if self._together and not alone else self._threads
            self._free -= taken
            torch.set_num_threads(taken)
            self._changed.notify_all()
        return taken

    def _leave(self, taken: int) -> None:
        with self._changed:
            self._free += taken
            if self._free == self._threads:
                torch.set_num_threads(self._threads)  # what threads begin with that are no pages
            self._changed.notify_all()
