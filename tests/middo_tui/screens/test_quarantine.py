"""The Quarantine screen: every row with its reason, and nothing of it acts on the terminal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.project import folder as project
from middo_tui.app import MiddoApp
from middo_tui.screens.quarantine import MOST, QuarantineView, load, summary
from tests.support.screens import screen_text, until

ESCAPE = "\x1b]0;owned\x07"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows: list[dict[str, object]] = [{"instruction": f"Say {n}.", "input": "", "output": f"{n}"} for n in range(9)]
    rows += [{"instruction": f"Say {n}.", "input": "", "output": ""} for n in range(2)]
    rows += [{"instruction": ESCAPE, "input": 3, "output": "x"}]
    (tmp_path / "a.json").write_text(json.dumps(rows), encoding="utf-8")
    project.create(tmp_path / "P", [tmp_path / "a.json"], {})
    return tmp_path / "P"


async def test_rows_by_reason(folder: Path) -> None:
    app = MiddoApp(folder)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("exclamation_mark")
        await until(pilot, "3 rows could not be imported, for 2 reasons")
        text = screen_text(app)
        assert "▸  a.json, row 10" in text
        assert '{"instruction": "Say 0.", "input": "", "output": ""}' in text
        await pilot.press("tab")
        await until(pilot, "reason 1 of 2 · 2 rows: empty response")
        await pilot.press("tab")
        await until(pilot, "reason 2 of 2 · 1 row: input is a number, expected text")
        assert "a.json, row 12" in screen_text(app)
        assert "\x1b" not in screen_text(app)
        await pilot.press("shift+tab", "j")
        await until(pilot, "▸  a.json, row 11")
        await pilot.press("escape")
        await until(pilot, "no round has run yet")


async def test_a_store_that_cannot_be_read_is_not_an_empty_quarantine(folder: Path) -> None:
    app = MiddoApp(folder)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, "no round has run yet")
        (folder / "middo.db").unlink()
        await pilot.press("exclamation_mark")
        text = await until(pilot, "The project is no longer here")
        assert "every row was imported" not in text
        assert "0 rows" not in text


async def test_without_rows_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps([{"instruction": "Hi", "output": f"{n}"} for n in range(3)]))
    project.create(tmp_path / "P", [tmp_path / "a.json"], {})
    app = MiddoApp(tmp_path / "P")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("exclamation_mark")
        await until(pilot, "every row was imported.")
        await pilot.press("tab")
        await until(pilot, "tab is unavailable here")


def test_no_more_than_a_list_can_bear(tmp_path: Path) -> None:
    rows = [{"instruction": "Hi", "output": "Hello"}, *[{"instruction": "Hi", "output": ""}] * (MOST + 5)]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    project.create(tmp_path / "P", [tmp_path / "a.json"], {})
    found = load(tmp_path / "P", "empty response")
    assert (found.count, len(found.rows)) == (MOST + 5, MOST)
    assert summary(found) == f"Quarantine · reason 1 of 1 · {MOST + 5:,} rows: empty response"
    assert load(tmp_path / "nowhere", "").problem
    assert summary(QuarantineView()) == "Quarantine · 0 rows could not be imported"
