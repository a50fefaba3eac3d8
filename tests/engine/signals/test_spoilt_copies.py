"""Spoilt copies: which samples get one, what is wrong with it, and how the judge's ratings of both are compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.signals import spoilt_copies
from engine.signals.ratings import Rated
from engine.store.judging import JudgeCheck
from engine.store.rows import Flaw, Lenses, Ratings, Sample
from tests.support import tiny


def sample(id: int, *texts: str) -> Sample:
    return Sample(id, tiny.chat(*texts), id)


def answers(samples: list[Sample]) -> list[str]:
    return [chat[-1].content for _, chat in spoilt_copies.spoilt(samples)]


def test_answers_are_foreign_cut_off_or_shuffled_by_turns() -> None:
    three = [sample(i, f"ask {i}", text) for i, text in enumerate(("one two", "a b c d e", "red blue green pear"))]
    foreign, half, mixed = answers(three)
    assert foreign == "a b c d e", "the next longer one"
    assert half == "a b"
    assert sorted(mixed.split()) == sorted(["red", "blue", "green", "pear"])
    assert mixed != "red blue green pear"
    assert answers(three) == [foreign, half, mixed], "the same after a resume"


def test_texts_without_words_apart_are_taken_apart_by_characters() -> None:
    assert spoilt_copies.halved("四季の歌う") == "四季"
    assert sorted(spoilt_copies.shuffled("四季の歌う", 1)) == sorted("四季の歌う")


def test_only_the_last_answer_changes_and_no_copy_equals_its_sample() -> None:
    long = sample(1, "one", "eins", "two", "zwei drei vier fünf")
    same = sample(2, "say a", "a")  # half of it is all of it
    ((_, chat),) = spoilt_copies.spoilt([long, same])
    assert [m.content for m in chat] == ["one", "eins", "two", "a"]
    assert chat[-1].role == "assistant"


def test_ratings_are_compared_pair_by_pair() -> None:
    pairs = [(id, tiny.chat("x", "y")) for id in range(4)]
    quality = {0: 5.0, 1: 5.0, 2: 5.0}
    assert spoilt_copies.ranked(pairs, quality, [4.0, 5.0, 6.0, 1.0]) == (3, 0.5)
    assert spoilt_copies.ranked(pairs, quality, [4.0, 5.0, None, 1.0]) == (2, 0.75)
    assert spoilt_copies.ranked(pairs, {}, [None] * 4) == (0, None)


@pytest.fixture
def rated(tmp_path: Path, tiny_model: Path) -> tiny.Project:
    """A round of 60 samples whose ratings are there; every second one looks flawed by a lens."""
    out = tiny.Project(tmp_path / "p", tiny.make_config(tiny_model), tiny.chats(60))
    ctx = out.ctx("judge")
    ids = ctx.dataset().ids
    ctx.save([JudgeCheck(0, "base", "")])
    ctx.save([Ratings(0, id, *(5.0, 5.0, 5.0, 5.0, 5.0, 5.0), quality=5.0, digit_mass=1.0) for id in ids])
    ctx.save([Lenses(0, id, None, None, None, i % 2 + i / 100, 0, 1) for i, id in enumerate(ids)])
    return out


def test_the_judge_is_tried_on_samples_that_look_right(rated: tiny.Project) -> None:
    ctx = rated.ctx("judge")
    asked: list[Any] = []

    def rate(chats: spoilt_copies.Asked) -> list[Rated]:
        asked.extend(chats)
        return [Rated((4.0,) * 6, 4.0, 1.0) for _ in chats]

    spoilt_copies.try_judge(ctx, ctx.dataset(), rate)
    (check,) = ctx.rows(JudgeCheck)
    place = {id: i for i, id in enumerate(ctx.dataset().ids)}
    assert (check.done, check.pairs, check.auc) == (True, len(asked), 1.0)
    assert 16 <= len(asked) <= spoilt_copies.PAIRS
    right = [place[id] % 2 == 0 for (_, id), _ in asked]
    assert sum(right) >= 28, "the third with the lowest scores, filled up to 32"
    assert rated.events() == [f"the judge tells good from bad on your data (AUC 1.00 of {len(asked)} pairs)"]
    spoilt_copies.try_judge(ctx, ctx.dataset(), lambda chats: pytest.fail("asked again"))


@pytest.mark.parametrize("told", [True, False])
def test_a_judge_that_can_tell_has_a_part_in_the_flaw_scores(rated: tiny.Project, told: bool) -> None:
    ctx = rated.ctx("judge")
    worst = ctx.dataset().ids[0]
    ctx.save([Ratings(0, worst, *(1.0, 1.0, 1.0, 1.0, 1.0, 1.0), quality=1.0, digit_mass=1.0)])
    copies = [Rated((4.0,) * 6, 4.0 if told else 6.0, 1.0)] * spoilt_copies.PAIRS
    spoilt_copies.try_judge(ctx, ctx.dataset(), lambda chats: copies[: len(chats)])
    flaws = {row.sample_id: row for row in ctx.rows(Flaw)}
    assert ctx.rows(JudgeCheck)[0].counted is told
    assert (flaws[worst].flaw_lens == "quality") is told
    assert (flaws[worst].flaw > 0.9) is told, "the lenses find nothing wrong with it"


def test_a_judge_that_cannot_tell_and_its_errors_are_said(rated: tiny.Project) -> None:
    ctx = rated.ctx("judge")
    none = dict.fromkeys(Ratings.__struct_fields__[2:9])
    ctx.save([Ratings(0, id, **none, digit_mass=0.01, judge_error="no digit") for id in ctx.dataset().ids[:6]])
    spoilt_copies.try_judge(ctx, ctx.dataset(), lambda chats: [Rated((5.0,) * 6, 5.0, 1.0) for _ in chats])
    (check,) = ctx.rows(JudgeCheck)
    assert check.auc == 0.5
    assert rated.events() == [
        "the judge could not rate 6 of 60 samples: no digit",
        f"the judge cannot tell good from bad on your data (AUC 0.50 of {check.pairs} pairs): the quality axis is off",
    ]
    levels = {row[0] for row in rated.db.execute("SELECT level FROM event")}
    assert levels == {"warning"}


def test_few_samples_are_not_asked_about(tmp_path: Path, tiny_model: Path) -> None:
    few = tiny.Project(tmp_path / "p", tiny.make_config(tiny_model), tiny.chats(6))
    ctx = few.ctx("judge")
    ctx.save([JudgeCheck(0, "base", "")])
    ctx.save([Ratings(0, id, *(5.0, 5.0, 5.0, 5.0, 5.0, 5.0), quality=5.0, digit_mass=1.0) for id in ctx.dataset().ids])
    spoilt_copies.try_judge(ctx, ctx.dataset(), lambda chats: pytest.fail("asked"))
    assert [(check.done, check.pairs) for check in ctx.rows(JudgeCheck)] == [(True, 0)]
    assert few.events() == []
