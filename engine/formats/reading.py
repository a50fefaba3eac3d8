"""Reads a dataset file: raw rows to samples, rejected rows and notes for the person."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

from engine.config.schema import Data
from engine.errors import ConfigError, DataError
from engine.files.progress import Seen, ignore
from engine.formats import files, hints, row_formats
from engine.formats.parsing import Parser, marks_not_learned
from engine.formats.row_formats import Shape
from engine.formats.source import Source, source_of
from engine.formats.streams import MAX_RAW, Raw
from engine.formats.turns import Unusable
from engine.formats.values import filled
from engine.store.numbering import Numbering
from engine.store.rows import Message, Sample, content_id_of, dump_messages

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
class FileFacts:
    """What there is to say of a file that was read. ``kept``: columns that no part of a conversation comes from, which
    the samples carry along. ``lost``: fields of turns that they do not. ``unheeded``: rows with a column that seems to
    say not to learn them. ``options``: those that would make columns that are only kept part of the prompt.
    ``masked``: assistant turns that are not learned. ``refused``: how many rows were, by reason. ``unread``: splits of
    a folder that were not read.
    """

    format: str
    kept: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    unheeded: int = 0
    options: tuple[str, ...] = ()
    masked: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    unread: tuple[str, ...] = ()

    def reasons(self, most: int = 3) -> tuple[tuple[str, int], ...]:
        """The most frequent rejection reasons, as (reason, number of rows)."""
        return tuple(self.refused.most_common(most))

    def notes(self) -> tuple[str, ...]:
        """Notes on columns and turns with a special meaning, one sentence each."""
        out = []
        if self.unread:
            out.append(f"only the split train is read; other splits are data of their own: {_names(self.unread)}")
        if self.kept:
            out.append(f"extra columns, kept and exported unchanged: {_names(self.kept)}")
        out += [
            f"{option.partition('=')[2]} is kept but not part of the prompt; {option} adds it"
            for option in self.options
        ]
        if any(name.startswith("rejected") for name in self.kept):
            out.append("preference data: trains on chosen answers; rejected ones are kept")
        if self.masked:
            turns = "1 assistant turn has" if self.masked == 1 else f"{self.masked:,} assistant turns have"
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


@dataclass(frozen=True, slots=True)
class Imported:
    """What a small file held. ``duplicates``: samples whose content was there before (they are kept)."""

    samples: list[Sample]
    rejects: list[Reject]
    duplicates: int
    facts: FileFacts

    @property
    def format(self) -> str:
        """The formats of its rows, the most frequent first."""
        return self.facts.format


MARKS = {"weight", "loss_weight", "train", "training", "is_train", "is_training", "trainable", "learn", "ignore"} | {
    *("mask", "masked", "loss_mask", "loss_scale", "label")
}
"""Fields of a turn that may say whether it is learned, in lower case."""


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - 12} more" if len(names) > 12 else ""
    return ", ".join(names[:12]) + more


@dataclass(frozen=True, slots=True)
class Opened:
    """A source that was begun to read: how its rows are read, and all of them."""

    parser: Parser
    rows: Iterator[tuple[str, Raw]]


def open_source(source: Source, data: Data, seen: Seen = ignore) -> Opened:
    """Look at the first rows of a source. ``seen`` hears which share of it is read.

    Raises:
        DataError: it cannot be read, or its format cannot be told; says why and what to do.
        ConfigError: [data] columns names a part that there is not, or [data] encoding no encoding.
    """
    check_parts(data)
    rows = files.named_rows(source, data.encoding, seen)
    head = list(islice(rows, LOOK_AHEAD))
    shape = shape_of(source.name, head, data)
    objects = [raw.value for _, raw in head if raw.reason is None and isinstance(raw.value, dict)]
    return Opened(Parser(shape, objects, data), chain(head, rows))


def read(found: Path | Source, data: Data) -> Imported:
    """Read a dataset file, a folder or a source that fits into memory. Samples have seq from 0 and ids that number
    exact duplicates.

    Raises:
        DataError: it cannot be read at all, or no row of it can be used; says why and what to do.
        ConfigError: [data] columns names a part that there is not.
    """
    rows = RowReader(source_of(found), data)
    numbers = Numbering(set())
    samples: list[Sample] = []
    rejects: list[Reject] = []
    for one in rows:
        if isinstance(one, Reject):
            rejects.append(one)
            continue
        id = numbers.next(content_id_of(one.text), partial(str, one.text))
        samples.append(
            Sample(id, one.messages, len(samples), source=one.source, input_chars=one.chars, extra=one.extra)
        )
    return Imported(samples, rejects, numbers.duplicates, rows.facts())


def check_parts(data: Data) -> None:
    """[data] columns names only parts that there are.

    Raises:
        ConfigError: it does not.
    """
    if unknown := sorted(set(data.columns) - row_formats.COLUMNS):
        parts = ", ".join(sorted(row_formats.COLUMNS))
        raise ConfigError(f"[data] columns: unknown part {', '.join(unknown)}. Known parts: {parts}.")


class Conversation(NamedTuple):
    """A usable row. ``text``: its messages as they are stored. ``chars``: trailing characters of the last prompt that
    are Alpaca's input. ``source``: file and row.
    """

    messages: tuple[Message, ...]
    text: str
    source: str
    chars: int
    extra: str


class RowReader:
    """Reads a source row by row; ``facts`` has the whole once it is read. ``seen`` hears which share of it is read.

    Raises:
        DataError: it cannot be read at all, or no row of it can be used; says why and what to do.
        ConfigError: [data] columns names a part that there is not.
    """

    def __init__(self, source: Source, data: Data, seen: Seen = ignore) -> None:
        opened = open_source(source, data, seen)
        self._source, self._parser, self._rows = source, opened.parser, opened.rows
        self._usable, self._masked, self._unheeded = 0, 0, 0
        self._refused: Counter[str] = Counter()
        self._first: dict[str, int] = {}
        self._columns: dict[str, None] = {}
        self._lost: set[str] = set()
        self._formats: Counter[str] = Counter()
        self._filled: dict[str, None] = {}

    def __iter__(self) -> Iterator[Conversation | Reject]:
        for file, raw in self._rows:
            try:
                yield self._conversation(file, raw)
            except Unusable as error:
                reason = str(error)
                self._refused[reason] += 1
                self._first.setdefault(reason, raw.row)
                yield Reject(file, raw.row, reason, shown(raw.value))
        if not self._usable:
            raise DataError(_nothing(self._source.name, self._parser.shape, self._refused, self._first))

    def facts(self) -> FileFacts:
        """What there is to say of the rows so far."""
        return FileFacts(
            " + ".join(name for name, _ in self._formats.most_common()),
            tuple(self._columns),
            tuple(sorted(self._lost)),
            self._unheeded,
            tuple(hints.unused(self._filled, "alpaca" in self._formats)),
            self._masked,
            self._refused,
            tuple(chain.from_iterable(files.unread(path) for _, path in self._source.files)),
        )

    def _conversation(self, file: str, raw: Raw) -> Conversation:
        row = self._parser.parse(raw)
        self._formats[row.format] += 1
        if row.extra:
            extra = json.loads(row.extra)
            self._columns |= dict.fromkeys(extra)
            self._filled |= dict.fromkeys(name for name, value in extra.items() if filled(value))
            self._unheeded += marks_not_learned(extra)
        self._lost |= row.lost
        self._masked += sum(not turn.train for turn in row.messages)
        self._usable += 1
        text = dump_messages(row.messages)
        return Conversation(row.messages, text, f"{file}:{raw.row}", row.input_chars, row.extra)


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
        reasons = [(raw.reason or "not an object with columns", raw.row) for _, raw in head]
        first = dict(reversed(reasons))
        raise DataError(_nothing(name, None, Counter(reason for reason, _ in reasons), first))
    columns = list(dict.fromkeys(column for row in objects for column in row))
    for part, column in data.columns.items():
        if column not in columns:
            raise DataError(
                f"{name}: {part} is mapped to {column!r}, which does not exist. {hints.found(columns)} Columns for one"
                f" import: --column; for the next ones: [data] in config.toml. {hints.advice(columns, objects, None)}"
            )
    rows = [row_formats.renamed(row, data.columns) for row in objects]
    shape = row_formats.detect(rows) if data.format == "auto" else row_formats.named(data.format)
    if shape is None or not any(shape.named(row) for row in rows):
        raise DataError(f"{name}: unknown format. {hints.found(columns)} {hints.advice(columns, objects, shape)}")
    return shape


def why(reasons: Sequence[tuple[str, int]], rows: int) -> str:
    """``no output (3); not JSON (1); other reasons (2)``: the most frequent ``reasons`` of ``rows`` refused rows."""
    others = rows - sum(count for _, count in reasons)
    told = [*reasons, ("other reasons", others)] if others else reasons
    return "; ".join(f"{reason} ({count:,})" for reason, count in told)


def _nothing(source: str, shape: Shape | None, refused: Counter[str], first: Mapping[str, int]) -> str:
    """Why no row could be used, by the most frequent reasons, with the first row of each."""
    said = "; ".join(f"{reason} ({n}, first in row {first[reason]})" for reason, n in refused.most_common(3))
    known = f" (read as {shape.name})" if shape else ""
    total = refused.total()
    none = "its only row cannot" if total == 1 else f"none of {total:,} rows can"
    return f"{source}: {none} be used{known}: {said}."
