"""The benchmark of planted flaws in short form: its figures on cases with known readings, and on a tiny model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.engine import flaws, flaws_page
from benchmarks.engine.flaw_readings import Readings, Subject, Values
from benchmarks.engine.flaw_selection import selected
from benchmarks.world.planted_flaws import KINDS, Row
from tests.support import tiny

ROWS = [
    Row(f"Sort the list of {n} numbers, small to large.", f"The numbers are red, blue and {n}. Name every word of it.")
    for n in range(12)
]


def test_an_area_counts_ties_half_and_leaves_out_what_is_missing() -> None:
    flawed = np.array([True, True, False, False])
    assert flaws.auc(np.array([3.0, 1.0, 2.0, 1.0]), flawed) == (1 + 1 + 0 + 0.5) / 4
    assert flaws.auc(np.array([3.0, np.nan, 2.0, 1.0]), flawed) == 1.0
    assert flaws.auc(np.array([3.0, 1.0]), np.array([True, True])) is None


def test_every_row_is_measured_clean_and_with_its_kinds() -> None:
    found = flaws.cases(ROWS, 4)
    assert [case.row for case in found if not case.kind] == ROWS
    used = [sum(case.kind == kind for case in found) for kind in KINDS]
    assert sum(used) == 4 * len(ROWS)
    assert max(used) <= 4
    assert all(case.row != ROWS[case.place] for case in found if case.kind)


def test_a_draw_spoils_its_share_and_the_same_seed_the_same_rows() -> None:
    found = flaws.cases(ROWS, 4)
    values: list[Values] = [{"loss": 9.0 if case.kind else 1.0, "ifd": float(bool(case.kind))} for case in found]
    drawn = flaws.draw(found, values, 0.25, seed=3)
    assert [case.place for case in drawn.cases] == list(range(len(ROWS)))
    assert drawn.flawed.sum() == 3
    assert drawn.cases == flaws.draw(found, values, 0.25, seed=3).cases
    areas = flaws.areas(drawn)
    assert areas["base loss"]["all"] == areas["ifd"]["all"] == areas["flaw score"]["all"] == 1.0
    assert flaws.top(drawn, 0.25) == {"precision": 1.0, "recall": 1.0}


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    return Subject("tiny", tiny.make_model(tmp_path / "model"), 128)


def test_readings_are_made_once_and_survive_a_kill(subject: Subject, tmp_path: Path) -> None:
    rows = [case.row for case in flaws.cases(ROWS[:2], 3)]
    first = Readings(subject, tmp_path / "cache").of(rows)
    assert all(one["loss"] is not None and one["ifd"] is not None for one in first)
    file = tmp_path / "cache" / "tiny.jsonl"
    whole = file.read_text()
    file.write_text(whole[: len(whole) // 2])  # killed in the middle of a line
    assert Readings(subject, tmp_path / "cache").of(rows) == pytest.approx(first)
    size = file.stat().st_size
    Readings(subject, tmp_path / "cache").of(rows)
    assert file.stat().st_size == size


def test_the_page_says_what_was_measured(subject: Subject, tmp_path: Path) -> None:
    found = flaws.cases(ROWS[:6], 2)
    values = Readings(subject, tmp_path / "cache").of([case.row for case in found])
    page = flaws_page.page({"a tiny model": flaws.summary(found, values, draws=2)}, draws=2)
    assert "6 rows" in page
    assert "| kind | base loss | end_of_turn | ifd | worst_window | text | flaw score |" in page
    assert "nan" not in page


def test_the_default_selects_the_flawed_rows_by_the_products_own_stages(tmp_path: Path) -> None:
    rows = [
        Row(
            f"How many wheels does machine {n} have?",
            f"Machine {n} has {n + 2} wheels, and all of them are made of steel.",
        )
        for n in range(120)
    ]
    pairs = [
        (Row(row.prompt, "I cannot help with that."), row) if n % 4 == 0 else (row, row) for n, row in enumerate(rows)
    ]
    scores = np.array([0.9 + n / 2000 if n % 4 == 0 else n / 200 for n in range(len(rows))])
    found = selected(tmp_path / "project", pairs, scores, ["ifd"] * len(rows), seed=0)
    assert found["flawed"] == 30
    assert found["right"] >= 29
    assert found["right"] >= 0.9 * found["selected"]
    assert found["calls"] < len(rows)
