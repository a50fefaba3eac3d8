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
from engine.formats.source import Source, source_of
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


def read(found: Path | Source, data: Data) -> Imported:
    """Read a dataset file, a folder or a source. Samples have seq from 0 and ids that number exact duplicates.

    Raises:
        DataError: it cannot be read at all, or no row of it can be used; says why and what to do.
        ConfigError: [data] columns names a part that there is not.
    """
    check_parts(data)
    source = source_of(found)
    rows = files.named_rows(source)
    head = list(islice(rows, LOOK_AHEAD))
    shape = shape_of(source.name, head, data)
    kept = _Collected(shape, dict(data.columns))
    for file, raw in chain(head, rows):
        kept.take(file, raw)
    if not kept.samples:
        raise DataError(_nothing(source.name, shape, kept.rejects))
    ignored = tuple(sorted(kept.columns - {*shape.needs, *shape.may}))
    return Imported(kept.samples, kept.rejects, kept.duplicates, shape.name, ignored)


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

    def __init__(self, shape: Shape, mapping: dict[str, str]) -> None:
        self._shape, self._mapping = shape, mapping
        self._copies: dict[int, int] = {}
        self.samples: list[Sample] = []
        self.rejects: list[Reject] = []
        self.columns: set[str] = set()
        self.duplicates = 0

    def take(self, file: str, raw: Raw) -> None:
        """Keep a row as a sample, or as a reject with its reason."""
        try:
            self.samples.append(self._sample(file, raw))
        except Unusable as reason:
            self.rejects.append(Reject(file, raw.row, str(reason), shown(raw.value)))

    def _sample(self, file: str, raw: Raw) -> Sample:
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
            source=f"{file}:{raw.row}",
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


def shape_of(name: str, head: list[tuple[str, Raw]], data: Data) -> Shape:
    """The format of the source ``name``: the configured one, or what its first rows look like.

    Raises:
        DataError: there are no rows, or none has the columns.
    """
    objects = [raw.value for _, raw in head if raw.reason is None and isinstance(raw.value, dict)]
    if not head:
        raise DataError(f"{name}: there are no rows in it.")
    if not objects:
        why = [Reject(file, raw.row, raw.reason or "not an object", "") for file, raw in head]
        raise DataError(_nothing(name, None, why))
    columns = list(dict.fromkeys(column for row in objects for column in row))
    for part, column in data.columns.items():
        if column not in columns:
            raise DataError(
                f"{name}: [data] columns maps {part} to {column!r}, which is not there. {_found(columns)} [data] says"
                " how the next file is read: change it for this one."
            )
    rows = [shapes.renamed(row, data.columns) for row in objects]
    shape = shapes.detect(rows) if data.format == "auto" else shapes.named(data.format)
    if shape is None or not any(shape.fits(row) for row in rows):
        raise DataError(_wrong_columns(name, columns, shape))
    return shape


def _found(columns: list[str]) -> str:
    more = f" and {len(columns) - 20} more" if len(columns) > 20 else ""
    return f"The columns are {', '.join(columns[:20])}{more}."


def _wrong_columns(source: str, columns: list[str], wanted: Shape | None) -> str:
    """What was found, what each format needs, and how to say which column is which."""
    expected = "; ".join(f"{s.name}: {', '.join(s.needs)}" for s in (shapes.SHAPES if wanted is None else (wanted,)))
    parts = (wanted or shapes.named("alpaca")).needs
    pairs = list(zip(parts, [*columns, *(["name"] * len(parts))], strict=False))
    known = ", ".join(f'{ours} = "{yours}"' for ours, yours in pairs)
    given = " ".join(f"--column {ours}={quote(yours)}" for ours, yours in pairs)
    return (
        f"{source}: no known format. {_found(columns)} Expected {expected}. Say which is which: with init, for example"
        f" {given}; in a project's config.toml [data] columns = {{{known}}}."
    )


def _nothing(source: str, shape: Shape | None, rejects: list[Reject]) -> str:
    """Why no row could be used, by the most frequent reasons."""
    reasons: dict[str, list[int]] = {}
    for reject in rejects:
        reasons.setdefault(reject.reason, []).append(reject.row)
    common = sorted(reasons.items(), key=lambda item: (-len(item[1]), item[1][0]))[:3]
    said = "; ".join(f"{reason} ({len(rows)}, first in row {rows[0]})" for reason, rows in common)
    known = f" (read as {shape.name})" if shape else ""
    return f"{source}: none of {len(rejects)} rows can be used{known}: {said}."
