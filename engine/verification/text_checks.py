"""What can be told of a rewrite from its text alone: pure functions, each a stable code and a sentence.

A check never fires on what the original had as well: scaffolding, control characters or loops that were there before
are content, not the teacher's doing. Only an injection may not stay: a rewrite that carries it on is not the better.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from engine.chat.prompts import scaffolding
from engine.injection.detect import Suspicion, find
from engine.plurals import counted

Words = list[str]

NEAR = 0.9
"""Jaccard similarity of word shingles from which two prompts are near-duplicates."""
SHINGLE = 3


CODES = (
    "command", "control", "duplicate", "empty", "evaluation", "injection", "loop", "refusal", "scaffolding",
    "too_short", "unchanged", "unmeasured", "validator",
)  # fmt: skip
"""All codes of a ``Rejection``."""
NOT_IMPROVED = "not improved"
"""What a verdict begins with that is not better than the original."""
FLAWED_AS_WELL = ("empty", "loop", "refusal", "scaffolding", "unchanged", "duplicate", "control", NOT_IMPROVED)
"""What a refused answer's reason begins with where the answer is no better than the flawed one that it would replace.
The others (held-out text, a check of the user's own, no rating) say nothing of the original.
"""


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a rewrite may not be merged: a code that never changes and a sentence for a person."""

    code: str
    text: str

    def __str__(self) -> str:
        return f"{self.code}: {self.text}"


@dataclass(frozen=True, slots=True)
class Exchange:
    """A prompt and its response."""

    prompt: str
    response: str

    @property
    def text(self) -> str:
        """Both, as one text."""
        return f"{self.prompt}\n{self.response}"


@dataclass(frozen=True, slots=True)
class CheckLimits:
    """What the checks are held to. ``phrases``: long lines of the request's own template. ``carries``: a rewrite may
    keep what its original has of a prompt injection.
    """

    min_response_chars: int = 1
    phrases: tuple[str, ...] = ()
    carries: bool = False


def normalise(text: str) -> str:
    """Text without case, punctuation and spacing, so that copies with other typography are the same."""
    return " ".join(words(text))


_WORD = re.compile(r"\w+(?:[-'’.,]\w+)*|[^\w\s]")
_PUNCTUATION = frozenset(".,;:!?\"'`()[]{}…“”‘’«»")


def words(text: str) -> Words:
    """The words and signs of a text in lower case, punctuation left out; signs that carry meaning (+, <, #) stay."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return [w for w in _WORD.findall(folded) if w not in _PUNCTUATION]


# ------------------------------------------------------------------------------------- one rewrite on its own


def inspect(new: Exchange, original: Exchange, limits: CheckLimits) -> Rejection | None:
    """The first thing that is wrong with ``new`` as a rewrite of ``original``, None when nothing is."""
    for check in _CHECKS:
        if found := check(new, original, limits):
            return found
    return None


def inspect_prompt(new: Exchange, original: Exchange) -> Rejection | None:
    """What is wrong with the prompt of ``new`` alone, whose response is the original's."""
    checks = (_empty, _leak, _control, _loop, _injection)
    limits = CheckLimits(carries=True)  # the whole rewrite is held to more
    return next((found for check in checks if (found := check(new, original, limits))), None)


def _empty(new: Exchange, original: Exchange, limits: CheckLimits) -> Rejection | None:
    what = "prompt" if not new.prompt.strip() else "response" if not new.response.strip() else None
    return Rejection("empty", f"the {what} is empty") if what else None


def _short(new: Exchange, original: Exchange, limits: CheckLimits) -> Rejection | None:
    length = len(new.response.strip())
    if length >= limits.min_response_chars:
        return None
    wanted = limits.min_response_chars
    return Rejection(
        "too_short", f"the response has {counted(length, 'character')}, verify.min_response_chars asks for {wanted}"
    )


def _unchanged(new: Exchange, original: Exchange, limits: CheckLimits) -> Rejection | None:
    # Spacing only: case or a sign may be just what the rewrite repaired.
    same = new.text.split() == original.text.split()
    return Rejection("unchanged", "prompt and response are the original's") if same else None


# What may stand before a refusal's words, never given back: two such runs side by side would be tried at every length.
_SIGNS = r"(?:[^\w'’]|['’](?!m ))*+"
# Only at the start, where an assistant that refuses does so; a text about refusals says it elsewhere.
_REFUSAL = re.compile(
    _SIGNS + r"(?:i(?:'|’)?m (?:really |very |so )?sorry,? but|i am sorry,? but|sorry,? (?:but )?i|i apologi[sz]e,? but"
    r"|unfortunately,? i|as an? (?:ai|language model)\b[^.\n]{0,60}?,? i)?"
    + _SIGNS
    + r"(?:i ?)?(?:can(?:'|’)?t|cannot|can not|am (?:unable|not able) to|(?:'|’)m (?:unable|not able) to"
    r"|won(?:'|’)?t|will not) (?:\w+ ){0,2}?(?:help|assist|answer|provide|fulfil+|comply|complete|do that|create"
    r"|write|generate|engage|support)\b(?! but)",
    re.IGNORECASE,
)


def _refusal(new: Exchange, original: Exchange, limits: CheckLimits) -> Rejection | None:
    found = _REFUSAL.match(new.response)
    if not found or _REFUSAL.match(original.response):
        return None
    return Rejection("refusal", f"the teacher refused: {found[0].strip()!r}")


def _leak(new: Exchange, original: Exchange, limits: CheckLimits) -> Rejection | None:
    for name in ("prompt", "response"):
        text = getattr(new, name)
        if left := scaffolding(text, original.text):
            return Rejection("scaffolding", f"the {name} holds a piece of the request: {left!r}")
        phrase = next((p for p in limits.phrases if p in text and p not in original.text), None)
        if phrase:
            return Rejection("scaffolding", f"the {name} holds a line of the request: {phrase[:60]!r}")
    return None


_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffd]")


