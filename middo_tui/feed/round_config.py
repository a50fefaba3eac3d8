"""The settings that a round ran with, as rows of text: what differs from the defaults, and from the round before."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache

from engine.config import schema as configs
from engine.config.defaults import rounded, shown
from middo_tui.terminal import guard

VALUE_LIMIT = 200


Settings = tuple[tuple[str, str], ...]
"""(``section.key``, value), by key; both clean and on one line."""


def settings(snapshot: str) -> Settings:
    """All settings of a snapshot; empty when it cannot be read (then nothing can be said about it)."""
    try:
        found = json.loads(snapshot)
    except ValueError:
        return ()
    return tuple(sorted(_flat(found))) if isinstance(found, Mapping) else ()


def _flat(tree: Mapping[str, object], above: str = "") -> list[tuple[str, str]]:
    out = []
    for key, value in tree.items():
        name = f"{above}{key}"
        if isinstance(value, Mapping) and value:
            out += _flat(value, f"{name}.")
        else:
            written = shown(value) if isinstance(value, float) else json.dumps(rounded(value), ensure_ascii=False)
            out.append((guard.one_line(name, 60), guard.one_line(written, VALUE_LIMIT)))
    return out


@lru_cache(1)
def defaults() -> Settings:
    """Every setting as it is when nobody sets it."""
    return settings(configs.snapshot(configs.Config()))


def differing(now: Settings, before: Settings) -> tuple[tuple[str, str, str], ...]:
    """(key, now, before) of the settings that are not the same; what is missing on a side is empty."""
    ours, theirs = dict(now), dict(before)
    keys = sorted(ours.keys() | theirs.keys())
    return tuple(
        (key, ours.get(key, ""), theirs.get(key, "")) for key in keys if ours.get(key, "") != theirs.get(key, "")
    )
