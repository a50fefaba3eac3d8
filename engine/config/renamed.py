"""Keys of config.toml that were renamed. The old name is still read, from files and from snapshots of old rounds."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

RENAMED = {"loop.min_yield": "min_acceptance"}
"""Old dotted key → new key of the same section."""


def current(tables: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a parsed config.toml in which renamed keys have their new names.

    Raises:
        ValueError: a key is set under both names; says which to remove.
    """
    renamed = dict(tables)
    for section, old, new in found(tables):
        if new in renamed[section]:
            raise ValueError(f"[{section}] {old} is the old name of {new}, and both are set. Remove {old}.")
        renamed[section] = {new if key == old else key: value for key, value in renamed[section].items()}
    return renamed


def found(tables: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """The renamed keys that a parsed config.toml uses: (section, old key, new key)."""
    for dotted, new in RENAMED.items():
        section, old = dotted.split(".")
        if isinstance(tables.get(section), Mapping) and old in tables[section]:
            yield section, old, new


def notes(project: Path) -> list[str]:
    """One sentence per old key in the project's config.toml, which must be valid TOML."""
    tables = tomllib.loads((project / "config.toml").read_text(encoding="utf-8-sig"))
    return [
        f"config.toml: [{section}] {old} is now called {new}; the old name still works"
        for section, old, new in found(tables)
    ]
