"""A real chat model of 135 million parameters: losses, lenses and ratings are what plain transformers compute."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.engine.flaw_readings import Readings, Subject
from benchmarks.world import smollm2
from benchmarks.world.planted_flaws import Row, spoiled
from engine.formats.row_formats import join_input

ROWS = 24
RATED = 3
LENSED = 6
"""Rows whose lenses are computed anew by plain transformers."""
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("MIDDO_TEST_DATA" not in os.environ, reason="needs alpaca_1k.json in MIDDO_TEST_DATA"),
    pytest.mark.skipif(not smollm2.available(), reason=smollm2.MISSING),
]


@pytest.fixture(scope="module")
def folder() -> Path:
    found = smollm2.folder()
    assert found is not None
    return found


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    """Short real rows: every third with an answer that is another row's."""
    found = json.loads((Path(os.environ["MIDDO_TEST_DATA"]) / "alpaca_1k.json").read_text(encoding="utf-8"))
    short = [Row(join_input(r["instruction"], r["input"]), r["output"]) for r in found]
    short = [row for row in short if 60 < len(row.answer) < 140][:ROWS]
    return [(spoiled("swapped", short, i, 0) or row) if i % 3 == 0 else row for i, row in enumerate(short)]


@pytest.fixture(scope="module")
def readings(rows: list[Row], folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Readings:
    made = Readings(Subject("smollm2", folder, 512, begins=True), tmp_path_factory.mktemp("readings"))
    made.of(rows)
    return made


@pytest.fixture(scope="module")
def plain(folder: Path) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder, dtype="float32").eval()
    return model, AutoTokenizer.from_pretrained(folder)


def token_losses(plain: tuple[Any, Any], prompt: str, answer: Sequence[int]) -> np.ndarray[Any, Any]:
    """Of the answer's tokens after a prompt, by the model's own logits."""
    import torch

    model, tokenizer = plain
    asked = [{"role": "user", "content": prompt}]
    opening = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_dict=False)
    with torch.inference_mode():
        logits = model(torch.tensor([[*opening, *answer]])).logits[0, len(opening) - 1 : -1]
    losses: np.ndarray[Any, Any] = -torch.log_softmax(logits.float(), -1)[range(len(answer)), list(answer)].numpy()
    return losses


def test_losses_and_lenses_are_those_of_plain_transformers(
    readings: Readings, rows: list[Row], plain: tuple[Any, Any]
) -> None:
    for row, read in list(zip(rows, readings.of(rows), strict=True))[:LENSED]:
        text = plain[1].encode(row.answer, add_special_tokens=False)
        answer = [*text, plain[1].convert_tokens_to_ids("<|im_end|>")]
        given, alone = (token_losses(plain, prompt, answer) for prompt in (row.prompt, ""))
        width = min(16, len(text))
        worst = max(given[i : i + width].mean() for i in range(len(text) - width + 1))
        expected = {
            "loss": given.mean(),
            "end_of_turn": given[-1],
            "without_prompt": alone[:-1].mean(),
            "ifd": given[:-1].mean() / alone[:-1].mean(),
            "worst_window": worst,
        }
        assert {name: read[name] for name in expected} == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_a_swapped_answer_shows_in_ifd(readings: Readings, rows: list[Row]) -> None:
    ifd = np.array([read["ifd"] for read in readings.of(rows)], dtype=float)
    swapped = np.arange(ROWS) % 3 == 0
    assert (ifd[swapped][:, None] > ifd[~swapped]).mean() > 0.95


def test_nearly_all_probability_of_a_rating_lies_on_digits(readings: Readings, rows: list[Row]) -> None:
    rated = readings.of(rows[:RATED], judged=True)
    assert min(read["digit_mass"] or 0.0 for read in rated) >= 0.9
