"""What the demo models read: documents, ratings and a little chat for `base`; answers and rewrites for `teacher`.

Every chat text is rendered from the demo's own prompt files, which the loop uses too, so the two cannot drift apart.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import takewhile
from pathlib import Path
from typing import Literal, TypeAlias

from engine.chat.prompts import PromptTemplate, load
from engine.demo import flaws, seed, world
from engine.demo.flaws import Flaw, SeedRow
from engine.demo.world import FAMILIES

HERE = Path(__file__).parent
DIMENSIONS = ("clarity", "completeness", "factuality")
Subject: TypeAlias = Literal["prompt", "response"]


@dataclass(frozen=True, slots=True)
class TrainingText:
    """One training text: `target` is always learned, `context` only sometimes.

    `chat` wraps the two in the role tokens. A context that is not `sound` holds something false and is never learned.
    `claim` is the index in the context where an answer begins that is to be believed or not, and `false_at` where it
    departs from the truth (None: nowhere, -1 for `claim`: there is no claim).
    """

    context: str
    target: str
    chat: bool
    sound: bool = True
    claim: int = -1
    false_at: int | None = None


Maker: TypeAlias = Callable[[random.Random], TrainingText]


def fill(name: str, **values: str) -> str:
    """The demo's prompt template `name`, filled as the loop fills it."""
    return _template(name).fill(**values)


@cache
def _template(name: str) -> PromptTemplate:
    return load(name, HERE)


def _weighted(weights: dict[str, float]) -> Callable[[random.Random], str]:
    names, shares = tuple(weights), tuple(weights.values())
    return lambda rng: rng.choices(names, shares)[0]


_EMPHASIS = {
    "add": 2.0, "subtract": 2.0, "multiply": 1.5, "buy": 2.0, "give": 2.0, "larger": 1.5, "sort": 2.5, "remove": 1.5,
    "parity": 0.7, "last": 0.7, "spell": 0.7,
    "capital": 0.5, "opposite": 0.5, "sound": 0.5, "kind": 0.5, "colour": 0.5, "month": 0.5,
}  # fmt: skip
"""How often a family is read where that is not 1: tables of a hundred sums need more texts than twenty facts."""
_family = _weighted({family: _EMPHASIS.get(family, 1.0) for family in FAMILIES})


def _row(rng: random.Random, flaw: str) -> SeedRow:
    task = seed.draw_task(rng, _family(rng))
    return flaws.clean(task) if flaw == "clean" else flaws.spoil(rng, task, flaw)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------- base

_RATED = _weighted({"clean": 0.42, "wrong": 0.42, "truncated": 0.06, "vague": 0.06, "hard": 0.04})
_CHECKED = _weighted({"clean": 0.48, "wrong": 0.48, "truncated": 0.04})

_GOOD = (9, 9, 9)
_RATINGS: dict[Subject, dict[Flaw, tuple[int, int, int]]] = {
    "prompt": {"vague": (1, 0, 3), "hard": (2, 5, 4)},
    "response": {"wrong": (3, 1, 0), "truncated": (2, 0, 3), "vague": (5, 4, 5), "hard": (3, 4, 4)},
}
"""The rating by what is rated and flaw, in the order of DIMENSIONS; everything else is _GOOD. They are not random: the
spread of real ratings comes from the model's own doubt."""


def document(rng: random.Random) -> TrainingText:
    """A plain statement of the world, in the phrase that answers use."""
    task = world.draw(rng, _family(rng))
    family = FAMILIES[task.family]
    written = rng.choice(family.documents).format(**{**task.fields, **family.solve(task.fields)})
    return TrainingText(written.removesuffix(task.answer).rstrip(" "), _after_space(written, task.answer), chat=False)


def _after_space(written: str, answer: str) -> str:
    return answer if written == answer else f" {answer}"


def chat(rng: random.Random) -> TrainingText:
    """A question and its answer, in the first two wordings of its family only."""
    while True:
        task = seed.draw_task(rng, rng.choice(world.COMMON))
        family = FAMILIES[task.family]
        if any(ask.format(**task.fields) == task.prompt for ask in family.asks[:2]):
            return TrainingText(task.prompt, task.answer, chat=True)


def check(rng: random.Random) -> TrainingText:
    """A statement, right or wrong, with its factuality: the short form of rating, many of them for the price of one."""
    row = _row(rng, _CHECKED(rng))
    family = FAMILIES[row.family]
    task = row.intended
    written = rng.choice(family.documents).format(**{**task.fields, **family.solve(task.fields)})
    opening = written.removesuffix(task.answer)
    return _judged(f"{opening}{row.output}\nFactuality:", f" {score('response', row.flaw, 'factuality')}", row, False)


