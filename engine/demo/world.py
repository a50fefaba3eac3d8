"""A small world in readable English whose every question has one exact answer.

The demo needs a dataset in which "better" can be measured without a judge: each family below draws a task, words it in
several ways, and solves it. The same templates read a prompt back (`parse`), so a rewritten prompt can be checked too.
"""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

from engine.demo.facts import CAPITALS, COLOURS, KINDS, MONTHS, NAMES, OPPOSITES, SOUNDS, THINGS, WORDS

Fields: TypeAlias = dict[str, str]
"""Template fields by name: what a prompt mentions ("a", "list", "name" ...) and what its answer adds ("r")."""


@dataclass(frozen=True, slots=True)
class TaskFamily:
    """One kind of task.

    `asks` are the wordings of the prompt; a newline separates Alpaca's instruction from its input. `answer` words the
    only right response. `documents` state the same knowledge as plain text, in the answer's phrase, for pretraining.
    `pool` holds the possible results where they are words of a closed set.
    """

    name: str
    asks: tuple[str, ...]
    answer: str
    documents: tuple[str, ...]
    draw: Callable[[random.Random], Fields]
    solve: Callable[[Fields], Fields]
    pool: tuple[str, ...] = ()
    rare: bool = False


@dataclass(frozen=True, slots=True)
class DemoTask:
    """One drawn task: the user message is `instruction`, with newline and `input` added where there is an input."""

    family: str
    fields: Fields
    instruction: str
    input: str
    answer: str

    @property
    def prompt(self) -> str:
        """The whole user message."""
        return f"{self.instruction}\n{self.input}" if self.input else self.instruction


def _two(low: int, high: int) -> Callable[[random.Random], Fields]:
    return lambda rng: {"a": str(rng.randint(low, high)), "b": str(rng.randint(low, high))}


def _falling(low: int, high: int) -> Callable[[random.Random], Fields]:
    def draw(rng: random.Random) -> Fields:
        big, small = sorted((rng.randint(low, high), rng.randint(low, high)), reverse=True)
        return {"a": str(big), "b": str(small)}

    return draw


def _falling_by_more_than_one(low: int, high: int) -> Callable[[random.Random], Fields]:
    """So that no story ends with "1 apples"."""
    draw = _falling(low, high)

    def redraw(rng: random.Random) -> Fields:
        while True:
            fields = draw(rng)
            if int(fields["a"]) - int(fields["b"]) != 1:
                return fields

    return redraw


def _one(low: int, high: int) -> Callable[[random.Random], Fields]:
    return lambda rng: {"a": str(rng.randint(low, high))}


def _different(rng: random.Random) -> Fields:
    a, b = rng.sample(range(31), 2)
    return {"a": str(a), "b": str(b)}


def _story(numbers: Callable[[random.Random], Fields]) -> Callable[[random.Random], Fields]:
    return lambda rng: {"name": rng.choice(NAMES), "thing": rng.choice(THINGS), **numbers(rng)}


def _listed(low: int, high: int) -> Callable[[random.Random], Fields]:
    return lambda rng: {"list": ", ".join(rng.sample(WORDS, rng.randint(low, high)))}


def _listed_with_item(rng: random.Random) -> Fields:
    words = rng.sample(WORDS, rng.randint(3, 4))
    return {"item": rng.choice(words), "list": ", ".join(words)}


def _key(table: dict[str, str]) -> Callable[[random.Random], Fields]:
    keys = tuple(table)
    return lambda rng: {"key": rng.choice(keys)}


def _look_up(table: dict[str, str]) -> Callable[[Fields], Fields]:
    return lambda fields: {"r": table[fields["key"]]}


def _number(compute: Callable[[int, int], int]) -> Callable[[Fields], Fields]:
    return lambda fields: {"r": str(compute(int(fields["a"]), int(fields.get("b", "0"))))}


def _on_list(compute: Callable[[list[str]], str]) -> Callable[[Fields], Fields]:
    return lambda fields: {"r": compute(fields["list"].split(", "))}


def _article(word: str) -> str:
    return f"an {word}" if word[0] in "aeiou" else f"a {word}"


def _month_after(name: str) -> str:
    return MONTHS[(MONTHS.index(name) + 1) % 12]


