"""The Log screen, ``middo-tui log`` and what they read: events and the processes' files."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from engine.errors import UsageError
from middo_tui.app import MiddoApp
from middo_tui.cli.commands import main
from middo_tui.feed import run_log
from middo_tui.feed.run_log import level_of, load
from tests.support.screens import screen_text, until
from tests.support.stores import NOON, Store

ESCAPE = "\x1b]0;owned\x07"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Six events of every level, a file of a worker, a longer one of a stage, and an empty one."""
    store = Store(tmp_path / "P").plan().round(0, 1)
    for at, (level, text) in enumerate([
        ("info", "first"), ("info", f"the Loss {ESCAPE}"), ("warning", "loss is high"), ("trace", "not for people"),
        ("error", "out of memory"), ("info", "last"),
    ]):  # fmt: skip
        store.event(text, level, at=NOON + at)
    store.db.close()
    logs = store.project / "logs"
    (logs / "worker.log").write_text("worker began\n", encoding="utf-8")
    (logs / "round-0-train.log").write_bytes(
        b"10%\r50%\r100% done\nUserWarning: odd\nValueError: bad \xff\n\n" + ESCAPE.encode()
    )
    (logs / "round-0-score.log").write_bytes(b"")
    os.utime(logs / "worker.log", (1, 1))
    return store.project


def texts(found: run_log.RunLog) -> list[str]:
    return [entry.text for entry in found.entries]


def test_events_by_level_and_words(project: Path) -> None:
    assert texts(load(project)) == ["first", f"the Loss {ESCAPE}", "loss is high", "out of memory", "last"]
    assert texts(load(project, level="warning")) == ["loss is high", "out of memory"]
    assert texts(load(project, level="error")) == ["out of memory"]
    assert texts(load(project, words="LOSS")) == [f"the Loss {ESCAPE}", "loss is high"]
    newest = load(project, most=2)
    assert (texts(newest), newest.found) == (["out of memory", "last"], 5)


def test_a_process_file_by_lines_and_what_they_say(project: Path) -> None:
    found = load(project, "round-0-train.log")
    assert found.sources == ("events", "round-0-train.log", "worker.log"), "the last written first, no empty ones"
    assert texts(found) == ["100% done", "UserWarning: odd", "ValueError: bad \ufffd", ESCAPE]
    assert [entry.level for entry in found.entries] == ["info", "warning", "error", "info"]
    assert texts(load(project, "round-0-train.log", level="error", words="bad")) == ["ValueError: bad \ufffd"]


@pytest.mark.parametrize(("line", "level"), [
    ("Traceback (most recent call last):", "error"), ("torch.OutOfMemoryError: CUDA out of memory", "error"),
    ("FutureWarning: x", "warning"), ("warnings.warn(", "warning"), ("terror and forewarned", "info"), ("", "info"),
])  # fmt: skip
def test_levels_are_told_by_whole_words(line: str, level: str) -> None:
    assert level_of(line) == level


def test_only_the_end_of_a_long_file_is_read(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_log, "TAIL", 20)
    found = load(project, "round-0-train.log")
    assert found.cut
    assert ESCAPE in texts(found)[-1]


@pytest.mark.parametrize("name", ["../config.toml", "nothing.log", "/etc/passwd", ""])
def test_a_file_that_is_no_log_is_refused(project: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"no such log\. Logs: events, round-0-train\.log, worker\.log"):
        load(project, name)


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(main, ["log", *map(str, args)], catch_exceptions=False)


def test_the_command_prints_the_newest_lines(project: Path) -> None:
    done = run(project, "--limit", "2")
    assert [line.split("  ")[-1].strip() for line in done.stdout.splitlines()] == ["✘ out of memory", "last"]
    assert "the newest 2 of 5 lines" in done.stderr
    assert "\x1b" not in run(project, "--source", "round-0-train.log").output
    rows = [json.loads(line) for line in run(project, "--json", "--grep", "loss").stdout.splitlines()]
    assert rows[0] == {"at": NOON + 1, "level": "info", "stage": "train", "text": f"the Loss {ESCAPE}"}


async def test_the_screen_follows_searches_and_shows_levels(project: Path) -> None:
    app = MiddoApp(project)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, "train    last")
        await pilot.press("l")
        await until(pilot, "Log · events (1 of 3) · 5 lines")
        assert "▸" in next(line for line in screen_text(app).splitlines() if "train    last" in line)
        await pilot.press("v")
        await until(pilot, "warnings and errors · 2 lines")
        await pilot.press("v", "v", "slash", *"loss", "enter")
        await until(pilot, 'with "loss" · 2 lines')
        await pilot.press("tab")
        await until(pilot, "Log · round-0-train.log (2 of 3)")
        await pilot.press("slash", *["backspace"] * 4, "enter")
        await until(pilot, "4 lines")
        assert "\x1b]" not in screen_text(app)


async def test_the_cursor_stays_where_it_was_moved_to(project: Path) -> None:
    app = MiddoApp(project)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, "train    last")
        await pilot.press("l", "j")
        await until(pilot, "▸✘")
        from engine.store.connect import transaction, writer

        db = writer(project)
        with transaction(db):
            db.execute("INSERT INTO event (at, level, stage, text) VALUES (?, 'info', 'train', 'newer')", (NOON + 9,))
        db.close()
        await until(pilot, "train    newer")
        assert "▸✘" in screen_text(app)
        await pilot.press("g")
        await until(pilot, "▸ ")
