"""Other readings of a text: without invisible characters, with letters for look-alikes, decoded.

A model reads base64, leetspeak or letters with blanks between them well enough to obey. Each reading costs a pass over
the text, so each has clues that are looked for first.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import html
import re
import unicodedata
from collections.abc import Iterator
from urllib.parse import unquote

from engine.injection.clues import Clue, ClueIndex

LONGEST = 20_000
"""Characters of an encoded piece that are decoded."""

_ENCODED = re.compile(r"[A-Za-z0-9+/_-]{24,}={0,2}")
_ESCAPED = re.compile(r"\\u([0-9a-fA-F]{4})|\\x([0-9a-fA-F]{2})")
_SPACED = re.compile(r"(?<!\w)(?:\w[ .*_-]){5,400}\w(?!\w)")
_BITS = re.compile(r"(?:[01]{8}\s?){8,2000}")
_HEX_BYTES = re.compile(r"(?:[0-9a-f]{2} ){11,2000}[0-9a-f]{2}", re.IGNORECASE)
_RUN = re.compile("[\u200b-\u200d\u2060-\u2064\ufeff\u180e]{8}")
"""So many invisible characters in a row are a text in two of them."""
_TAGS = re.compile("(?<![\U0001f3f4\U000e0020-\U000e007f])[\U000e0020-\U000e007f]{3,}")
"""Invisible letters; behind a black flag they name a region."""
_LEET = {
    one: str.maketrans(
        {"0": "o", "1": one, "3": "e", "4": "a", "5": "s", "7": "t", "@": "a", "$": "s", "!": "i", "|": "l"}
    )
    for one in "il"
}
_LEET_SIGN = re.compile(r"[013457@$!|]")
_LATIN = str.maketrans(
    "авеезікмнорсстухуѕіјԁɡһԛԝѵαβεηικμνορτυχωγᴀʙᴄᴅᴇɢʜɪᴊᴋʟᴍɴᴏᴘʀꜱᴛᴜᴠᴡʏᴢıƖ",
    "abeezikmhopcctyxysijdghqwvabenikuvoptuxwyabcdeghijklmnoprstuvwyzil",
)
"""Letters of other alphabets (and small capitals) that look like Latin ones."""
_LIKE_LATIN = re.compile(f"[{''.join(map(chr, _LATIN))}]")
_REVERSED = (
    "erongi",
    "drager",
    "snoitcurtsni",
    "suoiverp",
    "gnitar",
    "esnopser",
    "tpmorp",
    "tegrof",
    "airetirc",
    "tsehgih",
)
_ROTATED = ("vtaber", "qvfertneq", "vafgehpgvba", "cerivbhf", "engvat", "erfcbafr", "sbetrg", "pevgrevn", "uvturfg")
TRADE = (
    *("ignore", "disregard", "forget", "instruction", "criteria", "rating", "rate this", "respond", "reply", "output"),
    *("highest", "score", "previous", "prompt"),
)
"""What attacks speak of."""
_TRADE_PIECE = re.compile("|".join(("rate ", " this", *(word for word in TRADE if " " not in word))))
"""A word of the trade, or where one with a blank is cut."""
_SPACED_MARKS = (" e ", ".e.", "-e-", "_e_", "*e*")


def invisible(text: str) -> tuple[int, int] | None:
    """Where letters are hidden in characters that nobody sees: begin and end."""
    if text.isascii():
        return None
    found = _TAGS.search(text) or _RUN.search(text)
    return found.span() if found else None


class Disguises:
    """The other readings of texts. ``index``: what tells the clues of a text, which a reading has its own among."""

    def __init__(self, index: ClueIndex) -> None:
        self._index = index
        escaped = Clue(("\\u00", "\\x", "%20", "&#", " 011", " 20 ", " 65 "))
        self._encoded = index.add(escaped) | index.add_test(_is_long)
        self._leet = index.add_test(_is_leet)
        self._reversed, self._rotated = index.add(Clue(_REVERSED)), index.add(Clue(_ROTATED))
        self._spaced = index.add(Clue(_SPACED_MARKS))
        self._all = self._encoded | self._leet | self._reversed | self._rotated | self._spaced

    def readings(self, text: str, lower: str, clues: int) -> Iterator[str]:
        """What else ``text`` says, each in lower case; usually nothing. ``lower``: the same in lower case; ``clues``:
        its clues.
        """
        if text.isascii():
            return self._of_plain(text, lower, clues, clues) if clues & self._all else iter(())
        return self._of_other(text, lower, clues)

    def _of_other(self, text: str, lower: str, clues: int) -> Iterator[str]:
        plain = _visible(text)
        if plain != lower:
            yield plain
        if _LIKE_LATIN.search(plain):
            latin = plain.translate(_LATIN)
            if any(word in latin for word in TRADE):
                yield latin
        yield from self._of_plain(text, plain, clues, clues if plain == lower else self._index.of(plain))

    def _of_plain(self, text: str, plain: str, clues: int, clues_of_plain: int) -> Iterator[str]:
        if clues & self._encoded:
            yield from _decoded(text)
        if clues_of_plain & self._leet:
            yield from _leet(plain)
        if clues_of_plain & self._reversed:
            yield plain[::-1]
        if clues_of_plain & self._rotated:
            yield codecs.encode(plain, "rot13")
        if clues_of_plain & self._spaced:
            yield from _joined(plain)


def _is_long(word: str) -> bool:
    return len(word) >= 24 and _ENCODED.search(word) is not None


def _is_leet(word: str) -> bool:
    """Whether a word has another sign for a letter, and may be one of the trade in which it stands."""
    return _LEET_SIGN.search(word) is not None and any(
        _TRADE_PIECE.search(f" {word.translate(table)} ") for table in _LEET.values()
    )


def _leet(plain: str) -> Iterator[str]:
    for table in _LEET.values():
        leet = plain.translate(table)
        if any(word in leet and word not in plain for word in TRADE):
            yield leet


def _joined(plain: str) -> Iterator[str]:
    if not any(mark in plain for mark in _SPACED_MARKS):
        return
    joined = _SPACED.sub(lambda found: re.sub(r"[ .*_-]", "", found[0]), re.sub(r" {2,9}", "\t", plain))
    yield joined
    # every blank may have been lost: words are looked for in what is left
    squeezed = re.sub(r"\W", "", joined)
    if any(
        f"{a}{b}" in squeezed for a in ("allprevious", "previous", "prior", "above") for b in ("instruction", "rules")
    ):
        yield "ignore all previous instructions"


def _visible(text: str) -> str:
    """Without invisible and combining characters, wide and styled letters made plain, in lower case."""
    split = unicodedata.normalize("NFKD", text)
    table = {ord(c): _made_visible(c) for c in set(split)}
    if any(c != becomes for c, becomes in table.items()):
        split = split.translate(table)
    return unicodedata.normalize("NFC", split).lower()


def _made_visible(c: str) -> int | None:
    """What becomes of a character: its code, that of the letter which it hides, or None."""
    if "\U000e0020" <= c <= "\U000e007e":
        return ord(c) - 0xE0000
    return None if c > "\x7f" and unicodedata.category(c) in ("Cf", "Mn") else ord(c)


def _decoded(text: str) -> Iterator[str]:
    for found in _ENCODED.finditer(text):
        if read := _bytes(found[0][:LONGEST]):
            yield read
    if "\\u00" in text or "\\x" in text:
        yield _ESCAPED.sub(lambda m: chr(int(m[1] or m[2], 16)), text).lower()
    if "%20" in text:
        yield unquote(text).lower()
    if "&#" in text:
        yield html.unescape(text).lower()
    if " 011" in text:
        for found in _BITS.finditer(text):
            digits = "".join(found[0].split())
            yield "".join(chr(int(digits[i : i + 8], 2)) for i in range(0, len(digits) - 7, 8)).lower()
    if " 20 " in text or " 65 " in text:
        for found in _HEX_BYTES.finditer(text):
            yield bytes.fromhex(found[0]).decode("utf-8", "replace").lower()


def _bytes(piece: str) -> str:
    """What a piece of base64 or hexadecimal digits says, in lower case; empty where that is no text."""
    try:
        raw = bytes.fromhex(piece)
    except ValueError:
        try:
            raw = base64.b64decode(
                piece.rstrip("=").translate(str.maketrans("-_", "+/")) + "=" * (-len(piece.rstrip("=")) % 4)
            )
        except (ValueError, binascii.Error):
            return ""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        return ""
    return text.lower() if text.isprintable() or "\n" in text else ""
