"""Rows that wait on disk while a file is read, so that memory does not grow with it. Gone when the process is."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from errno import ENOSPC
from pathlib import Path
from tempfile import TemporaryFile
from typing import Generic, Self, TypeVar

import msgspec

from engine.errors import StoreError
from engine.store.connect import IN_FULL

Row = TypeVar("Row")


class RowSpool(Generic[Row]):
    """A list of rows of one kind (what msgpack can hold) in a nameless file in ``folder``: 8 bytes of memory a row.

    Raises:
        StoreError: the disk is full, or cannot be written.
    """

    def __init__(self, folder: Path, kind: type[Row]) -> None:
        self._folder = folder
        self._file = TemporaryFile(dir=folder)  # noqa: SIM115 - closed with the spool
        self._ends = array("q", [0])
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(kind).decode

    def append(self, row: Row) -> None:
        """Add a row."""
        packed = self._encode(row)
        try:
            self._file.write(packed)
        except OSError as error:
            raise self._refused(error) from None
        self._ends.append(self._ends[-1] + len(packed))

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, at: int) -> Row:
        if not 0 <= at < len(self):
            raise IndexError(at)
        begin = self._ends[at]
        try:
            self._file.seek(begin)
            return self._decode(self._file.read(self._ends[at + 1] - begin))
        except OSError as error:  # what is still in memory is written before
            raise self._refused(error) from None

    def __iter__(self) -> Iterator[Row]:
        return (self[at] for at in range(len(self)))

    def _refused(self, error: OSError) -> StoreError:
        said = IN_FULL if error.errno == ENOSPC else f"cannot write: {error.strerror}."
        return StoreError(f"{self._folder}: {said}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
