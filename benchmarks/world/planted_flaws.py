"""Ways in which a real instruction row goes bad, planted on purpose so that the truth is known.

Each spoiler is a pure function of a seeded generator, a row, and another row to borrow from; it returns None where the
flaw does not apply (a row without a number has none to get wrong). ``spoiled`` draws until the row is really changed.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from benchmarks.world import planted_texts as texts


class Row(NamedTuple):
    """One exchange: what the user asks and what the assistant answers."""

    prompt: str
    answer: str


Spoiler = Callable[[random.Random, Row, Row], Row | None]
TRIES = 8
"""Draws (another row to borrow from each time) until a flaw applies."""
WORD = re.compile(r"\S+")
NUMBER = re.compile(r"(?<![\w.,])\d+(?:\.\d+)?(?![\w.]*\w)")
ENUMERATOR = re.compile(r"(?m)(?:^|(?<=[.!?:;] ))\d+(?=[.)] )")
NAME = re.compile(r"(?<=[a-z,;] )[A-Z][a-z]{2,}(?: [A-Z][a-z]{2,})*")
COMMON = frozenset((
    "about", "after", "again", "also", "because", "before", "could", "every", "first", "from", "have", "into",
    "just", "made", "make", "many", "more", "most", "much", "only", "other", "over", "some", "such", "than", "that",
    "their", "them", "then", "there", "these", "they", "this", "those", "very", "were", "what", "when", "where",
    "which", "while", "will", "with", "would", "your", "please", "create", "write", "describe", "explain", "give",
    "list", "name", "using", "following", "generate",
))  # fmt: skip
"""Words of a prompt that do not say what it is about."""


def topic(prompt: str) -> str:
    """One or two words of the prompt that say what it is about."""
    words = [w.strip(".,;:!?\"'()[]") for w in prompt.split()]
    content = [w for w in words if len(w) > 3 and w.isalpha() and w.lower() not in COMMON]
    return " ".join(content[-2:]) or "this"


def swapped(_: random.Random, row: Row, other: Row) -> Row | None:
    """Another row's answer."""
    return Row(row.prompt, other.answer)


