"""How well a line of a list fits what was typed, as command palettes rank it: all words must be found."""

from __future__ import annotations

from collections.abc import Callable, Iterator

Fit = tuple[int, int]
"""Lower is better: the way it was found, then over how many letters it is spread."""
SCATTERED = 5
"""The worst way: only the letters are there, in their order, from the beginning of a word on."""


def fit(typed: str, name: str, text: str) -> Fit | None:
    """How well ``name`` (which counts more) and ``text`` have all words of ``typed``; None when a word is missing."""
    worst = (0, 0)
    for word in typed.casefold().split():
        found = _fit(word, name.casefold(), text.casefold())
        if found is None:
            return None
        worst = max(worst, found)
    return worst


def _fit(word: str, name: str, text: str) -> Fit | None:
    tests: tuple[Callable[[], bool], ...] = (
        lambda: name.startswith(word),
        lambda: any(_beginnings(word, name)),
        lambda: word in name,
        lambda: any(_beginnings(word, text)),
        lambda: word in text,
    )
    at = next((at for at, test in enumerate(tests) if test()), None)
    if at is not None:
        return at, 0
    spreads = [spread for start in _beginnings(word[0], name) if (spread := _spread(word, name[start - 1 :]))]
    return (SCATTERED, min(spreads)) if spreads else None


def _beginnings(word: str, text: str) -> Iterator[int]:
    """Where a word of ``text`` begins with ``word``: places from 1."""
    at = text.find(word)
    while at >= 0:
        if not at or not text[at - 1].isalnum():
            yield at + 1
        at = text.find(word, at + 1)


def _spread(letters: str, text: str) -> int:
    """Over how much of ``text``, from its beginning, the letters are spread in their order; 0: it has not all of them.

    ``mtl`` is in ``model.max_length`` in this way.
    """
    at = 0
    for letter in letters:
        at = text.find(letter, at) + 1
        if not at:
            return 0
    return at
