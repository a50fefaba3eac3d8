"""Selection over the store: parity with the reference's rule, floors, memory, cap, one rewrite per sample."""

from __future__ import annotations

import statistics
from pathlib import Path

import numpy as np
import pytest

from engine.stages import select
from engine.store import write
from engine.store.rows import Losses, Rewrite, Sample, Selection, Threshold, Verdict, content_id
from tests.support import rounds, tiny
from tests.support.rounds import Signals

HARD: Signals = (3.0, 2.5, 0.82, 6.2)
SPARSE: Signals = (1.0, 0.5, 0.1, 6.2)
POOR: Signals = (1.0, 0.5, 0.82, 1.0)
BOTH: Signals = (3.0, 2.5, 0.82, 1.0)


def selected(made: tiny.Project, round: int = 0) -> dict[str, list[int]]:
    """Places of the selected samples by axis."""
    place = {s.id: s.seq for s in rounds.dataset(made, round)}
    out: dict[str, list[int]] = {"complexity": [], "diversity": [], "quality": []}
    for row in made.ctx("select", round).rows(Selection):
        out[row.axis].append(place[row.sample_id])
    return {axis: sorted(places) for axis, places in out.items()}


def pending(made: tiny.Project, round: int = 0) -> list[tuple[str, int]]:
    place = {s.id: s.seq for s in rounds.dataset(made, round)}
    return sorted((r.axis, place[r.sample_id]) for r in made.ctx("select", round).rows(Rewrite) if r.state == "owed")


def test_each_axis_takes_its_own(tmp_path: Path) -> None:
    made = rounds.project(tmp_path, 40)
    rounds.signal(made, rounds.usual(40, s3=HARD, s7=SPARSE, s11=POOR))
    select.run(made.ctx("select"))
    assert selected(made) == {"complexity": [3], "diversity": [7], "quality": [11]}
    assert pending(made) == [("complexity", 3), ("diversity", 7), ("quality", 11)]
    assert made.events() == ["selected complexity 1, diversity 1, quality 1 of 40 samples: 3 rewrites"]
    assert {t.signal: t.axis for t in made.ctx("select").rows(Threshold)} == {
        "loss_before": "complexity",
        "loss_after": "complexity",
        "similarity": "diversity",
        "quality": "quality",
    }
    row = made.ctx("select").rows(Selection)[0]
    assert isinstance(row.value, float)


def test_a_sample_on_both_replacing_axes_is_rewritten_once(tmp_path: Path) -> None:
    made = rounds.project(tmp_path, 40)
    rounds.signal(made, rounds.usual(40, s3=BOTH, s7=SPARSE))
    select.run(made.ctx("select"))
    assert selected(made)["complexity"] == selected(made)["quality"] == [3]
    assert pending(made) == [("diversity", 7), ("quality", 3)]
    assert "both complexity and quality 1" in made.events()[0]


def test_the_order_says_for_which_axis(tmp_path: Path) -> None:
    made = rounds.project(tmp_path, 40, 'merge.order = ["complexity", "quality"]')
    rounds.signal(made, rounds.usual(40, s3=BOTH, s7=SPARSE))
    select.run(made.ctx("select"))
    assert pending(made) == [("complexity", 3), ("diversity", 7)]


def test_missing_signals_are_not_selected_on_that_axis(tmp_path: Path) -> None:
    made = rounds.project(tmp_path, 40)
    values = rounds.usual(40, s3=(None, None, 0.1, 6.2), s4=(3.0, 2.5, None, None), s5=(3.0, 2.5, 0.82, 1.0))
    rounds.signal(made, values)
    select.run(made.ctx("select"))
    assert selected(made) == {"complexity": [4, 5], "diversity": [3], "quality": [5]}


def test_no_signal_at_all_selects_nothing_and_says_so(tmp_path: Path) -> None:
    made = rounds.project(tmp_path, 5)
    rounds.signal(made, [(None, None, None, None)] * 5)
    select.run(made.ctx("select"))
    assert pending(made) == []
    assert sum("selected nothing" in line for line in made.events()) == 4


