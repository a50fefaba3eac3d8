"""Reading a dataset file: raw rows -> samples, rejects and what there is to say about the file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from shlex import quote
from typing import Any

from engine.config import Data
from engine.errors import ConfigError, DataError
from engine.formats import files, shapes
from engine.formats.shapes import Shape
from engine.formats.streams import MAX_RAW, Raw
from engine.formats.turns import Unusable
from engine.store.rows import Sample, content_id

LOOK_AHEAD = 200
"""Rows that the format is told by."""


@dataclass(frozen=True, slots=True)
class Reject:
    """A row that cannot be used: where it is (row from 1; in line-based files the line), why, and its text."""

    file: str
    row: int
    reason: str
    raw: str


@dataclass(frozen=True, slots=True)
class Imported:
    """What a file held. ``duplicates``: samples whose content was there before (they are kept). ``ignored``:
    columns that no part of a sample comes from.
    """

    samples: list[Sample]
    rejects: list[Reject]
    duplicates: int
    format: str
    ignored: tuple[str, ...] = ()


def read(path: Path, data: Data) -> Imported:
    """Read a dataset file or folder. Samples have seq from 0 and ids that number exact duplicates.

    Raises:
        DataError: the file cannot be read at all, or no row of it can be used; says why and what to do.
        ConfigError: [data] columns names a part that there is not.
    """
    check_parts(data)
    path = Path(path)
    rows = files.rows(path)
    head = list(islice(rows, LOOK_AHEAD))
    shape = shape_of(path, head, data)
    found = _Collected(path, shape, dict(data.columns))
    for raw in chain(head, rows):
        found.take(raw)
    if not found.samples:
        raise DataError(_nothing(path, shape, found.rejects))
    ignored = tuple(sorted(found.columns - {*shape.needs, *shape.may}))
    return Imported(found.samples, found.rejects, found.duplicates, shape.name, ignored)


def check_parts(data: Data) -> None:
    """[data] columns names only parts that there are.

    Raises:
        ConfigError: it does not.
    """
    if unknown := sorted(set(data.columns) - shapes.COLUMNS):
        parts = ", ".join(sorted(shapes.COLUMNS))
        raise ConfigError(f"[data] columns: there is no part {', '.join(unknown)}. There are {parts}.")


def row_of(raw: Raw, mapping: Mapping[str, str]) -> dict[str, Any]:
    """A raw row under our column names.

    Raises:
        Unusable: it has no columns.
    """
    if raw.reason:
        raise Unusable(raw.reason)
    if not isinstance(raw.value, dict):
        raise Unusable("not an object with columns")
    return shapes.renamed(raw.value, mapping)


class _Collected:
    """Samples and rejects as they come in."""

    def __init__(self, path: Path, shape: Shape, mapping: dict[str, str]) -> None:
        self._path, self._shape, self._mapping = path, shape, mapping
        self._copies: dict[int, int] = {}
        self.samples: list[Sample] = []
        self.rejects: list[Reject] = []
        self.columns: set[str] = set()
        self.duplicates = 0

    def take(self, raw: Raw) -> None:
        """Keep a row as a sample, or as a reject with its reason."""
        try:
            self.samples.append(self._sample(raw))
        except Unusable as reason:
            self.rejects.append(Reject(self._path.name, raw.row, str(reason), shown(raw.value)))

    def _sample(self, raw: Raw) -> Sample:
        row = row_of(raw, self._mapping)
        messages, input_chars = shapes.parse(self._shape, row)
        self.columns.update(row)
        first = content_id(messages)
        copy = self._copies.get(first, 0)
        self._copies[first] = copy + 1
        self.duplicates += copy > 0
        return Sample(
            id=content_id(messages, copy) if copy else first,
            messages=messages,
            seq=len(self.samples),
            source=f"{self._path.name}:{raw.row}",
            input_chars=input_chars,
        )


def shown(value: Any) -> str:
    """A row as text for a person, cut to a length that a screen and a database can bear, always valid
    UTF-8.
    """
    if not isinstance(value, str):
        try:
            value = json.dumps(value, ensure_ascii=False, default=str)
        except (ValueError, RecursionError) as error:
            value = f"(cannot be shown: {error})"
    return str(value[:MAX_RAW].encode("utf-8", "backslashreplace").decode())


def shape_of(path: Path, head: list[Raw], data: Data) -> Shape:
    """The format of the file: the configured one, or what its first rows look like.

    Raises:
        DataError: there are no rows, or none has the columns.
    """
    objects = [raw.value for raw in head if raw.reason is None and isinstance(raw.value, dict)]
    if not head:
        raise DataError(f"{path}: there are no rows in it.")
    if not objects:
        raise DataError(_nothing(path, None, [Reject(path.name, r.row, r.reason or "not an object", "") for r in head]))
    columns = list(dict.fromkeys(name for row in objects for name in row))
    for part, name in data.columns.items():
        if name not in columns:
            raise DataError(
                f"{path}: [data] columns maps {part} to {name!r}, which is not there. {_found(columns)} [data] says"
                " how the next file is read: change it for this one."
            )
    rows = [shapes.renamed(row, data.columns) for row in objects]
    shape = shapes.detect(rows) if data.format == "auto" else shapes.named(data.format)
    if shape is None or not any(shape.fits(row) for row in rows):
        raise DataError(_wrong_columns(path, columns, shape))
    return shape


def _found(columns: list[str]) -> str:
    more = f" and {len(columns) - 20} more" if len(columns) > 20 else ""
    return f"The columns are {', '.join(columns[:20])}{more}."


def _wrong_columns(path: Path, columns: list[str], wanted: Shape | None) -> str:
    """What was found, what each format needs, and how to say which column is which."""
    expected = "; ".join(f"{s.name}: {', '.join(s.needs)}" for s in (shapes.SHAPES if wanted is None else (wanted,)))
    parts = (wanted or shapes.named("alpaca")).needs
    pairs = list(zip(parts, [*columns, *(["name"] * len(parts))], strict=False))
    known = ", ".join(f'{ours} = "{yours}"' for ours, yours in pairs)
    given = " ".join(f"--column {ours}={quote(yours)}" for ours, yours in pairs)
    return (
        f"{path}: no known format. {_found(columns)} Expected {expected}. Say which is which: with init, for example"
        f" {given}; in a project's config.toml [data] columns = {{{known}}}."
    )


def _nothing(path: Path, shape: Shape | None, rejects: list[Reject]) -> str:
    """Why no row could be used, by the most frequent reasons."""
    reasons: dict[str, list[int]] = {}
    for reject in rejects:
        reasons.setdefault(reject.reason, []).append(reject.row)
    common = sorted(reasons.items(), key=lambda item: (-len(item[1]), item[1][0]))[:3]
    said = "; ".join(f"{reason} ({len(rows)}, first in row {rows[0]})" for reason, rows in common)
    known = f" (read as {shape.name})" if shape else ""
    return f"{path}: none of {len(rejects)} rows can be used{known}: {said}."
