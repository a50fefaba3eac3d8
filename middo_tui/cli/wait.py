"""``middo-tui wait`` and ``middo-tui notify``: for scripts that go on when a run is ready, and to test who is told."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

import click

from engine.errors import UsageError
from middo_tui.cli.arguments import FOLDER
from middo_tui.terminal.console import say

if TYPE_CHECKING:
    from middo_tui.feed.view import LoopView

REACHED, OTHERWISE, STILL, ASKED = 0, 1, 3, 4
EVERY_S = 0.5


def reached(view: LoopView, wanted: str) -> int | None:
    """The exit code when ``review`` or ``done`` is waited for and the run stands like this; None: wait on.

    0: it is there. 4: the run is waiting for a person's decision instead. 1: it has ended another way (done without a
    review, paused, cancelled, failed, or its worker died).
    """
    from middo_tui.feed.turn import AT_WORK, reviewing

    if view.problem:
        return OTHERWISE
    if view.state in AT_WORK:
        return None
    if view.state == "waiting":
        return REACHED if wanted == "review" and reviewing(view) else ASKED
    return REACHED if (wanted, view.state) == ("done", "done") else OTHERWISE


def follow_until(
    look: Callable[[], LoopView], wanted: str, timeout_s: float, pause: Callable[[float], None] = time.sleep
) -> tuple[int, LoopView]:
    """Look until ``wanted`` is reached or cannot be any more, at most ``timeout_s`` seconds (0: no limit)."""
    until = time.monotonic() + timeout_s if timeout_s else float("inf")
    while True:
        view = look()
        code = reached(view, wanted)
        if code is not None or time.monotonic() >= until:
            return STILL if code is None else code, view
        pause(min(EVERY_S, max(0.0, until - time.monotonic())))


@click.command()
@click.argument("folder", type=FOLDER, default=".")
@click.option(
    "--for",
    "wanted",
    type=click.Choice(["review", "done"]),
    default="done",
    show_default=True,
    help="Wait until rewrites are ready for review, or until the run is done.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=0.0,
    metavar="SECONDS",
    help="Give up after this many seconds. 0: no limit.",
)
def wait(folder: Path, wanted: str, timeout: float) -> None:
    """Wait for a run, from a script. Exit code 0: reached, 1: the run ended another way, 3: timeout, 4: the run waits
    for a decision that was not waited for.
    """
    from engine.store.connect import reader as connect
    from middo_tui.cli.plain import what_now
    from middo_tui.feed.reader import Reader
    from middo_tui.text.status import standing

    connect(folder).close()  # no project: an error, not a state of a run
    reader = Reader(folder)

    def look() -> LoopView:
        view = reader.view()
        if view.wrong == "config.toml" and standing(folder).pid is not None:  # the run has read it, and continues
            return LoopView(worker="running")
        return view

    try:
        code, _ = follow_until(look, wanted, timeout)
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        reader.close()
    say(what_now(folder), err=code not in (REACHED, STILL))
    sys.exit(code)


@click.command()
@click.argument("folder", type=FOLDER, default=".")
def notify(folder: Path) -> None:
    """Send a test notification the way [notify] in config.toml says. Exit code 1 if it could not be sent."""
    from engine.config import schema
    from engine.runtime.notify import Announcement, deliver

    config = schema.load(folder)
    how = config.notify
    if not how.ways:
        raise UsageError(f"{folder / 'config.toml'}: [notify] is empty. Set command, webhook or webhook_env.")
    name = config.project.name or folder.resolve().name
    test = Announcement("test", name, f"{name}: this is a test. Watch the run with `middo-tui {quote(str(folder))}`.")
    wrong = deliver(test, how, folder, tuple(config.secret_names))
    for line in wrong:
        say(f"middo-tui: {line}", err=True)
    if wrong:
        sys.exit(OTHERWISE)
    say(f"Sent by {' and '.join(how.ways)}.")
