"""Duplicates by embeddings whose coordinates are standardised, and by words; bounds from the dataset's own prompts."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from engine.verification.near_duplicates import NearDuplicates, Twin
from engine.verification.text_checks import Exchange
from engine.verification.topics import Topics

RNG = np.random.default_rng(0)
WORDS = [f"{a}{b}" for a in "bdfgklmnprst" for b in ("ana", "eko", "iru", "osti", "umba", "yle", "aro", "ilo")]
ALIKE = 200.0 * (np.arange(32) < 3)
"""What all embeddings have in common: a few coordinates that are large in every prompt."""


def embeddings(count: int) -> np.ndarray:
    """As a model gives them: nearly the same for everything."""
    return (ALIKE + RNG.standard_normal((count, 32)) * (1 + 9 * (np.arange(32) < 3))).astype(np.float32)


@pytest.fixture(scope="module")
def dataset() -> tuple[list[str], np.ndarray]:
    """Two hundred prompts of seven words of their own."""
    draw = random.Random(1)
    return ["please write about " + " ".join(draw.sample(WORDS, 7)) for _ in range(200)], embeddings(200)


@pytest.fixture(scope="module")
def known(dataset: tuple[list[str], np.ndarray]) -> NearDuplicates:
    prompts, rows = dataset
    topics = Topics.of((i, Exchange(text, "an answer")) for i, text in enumerate(prompts))
    return NearDuplicates.of(prompts.__getitem__, rows.astype(np.float16), topics)


def find(known: NearDuplicates, text: str, row: np.ndarray) -> Twin | None:
    return known.find([text], row[None].astype(np.float16), np.array([-1]))[0]


def test_a_small_edit_is_a_duplicate(known: NearDuplicates, dataset: tuple[list[str], np.ndarray]) -> None:
    prompts, rows = dataset
    for i in range(20):
        edited = prompts[i].replace("please write", "Write") + "!"
        found = find(known, edited, rows[i] + 0.2 * RNG.standard_normal(32).astype(np.float32))
        assert found is not None
        assert found.row == i
        assert found.similarity > known.bound
        assert found.shared > 0.8


def test_two_unrelated_prompts_are_no_duplicates(known: NearDuplicates, dataset: tuple[list[str], np.ndarray]) -> None:
    """Though the plain cosine of most of them is above .99."""
    _, rows = dataset
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    assert np.quantile(unit @ unit.T, 0.5) > 0.99
    draw = random.Random(2)
    new = ["please write about " + " ".join(draw.sample(WORDS, 7)) for _ in range(200)]
    found = known.find(new, embeddings(200).astype(np.float16), np.full(200, -1))
    assert found == [None] * 200


def test_it_takes_both_the_place_and_the_words(known: NearDuplicates, dataset: tuple[list[str], np.ndarray]) -> None:
    prompts, rows = dataset
    assert find(known, "please write about something else", rows[0]) is None, "a template that asks for another thing"
    assert find(known, prompts[0], rows[1]) is None, "the same words in another place"
    assert find(known, prompts[0], rows[0]) is not None


def test_what_is_a_copy_already_does_not_move_the_bound(dataset: tuple[list[str], np.ndarray]) -> None:
    """Half of this dataset are edits of the other half: the bound is that of prompts with other words."""
    prompts, rows = dataset
    doubled = [*prompts, *(f"{text}!" for text in prompts)]
    near = np.concatenate([rows, rows + 0.1 * RNG.standard_normal(rows.shape).astype(np.float32)])
    topics = Topics.of((i, Exchange(text, "")) for i, text in enumerate(prompts))
    assert NearDuplicates.of(doubled.__getitem__, near.astype(np.float16), topics).bound < 0.9


def test_rows_that_cannot_be_told_are_no_duplicates() -> None:
    rows = np.array([[1.0, 5.0], [2.0, 5.0], [np.nan, 5.0]], np.float16)
    topics = Topics.of((i, Exchange(text, "")) for i, text in enumerate("abc"))
    known = NearDuplicates.of(["a", "b", "c"].__getitem__, rows, topics)
    assert known.find(["a", "c"], np.array([[np.nan, 1], [np.nan, 1]], np.float16), np.array([-1, -1])) == [None, None]
    assert NearDuplicates.of(["a"].__getitem__, rows[:1], topics).bound == 1.0, "nothing to learn from"


def test_some_rows_of_a_file_are_as_good_as_an_array_of_their_own(
    tmp_path: Path, dataset: tuple[list[str], np.ndarray]
) -> None:
    prompts, rows = dataset[0][:60], dataset[1][:120].astype(np.float16)
    topics = Topics.of((i, Exchange(text, "")) for i, text in enumerate(prompts))
    which = np.arange(0, 120, 2)
    own, some = (
        NearDuplicates.of(prompts.__getitem__, rows[which], topics),
        NearDuplicates.of(prompts.__getitem__, rows, topics, which, tmp_path),
    )
    np.testing.assert_array_equal(own.table, some.table)
    assert own.bound == some.bound
    assert list(tmp_path.iterdir()) == [], "the file has no name"
