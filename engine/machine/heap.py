"""glibc's heap where the same large blocks are wanted again and again: they are kept, not given back in between.

A block of some MB is else mapped and unmapped, or the heap grown and trimmed, at every use, and each of its pages
faults anew. Training a small model on a CPU so took 5.3 CPU seconds instead of 8.0, and 616 MB instead of 605
(docs/benchmarks/cost-model.md has the case: tiny, 1,000). Elsewhere (musl, macOS) nothing is done.
"""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Of mallopt(3): from how many free bytes on the heap is trimmed; from how many on a block is mapped by itself."""
NEVER, LARGEST = 2**31 - 1, 32 << 20
"""Bytes. Larger blocks are given back all the same: glibc takes no more, and their pages cost less than their use."""


def keep_blocks() -> None:
    """From now on, what this process frees stays its own: for one that trains or measures, and ends."""
    if sys.platform != "linux":
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # another C library
        return
    mallopt(M_TRIM_THRESHOLD, NEVER)
    mallopt(M_MMAP_THRESHOLD, LARGEST)
