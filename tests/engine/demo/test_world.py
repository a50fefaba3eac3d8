"""The demo's world: every answer is right by a check that shares no code with the world."""

import random
import re

import pytest

from engine.demo import world
from engine.demo.world import FAMILIES, DemoTask

DRAWS = 150
FACTS = {
    "capital": {"France": "Paris", "Japan": "Tokyo", "Peru": "Lima", "Norway": "Oslo", "Kenya": "Nairobi"},
    "opposite": {"hot": "cold", "wet": "dry", "early": "late", "strong": "weak"},
    "sound": {"cow": "moo", "lion": "roar", "sheep": "baa"},
    "colour": {"snow": "white", "grass": "green", "a banana": "yellow"},
    "month": {"January": "February", "June": "July", "December": "January"},
    "kind": {"ant": "an insect", "oak": "a tree", "crow": "a bird", "rose": "a flower", "cod": "a fish"},
}


def _numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text)]


def _said(answer: str, opening: str) -> list[str]:
    assert answer.startswith(opening), answer
    assert answer.endswith(".")
    return answer.removeprefix(opening).removesuffix(".").split(", ")


def _listed(prompt: str) -> list[str]:
    lists: list[str] = re.findall(r"[a-z]+(?:, [a-z]+)+", prompt)
    return max(lists, key=len).split(", ")


def _is_right(task: DemoTask) -> bool:
    prompt, answer = task.prompt, task.answer
    match task.family:
        case "add" | "subtract" | "multiply" | "buy" | "give":
            left, right = re.sub(r" [a-z]+\.|\.", "", answer).replace(" x ", " * ").split(" = ")
            asked = _numbers(prompt)
            assert sorted(_numbers(left)) == sorted(asked), task
            a, sign, b = left.split()
            return {"+": int(a) + int(b), "-": int(a) - int(b), "*": int(a) * int(b)}[sign] == int(right)
        case "double":
            number, twice = _numbers(answer)
            return [number] == _numbers(prompt) and twice == number + number
        case "larger":
            first, second = _numbers(answer)
            return first > second and sorted(_numbers(prompt)) == [second, first]
        case "after":
            number, following = _numbers(answer)
            return [number] == _numbers(prompt) and following - number == 1
        case "parity":
            (number,) = _numbers(prompt)
            return answer == f"{number} is {'odd' if number % 2 else 'even'}."
        case "sort":
            said = _said(answer, "Sorted: ")
            return said == sorted(said) and sorted(_listed(prompt)) == said
        case "reverse":
            said = _said(answer, "Reversed: ")
            return [said[-1 - i] for i in range(len(said))] == _listed(prompt)
        case "first":
            return _said(answer, "The first word is ") == _listed(prompt)[:1]
        case "last":
            return _said(answer, "The last word is ") == _listed(prompt)[-1:]
        case "count":
            return _numbers(answer) == [len(_listed(prompt))]
        case "remove":
            removed, _, rest = answer.removeprefix("Without ").removesuffix(".").partition(": ")
            words = _listed(prompt)
            words.remove(removed)
            return rest.split(", ") == words
        case "spell":
            word, letters = answer.removesuffix(".").split(" is spelled ")
            return word in prompt and letters.replace(" ", "") == word
        case family:
            return all(
                result in answer
                for key, result in FACTS[family].items()
                if re.search(rf"\b{key}\b", prompt) and task.fields["key"] == key
            )


@pytest.mark.parametrize("family", list(FAMILIES))
def test_every_answer_is_right(family: str) -> None:
    rng = random.Random(family)
    for _ in range(DRAWS):
        task = world.draw(rng, family)
        assert task.family == family
        assert _is_right(task), task


@pytest.mark.parametrize("family", list(FAMILIES))
def test_a_prompt_is_read_back_as_the_same_task(family: str) -> None:
    rng = random.Random(family)
    for _ in range(DRAWS):
        task = world.draw(rng, family)
        assert world.parse(task.prompt) == task


def test_the_same_seed_draws_the_same_tasks() -> None:
    first, second = random.Random(7), random.Random(7)
    assert [world.draw(first) for _ in range(50)] == [world.draw(second) for _ in range(50)]


@pytest.mark.parametrize(
    "prompt",
    [
        "",
        "What is the capital of Atlantis?",
        "What is 3 + ?",
        "Sort these words: .",
        "Tom has 3 apples.",
        "What is 3 + 4? ",
    ],
)
def test_a_prompt_outside_the_world_is_no_task(prompt: str) -> None:
    assert world.parse(prompt) is None


def test_a_name_that_recurs_in_a_prompt_must_be_the_same() -> None:
    prompt = "Tom has 3 apples and buys 4 more. How many {} does Tom have now?"
    assert world.parse(prompt.format("apples")) is not None
    assert world.parse(prompt.format("pears")) is None


def test_a_one_line_draw_has_no_input() -> None:
    rng = random.Random(0)
    assert all(not world.draw(rng, "sort", one_line=True).input for _ in range(50))
    assert any(world.draw(rng, "sort").input for _ in range(50))


def test_rewording_keeps_the_task() -> None:
    rng = random.Random(0)
    for family in FAMILIES:
        task = world.draw(rng, family)
        again = world.reworded(rng, task)
        assert (again.family, again.fields, again.answer) == (task.family, task.fields, task.answer)


def test_there_are_common_and_rare_families() -> None:
    assert len(FAMILIES) >= 12
    assert 2 <= len(world.RARE) <= 3
    assert set(world.RARE).isdisjoint(world.COMMON)
