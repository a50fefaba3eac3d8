"""A dataset to read: a local file or folder, or downloaded files of a Hub dataset."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Source:
    """``name`` is what messages and the store call it. ``files`` are read one after the other; each comes with the
    name that its rows go by.
    """

    name: str
    files: tuple[tuple[str, Path], ...]

    def digest(self) -> str:
        """Hash of all content with the files' last names: 32 hex digits."""
        digest = hashlib.blake2b(digest_size=16)
        for _, path in self.files:
            inner = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
            for file in inner:
                digest.update(os.fsencode(file.name))
                with file.open("rb") as stream:
                    while block := stream.read(1 << 20):
                        digest.update(block)
        return digest.hexdigest()


def source_of(found: Path | Source) -> Source:
    """A local path as a Source; a Source is returned unchanged."""
    return found if isinstance(found, Source) else Source(str(found), ((found.name, found),))
