"""Work in several processes that know nothing of the script that began them."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from multiprocessing import resource_tracker
from typing import Any

from model.errors import InputError, ProcessError

PER_CORE = 8
"""Most processes for each core of the machine."""

ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""The signals that tell a process to end."""


def check_number(n: int) -> None:
    """Raise InputError for a number of processes that is none, or that no machine of this size runs to any use."""
    cores = os.cpu_count() or 1
    if not 1 <= n <= PER_CORE * cores:
        raise InputError(f"processes {n}: expected 1 to {PER_CORE * cores}, as this machine has {cores} cores")


@contextmanager
def pool(n: int, start: Callable[..., object] | None = None, arguments: tuple[Any, ...] = ()) -> Iterator[Executor]:
    """``n`` processes, each of which calls ``start(*arguments)`` first; they have ended when the block has.

    A block that is left by an exception (told to end, interrupted) waits for no work: its processes are killed.

    Not forked: a caller with threads (torch, Streamlit) could deadlock its children. Nor by the standard library, whose
    children run the caller's main script again: a page of the app, or a user's script without ``if __name__``.
    Raises ProcessError if one of them ended before its work did.
    """
    from loky import ProcessPoolExecutor  # here, since few need it

    with ExitStack() as stack:
        with _undisturbed():
            executor = ProcessPoolExecutor(n, initializer=_begin, initargs=(os.getpid(), start, arguments))
            stack.callback(executor.shutdown, kill_workers=True)
            executor.submit(int)  # starts them all
        try:
            yield executor
        except BrokenProcessPool as error:
            raise ProcessError(
                f"one of {n} processes ended before its work did (out of memory?): take fewer"
            ) from error
        executor.shutdown()


@contextmanager
def _undisturbed() -> Iterator[None]:
    """What tells this process to end waits until the block has ended, and is blocked in processes that start in it.

    An exception between two of their starts would leave processes that nobody ends, for which Python waits at its own
    end; and each that is interrupted while it imports would print a traceback.
    """
    came: list[int] = []
    before = {number: signal.getsignal(number) for number in ENDS}
    ours = threading.current_thread() is threading.main_thread() and None not in before.values()
    if ours:  # a mask is not enough: another thread would take the signal, and this one run its handler
        for number in ENDS:
            signal.signal(number, lambda number, _: came.append(number))
    resource_tracker.ensure_running()  # it would unblock them once it has begun: so before they are blocked
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ENDS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if ours:
            for number, handler in before.items():
                signal.signal(number, handler)
        for told in came:
            signal.raise_signal(told)


def _begin(caller: int, start: Callable[..., object] | None, arguments: tuple[Any, ...]) -> None:
    threading.Thread(target=_end_with, args=(caller,), daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal interrupts the caller too, who ends this process
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDS)
    if start is not None:
        start(*arguments)


def _end_with(caller: int) -> None:
    """A caller that is killed cannot tell anyone: those who wait for its work would wait for ever."""
    while os.getppid() == caller:
        time.sleep(0.5)
    os._exit(1)
