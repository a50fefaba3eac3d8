"""``wait`` and ``notify``: exit codes that scripts rely on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from middo_tui.cli.commands import main
from middo_tui.cli.wait import follow_until, reached
from middo_tui.feed.view import DecisionCounts, LoopView, StageView
from tests.support import stores
from tests.support.stores import Store


def view(state: str, open_: int = 0, error: str = "") -> LoopView:
    stage = StageView("review", state, error=error)
    return LoopView(round=0, stages=(stage,), waiting=DecisionCounts(open=open_))


RUNNING = LoopView(round=0, worker="running", stages=(StageView("train", "running"),))
DONE = LoopView(round=0, stages=(StageView("train", "done"),))


@pytest.mark.parametrize(
    ("found", "review", "done"),
    [
        (RUNNING, None, None),
        (view("waiting", 3), 0, 4),
        (view("waiting", 0), 4, 4),
        (view("waiting", 3, error="the token budget is used up"), 4, 4),
        (DONE, 1, 0),
        (view("failed"), 1, 1),
        (view("paused"), 1, 1),
        (view("cancelled"), 1, 1),
        (view("interrupted"), 1, 1),
        (LoopView(), 1, 1),
        (LoopView(problem="no such file", wrong="no data"), 1, 1),
        (LoopView(round=0, worker="lost"), 1, 1),
    ],
)
def test_the_exit_code_of_every_state(found: LoopView, review: int | None, done: int | None) -> None:
    assert (reached(found, "review"), reached(found, "done")) == (review, done)


def test_it_looks_until_it_is_there_and_not_longer_than_asked() -> None:
    views: Iterator[LoopView] = iter([RUNNING, RUNNING, DONE])
    slept: list[float] = []
    assert follow_until(lambda: next(views), "done", 0.0, slept.append) == (0, DONE)
    assert slept == [0.5, 0.5]
    assert follow_until(lambda: RUNNING, "done", 1e-9, slept.append) == (3, RUNNING)


@pytest.mark.parametrize(
    ("make", "wanted", "code", "says"),
    [
        (stores.waiting, "review", 0, "waiting for review"),
        (stores.waiting, "done", 4, "middo-tui review"),
        (stores.finished, "done", 0, "Export the dataset"),
        (stores.failed, "done", 1, "failed"),
        (Store, "done", 1, "no round has run yet"),
    ],
)
def test_the_command_says_what_to_do_next(
    tmp_path: Path, make: Callable[[Path], Store], wanted: str, code: int, says: str
) -> None:
    make(tmp_path / "p")
    ran = CliRunner().invoke(main, ["wait", str(tmp_path / "p"), "--for", wanted])
    assert ran.exit_code == code
    assert says in ran.output


def test_without_a_project_it_is_an_error(tmp_path: Path) -> None:
    ran = CliRunner().invoke(main, ["wait", str(tmp_path)])
    assert ran.exit_code != 0
    assert "middo-tui: " in ran.output


def test_a_test_notification_is_sent_or_says_why_not(tmp_path: Path) -> None:
    project = tmp_path / "p"
    Store(project)
    ran = CliRunner().invoke(main, ["notify", str(project)])
    assert ran.exit_code == 2
    assert "[notify] is empty. Set command" in ran.output
    config = project / "config.toml"
    config.write_text('[notify]\ncommand = ["sh", "-c", "echo $MIDDO_EVENT > told"]\n', encoding="utf-8")
    ran = CliRunner().invoke(main, ["notify", str(project)])
    assert (ran.exit_code, ran.output) == (0, "Sent by command.\n")
    assert (project / "told").read_text() == "test\n"
    config.write_text('[notify]\ncommand = ["false"]\n', encoding="utf-8")
    ran = CliRunner().invoke(main, ["notify", str(project)])
    assert ran.exit_code == 1
    assert "ended with exit code 1" in ran.output
