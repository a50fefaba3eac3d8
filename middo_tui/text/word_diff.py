"""A readable word-by-word diff of two texts. Pure; standard library only.

Myers' O(ND) search over words after the common beginning and end are cut off. Words carry the white space behind them,
so half as many tokens are compared, and a word is the same whatever space follows. The search is bounded: a pair with
more than ``MOST_EDITS`` differences is first cut at words that both have exactly once, and what is still hopeless is
shown as replaced whole, which is also how it reads best. Afterwards islands of agreement that are smaller than the
changes around them are given up: "[-cat the mat-]{+dog the rug+}" reads, confetti of single words does not.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate
from typing import Literal, NamedTuple

Kind = Literal["same", "old", "new", "doubt"]
MOST_EDITS = 250
"""Differences that are searched for in one go; what that costs grows with their square."""
MOST_ALIKE = 0.25
"""Texts that share less than this are shown as replaced whole."""
_SMALL = """
a an and are as at be but by for from has have he in is it its not of on or she that the their they this to was were
will with you your
"""
COMMON = frozenset(_SMALL.split())

# East Asian scripts are written without spaces: each character is a word of its own there.
WIDE = "\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff"
_TOKEN = re.compile(rf"([{WIDE}]|[^\W{WIDE}]+|[^\w\s]|(?<!\S)(?=\s)(?<![\s\S]))(\s*)")


class Part(NamedTuple):
    """A stretch of text: in both, only in the ``old``, or only in the ``new`` one. ``doubt``: no difference, but what
    looks wrong in it.
    """

    kind: Kind
    text: str


class Token(NamedTuple):
    """A word or sign, and the white space behind it."""

    word: str
    space: str


def tokens(text: str) -> list[Token]:
    """``text`` in words; put together again they are ``text``. White space at the beginning follows an empty word."""
    lead = len(text) - len(text.lstrip())
    out = [Token("", text[:lead])] if lead else []
    out += [Token(*match) for match in _TOKEN.findall(text, lead)]
    return out


def diff(old: str, new: str) -> tuple[Part, ...]:
    """The parts of ``old`` and ``new`` in reading order, what went before what came.

    The ``same`` and ``old`` parts together are ``old``, the ``same`` and ``new`` ones are ``new``, to the character.
    """
    a, b = tokens(old), tokens(new)
    number: dict[str, int] = {}
    left = [number.setdefault(token.word, len(number)) for token in a]
    right = [number.setdefault(token.word, len(number)) for token in b]
    pairs = _matches(left, right)
    pairs = _readable(a, b, pairs)
    return _parts(a, b, pairs)


Pair = tuple[int, int]


def _matches(a: Sequence[int], b: Sequence[int], depth: int = 0) -> list[Pair]:
    """Index pairs of equal tokens, rising in both."""
    start, most = 0, min(len(a), len(b))
    while start < most and a[start] == b[start]:
        start += 1
    end = 0
    while end < most - start and a[-1 - end] == b[-1 - end]:
        end += 1
    head = [(i, i) for i in range(start)]
    tail = [(len(a) - i, len(b) - i) for i in range(end, 0, -1)]
    middle_a, middle_b = a[start : len(a) - end], b[start : len(b) - end]
    found: list[Pair] = []
    if middle_a and middle_b:
        searched = myers(middle_a, middle_b, MOST_EDITS // (depth + 1) ** 2)
        found = _between_anchors(middle_a, middle_b, depth) if searched is None else searched
    return [*head, *((i + start, j + start) for i, j in found), *tail]


def myers(a: Sequence[int], b: Sequence[int], most: int) -> list[Pair] | None:
    """Equal pairs of the shortest edit script, or None if it has more than ``most`` edits."""
    n, m = len(a), len(b)
    furthest = {1: 0}
    history: list[dict[int, int]] = []
    for edits in range(min(n + m, most) + 1):
        row: dict[int, int] = {}
        # diagonals beyond either text cannot help
        low, high = -(edits - 2 * max(0, edits - m)), edits - 2 * max(0, edits - n)
        for k in range(low, high + 1, 2):
            down = k == -edits or (k != edits and furthest.get(k - 1, -1) < furthest.get(k + 1, -1))
            x = furthest.get(k + 1, -1) if down else furthest.get(k - 1, -1) + 1
            y = x - k
            while x < n and y < m and a[x] == b[y]:
                x += 1
                y += 1
            row[k] = x
            if x >= n and y >= m:
                return _walk_back(history, k, x, edits)
        history.append(row)
        furthest = row
    return None


def _walk_back(history: list[dict[int, int]], k: int, x: int, edits: int) -> list[Pair]:
    """From the end of both texts to their beginning along the furthest points."""
    pairs: list[Pair] = []
    y = x - k
    for step in range(edits, 0, -1):
        before = history[step - 1]
        down = k == -step or (k != step and before.get(k - 1, -1) < before.get(k + 1, -1))
        k += 1 if down else -1
        from_x = before[k]
        from_y = from_x - k
        while x > from_x and y > from_y and (x, y) != ((from_x, from_y + 1) if down else (from_x + 1, from_y)):
            x, y = x - 1, y - 1
            pairs.append((x, y))
        x, y = from_x, from_y
    while x > 0 and y > 0:
        x, y = x - 1, y - 1
        pairs.append((x, y))
    pairs.reverse()
    return pairs


def _between_anchors(a: Sequence[int], b: Sequence[int], depth: int) -> list[Pair]:
    """Cut at the words that both have exactly once, in the longest run of them that rises in both."""
    if depth > 3:
        return []
    once_b = {word for word, count in Counter(b).items() if count == 1}
    where_b = {word: j for j, word in enumerate(b) if word in once_b}
    counts_a = Counter(a)
    anchors = _rising([(i, where_b[word]) for i, word in enumerate(a) if counts_a[word] == 1 and word in where_b])
    if not anchors:
        return []
    out: list[Pair] = []
    from_i = from_j = 0
    for i, j in [*anchors, (len(a), len(b))]:
        inner = _matches(a[from_i:i], b[from_j:j], depth + 1)
        out += [(x + from_i, y + from_j) for x, y in inner]
        if i < len(a):
            out.append((i, j))
        from_i, from_j = i + 1, j + 1
    return out


def _rising(pairs: Sequence[Pair]) -> list[Pair]:
    """The longest subsequence of ``pairs`` (by their first) whose second rises too."""
    tops: list[int] = []
    ends: list[int] = []
    before: list[int] = []
    for at, (_, j) in enumerate(pairs):
        place = bisect_left(tops, j)
        before.append(ends[place - 1] if place else -1)
        if place == len(tops):
            tops.append(j)
            ends.append(at)
        else:
            tops[place], ends[place] = j, at
    out = []
    at = ends[-1] if ends else -1
    while at >= 0:
        out.append(pairs[at])
        at = before[at]
    return out[::-1]


# ------------------------------------------------------------------------------------------------- reading


class _Run(NamedTuple):
    """Tokens [a, a + size) of the old text that are [b, b + size) of the new one."""

    a: int
    b: int
    size: int


def _readable(a: Sequence[Token], b: Sequence[Token], pairs: Sequence[Pair]) -> list[Pair]:
    """``pairs`` without the islands that are smaller than the changes on both sides of them."""
    old, new = _weights(a), _weights(b)
    if 2 * sum(old[i + 1] - old[i] for i, _ in pairs) < MOST_ALIKE * (old[-1] + new[-1]):
        return []
    runs = _runs(pairs)
    while True:
        ends = [_Run(0, 0, 0), *runs, _Run(len(a), len(b), 0)]
        triples = zip(ends[:-2], runs, ends[2:], strict=True)
        kept = [run for before, run, after in triples if not _island(old, new, before, run, after)]
        if len(kept) == len(runs):
            return [(run.a + i, run.b + i) for run in runs for i in range(run.size)]
        runs = kept


def _weights(row: Sequence[Token]) -> list[int]:
    """Running sum of what the words say: characters; signs and the commonest words say little."""
    light = (1 if word.lower() in COMMON or not word.isalnum() else len(word) for word, _ in row)
    return list(accumulate(light, initial=0))


def _runs(pairs: Sequence[Pair]) -> list[_Run]:
    out: list[_Run] = []
    start = 0
    for at in range(1, len(pairs) + 1):
        if at == len(pairs) or pairs[at] != (pairs[at - 1][0] + 1, pairs[at - 1][1] + 1):
            out.append(_Run(*pairs[start], at - start))
            start = at
    return out


def _island(old: Sequence[int], new: Sequence[int], before: _Run, run: _Run, after: _Run) -> bool:
    """Whether a run is lighter than the change before and the one after it (the heavier of what went and came)."""
    ahead = max(old[run.a] - old[before.a + before.size], new[run.b] - new[before.b + before.size])
    behind = max(old[after.a] - old[run.a + run.size], new[after.b] - new[run.b + run.size])
    return old[run.a + run.size] - old[run.a] < min(ahead, behind)


def _parts(a: Sequence[Token], b: Sequence[Token], pairs: Sequence[Pair]) -> tuple[Part, ...]:
    out: list[Part] = []
    i = j = 0
    for x, y in [*pairs, (len(a), len(b))]:
        _add(out, "old", "".join(word + space for word, space in a[i:x]))
        _add(out, "new", "".join(word + space for word, space in b[j:y]))
        if x < len(a):
            word, went, came = a[x].word, a[x].space, b[y].space
            _add(out, "same", word + (went if went == came else ""))
            if went != came:
                _add(out, "old", went)
                _add(out, "new", came)
        i, j = x + 1, y + 1
    return tuple(out)


def _add(parts: list[Part], kind: Kind, text: str) -> None:
    """Append, joined to what it continues; between two ``same`` parts there is one ``old`` before one ``new``."""
    if not text:
        return
    if parts and parts[-1].kind == kind:
        parts[-1] = Part(kind, parts[-1].text + text)
    elif kind == "old" and len(parts) > 1 and parts[-1].kind == "new" and parts[-2].kind == "old":
        parts[-2] = Part("old", parts[-2].text + text)
    elif kind == "old" and parts and parts[-1].kind == "new":
        parts.insert(-1, Part("old", text))
    else:
        parts.append(Part(kind, text))
