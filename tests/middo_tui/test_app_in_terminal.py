"""The app at a real pseudo terminal: bytes, hostile text, mute terminals, dropped lines. Counts, never times."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.store.connect import transaction
from engine.store.rows import Gauge
from middo_tui.app import supported
from middo_tui.terminal.pacing import GIVE_UP
from tests.support import ROOT, stores
from tests.support.hostile import CORPUS, NEVER, ONE_MEGABYTE
from tests.support.stores import Store
from tests.support.terminal import REQUEST, Terminal

LIVE_FRAME_BYTES = 2_000  # 80 x 24; an average frame has 1.0 KB, two a second stay within 3 KB/s
EVERYTHING = "\n".join(CORPUS.values())
MARK = "the-end"


def leave(terminal: Terminal) -> None:
    terminal.send(b"q")
    assert terminal.wait() == 0


def hostile_bytes(seen: bytes) -> list[bytes]:
    """What the data brought along; Textual's own pointer-shape sequence (OSC 22) is not data."""
    own = re.sub(rb"\x1b\]22;[a-z-]+\x07", b"", seen)
    return [bad for bad in NEVER if bad in own]


def hostile_store(project: Path) -> Store:
    """Every text of the Loop screen is hostile: names, events, errors, devices, stages."""
    name = CORPUS["osc0 sets the title"] + CORPUS["bidi override"] + CORPUS["rich markup"]
    store = Store(project, name=name, model="x/" + CORPUS["csi clears the screen"] + CORPUS["zero width"])
    store.plan().round(0, 2)
    store.job(0, "judge", "failed", 1, 2, EVERYTHING.encode("utf-8", "replace").decode() + MARK)
    for text in CORPUS.values():
        store.event(text.encode("utf-8", "replace").decode(), "error", "judge\x1b[2J")
    return store.event(ONE_MEGABYTE, stage="train")


def test_after_a_stop_it_paints_goes_on_and_leaves_the_terminal_as_it_was(
    tmp_path: Path, opened: Callable[..., Terminal]
) -> None:
    stores.finished(tmp_path / "p")
    terminal = opened(tmp_path / "p")
    terminal.wait_for("middo")
    terminal.settle()
    for _ in range(2):
        os.kill(terminal.pid, signal.SIGSTOP)
        seen = len(terminal.seen)
        os.kill(terminal.pid, signal.SIGCONT)
        terminal.wait_for("middo", since=seen)
    seen = len(terminal.seen)
    terminal.resize(100, 30)
    terminal.wait_for("middo", since=seen)
    leave(terminal)
    assert termios.tcgetattr(terminal.fd)[3] & termios.ECHO


def test_no_hostile_byte_reaches_the_terminal(tmp_path: Path, opened: Callable[..., Terminal]) -> None:
    hostile_store(tmp_path / "p")
    terminal = opened(tmp_path / "p", columns=140, rows=60)
    terminal.wait_for("C sel")
    terminal.wait_for("enter")
    leave(terminal)
    assert hostile_bytes(terminal.seen) == []
    assert "␛]0;owned␇".encode() in terminal.seen
    assert "⟨U+202E⟩".encode() in terminal.seen
    assert b"[red]b[/red]" in terminal.seen
    assert len(terminal.seen) < 200_000  # the megabyte was cut before it was painted


COMMAND = """
import gc, sys
from middo_tui.cli.commands import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    print("left", end.code, "middo_tui.text.status" in sys.modules, gc.isenabled(), gc.get_freeze_count() > 10_000)
"""


def test_the_command_opens_the_app_without_gathering_what_status_prints(tmp_path: Path) -> None:
    """That goes through all signals of all rounds; the collector then has no more than the app itself to go through."""
    stores.failed(tmp_path / "p")
    terminal = Terminal([sys.executable, "-c", COMMAND, str(tmp_path / "p")])
    try:
        terminal.wait_for("enter")
        leave(terminal)
        assert b"left 0 False True True" in terminal.seen
    finally:
        terminal.close()


def test_no_hostile_byte_of_a_device_reaches_the_terminal(tmp_path: Path, opened: Callable[..., Terminal]) -> None:
    store = stores.running(tmp_path / "p")
    store.gauge(Gauge(0, 0, "cuda:1\x1b]0;owned\x07\u202e\x9b2J", 1.0, 1, 2, None, None))
    terminal = opened(tmp_path / "p", columns=140, rows=60)
    terminal.wait_for("GPU 1␛")
    leave(terminal)
    assert hostile_bytes(terminal.seen) == []


def test_lone_surrogates_in_the_store_neither_crash_nor_pass(tmp_path: Path, opened: Callable[..., Terminal]) -> None:
    store = stores.failed(tmp_path / "p")
    with transaction(store.db):
        store.db.execute("UPDATE job SET error=CAST(x'61eda08062' AS TEXT) WHERE state='failed'")
    terminal = opened(tmp_path / "p")
    terminal.wait_for("quit")
    leave(terminal)
    assert hostile_bytes(terminal.seen) == []


def test_hostile_text_in_a_question_and_in_an_answer(tmp_path: Path, opened: Callable[..., Terminal]) -> None:
    project = tmp_path / "p\x1b]52;c;cm0=\x07\u202e"
    stores.waiting(project)
    terminal = opened(project)
    terminal.wait_for("your turn")
    terminal.send(b"A")
    terminal.wait_for("Accept all 15")
    terminal.send(b"n")
    leave(terminal)
    assert hostile_bytes(terminal.seen) == []


