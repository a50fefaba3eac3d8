"""The Thresholds screen on real stores: what it shows is what the select stage then selects, whatever the cut."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import rounds
from textual.app import App
from textual.pilot import Pilot

from engine import config as configs
from engine import launch, selection
from engine.preview import Preview
from engine.store import read
from engine.store.connect import reader, transaction
from engine.store.rows import Threshold
from middo_tui.app import MiddoApp
from middo_tui.feed import thresholds as feed
from middo_tui.screens import thresholds_words as words
from middo_tui.screens.confirm import Confirm
from middo_tui.screens.number import number
from middo_tui.screens.thresholds import ThresholdsScreen
from middo_tui.widgets.histogram import Histogram
from middo_tui.widgets.lines import plain
from tests.tui import stores
from tests.tui.cuts import Cuts, spread
from tests.tui.hostile import CORPUS
from tests.tui.terminal import ROOT, Terminal, open_app
from tests.tui.test_terminal import hostile_bytes

DEADLINE_S = 30.0
NARROW, LARGE = (80, 24), (140, 40)
MOVE_BYTES = 2_300  # the cut goes to another cell, the counts change; within a cell it is some 0.3 KB
REST_BYTES = 2_000  # the samples beside the cut, once the keys rest


def screen_text(app: App[int]) -> str:
    """What is painted, as rows of text."""
    return "\n".join("".join(s.text for s in strip).rstrip() for strip in app.screen._compositor.render_strips())


async def until(pilot: Pilot[int], part: str) -> str:
    """Until ``part`` is painted, on one row or over several; fails with what is painted instead."""
    deadline = time.monotonic() + DEADLINE_S
    while part not in (text := screen_text(pilot.app)) and part not in " ".join(text.split()):
        assert time.monotonic() < deadline, f"no {part!r} in\n{text}"
        await pilot.pause(0.02)
    return text


async def opened(pilot: Pilot[int]) -> ThresholdsScreen:
    """The screen with its signals."""
    await pilot.press("3")
    await until(pilot, "beyond cut")
    screen = pilot.app.screen
    assert isinstance(screen, ThresholdsScreen)
    return screen


def counts_shown(text: str) -> dict[str, int]:
    """The counts of the axes' row."""
    found = re.findall(r"[CDQ] (complexity|diversity|quality) ([\d,]+)", text)
    return {axis: int(count.replace(",", "")) for axis, count in found}


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Projects whose worker was asked to start; none is spawned."""
    asked: list[Path] = []

    def start(project: Path) -> int:
        asked.append(project)
        return 0

    monkeypatch.setattr(launch, "start", start)
    return asked


# ------------------------------------------------------------------------------------ what is shown


@pytest.mark.parametrize("size", [NARROW, LARGE])
async def test_all_parts_are_there(tmp_path: Path, size: tuple[int, int]) -> None:
    Cuts(tmp_path / "p", spread())
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=size) as pilot:
        await opened(pilot)
        text = await until(pilot, "ask ")
    parts = (
        "[C complexity",
        "D diversity",
        "loss before  μ + 1.00σ",
        "loss after",
        "just selected",
        "just kept",
        "teacher",
    )
    assert [part for part in parts if part not in text] == []
    assert "rewrites" in text
    assert "tab axis" in text
    assert max(len(row) for row in text.split("\n")) <= size[0]


async def test_every_key_press_paints_the_previews_counts(tmp_path: Path) -> None:
    Cuts(tmp_path / "p", spread())
    preview = Preview.load(tmp_path / "p", 0)
    app = MiddoApp(tmp_path / "p")
    m = dict(preview.configured)
    async with app.run_test(size=NARROW) as pilot:
        await opened(pilot)
        for axis, right in (("complexity", 1), ("diversity", -1), ("quality", -1)):
            for key, by in (("H", -0.1), ("H", -0.1), ("h", -0.01), ("l", 0.01), ("left", -0.01), ("L", 0.1)):
                await pilot.press(key)
                await pilot.pause()
                m[axis] = round(m[axis] + right * by, 6)  # type: ignore[index]
                text = screen_text(app)
                assert counts_shown(text) == preview.counts(m).selected
                assert f"{abs(m[axis]):.2f}σ" in text  # type: ignore[index]
            await pilot.press("tab")


async def test_what_is_shown_is_what_select_then_selects(tmp_path: Path) -> None:
    made = Cuts(tmp_path / "p", spread())
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=NARROW) as pilot:
        await opened(pilot)
        await pilot.press("H", "H", "H", "tab", "L", "L", "h", "tab", "H", "l")
        await pilot.pause()
        shown = counts_shown(screen_text(app))
        await pilot.press("enter")
        await until(pilot, "Round 0 will select with it.")
    made.run("select")
    assert made.selected() == shown
    assert all(shown.values())


async def test_tab_goes_round_the_axes_and_complexity_has_two_pictures(tmp_path: Path) -> None:
    Cuts(tmp_path / "p", spread())
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=NARROW) as pilot:
        screen = await opened(pilot)
        pictures = []
        for key in ("tab", "tab", "tab", "shift+tab"):
            pictures.append((screen.axis, sum(h.display for h in screen.query(Histogram))))
            await pilot.press(key)
        assert pictures == [("complexity", 2), ("diversity", 1), ("quality", 1), ("complexity", 2)]
        assert screen.axis == "quality"


async def test_samples_beside_the_cut_are_the_nearest_ones(tmp_path: Path) -> None:
    made = Cuts(tmp_path / "p", spread())
    preview = Preview.load(tmp_path / "p", 0)
    selected, kept = preview.margin("diversity", 1.0, 1)
    places = {s.id: s.seq for s in rounds.dataset(made)}
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=NARROW) as pilot:
        await opened(pilot)
        await pilot.press("tab")
        text = await until(pilot, f"ask {places[kept[0].id]} please")
    row = text.split("\n")[next(i for i, row in enumerate(text.split("\n")) if "just kept" in row) + 1]
    assert f"ask {places[selected[0].id]} please" in row
    assert row.index("ask") < row.index(f"ask {places[kept[0].id]} please")


async def test_the_round_before_is_beside_it(tmp_path: Path) -> None:
    made = Cuts(tmp_path / "p", spread())
    made.run("select")
    made.stand(0, "rewrite", "verify", "review", "merge")
    rounds.open_round(made, 1)
    rounds.signal(made, spread(seed=8), round=1)
    made.stand(1, "train", "score", "judge", "evaluate")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=NARROW) as pilot:
        screen = await opened(pilot)
        text = await until(pilot, "round 0")
        assert "floor" in text
        assert re.search(rf"round 0 +{made.selected()['complexity']}\b", text)
        while not screen._before:
            await pilot.pause(0.01)
        bins = screen._before["quality"]
    assert sum(bins.counts) == pytest.approx(len(spread()))


def test_the_bins_of_the_round_before_hold_all_its_values(tmp_path: Path) -> None:
    made = Cuts(tmp_path / "p", spread())
    rounds.open_round(made, 1)
    values = [*spread(seed=9)[:-2], (9.0, 8.0, 0.01, 0.1), (None, None, None, None)]
    rounds.signal(made, values, round=1)
    loaded = feed.load(tmp_path / "p", 1)
    before = feed.before(tmp_path / "p", loaded)
    assert {round(sum(bins.counts), 6) for bins in before.values()} == {len(values) - 1}
    assert feed.before(tmp_path / "p", feed.load(tmp_path / "p", 0)) == {}


# --------------------------------------------------------------------------------------- odd stores


async def test_without_signals_it_says_how_to_get_them(tmp_path: Path) -> None:
    stores.Store(tmp_path / "p").plan().round(0, 1)
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=NARROW) as pilot:
        await pilot.press("3")
        text = await until(pilot, "The signals of round 0 are not there yet: press 1, then enter")
        await pilot.press("h", "enter", "m", "o", "equals_sign")
        await pilot.pause()
        assert isinstance(app.screen, ThresholdsScreen)
    assert "apply" not in text


async def test_a_running_round_says_when_they_come(tmp_path: Path) -> None:
    store = stores.Store(tmp_path / "p").plan().round(0).job(0, "train", "running", 180, stores.STEPS).worker()
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=NARROW) as pilot:
        await pilot.press("3")
        await until(pilot, "come with its score and judge stages; train is at 45%")
    store.db.close()


async def test_signals_that_come_while_one_looks(tmp_path: Path) -> None:
    made = Cuts(tmp_path / "p", spread())
    made.stand(0, "score", "judge", state="pending")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=NARROW) as pilot:
        await pilot.press("3")
        await until(pilot, "are not there yet")
        made.stand(0, "score", "judge")
        await until(pilot, "beyond cut")


async def test_without_ratings_the_other_axes_can_be_cut(tmp_path: Path) -> None:
    Cuts(tmp_path / "p", [(a, b, c, None) for a, b, c, _ in spread()])
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=NARROW) as pilot:
        await opened(pilot)
        await until(pilot, "No sample has rating: quality selects nothing.")
        await pilot.press("shift+tab")
        await until(pilot, "no sample has this signal")
        await pilot.press("h", "H", "m")
        text = screen_text(app)
    shown = counts_shown(text)
    assert shown["quality"] == 0
    assert shown["complexity"] > 0


async def test_some_samples_without_signals(tmp_path: Path) -> None:
    values = [(None, None, c, d) if i % 3 else (a, b, None, d) for i, (a, b, c, d) in enumerate(spread())]
    made = Cuts(tmp_path / "p", values)
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=NARROW) as pilot:
        await opened(pilot)
        shown = counts_shown(screen_text(app))
    made.run("select")
    assert made.selected() == shown


async def test_samples_that_are_all_the_same(tmp_path: Path) -> None:
    Cuts(tmp_path / "p", [(1.5, 1.0, 0.8, 6.0)] * 20)
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=NARROW) as pilot:
        await opened(pilot)
        await until(pilot, "All samples have the same loss before: no cut can part them.")
        await pilot.press("h", "l", "H", "tab", "L")
        await pilot.pause()
        assert set(counts_shown(screen_text(app)).values()) == {0}


async def test_a_single_sample(tmp_path: Path) -> None:
    Cuts(tmp_path / "p", [(1.5, 1.0, 0.8, 6.0)])
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=NARROW) as pilot:
        await opened(pilot)
        for _ in range(3):
            await pilot.press("tab", "h", "L")
        await pilot.pause()
        assert set(counts_shown(screen_text(app)).values()) == {0}


async def test_a_broken_config_says_where(tmp_path: Path) -> None:
    Cuts(tmp_path / "p", spread())
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=NARROW) as pilot:
        (tmp_path / "p" / "config.toml").write_text("[select]\nm_complexty = 1\n", encoding="utf-8")
        await pilot.press("3")
        await until(pilot, "[select] m_complexty: there is no such key")


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
        await until(pilot, "beyond everything")
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
        await until(pilot, "Not written yet")
        await pilot.press("r")
        await until(pilot, "These are the cuts of config.toml.")
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
        await until(pilot, "beyond cut")
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
        await until(pilot, "rule: two groups")
        shown = counts_shown(screen_text(app))
        assert screen.rule == "mixture"
        await pilot.press("h")  # the cut is found, not set
        assert screen.m["complexity"] == 1.0
        await pilot.press("enter")
        await until(pilot, "Written to config.toml")
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
        await until(pilot, "Round 0 is selected anew: nothing was rewritten yet.")
        await pilot.press("enter")
        await until(pilot, "select of round 0 runs anew")
        plan = read.plan(made.db)
        assert (plan.until_round, plan.until_stage, plan.want) == (0, "select", "run")
        assert started == [tmp_path / "p"]
        assert made.selected() == dict.fromkeys(before, 0)
        made.run("select")
        await pilot.press("tab")
        await until(pilot, "These are the cuts of config.toml.")
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
        await until(pilot, "○ idle")
        await pilot.press("1")
        await until(pilot, "s step (rewrite)")


async def test_cuts_that_were_changed_by_hand_can_be_selected_anew(tmp_path: Path, started: list[Path]) -> None:
    made = Cuts(tmp_path / "p", spread())
    made.run("select")
    (tmp_path / "p" / "config.toml").write_text("[select]\nm_complexity = 0.5\n", encoding="utf-8")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=NARROW) as pilot:
        await opened(pilot)
        await until(pilot, "was selected with other cuts than config.toml's: enter selects anew.")
        await pilot.press("enter")
        await until(pilot, "select of round 0 runs anew")
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
            pilot, "Written to config.toml. Round 0 keeps its 5 rewrites: the cuts hold from round 1 on."
        )
        assert started == []
        assert made.begin_rewrites(5) == all_
        assert "X select anew" in text
        await pilot.press("X")
        await pilot.pause()
        assert isinstance(app.screen, Confirm)
        await until(pilot, "Throw 5 rewrites of round 0 away (0 decided, $2.50)")
        await pilot.press("n")
        await pilot.pause()
        assert made.begin_rewrites(5) == all_
        await pilot.press("X", "y")
        await until(pilot, "○ idle")  # it waited for a review before
    assert started == [tmp_path / "p"]
    assert made.db.execute("SELECT count(*) FROM rewrite").fetchone()[0] == 0
    assert configs.load(tmp_path / "p").select.m_complexity == 0.9


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
        await until(pilot, "Round 0 is merged: the cuts hold from round 1 on.")
        await pilot.press("enter")
        text = await until(pilot, "Written to config.toml.")
        assert "X select anew" not in text
    assert started == []
    assert sum(made.selected().values()) > 0


async def test_a_running_select_has_read_its_settings_already(tmp_path: Path) -> None:
    made = Cuts(tmp_path / "p", spread())
    made.stand(0, "select", state="running")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=NARROW) as pilot:
        await opened(pilot)
        await pilot.press("H", "enter")
        await until(pilot, "Round 0 has read its settings already")
    assert configs.load(tmp_path / "p").select.m_complexity == 0.9


async def test_what_was_said_stays_through_the_run_until_the_next_key(tmp_path: Path) -> None:
    made = Cuts(tmp_path / "p", spread())
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=NARROW) as pilot:
        await opened(pilot)
        await pilot.press("H", "enter")
        await until(pilot, "Written to config.toml. Round 0 will select with it.")
        made.stand(0, "evaluate", state="failed")
        assert "Written to config.toml." in await until(pilot, "✘ failed")
        await pilot.press("tab")
        await pilot.pause()
        assert "Written to config.toml." not in screen_text(app)


async def test_a_config_that_cannot_be_written_changes_nothing(tmp_path: Path) -> None:
    Cuts(tmp_path / "p", spread(), 'select = {m_complexity = 1.0, floor = "none"}\n')
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


# ------------------------------------------------------------------------------------ what was told


def mark(signal: str, cut: float, floor: float | None = None, rule: str = "sigma") -> Threshold:
    axis = feed.SIGNALS[signal].axis
    return Threshold(
        1, signal, axis, 1.0, 0.5, 1.0, cut, floor, rule, '{"verdict": "why"}' if rule != "sigma" else None
    )


@pytest.mark.parametrize(("found", "text"), [
    (mark("loss_after", 1.5), "loss after  μ + 1.00σ = 1.500"),
    (mark("loss_after", 1.5, 1.25), "loss after  μ + 1.00σ = 1.500  floor 1.250"),
    (mark("loss_after", 1.5, 1.75), "loss after  μ + 1.00σ = 1.500 → floor 1.750"),
    (mark("quality", 0.5, 0.25), "rating  μ − 1.00σ = 0.500 → floor 0.250"),
    (mark("quality", 0.5, rule="mixture"), "rating  two groups part at 0.500"),
    (mark("quality", float("-inf"), rule="mixture"), "rating  no cut: selects nothing"),
])  # fmt: skip
def test_headings(found: Threshold, text: str) -> None:
    assert plain([words.heading(found.signal, found)]) == text


def test_the_filter_is_exact_and_leaves_out_what_selects_nothing() -> None:
    assert words.beyond([mark("loss_before", 0.1 + 0.2, 0.1), mark("loss_after", 1.5, 2.5)]) == (
        "loss_before>0.30000000000000004 loss_after>2.5"
    )
    assert words.beyond([mark("quality", float("-inf"))]) == ""


def test_the_signals_are_the_engines() -> None:
    assert {name: (s.axis, s.side) for name, s in feed.SIGNALS.items()} == {
        s.name: (s.axis, s.side) for s in selection.SIGNALS
    }


def test_verdicts_of_a_stored_mixture_are_clean() -> None:
    stored = [mark("quality", 0.5, rule="mixture"), mark("similarity", 0.5)]
    assert feed.verdicts(stored) == {"quality": "why"}


def test_opening_the_screen_imports_no_numpy() -> None:
    code = "import sys, middo_tui.screens.thresholds; print('numpy' in sys.modules or 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# --------------------------------------------------------------------------------- at a real terminal


@pytest.fixture
def at_terminal() -> Iterator[Callable[..., Terminal]]:
    """Opens apps, and ends those that a failing test left behind."""
    terminals: list[Terminal] = []

    def open_one(project: Path, **options: object) -> Terminal:
        terminals.append(open_app(project, **options))
        return terminals[-1]

    yield open_one
    for terminal in terminals:
        terminal.close()


def test_hostile_samples_beside_the_cut_stay_text(tmp_path: Path, at_terminal: Callable[..., Terminal]) -> None:
    texts = [text.encode("utf-8", "replace").decode() for text in CORPUS.values()]
    Cuts(tmp_path / "p", spread(len(texts)), texts=texts)
    terminal = at_terminal(tmp_path / "p", columns=140, rows=60)
    terminal.wait_for("leave")
    for keys in (b"3", b"\t", b"\t", b"HHHHHHHHHHHHHHHHHHHHHH", b"\t", b"HHHHHHHHHHHHHHHHHHHH"):
        terminal.send(keys)
        terminal.wait_for("just kept")
        terminal.settle(0.6)
    terminal.send(b"q")
    assert terminal.wait() == 0
    assert hostile_bytes(terminal.seen) == []
    assert "␛".encode() in terminal.seen
    assert b"[red]b[/red]" in terminal.seen


def test_a_move_of_the_cut_is_few_bytes_and_rest_is_none(tmp_path: Path, at_terminal: Callable[..., Terminal]) -> None:
    Cuts(tmp_path / "p", spread(2000))
    terminal = at_terminal(tmp_path / "p")
    terminal.wait_for("leave")
    terminal.send(b"3")
    terminal.wait_for("beyond cut")
    terminal.settle()
    terminal.send(b"h")
    terminal.settle()
    sizes = []
    for number_ in range(12):
        since = len(terminal.seen)
        terminal.send(b"h" if number_ % 2 else b"H")
        terminal.settle(0.5)
        sizes.append(len(terminal.seen) - since)
    assert max(sizes) <= MOVE_BYTES + REST_BYTES, sizes
    since = len(terminal.seen)
    terminal.settle()
    assert len(terminal.seen) == since
    terminal.send(b"q")
    assert terminal.wait() == 0


def test_the_store_is_only_read_before_enter(tmp_path: Path) -> None:
    made = Cuts(tmp_path / "p", spread())
    before = made.db.execute("PRAGMA data_version").fetchone()[0]
    feed.load(tmp_path / "p", 0)
    feed.stand(tmp_path / "p", 0)
    assert made.db.execute("PRAGMA data_version").fetchone()[0] == before
    with transaction(made.db):
        made.db.execute("DELETE FROM signal")
    db = reader(tmp_path / "p")
    assert feed.load(tmp_path / "p", 0).preview.missing == tuple(feed.SIGNALS)
    db.close()
