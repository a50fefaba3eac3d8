"""Called without a project: those beside it are listed and opened; the wizard is one choice and offers none of them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from engine.errors import UsageError
from middo_tui.cli.commands import main
from middo_tui.feed import recent
from middo_tui.feed.home import known, project_around, projects
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
    assert project_around(here / "older" / "exports") == project_around(here / "older") == here / "older"
    assert project_around(here / "data") is None


@pytest.mark.parametrize("stray", [b"", b"no database"])
def test_a_stray_database_hides_no_folder_below_it(here: Path, stray: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "middo.db").write_bytes(stray)
    (below := here / "data" / "cats").mkdir(parents=True)
    monkeypatch.chdir(below)
    assert project_around(below) is None
    done = CliRunner().invoke(main, [])
    assert done.exit_code == 2
    assert "no project here. Try `middo-tui demo`" in done.output
    assert project_around(here) == here, "there it is named as what it is"


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
        assert "▸  newer" in screen_text(app)
        assert "new project" in screen_text(app)
        assert max(len(row) for row in screen_text(app).split("\n")) <= 80
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


def test_projects_opened_lately_are_listed_wherever_they_are(here: Path, tmp_path: Path) -> None:
    environ = {"XDG_STATE_HOME": str(tmp_path / "state")}
    elsewhere, gone = here / "data" / "deep", here / "gone"
    stores.waiting(elsewhere)
    for opened in (gone, elsewhere, here / "newer", elsewhere):
        recent.remember(opened, environ)
    assert recent.folders(environ) == [elsewhere, here / "newer", gone]
    assert recent.file(environ).stat().st_mode & 0o777 == 0o600
    found = known(here, recent.folders(environ))
    assert sorted(one.folder.name for one in found) == ["broken", "deep", "newer", "older"], "each once, and none gone"


def test_a_broken_or_missing_list_is_no_list(tmp_path: Path) -> None:
    environ = {"XDG_STATE_HOME": str(tmp_path)}
    assert recent.folders(environ) == []
    recent.remember(tmp_path / "a", environ)
    for text in ("", "{}", "[1, null]", "\x00"):
        recent.file(environ).write_text(text, encoding="utf-8")
        assert recent.folders(environ) == []
    recent.remember(tmp_path / "b", environ)
    assert recent.folders(environ) == [tmp_path / "b"]


async def test_a_project_elsewhere_says_where_it_is_and_opens(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stores.waiting(here / "data" / "deep")
    monkeypatch.chdir(here / "data")
    monkeypatch.setattr(Path, "home", lambda: here)
    app = Home(known(here / "data", [here / "newer"]))
    async with app.run_test(size=(100, 24)) as pilot:
        await pilot.pause()
        text = screen_text(app)
        assert "failed, round 0 · ~ " in text
        await pilot.press("end", "up", "enter")
    assert app.return_value == here / "newer"


def cached(cache: Path, name: str, *files: str) -> None:
    snapshot = cache / f"models--{name.replace('/', '--')}" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    for file in files:
        (snapshot / file).write_text("{}")


def test_the_wizard_offers_what_is_in_the_hub_s_cache_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    cached(tmp_path, "o/tiny-chat", "config.json", "tokenizer.json")
    cached(tmp_path, "o/tiny", "config.json", "tokenizer.json")
    cached(tmp_path, "o/half", "config.json")
    cached(tmp_path, "Qwen/Qwen2.5-3B-Instruct", "config.json", "tokenizer.json")
    assert [offer.value for offer in drafts.base_models()][:3] == ["Qwen/Qwen2.5-3B-Instruct", "o/tiny", "o/tiny-chat"]
    teachers = drafts.teachers()
    assert [offer.value for offer in teachers][:2] == ["Qwen/Qwen2.5-3B-Instruct", "o/tiny-chat"]
    assert (teachers[0].item.text, teachers[0].item.aside) == ("6 GB of weights", "downloaded")
    assert len({offer.value for offer in teachers}) == len(teachers)


@pytest.mark.parametrize(
    ("environ", "place"),
    [
        ({"HF_HUB_CACHE": "/a", "HF_HOME": "/b"}, "/a"),
        ({"HF_HOME": "/b"}, "/b/hub"),
        ({"XDG_CACHE_HOME": "/c"}, "/c/huggingface/hub"),
    ],
)
def test_the_hub_s_cache_is_where_its_own_program_has_it(environ: dict[str, str], place: str) -> None:
    assert drafts.hub_cache(environ) == Path(place)


def test_the_wizard_offers_what_can_teach(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(here / "none"))
    names = [offer.value for offer in drafts.teachers()]
    assert "demo:teacher" in names
    assert all("Instruct" in name for name in names if not name.startswith("demo:"))
    assert "demo:base" in [offer.value for offer in drafts.base_models()]