_NEXT_MONTH = {name: _month_after(name) for name in MONTHS}
_LETTERS = {word: " ".join(word) for word in WORDS}
_KINDS = {name: _article(kind) for name, kind in KINDS.items()}

_FAMILIES = (
    TaskFamily(
        "add",
        ("What is {a} + {b}?", "Add {a} and {b}.", "What is the sum of {a} and {b}?", "How much is {a} plus {b}?",
         "Work out {a} + {b}."),
        "{a} + {b} = {r}.", ("{a} + {b} = {r}.",), _two(0, 12), _number(lambda a, b: a + b),
    ),
    TaskFamily(
        "subtract",
        ("What is {a} - {b}?", "Subtract {b} from {a}.", "Take {b} away from {a}.", "How much is {a} minus {b}?",
         "Work out {a} - {b}."),
        "{a} - {b} = {r}.", ("{a} - {b} = {r}.",), _falling(0, 15), _number(lambda a, b: a - b),
    ),
    TaskFamily(
        "multiply",
        ("What is {a} times {b}?", "Multiply {a} by {b}.", "What is the product of {a} and {b}?",
         "How much is {a} x {b}?", "Work out {a} x {b}."),
        "{a} x {b} = {r}.", ("{a} x {b} = {r}.",), _two(2, 9), _number(lambda a, b: a * b),
    ),
    TaskFamily(
        "double",
        ("What is double {a}?", "Double the number {a}.", "What is twice {a}?", "How much is two times {a}?",
         "Write {a} doubled."),
        "Double {a} is {r}.", ("Double {a} is {r}.",), _one(1, 25), _number(lambda a, _: 2 * a),
    ),
    TaskFamily(
        "buy",
        ("{name} has {a} {thing} and buys {b} more. How many {thing} does {name} have now?",
         "{name} has {a} {thing} and finds {b} more. How many {thing} are there now?",
         "There are {a} {thing}. {name} brings {b} more. How many {thing} are there?",
         "{name} owns {a} {thing} and gets {b} more. Count the {thing}."),
        "{a} + {b} = {r} {thing}.",
        ("{name} has {a} {thing} and {b} more. {a} + {b} = {r} {thing}.", "{a} + {b} = {r} {thing}."),
        _story(_two(2, 10)), _number(lambda a, b: a + b),
    ),
    TaskFamily(
        "give",
        ("{name} has {a} {thing} and gives away {b}. How many {thing} are left?",
         "{name} has {a} {thing} and loses {b}. How many {thing} does {name} still have?",
         "There are {a} {thing}. {name} takes {b} away. How many {thing} remain?",
         "{name} owns {a} {thing} and sells {b}. How many {thing} are left over?"),
        "{a} - {b} = {r} {thing}.",
        ("{name} has {a} {thing} without {b}. {a} - {b} = {r} {thing}.", "{a} - {b} = {r} {thing}."),
        _story(_falling_by_more_than_one(2, 12)), _number(lambda a, b: a - b),
    ),
    TaskFamily(
        "larger",
        ("Which number is larger, {a} or {b}?", "Pick the bigger of {a} and {b}.", "Which is more, {a} or {b}?",
         "Compare {a} and {b} and name the larger one.", "Tell me the greater of {a} and {b}."),
        "{r} is larger than {s}.", ("{r} is larger than {s}.", "Numbers {a} and {b}: {r} is larger than {s}."),
        _different,
        lambda f: {"r": str(max(int(f["a"]), int(f["b"]))), "s": str(min(int(f["a"]), int(f["b"])))},
    ),
    TaskFamily(
        "after",
        ("What number comes after {a}?", "Count one up from {a}.", "Which number follows {a}?", "Add one to {a}.",
         "Name the next number after {a}."),
        "After {a} comes {r}.", ("After {a} comes {r}.",), _one(0, 40), _number(lambda a, _: a + 1),
    ),
    TaskFamily(
        "parity",
        ("Is {a} even or odd?", "Say whether {a} is odd or even.", "Is the number {a} odd or even?",
         "Decide if {a} is even or odd.", "Odd or even: {a}?"),
        "{a} is {r}.", ("{a} is {r}.",), _one(0, 40), lambda f: {"r": ("even", "odd")[int(f["a"]) % 2]},
        pool=("even", "odd"),
    ),
    TaskFamily(
        "sort",
        ("Sort these words: {list}.", "Put these words in alphabetical order: {list}.", "Sort the words.\n{list}",
         "Arrange from A to Z: {list}.", "Put the list in alphabetical order.\n{list}"),
        "Sorted: {r}.", ("Words: {list}. Sorted: {r}.",), _listed(2, 4), _on_list(lambda w: ", ".join(sorted(w))),
    ),
    TaskFamily(
        "reverse",
        ("Reverse the list: {list}.", "Write these words in reverse order: {list}.", "Reverse the list.\n{list}",
         "Turn the order around: {list}.", "Write the list backwards.\n{list}"),
        "Reversed: {r}.", ("Words: {list}. Reversed: {r}.",), _listed(2, 4), _on_list(lambda w: ", ".join(w[::-1])),
    ),
    TaskFamily(
        "first",
        ("What is the first word in the list: {list}?", "Give the first item of {list}.",
         "Which word comes first?\n{list}", "Name the word at the start: {list}.", "Say the first of these: {list}."),
        "The first word is {r}.", ("Words: {list}. The first word is {r}.",), _listed(2, 5), _on_list(lambda w: w[0]),
        pool=tuple(WORDS),
    ),
    TaskFamily(
        "last",
        ("What is the last word in the list: {list}?", "Give the last item of {list}.",
         "Which word comes last?\n{list}", "Name the word at the end: {list}.", "Say the last of these: {list}."),
        "The last word is {r}.", ("Words: {list}. The last word is {r}.",), _listed(2, 5), _on_list(lambda w: w[-1]),
        pool=tuple(WORDS),
    ),
    TaskFamily(
        "count",
        ("How many words are in the list: {list}?", "Count the words: {list}.", "How many words are there?\n{list}",
         "Tell me how long this list is: {list}.", "Count the items.\n{list}"),
        "The list has {r} words.", ("Words: {list}. The list has {r} words.",), _listed(2, 6),
        _on_list(lambda w: str(len(w))),
    ),
    TaskFamily(
        "remove",
        ("Remove {item} from the list: {list}.", "Delete {item} from {list}.", "Remove {item} from the list.\n{list}",
         "Write the list without {item}: {list}.", "Leave out {item}: {list}."),
        "Without {item}: {r}.", ("Words: {list}. Without {item}: {r}.",), _listed_with_item,
        lambda f: {"r": ", ".join(word for word in f["list"].split(", ") if word != f["item"])},
    ),
    TaskFamily(
        "capital",
        ("What is the capital of {key}?", "Name the capital city of {key}.", "Which city is the capital of {key}?",
         "Tell me the capital of {key}.", "{key} has which capital?", "Give the capital of {key}."),
        "The capital of {key} is {r}.", ("The capital of {key} is {r}.",), _key(CAPITALS), _look_up(CAPITALS),
        pool=tuple(CAPITALS.values()),
    ),
    TaskFamily(
        "opposite",
        ("What is the opposite of {key}?", "Give an antonym of {key}.", "Which word means the opposite of {key}?",
         "Name the opposite of {key}.", "What is not {key}?"),
        "The opposite of {key} is {r}.", ("The opposite of {key} is {r}.",), _key(OPPOSITES), _look_up(OPPOSITES),
        pool=tuple(OPPOSITES.values()),
    ),
    TaskFamily(
        "sound",
        ("What sound does a {key} make?", "How does a {key} sound?", "What does a {key} say?",
         "Name the sound of a {key}.", "Which noise comes from a {key}?", "Tell me what a {key} says."),
        "The {key} says {r}.", ("The {key} says {r}.",), _key(SOUNDS), _look_up(SOUNDS), pool=tuple(SOUNDS.values()),
    ),
    TaskFamily(
        "kind",
        ("What kind of thing is {key}: bird, fish, flower, insect or tree?",
         "Is {key} a bird, fish, flower, insect or tree?",
         "Which group does {key} belong to?", "Put {key} in the right group.", "Name the group of {key}."),
        "The {key} is {r}.", ("The {key} is {r}.",), _key(_KINDS), _look_up(_KINDS),
        pool=tuple(sorted(set(_KINDS.values()))),
    ),
    TaskFamily(
        "colour",
        ("What colour is {key}?", "Which colour does {key} have?", "Name the colour of {key}.",
         "Tell me the colour of {key}.", "Describe {key} with one colour."),
        "The colour of {key} is {r}.", ("The colour of {key} is {r}.",), _key(COLOURS), _look_up(COLOURS),
        pool=tuple(sorted(set(COLOURS.values()))), rare=True,
    ),
    TaskFamily(
        "month",
        ("Which month comes after {key}?", "Name the month that follows {key}.", "What month is next after {key}?",
         "Give the month after {key}.", "{key} ends. Which month begins?"),
        "The month after {key} is {r}.", ("The month after {key} is {r}.",), _key(_NEXT_MONTH), _look_up(_NEXT_MONTH),
        pool=tuple(MONTHS), rare=True,
    ),
    TaskFamily(
        "spell",
        ("Spell the word {key}.", "How do you spell {key}?", "Write the letters of {key}.",
         "Which letters make up {key}?", "Spell out {key}."),
        "{key} is spelled {r}.", ("{key} is spelled {r}.",), _key(_LETTERS), _look_up(_LETTERS), rare=True,
    ),
)  # fmt: skip

