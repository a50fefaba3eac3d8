"""The benchmark of the gain on a real model in short form: its world, its arms without a model, its figures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.engine import real_gain, real_gain_page
from benchmarks.engine.real_gain_page import difference, way


@pytest.fixture
def world(tmp_path: Path) -> real_gain.World:
    rows = [
        {
            "instruction": f"Describe machine number {i} in a sentence.",
            "input": "",
            "output": f"Machine {i} is made of steel and runs on {i + 2} litres of oil a day.",
        }
        for i in range(70)
    ]
    (tmp_path / "alpaca_9k.json").write_text(json.dumps(rows), encoding="utf-8")
    return real_gain.World(tmp_path, draw=0, rows=40, heldout=10)


def test_held_out_rows_training_rows_and_spare_rows_are_different(world: real_gain.World) -> None:
    prompts = [row.prompt for row in (*world.heldout, *world.true, *world.spare)]
    assert len(set(prompts)) == len(prompts) == 10 + 40 + 20
    assert sum(bool(kind) for _, kind in world.spoilt) == 0.4 * 40
    assert all((row == true) == (kind == "") for (row, kind), true in zip(world.spoilt, world.true, strict=True))


def test_random_calls_repair_as_many_rows_as_are_paid_for(world: real_gain.World) -> None:
    spoilt = [row for row, _ in world.spoilt]
    one = real_gain.repaired(world, 12)
    changed = [i for i, (a, b) in enumerate(zip(one, spoilt, strict=True)) if a != b]
    assert 0 < len(changed) <= 12
    assert real_gain.repaired(world, 0) == spoilt
    everything = real_gain.repaired(world, 1000)
    assert sum(a == b for a, b in zip(everything, world.true, strict=True)) > sum(
        a == b for a, b in zip(spoilt, world.true, strict=True)
    )


def arm(*losses: float) -> dict[str, object]:
    tokens = [10] * len(losses)
    return {"rows": 4, "calls": 0, "loss": sum(losses) / len(losses), "losses": list(losses), "tokens_of": tokens}


def test_differences_are_paired_and_the_way_is_a_share_of_the_gap() -> None:
    arms = {"spoilt": arm(2.0, 3.0), "ours": arm(1.6, 2.4), "clean": arm(1.5, 2.5)}
    mean, error = difference(arms["ours"], arms["spoilt"])
    assert mean == pytest.approx(0.5)
    assert error == pytest.approx(0.1 / 2**0.5)
    assert way(arms, "ours") == pytest.approx(1.0)
    assert way(arms, "drop") is None


def test_the_page_says_what_is_missing() -> None:
    page = real_gain_page.page({"0": {"spoilt": arm(2.0, 3.0), "clean": arm(1.5, 2.5)}}, 40, 10, 0.4, 0.95)
    assert "+0.5000 ± 0.0000" in page
    assert "Not measured on this machine for every draw: base, ours, random, random-rewritten, drop, paper." in page
