"""JSON rows: arrays read one row at a time, JSON lines, and single objects that hold the rows."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from engine.errors import DataError
from engine.formats import tables
from engine.formats.streams import MAX_RAW, MAX_ROW, MAX_WHOLE, Raw, TextFile, lines, text


class _RepeatedKey(Exception):
    """An object has a key twice; the message is the reason not to use its row."""


class _Doubtful(dict[str, Any]):
    """An object that had a key twice, with the last value; ``reason``: why its row is not used."""

    reason: str


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of these keys and values.

    Raises:
        _RepeatedKey: one of the keys is there twice.
    """
    out = dict(pairs)
    if len(out) != len(pairs):
        raise _RepeatedKey(_reason(pairs))
    return out


def _marked(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The same, with a mark in place of an error."""
    out = dict(pairs)
    if len(out) != len(pairs):
        out = _Doubtful(out)
        out.reason = _reason(pairs)
    return out


def _reason(pairs: list[tuple[str, Any]]) -> str:
    key, _ = Counter(key for key, _ in pairs).most_common(1)[0]
    return f"the key {key[:40]!r} is there twice, so that nobody can tell which value is meant"


_DECODER = json.JSONDecoder()
_STRICT = json.JSONDecoder(object_pairs_hook=_unique)
_MARKING = json.JSONDecoder(object_pairs_hook=_marked)
_CONTAINERS = ("data", "train", "rows", "samples", "examples", "instances")
_SPLITS = ("train", "training", "test", "validation", "valid", "val", "dev", "eval", "evaluation")


def loads(line: bytes | str) -> tuple[Any, str | None]:
    """The value of a JSON text, or the reason why it is invalid or a key of it is there twice."""
    return _loads(line, _STRICT)


def _loads(line: bytes | str, decoder: json.JSONDecoder) -> tuple[Any, str | None]:
    try:
        return decoder.decode(line.decode("utf-8") if isinstance(line, bytes) else line), None
    except _RepeatedKey as error:
        return None, str(error)
    except UnicodeDecodeError as error:
        return None, f"not UTF-8 at byte {error.start} of the line"
    except json.JSONDecodeError as error:
        return None, f"not JSON: {error.msg} at character {error.pos + 1}"
    except RecursionError:
        return None, "nested too deeply"
    except ValueError as error:
        return None, f"not JSON: {error}"


def lines_or_object(file: TextFile, only_lines: bool) -> Iterator[Raw]:
    """JSON lines, or one JSON object that holds the rows (``{"data": [...]}``) or is the only row."""
    numbered = ((n, line) for n, line in lines(file) if line is None or line.strip())
    first = next(numbered, None)
    if first is None:
        raise DataError(f"{file.path}: the file contains only white space.")
    value = _loads(first[1], _MARKING)[0] if first[1] is not None else None
    if not only_lines and not isinstance(value, dict):
        value, reason = _loads(_whole(file), _MARKING)
        if reason:
            raise DataError(f"{file.path}: {reason}. It is neither one JSON value nor one JSON object per line.")
        inner = _held(file.path, value)
        yield from [Raw(1, value, _doubt(value))] if inner is None else inner
        return
    second = next(numbered, None)
    if second is None and (inner := _held(file.path, value)) is not None:
        yield from inner
        return
    for number, line in chain([first], [] if second is None else [second], numbered):
        yield _line(number, line)


def _whole(file: TextFile) -> str:
    """The text of a file that is one JSON value.

    Raises:
        DataError: it is larger than what is read at once.
    """
    parts, size = [], 0
    for part in text(file):
        size += len(part)
        if size > MAX_WHOLE:
            raise DataError(
                f"{file.path}: one JSON value of more than {MAX_WHOLE >> 20} MB. Save it as one object per line."
            )
        parts.append(part)
    return "".join(parts)


def _held(path: Path, value: Any) -> list[Raw] | None:
    """The rows inside ``{"data": [...]}`` or of a table by columns, None when the object is a row itself. Of several
    lists of rows one is read; the rows of the others come with that as their reason.
    """
    if not isinstance(value, dict):
        return None
    if isinstance(value, _Doubtful):
        raise DataError(f"{path}: {value.reason}. Rename one of the two, or save the rows as one object per line.")
    lists = {k: v for k, v in value.items() if isinstance(v, list) and v and all(isinstance(r, dict) for r in v[:5])}
    splits = sorted((k for k in lists if k.lower() in _SPLITS), key=lambda k: not k.lower().startswith("train"))
    known = [k for k in lists if k.lower() in _CONTAINERS] or splits[:1]
    if len(known) == 1:
        held: tables.Held = [(row, None) for row in lists[known[0]]]
        held += [(row, _elsewhere(known[0], k)) for k in lists if k != known[0] for row in lists[k]]
    else:
        try:
            rows = tables.rows_of(value)
        except tables.Ragged as error:
            raise DataError(f"{path}: {error}. Is the file complete?") from None
        if rows is None:
            return None
        held = rows
    return [Raw(number, row, reason or _doubt(row)) for number, (row, reason) in enumerate(held, start=1)]


def _doubt(value: Any) -> str | None:
    """Why a row cannot be used in which a key was there twice, at any depth; None where none was."""
    open_ = [value]
    while open_:
        one = open_.pop()
        if isinstance(one, _Doubtful):
            return one.reason
        open_ += one.values() if isinstance(one, dict) else one if isinstance(one, list) else ()
    return None


def _elsewhere(read: str, name: str) -> str:
    what = f"the split {name}" if name.lower() in _SPLITS else f"the list {name}"
    return f"it is in {what}, but {read} is read; save {name} as a separate file, e.g. for --heldout"


def _line(number: int, line: bytes | str | None) -> Raw:
    if line is None:
        return Raw(number, "", f"the line is longer than {MAX_ROW >> 20} MB")
    value, reason = loads(line)
    return Raw(number, _shown(line) if reason else value, reason)


def _shown(line: bytes | str) -> str:
    return line[:MAX_RAW].decode("utf-8", "backslashreplace") if isinstance(line, bytes) else line[:MAX_RAW]


class _Window:
    """The part of a text stream that is not parsed yet."""

    def __init__(self, blocks: Iterator[str]) -> None:
        self._blocks = blocks
        self._grow = 1
        self.text = ""
        self.ended = False

    def more(self) -> bool:
        """Read more, doubling the amount so that a long value costs linear time. False at the end."""
        read = []
        for _ in range(self._grow):
            block = next(self._blocks, None)
            if block is None:
                self.ended = True
                break
            read.append(block)
        self._grow *= 2
        self.text += "".join(read)
        return bool(read)

    def passed(self, at: int) -> int:
        """Mark the text before ``at`` as parsed. Returns the new position of ``at``, as old text may be dropped."""
        self._grow = 1
        if at <= len(self.text) // 2:
            return at
        self.text = self.text[at:]
        return 0

    def skip_space(self, at: int) -> int:
        """The position of the next non-space character, reading more if needed."""
        while True:
            while at < len(self.text) and self.text[at] in " \t\r\n":
                at += 1
            if at < len(self.text) or not self.more():
                return at


class _BrokenRow(Exception):
    """A row that is no JSON; the message is the reason."""


def array(file: TextFile) -> Iterator[Raw]:
    """The rows of a JSON array, one by one; a broken one alone is refused where its end can be told."""
    window = _Window(text(file))
    at = window.skip_space(0) + 1
    row = 0
    while True:
        at = window.skip_space(at)
        if row == 0 and window.text[at : at + 1] == "]":
            break
        row += 1
        try:
            value, end, reason = _value(window, at)
            raw = Raw(row, window.text[at : min(end, at + MAX_RAW)] if reason else value, reason)
            if end - at > MAX_ROW:
                raw = Raw(row, "", f"longer than {MAX_ROW >> 20} MB")
            end = window.skip_space(end)
            _check_mark(window.text[end : end + 1])
        except _BrokenRow as error:
            found = _end_of_broken(window, at)
            if found is None:
                raise _broken(file.path, row, str(error)) from None
            end = found
            raw = Raw(row, window.text[at : min(end, at + MAX_RAW)], f"not JSON: {error}")
        yield raw
        at = end
        if window.text[at] == "]":
            break
        at = window.passed(at + 1)
    at = window.skip_space(at + 1)
    if window.text[at:]:
        raise DataError(f"{file.path}: not JSON: there is text after the closing ]. Is it two files in one?")


def _check_mark(mark: str) -> None:
    """What follows a row.

    Raises:
        _BrokenRow: neither a comma nor the array's end.
    """
    if mark not in (",", "]"):
        raise _BrokenRow(f"expected , or ] after it, found {mark!r}" if mark else "the file ends after it")


def _value(window: _Window, at: int) -> tuple[Any, int, str | None]:
    """The JSON value at ``at``, its end, and the reason why it cannot be used if a key is there twice. Reads more while
    it is incomplete.

    Raises:
        _BrokenRow: it is not JSON.
    """
    decoder, reason = _STRICT, None
    while True:
        try:
            value, end = decoder.raw_decode(window.text, at)
            if end < len(window.text) or not window.more():
                return value, end, reason
        except _RepeatedKey as error:
            decoder, reason = _DECODER, str(error)
        except json.JSONDecodeError as error:
            # A truncated value fails inside a string or at the end of the text; any other failure is a syntax error.
            in_string = error.msg.startswith("Unterminated string")
            cut_off = in_string or error.pos > len(window.text) - 16
            if not (cut_off and window.more()):
                ends = "; the file ends there" if in_string or error.pos >= len(window.text) else ""
                raise _BrokenRow(error.msg + ends) from None
        except RecursionError:
            raise _BrokenRow("nested too deeply") from None
        except ValueError as error:
            raise _BrokenRow(str(error)) from None


_TOKEN = re.compile(r'"(?:[^"\\\n]|\\[^\n])*+("?)|[\[\]{},]')
"""A string, which no line break is in, or a sign of structure. Group 1 is empty where a string has no end."""
_SIGN = re.compile(r"[\[\]{},\n]")


def _end_of_broken(window: _Window, at: int) -> int | None:
    """Where the broken row at ``at`` ends: the comma or bracket behind its last brace. None if that cannot be told, or
    nothing is there.

    A quote without another one in its line is taken for text.
    """
    while len(window.text) - at <= MAX_ROW and window.more():
        pass
    begin, depth, limit, in_line = at, 0, min(len(window.text), at + MAX_ROW), False
    while found := (_SIGN if in_line else _TOKEN).search(window.text, at, limit):
        sign, at = found.group(), found.end()
        if sign == "\n":
            in_line = False
        elif sign[0] == '"':
            if not found.group(1):
                in_line, at = True, found.start() + 1
        elif sign in "[{":
            depth += 1
        elif not depth and sign in ",]":
            return found.start() if found.start() > begin else None
        elif sign in "]}":
            depth = max(0, depth - 1)
    return None


def _broken(path: Path, row: int, what: str) -> DataError:
    return DataError(f"{path}: not JSON in row {row}: {what}. Repair the file, or save it as one object per line.")
