"""Where asking about flaws ends: on clean data at once, on flawed data when fewer than half of the calls find one."""

from __future__ import annotations

import random

import pytest

from engine.selection import evidence
from engine.selection.agreement import Bounds, is_short, similarity
from engine.selection.evidence import Tally, at_most, batch_size, chance, flawed_share, pays, wilson

FINE = Tally(10, 0)


def test_a_batch_pays_unless_it_shows_that_fewer_than_half_of_its_calls_do() -> None:
    assert pays(Tally(24, 12), FINE)
    assert pays(Tally(24, 9), FINE), "fewer than half may still be chance"
    assert not pays(Tally(24, 8), FINE)
    assert not pays(Tally(24, 0), FINE)


def test_what_differs_by_chance_is_no_flaw() -> None:
    noisy = Tally(20, 10)
    assert chance(noisy) == pytest.approx(0.5)
    assert not pays(Tally(24, 12), noisy), "no more than at random"
    assert pays(Tally(24, 20), noisy)


def test_probabilities_are_those_of_the_binomial() -> None:
    assert at_most(2, 4, 0.5) == pytest.approx(11 / 16)
    assert at_most(4, 4, 0.9) == 1.0
    assert at_most(0, 3, 1.0) == 0.0
    assert at_most(1_000, 2_000, 0.5) == pytest.approx(0.5, abs=0.02)
    assert wilson(Tally(10, 0)) == pytest.approx((0.0, 0.2775), abs=1e-3)
    assert wilson(Tally()) == (0.0, 1.0)


def test_clean_data_costs_thirty_eight_calls_and_a_large_dataset_no_more() -> None:
    for samples in (60, 600, 500_000):
        first = batch_size(0, samples, away=False)
        assert first + evidence.controls(0, first) == 38


def test_batches_grow_with_the_dataset_and_faster_where_each_takes_hours() -> None:
    assert [batch_size(n, 600, away=False) for n in range(4)] == [22, 24, 24, 24]
    assert [batch_size(n, 52_000, away=False) for n in (0, 3, 6, 50)] == [22, 176, 1408, 2080]
    assert [batch_size(n, 52_000, away=True) for n in (0, 1, 2, 3, 4)] == [22, 88, 352, 1408, 5632]


def test_the_share_is_what_was_found_and_what_random_samples_say_of_the_rest() -> None:
    found = flawed_share(600, asked=Tally(300, 220), last=Tally(24, 5), rest=Tally(20, 0), fine=FINE)
    assert found.share == pytest.approx(220 / 600)
    assert found.low == found.share < found.high < 0.46
    clean = flawed_share(600, Tally(24, 0), Tally(24, 0), Tally(16, 0), Tally(9, 0))
    assert clean.of(600) == "about 0% (0% to 13%) of 600 samples look flawed"
    assert flawed_share(0, Tally(), Tally(), Tally(), Tally()).share == 0.0


def test_an_interval_that_holds_nearly_everything_is_no_estimate() -> None:
    told = "too few answers to estimate how many of 43 samples look flawed (0% to 100%)"
    assert evidence.FlawedShare(1.0, 0.0, 1.0).of(43) == told
    assert evidence.FlawedShare(0.3, 0.1, 0.5).of(43).startswith("about 30%")


def test_the_interval_holds_the_truth() -> None:
    """Rows in order of a score that is right for most, asked in batches as the stage does."""
    rng, held = random.Random(3), 0
    for _ in range(100):
        flaws = [rng.random() < (0.95 if i < 150 else 0.4 if i < 200 else 0.02) for i in range(600)]
        asked = 0
        while True:
            batch = Tally(24, sum(flaws[asked : asked + 24]))
            asked += 24
            if not pays(batch, FINE):
                break
        drawn = rng.sample(range(asked, 600), 12)
        rest = Tally(12, sum(flaws[i] for i in drawn))
        share = flawed_share(600, Tally(asked, sum(flaws[:asked])), batch, rest, FINE)
        held += share.low <= sum(flaws) / 600 <= share.high
    assert held >= 90


# ------------------------------------------------------------------------------------------------- agreement


def test_short_answers_agree_when_they_are_equal_but_for_form() -> None:
    assert similarity("The answer is 12.", "the answer  is 12") == 1.0
    assert similarity("The answer is 12.", "The answer is 13.") < 1.0
    assert similarity("", "") == 1.0
    assert similarity("yes", "") == 0.0
    assert is_short("Paris")
    assert not is_short("word " * 40)
    assert not Bounds().agree("12", "13")


def test_the_order_of_words_counts() -> None:
    text = "one two three four five six seven eight nine ten"
    shuffled = "seven two nine four one ten three eight five six"
    assert similarity(text, shuffled) < 0.6 < similarity(text, text + " eleven")


def test_long_answers_agree_from_where_those_that_look_fine_do() -> None:
    rng = random.Random(0)
    topics = [[f"t{t}w{i}" for i in range(60)] for t in range(8)]
    told = [" ".join(rng.sample(words, 40)) for words in topics]
    again = [" ".join(rng.sample(words, 40)) for words in topics]
    bounds = Bounds.of(list(zip(told, again, strict=True)))
    assert 0.05 <= bounds.long < 0.6
    assert all(bounds.agree(one, other) for one, other in zip(told, again, strict=True))
    assert not bounds.agree(told[0], again[1]), "another topic"


