"""Detects a text file's encoding. Certain cases are used: a byte order mark, UTF-16 by its zero bytes, valid UTF-8.

A wrong guess would give wrong text silently, so any other encoding is only suggested and must be set.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from pathlib import Path

from engine.errors import ConfigError, DataError
from engine.formats.streams import TextFile, blocks

AUTO = "auto"
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # it starts like UTF-16's
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
MARKS = tuple(mark for mark, _ in _BOMS)
_WINDOW = 4 << 20
"""So many bytes from the first wrong one are looked at."""
_COMMON = ("gb18030", "cp1252", "cp932", "cp949", "euc_jp", "big5", "cp1251", "koi8_r", "cp1250", "iso8859_2", "cp1254")
"""The encodings that are guessed at; of two that read equally well the one before is said first."""
_SHOWN = 3
_WORDS = 24


class EncodingUnknown(DataError):
    """A file that is not UTF-8. ``likely``: candidate encodings, likeliest first."""

    def __init__(self, text: str, likely: tuple[str, ...]) -> None:
        super().__init__(text)
        self.likely = likely


def text_file(path: Path, head: bytes, asked: str = AUTO) -> TextFile:
    """How to read the text file whose first block is ``head``.

    A UTF-8 file with a few wrong bytes is read, and their rows are refused one by one; so is any asked for as UTF-8.

    Raises:
        EncodingUnknown: not UTF-8 as a whole; names what it probably is, and how to say so.
        ConfigError: there is no encoding ``asked``.
    """
    bom, marked = next((b for b in _BOMS if head.startswith(b[0])), (b"", ""))
    if asked != AUTO:
        return TextFile(path, bom if marked == _name(asked) else b"", _name(asked))
    if marked:
        return TextFile(path, bom, marked)
    if wide := _wide(head):
        return TextFile(path, b"", wide)
    found = _wrong(path)
    if found is not None and found.whole:
        raise _advice(path, found)
    return TextFile(path, b"", "utf-8")


def _name(asked: str) -> str:
    try:
        name = codecs.lookup(asked).name
        "a".encode(name)  # rejects codecs that are not text encodings
    except (LookupError, ValueError):
        raise ConfigError(f"[data] encoding: unknown encoding {asked!r}. Examples: utf-8, gb18030, cp1252.") from None
    return {"utf-16": "utf-16-le", "utf-32": "utf-32-le", "utf-8-sig": "utf-8"}.get(name, name)


def _wide(head: bytes) -> str:
    """UTF-16 or UTF-32 without a mark: JSON and CSV begin with ASCII, whose other bytes are zero."""
    zeros = tuple(byte == 0 for byte in head[:4])
    wide: dict[tuple[bool, ...], str] = {
        (False, True, True, True): "utf-32-le",
        (True, True, True, False): "utf-32-be",
        (False, True, False, True): "utf-16-le",
        (True, False, True, False): "utf-16-be",
    }
    # The second character need not be ASCII.
    short: dict[tuple[bool, ...], str] = {(False, True): "utf-16-le", (True, False): "utf-16-be"}
    begins = head[:2].strip(b"\0") in (b"{", b"[")
    return wide.get(zeros, "") or (short.get(zeros[:2], "") if begins else "")


@dataclass(frozen=True, slots=True)
class _Wrong:
    """Bytes that are not UTF-8: the first one's offset, the reason, its context, and whether the whole file is not."""

    at: int
    reason: str
    window: bytes
    whole: bool


def _wrong(path: Path) -> _Wrong | None:
    decoder = codecs.getincrementaldecoder("utf-8")("strict")
    done, stream = 0, blocks(path)
    for block in stream:
        held = decoder.getstate()[0]
        try:
            decoder.decode(block)
        except UnicodeDecodeError as error:
            window = held + block
            for more in stream:
                if len(window) >= _WINDOW:
                    break
                window += more
            return _judged(done - len(held) + error.start, error.reason, window, error.start)
        done += len(block)
    held = decoder.getstate()[0]
    return _judged(done - len(held), "the file ends in the middle of a character", held, 0) if held else None


def _judged(at: int, reason: str, window: bytes, start: int) -> _Wrong:
    """Whether the whole file is not UTF-8: more invalid than valid sequences, in several lines or half of all lines."""
    window = window[max(0, window.rfind(b"\n", 0, start) + 1) : _WINDOW]
    wrong = right = lines = bad = 0
    for line in window.split(b"\n"):
        lines += bool(line.strip())
        if line.isascii():
            continue
        said = line.decode("utf-8", "surrogateescape")
        here = sum("\udc80" <= c <= "\udcff" for c in said)
        bad, wrong, right = bad + bool(here), wrong + here, right + sum(c > "\x7f" for c in said) - here
    return _Wrong(at, reason, window, wrong > right and (bad > 1 or 2 * bad >= lines))


def _advice(path: Path, found: _Wrong) -> EncodingUnknown:
    from charset_normalizer import from_bytes  # slow to load, and seldom needed

    matches = from_bytes(found.window[: 1 << 16], cp_isolation=list(_COMMON), threshold=0.5)
    # In coarse steps: between texts of a few words, finer ones are noise.
    ranked = {
        name: (round(match.chaos, 1), -round(2 * match.coherence))
        for match in matches
        for name in match.could_be_from_charset
    }
    readings: dict[str, str] = {}
    for name in sorted(_COMMON, key=lambda name: (ranked.get(name, (2.0, 0)), _COMMON.index(name))):
        text = _reading(found.window, name)
        if text and text not in readings.values() and len(readings) < _SHOWN:
            readings[name] = text
    first = next(iter(readings), "cp1252")
    shown = "; ".join(f'as {name} it reads "{text}"' for name, text in readings.items())
    asked = f" Which encoding is it? A{shown[1:]}." if shown else ""
    return EncodingUnknown(
        f"{path}: not UTF-8 at byte {found.at} ({found.reason}).{asked} Set the right one, e.g. --encoding {first};"
        " with --encoding utf-8 only rows with invalid bytes are skipped.",
        tuple(readings),
    )


def _reading(window: bytes, name: str) -> str:
    """A few non-ASCII words decoded as ``name``; "" if it cannot decode the text."""
    try:
        text = window.decode(name)
    except UnicodeDecodeError as error:
        if error.start < min(len(window) - 4, 1 << 16):
            return ""
        text = window[: error.start].decode(name)
    found = dict.fromkeys(re.findall(r"\w*[^\x00-\x7f]\w*", text[: 1 << 14]))
    return " ".join(found)[:_WORDS].strip()
