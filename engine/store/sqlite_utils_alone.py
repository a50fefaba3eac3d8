"""sqlite-utils without pandas and numpy, which it imports wherever they are installed: a second, and 60 MB."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _hidden(*packages: str) -> Iterator[None]:
    """These cannot be imported meanwhile, unless they are already."""
    gone = [package for package in packages if package not in sys.modules]
    for package in gone:
        sys.modules[package] = None  # type: ignore[assignment]  # Python's mark of a module that cannot be imported
    try:
        yield
    finally:
        for package in gone:
            del sys.modules[package]


with _hidden("pandas", "numpy"):
    from sqlite_utils import Database as Database
    from sqlite_utils import Migrations as Migrations
