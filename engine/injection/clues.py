"""Which clues a text holds, told by its words: one pass finds what most texts lack, and so which rules cannot match.

What is known of a word is kept, as most words of a text were in others before. Clues are necessary and not sufficient:
nothing is found because of them, and nothing is missed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from msgspec import Struct

KEPT_WORDS = 100_000
"""Words that are remembered; then it begins again. Some 12 MB."""
LONGEST_KEPT = 24
"""Characters of a word that is remembered."""
_WORD = re.compile(r"\w+")


class Clue(Struct, frozen=True):
    """What a text has to hold any of, in lower case: ``parts`` anywhere in it, ``words`` with ``\\b`` on both sides."""

    parts: tuple[str, ...] = ()
    words: tuple[str, ...] = ()


def words(together: str) -> Clue:
    """The clue of any of these words, which blanks are between."""
    return Clue(words=tuple(together.split()))


class ClueIndex:
    """Tells which of many clues a text may hold. Each clue is a bit."""

    def __init__(self) -> None:
        self._parts: dict[str, int] = {}
        self._words: dict[str, int] = {}
        self._tests: list[tuple[Callable[[str], bool], int]] = []
        self._bits = 0
        self._known = _Known(self._look)
        self._patterns: tuple[re.Pattern[str], re.Pattern[str]] | None = None

    def add(self, clue: Clue) -> int:
        """The bit of a clue."""
        bit = self._bit()
        for part in clue.parts:
            piece = _piece(part)
            self._parts[piece] = self._parts.get(piece, 0) | bit
        for word in clue.words:
            self._words[word] = self._words.get(word, 0) | bit
        return bit

    def add_test(self, test: Callable[[str], bool]) -> int:
        """The bit of a clue that is a function of what stands between two blanks."""
        bit = self._bit()
        self._tests.append((test, bit))
        return bit

    def of(self, lower: str) -> int:
        """The bits of the clues that a text in lower case may hold: all that it does, and some that it does not where
        a clue has a blank in it.
        """
        found, known = 0, self._known
        for word in lower.split():
            found |= known[word]
        return found

    def _bit(self) -> int:
        bit = 1 << self._bits
        self._bits += 1
        self._patterns = None
        self._known.clear()
        return bit

    def _look(self, word: str) -> int:
        """The bits of one word."""
        ascii_parts, all_parts = self._patterns or self._compile()
        found, pattern, padded = 0, ascii_parts if word.isascii() else all_parts, f" {word} "
        if pattern.search(padded):
            for part in pattern.findall(padded):
                found |= self._parts[part]
        if word.isalpha():
            found |= self._words.get(word, 0)
        else:
            for one in _WORD.findall(word):
                found |= self._words.get(one, 0)
        for test, bit in self._tests:
            if test(word):
                found |= bit
        return found

    def _compile(self) -> tuple[re.Pattern[str], re.Pattern[str]]:
        for part in sorted(self._parts):  # of the parts that begin at a place, the longest is found
            for end in range(1, len(part)):
                self._parts[part] |= self._parts.get(part[:end], 0)
        ascii_only = [part for part in self._parts if part.isascii()]
        self._patterns = _longest_anywhere(ascii_only), _longest_anywhere(self._parts)
        return self._patterns


class _Known(dict[str, int]):
    """Words with the bits of their clues; ``look`` tells those of a new one."""

    def __init__(self, look: Callable[[str], int]) -> None:
        super().__init__()
        self._look = look

    def __missing__(self, word: str) -> int:
        found = self._look(word)
        if len(word) <= LONGEST_KEPT:
            if len(self) >= KEPT_WORDS:
                self.clear()
            self[word] = found
        return found


def _piece(part: str) -> str:
    """The longest piece of ``part`` without a blank inside: one word of the text holds it, with blanks around it."""
    words = part.split(" ")
    last = len(words) - 1
    pieces = [(" " if at else "") + word + (" " if at < last else "") for at, word in enumerate(words)]
    return max(pieces, key=lambda piece: len(piece.strip(" ")))


def _longest_anywhere(parts: Iterable[str]) -> re.Pattern[str]:
    return re.compile(f"(?=({_alternatives(parts)}))")


def _alternatives(parts: Iterable[str]) -> str:
    """A pattern for the longest of ``parts`` that begins at a place: one way to go at every character."""
    by_first: dict[str, list[str]] = {}
    for part in parts:
        by_first.setdefault(part[:1], []).append(part[1:])
    ends = "" in by_first
    ways = [re.escape(first) + _alternatives(rest) for first, rest in sorted(by_first.items()) if first]
    if not ways:
        return ""
    together = f"(?:{'|'.join(ways)})" if len(ways) > 1 or ends else ways[0]
    return together + "?" if ends else together
