"""Memory is given back where the C library can; nowhere does it hurt."""

from __future__ import annotations

import ctypes
import platform
import subprocess
import sys

import pytest

from middo_tui.feed import freed
from middo_tui.feed.found import FoundSamples

HELD = r"""
import re, sys
from array import array
from pathlib import Path
from middo_tui.feed import freed
if sys.argv[1] == "True":
    freed.frugal()
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
        assert freed.frugal.__wrapped__() is None
    freed.give_back()


def test_what_was_found_is_asked_for_one_by_one() -> None:
    from array import array

    found = FoundSamples(array("q", [-5, 3, 2**60]))
    assert [id in found for id in (-5, 3, 2**60, 4, 2**61, -6)] == [True, True, True, False, False, False]
    assert list(found.places(array("q", [2**60, 1, 3, 2, -5]))) == [0, 2, 4]
    assert 3 not in FoundSamples()
