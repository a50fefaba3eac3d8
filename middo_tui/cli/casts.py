"""Records the documentation's terminal casts: ``python -m middo_tui.cli.casts OUT_DIR [PROJECT]``.

Without PROJECT the demo is run in a new folder first, and recorded too. The files are asciicasts of version 2: a
header, then one line of JSON for each piece of output, with its time in seconds.
"""

from __future__ import annotations

import codecs
import fcntl
import json
import os
import pty
import select
import struct
import sys
import tempfile
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

QUIET_S = 1.0
"""A key is typed when nothing was painted for so long."""
POSITION = b"\x1b[6n"
"""The request that the app paces itself by; a terminal answers it with the cursor's position."""


class Show(NamedTuple):
    """What to record. ``keys`` are typed one by one; ``longest_s``: longer pauses are shortened to it."""

    name: str
    title: str
    arguments: tuple[str, ...]
    keys: tuple[bytes, ...]
    columns: int
    rows: int
    longest_s: float


DEMO = Show("demo", "The whole loop on the demo", ("demo", "middo-demo", "--plain"), (), 110, 30, 0.4)
UP, DOWN, ESC = b"\x1b[A", b"\x1b[B", b"\x1b"
TOUR = Show(
    "tour",
    "A finished project: samples, thresholds, review, rounds, lineage",
    ("middo-demo",),
    (b"2", b"[", b"[", DOWN, DOWN, b"3", b"4", b"{", DOWN, DOWN, DOWN, b"5", UP, b"6", b"\r", DOWN, b"?", ESC, b"q"),
    110,
    30,
    1.5,
)  # fmt: skip


def cast(show: Show, pieces: Iterator[tuple[float, bytes]]) -> Iterator[str]:
    """The lines of the file. ``pieces``: what was written, each with its time in seconds."""
    yield json.dumps({"version": 2, "width": show.columns, "height": show.rows, "title": show.title})
    typed = f"$ middo-tui {' '.join(show.arguments)}\r\n"
    yield json.dumps([0.0, "o", typed])
    decoder = codecs.getincrementaldecoder("utf-8")("replace")  # a piece may end inside a character
    at, before = 0.0, None
    for now, data in pieces:
        at += min(now - before, show.longest_s) if before is not None else show.longest_s
        before = now
        if text := decoder.decode(data):
            yield json.dumps([round(at, 3), "o", text], ensure_ascii=False)


def record(argv: list[str], show: Show, folder: Path, quiet_s: float = QUIET_S) -> Iterator[tuple[float, bytes]]:
    """Run ``argv`` in ``folder`` at a terminal of its own; type the keys, and yield what it writes until it ends."""
    pid, terminal = pty.fork()
    if pid == 0:
        own = {"TERM": "xterm-256color", "COLORTERM": "truecolor", "XDG_CONFIG_HOME": str(folder / "config")}
        dropped = ("COLUMNS", "LINES", "NO_COLOR")
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", show.rows, show.columns, 0, 0))
        os.chdir(folder)
        os.execvpe(argv[0], argv, {**{k: v for k, v in os.environ.items() if k not in dropped}, **own})  # noqa: S606
    keys, begun = list(show.keys), False
    while True:
        ready, _, _ = select.select([terminal], [], [], quiet_s if keys and begun else None)
        if not ready:
            os.write(terminal, keys.pop(0))
            continue
        try:
            data = os.read(terminal, 65536)
        except OSError:  # EIO: the other side is closed
            data = b""
        if not data:
            break
        for _ in range(data.count(POSITION)):
            os.write(terminal, b"\x1b[1;1R")
        begun = True
        yield time.monotonic(), data
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    if code := os.waitstatus_to_exitcode(status):
        raise RuntimeError(f"{' '.join(argv)}: exit code {code}")


def write(show: Show, folder: Path, out: Path) -> Path:
    """Record ``show`` in ``folder``, the parent of the project; returns the path of the cast."""
    argv = [sys.executable, "-m", "middo_tui.cli", *show.arguments]
    lines = list(cast(show, record(argv, show, folder)))
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{show.name}.cast"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def main(argv: list[str]) -> int:
    """OUT_DIR [PROJECT]."""
    if len(argv) not in (1, 2):
        sys.stderr.write("usage: python -m middo_tui.cli.casts OUT_DIR [PROJECT]\n")
        return 2
    out = Path(argv[0]).resolve()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if len(argv) == 2:
            (folder / "middo-demo").symlink_to(Path(argv[1]).resolve())
        for show in (DEMO, TOUR) if len(argv) == 1 else (TOUR,):
            path = write(show, folder, out)
            sys.stdout.write(f"{path}: {path.stat().st_size / 1024:.0f} KiB\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
