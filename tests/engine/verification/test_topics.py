"""Whether a rewrite has to do with its original: by shared words, against random samples."""

from __future__ import annotations

import random

from engine.verification.text_checks import Exchange
from engine.verification.topics import REFERENCES, Topics, terms

NAMES = [f"{a}{b}" for a in "bdfgklmnprst" for b in ("ana", "eko", "iru", "osti", "umba", "yle", "aro", "ilo")]


def about(name: str, more: str = "") -> Exchange:
    return Exchange(f"Write a short text about {name}, please.", f"The {name} is a thing. {more}")


def drawn(count: int = REFERENCES) -> list[tuple[int, Exchange]]:
    rng = random.Random(0)
    return [(i, about(rng.choice(NAMES), " ".join(rng.sample(NAMES, 3)))) for i in range(count)]


def test_a_rewrite_that_speaks_of_the_same_has_more_to_do_with_it_than_most() -> None:
    topics = Topics.of(drawn())
    new = Exchange("What is a bana?", "A bana is an animal.")
    assert (topics.share(about("bana"), new) or 0.0) > 0.9


def test_wording_that_all_samples_have_counts_for_nothing() -> None:
    topics = Topics.of(drawn())
    share = topics.share(about("bana"), about("xeno"))
    assert share is not None
    assert share < 0.9


def test_random_samples_pass_as_often_as_the_share_says() -> None:
    """The rate of chance is what [verify] on_topic leaves."""
    samples = drawn(400)
    topics = Topics.of(samples[:REFERENCES])
    rng = random.Random(1)
    pairs = [rng.sample(samples, 2) for _ in range(1000)]
    shares = [topics.share(original, new, {a, b}) or 0.0 for (a, original), (b, new) in pairs]
    assert sum(share > 0.9 for share in shares) / len(shares) <= 0.12


def test_scripts_without_spaces_are_compared_by_pairs_of_characters() -> None:
    assert {"\u6771\u4eac", "\u4eac\u90fd"} <= terms(Exchange("\u6771\u4eac\u90fd", "x"))
    assert "tokyo" in terms(Exchange("Tokyo", "x"))


def test_too_few_samples_tell_nothing() -> None:
    topics = Topics.of(drawn(20))
    assert topics.share(about("bana"), about("bana")) is not None
    assert topics.share(about("bana"), about("bana"), {0}) is None
