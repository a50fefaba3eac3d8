"""Where a place that was typed leads in a list."""

from __future__ import annotations

import pytest

from middo_tui.feed.filters import FilterError
from middo_tui.feed.listing import jump


@pytest.mark.parametrize(
    ("typed", "means"),
    [("12", ("row", 11)), ("73%", ("share", 73.0)), (" #1,200 ", ("seq", 1200)), ("0.5%", ("share", 0.5))],
)
def test_what_a_typed_place_means(typed: str, means: tuple[str, float]) -> None:
    assert jump(typed, 100) == means


@pytest.mark.parametrize("typed", ["nan%", "inf%", "-1e999%", f"#{1 << 63}", f"{1 << 63}"])
def test_a_place_that_no_list_has_is_refused(typed: str) -> None:
    with pytest.raises(FilterError, match="enter a row"):
        jump(typed, 100)
