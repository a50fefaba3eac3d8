"""Starts the download process (``engine.hub.download``) and reads its progress."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from engine import errors
from engine.errors import DataError
from engine.formats.source import Source, source_of
from engine.hub.layout import Undecided
from engine.hub.names import FORM, SCHEME, Name, parse
from engine.processes import environment


@dataclass(frozen=True, slots=True)
class Progress:
    """``done`` of ``total`` bytes are downloaded. ``total`` is 0 and ``left_s`` None until known."""

    name: str
    done: int
    total: int
    left_s: float | None

    def __str__(self) -> str:
        """``owner/name: 12.3 of 45.6 MB, 20 s left``."""
        if not self.total:
            return f"{self.name}: looking up …"
        text = f"{self.name}: {self.done / 1e6:,.1f} of {self.total / 1e6:,.1f} MB"
        if self.left_s is None:
            return text
        return f"{text}, {self.left_s:.0f} s left" if self.left_s < 90 else f"{text}, {self.left_s / 60:.0f} min left"


OnProgress = Callable[[Progress], None]


class Stopped(DataError):
    """The download was cancelled."""


class Fetch:
    """A running download of a dataset (``hf://datasets/…``) or a model (``hf://owner/name``)."""

    def __init__(self, address: str) -> None:
        self._name = address.removeprefix(SCHEME).removeprefix("hf://")
        self._stopped = False
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  # closed when the process has ended
        self._process = subprocess.Popen(
            [sys.executable, "-m", "engine.hub.download", address],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=environment.without_secrets(environment.for_children(), but=environment.HUB_TOKENS),
            text=True,
        )

    def wait(self, said: OnProgress) -> Source:
        """Wait for the download. Returns a dataset's files, or a model's folder.

        Raises:
            DataError: why it cannot be had.
            Stopped: ``stop`` was called.
        """
        said_there = self._process.stdout
        if said_there is None:
            raise RuntimeError("the process was started without a pipe")
        begun: tuple[float, int] | None = None
        told: dict[str, Any] = {}
        try:
            for line in said_there:
                told = json.loads(line)
                if "done" in told:
                    now = time.monotonic()
                    if begun is None and told["total"]:
                        begun = now, told["done"]
                    said(Progress(self._name, told["done"], told["total"], _left(told, begun, now)))
            self._process.wait()
            if "found" in told:
                found = told["found"]
                return Source(found["name"], tuple((name, Path(path)) for name, path in found["files"]))
            raise self._error(told)
        finally:
            self.stop()
            self._process.wait()
            said_there.close()
            self._log.close()

    def stop(self) -> None:
        """Cancel the download; complete files stay in the cache. Thread-safe; does nothing if it has ended."""
        if self._process.poll() is not None:
            return
        self._stopped = True
        self._process.terminate()

    def _error(self, told: dict[str, Any]) -> errors.MiddoError:
        if self._stopped:
            return Stopped(f"{self._name}: cancelled.")
        if told.get("kind") == "Undecided":
            return Undecided(told["text"], tuple(told["choices"]))
        if "kind" in told:
            return getattr(errors, told["kind"])(told["text"])  # type: ignore[no-any-return]
        self._log.seek(0)
        said = self._log.read().decode("utf-8", "replace").splitlines()
        last = said[-1] if said else f"exit code {self._process.returncode}"
        return DataError(f"{self._name}: download failed: {last}")


def _left(told: dict[str, Any], begun: tuple[float, int] | None, now: float) -> float | None:
    if begun is None:
        return None
    came, took = told["done"] - begun[1], now - begun[0]
    return took * (told["total"] - told["done"]) / came if came > 0 else None


def named(text: str, split: str = "") -> Path | Name:
    """``text`` as a local path or a Hub dataset. ``split``: used unless ``text`` names one.

    Raises:
        DataError: it is neither.
    """
    path = Path(text).expanduser()
    if path.exists():
        return path
    if (name := parse(text)) is not None:
        return replace(name, split=name.split or split)
    if text.startswith(SCHEME):
        raise DataError(f"{text}: a Hub dataset is written {FORM}, optionally with the prefix {SCHEME}.")
    spelled = parse(SCHEME + text)
    way = f" For a dataset on the Hub, write {spelled.written}" if spelled else ""
    raise DataError(f"{text}: no such file. Check the path; relative paths start in the current folder.{way}")


def get(text: str, split: str = "", said: OnProgress = lambda _: None) -> Source:
    """The data that ``text`` names, downloaded if it is on the Hub.

    Raises:
        DataError: it is neither a path nor a dataset, or cannot be had.
    """
    found = named(text, split)
    return source_of(found) if isinstance(found, Path) else Fetch(found.written).wait(said)
