"""The demo's dataset: reproducible, flawed as announced, and never overlapping with what it is measured on."""

import json
from collections import Counter
from pathlib import Path

import pytest

from engine.demo import flaws, seed, world


def test_the_same_seed_gives_the_same_rows() -> None:
    assert seed.seed_rows(120, 3) == seed.seed_rows(120, 3)
    assert seed.seed_rows(120, 3) != seed.seed_rows(120, 4)
    assert seed.heldout_rows(60, 3) == seed.heldout_rows(60, 3)


@pytest.mark.parametrize(("seed_number", "heldout_number"), [(1, 1), (1, 2), (5, 9)])
def test_no_heldout_prompt_is_in_any_seed(seed_number: int, heldout_number: int) -> None:
    trained = {row.prompt for row in seed.seed_rows(800, seed_number) if row.flaw not in ("vague", "hard")}
    assert all(not seed.is_heldout(prompt) for prompt in trained)
    assert trained.isdisjoint(row.prompt for row in seed.heldout_rows(400, heldout_number))


def test_prompts_are_distinct() -> None:
    for rows in (seed.seed_rows(800, 1), seed.heldout_rows(400, 1)):
        assert len({row.prompt for row in rows}) == len(rows)


def test_four_in_ten_rows_are_flawed_mostly_wrong() -> None:
    rows = seed.seed_rows(3000, 2)
    counts = Counter(row.flaw for row in rows)
    assert 0.34 < 1 - counts[""] / len(rows) < 0.44
    assert counts["wrong"] > counts["truncated"] + counts["vague"] + counts["hard"]
    assert min(counts[flaw] for flaw in flaws.FLAWS) > 0.02 * len(rows)


def test_careless_families_have_more_wrong_answers() -> None:
    rows = seed.seed_rows(3000, 2)
    wrong = Counter(row.family for row in rows if row.flaw == "wrong")
    assert min(wrong[family] for family in seed.CARELESS) > max(
        count for family, count in wrong.items() if family not in seed.CARELESS
    )


def test_rare_families_are_rare_and_clean() -> None:
    rows = seed.seed_rows(1500, 2)
    by_family = Counter(row.family for row in rows)
    for family in world.RARE:
        assert 0.005 < by_family[family] / len(rows) < 0.035
        assert all(not row.flaw for row in rows if row.family == family)


def test_heldout_rows_are_clean_and_balanced() -> None:
    rows = seed.heldout_rows(220, 1)
    assert len(rows) == 220
    assert all(row.output == row.intended.answer for row in rows)
    assert set(Counter(row.family for row in rows).values()) == {10}


def test_a_family_that_runs_out_leaves_room_to_the_others() -> None:
    rows = seed.heldout_rows(2000, 1)
    counts = Counter(row.family for row in rows)
    assert counts["month"] < counts["add"]
    assert set(counts) == set(world.FAMILIES)


def test_files_hold_the_rows_and_no_labels(tmp_path: Path) -> None:
    seed_path, heldout_path = seed.write(tmp_path / "data", 50, 22, 1)
    for path, rows in ((seed_path, seed.seed_rows(50, 1)), (heldout_path, seed.heldout_rows(22, 1))):
        written = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        assert written == [{"instruction": r.instruction, "input": r.input, "output": r.output} for r in rows]
    assert any(json.loads(line)["input"] for line in seed_path.read_text(encoding="utf-8").splitlines())
