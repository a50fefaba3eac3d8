"""Torn files, short: the log of decisions and config.toml, cut anywhere. `make chaos` cuts all, at every block."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.chaos import torn
from tests.support.whole_project import whole


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("start")
    whole(folder / "P")
    return folder


def test_of_a_log_that_is_cut_the_first_decisions_are_kept_and_the_store_is_sound(start: Path, tmp_path: Path) -> None:
    found = [act() for act in torn._log(start, tmp_path / "work")]
    assert [one["faults"] for one in found if one["faults"]] == []
    assert len({one["said"] for one in found}) >= torn.DECISIONS, "the cuts fall between all of them"


def test_a_config_that_is_cut_is_read_or_named(start: Path, tmp_path: Path) -> None:
    found = [act() for act in torn._config(start, tmp_path / "work")]
    assert {one["ended"] for one in found} <= {"ok", "error"}
    assert all("config.toml" in one["said"] for one in found if one["ended"] == "error")
