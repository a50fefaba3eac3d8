"""Samples that are flagged as possible prompt injection, in the Samples screen."""

from __future__ import annotations

from pathlib import Path

from middo_tui.app import MiddoApp
from tests.middo_tui.screens.samples.test_screen import press, screen
from tests.support.stores import Store


async def test_a_key_lists_what_is_flagged_as_an_injection(tmp_path: Path) -> None:
    store = Store(tmp_path / "p").round(0, 9)
    store.db.execute("UPDATE sample SET injection='speaks to its judge' WHERE seq=3")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(100, 30)) as pilot:
        await press(pilot, "2")
        text = await press(pilot, "i")
        assert screen(pilot).table.ids.tolist() == [store.db.execute("SELECT id FROM sample WHERE seq=3").fetchone()[0]]
        assert "flag:injection" in text
        assert "⚑" in text
        await press(pilot, "escape")
        assert len(screen(pilot).table.ids) > 1
