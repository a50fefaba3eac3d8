"""Fixtures of several screens' tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.runtime import launch
from engine.selection.preview import build_process
from tests.support.terminal import Terminal, open_app


@pytest.fixture
def prepared_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Previews are prepared in this process: without the half second that another takes to begin."""
    from tests.support.previews import in_this_process  # brings numpy along

    monkeypatch.setattr(build_process, "prepared", in_this_process)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Projects whose worker was asked to start; none is spawned."""
    asked: list[Path] = []

    def start(project: Path) -> int:
        asked.append(project)
        return 0

    monkeypatch.setattr(launch, "start", start)
    return asked


@pytest.fixture
def opened() -> Iterator[Callable[..., Terminal]]:
    """Opens apps, and ends those that a failing test left behind."""
    terminals: list[Terminal] = []

    def open_one(project: Path, **options: object) -> Terminal:
        terminals.append(open_app(project, **options))
        return terminals[-1]

    yield open_one
    for terminal in terminals:
        terminal.close()
