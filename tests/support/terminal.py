"""The app at a real pseudo terminal: what Pilot cannot see (bytes, hostile sequences, hang-ups). No sleeps: deadlines.

The pretend terminal answers cursor-position requests as a real one does, unless it is told to be mute.
"""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios
import time
from pathlib import Path

from tests.support import ROOT

DEADLINE_S = 180.0
REQUEST = b"\x1b[6n"
CODE = """
import sys
from pathlib import Path
from middo_tui.app import MiddoApp
sys.exit(MiddoApp(Path(sys.argv[1])).start())
"""


class Terminal:
    """A child with a terminal of its own. ``seen`` holds every byte it wrote."""

    def __init__(
        self, argv: list[str], columns: int = 80, rows: int = 24, mute: bool = False, env: dict[str, str] | None = None
    ) -> None:
        self.mute = mute
        self.most = 65536  # bytes taken at once
        self.seen = b""
        self.answered = 0
        self.status: int | None = None
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            inherited = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "NO_COLOR")}
            paths = os.pathsep.join([str(ROOT), inherited.get("PYTHONPATH", "")]).rstrip(os.pathsep)
            color = {"TERM": "xterm-256color", "COLORTERM": "truecolor", "PYTHONPATH": paths}
            os.execvpe(argv[0], argv, {**inherited, **color, **(env or {})})  # noqa: S606
        self.resize(columns, rows)

    def resize(self, columns: int, rows: int) -> None:
        """Another size."""
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def pump(self, timeout_s: float) -> bool:
        """Take what the child writes within ``timeout_s``; False when it has ended."""
        ready, _, _ = select.select([self.fd], [], [], timeout_s)
        if not ready:
            return True
        try:
            data = os.read(self.fd, self.most)
        except OSError:  # EIO: the other side is closed
            data = b""
        self.seen += data
        if data and not self.mute:
            self.answer()
        return bool(data)

    def answer(self) -> None:
        """Every request that has come and was not answered yet."""
        for _ in range(self.seen.count(REQUEST) - self.answered):
            os.write(self.fd, b"\x1b[1;1R")
            self.answered += 1

    def wait_for(self, marker: str, since: int = 0) -> None:
        """Until ``marker`` was written after byte ``since``; fails with what was seen instead."""
        deadline = time.monotonic() + DEADLINE_S
        while marker.encode() not in self.seen[since:]:
            alive = self.pump(max(0.0, min(0.5, deadline - time.monotonic())))
            if marker.encode() in self.seen[since:]:
                return
            if not alive or time.monotonic() > deadline:
                raise AssertionError(f"{marker!r} never came; the end of what came: {self.seen[-2000:]!r}")

    def settle(self, quiet_s: float = 1.2) -> None:
        """Until nothing was written for ``quiet_s``: longer than the app polls."""
        before = -1
        while before != len(self.seen):
            before = len(self.seen)
            self.pump(quiet_s)

    def send(self, keys: bytes) -> None:
        """Type."""
        os.write(self.fd, keys)

    def wait(self) -> int:
        """Until the child ends; its exit code."""
        deadline = time.monotonic() + DEADLINE_S
        while self.pump(0.2):
            if time.monotonic() > deadline:
                raise AssertionError(f"still running; the end of what came: {self.seen[-2000:]!r}")
        return self._reap()

    def hang_up(self) -> None:
        """Close the terminal, as a dropped line does."""
        os.close(self.fd)
        self._reap()

    def _reap(self) -> int:
        ended = os.pidfd_open(self.pid)
        ready, _, _ = select.select([ended], [], [], DEADLINE_S)
        os.close(ended)
        if not ready:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.status = -signal.SIGKILL
            raise AssertionError(f"the app had not ended after {DEADLINE_S:.0f} s")
        _, status = os.waitpid(self.pid, 0)
        self.status = os.waitstatus_to_exitcode(status)
        return self.status

    def close(self) -> None:
        """End the child, whatever it does."""
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            self._reap()
            os.close(self.fd)


def open_app(project: Path, **options: object) -> Terminal:
    """The app on ``project`` in a terminal."""
    return Terminal([sys.executable, "-c", CODE, str(project)], **options)  # type: ignore[arg-type]
