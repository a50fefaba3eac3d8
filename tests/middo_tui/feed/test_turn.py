"""When a person is called, what the header says, and which bytes a terminal gets for it."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from middo_tui.app import MiddoApp
from middo_tui.feed.poll import StoreChanged
from middo_tui.feed.turn import STATES, label, news
from middo_tui.feed.view import DecisionCounts, LoopView, StageView
from middo_tui.look.preferences import Preferences
from middo_tui.terminal.attention import call
from middo_tui.terminal.delta_driver import TerminalContents
from tests.support import stores

RUNNING = LoopView(project="p", round=0, worker="running", stages=(StageView("train", "running"),))


def ended(state: str, open_: int = 0, error: str = "") -> LoopView:
    stage = StageView("review", state, error=error)
    return LoopView(project="p", round=0, stages=(stage,), waiting=DecisionCounts(open=open_))


@pytest.mark.parametrize(
    ("after", "said"),
    [
        (ended("waiting", 412), "412 rewrites to review"),
        (ended("waiting", 1), "1 rewrite to review"),
        (ended("waiting", 9, "the budget is used up"), "your decision is needed"),
        (ended("failed"), "review failed"),
        (ended("done"), "done"),
        (ended("interrupted"), "the worker has died"),
        (LoopView(round=0, worker="lost"), "the worker is not responding"),
        (replace(RUNNING, trouble="stalled"), "no progress"),
        (replace(RUNNING, trouble="full"), "the disk is full"),
        (ended("paused"), ""),
        (ended("cancelled"), ""),
        (RUNNING, ""),
        (replace(RUNNING, want="pause"), ""),
        (LoopView(problem="config.toml: wrong", wrong="config.toml"), ""),
    ],
)
def test_a_person_is_called_once_when_the_run_comes_to_need_them(after: LoopView, said: str) -> None:
    assert news(RUNNING, after) == said
    assert news(after, after) == ""


def test_a_run_that_already_waited_or_was_resumed_is_no_news() -> None:
    assert news(LoopView(), ended("waiting", 3)) == ""
    assert news(ended("waiting", 3), RUNNING) == ""
    assert news(LoopView(problem="x"), ended("waiting", 3)) == ""


def test_the_header_says_whose_turn_it_is_wherever_nothing_happens_by_itself() -> None:
    waits = {"paused", "failed", "lost", "interrupted", "cancelled", "new", "idle", "waiting"}
    assert {state for state, (text, _) in STATES.items() if "your turn" in text} == waits
    assert label(ended("waiting", 3))[0] == "! your turn: review"
    assert label(ended("waiting"))[0] == "! your turn: merge"
    assert label(ended("waiting", 3, "the budget is used up"))[0] == "! your turn: decide"
    assert label(replace(RUNNING, trouble="stalled")) == ("● running, stalled", "bad")


@pytest.mark.parametrize(
    ("environ", "shown"),
    [
        ({"TERM": "xterm-256color"}, "\x07"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}, "\x1b]9;middo p: done\x07\x07"),
        ({"TERM": "xterm-kitty"}, "\x1b]9;middo p: done\x07\x07"),
        ({"TERM": "foot"}, "\x1b]777;notify;middo p;done\x07\x07"),
        ({"TERM": "xterm-256color", "VTE_VERSION": "7600"}, "\x1b]777;notify;middo p;done\x07\x07"),
        ({"TERM": "tmux-256color", "TERM_PROGRAM": "tmux", "TMUX": "x"}, "\x07"),
        ({"TERM": "screen", "VTE_VERSION": "7600"}, "\x07"),
    ],
)
def test_a_terminal_gets_what_it_knows(environ: dict[str, str], shown: str) -> None:
    assert call("middo p", "done", environ) == shown


def test_a_hostile_name_cannot_end_the_sequence() -> None:
    sent = call("middo p\x07\x1b]52;c;eA==\x07", "do;ne\x9c", {"TERM": "foot"})
    assert sent.count("\x07") == 2
    assert sent.count("\x1b") == 1
    assert "\x9c" not in sent
    assert sent.count(";") == 3


@pytest.mark.parametrize("environ", [{"TERM": "foot"}, {"TERM": "wezterm"}, {"TERM": "xterm"}])
def test_a_call_does_not_make_the_screen_be_painted_again(environ: dict[str, str]) -> None:
    frame = "\x1b[1;1Habc\x1b[1;1H"
    contents = TerminalContents()
    assert contents.needed(frame)
    sent = call("middo p", "done", environ)
    assert contents.needed(sent) == sent
    assert contents.needed(frame) == ""


@pytest.mark.parametrize("bell", [True, False])
async def test_the_app_calls_once_and_only_if_it_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bell: bool
) -> None:
    stores.running(tmp_path / "p")
    app = MiddoApp(tmp_path / "p", preferences=Preferences(bell=bell))
    async with app.run_test() as pilot:
        await pilot.pause()
        sent: list[str] = []
        assert app._driver is not None
        monkeypatch.setattr(app._driver, "write", sent.append)
        for view in (ended("waiting", 3), ended("waiting", 2)):
            app.post_message(StoreChanged(view))
            await pilot.pause()
    assert sum(data.endswith("\x07") for data in sent) == bell
