"""Conversations that look like an instruction dataset's: uneven lengths, several languages, hostile characters.

Deterministic by the generator that is handed in, and fast: half a million take seconds. Nothing here is anybody's text.
"""

from __future__ import annotations

import random

from engine.store.rows import Message

Turns = tuple[Message, ...]

TOPICS = (
    "volcanoes", "tax law", "chess openings", "sourdough bread", "the Roman republic", "graph algorithms", "harmony",
    "photosynthesis", "home insulation", "SQL joins", "the water cycle", "marathon training", "stoic philosophy",
    "bicycle repair", "gene editing", "the French Revolution", "compound interest", "bird migration", "linear algebra",
    "coffee roasting", "maritime trade", "unit testing", "the immune system", "urban planning", "watercolour painting",
    "black holes", "contract law", "beekeeping", "the printing press", "regular expressions", "earthquakes", "tea",
    "probability", "public speaking", "glaciers", "typography", "电路设计", "日本の歴史", "искусство перевода", "الفلك",
)  # fmt: skip
ASKS = (
    "Explain {t} to a beginner.",
    "Name {n} facts about {t}.",
    "Write a short poem about {t}.",
    "What are the most common mistakes people make with {t}, and how are they avoided?",
    "Summarise the history of {t} in {n} sentences.",
    "Compare two schools of thought on {t}. Give an example for each.",
    "Give me a step-by-step plan to learn {t} in {n} weeks.",
    "tell me stuff about {t}",
    "Erkläre {t} in {n} Sätzen, ohne Fachwörter zu benutzen.",
    "¿Cuáles son las {n} ideas más importantes sobre {t}?",
    "用{n}句话解释{t}。",
    "Rewrite this sentence about {t} so that a child understands it:\n\n“{t} is more than the sum of its parts.”",
    "Which questions about {t} should an interviewer ask? List {n}, hardest first 🙂",
    "Write a function that counts how often “{t}” occurs in a text. Return {n} if it does not.",
)
SAYS = (
    "The most important thing about {t} is that small changes add up over time.",
    "Historically, {t} was understood very differently from how we see it today.",
    "There are {n} points to keep in mind.",
    "First, look at what is actually there before deciding what ought to be.",
    "A common mistake is to treat {t} as if it had only one cause.",
    "For example, a careful observer would write down {n} measurements and compare them.",
    "This matters because the details decide whether the result can be trusted.",
    "Experts disagree about {t}, but most accept the evidence of the last {n} years.",
    "In practice, start with the simplest case and only then add what is missing.",
    "Zusammengefasst: {t} lohnt eine zweite Betrachtung, gerade wegen der Ausnahmen.",
    "En résumé, {t} demande de la patience et {n} bonnes questions.",
    "因此，{t}值得仔细研究，尤其是例外情况。",
    "✅ Check the sources. ⚠️ Do not generalise from {n} cases.",
    "1. Observe. 2. Compare. 3. Explain what {t} has to do with it.",
    "```python\ndef count(text):\n    return text.count({n})\n```",
    "Nobody should rely on a single explanation of {t}.",
    "It depends on context: in {n} of ten situations the opposite holds.",
    "Finally, repeat the whole exercise with fresh eyes.",
)
FOLLOW_UPS = ("Can you make that shorter?", "Why?", "Give one more example.", "And what about {t}?", "请再解释一遍。")
SYSTEM = "You are a patient teacher of {t}. Answer briefly."
HOSTILE = (
    "\x1b]52;c;cm0gLXJmIC8=\x07", "\x1b]0;owned\x07", "\x1b[2J\x1b[H", "\x9b2J", "\u202efdp.exe\u202c",
    "zero\u200bwidth\u200d", "\ufeffbom", "nul\x00byte", "bell\x07", "tag\U000e0041\U000e0042", "[red]markup[/red]",
    "one\rtwo", "back\x08\x08space", "\u2028line\u2029separators",
)  # fmt: skip
LONG_LINE = "A very long line without any break: " + "lorem-ipsum-" * 300
FLAWS = ("not sure.", "ok", "it is what it is", "as an ai model i can say {t} is nice")

ONE_IN_HOSTILE = 400
ONE_IN_LONG = 3000


def _pick(rng: random.Random, among: tuple[str, ...]) -> str:
    return among[int(rng.random() * len(among))]


def _say(rng: random.Random, among: tuple[str, ...], topic: str) -> str:
    return _pick(rng, among).replace("{t}", topic).replace("{n}", str(2 + int(rng.random() * 97)))


def conversation(rng: random.Random, topic: int, flawed: bool) -> Turns:
    """One sample about ``TOPICS[topic]``; a flawed one has a poor answer."""
    name = TOPICS[topic]
    turns = [Message("user", _say(rng, ASKS, name)), Message("assistant", _answer(rng, name, flawed))]
    dice = rng.random()
    if dice < 0.03:
        turns.insert(0, Message("system", SYSTEM.replace("{t}", name)))
    elif dice < 0.13:
        for _ in range(1 + int(rng.random() * 4)):
            turns.append(Message("user", _say(rng, FOLLOW_UPS, name)))
            turns.append(Message("assistant", _answer(rng, name, flawed)))
    elif dice < 0.13 + 1 / ONE_IN_HOSTILE:
        last = turns[-1]
        turns[-1] = Message(last.role, f"{last.content} {_pick(rng, HOSTILE)} end")
    elif dice < 0.13 + 1 / ONE_IN_HOSTILE + 1 / ONE_IN_LONG:
        turns[-1] = Message("assistant", LONG_LINE + turns[-1].content)
    return tuple(turns)


def _answer(rng: random.Random, topic: str, flawed: bool) -> str:
    if flawed and rng.random() < 0.4:
        return _say(rng, FLAWS, topic)
    count = max(1, int(rng.lognormvariate(1.0, 0.75)))
    joint = "\n\n" if count > 6 else " "
    return joint.join(_say(rng, SAYS, topic) for _ in range(min(count, 60)))


def rewritten(rng: random.Random, prompt: str, response: str, topic: int) -> tuple[str, str]:
    """A teacher's version: most words kept, some exchanged, the answer completed."""
    name = TOPICS[topic]
    new_prompt = f"{_changed(rng, prompt)} Name the sources that you rely on."
    parts = [_changed(rng, response), *(_say(rng, SAYS, name) for _ in range(1 + int(rng.random() * 3)))]
    return new_prompt, " ".join(parts)


def _changed(rng: random.Random, text: str) -> str:
    words = text.split(" ")
    return " ".join(word if rng.random() < 0.85 else _pick(rng, EXCHANGED) for word in words[:400])


EXCHANGED = ("precisely", "carefully", "the", "two", "warning", "signs", "which", "therefore", "clearly", "evidence")
