"""Opens dataset files of any type and yields raw rows, without interpreting them.

pyarrow and datasets are imported only when a Parquet file or a saved ``datasets`` folder is read; no code that a file
brings along is ever run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

from engine.errors import DataError
from engine.files.progress import Seen, ignore
from engine.formats import csvrows, jsonrows
from engine.formats.encodings import AUTO, MARKS, text_file
from engine.formats.source import Source
from engine.formats.streams import PACKED, Raw, blocks

LINES = (".jsonl", ".ndjson")
SUFFIXES = (".json", *LINES, ".csv", ".tsv", ".parquet")


def named_rows(source: Source, encoding: str = AUTO, seen: Seen = ignore) -> Iterator[tuple[str, Raw]]:
    """All rows of a source, each with its file's name. ``encoding``: of text files. ``seen`` hears which share of the
    source is read.

    Raises:
        DataError: as ``rows``.
    """
    count = len(source.files)
    for number, (name, path) in enumerate(source.files):
        for raw in rows(path, encoding, _part(seen, number, count)):
            yield name, raw


def _part(seen: Seen, number: int, count: int) -> Seen:
    """What hears of the file ``number`` (from 0) of ``count``."""
    return lambda share: seen((number + share) / count)


def rows(path: Path, encoding: str = AUTO, seen: Seen = ignore) -> Iterator[Raw]:
    """All rows of a file or of a ``datasets`` folder. ``seen`` hears which share of it is read.

    Raises:
        DataError: missing, unreadable, an unknown kind of file, broken syntax or encoding as a whole.
    """
    if path.is_dir():
        return _arrow_folder(path)
    if not path.exists():
        raise DataError(f"{path}: no such file. Check the path.")
    head = next(blocks(path), b"")
    if not head:
        raise DataError(f"{path}: the file is empty.")
    if head.startswith(b"version https://git-lfs"):
        raise DataError(f"{path}: a git-lfs pointer, not the data. Download the data with `git lfs pull`.")
    if head.startswith(b"PAR1"):
        return _parquet(path, seen)
    return _text_rows(path, head, encoding, seen)


def suffix_of(path: PurePath) -> str:
    """The file type by name, without a compression suffix."""
    names = [s.lower() for s in path.suffixes if s.lower() not in PACKED]
    return names[-1] if names else ""


def _text_rows(path: Path, head: bytes, encoding: str, seen: Seen) -> Iterator[Raw]:
    suffix = suffix_of(path)
    if suffix not in SUFFIXES and not head.startswith(MARKS) and head.lstrip(b"\0 \t\r\n")[:1] not in (b"[", b"{"):
        raise _unknown(path)
    file = replace(text_file(path, head, encoding), seen=seen)
    start = head[len(file.bom) :].decode(file.encoding, "replace").lstrip()[:1]
    if suffix in (".csv", ".tsv"):
        return csvrows.rows(file)
    if start == "[":
        return jsonrows.array(file)
    if start == "{" or suffix in LINES:
        return jsonrows.lines_or_object(file, only_lines=suffix in LINES)
    if suffix not in SUFFIXES:
        raise _unknown(path)
    raise DataError(f"{path}: not JSON: it begins with {start!r}, expected [ or {{. Is it the right file?")


def _unknown(path: Path) -> DataError:
    return DataError(
        f"{path}: unsupported file type. Supported: JSON, JSON lines, CSV, Parquet (each also as .gz"
        " or .zst) and folders saved by `datasets`."
    )


def without_nulls(value: Any) -> Any:
    """A value of an Arrow table without the nulls inside it: a struct has all keys that any row has, so a null there
    says only that another row has the key. The empty halves of an image's bytes and path stay.
    """
    if isinstance(value, dict):
        if {*value} == {"bytes", "path"}:
            return value
        return {key: without_nulls(one) for key, one in value.items() if one is not None}
    return [without_nulls(one) for one in value] if isinstance(value, list) else value


def _parquet(path: Path, seen: Seen = ignore) -> Iterator[Raw]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        row = 0
        with pq.ParquetFile(path) as file:
            total = file.metadata.num_rows or 1
            for batch in file.iter_batches(batch_size=1024):
                for value in batch.to_pylist():
                    row += 1
                    yield Raw(row, {name: without_nulls(one) for name, one in value.items()})
                seen(row / total)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:  # a damaged name of a column is no text
        raise DataError(f"{path}: unreadable Parquet file: {error}.") from None


def unread(path: Path) -> tuple[str, ...]:
    """Where the splits of a folder are that are not read, to be given as data of their own."""
    if not path.is_dir() or (path / "state.json").is_file():
        return ()
    if (path / "dataset_dict.json").is_file():
        splits = sorted(one.parent for one in path.glob("*/state.json"))
        return tuple(str(split) for split in splits if split.name != "train" and len(splits) > 1)
    return tuple(str(one) for one in sorted(path.glob("data/*.parquet")) if not one.name.startswith("train-"))


def _saved(path: Path) -> bool:
    """Whether ``datasets`` saved the folder for itself."""
    return any((path / name).is_file() for name in ("state.json", "dataset_dict.json"))


_PART = re.compile(r"(train.*)-(\d+)-of-(\d+)\.parquet")


def _parts(path: Path) -> list[Path]:
    """The files of the split ``train`` of a folder as the hub holds it.

    Raises:
        DataError: there are none, or one of them is missing.
    """
    parts = sorted(path.glob("data/train-*.parquet"))
    if not parts:
        raise DataError(f"{path}: not a folder saved by `datasets` (no state.json). Give the data file itself.")
    there = {part.name for part in parts}
    matches = [found for name in there if (found := _PART.fullmatch(name))]
    for name, digits, count in sorted({(found[1], len(found[2]), found[3]) for found in matches}):
        names = (f"{name}-{n:0{digits}d}-of-{count}.parquet" for n in range(int(count)))
        if gone := next((one for one in names if one not in there), None):
            raise DataError(f"{path}: data/{gone} is missing. Copy or download the folder again.")
    return parts


def _arrow_folder(path: Path) -> Iterator[Raw]:
    """Rows of a folder that ``datasets`` saved, or as the hub holds it; of several splits ``train`` is read (``unread``
    names the others).
    """
    if not _saved(path):
        parts = _parts(path)
        raws = (raw for part in parts for raw in _parquet(part))
        yield from (replace(raw, row=row) for row, raw in enumerate(raws, start=1))
        return
    import datasets

    try:
        found = datasets.load_from_disk(str(path))
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{path}: `datasets` cannot read it: {error}.") from None
    if isinstance(found, datasets.DatasetDict):
        name = "train" if "train" in found else next(iter(found), "")
        if len(found) != 1 and name != "train":
            raise DataError(f"{path}: has splits {', '.join(found)} but none named train. Choose one: {path}/SPLIT.")
        found = found[name]
    row = 0
    for table in found.with_format("arrow").iter(batch_size=1024):  # images are not decoded
        for value in table.to_pylist():
            row += 1
            yield Raw(row, {name: without_nulls(one) for name, one in value.items()})
