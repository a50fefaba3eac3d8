"""Counts with their nouns."""

from __future__ import annotations

import pytest

from engine.plurals import counted
from engine.project.import_report import Added


@pytest.mark.parametrize(("number", "said"), [(0, "0 rows"), (1, "1 row"), (2, "2 rows"), (12_345, "12,345 rows")])
def test_one_is_singular(number: int, said: str) -> None:
    assert counted(number, "row") == said
    assert counted(number, "entry", "entries") == said.replace("rows", "entries").replace("row", "entry")


def test_what_happened_to_one_row_is_said_of_one() -> None:
    added = Added("a.json", "alpaca", rows=3, duplicates=0, heldout=1, rejected=0, copies=1, barred=1, both=1)
    assert added.overlaps() == [
        "1 row is held out because its prompt is already held out",
        "1 row is excluded because its prompt is in the held-out set",
        "1 row is trained on although its prompt is held out (allow_overlap), so scores on them measure memorisation",
    ]
