"""A folder that is there whole or not at all: it is made beside its place, then moved there."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.files import durable


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """The path of a new folder that becomes ``out`` when the block ends, and is removed when it fails.

    ``out`` must be missing or empty. What a kill left of an earlier try is removed.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    new = out.parent / f".{out.name}.unfinished"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(mode=0o700)
    try:
        yield new
        durable.replace(new, out)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
