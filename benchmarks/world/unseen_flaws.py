"""Further ways in which a row goes bad, written after the flaw score was fixed and without changing it: what the score
finds of these is what it finds of kinds that nobody had in mind.

The same contract as ``benchmarks.world.planted_flaws``: a pure function of a seeded generator, a row, and another row.
"""

from __future__ import annotations

import html
import random
import re
from collections.abc import Mapping

from benchmarks.world.planted_flaws import WORD, Row, Spoiler, topic

SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
FILLERS = (
    "This is an interesting question. There are many aspects to consider, and different people will have different"
    " views. It is always important to look at the whole picture before coming to a conclusion.",
    "There are several things that can be said here. Each of them has its own advantages and disadvantages, so it is"
    " best to think carefully and to choose what suits you.",
    "As we all know, this is very important in today's world. With the right approach, anyone can be successful.",
)
DEFERRALS = (
    "You can easily find this with any search engine.",
    "Please see the attached file for the complete answer.",
    "I will answer this in my next message.",
    "The answer has been sent to your email address.",
    "This was explained in the lecture; please read your notes again.",
)
PLACEHOLDERS = (
    "[Insert answer here]",
    "Your text goes here. Replace this paragraph with your own content before publishing.",
    "Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod tempor incididunt ut labore.",
    "{{ answer }}",
    "XXXX to be completed by the annotator XXXX",
)
THOUGHTS = (
    "The user wants something about {topic}. I should keep it short and make sure that it is correct. Let me think"
    " about what to include first. ",
    "Okay, so the question is about {topic}. Hmm. First I need to work out what exactly is asked. Then I write it"
    " down. ",
    "We need to answer. The guidelines say: be helpful, be concise. So I will produce the final text now. ",
)
SCRIPTS = (
    "Это зависит от обстоятельств. Обычно сначала объясняют, что означает это слово, а потом приводят несколько"
    " простых примеров из жизни.",
    "这个问题有很多不同的答案。一般来说，我们应该先了解情况，然后再选择最简单的方法。",
    "これにはいろいろな答えがあります。まず状況をよく見て、それから一番簡単な方法を選ぶとよいでしょう。",
    "इसके कई उत्तर हो सकते हैं। आमतौर पर पहले स्थिति को समझना चाहिए और फिर सबसे सरल उपाय चुनना चाहिए।",
    "Bu sorunun birçok cevabı vardır. Genellikle önce durumu anlamak, sonra da en kolay yolu seçmek gerekir.",
)


def spliced(rng: random.Random, row: Row, other: Row) -> Row | None:
    """Begins as its own answer and goes on, in mid-sentence, as another row's."""
    mine, theirs = row.answer.split(" "), other.answer.split(" ")
    if len(mine) < 8 or len(theirs) < 8:
        return None
    at, there = rng.randint(3, len(mine) // 2), rng.randint(len(theirs) // 3, len(theirs) // 2)
    return Row(row.prompt, " ".join(mine[:at] + theirs[there:]))


def words_missing(rng: random.Random, row: Row, _: Row) -> Row | None:
    """Every third or fourth word of the answer is missing."""
    words = row.answer.split(" ")
    return Row(row.prompt, " ".join(w for w in words if rng.random() > 0.3)) if len(words) > 7 else None


def run_together(rng: random.Random, row: Row, _: Row) -> Row | None:
    """Half of the spaces are missing, as after a bad conversion of a PDF file."""
    text = "".join("" if c == " " and rng.random() < 0.5 else c for c in row.answer)
    return Row(row.prompt, text) if row.answer.count(" ") > 7 else None


def entities(_: random.Random, row: Row, __: Row) -> Row | None:
    """Escaped twice for the web: entities stand in the answer for quotes, spaces and apostrophes."""
    text = re.sub(r" (?=\w)", lambda m: "&nbsp;" if m.start() % 3 == 0 else " ", html.escape(html.escape(row.answer)))
    return Row(row.prompt, text) if len(row.answer.split()) > 6 else None


def sentences_reversed(_: random.Random, row: Row, __: Row) -> Row | None:
    """The answer's sentences, the last one first."""
    parts = SENTENCE_END.split(row.answer)
    return Row(row.prompt, " ".join(parts[::-1])) if len(parts) > 2 else None


def begins_late(rng: random.Random, row: Row, _: Row) -> Row | None:
    """The answer's beginning is missing; it starts in the middle of a sentence."""
    starts = [m.start() for m in WORD.finditer(row.answer)]
    if len(starts) < 10:
        return None
    return Row(row.prompt, row.answer[starts[rng.randint(len(starts) // 4, len(starts) // 2)] :])


def twice(_: random.Random, row: Row, __: Row) -> Row | None:
    """The whole answer, and then the whole answer again."""
    return Row(row.prompt, f"{row.answer}\n\n{row.answer}") if len(row.answer.split()) > 4 else None


def filler(rng: random.Random, row: Row, _: Row) -> Row | None:
    """Fluent words that fit any question and answer none."""
    return Row(row.prompt, rng.choice(FILLERS))


def deferred(rng: random.Random, row: Row, _: Row) -> Row | None:
    """Says that the answer is elsewhere."""
    return Row(row.prompt, rng.choice(DEFERRALS))


def placeholder(rng: random.Random, row: Row, _: Row) -> Row | None:
    """A form that nobody filled in."""
    return Row(row.prompt, rng.choice(PLACEHOLDERS))


def thinks_aloud(rng: random.Random, row: Row, _: Row) -> Row | None:
    """Thoughts that were not meant to be read stand before the answer."""
    return Row(row.prompt, rng.choice(THOUGHTS).format(topic=topic(row.prompt)) + row.answer)


def other_script(rng: random.Random, row: Row, _: Row) -> Row | None:
    """An answer in Russian, Chinese, Japanese, Hindi or Turkish that nobody asked for."""
    return Row(row.prompt, rng.choice(SCRIPTS))


def next_exchange(_: random.Random, row: Row, other: Row) -> Row | None:
    """The answer goes on with the next question and its answer."""
    return Row(row.prompt, f"{row.answer}\n\n{other.prompt}\n{other.answer}")


def two_tasks(_: random.Random, row: Row, other: Row) -> Row | None:
    """The prompt asks for two things and only one is answered, the second of them."""
    return Row(f"{row.prompt}\n{other.prompt}", other.answer)


def references(rng: random.Random, row: Row, _: Row) -> Row | None:
    """Marks of footnotes and of a page that was copied stand in the text."""
    marks = ("[1]", "[citation needed]", "(see Fig. 3)", "[edit]", "^ a b c", "(Retrieved 12 May 2009)")
    words = row.answer.split(" ")
    for _try in range(3):
        words.insert(rng.randint(1, len(words)), rng.choice(marks))
    return Row(row.prompt, " ".join(words))


UNSEEN_KINDS: Mapping[str, Spoiler] = {
    spoiler.__name__.replace("_", " "): spoiler
    for spoiler in (
        spliced, words_missing, run_together, entities, sentences_reversed, begins_late, twice, filler, deferred,
        placeholder, thinks_aloud, other_script, next_exchange, two_tasks, references,
    )
}  # fmt: skip
"""Every kind by the name that a page shows."""
