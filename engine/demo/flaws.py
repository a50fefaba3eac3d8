"""Ways in which a clean task becomes a bad sample, each the kind that real instruction data has.

`wrong`: the answer is false, mostly in the way a careless annotator errs (sorted means copied, larger means
smaller), else at random. `truncated`: the answer stops half-way. `vague`: the prompt no longer says what to do, while
the answer still shows it. `hard`: the prompt asks far more than the small base model can learn; its answer is right.
`rare` is no flaw of the sample but of the dataset: a topic it hardly covers (`world.RARE`).
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from engine.demo import world
from engine.demo.facts import WORDS
from engine.demo.world import FAMILIES, DemoTask, Fields

Flaw: TypeAlias = Literal["", "wrong", "truncated", "vague", "hard"]
SLIPS = 0.7
"""Of the wrong answers, where the family has a typical mistake."""
FLAWS: tuple[Flaw, ...] = ("wrong", "truncated", "vague", "hard")


@dataclass(frozen=True, slots=True)
class SeedRow:
    """One row of the dataset with what only the measurements may know: its family, its flaw and the intended task."""

    instruction: str
    input: str
    output: str
    family: str
    flaw: Flaw
    intended: DemoTask

    @property
    def prompt(self) -> str:
        """The whole user message."""
        return f"{self.instruction}\n{self.input}" if self.input else self.instruction


def clean(task: DemoTask) -> SeedRow:
    """The row as it should be."""
    return SeedRow(task.instruction, task.input, task.answer, task.family, "", task)


def spoil(rng: random.Random, task: DemoTask, flaw: Flaw) -> SeedRow:
    """The row with one flaw; raises KeyError for an unknown one."""
    return _SPOILERS[flaw](rng, task)


def wrong(rng: random.Random, task: DemoTask) -> SeedRow:
    """A false answer in the right phrase."""
    family = FAMILIES[task.family]
    solved = {**task.fields, **family.solve(task.fields)}
    slip = _SLIPS.get(task.family)
    result = slip(solved) if slip and rng.random() < SLIPS else None
    if result is None or family.answer.format(**{**solved, **result}) == task.answer:
        result = _random_result(rng, family.pool, solved)
    output = family.answer.format(**{**solved, **result})
    return SeedRow(task.instruction, task.input, output, task.family, "wrong", task)


def truncated(rng: random.Random, task: DemoTask) -> SeedRow:
    """The answer stops before its result is complete."""
    words = task.answer.split()
    kept = " ".join(words[: rng.randint(max(1, len(words) // 2 - 1), max(1, len(words) - 1))])
    return SeedRow(task.instruction, task.input, kept, task.family, "truncated", task)


_VAGUE = (
    "Do the thing with {rest}",
    "Tell me about {rest}",
    "{rest} please",
    "Something with {rest}",
    "You know: {rest}",
)


def vague(rng: random.Random, task: DemoTask) -> SeedRow:
    """A prompt that keeps only its last words; nobody could know what it asks."""
    words = task.prompt.split()
    rest = " ".join(words[-rng.randint(1, 2) :]).strip(".?")
    return SeedRow(rng.choice(_VAGUE).format(rest=rest), "", task.answer, task.family, "vague", task)


def hard(rng: random.Random, task: DemoTask) -> SeedRow:
    """An overloaded prompt of the same topic; `intended` is the ordinary task it should be simplified to."""
    if "thing" in task.fields:
        return _hard_story(rng, task.fields)
    if "list" in task.fields:
        return _hard_list(rng, task.family)
    return _hard_sum(rng)


def _hard_story(rng: random.Random, fields: Fields) -> SeedRow:
    name, thing = fields["name"], fields["thing"]
    a, b, days = 2 * rng.randint(11, 49), 2 * rng.randint(11, 49), rng.randint(3, 9)
    prompt = (
        f"{name} starts with {a} {thing}, receives {b} more every day for {days} days and then loses half of them. "
        f"How many {thing} does {name} have in the end?"
    )
    output = f"({a} + {b} x {days}) / 2 = {(a + b * days) // 2} {thing}."
    intended = _easier(FAMILIES["buy"], {"name": name, "thing": thing, "a": str(a % 10), "b": str(b % 10)})
    return SeedRow(prompt, "", output, "buy", "hard", intended)


def _hard_list(rng: random.Random, family: str) -> SeedRow:
    target = FAMILIES["sort" if family in ("sort", "count") else "reverse"]
    words = rng.sample(WORDS, rng.randint(9, 12))
    order = sorted(words, key=lambda word: (len(word), word))
    if target.name == "sort":
        prompt = f"Order these words by length, then by letter, and number each of them: {', '.join(words)}."
    else:
        order = words[::-1]
        prompt = f"Reverse this long list and number each of the words: {', '.join(words)}."
    output = ", ".join(f"{number} {word}" for number, word in enumerate(order, 1)) + "."
    intended = _easier(target, {"list": ", ".join(words[:3])})
    return SeedRow(prompt, "", output, target.name, "hard", intended)


def _hard_sum(rng: random.Random) -> SeedRow:
    a, b, c, d = rng.randint(101, 989), rng.randint(11, 98), rng.randint(3, 9), rng.randint(101, 989)
    prompt = f"Work out {a} + {b} x {c} - {d} and show the result as a fraction of {b}."
    output = f"{a} + {b} x {c} - {d} = {a + b * c - d}, so {a + b * c - d} / {b}."
    intended = _easier(FAMILIES["add"], {"a": str(a % 10), "b": str(b % 10)})
    return SeedRow(prompt, "", output, "add", "hard", intended)


def _easier(family: world.TaskFamily, fields: Fields) -> DemoTask:
    return world.make(family, fields, family.asks[0])


_SPOILERS: dict[str, Callable[[random.Random, DemoTask], SeedRow]] = {
    "wrong": wrong,
    "truncated": truncated,
    "vague": vague,
    "hard": hard,
}


def _random_result(rng: random.Random, pool: tuple[str, ...], solved: Fields) -> Fields:
    right = solved["r"]
    if "s" in solved:
        return {"r": solved["s"], "s": right}
    if pool:
        listed = solved["list"].split(", ") if "list" in solved else pool
        return {"r": rng.choice([word for word in listed if word != right])}
    if right.isdigit():
        return {"r": str(rng.choice([n for n in _near(int(right)) if n >= 0]))}
    separator = ", " if "," in right or "list" in solved else " "
    return {"r": separator.join(_disturbed(rng, right.split(separator), letters=separator == " "))}


def _near(value: int) -> tuple[int, ...]:
    return tuple(value + step for step in (-10, -3, -2, -1, 1, 2, 3, 10))


def _disturbed(rng: random.Random, parts: list[str], letters: bool) -> list[str]:
    """Another order of the parts where that differs, else one part exchanged."""
    other = parts[:]
    rng.shuffle(other)
    if other != parts:
        return other
    at = rng.randrange(len(parts))
    choices = "aeiorst" if letters else WORDS
    return [*parts[:at], rng.choice([c for c in choices if c not in parts]), *parts[at + 1 :]]


def _shifted(step: int) -> Callable[[Fields], Fields]:
    return lambda solved: {"r": str(max(0, int(solved["r"]) + step))}


def _copied(solved: Fields) -> Fields:
    return {"r": solved["list"]}


_SLIPS: dict[str, Callable[[Fields], Fields]] = {
    "add": _shifted(1),
    "subtract": _shifted(1),
    "multiply": lambda s: {"r": str(int(s["a"]) + int(s["b"]))},
    "double": lambda s: {"r": str(int(s["a"]) + 2)},
    "buy": _shifted(1),
    "give": _shifted(1),
    "after": lambda s: {"r": str(max(0, int(s["a"]) - 1))},
    "sort": _copied,
    "reverse": _copied,
    "first": lambda s: {"r": s["list"].split(", ")[-1]},
    "last": lambda s: {"r": s["list"].split(", ")[0]},
    "count": _shifted(1),
    "remove": _copied,
}
"""The systematic mistakes, by family: fields with the right result → the result a careless annotator writes."""