def test_scripts_without_spaces_are_compared_by_their_characters() -> None:
    told = "北京是中国的首都，也是全国的政治和文化中心。每年有很多游客来这里参观故宫和长城。"
    again = "北京是中国的首都，也是全国政治与文化的中心。每年都有很多游客来这里参观故宫和长城！"
    other = "要煮好米饭，先把米洗干净，再加入适量的水，用小火慢慢煮二十分钟，最后焖一会儿。"
    assert not is_short(told)
    assert Bounds().agree(told, again)
    assert not Bounds().agree(told, other)
    assert similarity("十二。", "十二") == 1.0
    assert is_short("北京")
    assert similarity("北京", "上海") == 0.0


def test_unrelated_answers_never_agree_however_unlike_the_control_group_is() -> None:
    fine = [(f"a{i} " * 20, f"b{i} " * 20) for i in range(8)]
    assert not Bounds.of(fine).agree("one two three " * 8, "four five six " * 8)


SAID = (
    ("Paris", "The capital of France is Paris."),
    ("The sum is 17/12.", "To add the two fractions, find a common denominator: 9/12 + 8/12, so the sum is 17/12."),
    ("Sundar Pichai.", "Sundar Pichai is the CEO of Google."),
    ("Yes, level is a palindrome.", "Yes, the given string level is a palindrome, as it reads the same backwards."),
)
"""Short answers, and what a teacher with words of its own says."""


def test_a_teacher_with_words_of_its_own_agrees_where_it_says_the_same() -> None:
    bounds = Bounds.of(SAID)
    assert all(bounds.agree(*pair) for pair in SAID)
    assert not bounds.agree("Rome", "The capital of France is Paris."), "another topic"
    assert not bounds.agree("The sum is 19/12.", SAID[1][1]), "another number"


def test_a_teacher_with_the_words_of_the_dataset_must_say_the_same() -> None:
    fine = [(f"{i} + {i} = {2 * i} apples.", f"{i} + {i} = {2 * i} apples.") for i in range(8)]
    fine[3] = (fine[3][0], "The cod is a fish.")  # one wrong answer of eight changes nothing
    text = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
    bounds = Bounds.of([*fine, *((f"{word} {text}", f"{word} {text}") for word in ("a", "b", "c", "d"))])
    assert not bounds.agree("2 + 2 = 4 pears.", "2 + 2 = 4 apples.")
    assert bounds.agree("2 + 2 = 4 apples.", "2 + 2 = 4 Apples")
    assert bounds.agree(text, text)
    assert not bounds.agree(text[:80], text), "cut off"
    assert bounds.stands("2 + 2 = 5", "2 + 2 = 4", "The cod is a fish.")


def test_where_the_teacher_never_says_the_same_twice_it_speaks_against_nobody() -> None:
    bounds = Bounds.of(SAID)
    story = "Once upon a time a fox lived alone beside the river and dreamt of the sea all winter long."
    assert not bounds.stands(story, "A queen built towers from glass.", "Two brothers sailed until dawn.")
    assert bounds.stands(story, "Water boils at a hundred degrees.", "At a hundred degrees water boils.")


def test_samples_with_equal_answers_count_each() -> None:
    same = ("Very positive", "Very positive")
    assert Bounds.of([same] * 7 + [("Very positive", "Positive")]).equal, "7 of 8 have the teacher's very words"
    labels = Bounds.of([("No", "No")] * 8)
    assert labels.equal
    assert labels.agree("No", "no.")
    assert not labels.agree("No", "Yes")


def test_answers_that_may_differ_by_chance_are_doubtful() -> None:
    assert evidence.doubtful(Tally(24, 3), Tally(16, 0))
    assert not evidence.doubtful(Tally(24, 20), Tally(16, 0))
    assert evidence.doubtful(Tally(24, 12), Tally(16, 2)), "the more differs by chance, the more is doubtful"
    assert not evidence.doubtful(Tally(24, 0), Tally(16, 0))


def test_what_differs_twice_counts_whole() -> None:
    noisy = Tally(15, 1)
    once = flawed_share(600, Tally(40, 8), Tally(20, 1), Tally(15, 0), noisy)
    twice = flawed_share(600, Tally(20, 7), Tally(20, 1), Tally(15, 0), noisy, sure=Tally(20, 1))
    assert once.share < twice.share
    assert twice.low <= twice.share <= twice.high


def test_without_a_control_group_nothing_differs_by_chance() -> None:
    assert chance(Tally()) == 0.0
    assert pays(Tally(10, 9), Tally())
    assert not pays(Tally(10, 1), Tally())


def test_a_share_lies_within_its_interval() -> None:
    for asked, last, rest, fine in (
        (Tally(72, 20), Tally(48, 2), Tally(17, 4), Tally(8, 0)),
        (Tally(24, 2), Tally(24, 0), Tally(10, 3), Tally(8, 0)),
    ):
        found = flawed_share(600, asked, last, rest, fine)
        assert found.low <= found.share <= found.high