FAMILIES: dict[str, TaskFamily] = {family.name: family for family in _FAMILIES}
COMMON: tuple[str, ...] = tuple(f.name for f in _FAMILIES if not f.rare)
RARE: tuple[str, ...] = tuple(f.name for f in _FAMILIES if f.rare)

_FIELD_PATTERNS = {
    "a": r"\d+", "b": r"\d+", "name": r"[A-Z][a-z]+", "thing": r"[a-z]+", "item": r"[a-z]+",
    "list": r"[a-z]+(?:, [a-z]+)*", "key": r"[A-Za-z]+(?: [a-z]+)?",
}  # fmt: skip


def draw(rng: random.Random, family: str | None = None, one_line: bool = False) -> DemoTask:
    """Draw a task of `family` (any when None) in a random wording; `one_line` leaves out wordings with an input."""
    chosen = FAMILIES[family or rng.choice(tuple(FAMILIES))]
    asks = [ask for ask in chosen.asks if "\n" not in ask] if one_line else chosen.asks
    return make(chosen, chosen.draw(rng), rng.choice(asks))


def make(family: TaskFamily, fields: Fields, ask: str) -> DemoTask:
    """Word and solve the task that `fields` describe."""
    instruction, _, given = ask.format(**fields).partition("\n")
    return DemoTask(family.name, fields, instruction, given, answer(family, fields))


