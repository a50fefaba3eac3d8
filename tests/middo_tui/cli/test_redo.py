"""``run --redo`` asks a person before it discards decisions, and goes on without a terminal."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from engine.store import commands
from engine.store.connect import reader
from middo_tui.cli.redo import forget
from tests.support.reviews import reviewing
from tests.support.terminal import Terminal

ASKS = """
import sys
from pathlib import Path
from middo_tui.cli.redo import forget
forget(Path(sys.argv[1]), "verify", ask=sys.argv[2] == "ask")
print("went on")
"""


def decided(project: Path) -> int:
    db = reader(project)
    try:
        return int(db.execute("SELECT count(*) FROM rewrite WHERE state='accepted'").fetchone()[0])
    finally:
        db.close()


@pytest.mark.parametrize(("answer", "code", "left"), [("n", 1, 3), ("", 1, 3), ("y", 0, 0)])
def test_a_person_is_asked_before_decisions_are_discarded(tmp_path: Path, answer: str, code: int, left: int) -> None:
    keys = reviewing(tmp_path / "p", 6)
    commands.decide(tmp_path / "p", 0, keys[:3], "accepted")
    terminal = Terminal([sys.executable, "-c", ASKS, str(tmp_path / "p"), "ask"])
    terminal.wait_for("Discard that and rerun verify? [y/N]")
    assert b"what was decided in review of round 0 is discarded: 3 rewrites" in terminal.seen
    os.write(terminal.fd, f"{answer}\r".encode())
    terminal.wait_for("went on" if code == 0 else "Nothing was changed.")
    assert terminal.wait() == code
    assert decided(tmp_path / "p") == left


def test_nobody_is_asked_where_nothing_is_lost_or_with_yes(tmp_path: Path) -> None:
    keys = reviewing(tmp_path / "p", 6)
    terminal = Terminal([sys.executable, "-c", ASKS, str(tmp_path / "p"), "ask"])
    terminal.wait_for("went on")
    assert terminal.wait() == 0
    commands.decide(tmp_path / "p", 0, keys[:3], "accepted")
    terminal = Terminal([sys.executable, "-c", ASKS, str(tmp_path / "p"), "yes"])
    terminal.wait_for("went on")
    assert terminal.wait() == 0
    assert decided(tmp_path / "p") == 0


def test_a_script_goes_on_and_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys = reviewing(tmp_path / "p", 6)
    commands.decide(tmp_path / "p", 0, keys[:3], "accepted")
    forget(tmp_path / "p", "verify", ask=True)
    assert "! what was decided in review of round 0 is discarded: 3 rewrites" in capsys.readouterr().out
    assert decided(tmp_path / "p") == 0
