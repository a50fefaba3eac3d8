"""Paths as text: the store, cards and orders to other processes hold them as such."""

from __future__ import annotations

from pathlib import Path

from engine.errors import UsageError


def require_text(path: Path) -> None:
    """Check that a path is text, from the root on.

    Raises:
        UsageError: a part of it is not UTF-8.
    """
    try:
        str(path.absolute()).encode()
    except UnicodeEncodeError:
        raise UsageError(f"{path}: the file name is not UTF-8. Rename it, or use a link to it.") from None
