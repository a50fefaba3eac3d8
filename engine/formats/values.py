"""Reads and checks single values of a row."""

from __future__ import annotations

from typing import Any


class Unusable(Exception):
    """This row cannot be used; the message is the reason. Always caught inside this package."""


def text(value: Any, name: str) -> str:
    """``value`` as text; a missing one is empty.

    Raises:
        Unusable: it is something else than text, or holds half of a surrogate pair (a broken \\u escape) or bytes that
            the file's encoding does not have.
    """
    if isinstance(value, str) and value.isascii():
        return value
    if missing(value):
        return ""
    if not isinstance(value, str):
        raise Unusable(f"{name} is {kind_of(value)}, expected text")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise Unusable(f"{name} has {_broken(value[error.start])} at character {error.start + 1}") from None
    return value


def _broken(half: str) -> str:
    """Bytes that cannot be decoded come as U+DC80 to U+DCFF (``surrogateescape``)."""
    if "\udc80" <= half <= "\udcff":
        return f"the byte 0x{ord(half) - 0xDC00:02x}, which is not UTF-8,"
    return "a lone surrogate (a broken \\u escape)"


def missing(value: Any) -> bool:
    """Whether a value is null, or NaN (pandas' missing value)."""
    return value is None or (isinstance(value, float) and value != value)


def filled(value: Any) -> bool:
    """Whether a column has content: not null, not an empty text, list or object."""
    return not missing(value) and value not in ("", [], {})


def kind_of(value: Any) -> str:
    """The type of a value in words, e.g. ``a list``."""
    names = {str: "text", bool: "true/false", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return "null" if value is None else names.get(type(value), type(value).__name__)
