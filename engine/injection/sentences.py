"""Sentences in which signs come together that each occur in ordinary texts: a rater, a rating, its best value, the text
at hand, an order. Attacks say the same in ever new words; what they cannot leave out is what they want and of whom.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

LONGEST = 400
"""Characters of a sentence that are looked at."""

_SENTENCE = re.compile(r"[^.!?\n]{8,}")
_RATER = re.compile(
    r"\b(?:raters?|graders?|evaluators?|annotators?|assessors?|scorers?|rewriters?|llms?|language models?"
    r"|reward models?"
    r"|(?:judge|grading|scoring|rating|evaluation|teacher|reading) (?:models?|service|system)"
    r"|(?:ai|automated|automatic) (?:systems?|models?|judges?|graders?|reviewers?|evaluators?|raters?|assistants?))\b"
)
_RATING = re.compile(
    r"\b(?:ratings?|scor(?:es?|ed|ing)|grad(?:es?|ed|ing)|marks?|rat(?:es?|ed|ing)|verdict|evaluat(?:ions?|es?"
    r"|ed|ing)"
    r"|assess(?:ed|es|ment)?|judg(?:es?|ed|ing))\b"
)
_BEST = re.compile(r"\b(?:9|10|nine|ten|top|highest|max(?:imum)?|full|perfect|best|gold|flawless)\b")
_THIS = re.compile(
    r"\b(?:this|the|my|these|such)(?: (?:exact|above|following|whole|entire))? (?:response|answer|reply|text"
    r"|item|file|entry"
    r"|sample|one|prompt|submission|output|completion|conversation|data|row|footer|sentence)\b|\bthe above\b"
)
_ORDER = re.compile(
    r"\b(?:must|should|shall|please|outputs?|enter|give|gets?|return|record|choose|select|prefer"
    r"|print|reply"
    r"|respond|do not|don't|ignore|treat|score|rate|pick|award|is to|has to|have to|unless|write)\b"
)
_SCALE = re.compile(r"\bscale\b|\bout of\b|\b[015] (?:to|and) (?:5|9|10)\b")
"""What a task says that asks for a rating in earnest."""
_NEEDLES = (" rate", "rating", "score", "scoring", "grade", "grading", " mark", "verdict", "evaluat", "assess", " judg")


def between_the_signs(lower: str) -> tuple[int, int] | None:
    """Begin and end of the first sentence (in lower case) that has the signs together."""
    for needle in _NEEDLES:
        if needle in lower:
            return next(_found(lower), None)
    return None


def _found(lower: str) -> Iterator[tuple[int, int]]:
    for one in _SENTENCE.finditer(lower):
        text = one[0][:LONGEST]
        if not _RATING.search(text) or _SCALE.search(text):
            continue
        best, order, this = _BEST.search(text), _ORDER.search(text), _THIS.search(text)
        if (best and this and order) or ((best or (this and order)) and _RATER.search(text)):
            yield one.start(), one.start() + len(text)
