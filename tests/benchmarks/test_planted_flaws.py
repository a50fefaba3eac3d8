"""Planted flaws: each kind changes a row in its own way, and the same seed gives the same rows."""

from __future__ import annotations

import pytest

from benchmarks.world.planted_flaws import KINDS, UNSEEN, Row, planted, spoiled
from benchmarks.world.unseen_flaws import UNSEEN_KINDS

ROWS = [
    Row(
        "Explain how a lighthouse warns ships at night.",
        "A lighthouse sends out light that sailors can see from 25 miles away. In 1810, people in Scotland lit lamps "
        "by hand. Today the lamps are electric, and nobody has to climb the stairs.",
    ),
    Row(
        "List three facts about honey bees and their hives.",
        "1. A hive has one queen. 2. In summer a bee lives for about 40 days. 3. As Karl Frisch found, bees dance.",
    ),
    Row(
        "Who painted the ceiling of the chapel, and how long did it take?",
        "It was painted by Michelangelo in Rome. It took him about 4 years, which is longer than planned.",
    ),
]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_changes_one_side_of_a_row_and_depends_on_its_seed_alone(kind: str) -> None:
    found = [spoiled(kind, ROWS, 0, seed) for seed in range(8)]
    assert found == [spoiled(kind, ROWS, 0, seed) for seed in range(8)]
    for row in found:
        assert row is not None
        assert (row.prompt == ROWS[0].prompt) != (row.answer == ROWS[0].answer)
    side = "prompt" if kind in ("vague", "prompt cut", "prompt swapped") else "answer"
    assert all(getattr(row, side) != getattr(ROWS[0], side) for row in found)


@pytest.mark.parametrize("kind", UNSEEN_KINDS)
def test_kinds_written_afterwards_change_a_row_and_depend_on_their_seed_alone(kind: str) -> None:
    found = [spoiled(kind, ROWS, 0, seed, UNSEEN_KINDS) for seed in range(4)]
    assert found == [spoiled(kind, ROWS, 0, seed, UNSEEN_KINDS) for seed in range(4)]
    assert all(row is not None and row != ROWS[0] for row in found)
    assert kind not in KINDS


def answer(kind: str, at: int = 0, seed: int = 0) -> str:
    row = spoiled(kind, ROWS, at, seed)
    assert row is not None
    return row.answer


def test_a_cut_off_answer_is_a_beginning_that_ends_in_a_word() -> None:
    for seed in range(8):
        cut = answer("cut off", seed=seed)
        assert ROWS[0].answer.startswith(cut)
        assert cut[-1].isalnum()
        assert len(cut) < 0.9 * len(ROWS[0].answer)


def test_shuffled_words_are_the_same_words() -> None:
    assert sorted(answer("shuffled").split()) == sorted(ROWS[0].answer.split())


def test_a_loop_repeats_what_it_ends_with() -> None:
    looped = answer("loop")
    size = next(n for n in range(4, len(looped) // 4 + 1) if looped.endswith(looped[-n:] * 4))
    phrase = looped[-size:]
    while looped.endswith(phrase):
        looped = looped.removesuffix(phrase)
    assert ROWS[0].answer.startswith(looped + phrase)


def test_a_wrong_number_is_one_digit_of_a_figure_not_of_a_list() -> None:
    for seed in range(8):
        wrong = answer("wrong number", at=1, seed=seed)
        assert len(wrong) == len(ROWS[1].answer)
        assert sum(a != b for a, b in zip(wrong, ROWS[1].answer, strict=True)) == 1
        assert [wrong[i] for i in (0, 25, 69)] == ["1", "2", "3"]


def test_a_wrong_name_is_borrowed_from_another_row() -> None:
    assert any("Scotland" in answer("wrong name", at=2, seed=seed) for seed in range(8))


def test_what_does_not_apply_is_told_apart() -> None:
    plain = [Row("Say hi to the new colleague.", "Hi there."), ROWS[0]]
    assert spoiled("wrong number", plain, 0, 0) is None
    assert spoiled("loop", plain, 0, 0) is None
    assert spoiled("swapped", plain[:1], 0, 0) is None
    assert set(UNSEEN) < set(KINDS)
    with pytest.raises(KeyError):
        spoiled("no such kind", ROWS, 0, 0)


def test_a_share_of_the_rows_is_spoilt_in_kinds_of_equal_parts() -> None:
    rows = [
        Row(f"Explain in short how machine {i} works.", f"Machine {i} has wheels and runs on oil.") for i in range(40)
    ]
    found = planted(rows, 0.3, ["refusal", "shuffled", "echo"], seed=1)
    kinds = [kind for _, kind in found]
    assert sorted(kinds) == [""] * 28 + ["echo"] * 4 + ["refusal"] * 4 + ["shuffled"] * 4
    assert all((row == rows[i]) == (kind == "") for i, (row, kind) in enumerate(found))
    assert found == planted(rows, 0.3, ["refusal", "shuffled", "echo"], seed=1)
    assert found != planted(rows, 0.3, ["refusal", "shuffled", "echo"], seed=2)