def reworded(rng: random.Random, task: DemoTask) -> DemoTask:
    """The same task in a random wording of one line."""
    family = FAMILIES[task.family]
    return make(family, task.fields, rng.choice([ask for ask in family.asks if "\n" not in ask]))


def answer(family: TaskFamily, fields: Fields) -> str:
    """The exact answer to the task that `fields` describe."""
    return family.answer.format(**{**fields, **family.solve(fields)})


@cache
def _patterns() -> tuple[tuple[TaskFamily, re.Pattern[str]], ...]:
    return tuple((family, _pattern(ask)) for family in _FAMILIES for ask in family.asks)


def _pattern(ask: str) -> re.Pattern[str]:
    seen: set[str] = set()

    def group(match: re.Match[str]) -> str:
        name = match[1]
        if name in seen:
            return f"(?P={name})"
        seen.add(name)
        return f"(?P<{name}>{_FIELD_PATTERNS[name]})"

    return re.compile(re.sub(r"\\\{(\w+)\\\}", group, re.escape(ask)))


def parse(prompt: str) -> DemoTask | None:
    """Read a prompt back into the task it asks, or None when it asks none that has an answer in this world."""
    for family, pattern in _patterns():
        match = pattern.fullmatch(prompt)
        if match is None:
            continue
        fields = match.groupdict()
        try:
            solved = answer(family, fields)
        except KeyError:
            continue
        instruction, _, given = prompt.partition("\n")
        return DemoTask(family.name, fields, instruction, given, solved)
    return None
