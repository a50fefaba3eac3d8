"""The Rounds screen on real stores, driven by keys."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from textual.pilot import Pilot

from engine.store import write
from engine.store.connect import transaction
from engine.store.rows import EvalScore
from middo_tui.app import MiddoApp
from middo_tui.feed.rounds import RoundsReader, RoundsView
from middo_tui.screens.export import AskFormat, Wanted, place
from middo_tui.screens.rounds import RoundsScreen
from middo_tui.terminal.guard import clean
from middo_tui.widgets.lines import plain, width_of
from middo_tui.widgets.round_charts import RoundFigures, round_charts, stage_table
from middo_tui.widgets.round_grid import Grid, columns, fitting, grid_lines, most
from middo_tui.widgets.round_panels import TABS, Panel, panel_lines
from tests.support import families, stores
from tests.support.hostile import CORPUS
from tests.support.screens import screen_text, settle, until
from tests.support.stores import Store

SIZES = [(80, 24), (140, 40)]


def complete(project: Path) -> RoundsView:
    reader = RoundsReader(project)
    views = [reader.read()]
    reader.measure(views.append, lambda: False)
    return views[-1]


async def opened(pilot: Pilot[int], part: str) -> RoundsScreen:
    """The screen once ``part`` is painted."""
    await pilot.press("5")
    await until(pilot, part)
    assert isinstance(pilot.app.screen, RoundsScreen)
    return pilot.app.screen


@pytest.mark.parametrize("size", SIZES)
async def test_every_round_is_a_row_and_the_newest_is_told(tmp_path: Path, size: tuple[int, int]) -> None:
    families.measured(tmp_path / "p", 3)
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=size) as pilot:
        await opened(pilot, "[scores]")
        await until(pilot, "accuracy %              39.8")
        await until(pilot, "▸    2 ✔")
        text = screen_text(app)
        for part in ("C complexity", "≈ chance", "bimodal split"):
            assert part in text
        await pilot.press("k", "k")
        await until(pilot, "▸    0 ✔")
        assert "round 0 · done" in screen_text(app)


async def test_a_project_that_never_ran_says_what_to_do(tmp_path: Path) -> None:
    Store(tmp_path / "p")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot, "no rounds yet")
        await until(pilot, "No rounds yet. Press 1")
        for key in ("j", "l", "tab", "enter", "x", "t", "d", "pagedown"):
            await pilot.press(key)
        assert isinstance(app.screen, RoundsScreen)


def test_what_was_not_read_yet_is_not_said_to_be_missing() -> None:
    yet = RoundsView(reading=True)
    grid = grid_lines(Grid(yet), 80, 10)
    assert [run.text for line in grid for run in line] == [" reading the rounds …"]
    assert round_charts(RoundFigures(yet), 80, 10) == []
    assert "not been measured" in str(round_charts(RoundFigures(RoundsView()), 80, 10))


async def test_of_a_single_round_the_scores_have_their_error(tmp_path: Path) -> None:
    families.measured(tmp_path / "p", 1)
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot, "[scores]")
        await until(pilot, "round 0   stderr")


async def test_tabs_go_round_and_shapes_change_their_signal(tmp_path: Path) -> None:
    families.measured(tmp_path / "p")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot, "[scores]")
        await pilot.press("tab")
        await until(pilot, "accuracy %  round 1")
        await pilot.press("tab")
        await until(pilot, "base loss  mean")
        assert "⠒⠒" in screen_text(app)
        for name in ("tuned loss  mean", "similarity  mean", "quality  mean", "base loss  mean"):
            await pilot.press("right_square_bracket")
            await until(pilot, name)
        await pilot.press("tab")
        await until(pilot, "1 grew")
        await pilot.press("tab")
        await until(pilot, "per accepted rewrite")
        await pilot.press("tab")
        await until(pilot, "[settings]")
        await pilot.press("tab")
        await until(pilot, "[scores]")
        await pilot.press("shift+tab")
        await until(pilot, "[settings]")


async def test_settings_are_held_against_the_defaults_and_the_round_before(tmp_path: Path) -> None:
    store = families.measured(tmp_path / "p")
    changed = json.loads(store.config)
    changed["train"]["epochs"] = 7.0
    with transaction(store.db):
        store.db.execute("UPDATE round SET config=? WHERE round=1", (json.dumps(changed),))
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot, "[scores]")
        await pilot.press("shift+tab")
        await until(pilot, "train.epochs")
        assert "model.name" in screen_text(app)
        await pilot.press("d")
        await until(pilot, "d vs defaults")
        assert "train.epochs" in screen_text(app)
        assert "model.name" not in screen_text(app)


async def test_a_new_score_is_seen_without_a_key(tmp_path: Path) -> None:
    store = stores.running(tmp_path / "p")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot, "round 1 · running in train")
        assert "no scores yet" in screen_text(app)
        store.job(1, "train", "done", 400, 400).job(1, "score", "running", 3, 9)
        await until(pilot, "round 1 · running in score")


async def test_the_cursor_stays_on_its_round_and_follows_only_from_the_end(tmp_path: Path) -> None:
    store = families.measured(tmp_path / "p")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot, "round 1 · done")
        store.round(2)
        await until(pilot, "round 2 · pending in train")
        await pilot.press("k")
        store.round(3)
        await until(pilot, "      3 ·")
        assert screen.chosen is not None
        assert screen.chosen.round == 1


async def test_going_on_to_samples_and_thresholds(tmp_path: Path) -> None:
    families.measured(tmp_path / "p")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot, "[scores]")
        await pilot.press("k")
        went: list[tuple[str, object]] = []
        screen.go = lambda screen, target=None: went.append((screen, target))  # type: ignore[method-assign]
        await pilot.press("enter", "t")
        assert [(name, getattr(target, "round", target)) for name, target in went] == [
            ("samples", 0),
            ("thresholds", 0),
        ]


async def test_a_dataset_is_written_and_its_place_told(tmp_path: Path) -> None:
    families.measured(tmp_path / "p")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(140, 40)) as pilot:
        await opened(pilot, "[scores]")
        await pilot.press("x")
        await until(pilot, "after the merge of round 1")
        await pilot.press("3", "j", "j", "enter")
        await settle(pilot)
        await until(pilot, "Exported 120 rows of round 1's dataset (messages)")
    out = tmp_path / "p" / "exports" / "round-1-messages.jsonl"
    assert len(out.read_text(encoding="utf-8").splitlines()) == stores.SIZE
    assert place(tmp_path / "p", Wanted(1, "messages")).name == "round-1-messages-2.jsonl", "nothing is overwritten"


async def test_the_question_can_be_left(tmp_path: Path) -> None:
    families.measured(tmp_path / "p")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot, "[scores]")
        await pilot.press("x")
        await pilot.pause()
        assert isinstance(app.screen, AskFormat)
        await pilot.press("escape")
        await pilot.pause()
        assert isinstance(app.screen, RoundsScreen)
    assert not (tmp_path / "p" / "exports").exists()


# ------------------------------------------------------------------------------------------------ drawing


@pytest.mark.parametrize("width", [80, 100, 120, 140, 200])
def test_the_table_fits_and_every_column_can_be_reached(tmp_path: Path, width: int) -> None:
    families.measured(tmp_path / "p")
    view = complete(tmp_path / "p")
    seen = set()
    for first in range(most(view, width) + 1):
        lines = grid_lines(Grid(view, 1, first), width, 6)
        assert all(width_of(line) <= width for line in lines)
        seen |= {column.title for column in fitting(columns(view), first, width)}
    assert seen == {column.title for column in columns(view)}
    assert "›" not in plain(grid_lines(Grid(view, 0, most(view, width)), width, 6))


def test_the_cursor_is_on_the_page_with_many_rounds(tmp_path: Path) -> None:
    store = Store(tmp_path / "p")
    for number in range(12):
        store.round(number)
    view = RoundsReader(tmp_path / "p").read()
    for at in range(12):
        assert f"▸{at:>5}" in plain(grid_lines(Grid(view, at), 80, 6))


def test_a_task_has_one_column_and_its_other_figures_are_in_the_tab(tmp_path: Path) -> None:
    store = stores.finished(tmp_path / "p")
    strict, flexible = "exact_match,strict-match", "exact_match,flexible-extract"
    figures = [
        EvalScore(2, "gsm8k_cot", 0.5, 0.1, 9, flexible),
        EvalScore(2, f"gsm8k_cot:{strict}", 0.25, 0.1, 9, strict),
    ]
    write.save(store.db, 2, "evaluate", [*figures, EvalScore(2, "gsm8k_cot:ter,none", 7.0, None, 9, "ter,none")], None)
    view = complete(tmp_path / "p")
    assert [column.title for column in columns(view) if "gsm8k" in column.title] == ["gsm8k_cot %"]
    told = plain(panel_lines(Panel(view, 2, "scores"), 80)).split("\n")
    assert [line[:30].split() for line in told[2:5]] == [
        ["gsm8k_cot", "%", "50.0"], ["strict-match", "%", "25.0"], ["ter", "7.000"]
    ]  # fmt: skip


@pytest.mark.parametrize("tab", TABS)
@pytest.mark.parametrize("make", ["running", "waiting", "failed", "finished"])
def test_every_tab_has_something_to_say_and_fits(tmp_path: Path, make: str, tab: str) -> None:
    getattr(stores, make)(tmp_path / "p")
    view = complete(tmp_path / "p")
    for one in view.rounds:
        lines = panel_lines(Panel(view, one.round, tab), 80)
        assert tab in ("shapes", "curves") or plain(lines).strip()
        assert all(width_of(line) <= 80 for line in lines)


@pytest.mark.parametrize("name", [name for name in CORPUS if name != "lone surrogate"])
def test_hostile_texts_are_shown_clean(tmp_path: Path, name: str) -> None:
    store = families.measured(tmp_path / "p", 1)
    evil = CORPUS[name]
    settings = json.loads(store.config)
    settings["model"]["name"] = evil
    with transaction(store.db):
        store.db.execute("UPDATE round SET config=?", (json.dumps(settings),))
        store.db.execute("UPDATE score SET task=? WHERE task='accuracy'", (evil,))
        store.db.execute(
            "UPDATE sample SET messages=? WHERE id IN (SELECT exemplar FROM cluster)", (json.dumps([["user", evil]]),)
        )
    view = complete(tmp_path / "p")
    painted = plain(grid_lines(Grid(view), 200, 6))
    painted += "".join(plain(panel_lines(Panel(view, 0, tab), 80)) for tab in TABS)
    assert clean(painted).hidden == 0
    assert "a" in painted


# ------------------------------------------------------------------------------------ curves, other projects


def figures(project: Path, tab: str = "curves") -> RoundFigures:
    view = complete(project)
    return RoundFigures(view, view.rounds[-1].round, tab, "p")


@pytest.mark.parametrize("size", [(80, 13), (58, 28), (140, 28), (200, 36), (39, 8)])
@pytest.mark.parametrize("tab", ["curves", "scores", "time"])
def test_curves_fill_their_room_and_stay_in_it(tmp_path: Path, tab: str, size: tuple[int, int]) -> None:
    families.measured(tmp_path / "p", 3)
    rows = round_charts(figures(tmp_path / "p", tab), *size)
    assert all(width_of(row) <= size[0] for row in rows)
    assert len(rows) == size[1] or size[1] < 20, "nothing is left blank below"


def test_the_chosen_rounds_values_stand_above_every_curve(tmp_path: Path) -> None:
    families.measured(tmp_path / "p", 3)
    text = plain(round_charts(figures(tmp_path / "p"), 140, 28))
    for part in (
        "accuracy %  round 2  ━ 39.8",
        "selected  round 2  C━",
        "D╌",
        "mean base loss  round 2",
        "teacher tokens",
    ):
        assert part in text


def test_time_is_a_table_of_stages_by_round(tmp_path: Path) -> None:
    stores.finished(tmp_path / "p")
    lines = plain(stage_table(complete(tmp_path / "p"), 1, 60)).split("\n")
    assert lines[1].split() == ["round", "0", "1", "2"]
    assert lines[2].split() == ["train", "60", "s", "60", "s", "60", "s"]
    assert [line.split()[0] for line in lines if line][-1] == "total"


async def test_a_wide_terminal_has_curves_beside_the_scores(tmp_path: Path) -> None:
    families.measured(tmp_path / "p", 3)
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(140, 40)) as pilot:
        await opened(pilot, "[scores]")
        text = await until(pilot, "accuracy %  round 2")
        assert "selected  round 2" in text
        await pilot.press("k")
        await until(pilot, "accuracy %  round 1")
        await pilot.press("tab")
        await until(pilot, "[curves]")
        await settle(pilot)
        assert "more curves" not in screen_text(app), "all of them fit"
        await pilot.resize_terminal(80, 24)
        await until(pilot, "] more curves")


async def test_a_cursor_counts_the_samples_of_a_shape(tmp_path: Path) -> None:
    families.measured(tmp_path / "p")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot, "[scores]")
        await pilot.press("tab", "tab", "greater_than_sign", "less_than_sign", "y")
        text = await until(pilot, " log ─")
        assert " to " in text
        assert "%)" in text


def test_a_round_without_held_out_samples_or_clusters_does_not_wait_for_them(tmp_path: Path) -> None:
    store = Store(tmp_path / "p").plan().round(0, 4)
    store.db.execute("DELETE FROM score")
    view = RoundsReader(tmp_path / "p").read()
    told = {tab: plain(panel_lines(Panel(view, 0, tab), 80)) for tab in ("scores", "clusters")}
    assert "no scores: no sample is held out" in told["scores"]
    assert "no clusters: too few samples, or score.clusters = false" in told["clusters"]
