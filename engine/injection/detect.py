"""Finds in a conversation what is meant for a model that reads it as data: its judge or its teacher.

It is a flag and not a verdict: a text about prompt injection says the same words. It errs towards saying nothing; of
real rows at most one in a thousand may be flagged (docs/benchmarks/injection.md has what it finds and what it misses).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol

from msgspec import Struct

from engine.injection import languages, rules
from engine.injection.clues import Clue, ClueIndex
from engine.injection.disguises import TRADE, Disguises, invisible
from engine.injection.rules import REASONS, Kind, Rule
from engine.injection.sentences import Sentences

SHOWN = 80
"""Characters of what was found that a reason quotes."""


class TurnText(Protocol):
    """What is looked at of a turn of a conversation."""

    @property
    def content(self) -> str:
        """What the turn says."""

    @property
    def tool_calls(self) -> str:
        """Its tool calls as JSON; "" for none."""


class Suspicion(Struct, frozen=True):
    """What was found in a text. ``begin``, ``end``: where; the whole text if it was only found in another reading of it
    (``disguised``). ``said``: the words, as they were read.
    """

    kind: Kind
    begin: int
    end: int
    said: str
    disguised: bool = False

    @property
    def reason(self) -> str:
        """In words, with what was found."""
        hidden = " (in disguise)" if self.disguised else ""
        return f"{REASONS[self.kind]}{hidden}: {self.said!r}"


def find(text: str) -> Suspicion | None:
    """The first thing in a text that is meant for its judge or teacher."""
    lower = text.lower()
    clues = _INDEX.of(lower)
    if found := _by_rules(text, lower, clues):
        return found
    if span := invisible(text):
        return Suspicion("hidden", *span, text[span[0] : span[1]][:SHOWN])
    for reading in _DISGUISES.readings(text, lower, clues):
        if found := _by_rules(reading, reading, _INDEX.of(reading)) or _by_words(reading, lower):
            return Suspicion(found.kind, 0, len(text), found.said, disguised=True)
    return None


def suspect(turns: Iterable[TurnText]) -> str:
    """Why a conversation is flagged, in words; "" when it is not."""
    for turn in turns:
        if found := find(turn.content) or (find(turn.tool_calls) if turn.tool_calls else None):
            return found.reason
    return ""


class _Tried(NamedTuple):
    """A rule, the bits of the clues that it needs together, and when one of its needles is there: where any bit of
    ``surely`` is, or one of ``with_blanks`` in the text, of which the clues tell only a piece.
    """

    rule: Rule
    needed: int
    surely: int
    with_blanks: tuple[str, ...]


def _by_rules(text: str, lower: str, clues: int) -> Suspicion | None:
    for rule, needed, surely, with_blanks in _RULES:
        if clues & needed != needed or not (clues & surely or any(needle in lower for needle in with_blanks)):
            continue
        for one in rule.pattern.finditer(lower):
            if rule.spares is None or not rule.spares(lower, *one.span()):
                return _suspicion(rule.kind, text, lower, one.span())
    if clues & _SYSTEM and ("SYSTEM" in text or "ystem" in text) and (found := rules.SYSTEM_LINE.search(text)):
        return _suspicion("override", text, text, found.span())
    if span := _SENTENCES.between_the_signs(lower, clues):
        return _suspicion("rating", text, lower, span)
    if clues & _CLOSED and (span := _ended(lower)):
        return _suspicion("block", text, lower, span)
    return None


def _ended(lower: str) -> tuple[int, int] | None:
    """The first end of a block that did not begin in the same text: it claims that the data ends there."""
    begun = set()
    for one in rules.BLOCK.finditer(lower):
        bracket, slash, name, closed = one.groups()
        if not slash:
            begun.add(bracket + name)
        elif closed and bracket + name not in begun:
            return one.span()
    return None


def _by_words(reading: str, lower: str) -> Suspicion | None:
    """What is said in disguise needs no whole sentence: two words of the trade are enough."""
    words = [word for word in TRADE if word in reading and word not in lower]
    return Suspicion("override", 0, len(reading), " ".join(reading.split())[:SHOWN]) if len(words) > 1 else None


def _suspicion(kind: Kind, text: str, lower: str, span: tuple[int, int]) -> Suspicion:
    """``lower`` may be longer than ``text``, as single letters have two in lower case: then the whole text is named."""
    begin, end = span
    if len(text) != len(lower):
        return Suspicion(kind, 0, len(text), " ".join(lower[begin:end].split())[:SHOWN])
    return Suspicion(kind, begin, end, " ".join(text[begin:end].split())[:SHOWN])


def _tried(rule: Rule) -> _Tried:
    surely = _INDEX.add(Clue(tuple(needle for needle in rule.needles if " " not in needle)))
    needed = _INDEX.add(Clue(rule.needles))
    for clue in rule.also:
        needed |= _INDEX.add(clue)
    return _Tried(rule, needed, surely, tuple(needle for needle in rule.needles if " " in needle))


_INDEX = ClueIndex()
_DISGUISES, _SENTENCES = Disguises(_INDEX), Sentences(_INDEX)
_SYSTEM, _CLOSED = _INDEX.add(Clue(("ystem",))), _INDEX.add(Clue(("</", "[/")))
_RULES = tuple(_tried(rule) for rule in (*rules.RULES, *languages.RULES))
