"""Why there is nothing to sort by, in one sentence."""

from __future__ import annotations

import pytest

from middo_tui.feed.pages import SampleRow
from middo_tui.screens.samples.wording import absent


def row(**numbers: float) -> SampleRow:
    return SampleRow(1, 1, 0, "text", (), (), numbers, error=False)


@pytest.mark.parametrize(
    ("sort", "first", "says"),
    [
        ("flaw", row(), "No listed sample has a value for flaw score in round 0 before the score stage has run."),
        ("quality", row(loss_after=1.0), "for quality in round 0 before the judge stage has run."),
        ("flaw", row(loss_after=1.0), "it was scored by an older version, or its answers are too short."),
        ("prompt_clarity", row(), "before the judge stage has run."),
    ],
)
def test_an_order_by_what_nobody_has_says_why(sort: str, first: SampleRow, says: str) -> None:
    found = absent(sort, 0, first, first, never=False)
    assert says in found.text
    assert "There is nothing to sort by." in found.text


def test_what_is_there_needs_no_words() -> None:
    assert absent("flaw", 0, row(flaw=0.5), row(flaw=0.1), never=False).text == ""
    assert absent("flaw", 0, row(flaw=0.5), row(), never=False).text == "Not scored yet."
    assert absent("seq", 0, row(), row(), never=False).text == "Not scored yet."
    assert absent("seq", 2, row(), row(), never=True).text.startswith("Not scored: the final evaluation")
    assert absent("flaw", 0, None, None, never=False).text == ""
