"""Keys of config.toml that were renamed or replaced. Old ones are still read, from files and from old rounds'
snapshots.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

RENAMED = {"loop.min_yield": "min_acceptance"}
"""Old dotted key → new key of the same section."""
ONE_PRICE = "price_per_million"
"""The first release's key for the teacher's price, which did not say of which model."""


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
    if _has_one_price(tables):
        renamed["teacher"] = _with_prices(renamed["teacher"])
    return renamed


def _has_one_price(tables: Mapping[str, Any]) -> bool:
    """Whether the teacher has the old price, and a name to give it to."""
    teacher = tables.get("teacher")
    return isinstance(teacher, Mapping) and bool(teacher.get("model")) and ONE_PRICE in teacher


def _with_prices(teacher: Mapping[str, Any]) -> dict[str, Any]:
    """The section with its one price as that of its model; a price of 0 is none.

    Raises:
        ValueError: both are set.
    """
    if "prices" in teacher:
        raise ValueError(f"[teacher] {ONE_PRICE} is the old form of prices, and both are set. Remove {ONE_PRICE}.")
    rest, price = {key: value for key, value in teacher.items() if key != ONE_PRICE}, teacher[ONE_PRICE]
    told = not isinstance(price, Mapping) or any(price.values())
    return {**rest, "prices": {teacher["model"]: price}} if told else rest


def found(tables: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """The renamed keys that a parsed config.toml uses: (section, old key, new key)."""
    for dotted, new in RENAMED.items():
        section, old = dotted.split(".")
        if isinstance(tables.get(section), Mapping) and old in tables[section]:
            yield section, old, new


def notes(project: Path) -> list[str]:
    """One sentence per old key in the project's config.toml, which must be valid TOML."""
    tables = tomllib.loads((project / "config.toml").read_text(encoding="utf-8-sig"))
    said = [
        f"config.toml: [{section}] {old} is now called {new}; the old name still works"
        for section, old, new in found(tables)
    ]
    one = f"config.toml: [teacher] {ONE_PRICE} is read as the price of [teacher] model; prices has replaced it"
    return [*said, *[one] * _has_one_price(tables)]
