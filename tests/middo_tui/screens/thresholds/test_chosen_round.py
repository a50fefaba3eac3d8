"""The Thresholds screen aimed at a round by another screen."""

from __future__ import annotations

from pathlib import Path

import pytest

from middo_tui.app import MiddoApp
from middo_tui.screens.frame import Go
from tests.support import rounds
from tests.support.screens import until
from tests.support.threshold_projects import Cuts, spread
from tests.support.thresholds_screen import NARROW, opened

pytestmark = pytest.mark.usefixtures("prepared_here")


async def test_an_earlier_round_can_be_looked_at(tmp_path: Path) -> None:
    made = Cuts(tmp_path / "p", spread())
    made.run("select")
    made.stand(0, "rewrite", "verify", "review", "merge")
    rounds.open_round(made, 1)
    rounds.signal(made, spread(seed=8), round=1)
    made.stand(1, "train", "score", "judge", "evaluate")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=NARROW) as pilot:
        screen = await opened(pilot)
        screen.post_message(Go("thresholds", 0))
        await until(pilot, f"[C complexity {made.selected()['complexity']}]")
        await pilot.press("H")
        await until(pilot, "Round 0 is merged: these thresholds apply from round 1 on.")
        screen.post_message(Go("thresholds", 1))
        await until(pilot, "→ floor")  # of round 0: this is round 1 again
