"""Opens the app on a project; prints its status where stdout is not a terminal."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path
from shlex import quote

from msgspec.structs import replace

from engine.errors import UsageError
from engine.plurals import counted
from engine.store import permissions
from engine.store.connect import reader
from middo_tui.terminal.console import say


def terminal() -> bool:
    """Whether a person sits at stdin and stdout."""
    return sys.stdout.isatty() and sys.stdin.isatty() and os.environ.get("TERM") != "dumb"


def open_project(folder: Path, mouse: bool, leave_when_done: bool = False, afresh: bool = False) -> int:
    """Open the app on ``folder``, then on whatever project is opened from it. Returns the exit code.

    ``afresh``: what was typed before the app is there was meant for the wizard.

    Raises:
        UsageError: this terminal cannot show the app.
        StoreError: the project cannot be read.
    """
    if not terminal():
        from middo_tui.cli.plain import describe, what_now
        from middo_tui.text.status import exit_code, gather

        facts = gather(folder)
        say(describe(facts))
        say(f"\n{what_now(folder)}")
        return exit_code(facts)
    code, following = _open(folder, mouse, leave_when_done, afresh)
    while following is not None:
        code, following = _open(following, mouse, leave_when_done=False, afresh=False)
    return code


def _open(folder: Path, mouse: bool, leave_when_done: bool, afresh: bool) -> tuple[int, Path | None]:
    """The exit code, and the project to open next."""
    reader(folder).close()  # an unreadable store is an error in the shell, not in the app
    gc.disable()  # until the app runs: imports produce no garbage worth collecting
    from middo_tui.app import MiddoApp, supported
    from middo_tui.feed import recent
    from middo_tui.look.preferences import load

    if reason := supported():
        raise UsageError(f"{reason} Use `middo-tui status {quote(str(folder))}` instead.")
    preferences = load(mouse=mouse)
    if said := permissions.note(folder):
        preferences = replace(preferences, warnings=(*preferences.warnings, said))
    try:
        recent.remember(folder)
    except OSError as error:
        said = f"{recent.file()}: {error.strerror}. The project will not appear among recently opened projects."
        preferences = replace(preferences, warnings=(*preferences.warnings, said))
    app = MiddoApp(folder, leave_when_done, preferences)
    code = app.start(afresh) or 0
    if app.undone:
        what = counted(app.undone, "change was", "changes were")
        say(f"{what} not saved: the database could not be written. Open the app again and check.", err=True)
    return code, app.next_project
