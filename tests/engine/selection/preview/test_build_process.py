"""The process that prepares a preview: nothing of it stays with the caller, and what goes wrong there is said here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyroaring import BitMap

from engine.config.schema import Config
from engine.errors import ConfigError, StageError, StoreError
from engine.files.mapped_file import Sections
from engine.selection.preview import build, build_process
from engine.selection.preview.bitplanes import Numbers, smallest
from engine.selection.preview.build_process import Given
from engine.selection.preview.counts import Preview
from engine.selection.preview.facts import PreviewFacts
from engine.store.rows import AXES
from tests.support import rounds as stored


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A scored round of 30 samples."""
    made = stored.project(tmp_path, 30)
    (tmp_path / "config.toml").write_text("", encoding="utf-8")
    stored.signal(made, stored.usual(30, s3=(9.0, 9.0, 0.8, 6.0)))
    return tmp_path


def test_the_caller_loads_no_array_library(project: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from engine.selection.preview.counts import Preview;"
        f"found = Preview.load(Path({str(project)!r}), 0);"
        "found.counts(found.configured); found.margin('complexity', 1.0, 3); found.histogram('quality', 9);"
        "found.for_mixture('complexity'); found.counts(found.configured, 'mixture');"
        "sys.exit('numpy' in sys.modules or 'torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert {path.name for path in project.iterdir()} <= {"config.toml", "middo.db", "middo.db-wal", "middo.db-shm"}


def test_what_is_wrong_is_said_as_it_is_there(project: Path) -> None:
    (project / "config.toml").write_text("[select]\nm_colour = 1", encoding="utf-8")
    with pytest.raises(ConfigError, match="m_colour"):
        Preview.load(project, 0)
    (project / "config.toml").write_text("", encoding="utf-8")
    (project / "middo.db").write_bytes(b"no database")
    with pytest.raises(StoreError, match="not a readable database"):
        Preview.load(project, 0)


def test_a_process_that_falls_says_why(project: Path) -> None:
    with pytest.raises(StageError, match="invalid literal"):
        build_process.prepared(project, "round", str(project), "not a number")


def test_a_folder_that_may_not_be_written_is_no_hindrance(project: Path) -> None:
    laid = build_process.prepared(project / "gone", "round", str(project), "0", "True")

    def seek(laid: Sections, given: Given) -> Sections:
        pytest.fail("all that is asked for is there")

    preview = Preview(laid, PreviewFacts(Config()), seek)
    assert preview.counts(dict.fromkeys(AXES, 2.0)).selected["complexity"] == 1


values = st.lists(st.integers(0, 40), max_size=30)


def planes(numbers: list[int], width: int = 6) -> Numbers:
    zeros = [BitMap(i for i, number in enumerate(numbers) if not number >> at & 1) for at in range(width)]
    return Numbers(zeros, BitMap(range(len(numbers))))


@given(values, st.integers(-2, 70), st.sets(st.integers(0, 29)))
def test_planes_compare_and_sum_like_the_numbers(numbers: list[int], limit: int, some: set[int]) -> None:
    made = planes(numbers)
    assert list(made.below(limit)) == [i for i, number in enumerate(numbers) if number < limit]
    there = BitMap(some) & made.everybody
    assert made.total(there) == sum(numbers[i] for i in there)


held = st.lists(st.sets(st.integers(0, 7)), min_size=3, max_size=3)


@given(st.permutations(range(24)), st.integers(0, 24), held)
def test_the_smallest_over_several_groups(order: list[int], most: int, held: list[set[int]]) -> None:
    numbers = [list(part) for part in np.array(order).reshape(3, 8).tolist()]
    found = smallest([(BitMap(samples), planes(part)) for samples, part in zip(held, numbers, strict=True)], most)
    there = sorted(numbers[g][i] for g in range(3) for i in held[g])[:most]
    assert sorted(numbers[g][i] for g in range(3) for i in found[g]) == there
    assert all(found[g] <= BitMap(held[g]) for g in range(3))


@given(st.integers(0, 200_000), st.sampled_from([0.0, 1e-4, 0.04, 0.07, 0.5, 1.0]), st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_sets_are_written_as_the_library_reads_them(size: int, share: float, seed: int) -> None:
    mask = np.random.default_rng(seed).random(size) < share
    mask[: size // 3] = False  # a part may be empty
    written = build.members(mask)
    assert BitMap.deserialize(written) == BitMap(np.flatnonzero(mask).tolist())
