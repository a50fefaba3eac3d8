"""JSON tables stored by column, as written by pandas and ``datasets``: {"instruction": [...], "output": [...]}."""

from __future__ import annotations

from collections import Counter
from typing import Any

from engine.formats.row_formats import COLUMNS
from engine.plurals import counted

Held = list[tuple[Any, str | None]]
"""Rows, each with the reason why it is none, if so."""


class Ragged(Exception):
    """Columns have different lengths, or two have one name; the message names them."""


def rows_of(value: dict[str, Any]) -> Held | None:
    """The rows of an object that holds a table; None when it is no table but, say, a row itself.

    Known are lists by column, pandas' objects by column (``{"output": {"0": …}}``) and by row
    (``{"0": {"output": …}}``), and its ``split`` (``columns`` and ``data``).

    Raises:
        Ragged: lists of different lengths, or a name that two columns have.
    """
    if isinstance(value.get("columns"), list) and isinstance(value.get("data"), list):
        return _of_cells([str(name) for name in value["columns"]], value["data"])
    inner = list(value.values())
    rows: list[dict[str, Any]] | None = None
    if value and all(isinstance(column, list) for column in inner):
        rows = _of_lists(value)
    elif value and all(isinstance(one, dict) for one in inner):
        rows = _of_objects(value)
    return None if rows is None else [(row, None) for row in rows]


def _of_cells(names: list[str], data: list[Any]) -> Held:
    if twice := next((name for name, count in Counter(names).items() if count > 1), None):
        raise Ragged(f"it has the column {twice!r} twice")
    rows: Held = []
    for cells in data:
        if not isinstance(cells, list):
            rows.append((cells, None))  # an object is a row, and anything else is refused as none
        elif len(cells) != len(names):
            rows.append((cells, f"{counted(len(cells), 'value')}, the table has {counted(len(names), 'column')}"))
        else:
            rows.append((dict(zip(names, cells, strict=True)), None))
    return rows


def _of_lists(value: dict[str, list[Any]]) -> list[dict[str, Any]] | None:
    if any(isinstance(one, dict) and ({"role", "from"} & {*one}) for column in value.values() for one in column[:1]):
        return None  # a list of turns, so the object is a row
    lengths = {name: len(column) for name, column in value.items()}
    if len(set(lengths.values())) > 1:
        raise Ragged("its columns have different lengths: " + ", ".join(f"{n} {k}" for n, k in lengths.items()))
    return [dict(zip(value, row, strict=True)) for row in zip(*value.values(), strict=True)]


def _of_objects(value: dict[str, dict[str, Any]]) -> list[dict[str, Any]] | None:
    known = {name.lower() for name in COLUMNS}
    by_row = any(key.lower() in known for one in list(value.values())[:5] for key in one)
    if by_row or (all(key.isdigit() for key in value) and not all(k.isdigit() for one in value.values() for k in one)):
        return list(value.values())
    places = list(dict.fromkeys(place for column in value.values() for place in column))
    return [{name: column[place] for name, column in value.items() if place in column} for place in places]
