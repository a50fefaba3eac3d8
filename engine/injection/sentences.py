"""Sentences in which signs come together that each occur in ordinary texts: a rater, a rating, its best value, the text
at hand, an order. Attacks say the same in ever new words; what they cannot leave out is what they want and of whom.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from engine.injection.clues import Clue, ClueIndex, words

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


_CLUES = (
    Clue(_NEEDLES),
    words(
        "rating ratings score scores scored scoring grade grades graded grading mark marks rate rates rated verdict"
        " evaluation evaluations evaluate evaluates evaluated evaluating assess assessed assesses assessment"
        " judge judges judged judging"
    ),
)
"""What every such sentence holds: of each of these one, and of two of those below."""
_BEST_CLUE = words("9 10 nine ten top highest max maximum full perfect best gold flawless")
_THIS_CLUE = words(
    "response answer reply text item file entry sample one prompt submission output completion conversation data row"
    " footer sentence above"
)
_RATER_CLUE = words(
    "rater raters grader graders evaluator evaluators annotator annotators assessor assessors scorer scorers rewriter"
    " rewriters llm llms model models service system ai automated automatic"
)


class Sentences:
    """Finds sentences that have the signs together. ``index``: what tells the clues of a text."""

    def __init__(self, index: ClueIndex) -> None:
        self._needed = 0
        for clue in _CLUES:
            self._needed |= index.add(clue)
        self._best, self._this, self._rater = map(index.add, (_BEST_CLUE, _THIS_CLUE, _RATER_CLUE))

    def between_the_signs(self, lower: str, clues: int) -> tuple[int, int] | None:
        """Begin and end of the first sentence (in lower case) that has the signs together. ``clues``: of the text."""
        if clues & self._needed != self._needed:
            return None
        best, this, rater = clues & self._best, clues & self._this, clues & self._rater
        if not ((best and this) or (best and rater) or (this and rater)):
            return None
        return next(_found(lower), None) if any(needle in lower for needle in _NEEDLES) else None


def _found(lower: str) -> Iterator[tuple[int, int]]:
    for one in _SENTENCE.finditer(lower):
        text = one[0][:LONGEST]
        if not _RATING.search(text) or _SCALE.search(text):
            continue
        best, order, this = _BEST.search(text), _ORDER.search(text), _THIS.search(text)
        if (best and this and order) or ((best or (this and order)) and _RATER.search(text)):
            yield one.start(), one.start() + len(text)
