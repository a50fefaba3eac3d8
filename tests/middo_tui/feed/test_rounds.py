"""What the Rounds screen reads: exact counts, honest changes, distributions that add up, and few queries."""

from __future__ import annotations

import json
import math
import sqlite3
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.store import connect, read
from engine.store.rows import EvalScore
from middo_tui.feed import rounds
from middo_tui.feed.bins import Bins
from middo_tui.feed.distributions import SHOWN, SIGNALS, common, distribution, rebinned
from middo_tui.feed.round_config import defaults, differing, settings
from middo_tui.feed.rounds import RoundsReader, RoundsView
from middo_tui.text import score_changes
from middo_tui.text.status import gather
from tests.support import families, stores
from tests.support.stores import Store


def measured(project: Path) -> RoundsView:
    """Everything, with the distributions."""
    reader = RoundsReader(project)
    views = [reader.read()]
    reader.measure(views.append, lambda: False)
    return views[-1]


def test_a_project_that_never_ran_has_no_rounds(tmp_path: Path) -> None:
    Store(tmp_path / "p")
    assert RoundsReader(tmp_path / "p").read() == RoundsView((), (), True)


def test_a_round_is_counted_by_axis(tmp_path: Path) -> None:
    store = families.measured(tmp_path / "p", 1)
    (one,) = RoundsReader(tmp_path / "p").read().rounds
    assert (one.state, one.size, one.merged) == ("done", stores.SIZE, True)
    counts = [(a.axis, a.selected, a.rewritten, a.accepted, a.rejected, a.failed) for a in one.axes]
    assert counts == [("complexity", 7, 7, 5, 2, 0), ("diversity", 5, 5, 4, 1, 0), ("quality", 3, 3, 2, 1, 0)]
    assert one.gain == one.total("accepted") / one.total("selected")
    facts = read.round_facts(store.db, 0)
    assert facts is not None
    assert one.gain == facts.accepted / facts.rewrites, "what the stop rule goes by"
    assert one.teacher.cost == pytest.approx(0.15)


def test_the_yield_is_that_of_all_rewrites_once_some_are_decided(tmp_path: Path) -> None:
    store = stores.waiting(tmp_path / "p")
    assert RoundsReader(tmp_path / "p").read().rounds[0].gain is None
    for state, gain in (("failed", 0.0), ("rejected", 0.0), ("accepted", 1.0)):
        with store.db:
            store.db.execute("UPDATE rewrite SET state=?", (state,))
        one = RoundsReader(tmp_path / "p").read().rounds[0]
        assert [one.gain, *(axis.gain for axis in one.axes)] == [gain] * 4


@pytest.mark.parametrize(("make", "state", "stage"), [
    ("running", "running", "train"),
    ("waiting", "waiting", "review"),
    ("failed", "failed", "judge"),
])  # fmt: skip
def test_the_newest_round_says_where_it_is(tmp_path: Path, make: str, state: str, stage: str) -> None:
    getattr(stores, make)(tmp_path / "p")
    one = RoundsReader(tmp_path / "p").read().rounds[-1]
    assert (one.state, one.stage, one.merged) == (state, stage, False)


def test_a_closing_round_selects_nothing(tmp_path: Path) -> None:
    stores.finished(tmp_path / "p")
    one = RoundsReader(tmp_path / "p").read().rounds[-1]
    assert (one.closing, one.axes, one.gain, [s.name for s in one.stages]) == (True, (), None, ["train", "evaluate"])


def test_stages_tell_how_long_they_took(tmp_path: Path) -> None:
    store = stores.waiting(tmp_path / "p")
    for stage, seconds in (("train", 100.0), ("score", 30.5)):
        families.finish(store, 0, stage, seconds)
    one = RoundsReader(tmp_path / "p").read().rounds[0]
    took = {stage.name: stage.seconds for stage in one.stages}
    assert (took["train"], took["score"], took["merge"]) == (100.0, 30.5, None)
    assert one.seconds == sum(seconds for seconds in took.values() if seconds)


def test_clusters_come_with_words_and_without_noise(tmp_path: Path) -> None:
    families.measured(tmp_path / "p")
    first, second = RoundsReader(tmp_path / "p").read().rounds
    assert [(c.cluster, c.change, c.size, c.previous_size) for c in second.clusters] == [
        (-3, "died", 0, 30),
        (0, "grew", 61, 60),
    ]
    assert second.clusters[1].text == "Name 1 things.⏎Here are 1 things."
    assert (second.changed("died"), second.noise, first.noise) == (1, 30, 30)


# ------------------------------------------------------------------------------------------------- scores


def test_a_change_is_held_against_both_errors() -> None:
    def scores(round: int, **figures: tuple[float, float | None]) -> dict[str, EvalScore]:
        return {
            task: EvalScore(round, task, *known, 9, higher=task != "heldout_loss") for task, known in figures.items()
        }

    now = scores(1, accuracy=(0.40, 0.03), heldout_loss=(1.1, 0.01), mmlu=(0.5, None), new=(0.1, 0.1))
    before = scores(0, accuracy=(0.32, 0.04), heldout_loss=(1.2, 0.01), mmlu=(0.6, 0.1))
    accuracy, loss, mmlu, new = score_changes.changes(now, before)
    assert accuracy.combined == pytest.approx(0.05)
    assert (accuracy.beyond, accuracy.better) == (False, True), "1.6 standard errors"
    assert (loss.beyond, loss.better) == (True, True)
    assert (mmlu.beyond, mmlu.better) == (None, False)
    assert (new.change, new.beyond, new.better) == (None, None, None)


