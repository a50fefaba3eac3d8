"""Moving the cut, the other rule, and applying what was found: the store is as select leaves it."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

import pytest

from engine.config import schema as configs
from engine.selection.preview.counts import Preview
from engine.store import read
from engine.store.connect import transaction
from middo_tui.app import MiddoApp
from middo_tui.screens.confirm import Confirm
from middo_tui.screens.input_number import number
from tests.support import rounds
from tests.support.screens import DEADLINE_S, screen_text, until
from tests.support.threshold_projects import Cuts, spread
from tests.support.thresholds_screen import LARGE, NARROW, counts_shown, opened

pytestmark = pytest.mark.usefixtures("prepared_here")


# --------------------------------------------------------------------------------------------- keys


async def test_a_typed_number_is_the_cut_and_changes_no_screen(tmp_path: Path) -> None:
    Cuts(tmp_path / "p", spread())
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=NARROW) as pilot:
        screen = await opened(pilot)
        await pilot.press("equals_sign", "1", "full_stop", "2", "6", "backspace", "5")
        await until(pilot, "m = 1.25")
        await pilot.press("enter")
        await until(pilot, "μ + 1.25σ")
        assert screen.m["complexity"] == 1.25
        await pilot.press("equals_sign", "minus", "full_stop", "enter")
        await until(pilot, "Type a number")
        await pilot.press("backspace", "9", "9", "enter")
        await until(pilot, "m must be between")
        await pilot.press("escape")
        await pilot.pause()
        assert app.screen is screen
        assert screen.m["complexity"] == 1.25


@pytest.mark.parametrize(("text", "value"), [("0.8", 0.8), ("-1", -1.0), ("", None), (".", None), ("1.2.3", None)])
def test_numbers(text: str, value: float | None) -> None:
    assert number(text) == value


async def test_reset_goes_back_to_the_config(tmp_path: Path) -> None:
    Cuts(tmp_path / "p", spread(), "[select]\nm_complexity = 0.8\nm_quality = 1.337\n")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=NARROW) as pilot:
        screen = await opened(pilot)
        before = await until(pilot, "μ + 0.80σ")
        assert "reset" not in before
        await pilot.press("H", "tab", "L")
        await until(pilot, "Not saved yet")
        await pilot.press("r")
        await until(pilot, "These are the thresholds in config.toml.")
        assert screen.m == {"complexity": 0.8, "diversity": 1.0, "quality": 1.337}


async def test_the_mouse_drags_the_cut(tmp_path: Path) -> None:
    Cuts(tmp_path / "p", spread())
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=NARROW) as pilot:
        screen = await opened(pilot)
        await pilot.press("tab", "tab")
        await pilot.pause()
        await pilot.click("#first", offset=(10, 4))
        await pilot.pause()
        low = screen.m["quality"]
        await pilot.click("#first", offset=(30, 4))
        await pilot.pause()
        assert low > 1.0 > screen.m["quality"]


async def test_the_selected_side_opens_on_the_samples_screen(tmp_path: Path) -> None:
    Cuts(tmp_path / "p", spread())
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=LARGE) as pilot:
        screen = await opened(pilot)
        await pilot.press("H", "o")
        await until(pilot, "loss_before>")
        order = app.screen._order  # type: ignore[attr-defined]
        await pilot.press("3")
        await until(pilot, "past threshold")
        beyond = Preview.load(tmp_path / "p", 0).counts(screen.m).beyond["complexity"]
    assert (order.round, order.sort, order.down) == (0, "loss_before", True)
    db = sqlite3.connect(tmp_path / "p" / "middo.db")
    where = order.where.replace(" ", " AND ")
    assert db.execute(f"SELECT count(*) FROM signal WHERE round=0 AND {where}").fetchone()[0] == beyond
    db.close()


async def test_where_two_groups_part_or_why_there_are_none(tmp_path: Path) -> None:
    Cuts(tmp_path / "p", spread())
    mixed = Preview.load(tmp_path / "p", 0).for_mixture("diversity")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=NARROW) as pilot:
        screen = await opened(pilot)
        await pilot.press("tab", "m")
        await until(pilot, "similarity: " + mixed.verdict[:40])
        assert screen.m["diversity"] == (1.0 if mixed.m is None else pytest.approx(mixed.m, abs=1e-6))


async def test_the_other_rule_is_previewed_written_and_used(tmp_path: Path) -> None:
    made = Cuts(tmp_path / "p", spread())
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=NARROW) as pilot:
        screen = await opened(pilot)
        await pilot.press("t")
        await until(pilot, "rule: bimodal")
        shown = counts_shown(screen_text(app))
        assert screen.rule == "mixture"
        await pilot.press("h")  # the cut is found, not set
        assert screen.m["complexity"] == 1.0
        await pilot.press("enter")
        await until(pilot, "Saved to config.toml")
    assert configs.load(tmp_path / "p").select.threshold == "mixture"
    made.run("select")
    assert made.selected() == shown


# -------------------------------------------------------------------------------------------- apply


async def test_applying_after_select_selects_anew(tmp_path: Path, started: list[Path]) -> None:
    made = Cuts(tmp_path / "p", spread(), "# mine\n[select]\nm_quality = 1.0  # keep\n")
    made.run("select")
    before = made.selected()
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=NARROW) as pilot:
        await opened(pilot)
        await pilot.press("tab", "tab", "H", "H")
        await pilot.pause()
        shown = counts_shown(screen_text(app))
        await until(pilot, "Round 0 is selected again, as nothing was rewritten yet.")
        await pilot.press("enter")
        await until(pilot, "Redoing select of round 0")
        plan = read.plan(made.db)
        assert (plan.until_round, plan.until_stage, plan.want) == (0, "select", "run")
        assert started == [tmp_path / "p"]
        assert made.selected() == dict.fromkeys(before, 0)
        made.run("select")
        await pilot.press("tab")
        await until(pilot, "These are the thresholds in config.toml.")
    assert made.selected() == shown != before
    text = (tmp_path / "p" / "config.toml").read_text(encoding="utf-8")
    assert text.startswith("# mine\n[select]\nm_quality = 1.2  # keep\n")


async def test_tune_apply_and_step_on_with_a_real_worker(tmp_path: Path) -> None:
    made = Cuts(tmp_path / "p", spread())
    made.run("select")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=NARROW) as pilot:
        await opened(pilot)
        await pilot.press("H", "H")
        await pilot.pause()
        shown = counts_shown(screen_text(app))
        assert shown != made.selected()
        await pilot.press("enter")
        deadline = time.monotonic() + DEADLINE_S
        while made.selected() != shown or read.worker(made.db) is not None:
            assert time.monotonic() < deadline, made.events()
            await pilot.pause(0.05)
        await until(pilot, "○ your turn: resume")
        await pilot.press("1")
        await until(pilot, "s step (rewrite)")


async def test_cuts_that_were_changed_by_hand_can_be_selected_anew(tmp_path: Path, started: list[Path]) -> None:
    made = Cuts(tmp_path / "p", spread())
    made.run("select")
    (tmp_path / "p" / "config.toml").write_text('[select]\nthreshold = "sigma"\nm_complexity = 0.5\n', encoding="utf-8")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=NARROW) as pilot:
        await opened(pilot)
        await until(pilot, "was selected with thresholds unlike config.toml's. Press enter to redo the selection.")
        await pilot.press("enter")
        await until(pilot, "Redoing select of round 0")
    assert started == [tmp_path / "p"]


async def test_rewrites_are_kept_until_a_person_throws_them_away(tmp_path: Path, started: list[Path]) -> None:
    made = Cuts(tmp_path / "p", spread())
    made.run("select")
    all_ = made.begin_rewrites(5)
    made.stand(0, "rewrite", "verify")
    made.stand(0, "review", state="waiting")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=NARROW) as pilot:
        await opened(pilot)
        await pilot.press("H")
        await until(pilot, "Round 0 keeps its 5 rewrites")
        await pilot.press("enter")
        text = await until(
            pilot, "Saved to config.toml. Round 0 keeps its 5 rewrites: these thresholds apply from round 1 on."
        )
        assert started == []
        assert made.begin_rewrites(5) == all_
        assert "X redo select" in text
        await pilot.press("X")
        await pilot.pause()
        assert isinstance(app.screen, Confirm)
        await until(pilot, "Discard 5 rewrites of round 0 (0 decided, $2.50)")
        await pilot.press("n")
        await pilot.pause()
        assert made.begin_rewrites(5) == all_
        await pilot.press("X", "y")
        await until(pilot, "○ your turn: resume")  # it waited for a review before
        await until(pilot, "estimated from")
    assert started == [tmp_path / "p"]
    assert made.db.execute("SELECT count(*) FROM rewrite").fetchone()[0] == 0
    assert configs.load(tmp_path / "p").select.m_complexity == 0.9


async def test_only_finished_rewrites_say_what_the_others_will_take(tmp_path: Path) -> None:
    made = Cuts(tmp_path / "p", spread())
    made.run("select")
    made.begin_rewrites(5)
    with transaction(made.db):
        made.db.execute("UPDATE rewrite SET state='prompted', attempts=1 WHERE attempts=0")
    made.stand(0, "rewrite", state="paused")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=NARROW) as pilot:
        await opened(pilot)
        await until(pilot, "from 5 rewrites so far")


async def test_a_merged_round_is_history(tmp_path: Path, started: list[Path]) -> None:
    made = Cuts(tmp_path / "p", spread())
    made.run("select")
    made.stand(0, "rewrite", "verify", "review", "merge")
    rounds.open_round(made, 1)
    made.stand(1, "train", state="running")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=NARROW) as pilot:
        await opened(pilot)
        await pilot.press("H")
        await until(pilot, "Round 0 is merged: these thresholds apply from round 1 on.")
        await pilot.press("enter")
        text = await until(pilot, "Saved to config.toml.")
        assert "X redo select" not in text
    assert started == []
    assert sum(made.selected().values()) > 0


async def test_a_running_select_has_read_its_settings_already(tmp_path: Path) -> None:
    made = Cuts(tmp_path / "p", spread())
    made.stand(0, "select", state="running")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=NARROW) as pilot:
        await opened(pilot)
        await pilot.press("H", "enter")
        await until(pilot, "Round 0 is already selecting")
    assert configs.load(tmp_path / "p").select.m_complexity == 0.9


async def test_what_was_said_stays_through_the_run_until_the_next_key(tmp_path: Path) -> None:
    made = Cuts(tmp_path / "p", spread())
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=NARROW) as pilot:
        await opened(pilot)
        await pilot.press("H", "enter")
        await until(pilot, "Saved to config.toml. Round 0 will use these thresholds.")
        made.stand(0, "evaluate", state="failed")
        assert "Saved to config.toml." in await until(pilot, "✘ your turn: failed")
        await pilot.press("tab")
        await pilot.pause()
        assert "Saved to config.toml." not in screen_text(app)


async def test_a_config_that_cannot_be_written_changes_nothing(tmp_path: Path) -> None:
    Cuts(tmp_path / "p", spread(), 'select = {threshold = "sigma", m_complexity = 1.0, floor = "none"}\n')
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=NARROW) as pilot:
        await opened(pilot)
        await pilot.press("H", "enter")
        await until(pilot, "not valid TOML")
    assert configs.load(tmp_path / "p").select.m_complexity == 1.0


async def test_cuts_changed_elsewhere_are_taken_up_when_one_looks_again(tmp_path: Path) -> None:
    Cuts(tmp_path / "p", spread())
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=NARROW) as pilot:
        await opened(pilot)
        await pilot.press("1")
        (tmp_path / "p" / "config.toml").write_text(
            "[select]\nm_complexity = 0.55\nmax_share = 0.01\n", encoding="utf-8"
        )
        await pilot.press("3")
        await until(pilot, "μ + 0.55σ")
        await until(pilot, "over the cap")
