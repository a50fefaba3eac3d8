"""The footer: the keys that work now, and what each does now."""

from __future__ import annotations

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
