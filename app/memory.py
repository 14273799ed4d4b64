"""What a server that runs for weeks holds of the memory it was given, where the C library is glibc."""

from __future__ import annotations

import ctypes
import os
import sys

ARENAS = 2
"""Heaps of glibc. By default there are eight for each core, each keeps what was freed between pieces still in use, and
every run of a page is a thread of its own: after 60 visitors 370 MB more."""
KERNELS = 32
"""Shapes that oneDNN keeps its kernels for, of 1,024 by default. Prompts of a new graph have new shapes, and making the
kernels takes no time that can be measured: after 60 visitors 90 MB more."""
_M_ARENA_MAX = -8


def bound() -> None:
    """From here on the process takes few heaps and keeps few kernels. What the environment says of either stands."""
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(KERNELS))  # read when the first kernel is made
    if _MALLOPT is not None and "MALLOC_ARENA_MAX" not in os.environ:
        _MALLOPT(_M_ARENA_MAX, ARENAS)


def give_back() -> None:
    """Freed memory goes back to the system."""
    if _TRIM is not None:
        _TRIM(0)


_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_TRIM, _MALLOPT = getattr(_LIBC, "malloc_trim", None), getattr(_LIBC, "mallopt", None)
