"""The Review screen at a real terminal: dropped lines and kills lose no decision, the editor is lent the terminal.

It opens with what did not improve: #1001.
"""

from __future__ import annotations

import os
import random
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.store import connect
from tests.middo_tui.test_app_in_terminal import hostile_bytes, leave
from tests.support.hostile import CORPUS
from tests.support.reviews import reviewing
from tests.support.terminal import Terminal, open_app

EDITS = """
import sys
from pathlib import Path
path = Path(sys.argv[-1])
path.write_text(path.read_text(encoding="utf-8").replace("fact 1", "story 1"), encoding="utf-8")
"""


@pytest.fixture
def opened() -> Iterator[Callable[..., Terminal]]:
    """Opens the Review screen, and ends what a failing test left behind."""
    terminals: list[Terminal] = []

    def open_one(project: Path, first: str, **options: object) -> Terminal:
        terminals.append(open_app(project, **options))
        terminals[-1].wait_for("quit")
        terminals[-1].send(b"4")
        terminals[-1].wait_for(first)
        return terminals[-1]

    yield open_one
    for terminal in terminals:
        terminal.close()


def decided(project: Path) -> tuple[int, int]:
    """Rewrites that are decided, and what the journal says of that."""
    db = connect.reader(project)
    try:
        states = db.execute("SELECT count(*) FROM rewrite WHERE state IN ('accepted', 'rejected')").fetchone()[0]
        return int(states), int(db.execute("SELECT count(*) FROM decision WHERE undone=0").fetchone()[0])
    finally:
        db.close()


def sitting(
    project: Path, opened: Callable[..., Terminal], kills: int, seed: int, most: int = 6
) -> list[tuple[int, int, int]]:
    """Decide with the app, and end it by a hang-up or a kill in the middle, ``kills`` times.

    Returns:
        Each time: the decisions that the screen had confirmed, those that the store holds, those that were typed.
    """
    rng = random.Random(seed)
    found = []
    for _ in range(kills):
        before, _ = decided(project)
        terminal = opened(project, "undecided")
        typed = rng.randrange(1, most)
        shown = 0
        for n in range(typed):
            terminal.send(rng.choice([b"a", b"rr", b"r3"]))
            if rng.random() < 0.5:
                terminal.wait_for(f"  {before + n + 1:,} / ")
                shown = n + 1
        if rng.random() < 0.5:
            os.kill(terminal.pid, signal.SIGKILL)
            terminal.wait()
            os.close(terminal.fd)
        else:
            terminal.hang_up()
        states, entries = decided(project)
        assert states == entries, "a decision and its entry are one"
        found.append((shown, states - before, typed))
    return found


def test_no_decision_is_lost_to_hang_ups_and_kills(tmp_path: Path, opened: Callable[..., Terminal]) -> None:
    reviewing(tmp_path / "p", 90)
    for shown, stored, typed in sitting(tmp_path / "p", opened, kills=10, seed=1):
        assert shown <= stored <= typed


def test_keys_typed_in_one_go_are_all_done(tmp_path: Path, opened: Callable[..., Terminal]) -> None:
    reviewing(tmp_path / "p", 9)
    terminal = opened(tmp_path / "p", "#1001")
    terminal.send(b"ar2r3aarru")
    terminal.wait_for("Undone")
    terminal.wait_for("5 / 9")
    leave(terminal)
    assert decided(tmp_path / "p") == (5, 5)


def test_the_editor_gets_the_terminal_and_its_text_comes_back_whole(
    tmp_path: Path, opened: Callable[..., Terminal]
) -> None:
    keys = reviewing(tmp_path / "p", 3)
    script = tmp_path / "edit.py"
    script.write_text(EDITS, encoding="utf-8")
    terminal = opened(tmp_path / "p", "#1001", env={"EDITOR": f"{sys.executable} {script}", "VISUAL": ""})
    terminal.wait_for("fact")
    terminal.send(b"E")
    terminal.wait_for("not rechecked")
    terminal.send(b"E")
    terminal.wait_for("Nothing was changed")
    leave(terminal)
    db = connect.reader(tmp_path / "p")
    row = db.execute("SELECT prompt, response FROM rewrite WHERE sample_id=?", (keys[1][0],)).fetchone()
    db.close()
    assert tuple(row) == ("Tell me story 1 about active volcanoes", "Volcano 1 is hot inside.\nIt is very hot.")


def test_an_editor_that_fails_changes_nothing(tmp_path: Path, opened: Callable[..., Terminal]) -> None:
    reviewing(tmp_path / "p", 3)
    terminal = opened(tmp_path / "p", "#1001", env={"EDITOR": "false", "VISUAL": ""})
    terminal.wait_for("fact")
    terminal.send(b"E")
    terminal.wait_for("exit code 1")
    leave(terminal)


def test_no_hostile_byte_of_a_rewrite_reaches_the_terminal(tmp_path: Path, opened: Callable[..., Terminal]) -> None:
    bad = "\n".join(CORPUS.values()).encode("utf-8", "replace").decode()
    reviewing(tmp_path / "p", 3, old=lambda i: (f"{i}{bad}", bad), new=lambda i: (f"{bad}{i}", f"{bad} more"))
    terminal = opened(tmp_path / "p", "#1001", columns=140, rows=60)
    terminal.wait_for("hidden characters")
    terminal.send(b"e")
    terminal.wait_for("other box")
    terminal.send(b"\x1b")
    terminal.wait_for("list", since=len(terminal.seen))
    terminal.send(b"\t")
    terminal.settle(0.5)
    leave(terminal)
    assert hostile_bytes(terminal.seen) == []


def test_copying_sends_clean_text_and_only_that(tmp_path: Path, opened: Callable[..., Terminal]) -> None:
    import base64

    reviewing(tmp_path / "p", 3, new=lambda i: (f"new\x1b]0;owned\x07{i}", "fine"))
    terminal = opened(tmp_path / "p", "#1001")
    terminal.wait_for("owned")
    terminal.send(b"y")
    terminal.wait_for("Copied")
    leave(terminal)
    _, _, rest = terminal.seen.partition(b"\x1b]52;c;")
    text = base64.b64decode(rest.partition(b"\x07")[0]).decode()
    assert text == "new␛]0;owned␇1\n\nfine"


def test_nothing_looks_decided_before_the_store_has_it(tmp_path: Path, opened: Callable[..., Terminal]) -> None:
    reviewing(tmp_path / "p", 6)
    terminal = opened(tmp_path / "p", "#1001")
    other = connect.writer(tmp_path / "p")
    other.execute("BEGIN IMMEDIATE")  # somebody else writes: the decision has to wait
    terminal.wait_for("  0 / 6")
    since = len(terminal.seen)
    terminal.send(b"a?")
    terminal.wait_for("Accept, then go to", since)
    assert b"#1003" not in terminal.seen[since:]
    other.execute("COMMIT")
    other.close()
    terminal.send(b"\x1b")
    terminal.wait_for("#1003", since)
    terminal.wait_for("  1 / 6", since)
    leave(terminal)
