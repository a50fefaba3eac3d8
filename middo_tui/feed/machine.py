"""Use and memory of each device over the last half hour, read incrementally.

Readings are grouped into intervals of ``PART_S`` seconds of wall time, so that a chart moves seldom and by whole steps.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from middo_tui.feed.view import Curve, Series

PART_S = 10
PARTS = 180
"""Half an hour."""
MOST_READ = 5_000
"""Rows read at first; the worker keeps no more."""
MOST_DEVICES = 4
PARTS_PER_MINUTE = 60 // PART_S

_Held = dict[str, dict[int, tuple[float, float]]]


class MachineHistory:
    """Use and memory per device, in percent. ``name``: gives a device's name on the screen."""

    def __init__(self, name: Callable[[str], str]) -> None:
        self._name = name
        self._last = 0
        self._use: _Held = {}
        self._memory: _Held = {}
        self._shown: tuple[Series, ...] = ()

    def read(self, db: sqlite3.Connection) -> tuple[Series, ...]:
        """The curves up to the newest reading; the same object as long as there is no newer one."""
        newest = db.execute("SELECT max(id) FROM gauge").fetchone()[0] or 0
        if newest == self._last:
            return self._shown
        after = max(self._last, newest - MOST_READ) if newest > self._last else 0
        columns = "SELECT at, device, util, memory_used, memory_total FROM gauge WHERE id>? ORDER BY id"
        for at, device, use, used, total in db.execute(columns, (after,)):
            part, name = int(at // PART_S), self._name(device)
            _put(self._use, name, part, use)
            _put(self._memory, name, part, 100.0 * used / total if total else 0.0)
        self._last = newest
        self._forget()
        shown = (Series("use", _curves(self._use)), Series("memory", _curves(self._memory)))
        self._shown = tuple(one for one in shown if one.curves)
        return self._shown

    def _forget(self) -> None:
        """Drop what is older than the chart."""
        newest = max((max(parts) for parts in self._use.values()), default=0)
        for held in (self._use, self._memory):
            for name, parts in list(held.items()):
                for part in [part for part in parts if part <= newest - PARTS]:
                    del parts[part]
                if not parts:
                    del held[name]


def _put(held: _Held, name: str, part: int, value: float) -> None:
    parts = held.setdefault(name, {})
    low, high = parts.get(part, (value, value))
    parts[part] = (min(low, value), max(high, value))


def _curves(held: _Held) -> tuple[Curve, ...]:
    """A curve per device over ``PARTS`` intervals, the newest last."""
    newest = max((max(parts) for parts in held.values()), default=0)
    out = []
    for at, (name, parts) in enumerate(sorted(held.items())[:MOST_DEVICES]):
        points = tuple((part - newest + PARTS, low, high) for part, (low, high) in sorted(parts.items()))
        mark = name.removeprefix("GPU ").split(" ", 1)[0][:3]
        out.append(Curve(at, points, PARTS, name, mark))
    return tuple(out)
