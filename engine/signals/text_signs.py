"""What looks wrong with an answer by its text alone: no model is asked.

A small model finds a fluent refusal or a loop likely text, so no loss shows them. Each sign is rare in ordinary
answers (the share of real rows that show it is in docs/benchmarks/flaws.md) and does not count where the prompt asks
for it. A sign is a reason to look, not a verdict: a refusal may be right.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence

from engine.chat.prompts import scaffolding

_OPENING = re.compile(
    r"(?:(?:i(?:'|’)?m|i am|we are) (?:really |very |so |truly )?(?:sorry|afraid)|sorry\b|(?:my )?apologies\b"
    r"|unfortunately\b|i (?:deeply |sincerely )?apologi[sz]e|regrettably\b"
    r"|as an? (?:ai|artificial|large|language|chatbot|machine)\b)",
    re.IGNORECASE,
)
_CANNOT = re.compile(
    r"\b(?:i|we|this [\w ]{1,40}|your [\w ]{1,40})(?:'|’| )?(?:can(?:'|’)?t|cannot|can not|could not"
    r"|couldn(?:'|’)t|(?:am |(?:'|’)?m )(?:unable|not able|not capable|not allowed|not comfortable)"
    r"|are (?:unable|not able)|is not (?:possible|appropriate|something)|do(?:n(?:'|’)t| not) (?:have|possess|know)"
    r"|must (?:decline|refuse)|won(?:'|’)?t|will not|(?:have|need) to decline|goes against|violates"
    r"|(?:(?:'|’)?d|would) (?:rather|prefer) not)\b",
    re.IGNORECASE,
)
_ASKED_TO_REFUSE = re.compile(
    r"\b(?:apolog|sorry|refus|declin|reject|regret|excuse|letter|e-?mail|message|dialogue?|conversation|respon|reply"
    r"|sentence|rewrite|edit|convert|change|replace|translate|paraphrase|quote|lyric)",
    re.IGNORECASE,
)
_ROLE = re.compile(
    r"^(?:#{1,4} ?(?:instruction|response|input|output|human|user|assistant|prompt|answer)\b"
    r"|(?:human|user|assistant|ai|system|bot|instruction|response|output|prompt|final (?:answer|response)) ?: "
    r"|(?:human|user|assistant|instruction|response|input|output|final (?:answer|response)) ?: ?$"
    r"|</?(?:response|answer|output|instruction|assistant|user|human|input|s)>"
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
_TAG = re.compile(r"</?(?:p|br|div|span|li|ul|ol|b|i|em|strong|td|tr|h[1-6]|body|html)\b[^<>\n]{0,80}>", re.IGNORECASE)
_ESCAPED = re.compile(r"\\[nt\"]")
_ASKED_FOR_MARKUP = re.compile(
    r"\b(?:html|xml|svg|css|json|yaml|web ?page|web ?site|code|program|script|function|algorithm|python|java|javascript"
    r"|c\+\+|sql|query|bash|shell|command|regex|api|format|markdown|latex|snippet|array|object|dict|struct|schema|database"
    r"|implement|debug|compile|parse|syntax|string|embed|highlight|funktion|programm|fonction|funci[oó]n|c[oó]digo)"
    r"|代码|代碼|函数|函數|程序|程式|脚本|コード|関数|スクリプト|코드|함수",
    re.IGNORECASE | re.ASCII,  # so that a word may begin beside a character of a script without spaces
)
_FILLERS = frozenset(["the", "a", "of", "and", "to", "in", "is", "for", "that", "with"])
"""Words that stand alone on a line only where a text was broken up."""
_ASKED_FOR_CAPITALS = re.compile(
    r"\b(?:capital|upper|caps|acronym|abbreviat|initials|code|symbol|shout|all[- ]caps)", re.IGNORECASE
)
QUOTES = " \t\n\"'“”‘’*_>-"
REFUSED_WITHIN = 240
"""Characters."""
LEAST_COPIED, LEAST_LETTERS, LONGEST_PERIOD, SHORT_PERIOD = 5, 24, 40, 5
LEAST_REPEATED = 8
"""Words."""
MOST_DIFFERENT = 0.85
"""Share of an answer's runs of three words that are different: above it only its end may repeat."""


def sign(prompt: str, answer: str, context: str = "") -> str | None:
    """The first of ``SIGNS`` that the answer shows; None where nothing looks wrong.

    ``context``: what was said before the prompt, by the system too: a form may be asked for there.
    """
    asked = {"odd_form": f"{context}\n{prompt}" if context else prompt}
    return next((name for name, shows in _SIGNS.items() if shows(asked.get(name, prompt), answer)), None)


def ends_open(answer: str) -> bool:
    """Whether it ends on a word or a comma: in mid-sentence, or at the end of a list or a name."""
    last = answer.rstrip()[-1:]
    return last.isalnum() or last in (",", "-")


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
    """Says the same words one after the other, again and again, or all of it twice."""
    words = answer.split()
    if len(words) < LEAST_REPEATED:
        return False
    middle, odd = divmod(len(words), 2)
    if not odd and words[:middle] == words[middle:]:
        return True
    different = len({*zip(words, words[1:], words[2:], strict=False)})
    anywhere = different <= MOST_DIFFERENT * (len(words) - 2)
    return any(_repeated(words, period, anywhere) for period in range(1, min(LONGEST_PERIOD, len(words) // 3) + 1))


def _repeated(words: Sequence[str], period: int, anywhere: bool) -> bool:
    """Whether ``period`` words come three times in a row, fewer than ``SHORT_PERIOD`` four times; else at the end."""
    run, needed = 0, max(LEAST_REPEATED, (2 if period >= SHORT_PERIOD else 3) * period)
    for i in range(len(words) - 1, period - 1, -1):
        run = run + 1 if words[i] == words[i - period] else 0
        if run >= needed:
            return True
        if not run and not anywhere:
            return False
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
    if not _ASKED_FOR_MARKUP.search(prompt) and _is_markup(answer):
        return True
    letters = [c for c in answer if c.isalpha()]
    shouts = len(letters) >= LEAST_LETTERS and sum(c.isupper() for c in letters) > 0.9 * len(letters)
    return shouts and not _ASKED_FOR_CAPITALS.search(prompt) and not prompt.isupper()


def _is_markup(text: str) -> bool:
    """Whether it is JSON, HTML or a code block, has tags or escapes for what they stand for, or is broken up."""
    if _MARKUP.match(text.lstrip()) or _is_json(text):
        return True
    if sum(line.strip().lower() in _FILLERS for line in text.splitlines()) > 1:
        return True
    return len(_TAG.findall(text)) > 1 or ("\n" not in text and len(_ESCAPED.findall(text)) > 1)


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
