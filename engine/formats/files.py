"""Opening dataset files, whatever their kind, down to raw rows. Nothing here knows what a row means.

pyarrow and datasets are imported only when a Parquet file or a saved ``datasets`` folder is read; no code that a file
brings along is ever run.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path, PurePath
from typing import Any

from engine.errors import DataError
from engine.formats import jsonrows
from engine.formats.source import Source
from engine.formats.streams import BOMS, MAX_RAW, MAX_ROW, PACKED, Raw, Text, blocks, text

LINES = (".jsonl", ".ndjson")
SUFFIXES = (".json", *LINES, ".csv", ".tsv", ".parquet")


def named_rows(source: Source) -> Iterator[tuple[str, Raw]]:
    """All rows of a source, each with the name of its file.

    Raises:
        DataError: as ``rows``.
    """
    for name, path in source.files:
        for raw in rows(path):
            yield name, raw


def rows(path: Path) -> Iterator[Raw]:
    """All rows of a file or of a ``datasets`` folder.

    Raises:
        DataError: missing, unreadable, an unknown kind of file, broken syntax or encoding as a whole.
    """
    if path.is_dir():
        return _arrow_folder(path)
    if not path.exists():
        raise DataError(f"{path}: there is no such file. Check the path.")
    head = next(blocks(path), b"")
    if not head:
        raise DataError(f"{path}: the file is empty.")
    if head.startswith(b"PAR1"):
        return _parquet(path)
    return _text_rows(path, head)


def suffix_of(path: PurePath) -> str:
    """The kind of file its name promises, without what compression adds."""
    names = [s.lower() for s in path.suffixes if s.lower() not in PACKED]
    return names[-1] if names else ""


def _text_rows(path: Path, head: bytes) -> Iterator[Raw]:
    bom, encoding = next((b for b in BOMS if head.startswith(b[0])), (b"", "utf-8"))
    file = Text(path, bom, encoding)
    start = head[len(bom) :].decode(encoding, "replace").lstrip()[:1]
    suffix = suffix_of(path)
    if suffix in (".csv", ".tsv"):
        return _csv(file)
    if start == "[":
        return jsonrows.array(file)
    if start == "{" or suffix in LINES:
        return jsonrows.lines_or_object(file, only_lines=suffix in LINES)
    if suffix not in SUFFIXES:
        raise DataError(
            f"{path}: not a kind of file that can be read. There are JSON, JSON lines, CSV, Parquet (each also as .gz"
            " or .zst) and folders saved by `datasets`."
        )
    raise DataError(f"{path}: not JSON: it begins with {start!r}, expected [ or {{. Is it the right file?")


def _csv(file: Text) -> Iterator[Raw]:
    """Rows of a CSV file by its header line; the separator is the header's: comma, semicolon or tab."""
    lines = _csv_lines(text(file))
    header = next(lines, "")
    separator = max(",;\t", key=header.count)
    csv.field_size_limit(MAX_ROW)
    reader = csv.reader(chain([header], lines), delimiter=separator, strict=True)
    try:
        names = next(reader)
        for number, fields in enumerate((f for f in reader if f), start=1):
            if len(fields) != len(names):
                reason = f"{len(fields)} fields, the header has {len(names)}"
                yield Raw(number, separator.join(fields)[:MAX_RAW], reason)
            else:
                yield Raw(number, dict(zip(names, fields, strict=True)))
    except csv.Error as error:
        raise DataError(f"{file.path}: not CSV in line {reader.line_num}: {error}.") from None


def _csv_lines(stream: Iterator[str]) -> Iterator[str]:
    """Lines with their ends kept, as csv wants them."""
    pending = ""
    for block in stream:
        *whole, pending = (pending + block).split("\n")
        yield from (line + "\n" for line in whole)
    if pending:
        yield pending


def _parquet(path: Path) -> Iterator[Raw]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        row = 0
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1024):
                for value in batch.to_pylist():
                    row += 1
                    yield Raw(row, value)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: not a Parquet file that can be read: {error}.") from None


def _arrow_folder(path: Path) -> Iterator[Raw]:
    """Rows of a folder that ``datasets`` saved, or as the hub holds it; of several splits ``train`` is read."""
    if not any((path / name).is_file() for name in ("state.json", "dataset_dict.json")):
        parts = sorted(path.glob("data/train-*.parquet"))
        if not parts:
            raise DataError(f"{path}: not a folder saved by `datasets` (no state.json). Name the data file itself.")
        raws = (raw for part in parts for raw in _parquet(part))
        yield from (replace(raw, row=row) for row, raw in enumerate(raws, start=1))
        return
    import datasets

    try:
        found = datasets.load_from_disk(str(path))
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{path}: cannot be read by `datasets`: {error}.") from None
    if isinstance(found, datasets.DatasetDict):
        name = "train" if "train" in found else next(iter(found), "")
        if len(found) != 1 and name != "train":
            raise DataError(f"{path}: has splits {', '.join(found)} and none is called train. Name one: {path}/SPLIT.")
        found = found[name]
    row = 0
    for batch in found.with_format(None).iter(batch_size=1024):
        columns: dict[str, list[Any]] = dict(batch)
        for values in zip(*columns.values(), strict=True):
            row += 1
            yield Raw(row, dict(zip(columns, values, strict=True)))
