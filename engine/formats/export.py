"""Writes datasets. The same samples give the same bytes.

Output is written to a temporary file and renamed, so an existing file is complete. A sample that the format cannot
represent is an error before anything is written; it names the sample and a format that can.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from engine.errors import UsageError
from engine.files import durable
from engine.formats import folders, llama_factory
from engine.formats.arrow import Table
from engine.formats.export_rows import Flaws, ListedSamples, Samples, layout_of, rows_of
from engine.formats.streams import PACKED, packing
from engine.store.rows import Sample

EXPORTS = ("alpaca", "sharegpt", "messages", "parquet", *folders.FOLDERS)


def write(
    samples: Sequence[Sample] | Samples,
    out: Path,
    format: str,
    provenance: bool = False,
    story: str = "",
    flaws: Flaws | None = None,
) -> None:
    """Write ``samples`` in their order to ``out``: a file (JSON; JSON lines when it ends in .jsonl; compressed when
    .gz or .zst follows), or a folder with a card for ``hf`` and ``hub``. ``provenance`` adds id, parent, axis and
    round to every row, and with ``flaws`` how flawed it looks. The columns that the rows came with go along.
    ``story`` is Markdown for the card: how the samples came about.

    Raises:
        UsageError: no such format, or ``out`` is something that must not be overwritten.
        DataError: a sample that the format cannot hold.
    """
    out = Path(out)
    if format not in EXPORTS:
        raise UsageError(f"--format {format}: unknown format. Known formats: {', '.join(EXPORTS)}.")
    if out.is_dir() != (format in folders.FOLDERS) and out.exists():
        kind = "a folder" if out.is_dir() else "a file"
        raise UsageError(f"{out}: is {kind}, which {format} cannot write to. Choose another path.")
    if out.suffix.lower() in PACKED and format in ("parquet", *folders.FOLDERS):
        raise UsageError(f"{out}: {format} is already compressed. Leave {out.suffix} out of the name.")
    out.parent.mkdir(parents=True, exist_ok=True)
    if format not in ("parquet", *folders.FOLDERS):
        llama_factory.check(out)
    every = ListedSamples(samples) if isinstance(samples, list) else cast(Samples, samples)
    layout = layout_of(every, format, provenance, flaws)
    if format in folders.FOLDERS:
        folders.write(Table(every, layout, flaws), out, story)
    elif format == "parquet":
        with _beside(out) as place:
            Table(every, layout, flaws).write_parquet(place)
    else:
        _json(rows_of(every, layout, flaws), out, format)


def _json(rows: Iterator[dict[str, Any]], out: Path, format: str) -> None:
    info = llama_factory.Entry(out, format)
    packed = out.suffix.lower() in PACKED
    lines = (out.with_suffix("") if packed else out).suffix.lower() in (".jsonl", ".ndjson")
    with _beside(out) as place, packing(place, out.suffix.lower()) as put:
        for text in _array_lines(map(info.seen, rows), lines):
            put(text.encode("utf-8"))
    if (told := info.merged()) is not None:
        with _beside(out.parent / llama_factory.INFO) as place:
            place.write_text(told, encoding="utf-8")


_ENCODE = json.JSONEncoder(ensure_ascii=False).encode


def _array_lines(rows: Iterable[dict[str, Any]], lines: bool) -> Iterator[str]:
    texts = map(_ENCODE, rows)
    if lines:
        yield from (text + "\n" for text in texts)
        return
    yield "["
    for i, text in enumerate(texts):
        yield (",\n" if i else "\n") + text
    yield "\n]\n"


@contextmanager
def _beside(out: Path) -> Iterator[Path]:
    """A temporary file that replaces ``out`` if the block succeeds."""
    handle, name = tempfile.mkstemp(dir=out.parent, prefix=f".{out.name}.")
    os.close(handle)
    place = Path(name)
    try:
        yield place
        place.chmod(0o666 & ~_umask())
        durable.replace(place, out)
    finally:
        place.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
