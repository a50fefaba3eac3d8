"""The frames of a re-sort: the new rows at once where they come soon, and a word about them where they do not."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest
from textual.geometry import Region
from textual.strip import Strip

from middo_tui.app import MiddoApp
from middo_tui.feed.orders import Order
from middo_tui.feed.pages import Pages
from middo_tui.screens.samples import reading
from tests.middo_tui.screens.samples.test_screen import first, press, screen
from tests.support import invented_project
from tests.support.screens import screen_text, settle_all


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Never written to."""
    return invented_project.make(tmp_path_factory.mktemp("invented") / "p")


async def test_the_old_rows_are_not_painted_again(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "HOLD_S", 30.0)
    app = MiddoApp(project)
    async with app.run_test(size=(80, 24)) as pilot:
        await press(pilot, "2", "o")
        table = screen_of(app).table
        frames: list[int | None] = []
        render = table.render_lines

        def noted(crop: Region) -> list[Strip]:
            frames.append(table.cursor_id)
            return render(crop)

        monkeypatch.setattr(table, "render_lines", noted)
        await press(pilot, "q")
        assert set(frames) == {first(project, sort="quality")}
        frames.clear()
        assert "▼qual" in await press(pilot, "O")
        assert set(frames) == {first(project, sort="quality", down=True)}


def screen_of(app: MiddoApp) -> reading.SamplesReading:
    """The Samples screen, also below a question."""
    return next(shown for shown in app.screen_stack if isinstance(shown, reading.SamplesReading))


async def test_an_order_that_takes_its_time_is_said_to_be_read(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app, go_on = MiddoApp(project), Event()
    order = Pages.order

    def slow(pages: Pages, wanted: Order) -> Iterator[array[int]]:
        go_on.wait(30)
        yield from order(pages, wanted)

    async with app.run_test(size=(80, 24)) as pilot:
        await press(pilot, "2")
        old = screen(pilot).table.cursor_id
        monkeypatch.setattr(Pages, "order", slow)
        await pilot.press("O")
        while "…" not in screen_text(app).split("\n")[1]:
            await pilot.pause(0.01)
        assert screen(pilot).table.cursor_id == old
        go_on.set()
        await settle_all(pilot)
        assert screen(pilot).table.cursor_id == first(project, down=True)
        assert " / 600" in screen_text(app)
