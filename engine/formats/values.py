"""Single values of a row: texts, their checks, and whether there is anything in them."""

from __future__ import annotations

from typing import Any


class Unusable(Exception):
    """This row cannot be used; the message is the reason. Caught where rows are read, never seen outside."""


def text(value: Any, name: str) -> str:
    """``value`` as text; a missing one is empty.

    Raises:
        Unusable: it is something else than text, or holds half of a surrogate pair (a broken \\u escape) or bytes that
            the file's encoding does not have.
    """
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
    """Null, or NaN: what pandas writes where there is nothing."""
    return value is None or (isinstance(value, float) and value != value)


def filled(value: Any) -> bool:
    """Whether there is anything in a column: neither null nor an empty text, list or object."""
    return not missing(value) and value not in ("", [], {})


def kind_of(value: Any) -> str:
    """What a value is, for a sentence."""
    names = {str: "text", bool: "true/false", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return "null" if value is None else names.get(type(value), type(value).__name__)
