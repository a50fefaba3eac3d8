"""The footer: the keys that work now, and what each does now."""

from __future__ import annotations

from textual import events

from middo_tui.keys.tables import key_named
from middo_tui.widgets.lines import Line, Lines, Run, width_of

Keys = tuple[tuple[str, str], ...]


def key_bar(keys: Keys, width: int) -> Line:
    """`` p pause  s step``; the first ones that fit beside the last two (help and leave), which are always there."""
    first, last = keys[:-2], list(keys[-2:])
    shown: list[tuple[str, str]] = []
    for key in first:
        if width_of(_bar([*shown, key, *last])) <= width:
            shown.append(key)
    return _bar([*shown, *last])


def _bar(keys: list[tuple[str, str]]) -> Line:
    runs: list[Run] = []
    for at, (key, label) in enumerate(keys):
        runs += [Run("  " if at else " "), Run(key, "key"), Run(f" {label}", "dim")]
    return tuple(runs)


class KeyBar(Lines[Keys]):
    """``key_bar`` as a widget, one row high."""

    def draw(self, data: Keys, width: int, height: int) -> list[Line]:
        """One row."""
        return [key_bar(data, width)]

    def on_click(self, event: events.Click) -> None:
        """A click on a key or its label presses the key."""
        if key := key_at(key_bar(self.data, self.size.width), event.x):
            self.app.simulate_key(key)


def key_at(bar: Line, x: int) -> str:
    """The key whose name or label is in column ``x``; empty: none, or several keys at once."""
    at, shown = 0, ""
    for run in bar:
        shown = run.text if run.role == "key" else shown
        at += width_of((run,))
        if x < at:
            return key_named(shown) if run.text.strip() else ""
    return ""