def _control(new: Exchange, original: Exchange, limits: CheckLimits) -> Rejection | None:
    for name in ("prompt", "response"):
        found = _CONTROL.search(getattr(new, name))
        if found and found[0] not in original.text:
            return Rejection("control", f"the {name} holds the control character U+{ord(found[0]):04X}")
    return None


def _loop(new: Exchange, original: Exchange, limits: CheckLimits) -> Rejection | None:
    for name in ("prompt", "response"):
        found = repeated(getattr(new, name))
        if found and repeated(getattr(original, name)) != found:
            return Rejection("loop", f"the {name} repeats itself without end: {found[:40]!r}")
    return None


def _injection(new: Exchange, original: Exchange, limits: CheckLimits) -> Rejection | None:
    for name in ("prompt", "response"):
        found = find(getattr(new, name))
        stays = found is not None and (limits.carries or found.kind in _MARKUP)
        if found and not (stays and any(_of_kind(found, text) for text in (original.prompt, original.response))):
            return Rejection("injection", f"the {name} {found.reason}")
    return None


_MARKUP = ("turns", "block", "request")
"""Kinds that a text about chat templates has as its content."""


def _of_kind(found: Suspicion, text: str) -> bool:
    there = find(text)
    return there is not None and there.kind == found.kind


_CHECKS: tuple[Callable[[Exchange, Exchange, CheckLimits], Rejection | None], ...] = (
    _empty,
    _short,
    _unchanged,
    _leak,
    _refusal,
    _control,
    _loop,
    _injection,
)

_SAME_CHARACTER = re.compile(r"([^\s\-=_*#.~])\1{199}")
LOOP_WORDS = 40
LONGEST_PERIOD = 40


def repeated(text: str) -> str | None:
    """What ``text`` repeats like a stuck model: the same words over at least 40 words and five times, or one
    character 200 times. Lists and tables repeat far less.
    """
    if found := _SAME_CHARACTER.search(text):
        return found[1] * 3
    split = text.split()
    for period in range(1, min(LONGEST_PERIOD, len(split) // 5) + 1):
        run, needed = 0, max(LOOP_WORDS, 5 * period) - period
        for i in range(period, len(split)):
            run = run + 1 if split[i] == split[i - period] else 0
            if run >= needed:
                return " ".join(split[i - period + 1 : i + 1])
    return None


def phrases(template: str) -> tuple[str, ...]:
    """The lines of a prompt template that are long enough to be told when they leak, without placeholders."""
    lines = (line.strip() for line in template.splitlines())
    return tuple(line for line in lines if len(line) >= 40 and "{" not in line)


# ---------------------------------------------------------------------------------- a rewrite among the others


def shingled(text: str) -> frozenset[str]:
    """The runs of three words of a text; the whole of a shorter one."""
    split = words(text)
    if len(split) <= SHINGLE:
        return frozenset([" ".join(split)]) if split else frozenset()
    return frozenset(" ".join(split[i : i + SHINGLE]) for i in range(len(split) - SHINGLE + 1))


def jaccard(a: frozenset[str], b: frozenset[str]) -> float:
    """Shared shingles over all shingles; 0 for two empty sets."""
    return len(a & b) / len(a | b) if a or b else 0.0


def grams(text: str, n: int) -> set[str]:
    """The word n-grams of a text."""
    split = words(text)
    return {" ".join(split[i : i + n]) for i in range(len(split) - n + 1)}


@dataclass(frozen=True, slots=True)
class HeldOut:
    """What the evaluation set says, to find rewrites that would give it away: n-grams and whole prompts."""

    n: int
    grams: frozenset[str]
    prompts: frozenset[str]

    @classmethod
    def of(cls, samples: Sequence[Exchange], n: int) -> HeldOut:
        """The held-out samples' word ``n``-grams (none when ``n`` is 0) and normalised prompts."""
        found = {g for s in samples for g in grams(s.text, n)} if n else set()
        return cls(n, frozenset(found), frozenset(normalise(s.prompt) for s in samples))

    def overlap(self, new: Exchange) -> set[str]:
        """The n-grams that ``new`` shares with the held-out samples."""
        return grams(new.text, self.n) & self.grams if self.n else set()


def evaluation_overlap(new: Exchange, held: HeldOut, known: Collection[str]) -> Rejection | None:
    """Whether ``new`` gives held-out samples away. ``known``: n-grams that the dataset holds anyway."""
    if normalise(new.prompt) in held.prompts:
        return Rejection("evaluation", "the prompt is in the held-out set")
    shared = sorted(held.overlap(new) - set(known))
    if not shared:
        return None
    return Rejection(
        "evaluation",
        f"{counted(held.n, 'word')} in a row {'is' if held.n == 1 else 'are'} the held-out set's: {shared[0][:80]!r}",
    )
