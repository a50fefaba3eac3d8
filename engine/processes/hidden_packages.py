"""Imports libraries without the optional packages that they import wherever those are installed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def hidden(*packages: str) -> Iterator[None]:
    """Hide ``packages`` from imports and ``importlib.util.find_spec`` for the time of the block, unless imported
    before.
    """
    gone = [package for package in packages if package not in sys.modules]
    for package in gone:
        sys.modules[package] = None  # type: ignore[assignment]  # Python's mark of a module that cannot be imported
    try:
        yield
    finally:
        for package in gone:
            del sys.modules[package]