def cut_off(rng: random.Random, row: Row, _: Row) -> Row | None:
    """The answer stops in the middle of a sentence."""
    ends = [m.end() for m in WORD.finditer(row.answer)]
    places = [e for e in ends[: -max(1, len(ends) // 5)] if row.answer[e - 1].isalnum() and e > len(row.answer) // 5]
    return Row(row.prompt, row.answer[: rng.choice(places)]) if len(ends) > 4 and places else None


def shuffled(rng: random.Random, row: Row, _: Row) -> Row | None:
    """The answer's words in another order."""
    words = row.answer.split()
    if len(words) < 5:
        return None
    rng.shuffle(words)
    return Row(row.prompt, " ".join(words))


def vague(rng: random.Random, row: Row, _: Row) -> Row | None:
    """A prompt that no longer says what is asked."""
    return Row(rng.choice(texts.VAGUE).format(topic=topic(row.prompt)), row.answer)


def wrong_number(rng: random.Random, row: Row, _: Row) -> Row | None:
    """One number of the answer changed to a near one of the same length."""
    listed = {m.start() for m in ENUMERATOR.finditer(row.answer)}
    found = [m for m in NUMBER.finditer(row.answer) if m.start() not in listed]
    if not found:
        return None
    one = rng.choice(found)
    digits = list(one.group())
    at = rng.choice([i for i, c in enumerate(digits) if c.isdigit()])
    digits[at] = rng.choice([d for d in "123456789" if d != digits[at]])
    return Row(row.prompt, row.answer[: one.start()] + "".join(digits) + row.answer[one.end() :])


def wrong_name(rng: random.Random, row: Row, other: Row) -> Row | None:
    """One name of the answer exchanged, everywhere in it, for a name of another row."""
    own, others = NAME.findall(row.answer), NAME.findall(other.answer)
    own = [n for n in own if n not in others]
    if not own or not others:
        return None
    return Row(row.prompt, row.answer.replace(rng.choice(own), rng.choice(others)))


def wrong_language(rng: random.Random, row: Row, _: Row) -> Row | None:
    """A fluent answer in a language that was not asked for."""
    return Row(row.prompt, rng.choice(texts.FOREIGN).format(topic=topic(row.prompt)))


def loop(rng: random.Random, row: Row, _: Row) -> Row | None:
    """The answer gets stuck: from some place on, it repeats its last few words."""
    ends = [m.end() for m in WORD.finditer(row.answer)]
    if len(ends) < 6:
        return None
    size = rng.randint(3, min(14, len(ends) - 2))
    last = rng.randint(size + 1, len(ends) - 1)
    phrase = row.answer[ends[last - size] : ends[last]]
    return Row(row.prompt, row.answer[: ends[last]] + phrase * rng.randint(4, 10))


def refusal(rng: random.Random, row: Row, _: Row) -> Row | None:
    """A harmless request refused."""
    return Row(row.prompt, rng.choice(texts.REFUSALS).format(topic=topic(row.prompt)))


def leaked_scaffolding(rng: random.Random, row: Row, other: Row) -> Row | None:
    """What was around the answer where it was made stands in it: headings, roles, remarks, the next instruction."""
    before, after = rng.choice((("", rng.choice(texts.LEAKED_AFTER)), (rng.choice(texts.LEAKED_BEFORE), "")))
    return Row(row.prompt, before.format(prompt=other.prompt) + row.answer + after.format(prompt=other.prompt))


def off_format(rng: random.Random, row: Row, _: Row) -> Row | None:
    """The answer in a form that nobody asked for."""
    answer = row.answer
    forms = (
        json.dumps({"output": answer}),
        f"<html><body><p>{answer}</p></body></html>",
        answer.upper(),
        "\n".join(answer.split()),
        f"```python\n{answer}\n```",
        json.dumps([{"from": "gpt", "value": answer}]),
    )
    return Row(row.prompt, rng.choice(forms))


def stub(rng: random.Random, row: Row, _: Row) -> Row | None:
    """A word or two in place of an answer."""
    return Row(row.prompt, rng.choice(texts.STUBS)) if len(row.answer.split()) > 4 else None


def echo(_: random.Random, row: Row, __: Row) -> Row | None:
    """The prompt repeated in place of an answer."""
    return Row(row.prompt, row.prompt) if len(row.prompt.split()) > 4 else None


def garbled(rng: random.Random, row: Row, _: Row) -> Row | None:
    """One letter in five exchanged, dropped, or doubled, as after a bad scan."""
    out = []
    for c in row.answer:
        if c.isalpha() and rng.random() < 0.2:
            out.append(rng.choice(("", c + c, rng.choice("etaoinshrdlu"), rng.choice("~|¬§"))))
        else:
            out.append(c)
    return Row(row.prompt, "".join(out)) if len(row.answer) > 20 else None


def run_on(_: random.Random, row: Row, other: Row) -> Row | None:
    """Another row's answer follows in the same reply."""
    return Row(row.prompt, f"{row.answer}\n\n{other.answer}")


def advert(rng: random.Random, row: Row, _: Row) -> Row | None:
    """A piece of a web page that has nothing to do with the question, at the end or in the middle."""
    sentences = re.split(r"(?<=[.!?])\s+", row.answer)
    sentences.insert(rng.randint(1, len(sentences)), rng.choice(texts.ADVERTS))
    return Row(row.prompt, " ".join(sentences))


def prompt_cut(rng: random.Random, row: Row, _: Row) -> Row | None:
    """The prompt's second half is missing."""
    words = row.prompt.split()
    kept = max(1, round(len(words) * rng.uniform(0.15, 0.45)))
    return Row(" ".join(words[:kept]), row.answer) if len(words) > 5 else None


def prompt_swapped(_: random.Random, row: Row, other: Row) -> Row | None:
    """Another row's prompt."""
    return Row(other.prompt, row.answer)


KINDS: Mapping[str, Spoiler] = {
    spoiler.__name__.replace("_", " "): spoiler
    for spoiler in (
        swapped, cut_off, shuffled, vague, wrong_language, loop, refusal, leaked_scaffolding, off_format, stub, echo,
        garbled, run_on, advert, prompt_cut, prompt_swapped, wrong_number, wrong_name,
    )
}  # fmt: skip
"""Every kind by the name that a page shows."""
FREQUENT = (
    "swapped", "cut off", "shuffled", "vague", "wrong language", "loop", "refusal", "leaked scaffolding", "off format",
)  # fmt: skip
"""The kinds that real datasets have most."""
UNSEEN = ("wrong number", "wrong name")
"""False facts in fluent text: a small model does not know them."""


def spoiled(kind: str, rows: Sequence[Row], at: int, seed: int, kinds: Mapping[str, Spoiler] = KINDS) -> Row | None:
    """``rows[at]`` with a flaw of this kind, one of ``kinds``, or None where it does not apply.

    Depends on kind, seed, place and the rows only. Raises KeyError for an unknown kind.
    """
    spoil, row = kinds[kind], rows[at]
    rng = random.Random(f"{kind} {seed} {at}")
    others = [i for i in range(len(rows)) if rows[i].prompt != row.prompt and rows[i].answer != row.answer]
    for _ in range(TRIES if others else 0):
        found = spoil(rng, row, rows[rng.choice(others)])
        if found is not None and found != row:
            return found
    return None


def planted(rows: Sequence[Row], share: float, kinds: Sequence[str], seed: int) -> list[tuple[Row, str]]:
    """The rows with ``share`` of them spoilt, the kinds in equal parts where they apply; a clean row's kind is "".

    Rows to borrow from are taken from ``rows`` as well.
    """
    rng = random.Random(f"planted {seed}")
    order = rng.sample(range(len(rows)), len(rows))
    out = [(row, "") for row in rows]
    left = round(share * len(rows))
    used = dict.fromkeys(kinds, 0)
    for at in order:
        if not left:
            break
        for kind in sorted(kinds, key=lambda kind: (used[kind], rng.random())):
            if (row := spoiled(kind, rows, at, seed)) is not None:
                out[at], used[kind], left = (row, kind), used[kind] + 1, left - 1
                break
    return out
