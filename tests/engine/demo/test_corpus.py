"""What the demo models read: the loop's own prompt files, ratings that follow the flaw, well-formed rewrites."""

import random

import pytest

from engine.chat.prompts import PLACEHOLDERS, load
from engine.demo import corpus, flaws, seed, world
from engine.demo.measure import rewritten_prompt

SUBJECTS: tuple[corpus.Subject, ...] = ("prompt", "response")

DRAWS = 150


def test_the_prompt_files_are_what_the_loop_accepts() -> None:
    for name in PLACEHOLDERS:
        assert load(name, corpus.HERE).path == corpus.HERE / "prompts" / f"{name}.txt"
    assert corpus.fill("answer", prompt="{x}") == "{x}"


def test_judge_prompts_share_the_sample_and_differ_in_the_dimension() -> None:
    asked = [corpus.judge_prompt("Add 1 and 2.", "1 + 2 = 3.", "response", name) for name in corpus.DIMENSIONS]
    shared = len("Prompt: Add 1 and 2.\nResponse: 1 + 2 = 3.\n")
    assert len({text[:shared] for text in asked}) == 1
    assert all(name in text[shared:] for name, text in zip(corpus.DIMENSIONS, asked, strict=True))


def test_a_claim_is_marked_from_where_it_departs_from_the_truth() -> None:
    rng = random.Random(6)
    for _ in range(DRAWS):
        text = corpus.check(rng)
        assert text.claim >= 0
        if text.false_at is None:
            assert text.target == " 9"
        else:
            assert text.target in (" 0", " 3")
            assert text.claim <= text.false_at < len(text.context)


@pytest.mark.parametrize("model", list(corpus.MIXTURES))
def test_texts_are_reproducible_and_never_from_the_heldout_side(model: str) -> None:
    texts = corpus.texts(model, random.Random(1), DRAWS)
    assert texts == corpus.texts(model, random.Random(1), DRAWS)
    for text in texts:
        assert text.target
        if text.chat and world.parse(text.context):
            assert not seed.is_heldout(text.context)


def test_documents_and_chat_state_true_answers() -> None:
    rng = random.Random(2)
    for _ in range(DRAWS):
        asked = corpus.chat(rng)
        task = world.parse(asked.context)
        assert task is not None
        assert task.answer == asked.target
        assert not corpus.document(rng).chat


def test_ratings_are_one_digit() -> None:
    rng = random.Random(3)
    for make in (corpus.rating, corpus.check):
        for _ in range(DRAWS):
            assert make(rng).target.strip() in set("0123456789")


@pytest.mark.parametrize("flaw", flaws.FLAWS)
def test_a_flawed_sample_deserves_a_lower_mean_than_any_clean_one(flaw: flaws.Flaw) -> None:

    def mean(kind: flaws.Flaw) -> float:
        return sum(float(corpus.score(subject, kind, d)) for subject in SUBJECTS for d in corpus.DIMENSIONS) / 6

    assert mean(flaw) < 6 < mean("")


@pytest.mark.parametrize("make", [corpus.simplifying, corpus.improving, corpus.diversifying])
def test_rewrites_are_marked_ordinary_prompts(make: corpus.Maker) -> None:
    rng = random.Random(5)
    for _ in range(DRAWS):
        text = make(rng)
        prompt = rewritten_prompt(text.target)
        assert prompt is not None
        assert "\n" not in prompt
        assert world.parse(prompt) is not None


@pytest.mark.parametrize(
    ("reply", "prompt"),
    [
        ("<prompt>Add 1 and 2.</prompt>", "Add 1 and 2."),
        ("<prompt> </prompt>", None),
        ("Add 1 and 2.", None),
        ("<prompt>a</prompt><prompt>b</prompt>", None),
        ("<prompt>a", None),
    ],
)
def test_only_one_marked_prompt_is_well_formed(reply: str, prompt: str | None) -> None:
    assert rewritten_prompt(reply) == prompt
