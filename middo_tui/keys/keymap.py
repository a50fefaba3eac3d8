"""A person's own keys: checked against every screen's key table, then put in place of the usual ones.

An id that there is not, a key that there is not and two actions on one key of one screen are each refused with a
sentence; what is left is used. Keys that a screen shares by itself (one works when the other does not) may go on
sharing.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from msgspec import Struct
from msgspec.structs import replace
from textual.keys import KEY_NAME_REPLACEMENTS, Keys, key_to_character

from middo_tui.keys import tables as keys
from middo_tui.keys.tables import Key
from middo_tui.look import preferences
from middo_tui.look.preferences import Preferences

Table = tuple[Key[Any], ...]
Remapped = dict[str, tuple[str, ...]]
OURS = {"esc": "escape", "↓": "down", "↑": "up", "←": "left", "→": "right"}
MODIFIED = re.compile(r"^((?:ctrl|alt|shift|super|meta|hyper)[+-])+(?=.)")
RENAMED = {
    "app.leave": "app.quit",
    "quarantine.again": "quarantine.reload",
    "review.again": "review.send_back",
    "review.go_on": "review.resume",
    "samples.turn": "samples.reverse",
    "settings.again": "settings.reload",
    "settings.usual": "settings.reset",
    "thresholds.anew": "thresholds.redo",
}
"""Actions by an older name, which a person's keys.toml may still hold."""
NAMED = frozenset(key.value for key in Keys) | {f"f{n}" for n in range(1, 25)}


class Checked(Struct, frozen=True):
    """``keys``: what may be used, in Textual's names. ``also``: rows that share a usual key with one of those and keep
    theirs. ``warnings``: what was refused, and why.
    """

    keys: Remapped
    also: Remapped
    warnings: tuple[str, ...]

    def textual(self) -> dict[str, str]:
        """As ``App.set_keymap`` takes it. It removes a remapped row's usual keys altogether, for all rows that share
        them, so those are said again.
        """
        return {id: ",".join(names) for id, names in {**self.also, **self.keys}.items()}


def tables() -> dict[str, Table]:
    """The key table of every screen, and under ``app`` of all screens."""
    screens = (*keys.SCREENS, *keys.UNNUMBERED)
    return {"app": keys.EVERYWHERE, **{screen: keys.of_screen(screen) for screen in screens}}


def default_keys(all_tables: Mapping[str, Table]) -> Remapped:
    """Id by id the keys without any remapping."""
    return {f"{screen}.{keys.plain_id(row)}": row.keys for screen, table in all_tables.items() for row in table}


def check(wanted: Mapping[str, tuple[str, ...]]) -> Checked:
    """What of ``wanted`` can be used."""
    place = preferences.folder() / "keys.toml"
    all_tables = tables()
    before = default_keys(all_tables)
    taken, warnings = _known(wanted, before)
    screens = {screen: [f"{name}.{keys.plain_id(row)}" for name in ("app", screen) for row in all_tables[name]]
               for screen in all_tables if screen != "app"}  # fmt: skip
    while clash := _clash(taken, before, screens.values()):
        key, one, other = clash
        refused = [id for id in (one, other) if taken.pop(id, None)]
        kept = " and ".join(f'"{id}"' for id in refused)
        warnings.append(f'"{keys.name(key)}" would be both {one} and {other}: {kept} keeps its default key.')
    also = {id: before[id] for ids in screens.values() for mine in taken for id in ids
            if mine in ids and id not in taken and set(before[id]) & set(before[mine])}  # fmt: skip
    return Checked(taken, also, tuple(f"{place}: {text}" for text in warnings))


def with_warnings(now: Preferences, checked: Checked) -> Preferences:
    """``now`` with what was refused."""
    return replace(now, warnings=(*now.warnings, *checked.warnings))


def long_name(key: str) -> str | None:
    """``?`` as ``question_mark``, ``ctrl-x`` as ``ctrl+x``; None for what is no key."""
    found = MODIFIED.match(key)
    modifiers = found.group().replace("-", "+") if found else ""
    base = key[len(modifiers) :]
    base = OURS.get(base, base)
    if len(base) == 1:
        named = base if base.isalnum() else re.sub(r"[ -]", "_", unicodedata.name(base, "").lower())
        return modifiers + KEY_NAME_REPLACEMENTS.get(named, named) if named else None
    whole = modifiers + base
    return whole if {base, whole} & NAMED or base in keys.NAMES or key_to_character(base) else None


def _known(wanted: Mapping[str, tuple[str, ...]], before: Remapped) -> tuple[Remapped, list[str]]:
    """What of ``wanted`` names an action and keys that there are."""
    taken: Remapped = {}
    warnings = []
    for written, said in wanted.items():
        names = [long_name(key) for key in said]
        id = RENAMED.get(written, written)
        if id != written:
            warnings.append(f'"{written}" is now called "{id}". Rename it.')
        if id not in before:
            near = get_close_matches(id, before, n=1, cutoff=0.4)
            meant = f" Did you mean {near[0]}?" if near else ""
            warnings.append(f'unknown action "{id}".{meant} `middo-tui keys` lists all actions.')
        elif None in names:
            warnings.append(f'"{id}": unknown key {said[names.index(None)]!r}.')
        elif keys.ALWAYS_LEAVES in names:
            warnings.append(f'"{id}": {keys.name(keys.ALWAYS_LEAVES)} always quits the app and cannot be remapped.')
        else:
            taken[id] = tuple(dict.fromkeys(name for name in names if name))
    return taken, warnings


def _clash(taken: Remapped, before: Remapped, screens: Iterable[list[str]]) -> tuple[str, str, str] | None:
    """The first key that two actions of a screen would have, at least one of them by remapping."""
    for ids in screens:
        by_key: dict[str, list[str]] = {}
        for id in ids:
            for key in taken.get(id, before[id]):
                by_key.setdefault(key, []).append(id)
        for key, owners in by_key.items():
            fresh = [id for id in owners if id in taken]
            if fresh and len(owners) > 1:
                other = next(id for id in owners if id != fresh[0])
                if not set(before[fresh[0]]) & set(before[other]):
                    return key, fresh[0], other
    return None
