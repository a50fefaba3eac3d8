"""``~``: the command line of what a key did, which the command line itself accepts."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from middo_tui.cli.commands import main
from middo_tui.feed import control
from middo_tui.feed.override import override_samples
from middo_tui.screens.export import Wanted, export
from middo_tui.text.command_line import equivalent

P = Path("/p")


@pytest.mark.parametrize(
    ("verb", "line"),
    [
        (partial(control.go, P), "middo-tui run /p"),
        (partial(control.pause, P), "middo-tui pause /p"),
        (partial(control.cancel, P), "middo-tui cancel /p"),
        (partial(control.step, P, 2, "judge"), "middo-tui run /p --until judge"),
        (partial(control.decide, P, 0, "improved"), "middo-tui review /p --accept improved"),
        (partial(control.undo, P), "middo-tui undo /p"),
        (partial(control.undo_review, P, 0), "middo-tui undo /p"),
        (partial(override_samples, P, [7], "rewrite quality", (3,)), "middo-tui override /p --rewrite quality 3"),
        (partial(override_samples, P, [7, 8], "drop", (0, 2)), "middo-tui override /p --drop 0 2"),
        (partial(export, P, Wanted(1, "sharegpt")), "middo-tui export /p OUT --round 1 --format sharegpt"),
        (partial(control.auto, P, True), ""),
        (partial(control.pause, Path("/data/my project")), "middo-tui pause '/data/my project'"),
        (lambda: "", ""),
    ],
)
def test_what_was_done_as_a_command_that_exists(verb: Callable[[], str], line: str) -> None:
    assert equivalent(verb) == line
    if line:
        _, name, *arguments = shlex.split(line)
        command = main.commands[name]
        command.make_context(name, arguments, resilient_parsing=True)
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in arguments if word.startswith("--")} <= known
