"""Opens the wizard, or the list of projects, from the command line."""

from __future__ import annotations

import sys
from pathlib import Path
from shlex import quote

from engine.errors import UsageError
from middo_tui.app import supported
from middo_tui.feed.home import ProjectSummary
from middo_tui.look.preferences import load
from middo_tui.screens.wizard.screen import Wizard
from middo_tui.terminal.console import say


def chosen(found: list[ProjectSummary], mouse: bool) -> Path | None:
    """The project that the person opens; None for a new one. Ends the program with 0 when they quit.

    Raises:
        UsageError: this terminal cannot show the list.
    """
    from middo_tui.screens.home import NEW, Home

    if reason := supported():
        raise UsageError(f"{reason} Name a project, e.g. middo-tui status {quote(found[0].folder.name)}")
    folder = Home(found, load(mouse=mouse)).start()
    if folder is None:
        sys.exit(0)
    return None if folder == NEW else folder


def create_in_wizard(folder: Path | None, mouse: bool) -> Path:
    """The folder of the project that was made; ends the program with 0 when the person left without one.

    Raises:
        UsageError: this terminal cannot show the wizard.
    """
    if reason := supported():
        raise UsageError(f"{reason} Create a project with `middo-tui init DIR --data FILE --model MODEL`.")
    found = Wizard(load(mouse=mouse), folder).start()
    if found is None:
        say("No project was created. Start over with `middo-tui`, or try `middo-tui demo`.")
        sys.exit(0)
    return found
