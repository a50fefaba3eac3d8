"""Reads TOML that a person wrote. What is wrong with it is said by line and key, in words of this program."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from typing import Any, NamedTuple

SHOWN = 60
"""Characters of a key in an error."""
HEADER = re.compile(r"\s*\[{1,2}([^\[\]]+)(?:\]|$)")
KEY = re.compile(r"\s*((?:[\w-]+|\"[^\"]*\"|'[^']*')(?:\s*\.\s*(?:[\w-]+|\"[^\"]*\"|'[^']*'))*)\s*=")
WRONG_CHARACTER = ("Found invalid character ", "Illegal character ")
SAME_KEY = "Duplicate inline table key "
_WORDS = (
    ("Expected ']", "the ] of the section is missing. Add it."),
    ("Expected '='", "the = after the key is missing. Write KEY = VALUE."),
    ("Expected newline", "something follows that does not belong to it. Begin a new line, or remove it."),
    ("Expected", "a text has no closing quotes. Add them."),
    ("Unterminated string", "a text has no closing quotes. Add them."),
    ("Unclosed array", "a list lacks a comma or its ]. Add it."),
    ("Unclosed inline table", "a table lacks a comma or its }. Add it."),
    ("Unescaped '\\'", "a \\ in double quotes starts an escape. Write \\\\, or use single quotes."),
    ("Invalid hex value", "a \\u or \\x escape that names no character. Write the character itself."),
    ("Escaped character", "a \\u or \\x escape that names no character. Write the character itself."),
    ("Invalid value", "no valid value. Texts need quotes; true and false are written in small letters."),
    ("Invalid date", "no such date. Put it in quotes if it is a text."),
    ("Invalid statement", "neither a [section] nor KEY = VALUE. Correct or remove it."),
    ("Invalid initial", "a key is missing, or needs quotes. Write KEY = VALUE."),
    ("Cannot mutate", "what is added to was complete where it was written. Put all of it in one place."),
    ("Cannot redefine", "what is added to was complete where it was written. Put all of it in one place."),
)
"""How an error of Python's reader begins, and what is said in its place."""


class NotToml(ValueError):
    """The text is not TOML; the message says where, why, and what to do."""


class _Line(NamedTuple):
    """A line with a header (``key`` is empty) or a key; ``number`` counts from 1."""

    number: int
    section: str
    key: str

    @property
    def name(self) -> str:
        """``[train] epochs``."""
        section = f"[{self.section}]" if self.section else ""
        return " ".join(part[:SHOWN] for part in (section, self.key) if part)


def parsed(text: str) -> dict[str, Any]:
    """The tables of a TOML text. Some editors begin UTF-8 with a byte order mark: it is left out.

    Raises:
        NotToml: it is not valid, or nested too deeply.
    """
    text = text.removeprefix("\ufeff")
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise NotToml(f"not valid TOML: {explained(str(error), text)}") from None
    except RecursionError:
        raise NotToml("nested too deeply for TOML that is read here. Write it flatter.") from None


def value(text: str) -> Any:
    """One value, as it stands behind ``KEY =``.

    Raises:
        NotToml: it is no value, or more than one.
    """
    try:
        found = tomllib.loads(f"value = {text}")
    except (tomllib.TOMLDecodeError, RecursionError):
        found = {}
    if found.keys() != {"value"}:
        raise NotToml(f"{text.strip()[:SHOWN] or 'empty'}: not a valid value")
    return found["value"]


def explained(message: str, text: str) -> str:
    """A message of Python's reader about ``text``, e.g. ``line 3, [train] epochs: set twice …``."""
    problem, _, at = message.rpartition(" (at ")
    lines = text.rstrip().count("\n") + 1
    told = at.removeprefix("line ").partition(",")[0]  # or it is at the end of the document
    number = min(int(told), lines) if told.isdecimal() else lines
    seen = [line for line in _lines(text) if line.number <= number]
    here = seen[-1] if seen else None
    place = f"line {number}" + (f", {here.name}" if here and here.name else "")
    return f"{place}: {_why(problem or message, here, seen[:-1])}"


def _lines(text: str) -> Iterator[_Line]:
    section = ""
    for number, line in enumerate(text.split("\n"), start=1):
        if header := HEADER.match(line):
            section = _plain(header[1])
            yield _Line(number, section, "")
        elif key := KEY.match(line):
            yield _Line(number, section, _plain(key[1]))


def _plain(name: str) -> str:
    return ".".join(part.strip().strip("\"'") for part in name.split("."))


def _why(message: str, here: _Line | None, before: list[_Line]) -> str:
    if message.startswith(("Cannot declare", "Cannot overwrite")):
        return _twice(here, before)
    if message.startswith(WRONG_CHARACTER):
        character = message.rpartition("character ")[2]
        if character == repr("\n"):
            return "a text ends without its quotes. Add them; a line break in a text is written \\n."
        return f"the character {character} is not allowed here. Remove it."
    if message.startswith(SAME_KEY):
        return f"{message.removeprefix(SAME_KEY)} is set twice. Remove one."
    return next((words for begins, words in _WORDS if message.startswith(begins)), f"{message}.")


def _twice(here: _Line | None, before: list[_Line]) -> str:
    """A section or a key that is there already; says where, if a line says so."""
    whole = "" if here is None else ".".join(part for part in (here.section, here.key) if part)
    first = next((line for line in before if ".".join(part for part in line[1:] if part) == whole), None)
    at = "" if first is None else f" (first on line {first.number})"
    if here is None or here.key:
        return f"set twice{at}. Remove one."
    if first is not None and first.key:
        return f"a section, and also a key{at}. Remove one."
    return f"the section is there twice{at}. Put its keys under one of them."
