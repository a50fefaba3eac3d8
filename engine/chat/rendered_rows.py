"""Rendered rows on disk, so that half a million conversations can be planned over without lists in memory.

A token in a Python list takes 8 to 36 bytes, here it takes 4 to 8 on disk and none in memory; a row takes 42 bytes of
memory whatever its length.
"""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import overload

import numpy as np

from engine.chat.render import Rendered

TOKEN = np.dtype(np.int32)


class Spool(Sequence[Rendered]):
    """A sequence of rendered rows in an unnamed file in ``folder``, which disappears with the process."""

    def __init__(self, rows: Iterable[Rendered], folder: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - it lives as long as the spool
        self._at = array("q")
        self.prompt_ends = array("i")
        """Tokens before each row's last reply."""
        self._own = array("i")
        self._truncated = bytearray()
        self.lengths = array("i")
        """Tokens of each row; 0 for one that cannot be used."""
        self.response_tokens = array("i")
        """Tokens that the loss of each row is a mean of."""
        self.reply_tokens = array("i")
        """Tokens of the last answer among them."""
        self.errors: dict[int, str] = {}
        """Why a row cannot be used, by its place."""
        self._ends = bytearray()
        self._offsets = array("i")
        end = 0
        for row in rows:
            self._at.append(end)
            self.prompt_ends.append(row.prompt_end)
            self._truncated.append(row.truncated)
            self._own.append(len(row.own))
            self.lengths.append(len(row.ids))
            self.response_tokens.append(row.response_tokens)
            self.reply_tokens.append(row.reply_tokens)
            self._ends.append(row.ends)
            self._offsets.append(len(row.offsets))
            if row.error is not None:
                self.errors[len(self._at) - 1] = row.error
            end += self._file.write(np.array(row.ids, dtype=TOKEN).tobytes())
            end += self._file.write(np.packbits(np.array(row.mask, dtype=np.bool_)).tobytes())
            end += self._file.write(np.packbits(np.array(row.own, dtype=np.bool_)).tobytes())
            end += self._file.write(np.array(row.offsets, dtype=TOKEN).tobytes())
        self._file.flush()

    def __len__(self) -> int:
        return len(self._at)

    @overload
    def __getitem__(self, at: int) -> Rendered: ...
    @overload
    def __getitem__(self, at: slice) -> list[Rendered]: ...
    def __getitem__(self, at: int | slice) -> Rendered | list[Rendered]:
        if isinstance(at, slice):
            return [self[i] for i in range(*at.indices(len(self)))]
        if not -len(self) <= at < len(self):
            raise IndexError(f"row {at} of {len(self)}")
        at %= len(self)
        self._file.seek(self._at[at])
        ids = self._numbers(self.lengths[at])
        mask, own = self._bits(self.lengths[at]), self._bits(self._own[at])
        return Rendered(
            ids,
            mask,
            self.prompt_ends[at],
            bool(self._truncated[at]),
            self.errors.get(at),
            own,
            ends=bool(self._ends[at]),
            offsets=self._numbers(self._offsets[at]),
        )

    def _numbers(self, count: int) -> list[int]:
        """The next ``count`` integers of the file."""
        found: list[int] = np.frombuffer(self._file.read(count * TOKEN.itemsize), dtype=TOKEN).tolist()
        return found

    def _bits(self, count: int) -> list[bool]:
        """The next ``count`` booleans of the file."""
        bits = np.frombuffer(self._file.read((count + 7) // 8), dtype=np.uint8)
        found: list[bool] = np.unpackbits(bits, count=count).astype(np.bool_).tolist()
        return found