def test_status_says_the_same(tmp_path: Path) -> None:
    stores.finished(tmp_path / "p")
    found = json.loads(json.dumps(gather(tmp_path / "p")))["rounds"]
    assert found[0]["score_changes"] == {}
    accuracy = found[1]["score_changes"]["accuracy"]
    assert accuracy["change"] == pytest.approx(0.021)
    assert accuracy["stderr"] == pytest.approx(math.hypot(0.013, 0.013))
    assert accuracy["beyond_chance"] is False, "1.1 standard errors"
    assert found[1]["score_changes"]["heldout_loss"]["beyond_chance"] is None


# ------------------------------------------------------------------------------------------ distributions


def test_quantiles_and_mean_are_exact(tmp_path: Path) -> None:
    store = families.measured(tmp_path / "p", 1)
    found = distribution(store.db, 0, "loss_before")
    values = sorted(1.0 + at * 0.01 for at in range(stores.SIZE))
    assert found is not None
    assert (found.count, sum(found.bins.counts)) == (stores.SIZE, stores.SIZE)
    assert found.mean == pytest.approx(sum(values) / len(values))
    assert (found.low, found.median, found.high) == pytest.approx((values[6], values[60], values[114]))


def test_one_value_is_a_distribution_too(tmp_path: Path) -> None:
    store = Store(tmp_path / "p").round(0, 2)
    families.save(store, 0, "score", families.signals(0, [families.FIRST]))
    found = distribution(store.db, 0, "quality")
    assert found is not None
    assert (found.count, found.low, found.high) == (1, 4.0, 4.0)
    assert sum(common({0: found})[0].counts) == 1
    assert distribution(store.db, 1, "quality") is None


def test_rounds_share_one_range_and_lose_nothing(tmp_path: Path) -> None:
    families.measured(tmp_path / "p")
    view = measured(tmp_path / "p")
    assert view.complete
    for signal in SIGNALS:
        bins = view.overlaid(signal)
        assert {(b.low, b.high, len(b.counts)) for b in bins.values()} == {(bins[0].low, bins[0].high, SHOWN)}
        assert [sum(b.counts) for b in bins.values()] == pytest.approx([stores.SIZE] * 2)
    assert RoundsView().overlaid("quality") == {}


@given(
    st.lists(st.integers(0, 50), min_size=1, max_size=30),
    st.floats(-5, 5),
    st.floats(0.01, 9),
    st.floats(-9, 9),
    st.floats(0, 9),
    st.integers(1, 40),
)
def test_other_parts_hold_as_many_values(
    counts: list[int], low: float, span: float, to: float, wide: float, parts: int
) -> None:
    bins = Bins(low, low + span, tuple(float(count) for count in counts))
    again = rebinned(bins, to, to + wide, parts)
    assert sum(again.counts) == pytest.approx(sum(counts))
    assert len(again.counts) == parts
    assert min(again.counts) >= 0


def test_only_what_is_owed_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    families.measured(tmp_path / "p")
    read: list[tuple[int, str]] = []

    def counted(db: sqlite3.Connection, round: int, signal: str) -> object:
        read.append((round, signal))
        return distribution(db, round, signal)

    monkeypatch.setattr(rounds, "distribution", counted)
    reader = RoundsReader(tmp_path / "p")
    views: list[RoundsView] = []
    reader.measure(views.append, lambda: False)
    assert sorted(read) == sorted((round, signal) for round in (0, 1) for signal in SIGNALS)
    assert [len(view.shapes) for view in views] == [4, 8]  # newest round first, told as they come
    assert views[0].shape(1, "quality") is not None
    reader.measure(views.append, lambda: False)
    assert len(read) == 8
    assert reader.read() == views[-1]


def test_measuring_can_be_stopped(tmp_path: Path) -> None:
    families.measured(tmp_path / "p")
    views: list[RoundsView] = []
    RoundsReader(tmp_path / "p").measure(views.append, lambda: True)
    assert views == []


def test_what_has_not_moved_costs_three_queries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = families.measured(tmp_path / "p")
    reader = RoundsReader(tmp_path / "p")
    asked: list[str] = []

    def traced(project: Path) -> sqlite3.Connection:
        db = connect.reader(project)
        db.set_trace_callback(asked.append)
        return db

    monkeypatch.setattr(rounds, "reader", traced)
    first = reader.read()
    once = len(asked)
    asked.clear()
    assert reader.read() == first
    assert len(asked) <= 4 < once  # the transaction, the jobs, the journal per round
    families.decide(store, 1, families.FIRST, "quality", "accepted", "app")
    asked.clear()
    reader.read()
    assert len(asked) > 4


# ----------------------------------------------------------------------------------------------- settings


def test_settings_differ_by_key() -> None:
    now = settings('{"a": {"b": 1, "c": {"d": "x\\u202ey"}}, "e": {}}')
    assert now == (("a.b", "1"), ("a.c.d", '"x⟨U+202E⟩y"'), ("e", "{}"))
    assert differing(now, (("a.b", "2"), ("z", "0"))) == (
        ("a.b", "1", "2"),
        ("a.c.d", now[1][1], ""),
        ("e", "{}", ""),
        ("z", "", "0"),
    )
    assert differing(defaults(), defaults()) == ()


@pytest.mark.parametrize("text", ["", "{", "[1]", "null"])
def test_settings_that_cannot_be_read_are_none(text: str) -> None:
    assert settings(text) == ()