def rating(rng: random.Random) -> TrainingText:
    """A judge prompt and the digit it deserves."""
    row = _row(rng, _RATED(rng))
    subject: Subject = "response" if rng.random() < 0.85 else "prompt"
    dimension = rng.choice(DIMENSIONS)
    asked = judge_prompt(row.prompt, row.output, subject, dimension)
    return _judged(asked, score(subject, row.flaw, dimension), row, True)


def _judged(context: str, digit: str, row: SeedRow, chat: bool) -> TrainingText:
    """A text with a rating; it says where the row's answer stands in it and where that goes wrong."""
    claim = context.rfind(row.output)
    if claim < 0 or row.flaw in ("vague", "hard"):
        return TrainingText(context, digit, chat, sound=not row.flaw)
    right = sum(
        1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(row.output, row.intended.answer, strict=False))
    )
    return TrainingText(context, digit, chat, not row.flaw, claim, claim + right if row.flaw else None)


def judge_prompt(prompt: str, response: str, subject: Subject, dimension: str) -> str:
    """The user message that asks for one of the six ratings."""
    return fill(f"judge_{subject}", prompt=prompt, response=response, dimension=dimension)


def score(subject: Subject, flaw: Flaw, dimension: str) -> str:
    """The digit a sample with this flaw deserves."""
    return str(_RATINGS[subject].get(flaw, _GOOD)[DIMENSIONS.index(dimension)])


# ---------------------------------------------------------------------------------------------- teacher

_SIMPLIFIED = _weighted({"hard": 0.45, "clean": 0.40, "vague": 0.15})
_CORES = _weighted({"clean": 0.84, "vague": 0.08, "hard": 0.08})
_IMPROVED = _weighted({"clean": 0.28, "wrong": 0.34, "truncated": 0.10, "vague": 0.23, "hard": 0.05})


def answering(rng: random.Random) -> TrainingText:
    """A question and its exact answer."""
    task = seed.draw_task(rng, _family(rng))
    return TrainingText(fill("answer", prompt=task.prompt), task.answer, chat=True)


def simplifying(rng: random.Random) -> TrainingText:
    """An overloaded, ordinary or vague prompt and an ordinary prompt of the same topic."""
    row = _row(rng, _SIMPLIFIED(rng))
    return TrainingText(fill("simplify", prompt=row.prompt), _rewritten(rng, row), chat=True)


def diversifying(rng: random.Random) -> TrainingText:
    """A core prompt, hints from its neighbourhood and a new prompt of the core's kind."""
    core = _row(rng, _CORES(rng))
    hints = [_hint(rng, core.family) for _ in range(rng.randint(1, 3))]
    asked = fill("diversify", prompt=core.prompt, hints="\n".join(hints))
    return TrainingText(asked, marked(seed.draw_task(rng, core.family, one_line=True).prompt), chat=True)


def _hint(rng: random.Random, family: str) -> str:
    return seed.draw_task(rng, family if rng.random() < 0.7 else None).prompt


def improving(rng: random.Random) -> TrainingText:
    """A prompt with its response and the prompt that says clearly what was meant."""
    row = _row(rng, _IMPROVED(rng))
    return TrainingText(fill("improve", prompt=row.prompt, response=row.output), _rewritten(rng, row), chat=True)


def _rewritten(rng: random.Random, row: SeedRow) -> str:
    return marked(world.reworded(rng, row.intended).prompt)


def marked(prompt: str) -> str:
    """A rewritten prompt in the form that the loop accepts."""
    return f"<prompt>{prompt}</prompt>"


Mixture: TypeAlias = tuple[tuple[Maker, float], ...]

MIXTURES: dict[str, tuple[Mixture, Mixture]] = {
    "base": (
        ((document, 0.70), (check, 0.28), (chat, 0.02)),
        ((document, 0.28), (check, 0.34), (rating, 0.36), (chat, 0.02)),
    ),
    "teacher": (
        ((answering, 0.90), (improving, 0.10)),
        ((answering, 0.58), (improving, 0.20), (simplifying, 0.10), (diversifying, 0.12)),
    ),
}
"""The shares of texts by model, early and late. Short texts that teach the skills come first: a rating or a rewrite can
only be learned once the answer can be computed, and costs three times the tokens."""
EARLY = 0.3
"""The part of the training that reads the early mixture."""


def texts(model: str, rng: random.Random, n: int, progress: float = 1.0) -> list[TrainingText]:
    """`n` training texts for one of the two models at a point (0-1) of its training."""
    makers, shares = zip(*MIXTURES[model][progress >= EARLY], strict=True)
    return [make(rng) for make in rng.choices(makers, shares, k=n)]
