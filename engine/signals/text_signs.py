"""What looks wrong with an answer by its text alone: no model is asked.

A small model finds a fluent refusal or a loop likely text, so no loss shows them. Each sign is rare in ordinary
answers (the share of real rows that show it is in docs/benchmarks/flaws.md) and does not count where the prompt asks
for it. A sign is a reason to look, not a verdict: a refusal may be right.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from engine.chat.prompts import scaffolding

_OPENING = re.compile(
    r"(?:(?:i(?:'|’)?m|i am|we are) (?:really |very |so |truly )?(?:sorry|afraid)|sorry\b|apologies\b|unfortunately\b"
    r"|i (?:deeply |sincerely )?apologi[sz]e|regrettably\b|as an? (?:ai|artificial|large|language|chatbot|machine)\b)",
    re.IGNORECASE,
)
_CANNOT = re.compile(
    r"\b(?:i|we|this [\w ]{1,40}|your [\w ]{1,40})(?:'|’| )?(?:can(?:'|’)?t|cannot|can not|could not|couldn(?:'|’)t"
    r"|am (?:unable|not able|not capable|not allowed)|(?:'|’)?m (?:unable|not able|not capable|not allowed)"
    r"|are (?:unable|not able)|is not possible|do(?:n(?:'|’)t| not) (?:have|possess|know)|must (?:decline|refuse)"
    r"|won(?:'|’)?t|will not|(?:have|need) to decline|goes against|violates)\b",
    re.IGNORECASE,
)
_ASKED_TO_REFUSE = re.compile(
    r"\b(?:apolog|sorry|refus|declin|reject|regret|excuse|letter|e-?mail|message|dialogue?|conversation|story|poem|tweet"
    r"|write|compose|respond|reply|sentence|rewrite|edit|convert|change|translate|paraphrase)",
    re.IGNORECASE,
)
_ROLE = re.compile(
    r"^(?:#{1,4} ?(?:instruction|response|input|output|human|user|assistant|prompt|answer)\b"
    r"|(?:human|user|assistant|ai|system|bot|instruction|response|output|prompt|final (?:answer|response)) ?: "
    r"|(?:human|user|assistant|instruction|response|input|output|final (?:answer|response)) ?: ?$"
    r"|</?(?:response|answer|output|instruction|assistant|user|human|input)>"
    r"|\[(?:end|start|begin|rewritten|revised|improved|final|response|answer|output|note|system)\b[^\]\n]{0,80}\]"
    r"|#(?:given|new|rewritten|original) prompt#)|\s#{2,}\s*\Z",
    re.IGNORECASE | re.MULTILINE,
)
_REMARK = re.compile(
    r"^(?:sure|certainly|of course|okay)?[!,. ]*here(?:'|’)?(?: i)?s (?:the|an?|my|your) (?:\w+ )?"
    r"(?:improved|rewritten|revised|updated|refined|final|polished|enhanced) (?:version|response|answer|prompt)"
    r"|\b(?:word count|token count|score|rating) ?: ?\d+(?: ?/ ?\d+)?\b|\b(?:system|original) prompt\b",
    re.IGNORECASE | re.MULTILINE,
)
_ASKED_FOR_ROLES = re.compile(
    r"\b(?:dialogue?|conversation|chat|script|interview|transcript|prompt|instruction|input|output|code|program|function"
    r"|implement|algorithm|html|xml|template|q&a|user:|assistant)",
    re.IGNORECASE,
)
_ASKED_FOR_REMARKS = re.compile(
    r"\b(?:rate|rating|score|count|number of words|rewrit|rewrote|re-write|revis|edit|improv|correct|fix|prompt|polish"
    r"|update|enhance|refine|grade|evaluat|essay|review)",
    re.IGNORECASE,
)
_MARKUP = re.compile(r"(?:<(?:!doctype|html|body|div|p)\b|```)", re.IGNORECASE)
_ASKED_FOR_MARKUP = re.compile(
    r"\b(?:html|xml|svg|css|json|yaml|web ?page|web ?site|tag|code|program|script|function|class|method|algorithm"
    r"|python|java|javascript|c\+\+|sql|query|bash|shell|command|regex|api|format|markdown|latex|snippet|array|object"
    r"|dict|struct|schema|database|table|implement|debug|loop|print|output|compile|variable|parse|syntax|data)",
    re.IGNORECASE,
)
_ASKED_FOR_CAPITALS = re.compile(
    r"\b(?:capital|upper|caps|acronym|abbreviat|initials|code|symbol|shout|all[- ]caps)", re.IGNORECASE
)
QUOTES = " \t\n\"'“”‘’*_>-"
REFUSED_WITHIN = 240
"""Characters."""
LEAST_COPIED, LEAST_LETTERS, LONGEST_PERIOD = 5, 24, 40
REPEATS = 4
"""So often the same words one after the other are a loop; a chorus comes three times."""


def sign(prompt: str, answer: str) -> str | None:
    """The first of ``SIGNS`` that the answer shows; None where nothing looks wrong."""
    return next((name for name, shows in _SIGNS.items() if shows(prompt, answer)), None)


def refuses(prompt: str, answer: str) -> bool:
    """Says within its first words that it will or can not."""
    start = answer[:REFUSED_WITHIN].lstrip(QUOTES)
    if _ASKED_TO_REFUSE.search(prompt) and not start.lower().startswith(
        ("as an ai", "i'm sorry, but", "i’m sorry, but")
    ):
        return False
    found = _CANNOT.search(start)
    return found is not None and (found.start() == 0 or _OPENING.match(start) is not None)


def loops(_: str, answer: str) -> bool:
    """Ends in the same words again and again."""
    words = answer.split()
    for period in range(1, min(LONGEST_PERIOD, len(words) // REPEATS) + 1):
        run = 0
        while run < len(words) - period and words[-1 - run] == words[-1 - run - period]:
            run += 1
        if run >= max(8, (REPEATS - 1) * period):
            return True
    return False


def leaks(prompt: str, answer: str) -> bool:
    """Holds pieces of the request that it was made with: roles, headings, remarks to the person who asked for it."""
    if scaffolding(answer, prompt):
        return True
    if _ROLE.search(answer) and not _ASKED_FOR_ROLES.search(prompt):
        return True
    return _REMARK.search(answer) is not None and not _ASKED_FOR_REMARKS.search(prompt)


def copies(prompt: str, answer: str) -> bool:
    """Is the prompt, or begins with all of it."""
    asked, said = prompt.lower().split(), answer.lower().split()
    return len(asked) >= LEAST_COPIED and said[: len(asked)] == asked


def wrapped(prompt: str, answer: str) -> bool:
    """Stands in JSON, HTML, a code block or capitals that the prompt does not speak of."""
    if not _ASKED_FOR_MARKUP.search(prompt) and (_MARKUP.match(answer.lstrip()) or _is_json(answer)):
        return True
    letters = [c for c in answer if c.isalpha()]
    shouts = len(letters) >= LEAST_LETTERS and sum(c.isupper() for c in letters) > 0.9 * len(letters)
    return shouts and not _ASKED_FOR_CAPITALS.search(prompt) and not prompt.isupper()


def _is_json(text: str) -> bool:
    """Whether it is a JSON object or a list of objects."""
    if text.lstrip()[:1] not in ("{", "["):
        return False
    try:
        found = json.loads(text)
    except ValueError:
        return False
    return isinstance(found, dict) or (isinstance(found, list) and any(isinstance(one, dict) for one in found))


_SIGNS: dict[str, Callable[[str, str], bool]] = {
    "empty": lambda _, answer: not answer.strip(),
    "loop": loops,
    "copied_prompt": copies,
    "leaked_request": leaks,
    "refusal": refuses,
    "odd_form": wrapped,
}
SIGNS = tuple(_SIGNS)
"""What a text can show; these names are stored and never change."""
