"""The Loop screen's charts, driven by keys."""

from __future__ import annotations

from pathlib import Path

from middo_tui.app import MiddoApp
from tests.support import stores
from tests.support.screens import screen_text, until


async def test_the_loss_is_drawn_on_a_logarithmic_axis_and_smoothed_by_keys(tmp_path: Path) -> None:
    stores.running(tmp_path / "p")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("L")
        await until(pilot, "  log")
        await pilot.press("z", "z")
        await until(pilot, "log, not smoothed")
        await pilot.press("y")
        await until(pilot, "sqrt, not smoothed")
        await pilot.press("L", "z")
        await pilot.pause()
        assert not {"log", "sqrt"} & set(screen_text(app).split("\n")[5].split())


async def test_a_cursor_and_a_zoom_go_over_the_chart(tmp_path: Path) -> None:
    stores.running(tmp_path / "p")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("left")
        await until(pilot, "loss  step 180  1━0.883  0╌0.963")
        await pilot.press("shift+left", "right", "equals_sign")
        text = await until(pilot, "×2")
        assert "step 108" in text
        await pilot.press("0")
        await until(pilot, "loss  round 1 ━  round 0 ╌")


async def test_every_figure_can_be_seen_in_the_smallest_terminal(tmp_path: Path) -> None:
    stores.running(tmp_path / "p")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        for title in (
            "grad norm  ",
            "learning rate  ",
            "tokens/s  ",
            "GPU 0 use %",
            "GPU 0 mem %",
            "loss  ",
        ):
            await pilot.press("v")
            await until(pilot, f" {title}")
        assert "learning rate" not in screen_text(app)


async def test_all_figures_are_beside_each_other_where_there_is_room(tmp_path: Path) -> None:
    stores.running(tmp_path / "p")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(140, 40)) as pilot:
        text = await until(pilot, "GPU 0 mem % 69.5")
        row = next(row for row in text.split("\n") if "grad norm" in row)
        assert all(title in row for title in ("grad norm 0.8", "learning rate 1.1e-4", "tokens/s 41.2k", "use % 97"))
