"""Called without a project: those beside it are listed and opened; the wizard is one choice and offers none of them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from engine.errors import UsageError
from middo_tui.cli.commands import main
from middo_tui.feed.home import inside_project, projects
from middo_tui.screens.home import NEW, Home
from middo_tui.screens.wizard import draft as drafts
from middo_tui.screens.wizard.draft import Draft
from middo_tui.screens.wizard.steps import DataStep
from tests.support import ROOT, stores
from tests.support.screens import screen_text
from tests.support.terminal import Terminal


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two projects, one of them broken, a dataset and a folder of none of those."""
    stores.waiting(tmp_path / "older")
    stores.failed(tmp_path / "newer")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "middo.db").write_bytes(b"no database " * 100)
    (tmp_path / "data").mkdir()
    (tmp_path / "rows.jsonl").write_text("{}\n")
    (tmp_path / "older" / "exports").mkdir()
    (tmp_path / "older" / "exports" / "round-1.jsonl").write_text("{}\n")
    for at, name in enumerate(("broken", "older", "newer")):
        for file in (tmp_path / name).glob("middo.db*"):
            os.utime(file, (1_000_000 + at, 1_000_000 + at))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_last_used_is_the_first_and_each_says_how_it_stands(here: Path) -> None:
    found = projects(here)
    assert [one.folder.name for one in found] == ["newer", "older", "broken"]
    assert found[0].state == "failed, round 0"
    assert found[1].state == "your turn, round 0"
    assert found[2].state.startswith("unreadable: ")
    assert inside_project(here / "older" / "exports")
    assert not inside_project(here / "data")


def test_a_loop_that_is_through_is_done(tmp_path: Path) -> None:
    stores.finished(tmp_path / "p")
    assert [one.state for one in projects(tmp_path)] == ["done, round 2"]


@pytest.mark.parametrize(("keys", "ends"), [
    (["enter"], "newer"), (["j", "enter"], "older"), (["n"], ""), (["end", "enter"], ""), (["q"], None),
    (["escape"], None),
])  # fmt: skip
async def test_keys_choose(here: Path, keys: list[str], ends: str | None) -> None:
    app = Home(projects(here))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        assert "▸  newer" in screen_text(app)  # type: ignore[arg-type]
        assert "new project" in screen_text(app)  # type: ignore[arg-type]
        assert max(len(row) for row in screen_text(app).split("\n")) <= 80  # type: ignore[arg-type]
        await pilot.press(*keys)
    assert app.return_value == (None if ends is None else here / ends if ends else NEW)


def test_from_the_list_into_a_project(here: Path) -> None:
    code = "from middo_tui.cli.commands import main; main()"
    terminal = Terminal([sys.executable, "-c", code], env={"PYTHONPATH": str(ROOT)})
    try:
        terminal.wait_for("projects in")
        terminal.send(b"\r")
        terminal.wait_for("alpaca-mini")
        terminal.send(b"q")
        assert terminal.wait() == 0
    finally:
        terminal.close()


def test_without_a_terminal_the_projects_are_named(here: Path) -> None:
    result = CliRunner().invoke(main, [])
    assert result.exit_code == 2
    assert "newer, older, broken. Open one with `middo-tui newer`." in result.output


def test_the_wizard_offers_no_project_and_nothing_in_one(here: Path) -> None:
    assert [offer.value for offer in drafts.paths("", files=True)] == ["rows.jsonl", "data/"]
    assert drafts.paths("older/", files=True) == []
    assert drafts.paths("older/exports/", files=True) == []
    with pytest.raises(UsageError, match="older: a project, not a dataset"):
        DataStep(Draft()).answer("older")


def test_the_wizard_offers_what_can_teach(here: Path) -> None:
    names = [offer.value for offer in drafts.teachers()]
    assert "demo:teacher" in names
    assert all("Instruct" in name for name in names if not name.startswith("demo:"))
    assert "demo:base" in [offer.value for offer in drafts.base_models()]
