"""Rows of CSV files. A broken row is quarantined alone: reading resumes at its second line."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator

from engine.errors import DataError
from engine.formats.streams import MAX_RAW, MAX_ROW, Raw, TextFile, text
from engine.plurals import counted

_SEPARATOR = re.compile(r"sep=[,;\t|]", re.IGNORECASE)


class _Lines:
    """An iterator of lines that can go back to the current row's second line."""

    def __init__(self, blocks: Iterator[str]) -> None:
        self._blocks = blocks
        self._waiting: list[str] = []
        self._pending = ""
        self.row: list[str] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if not self._waiting:
            self._fill()
        line = self._waiting.pop()
        self.row.append(line)
        return line

    def _fill(self) -> None:
        for block in self._blocks:
            *whole, self._pending = (self._pending + block).split("\n")
            if whole:
                self._waiting = [line + "\n" for line in reversed(whole)]
                return
        if not self._pending:
            raise StopIteration
        self._waiting, self._pending = [self._pending], ""

    def again(self) -> str:
        """Return the current row's first line, and read its other lines again."""
        first, *rest = self.row
        self._waiting.extend(reversed(rest))
        return first


def rows(file: TextFile) -> Iterator[Raw]:
    """Rows of a CSV file by its header line; the separator is the header's: comma, semicolon, tab or bar. A line
    ``sep=;`` before it (Excel) is skipped.

    Raises:
        DataError: the header cannot be read, or names a column twice.
    """
    lines = _Lines(text(file))
    header = next(lines, "")
    if _SEPARATOR.fullmatch(header.rstrip("\r\n")):
        header = next(lines, "")
    separator = max(",;\t|", key=header.count)
    names = _header(file, header, separator)
    csv.field_size_limit(MAX_ROW)
    number = 0
    while True:
        lines.row.clear()
        try:
            fields = next(csv.reader(lines, delimiter=separator, strict=True), None)
        except csv.Error as error:
            number += 1
            yield Raw(number, lines.again()[:MAX_RAW], f"not CSV: {error}")
            continue
        if fields is None:
            return
        if not fields:
            continue
        number += 1
        if len(fields) != len(names):
            reason = f"{counted(len(fields), 'field')}, the header has {len(names)}"
            yield Raw(number, separator.join(fields)[:MAX_RAW], reason)
        else:
            yield Raw(number, dict(zip(names, fields, strict=True)))


def _header(file: TextFile, line: str, separator: str) -> list[str]:
    """The column names. An unnamed column (pandas' row numbers) is named by its position."""
    try:
        names = next(csv.reader([line], delimiter=separator, strict=True))
    except csv.Error as error:
        raise DataError(f"{file.path}: not CSV: cannot read the header line: {error}.") from None
    names = [name or f"column {place}" for place, name in enumerate(names, start=1)]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise DataError(f"{file.path}: the header has the column {twice!r} twice. Rename one of them.")
    return names
