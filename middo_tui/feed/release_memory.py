"""Returns memory to the system after a large read.

glibc gives every thread an arena of its own, keeps memory that is freed in the middle of one, and raises its mmap
threshold after the first large block. A few filters and searches of half a million samples leave 40 MB unused. With
other C libraries (musl, macOS) nothing is done.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache

M_MMAP_THRESHOLD, M_ARENA_MAX = -3, -8
"""Parameters of mallopt(3): the size from which a block is mapped by itself, and the maximum number of arenas."""
LARGE, HEAPS = 128 << 10, 1
"""Bytes, and one arena: Python allocates under its global lock, so threads that share an arena seldom contend."""


def give_back() -> None:
    """Return free memory to the system; takes a few milliseconds, without the interpreter's lock."""
    trim = frugal()
    if trim is not None:
        trim(0)


@cache
def frugal() -> Callable[[int], int] | None:
    """Configure glibc to return large blocks and to use one arena. Returns its ``malloc_trim``; None: another C
    library.
    """
    if sys.platform != "linux":
        return None
    import ctypes  # takes some milliseconds, which the app's start should not

    library = ctypes.CDLL(None)
    try:
        library.mallopt(M_ARENA_MAX, HEAPS)
        library.mallopt(M_MMAP_THRESHOLD, LARGE)
        found: Callable[[int], int] = library.malloc_trim
    except AttributeError:  # another C library
        return None
    return found
