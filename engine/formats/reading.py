"""Reads a dataset file: raw rows to samples, rejected rows and notes for the person."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from engine.config.schema import Data
from engine.errors import ConfigError, DataError
from engine.formats import files, hints, shapes
from engine.formats.parsing import Parser, marks_not_learned
from engine.formats.shapes import Shape
from engine.formats.source import Source, source_of
from engine.formats.streams import MAX_RAW, Raw
from engine.formats.turns import Unusable
from engine.formats.values import filled
from engine.store.rows import Sample, content_id

LOOK_AHEAD = 200
"""Rows that the format is told by."""


@dataclass(frozen=True, slots=True)
class Reject:
    """A rejected row: its number (from 1; in line-based files the line number), the reason, and its text."""

    file: str
    row: int
    reason: str
    raw: str


@dataclass(frozen=True, slots=True)
class Imported:
    """What a file held. ``duplicates``: samples whose content was there before (they are kept). ``kept``: columns that
    no part of a conversation comes from, which the samples carry along. ``lost``: fields of turns that they do not.
    ``unheeded``: rows with a column that seems to say not to learn them. ``options``: those that would make columns
    that are only kept part of the prompt.
    """

    samples: list[Sample]
    rejects: list[Reject]
    duplicates: int
    format: str
    kept: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    unheeded: int = 0
    options: tuple[str, ...] = ()

    def reasons(self, most: int = 3) -> tuple[tuple[str, int], ...]:
        """The most frequent rejection reasons, as (reason, number of rows)."""
        return tuple(Counter(reject.reason for reject in self.rejects).most_common(most))

    def notes(self) -> tuple[str, ...]:
        """Notes on columns and turns with a special meaning, one sentence each."""
        out = []
        if self.kept:
            out.append(f"extra columns, kept and exported unchanged: {_names(self.kept)}")
        out += [
            f"{option.partition('=')[2]} is kept but not part of the prompt; {option} adds it"
            for option in self.options
        ]
        if any(name.startswith("rejected") for name in self.kept):
            out.append("preference data: trains on chosen answers; rejected ones are kept")
        if masked := sum(not turn.train for sample in self.samples for turn in sample.messages):
            turns = "1 assistant turn has" if masked == 1 else f"{masked:,} assistant turns have"
            out.append(f"{turns} weight 0 or train false: used as context, not trained on, exported unchanged")
        if self.lost:
            out.append(f"dropped: the turns' {_names(self.lost)}")
        if marks := [name for name in self.lost if name.lower() in MARKS]:
            out.append(
                f"answers are learned whatever {_names(marks)} says: mark those that must not be by weight 0 or train"
                " false"
            )
        if self.unheeded:
            out.append(f"rows with a column weight 0 or train false are learned like others: {self.unheeded:,}")
        return tuple(out)


MARKS = {"weight", "loss_weight", "train", "training", "is_train", "is_training", "trainable", "learn", "ignore"} | {
    *("mask", "masked", "loss_mask", "loss_scale", "label")
}
"""Fields of a turn that may say whether it is learned, in lower case."""


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - 12} more" if len(names) > 12 else ""
    return ", ".join(names[:12]) + more


@dataclass(frozen=True, slots=True)
class Opened:
    """A source that was begun to read: how its rows are read, the first of them, and all of them."""

    parser: Parser
    head: list[tuple[str, Raw]]
    rows: Iterator[tuple[str, Raw]]


def open_source(source: Source, data: Data) -> Opened:
    """Look at the first rows of a source.

    Raises:
        DataError: it cannot be read, or its format cannot be told; says why and what to do.
        ConfigError: [data] columns names a part that there is not, or [data] encoding no encoding.
    """
    check_parts(data)
    rows = files.named_rows(source, data.encoding)
    head = list(islice(rows, LOOK_AHEAD))
    shape = shape_of(source.name, head, data)
    objects = [raw.value for _, raw in head if raw.reason is None and isinstance(raw.value, dict)]
    return Opened(Parser(shape, objects, data), head, chain(head, rows))


def read(found: Path | Source, data: Data) -> Imported:
    """Read a dataset file, a folder or a source. Samples have seq from 0 and ids that number exact duplicates.

    Raises:
        DataError: it cannot be read at all, or no row of it can be used; says why and what to do.
        ConfigError: [data] columns names a part that there is not.
    """
    source = source_of(found)
    opened = open_source(source, data)
    kept = _Collected(opened.parser)
    for file, raw in opened.rows:
        kept.take(file, raw)
    if not kept.samples:
        raise DataError(_nothing(source.name, opened.parser.shape, kept.rejects))
    return Imported(
        kept.samples,
        kept.rejects,
        kept.duplicates,
        " + ".join(name for name, _ in kept.formats.most_common()),
        tuple(kept.columns),
        tuple(sorted(kept.lost)),
        kept.unheeded,
        tuple(hints.unused(kept.filled, "alpaca" in kept.formats)),
    )


def check_parts(data: Data) -> None:
    """[data] columns names only parts that there are.

    Raises:
        ConfigError: it does not.
    """
    if unknown := sorted(set(data.columns) - shapes.COLUMNS):
        parts = ", ".join(sorted(shapes.COLUMNS))
        raise ConfigError(f"[data] columns: unknown part {', '.join(unknown)}. Known parts: {parts}.")


class _Collected:
    """Samples and rejects as they come in."""

    def __init__(self, parser: Parser) -> None:
        self._parser = parser
        self._copies: dict[int, int] = {}
        self.samples: list[Sample] = []
        self.rejects: list[Reject] = []
        self.columns: dict[str, None] = {}
        self.lost: set[str] = set()
        self.formats: Counter[str] = Counter()
        self.duplicates = 0
        self.unheeded = 0
        self.filled: dict[str, None] = {}

    def take(self, file: str, raw: Raw) -> None:
        """Keep a row as a sample, or as a reject with its reason."""
        try:
            self.samples.append(self._sample(file, raw))
        except Unusable as reason:
            self.rejects.append(Reject(file, raw.row, str(reason), shown(raw.value)))

    def _sample(self, file: str, raw: Raw) -> Sample:
        row = self._parser.parse(raw)
        self.formats[row.format] += 1
        extra = json.loads(row.extra) if row.extra else {}
        self.columns |= dict.fromkeys(extra)
        self.filled |= dict.fromkeys(name for name, value in extra.items() if filled(value))
        self.unheeded += marks_not_learned(extra)
        self.lost |= row.lost
        first = content_id(row.messages)
        copy = self._copies.get(first, 0)
        self._copies[first] = copy + 1
        self.duplicates += copy > 0
        return Sample(
            id=content_id(row.messages, copy) if copy else first,
            messages=row.messages,
            seq=len(self.samples),
            source=f"{file}:{raw.row}",
            input_chars=row.input_chars,
            extra=row.extra,
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
        raise DataError(f"{name}: no rows.")
    if not objects:
        why = [Reject(file, raw.row, raw.reason or "not an object with columns", "") for file, raw in head]
        raise DataError(_nothing(name, None, why))
    columns = list(dict.fromkeys(column for row in objects for column in row))
    for part, column in data.columns.items():
        if column not in columns:
            raise DataError(
                f"{name}: {part} is mapped to {column!r}, which does not exist. {hints.found(columns)} Columns for one"
                f" import: --column; for the next ones: [data] in config.toml. {hints.advice(columns, objects, None)}"
            )
    rows = [shapes.renamed(row, data.columns) for row in objects]
    shape = shapes.detect(rows) if data.format == "auto" else shapes.named(data.format)
    if shape is None or not any(shape.named(row) for row in rows):
        raise DataError(f"{name}: unknown format. {hints.found(columns)} {hints.advice(columns, objects, shape)}")
    return shape


def why(reasons: Sequence[tuple[str, int]], rows: int) -> str:
    """``no output (3); not JSON (1); other reasons (2)``: the most frequent ``reasons`` of ``rows`` refused rows."""
    others = rows - sum(count for _, count in reasons)
    told = [*reasons, ("other reasons", others)] if others else reasons
    return "; ".join(f"{reason} ({count:,})" for reason, count in told)


def _nothing(source: str, shape: Shape | None, rejects: list[Reject]) -> str:
    """Why no row could be used, by the most frequent reasons."""
    first: dict[str, int] = {}
    for reject in rejects:
        first.setdefault(reject.reason, reject.row)
    common = Counter(reject.reason for reject in rejects).most_common(3)
    said = "; ".join(f"{reason} ({n}, first in row {first[reason]})" for reason, n in common)
    known = f" (read as {shape.name})" if shape else ""
    return f"{source}: none of {len(rejects)} rows can be used{known}: {said}."
