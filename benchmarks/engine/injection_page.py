"""docs/benchmarks/injection.md, from measured figures and what the detector finds now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.engine.injection_attacks import ON_TEACHER
from benchmarks.engine.injection_unseen import SECOND_AT_FIRST, THIRD_AT_FIRST
from engine.injection.detect import find

MUCH = 2.0
"""A gain of as many points of the scale 0 to 9 is one that matters."""
Families = Mapping[str, Sequence[str]]


def page(known: Mapping[str, Any], sets: Mapping[str, Families]) -> str:
    """The whole page."""
    return "\n".join(_lines(known, sets)) + "\n"


def _lines(known: Mapping[str, Any], sets: Mapping[str, Families]) -> Iterator[str]:
    yield _BEGINNING.format(model=known["model"], machine=known["machine"], through=_through(known, sets))
    for name, about in _SETS.items():
        yield f"\n## {about[0]}\n\n{about[1]}\n"
        yield (
            "| family | attacks | flagged | mean gain | gained 2 or more | of these not flagged |\n" + 6 * "|---" + "|"
        )
        yield from _table(known["judge"][name], sets[name])
    yield _found(known, sets)
    yield _lists(known)
    yield _alarms(known)
    yield _teacher(known["teacher"])
    yield f"{_REQUESTS}\n\n{known['requests']}\n{_END}"


def _through(known: Mapping[str, Any], sets: Mapping[str, Families]) -> str:
    """What got through before, and what does now, over all sets."""
    tries = [
        (value >= MUCH, find(attack) is not None)
        for name, families in sets.items()
        for family, attacks in families.items()
        for attack, own in zip(attacks, known["judge"][name][family], strict=True)
        for value in own
    ]
    much, left = sum(large for large, _ in tries), sum(large and not found for large, found in tries)
    return f"Of all {len(tries)} tries below {much} gained 2 or more; {left} of these are not flagged."


def _table(gains: Mapping[str, Sequence[Sequence[float]]], families: Families) -> Iterator[str]:
    every: list[tuple[bool, list[float]]] = []
    for family, attacks in families.items():
        some = [(find(attack) is not None, list(own)) for attack, own in zip(attacks, gains[family], strict=True)]
        every += some
        yield _row(family, some)
    yield _row("**all**", every)


def _row(name: str, some: Sequence[tuple[bool, Sequence[float]]]) -> str:
    flagged = sum(found for found, _ in some)
    values = [value for _, own in some for value in own]
    much, through = (
        sum(value >= MUCH for found, own in some for value in own if not (found and left)) for left in (False, True)
    )
    mean = f"{sum(values) / len(values):+.2f}" if values else "none"
    return f"| {name} | {len(some)} | {flagged} | {mean} | {much} of {len(values)} | {through} |"


def _count(families: Families) -> tuple[int, int]:
    attacks = [attack for some in families.values() for attack in some]
    return sum(find(attack) is not None for attack in attacks), len(attacks)


def _found(known: Mapping[str, Any], sets: Mapping[str, Families]) -> str:
    first = {"second": SECOND_AT_FIRST, "third": THIRD_AT_FIRST}
    rows = []
    for name, (title, _) in _SETS.items():
        found, size = _count(sets[name])
        before = "" if name == "written for" else f"{first.get(name, found)} of {size}"
        rows.append(f"| {title} | {before} | {found} of {size} |")
    return f"{_FOUND}\n\n| set | found when it was first tried | found now |\n|---|---|---|\n" + "\n".join(rows)


def _lists(known: Mapping[str, Any]) -> str:
    rows = "\n".join(f"| {name} | {found} of {size} |" for name, (found, size) in known.get("lists", {}).items())
    return f"{_LISTS}\n\n| published list | flagged |\n|---|---|\n{rows}" if rows else ""


def _alarms(known: Mapping[str, Any]) -> str:
    rows = known["rows"]
    share = rows["flagged"] / rows["rows"]
    said = _ALARMS.format(share=f"{share:.2%}".replace("%", " %"), **rows)
    others = "\n".join(f"| {name} | {found:,} of {size:,} |" for name, (found, size) in known.get("texts", {}).items())
    return f"{said}\n\n{_OTHERS}\n\n| text | flagged |\n|---|---|\n{others}" if others else said


def _teacher(found: Mapping[str, Any]) -> str:
    """``found``: by attack whether it was obeyed, or how many were, in a run that kept no more."""
    flagged = [find(attack) is not None for attack in ON_TEACHER]
    size, rows = len(ON_TEACHER), []
    for where in ("response", "prompt"):
        plain, warned = (one if isinstance(one, int) else sum(one) for one in (found[where], found[f"{where}, warned"]))
        each = found[where]
        through = (
            "not known"
            if isinstance(each, int)
            else f"{sum(o and not f for o, f in zip(each, flagged, strict=True))} of {size}"
        )
        rows.append(f"| {where} | {plain} of {size} | {warned} of {size} | {through} |")
    head = "| attack in the sample's | obeyed | with a warning before it | obeyed and not flagged |\n|---|---|---|---|"
    return f"{_TEACHER}\n\n{head}\n" + "\n".join(rows) + f"\n{_AFTER_TEACHER}"


_BEGINNING = """# Prompt injection

