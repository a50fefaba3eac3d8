"""A worker's side of several machines (``tests.support.spreads``)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.config import schema as configs
from engine.runtime.spread import Spread
from tests.support.doors import TOKEN
from tests.support.spreads import CONFIG, free_port, lines


@pytest.fixture
def first_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MIDDO_JOIN_TOKEN", TOKEN)
    lines.clear()
    (tmp_path / "config.toml").write_text(CONFIG.format(free_port()), encoding="utf-8")
    return tmp_path


@pytest.fixture
def spread(first_machine: Path) -> Iterator[Spread]:
    made = Spread(configs.load(first_machine), first_machine, lock=-1)
    yield made
    made.close("the test is over", failed=False)
