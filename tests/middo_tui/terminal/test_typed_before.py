"""What is typed for the wizard does not act on the app that opens behind it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.support import stores
from tests.support.terminal import Terminal

COMMAND = """
import sys
from pathlib import Path
from middo_tui.app import MiddoApp
app = MiddoApp(Path(sys.argv[1]))
print("about to open", flush=True)
sys.stdin.readline()
app.start(afresh=sys.argv[2] == "afresh")
"""


@pytest.mark.parametrize("how", ["afresh", "as usual"])
def test_only_an_app_opened_afresh_drops_what_was_typed_before(tmp_path: Path, how: str) -> None:
    stores.failed(tmp_path / "p")
    terminal = Terminal([sys.executable, "-c", COMMAND, str(tmp_path / "p"), how])
    try:
        terminal.wait_for("about to open")
        terminal.send(b"\n,")  # the line that it waits for, and the key of the Settings screen
        terminal.wait_for("quit")
        terminal.settle()
        assert (b"Settings" in terminal.seen) == (how == "as usual")
        if how == "afresh":
            terminal.send(b",")
            terminal.wait_for("Settings")
    finally:
        terminal.close()
