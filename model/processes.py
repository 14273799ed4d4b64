"""Work in several processes that know nothing of the script that began them."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

from model.errors import InputError, ProcessError

PER_CORE = 8
"""Most processes for each core of the machine."""


def check_number(n: int) -> None:
    """Raise InputError for a number of processes that is none, or that no machine of this size runs to any use."""
    cores = os.cpu_count() or 1
    if not 1 <= n <= PER_CORE * cores:
        raise InputError(f"processes {n}: expected 1 to {PER_CORE * cores}, as this machine has {cores} cores")


@contextmanager
def pool(n: int, start: Callable[..., object] | None = None, arguments: tuple[Any, ...] = ()) -> Iterator[Executor]:
    """``n`` processes, each of which calls ``start(*arguments)`` first; they have ended when the block has.

    Not forked: a caller with threads (torch, Streamlit) could deadlock its children. Nor by the standard library, whose
    children run the caller's main script again: a page of the app, or a user's script without ``if __name__``.
    Raises ProcessError if one of them ended before its work did.
    """
    from loky import ProcessPoolExecutor  # here, since few need it

    executor = ProcessPoolExecutor(n, initializer=_begin, initargs=(os.getpid(), start, arguments))
    try:
        yield executor
    except BrokenProcessPool as error:
        raise ProcessError(f"one of {n} processes ended before its work did (out of memory?): take fewer") from error
    finally:
        executor.shutdown(wait=True)


def _begin(caller: int, start: Callable[..., object] | None, arguments: tuple[Any, ...]) -> None:
    threading.Thread(target=_end_with, args=(caller,), daemon=True).start()
    if start is not None:
        start(*arguments)


def _end_with(caller: int) -> None:
    """A caller that is killed cannot tell anyone: those who wait for its work would wait for ever."""
    while os.getppid() == caller:
        time.sleep(0.5)
    os._exit(1)
