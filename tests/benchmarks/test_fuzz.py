"""Malformed input of every kind: a short, seeded draw of what ``make fuzz`` does at length, and all cases that once
broke something (``tests/corpus``).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from benchmarks.fuzz.run import CORPUS, folder, try_target
from benchmarks.fuzz.targets import Target, targets

CASES = 60


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture(scope="module")
def all_targets(scratch: Path) -> list[Target]:
    return targets(scratch)


def test_everything_is_read_or_refused_with_a_reason(all_targets: list[Target], scratch: Path) -> None:
    args = argparse.Namespace(seed=16, keep=False)
    found = [try_target(one, max(5, round(CASES * one.share)), args, scratch) for one in all_targets]
    assert {one.name: one.broken for one in found if one.broken} == {}
    assert all(one.refused for one in found if one.name.startswith("rows")), "the mutations bite"


def test_every_kept_case_belongs_to_an_input(all_targets: list[Target]) -> None:
    known = {folder(one) for one in all_targets}
    assert {path for path in CORPUS.iterdir() if path.is_dir()} <= known
