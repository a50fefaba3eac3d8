"""Fixtures of several screens' tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine import launch, preparing


@pytest.fixture
def prepared_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Previews are prepared in this process: without the half second that another takes to begin."""
    from tests.previews import in_this_process  # brings numpy along

    monkeypatch.setattr(preparing, "prepared", in_this_process)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Projects whose worker was asked to start; none is spawned."""
    asked: list[Path] = []

    def start(project: Path) -> int:
        asked.append(project)
        return 0

    monkeypatch.setattr(launch, "start", start)
    return asked
