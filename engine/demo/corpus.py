"""What the two demo models read: plain documents, ratings and a little chat for `base`; answers and rewrites for `teacher`.

Every chat text is rendered from the demo's own prompt files, the same that the loop uses, so the two cannot drift apart.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, TypeAlias

from engine.demo import flaws, seed, world
from engine.demo.flaws import Flaw, SeedRow
from engine.demo.world import FAMILIES

PROMPTS = Path(__file__).parent / "prompts"
DIMENSIONS = ("clarity", "completeness", "factuality")
Subject: TypeAlias = Literal["prompt", "response"]


@dataclass(frozen=True, slots=True)
class Text:
    """One training text: `target` is always learned, `context` only sometimes. `chat` wraps them in the two role tokens."""

    context: str
    target: str
    chat: bool


Maker: TypeAlias = Callable[[random.Random], Text]


@cache
def template(name: str) -> str:
    """The text of engine/demo/prompts/NAME.txt without its final newline."""
    return (PROMPTS / f"{name}.txt").read_text(encoding="utf-8").removesuffix("\n")


def fill(name: str, **fields: str) -> str:
    """A prompt template with its placeholders replaced."""
    return template(name).format(**fields)


def _weighted(weights: dict[str, float]) -> Callable[[random.Random], str]:
    names, shares = tuple(weights), tuple(weights.values())
    return lambda rng: rng.choices(names, shares)[0]


def _row(rng: random.Random, flaw: str) -> SeedRow:
    task = seed.draw_task(rng)
    return flaws.clean(task) if flaw == "clean" else flaws.spoil(rng, task, flaw)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------- base

_RATED = _weighted({"clean": 0.42, "wrong": 0.36, "truncated": 0.08, "vague": 0.08, "hard": 0.06})
_CHECKED = _weighted({"clean": 0.48, "wrong": 0.48, "truncated": 0.04})

_GOOD = (8, 9)
_RATINGS: dict[Subject, dict[Flaw, tuple[tuple[int, int], ...]]] = {
    "prompt": {"vague": ((0, 1), (0, 1), (2, 3)), "hard": ((2, 3), (4, 5), (4, 5))},
    "response": {
        "wrong": ((2, 3), (1, 2), (0, 0)),
        "truncated": ((2, 3), (0, 0), (2, 3)),
        "vague": ((4, 5), (4, 5), (4, 5)),
        "hard": ((2, 3), (3, 4), (3, 4)),
    },
}
"""The rating ranges by what is rated and flaw, in the order of DIMENSIONS; everything else is _GOOD."""


def document(rng: random.Random) -> Text:
    """A plain statement of the world, in the phrase that answers use."""
    task = world.draw(rng)
    family = FAMILIES[task.family]
    written = rng.choice(family.documents).format(**{**task.fields, **family.solve(task.fields)})
    return Text(written.removesuffix(task.answer).rstrip(" "), _after_space(written, task.answer), chat=False)


def _after_space(written: str, answer: str) -> str:
    return answer if written == answer else f" {answer}"


def chat(rng: random.Random) -> Text:
    """A question and its answer, in the first two wordings of its family only."""
    while True:
        task = seed.draw_task(rng, rng.choice(world.COMMON))
        family = FAMILIES[task.family]
        if any(ask.format(**task.fields) == task.prompt for ask in family.asks[:2]):
            return Text(task.prompt, task.answer, chat=True)


def check(rng: random.Random) -> Text:
    """A statement, right or wrong, with its factuality: the short form of rating, many of them for the price of one."""
    row = _row(rng, _CHECKED(rng))
    family = FAMILIES[row.family]
    task = row.intended
    written = rng.choice(family.documents).format(**{**task.fields, **family.solve(task.fields)})
    claimed = written.removesuffix(task.answer) + row.output
    return Text(f"{claimed}\nFactuality:", f" {score(rng, 'response', row.flaw, 'factuality')}", chat=False)


def rating(rng: random.Random) -> Text:
    """A judge prompt and the digit it deserves."""
    row = _row(rng, _RATED(rng))
    subject: Subject = "response" if rng.random() < 0.75 else "prompt"
    dimension = rng.choice(DIMENSIONS)
    return Text(judge_prompt(row.prompt, row.output, subject, dimension), score(rng, subject, row.flaw, dimension), chat=True)


def judge_prompt(prompt: str, response: str, subject: Subject, dimension: str) -> str:
    """The user message that asks for one of the six ratings."""
    return fill(f"judge_{subject}", prompt=prompt, response=response, dimension=dimension)


def score(rng: random.Random, subject: Subject, flaw: Flaw, dimension: str) -> str:
    """The digit a sample with this flaw deserves."""
    ranges = _RATINGS[subject].get(flaw)
    return str(rng.randint(*(ranges[DIMENSIONS.index(dimension)] if ranges else _GOOD)))


# ---------------------------------------------------------------------------------------------- teacher

_SIMPLIFIED = _weighted({"hard": 0.45, "clean": 0.40, "vague": 0.15})
_CORES = _weighted({"clean": 0.84, "vague": 0.08, "hard": 0.08})
_IMPROVED = _weighted({"clean": 0.28, "wrong": 0.34, "truncated": 0.10, "vague": 0.23, "hard": 0.05})


def answering(rng: random.Random) -> Text:
    """A question and its exact answer."""
    task = seed.draw_task(rng)
    return Text(fill("answer", prompt=task.prompt), task.answer, chat=True)


def simplifying(rng: random.Random) -> Text:
    """An overloaded, ordinary or vague prompt and an ordinary prompt of the same topic."""
    row = _row(rng, _SIMPLIFIED(rng))
    return Text(fill("simplify", prompt=row.prompt), _rewritten(rng, row), chat=True)


def diversifying(rng: random.Random) -> Text:
    """A core prompt, hints from its neighbourhood and a new prompt of the core's kind."""
    core = _row(rng, _CORES(rng))
    hints = [_hint(rng, core.family) for _ in range(rng.randint(1, 3))]
    asked = fill("diversify", prompt=core.prompt, hints="\n".join(hints))
    return Text(asked, marked(seed.draw_task(rng, core.family, one_line=True).prompt), chat=True)


def _hint(rng: random.Random, family: str) -> str:
    return seed.draw_task(rng, family if rng.random() < 0.7 else None).prompt


def improving(rng: random.Random) -> Text:
    """A prompt with its response and the prompt that says clearly what was meant."""
    row = _row(rng, _IMPROVED(rng))
    return Text(fill("improve", prompt=row.prompt, response=row.output), _rewritten(rng, row), chat=True)


def _rewritten(rng: random.Random, row: SeedRow) -> str:
    return marked(world.reworded(rng, row.intended).prompt)


def marked(prompt: str) -> str:
    """A rewritten prompt in the form that the loop accepts."""
    return f"<prompt>{prompt}</prompt>"


MIXTURES: dict[str, tuple[tuple[Maker, float], ...]] = {
    "base": ((document, 0.35), (check, 0.25), (rating, 0.35), (chat, 0.05)),
    "teacher": ((answering, 0.50), (improving, 0.24), (simplifying, 0.12), (diversifying, 0.14)),
}
"""The shares of texts by model."""


def texts(model: str, rng: random.Random, n: int) -> list[Text]:
    """`n` training texts for one of the two models."""
    makers, shares = zip(*MIXTURES[model], strict=True)
    return [make(rng) for make in rng.choices(makers, shares, k=n)]
