"""Memory is given back where the C library can; nowhere does it hurt."""

from __future__ import annotations

import ctypes
import platform
import subprocess
import sys

import pytest

from middo_tui.feed import release_memory
from middo_tui.feed.poll import MemoryRelease

HELD = r"""
import re, sys
from array import array
from pathlib import Path
from middo_tui.feed import release_memory
if sys.argv[1] == "True":
    release_memory.frugal()
pinned = []
for size in (1 << 20, 4 << 20, 3 << 20, 5 << 20, 2 << 20) * 4:  # after the first, glibc takes such blocks from its heap
    block = array("q", bytes(size))
    pinned.append(array("q", bytes(4_000)))
    block = None
print(re.search(r"RssAnon:\s+(\d+)", Path("/proc/self/status").read_text())[1])
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library allocates")
def test_large_blocks_leave_nothing_behind() -> None:
    held = []
    for word in ("True", "False"):
        done = subprocess.run([sys.executable, "-c", HELD, word], check=True, capture_output=True, text=True)
        held.append(int(done.stdout))
    assert held[0] < held[1]


def test_another_c_library_or_system_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for other in ("darwin", "linux"):
        monkeypatch.setattr(sys, "platform", other)
        monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
        assert release_memory.frugal.__wrapped__() is None
    release_memory.give_back()


def test_it_rests_once_when_typing_has_stopped() -> None:
    now, freed_at = [0.0], list[float]()
    release = MemoryRelease(lambda: now[0], lambda: freed_at.append(now[0]))
    keys = (1.0, 1.2, 6.0)
    for now[0] in (0.0, 1.0, 1.2, 1.6, 1.8, 5.0, 6.0):
        if now[0] in keys:
            release.typed()
        release.release_if_idle()
    assert freed_at == [1.8]
    now[0] = 9.0
    release.release_if_idle()
    assert freed_at == [1.8, 9.0]
