"""What the text of an answer shows without a model, and what must not count."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from engine.formats.row_formats import join_input
from engine.signals.text_signs import sign

ASKED = "Name the planets of the solar system."
FINE = "The planets are Mercury, Venus, Earth, Mars, Jupiter, Saturn, Uranus and Neptune."


@pytest.mark.parametrize(
    ("shown", "answer"),
    [
        ("empty", " \n"),
        ("refusal", "I'm sorry, but as an AI language model I cannot do that."),
        ("refusal", "Unfortunately, we can't help you with planets."),
        ("refusal", "This task cannot be completed by a language model."),
        ("loop", FINE + " and so on and so on and so on and so on and so on"),
        ("loop", f"{FINE} {FINE}"),
        ("loop", "Venus is hot and very bright. " * 3 + "Mars is cold, and Saturn has rings that everybody knows."),
        ("copied_prompt", ASKED),
        ("copied_prompt", f"{ASKED} Also name the moons."),
        ("leaked_request", f"### Response:\n{FINE}"),
        ("leaked_request", f"{FINE}\n\nHuman: And the moons?\n\nAssistant:"),
        ("leaked_request", f"Here is the improved answer:\n{FINE}"),
        ("leaked_request", f"{FINE}<|im_end|>"),
        ("odd_form", json.dumps({"answer": FINE})),
        ("odd_form", f"<html><body>{FINE}</body></html>"),
        ("odd_form", FINE.upper()),
        ("odd_form", "\n".join(f"{FINE} That is the order of the planets.".split())),
        ("odd_form", "Mercury<br>Venus<br>Earth"),
        ("odd_form", r"Mercury\nVenus\nEarth"),
        (None, FINE),
    ],
)
def test_each_sign(shown: str | None, answer: str) -> None:
    assert sign(ASKED, answer) == shown


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        (
            "Write an apology to a colleague.",
            "I am sorry that I could not come, and I cannot say how much I regret it.",
        ),
        ("Answer as JSON: name two planets.", '{"planets": ["Venus", "Mars"]}'),
        ("Write a short dialogue about planets.", "User: Which one is red?\nAssistant: Mars."),
        ("Show the output of this function.", "```\n1 2 3\n```"),
        ("Turn this into capital letters: we will meet at the old bridge", "WE WILL MEET AT THE OLD BRIDGE"),
        ("Give me the recipe of a pancake.", "Ingredients:\n1 egg\n\nInstructions:\nBeat the egg and fry it."),
        ("Name the first four numbers.", "one, two, three, four"),
        ("Write a song with a chorus.", "Row the boat, row the boat, row the boat, gently down the stream."),
    ],
)
def test_what_the_prompt_asks_for_is_no_sign(prompt: str, answer: str) -> None:
    assert sign(prompt, answer) is None


@pytest.mark.skipif("MIDDO_TEST_DATA" not in os.environ, reason="needs alpaca_9k.json in MIDDO_TEST_DATA")
def test_few_real_rows_show_a_sign() -> None:
    rows = json.loads((Path(os.environ["MIDDO_TEST_DATA"]) / "alpaca_9k.json").read_text(encoding="utf-8"))[:2000]
    shown = [row for row in rows if sign(join_input(row["instruction"], row["input"]), row["output"])]
    assert len(shown) <= 0.01 * len(rows)
