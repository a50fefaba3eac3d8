"""The doctor's trial of a model: what grows with its layers, and what does not. By a clock that counts readings."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import pytest

from engine.doctor import speed_probe
from engine.doctor.speed_probe import Clock, Shortened, Sizes
from tests.support import tiny

SIZES = Sizes(tokens=40, prompt=20)


def one_second() -> Clock:
    """Whatever is measured takes a second."""
    readings = count()
    return lambda: float(next(readings))


def test_texts_of_ratings_are_made_once_however_many_layers_there_are(tiny_model: Path) -> None:
    config = tiny.make_config(tiny_model)
    found = []
    for whole in (1.0, 32.0):
        short = Shortened(tiny_model, config, "float32", SIZES)
        short.whole = whole
        took = speed_probe.rate(short, tiny_model, config, SIZES, one_second())
        assert took is not None
        found.append(took)
    assert found[1] / found[0] == pytest.approx((1 + 32) / (1 + 1))


def test_a_tokens_layers_are_multiplied_and_its_logits_are_not(tiny_model: Path) -> None:
    short = Shortened(tiny_model, tiny.make_config(tiny_model), "float32", SIZES)
    once = speed_probe.read(short, one_second())
    short.whole = 32.0
    more = speed_probe.read(short, one_second())
    assert more["read"] / once["read"] == pytest.approx(32)
    assert more["predicted"] == once["predicted"]
