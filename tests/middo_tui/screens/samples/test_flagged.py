"""Samples that are flagged as possible prompt injection, in the Samples screen."""

from __future__ import annotations

from pathlib import Path

from engine.store import flagging
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


async def test_a_key_unflags_what_a_person_calls_harmless_and_flags_it_again(tmp_path: Path) -> None:
    store = Store(tmp_path / "p").round(0, 9)
    store.db.execute("UPDATE sample SET injection='speaks to its judge' WHERE seq IN (3, 5)")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(140, 40)) as pilot:
        await press(pilot, "2")
        assert "unflag" not in await press(pilot, "g")  # this sample is not flagged
        text = await press(pilot, "i")
        assert "unflag" in text
        assert "possible prompt injection: speaks to its judge" in text
        text = await press(pilot, "u")
        assert "1 sample unflagged" in text
        assert "⚐" in text
        assert "flag again" in text
        assert "unflagged in the app on" in text
        assert flagging.count(store.db, 0) == 1
        text = await press(pilot, "u")
        assert "1 sample flagged again." in text
        assert "⚐" not in text
        assert flagging.count(store.db, 0) == 2
        text = await press(pilot, "v", "G", "u")
        assert "2 samples unflagged" in text
        assert flagging.count(store.db, 0) == 0
        await press(pilot, "u")
        assert flagging.count(store.db, 0) == 2