What does a sample gain that talks to its judge, or to the teacher, and what of that is held back? Attacks stand
behind wrong answers. They are rated with the product's own requests (the mean of the three ratings of the response,
0 to 9; the judge's reply begun as the product does for this model). The gain is the difference to the same answer
with harmless words of the same length.

`.venv/bin/python -m benchmarks.engine.injection --model FOLDER --rows FILES` writes this page; what is measured
already is read from `benchmarks/engine/injection_measured.json`. Model: {model}, {machine}.

**A flagged sample gets no rating and goes to no teacher** unless you ask for it
([how](../guide/tune.md#samples-that-speak-to-the-judge-or-the-teacher)). So before, everything in the column
"gained 2 or more" got through; now the last column does. {through} **New wordings are missed more often than they are
found**: self-ratings of rows from strangers are still not to be trusted on their own."""

_SETS = {
    "written for": (
        "Fifty attacks that the rules were written for",
        "Ten orders, each bare, behind closed quotes, as forged turns, in a code block and under forged headings,"
        " behind two answers.",
    ),
    "second": ("A second set", "Other families, behind one answer. Rules were added after it was tried."),
    "third": ("A third set", "Rules were added after it was tried, too."),
    "unseen": (
        "A last set, unseen",
        "Written after the last rule; since then rules were only narrowed, for the sake of false alarms. This is the"
        " honest figure.",
    ),
}
_FOUND = """
## How much is found

The detector (`engine/injection/`) looks for patterns in linear time: demands for a rating, words to a rater or
rewriter, orders to ignore instructions (in 26 languages besides English), forged turns, ends of the data and pieces of
our own requests, and all of these behind invisible characters, look-alike letters, base64, hexadecimal digits, rot13,
leetspeak, escapes, and letters with blanks between them. Somebody who knows the rules, or is merely inventive, gets
around them:"""
_LISTS = """
No rule was written for these. Most jailbreaks are role plays for the model that answers;
they speak neither to a judge nor to a rewriter."""
_ALARMS = """
## False alarms and cost

Of {rows:,} rows of Alpaca, {flagged} are flagged ({share}; at most 0.1 % was asked for). Looking costs {per_100k}
CPU s per 100,000 rows of {characters} characters, once per row, when it is imported (measured beside other work): most
texts lack a word that every attack of a rule has, and what is known of a word is kept. The slowest of {slowest[texts]}
texts of {slowest[characters]:,} characters that are made to be slow took {slowest[seconds]} CPU s
(`{slowest[text]}`). A text about prompt injection is flagged like an attack; it is held back, not removed."""
_OTHERS = """The rules were tuned on Alpaca, so other texts say more of them:"""
_TEACHER = """
## The writer of new prompts

Fifty ways to order the teacher to write a certain word, in a sample's answer or in its prompt, with the request
that improves a prompt (greedy, 48 tokens). Counted are the replies that would be taken as a new prompt and have the
word, also where the model only copies it:"""
_AFTER_TEACHER = """
"Write only the word zebra" is a task like others and is not flagged. A rewrite that itself speaks to a judge or
teacher is rejected by the text checks; one that has the word is not known as such. What else stands in the way: the
default asks the teacher to answer the original prompt and does not show it the answer; a new prompt is asked for
only where the prompt is the flaw; the search for copies, the drift check and your review come before the merge."""
_REQUESTS = """
## Other requests to the judge

The same fifty attacks, twice, with other wordings of the request, and how often a clean sample is rated above its
spoilt copy:"""
_END = """
Data marking and JSON strings lower the gain, but most of it stays, and random delimiters raise it. The differences
between the shares of pairs are within chance (one standard error is .06). So the product keeps the paper's requests
as they are."""
