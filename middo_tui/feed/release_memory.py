"""Gives the system back what a large read has left behind.

glibc gives every thread a heap of its own, keeps what is freed in the middle of one, and after the first large block
takes larger ones from there too: after some filters and searches of half a million samples, 40 MB that nobody uses.
Elsewhere (musl, macOS) nothing is done.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache

M_MMAP_THRESHOLD, M_ARENA_MAX = -3, -8
"""Of mallopt(3): from how many bytes on a block is mapped by itself, and so given back; how many heaps there may be."""
LARGE, HEAPS = 128 << 10, 1
"""Python holds its own lock while it allocates, so threads seldom wait for one another where they share a heap."""


def give_back() -> None:
    """Do it; a few milliseconds, without the interpreter's lock."""
    trim = frugal()
    if trim is not None:
        trim(0)


@cache
def frugal() -> Callable[[int], int] | None:
    """From now on, large blocks are given back and threads share a heap. Returns glibc's malloc_trim, if that is what
    allocates.
    """
    if sys.platform != "linux":
        return None
    import ctypes  # takes some milliseconds, which the start of the app can do without

    library = ctypes.CDLL(None)
    try:
        library.mallopt(M_ARENA_MAX, HEAPS)
        library.mallopt(M_MMAP_THRESHOLD, LARGE)
        found: Callable[[int], int] = library.malloc_trim
    except AttributeError:  # another C library
        return None
    return found
