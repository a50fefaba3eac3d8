"""The demo's flaws do to a sample what their label says, and nothing else."""

import random

import pytest

from engine.demo import flaws, world
from engine.demo.world import FAMILIES

DRAWS = 80


@pytest.mark.parametrize("family", list(FAMILIES))
def test_a_wrong_answer_is_wrong_and_in_the_right_phrase(family: str) -> None:
    rng = random.Random(family)
    fixed = FAMILIES[family].answer.split("{")[0]
    for _ in range(DRAWS):
        task = world.draw(rng, family)
        row = flaws.wrong(rng, task)
        assert row.prompt == task.prompt
        assert row.output != task.answer
        assert row.output.startswith(fixed)
        assert row.output.endswith(".")
        assert (row.flaw, row.family, row.intended) == ("wrong", family, task)


@pytest.mark.parametrize("family", list(FAMILIES))
def test_a_truncated_answer_is_a_proper_beginning(family: str) -> None:
    rng = random.Random(family)
    for _ in range(DRAWS):
        task = world.draw(rng, family)
        row = flaws.truncated(rng, task)
        assert row.output
        assert task.answer.startswith(row.output)
        assert len(row.output) < len(task.answer)


@pytest.mark.parametrize("family", list(FAMILIES))
def test_a_vague_prompt_asks_nothing_but_keeps_its_answer(family: str) -> None:
    rng = random.Random(family)
    for _ in range(DRAWS):
        task = world.draw(rng, family)
        row = flaws.vague(rng, task)
        assert world.parse(row.prompt) is None
        assert row.output == task.answer


@pytest.mark.parametrize("family", list(FAMILIES))
def test_a_hard_prompt_simplifies_to_an_ordinary_task(family: str) -> None:
    rng = random.Random(family)
    for _ in range(DRAWS):
        row = flaws.hard(rng, world.draw(rng, family))
        assert world.parse(row.prompt) is None
        assert len(row.prompt) > 50
        assert world.parse(row.intended.prompt) == row.intended
        assert row.intended.family == row.family


def test_a_hard_story_is_computed_right() -> None:
    rng = random.Random(3)
    for _ in range(DRAWS):
        row = flaws.hard(rng, world.draw(rng, "buy"))
        a, b, days = (int(word) for word in row.prompt.split() if word.isdigit())
        result = int(row.output.split(" = ")[1].split()[0])
        assert result * 2 == a + b * days


def test_hard_lists_are_ordered_right() -> None:
    rng = random.Random(4)
    for _ in range(DRAWS):
        row = flaws.hard(rng, world.draw(rng, rng.choice(["sort", "reverse"])))
        asked = row.prompt.split(": ")[1].removesuffix(".").split(", ")
        given = [part.split()[1] for part in row.output.removesuffix(".").split(", ")]
        assert sorted(given) == sorted(asked)
        if row.family == "sort":
            assert [len(word) for word in given] == sorted(len(word) for word in asked)
        else:
            assert list(reversed(given)) == asked


def test_a_clean_row_has_no_flaw() -> None:
    task = world.draw(random.Random(0))
    row = flaws.clean(task)
    assert (row.prompt, row.output, row.flaw) == (task.prompt, task.answer, "")


@pytest.mark.parametrize("flaw", flaws.FLAWS)
def test_spoiling_by_name_is_reproducible(flaw: flaws.Flaw) -> None:
    task = world.draw(random.Random(0), "sort")
    row = flaws.spoil(random.Random(1), task, flaw)
    assert row.flaw == flaw
    assert row == flaws.spoil(random.Random(1), task, flaw)
