"""Many ask at once: small passes first, large ones in the end, the same one once, and a data set run between."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from app import compute, jobs, turns
from app.jobs import Job, Order
from app.turns import Turns
from model.problems.generate import generate


def settle() -> None:
    time.sleep(0.1)


class Queue:
    """Passes that go on until they are told to end; who had their turn is noted in order."""

    def __init__(self) -> None:
        self.turns, self.had, self.threads = Turns(1), [], []
        self.hold = threading.Event()

    def ask(self, name: str, cost: float, *, hold: bool = False, asides: int = 0) -> None:
        def work() -> None:
            with self.turns.turn(cost) as step_aside:
                self.had.append(name)
                if hold:
                    self.hold.wait(10)
                for _ in range(asides):
                    step_aside()
                    self.had.append(name)

        thread = threading.Thread(target=work)
        thread.start()
        self.threads.append(thread)
        settle()

    def let_go(self) -> list[str]:
        self.hold.set()
        for thread in self.threads:
            thread.join(10)
        return self.had


def test_small_ones_go_first_and_equal_ones_as_they_came() -> None:
    queue = Queue()
    queue.ask("running", 1, hold=True)
    for name, cost in (("large", 9.0), ("first", 1.0), ("second", 1.0), ("small", 0.1)):
        queue.ask(name, cost)
    assert queue.let_go() == ["running", "small", "first", "second", "large"]


def test_a_large_one_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "PATIENCE", 0.1)
    queue = Queue()
    queue.ask("running", 1, hold=True)
    queue.ask("large", 5.0)
    queue.ask("before", 0.01)
    time.sleep(0.6)
    queue.ask("after", 0.01)
    assert queue.let_go() == ["running", "before", "large", "after"]


def test_a_long_one_steps_aside() -> None:
    queue = Queue()
    queue.ask("long", 9.0, hold=True, asides=2)
    queue.ask("short", 0.1)
    assert queue.let_go() == ["long", "short", "long", "long"]


def test_alone_one_has_all_threads_and_while_others_wait_one_each(monkeypatch: pytest.MonkeyPatch) -> None:
    given, inside = [], []
    monkeypatch.setattr(turns.torch, "set_num_threads", given.append)
    queue, alone, together = Turns(2), threading.Event(), threading.Barrier(2)

    def first() -> None:
        with queue.turn(1):
            inside.append(given[-1])
            alone.wait(10)

    def later() -> None:
        with queue.turn(1):
            inside.append(1)
            together.wait(10)  # both are in, or this breaks

    threads = [threading.Thread(target=work) for work in (first, later, later)]
    for thread in threads:
        thread.start()
        settle()
    assert inside == [2], "nobody joins who came first and has it all"
    alone.set()
    for thread in threads:
        thread.join(10)
    assert inside == [2, 1, 1]
    assert not together.broken
    assert given == [2, 2, 1, 1, 2]


def test_on_a_gpu_one_goes_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns.torch, "set_num_threads", lambda n: None)
    queue, inside, most = Turns(4, together=False), [], []

    def work() -> None:
        with queue.turn(1):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.05)
            inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert most == [1] * 4


def test_one_that_fails_leaves_its_place() -> None:
    queue = Turns()
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), queue.turn(1):
            raise ZeroDivisionError
    with queue.turn(1):
        pass


def test_what_many_ask_for_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the weights, whoever opened them and wherever they lie."""
    asked, found = [], []

    def probe(*_: object, **options: object) -> object:
        asked.append(options["seed"])
        time.sleep(0.3)
        return object()

    monkeypatch.setattr(compute, "probe", probe)
    loaded, problem = compute.load("prosqa-tiny"), next(iter(generate("balanced", 1, 77)))
    elsewhere = replace(loaded, path="/elsewhere")

    def ask(one: compute.Loaded, seed: int) -> None:
        found.append(compute.report(one, problem, samples=2, seed=seed, pad=False))

    threads = [threading.Thread(target=ask, args=(one, seed)) for seed in (5, 6) for one in (loaded, elsewhere) * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(asked) == [5, 6]
    assert len(found) == 16
    assert len(set(map(id, found))) == 2


def test_a_data_set_run_lets_pages_go_before_each_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    chunks = []

    def work(*_: object, cancelled, **__: object) -> None:
        while not cancelled():
            chunks.append(time.monotonic())
            time.sleep(0.01)

    monkeypatch.setattr(jobs, "run_dataset", work)
    job = Job(Order((), "x", "prosqa-tiny", (), ()), compute.RUNS, (compute.folder("prosqa-tiny"),))
    jobs._begin(job)
    settle()
    with compute.queue.turn(1):
        began = time.monotonic()
        time.sleep(0.5)
        ended = time.monotonic()
    settle()
    job.end()
    assert job.outcome == "cancelled"
    assert any(at < began for at in chunks)
    assert any(at > ended for at in chunks)
    assert not [at for at in chunks if began + 0.1 < at < ended]


def test_a_pass_costs_by_samples_size_and_thoughts() -> None:
    loaded = compute.load("prosqa-tiny")
    small, large = (next(iter(generate("balanced", 1, 1, hops=(3, 3), nodes=(n, n)))) for n in (14, 28))
    assert 0 < turns.cost(loaded.model, small, 3, passes=1) < turns.cost(loaded.model, large, 3, passes=1)
    assert turns.cost(loaded.model, large, 3, passes=1) < turns.cost(loaded.model, large, 6, passes=1)
    assert turns.cost(loaded.model, large, 3, passes=2) == 2 * turns.cost(loaded.model, large, 3, passes=1)


def test_after_a_turn_freed_memory_is_the_systems_again() -> None:
    """Many pieces, too small to be mapped each by itself, freed below one that lasts."""

    def resident() -> float:
        return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

    with Turns(1).turn(0):
        pieces = [bytearray(100_000) for _ in range(1000)]
        last = pieces.pop()
        before = resident()
        pieces.clear()
    assert len(last) == 100_000
    assert before - resident() > 80