def test_a_live_frame_is_small(tmp_path: Path, opened: Callable[..., Terminal]) -> None:
    store = stores.running(tmp_path / "p")
    terminal = opened(tmp_path / "p")
    terminal.wait_for("41,200")
    terminal.settle()
    for step in range(181, 186):
        since = len(terminal.seen)
        store.metrics(1, step, first=step).job(1, "train", "running", step, stores.STEPS)
        terminal.wait_for(f"{step} / 400", since)
        terminal.settle(0.7)  # longer than between two looks at the store
        assert len(terminal.seen) - since <= LIVE_FRAME_BYTES


def test_many_charts_stay_within_the_bytes_of_two_frames_a_second(
    tmp_path: Path, opened: Callable[..., Terminal]
) -> None:
    """At 140 x 40, where all figures are drawn: 3 KB/s."""
    store = stores.running(tmp_path / "p")
    terminal = opened(tmp_path / "p", columns=140, rows=40)
    terminal.wait_for("41,200")
    terminal.settle()
    begun = len(terminal.seen)
    for step in range(181, 186):
        since = len(terminal.seen)
        store.metrics(1, step, first=step).job(1, "train", "running", step, stores.STEPS)
        terminal.wait_for(f"{step} / 400", since)
        terminal.settle(0.7)  # longer than between two looks at the store
    assert len(terminal.seen) - begun <= 5 * 1_500


def test_a_terminal_that_never_answers_still_gets_every_frame(tmp_path: Path, opened: Callable[..., Terminal]) -> None:
    store = stores.running(tmp_path / "p")
    terminal = opened(tmp_path / "p", mute=True)
    terminal.wait_for("41,200")
    for step in range(181, 187):
        store.metrics(1, step, first=step).job(1, "train", "running", step, stores.STEPS)
        terminal.wait_for(f"{step} / 400")
    assert terminal.seen.count(REQUEST) <= GIVE_UP
    leave(terminal)


def test_the_link_gauge_shows_the_answer_time(tmp_path: Path, opened: Callable[..., Terminal]) -> None:
    store = stores.running(tmp_path / "p")
    terminal = opened(tmp_path / "p")
    terminal.wait_for("41,200")
    terminal.settle()
    terminal.mute = True  # a line that takes its time
    store.event("one")
    terminal.wait_for("one")
    terminal.settle(0.1)
    terminal.mute = False
    terminal.answer()
    store.event("two")
    terminal.wait_for("link ")
    leave(terminal)


def test_leaving_a_run_says_that_it_goes_on(tmp_path: Path, opened: Callable[..., Terminal]) -> None:
    stores.running(tmp_path / "p")
    terminal = opened(tmp_path / "p")
    terminal.wait_for("quit (run continues)")
    leave(terminal)
    said = terminal.seen.replace(b"\r\n", b"")
    assert f"The run continues in the background. Watch it: middo-tui {tmp_path / 'p'}".encode() in said


@pytest.mark.parametrize("hangup", [signal.SIG_DFL, signal.SIG_IGN], ids=["plain", "nohup"])
def test_a_dropped_line_ends_the_app_and_nothing_else(
    hangup: signal.Handlers, tmp_path: Path, opened: Callable[..., Terminal]
) -> None:
    before = signal.signal(signal.SIGHUP, hangup)  # what the app inherits
    stores.running(tmp_path / "p")
    worker = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True)
    terminal = opened(tmp_path / "p")
    signal.signal(signal.SIGHUP, before)
    terminal.wait_for("running")
    terminal.hang_up()
    assert worker.poll() is None
    worker.communicate(b"\n")


def test_no_color_sends_no_colour(tmp_path: Path, opened: Callable[..., Terminal]) -> None:
    stores.running(tmp_path / "p")
    terminal = opened(tmp_path / "p", env={"NO_COLOR": "1"})
    terminal.wait_for("quit (run continues)")
    leave(terminal)
    assert not re.search(rb"\x1b\[[0-9;]*(?:38|48);", terminal.seen)
    assert not re.search(rb"\x1b\[(?:[0-9;]*;)?(?:3[0-7]|4[0-7]|9[0-7])m", terminal.seen)


@pytest.mark.parametrize("term", ["dumb", "unknown", ""])
def test_terminals_that_cannot_show_the_app_are_refused(term: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", term)
    assert "TERM is" in (supported() or "")


def test_ordinary_terminals_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    assert supported() is None


def test_the_app_survives_an_interrupt_from_the_keyboard_without_harm(
    tmp_path: Path, opened: Callable[..., Terminal]
) -> None:
    store = stores.running(tmp_path / "p")
    terminal = opened(tmp_path / "p")
    terminal.wait_for("running")
    os.kill(terminal.pid, signal.SIGTERM)
    terminal.pump(5.0)
    assert store.db.execute("SELECT want FROM plan").fetchone()[0] == "run"


LIGHT = """
import sys
import textual.app
bare = set(sys.modules)
import middo_tui.app
heavy = {"torch", "transformers", "datasets", "vllm", "numpy", "pandas", "scipy", "sklearn", "http.client", "urllib3",
         "requests", "httpx", "openai", "sqlite_utils", "trl", "peft", "accelerate", "huggingface_hub"}
print(sorted(heavy & set(sys.modules)), len(set(sys.modules) - bare))
"""


def test_the_app_imports_nothing_heavy() -> None:
    done = subprocess.run([sys.executable, "-c", LIGHT], cwd=ROOT, capture_output=True, text=True, check=True)
    heavy, _, count = done.stdout.strip().rpartition(" ")
    assert heavy == "[]"
    assert int(count) <= 134, done.stdout