@pytest.mark.parametrize("seed", range(4))
def test_parity_is_the_reference_rule_sample_for_sample(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = [(float(a), float(b), float(c), float(d)) for a, b, c, d in rng.gamma(2, 1, (80, 4))]
    made = rounds.project(tmp_path, 80, 'select.parity = "reference"\nselect.max_share = 0.0')
    rounds.signal(made, values)
    select.run(made.ctx("select"))
    before, after, similarity, quality = (list(column) for column in zip(*values, strict=True))
    high = [np.mean(v) + np.std(v) for v in (before, after)]
    low = statistics.mean(quality) - statistics.stdev(quality)
    assert selected(made) == {
        "complexity": [i for i in range(80) if before[i] > high[0] and after[i] > high[1]],
        "diversity": [i for i in range(80) if similarity[i] < np.mean(similarity) - np.std(similarity)],
        "quality": [i for i in range(80) if quality[i] < low],
    }


def later(tmp_path: Path, extra: str = "") -> tiny.Project:
    """Two rounds of the same data; in round 0 sample 3 is very hard, so its cut is high."""
    made = rounds.project(tmp_path, 40, extra)
    rounds.signal(made, rounds.usual(40, s3=(9.0, 9.0, 0.82, 6.2)))
    select.run(made.ctx("select"))
    rounds.open_round(made, 1)
    return made


def test_round_0_is_a_floor_for_later_rounds(tmp_path: Path) -> None:
    made = later(tmp_path)
    rounds.signal(made, rounds.usual(40, s5=(1.5, 1.0, 0.82, 6.2), s6=(5.0, 5.0, 0.82, 6.2)), round=1)
    select.run(made.ctx("select", 1))
    assert selected(made, 1)["complexity"] == [6], "sample 5 is beyond the relative cut only"
    marks = {t.signal: t for t in made.ctx("select").rows(Threshold)}
    assert all(t.floor == marks[t.signal].cut for t in made.ctx("select", 1).rows(Threshold))
    assert all(t.floor is None for t in marks.values())


@pytest.mark.parametrize("extra", ['select.floor = "none"', 'select.parity = "reference"'])
def test_without_a_floor_only_the_relative_cut_counts(tmp_path: Path, extra: str) -> None:
    made = later(tmp_path, extra)
    rounds.signal(made, rounds.usual(40, s5=(1.5, 1.0, 0.82, 6.2)), round=1)
    select.run(made.ctx("select", 1))
    assert selected(made, 1)["complexity"] == [5]


def rewritten(made: tiny.Project, seq: int, axis: str, state: str, attempts: int = 1) -> None:
    """In round 0 sample ``seq`` got a rewrite that ended in ``state``."""
    id = rounds.dataset(made)[seq].id
    made.ctx("rewrite").save([Rewrite(0, id, axis, state, attempts=attempts)])


@pytest.mark.parametrize(
    ("axis", "state", "attempts", "again"),
    [
        ("complexity", "rejected", 1, False),
        ("complexity", "failed", 3, False),
        ("quality", "failed", 3, False),
        ("complexity", "failed", 0, True),  # the budget ran out before it was tried
        ("diversity", "rejected", 1, True),
    ],
)
def test_what_was_tried_is_not_tried_again(tmp_path: Path, axis: str, state: str, attempts: int, again: bool) -> None:
    made = rounds.project(tmp_path, 40, 'select.floor = "none"')
    rewritten(made, 3, axis, state, attempts)
    rounds.open_round(made, 1)
    rounds.signal(made, rounds.usual(40, s3=HARD), round=1)
    select.run(made.ctx("select", 1))
    assert selected(made, 1)["complexity"] == ([3] if again else [])
    assert again or "1 skipped (already rewritten)" in made.events()[-1]


def test_memory_can_be_switched_off(tmp_path: Path) -> None:
    made = rounds.project(tmp_path, 40, 'select.floor = "none"\nselect.remember = false')
    rewritten(made, 3, "complexity", "rejected")
    rounds.open_round(made, 1)
    rounds.signal(made, rounds.usual(40, s3=HARD), round=1)
    select.run(made.ctx("select", 1))
    assert selected(made, 1)["complexity"] == [3]


def test_a_core_inspires_once(tmp_path: Path) -> None:
    made = rounds.project(tmp_path, 40, 'select.floor = "none"')
    rewritten(made, 7, "diversity", "accepted")
    rounds.open_round(made, 1)
    rounds.signal(made, rounds.usual(40, s7=SPARSE, s8=SPARSE), round=1)
    select.run(made.ctx("select", 1))
    assert selected(made, 1)["diversity"] == [8]


@pytest.mark.parametrize(("improved", "again"), [(True, True), (False, False), (None, False)])
def test_a_merged_rewrite_is_tried_again_if_it_improved(tmp_path: Path, improved: bool | None, again: bool) -> None:
    made = rounds.project(tmp_path, 40, 'select.floor = "none"')
    parent = rounds.dataset(made)[3]
    rewritten(made, 3, "quality", "accepted")
    made.ctx("verify").save([Verdict(0, parent.id, "quality", 1.0, 1.0, 0.5, 5.0, None, improved, "so so")])
    messages = tiny.chat("new", "better")
    child = Sample(content_id(messages), messages, 40, parent_id=parent.id, axis="quality", born_round=1)
    write.replace(made.db, 0, [child], [parent.id], [])
    rounds.open_round(made, 1)
    rounds.signal(made, rounds.usual(40, s39=HARD), round=1)
    select.run(made.ctx("select", 1))
    assert selected(made, 1)["complexity"] == ([40] if again else [])


def test_the_cap_keeps_the_worst(tmp_path: Path) -> None:
    made = rounds.project(tmp_path, 40, "select.max_share = 0.05")
    odd = {f"s{i}": (3.0 + i, 2.5 + i, 0.82, 6.2) for i in range(6)}
    rounds.signal(made, rounds.usual(40, **odd))
    select.run(made.ctx("select"))
    assert selected(made)["complexity"] == [4, 5]
    assert pending(made) == [("complexity", 4), ("complexity", 5)]
    assert "beyond select.max_share" in made.events()[0]


def test_running_again_gives_the_same(tmp_path: Path) -> None:
    made = rounds.project(tmp_path, 40)
    rounds.signal(made, rounds.usual(40, s3=HARD, s7=SPARSE, s11=POOR))
    select.run(made.ctx("select"))
    before = [made.ctx("select").rows(kind) for kind in (Selection, Threshold, Rewrite, Losses)]
    select.run(made.ctx("select"))
    assert [made.ctx("select").rows(kind) for kind in (Selection, Threshold, Rewrite, Losses)] == before


def flawed(count: int, share: float) -> list[Signals]:
    """A share of the samples is hard before training and rated low; the rest spreads a little."""
    rng = np.random.default_rng(0)
    out: list[Signals] = []
    for i in range(count):
        bad = i < share * count
        noise = rng.normal(size=4)
        out.append(
            (
                float(np.exp(0.3 * noise[0] + 1.6 * bad)),
                float(np.exp(0.3 * noise[1])),
                float(0.8 + 0.02 * noise[2]),
                float(6.5 + 0.5 * noise[3] - 2.6 * bad),
            )
        )
    return out


def test_the_mixture_rule_takes_the_flawed_and_says_what_it_saw(tmp_path: Path) -> None:
    made = rounds.project(tmp_path, 400, 'select.threshold = "mixture"')
    rounds.signal(made, flawed(400, 0.25))
    select.run(made.ctx("select"))
    found = selected(made)
    assert len(set(found["complexity"]) & set(range(100))) > 95
    assert len(set(found["complexity"]) - set(range(100))) < 5
    assert len(set(found["quality"]) & set(range(100))) > 95
    assert found["diversity"] == []
    marks = {t.signal: t for t in made.ctx("select").rows(Threshold)}
    assert {t.rule for t in marks.values()} == {"mixture"}
    row = next(r for r in made.ctx("select").rows(Selection) if r.axis == "complexity")
    assert row.threshold == marks["loss_before"].cut
    assert any(line.startswith("loss_before: two groups") for line in made.events())
    assert any(line.startswith("similarity: one group") for line in made.events())


def test_on_clean_data_the_mixture_rule_selects_nothing(tmp_path: Path) -> None:
    made = rounds.project(tmp_path, 400, 'select.threshold = "mixture"')
    rounds.signal(made, flawed(400, 0.0))
    select.run(made.ctx("select"))
    assert selected(made) == {"complexity": [], "diversity": [], "quality": []}
    assert made.events()[0] == "selected complexity 0, diversity 0, quality 0 of 400 samples: 0 rewrites"


def test_a_later_round_keeps_the_first_mixture_cut_on_complexity(tmp_path: Path) -> None:
    made = rounds.project(tmp_path, 400, 'select.threshold = "mixture"')
    rounds.signal(made, flawed(400, 0.25))
    select.run(made.ctx("select"))
    rounds.open_round(made, 1)
    rounds.signal(made, flawed(400, 0.01), round=1)
    select.run(made.ctx("select", 1))
    first, second = ({t.signal: t for t in made.ctx("select", r).rows(Threshold)}["loss_before"] for r in (0, 1))
    assert second.cut == first.cut
    assert len(set(selected(made, 1)["complexity"]) & {0, 1, 2, 3}) >= 3, "too few for a group, but beyond the cut"


def test_dropping_needs_no_teacher(tmp_path: Path) -> None:
    made = rounds.project(tmp_path, 40, 'merge.flawed = "drop"')
    rounds.signal(made, rounds.usual(40, s3=HARD, s7=SPARSE, s11=POOR))
    select.run(made.ctx("select"))
    assert selected(made) == {"complexity": [3], "diversity": [7], "quality": [11]}
    assert pending(made) == [("diversity", 7)]
