"""Large blocks that are freed and wanted again cost no page faults any more."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from tests.support import ROOT

FAULTS = """
import resource
{first}
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def work():
    blocks = [bytearray(12 << 20) for _ in range(3)]
    for block in blocks:
        block[::4096] = b"x" * len(block[::4096])
work()
before = faults()
for _ in range(20):
    work()
print(faults() - before)
"""
PAGES = 3 * (12 << 20) // 4096


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's heap is told")
def test_a_block_that_is_wanted_again_faults_once() -> None:
    def faults(first: str) -> int:
        done = subprocess.run(
            [sys.executable, "-c", FAULTS.format(first=first)], cwd=ROOT, capture_output=True, text=True, check=True
        )
        return int(done.stdout)

    assert faults("") > 15 * PAGES
    assert faults("from engine.machine.heap import keep_blocks; keep_blocks()") < 2 * PAGES
