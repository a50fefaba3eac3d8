"""Tests of the Review screen count rewrites by their place; what opens first is a matter of one test of its own."""

from __future__ import annotations

import pytest

from middo_tui.screens.review.reading import ReviewReading


@pytest.fixture(autouse=True)
def by_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """The screen opens in the order of the dataset."""
    monkeypatch.setattr(ReviewReading, "SORT", "place")
