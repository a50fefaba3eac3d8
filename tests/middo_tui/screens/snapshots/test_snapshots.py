"""Every screen as it is painted, at 80x24 and 140x40, compared with the picture beside this file.

``make snapshots`` writes the pictures anew; look at the difference before you commit it. Data, clock and time zone are
fixed, and a picture holds no path, machine or version.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from textual.app import App
from textual.pilot import Pilot

from benchmarks.world import project as world
from middo_tui.app import MiddoApp
from middo_tui.feed.home import ProjectSummary
from middo_tui.look.preferences import Preferences
from middo_tui.screens.home import Home
from middo_tui.screens.wizard.screen import Wizard
from tests.support import stores, told_projects
from tests.support.screens import settle_all

SIZES = [(80, 24), (140, 40)]
NOW = stores.NOON + 600.0
Compare = Callable[..., bool]

# Of the project below: name of the picture -> keys that lead there.
SCREENS: dict[str, tuple[str, ...]] = {
    "loop": (),
    "confirm": ("A",),
    "help": ("question_mark",),
    "palette": ("ctrl+p",),
    "palette-typed": ("ctrl+p", *"base"),
    "samples": ("2",),
    "samples-filter": ("2", "f"),
    "samples-sorted": ("2", "o", "q"),
    "samples-detail": ("2", "enter"),
    "samples-flawed": ("2", "o", "w", "enter"),
    "thresholds": ("3",),
    "thresholds-mixture": ("3", "m"),
    "thresholds-lenses": ("3", "v"),
    "review": ("4",),
    "label": ("2", "L"),
    "rounds": ("5",),
    "rounds-curves": ("5", "tab"),
    "rounds-shapes": ("5", "tab", "tab", "greater_than_sign", "y"),
    "rounds-time": ("5", "shift+tab", "shift+tab"),
    "log": ("l",),
    "loop-cursor": ("left", "shift+left", "plus"),
    "rounds-export": ("5", "x"),
    "lineage": ("6",),
    "lineage-family": ("6", "enter"),
    "settings": ("comma",),
    "settings-changed": ("comma", "c", "j"),
    "quarantine": ("exclamation_mark",),
    "map": ("7",),
    "map-letters": ("7", "c", "m"),
    "map-moves": ("7", "t"),
}


@pytest.fixture(scope="module", autouse=True)
def frozen() -> Iterator[None]:
    """Ten past noon in UTC, in colour."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "UTC")
        patch.delenv("NO_COLOR", raising=False)
        patch.setattr(time, "time", lambda: NOW)
        time.tzset()
        yield
    time.tzset()


@pytest.fixture(scope="module")
def project(frozen: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three rounds, the last of which waits for a person. Nothing here writes to it."""
    folder = tmp_path_factory.mktemp("snapshots") / "alpaca-mini"
    world.make(folder, samples=120, seed=0)
    return folder


def shows(compare: Compare, app: App[Any], size: tuple[int, int], keys: tuple[str, ...] = ()) -> bool:
    """Whether ``app`` paints what it painted before, once it has read all that ``keys`` ask for."""

    async def press(pilot: Pilot[Any]) -> None:
        await settle_all(pilot)
        for key in keys:
            await pilot.press(key)
            await settle_all(pilot)

    return compare(app, terminal_size=size, run_before=press)


@pytest.mark.usefixtures("prepared_here")
@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("name", SCREENS)
def test_screen(snap_compare: Compare, project: Path, name: str, size: tuple[int, int]) -> None:
    assert shows(snap_compare, MiddoApp(project, preferences=Preferences()), size, SCREENS[name])


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("state", ["running", "failed", "finished"])
def test_loop(snap_compare: Compare, tmp_path: Path, state: str, size: tuple[int, int]) -> None:
    getattr(stores, state)(tmp_path / "alpaca-mini")
    assert shows(snap_compare, MiddoApp(tmp_path / "alpaca-mini", preferences=Preferences()), size)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize(("made", "keys"), [("flipped", ("5", "f")), ("written", ("w",))], ids=["flips", "writing"])
def test_told(snap_compare: Compare, tmp_path: Path, made: str, keys: tuple[str, ...], size: tuple[int, int]) -> None:
    project = getattr(told_projects, made)(tmp_path / "alpaca-mini")
    assert shows(snap_compare, MiddoApp(project, preferences=Preferences()), size, keys)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_home(snap_compare: Compare, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]) -> None:
    monkeypatch.setattr(Path, "cwd", lambda: Path("/home/me/projects"))
    found = [
        ProjectSummary(Path("alpaca-mini"), "your turn, round 1", NOW - 300),
        ProjectSummary(Path("cats"), "failed, round 0", NOW - 90_000),
        ProjectSummary(Path("broken"), "unreadable: file is not a database", NOW - 1_000_000),
    ]
    assert shows(snap_compare, Home(found), size)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("keys", [(), ("c", "tab", "enter")], ids=["data", "columns"])
def test_wizard(
    snap_compare: Compare,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    keys: tuple[str, ...],
    size: tuple[int, int],
) -> None:
    rows = [{"instruction": f"Name {i} things.", "input": "", "output": f"{i} things."} for i in range(30)]
    (tmp_path / "cats.json").write_text(json.dumps(rows), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert shows(snap_compare, Wizard(Preferences()), size, keys)
