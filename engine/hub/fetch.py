"""Starts the process that fetches what is on a hub (``engine.hub.download``) and hears how far it is."""

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

from engine import environment, errors
from engine.errors import DataError
from engine.formats.source import Source, source_of
from engine.hub.layout import Undecided
from engine.hub.names import FORM, SCHEME, Name, parse


@dataclass(frozen=True, slots=True)
class Progress:
    """``done`` of ``total`` bytes have come. ``total`` is 0 and ``left_s`` None until they can be told."""

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
    """Somebody gave it up."""


class Fetch:
    """A dataset (``hf://datasets/…``) or a model (``hf://owner/name``) of a hub on its way here."""

    def __init__(self, address: str) -> None:
        self._name = address.removeprefix(SCHEME).removeprefix("hf://")
        self._stopped = False
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  # closed when the process has ended
        self._process = subprocess.Popen(
            [sys.executable, "-m", "engine.hub.download", address],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=environment.for_children(),
            text=True,
        )

    def wait(self, said: OnProgress) -> Source:
        """The files, when they are here; of a model its folder.

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
        """Give it up; what has come whole stays in the cache. From any thread; nothing happens when it has ended."""
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
    """What ``text`` means: a path that is here, or a hub's dataset, of which ``split`` is read unless it names one.

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
    """The data that ``text`` means, fetched first if it is a hub's.

    Raises:
        DataError: it is neither a path nor a dataset, or cannot be had.
    """
    found = named(text, split)
    return source_of(found) if isinstance(found, Path) else Fetch(found.written).wait(said)
