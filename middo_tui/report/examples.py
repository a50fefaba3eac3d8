"""The parts of a report that quote the dataset: rewrites as differences, and questions with both replies."""

from __future__ import annotations

from collections.abc import Iterator

from engine.plurals import counted
from engine.store.flips import QuestionComparison, QuestionReplies
from middo_tui.report.facts import Example, Facts
from middo_tui.report.html import Markup, joined, table, tag
from middo_tui.text import flip_wording, number_format
from middo_tui.text.word_diff import Part

LONGEST = 2_500
"""Characters of a text that a report quotes."""
TEXTS = ("prompt", "response", "inspired by", "what looks wrong")
"""The blocks of a rewrite that are quoted."""
ELEMENTS = {"old": "del", "new": "ins"}


def answers(facts: Facts) -> Iterator[Markup]:
    """The held-out questions that flipped, counted round by round, and some of them in full."""
    found = facts.answers
    if found is None:
        yield tag("p", "Fewer than two rounds were evaluated on held-out questions.")
        return
    whole = found.comparison
    if not whole.asked:
        yield tag("p", "Only losses were measured: set exact_match in [evaluate] to compare replies.")
        return
    rows = [_counts(one) for one in (*found.steps, *[whole] * (len(found.steps) > 1))]
    yield table(("rounds", "questions", "wrong → right", "right → wrong", "change", ""), rows)
    yield tag("p", flip_wording.verdict(whole))
    for title, questions in (("Wrong → right", found.gained), ("Right → wrong", found.lost)):
        if questions:
            yield tag("h3", f"{title}, the first {len(questions)}")
            yield from (_question(one, whole) for one in questions)


def _counts(one: QuestionComparison) -> tuple[str, ...]:
    change, mark = flip_wording.change(one), flip_wording.mark(one)
    return f"{one.before} → {one.after}", f"{one.asked:,}", f"{len(one.gained):,}", f"{len(one.lost):,}", change, mark


def _question(one: QuestionReplies, whole: QuestionComparison) -> Markup:
    pair = [
        tag("div", _label(f"round {round}"), _said(reply if reply is not None else number_format.NONE))
        for round, reply in ((whole.before, one.before), (whole.after, one.after))
    ]
    asked = (_label("question"), _said(one.prompt), _label("right answer"), _said(one.wanted))
    return tag("article", *asked, tag("div", *pair, class_="pair"))


def rewrites(facts: Facts) -> Iterator[Markup]:
    """Accepted rewrites by axis, then rejected ones by reason."""
    if not facts.examples and not facts.rejected:
        yield tag("p", "None yet.")
        return
    legend = (tag("del", "what the rewrite removed"), " and ", tag("ins", "what it added"))
    yield tag("p", *legend, ". Per axis: the accepted rewrites with the largest, median and smallest gain.")
    yield from map(_rewrite, facts.examples)
    if facts.rejected:
        yield tag("h3", "Rejected, one for each of the most frequent reasons")
        yield from map(_rewrite, facts.rejected)


def _rewrite(example: Example) -> Markup:
    one = example.rewrite
    title = f"#{one.seq} · {one.key[1]} · round {one.round} · {example.why}"
    moved = " · ".join(
        f"{delta.name} {number_format.fixed(delta.old, delta.digits)} → {number_format.fixed(delta.new, delta.digits)}"
        for delta in one.deltas
    )
    quoted = [piece for block in one.blocks if block.title in TEXTS for piece in _block(block.title, block.parts)]
    verdict = [tag("p", one.verdict, class_="dim")] if one.verdict else []
    return tag("article", tag("h4", title), tag("p", moved, class_="dim"), *quoted, *verdict)


def _block(title: str, parts: tuple[Part, ...]) -> tuple[Markup, Markup]:
    left, out = LONGEST, []
    for part in parts:
        text = part.text[:left]
        out.append(tag(ELEMENTS[part.kind], text) if part.kind in ELEMENTS else joined([text]))
        left -= len(text)
    rest = sum(len(part.text) for part in parts) - LONGEST
    more = [f"\n… {counted(rest, 'more character')}"] if rest > 0 else []
    return _label(title), tag("div", *out, *more, class_="said")


def _label(words: str) -> Markup:
    return tag("p", words, class_="label")


def _said(words: str) -> Markup:
    rest = len(words) - LONGEST
    return tag("div", words[:LONGEST] + (f"\n… {counted(rest, 'more character')}" if rest > 0 else ""), class_="said")
