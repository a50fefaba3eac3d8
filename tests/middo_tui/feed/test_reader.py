"""Reading the store: the view of every state, incremental curves, and nothing read or said twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.store import commands, write
from engine.store.connect import FILE
from middo_tui.feed.metrics import Buckets
from middo_tui.feed.poll import poll
from middo_tui.feed.reader import Reader
from middo_tui.feed.stage_rate import StageRate
from middo_tui.feed.view import LoopView
from tests.support import stores
from tests.support.stores import STEPS, Store


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    made = Reader(tmp_path / "p")
    yield made
    made.close()


@given(st.lists(st.tuples(st.integers(0, 5000), st.floats(0, 10)), max_size=300), st.integers(1, 40))
def test_buckets_are_the_same_in_any_order_and_keep_the_extremes(seen: list[tuple[int, float]], most: int) -> None:
    there, back = Buckets(most), Buckets(most)
    for step, loss in seen:
        there.add(step, loss)
    for step, loss in reversed(seen):
        back.add(step, loss)
    assert there.points() == back.points()
    assert len(there.points()) <= most
    if seen:
        assert max(high for _, _, high in there.points()) == max(loss for _, loss in seen)
        assert min(low for _, low, _ in there.points()) == min(loss for _, loss in seen)


def test_the_rate_comes_from_what_was_seen_lately() -> None:
    pace, stage = StageRate(window_s=10.0), (0, "judge")
    assert pace.rate(stage, 500, 0.0) is None
    assert pace.rate(stage, 520, 2.0) == 10.0
    for second in range(3, 40):
        rate = pace.rate(stage, 520 + (second - 2) * 30, float(second))
    assert rate == pytest.approx(30.0)
    assert pace.rate((0, "evaluate"), 5, 41.0) is None


def test_loading_a_model_is_no_part_of_the_rate_once_a_stage_has_moved_twice() -> None:
    pace, stage = StageRate(), (0, "train")
    assert pace.rate(stage, 0, 0.0) is None
    assert pace.rate(stage, 0, 7.0) is None
    assert pace.rate(stage, 1, 10.0) == pytest.approx(0.1), "a bound: nothing else is known yet"
    assert pace.rate(stage, 3, 11.0) == pytest.approx(2.0)


def test_the_rate_starts_anew_when_a_stage_went_back() -> None:
    pace = StageRate()
    pace.rate((0, "train"), 100, 0.0)
    pace.rate((0, "train"), 200, 1.0)
    assert pace.rate((0, "train"), 50, 2.0) is None


def test_a_new_project(tmp_path: Path, reader: Reader) -> None:
    Store(tmp_path / "p")
    view = reader.view()
    assert (view.state, view.round, view.rounds) == ("new", None, 3)
    assert (view.project, view.model) == ("alpaca-mini", "Llama-3.1-8B")
    assert view.table[0].size == stores.SIZE
    assert view.next == (0, "train")
    assert [stage.state for stage in view.stages] == ["pending"] * 9


@pytest.mark.parametrize(
    ("name", "shown"),
    [("demo:base", "base"), ("owner/Llama-3.1-8B", "Llama-3.1-8B"), ("/models/my:own/", "my:own"), ("gpt2", "gpt2")],
)
def test_a_model_is_known_by_the_last_part_of_its_name(tmp_path: Path, reader: Reader, name: str, shown: str) -> None:
    Store(tmp_path / "p", model=name)
    assert reader.view().model == shown


def test_a_running_round(tmp_path: Path, reader: Reader) -> None:
    stores.running(tmp_path / "p")
    view = reader.view()
    assert (view.state, view.round, view.closing) == ("running", 1, False)
    assert view.current is not None
    assert (view.current.name, view.current.done, view.current.total) == ("train", 180, STEPS)
    assert [curve.round for curve in view.curves] == [1, 0]
    assert [len(curve.points) for curve in view.curves] == [180, STEPS]
    assert view.curves[0].last_step == STEPS
    assert view.training is not None
    assert view.training.step == 180
    assert view.gauges[0].device == "GPU 0 H200"
    first, second = view.table
    assert (first.selected, first.accepted, first.score) == ((7, 5, 3), (5, 4, 2), 0.356)
    assert (second.selected, second.accepted, second.score) == (None, None, None)
    assert view.log[0].text == "resumed at 0"


def test_a_worker_that_is_gone_leaves_an_interrupted_round(tmp_path: Path, reader: Reader) -> None:
    stores.running(tmp_path / "p").worker(alive=False)
    view = reader.view()
    assert (view.state, view.gauges, view.next) == ("interrupted", (), (1, "train"))


def test_a_pause_is_no_part_of_the_rate(tmp_path: Path) -> None:
    now = [0.0]
    reader = Reader(tmp_path / "p", lambda: now[0])
    store = stores.running(tmp_path / "p")

    def rate_at(second: float, done: int) -> float | None:
        now[0] = second
        store.job(1, "train", "running", done, STEPS)
        return reader.view().stages[0].rate

    assert [rate_at(0, 180), rate_at(1, 190)] == [None, 10.0]
    store.worker(alive=False)
    assert rate_at(2, 190) is None
    store.worker()
    assert [rate_at(600, 190), rate_at(601, 200)] == [None, 10.0]
    reader.close()


def test_a_part_of_a_long_step_counts_for_share_and_time(tmp_path: Path) -> None:
    now = [0.0]
    reader = Reader(tmp_path / "p", lambda: now[0])
    store = stores.running(tmp_path / "p").job(1, "train", "running", 1, 4)
    for part in (0.25, 0.5, 0.75):
        write.save(store.db, 1, "train", (), 1, part)
        stage = reader.view().stages[0]
        now[0] += 100

    assert (stage.done, stage.total, stage.share) == (1, 4, 0.4375)
    assert stage.left_s == pytest.approx(900)
    reader.close()


def test_a_waiting_round_counts_its_rewrites(tmp_path: Path, reader: Reader) -> None:
    stores.waiting(tmp_path / "p")
    waiting = reader.view().waiting
    assert (waiting.open, waiting.improved, waiting.by_axis) == (15, 9, (4, 3, 2))
    commands.decide_open(tmp_path / "p", 0, "improved", "test")
    view = reader.view()
    assert (view.waiting.open, view.waiting.accepted, view.waiting.rejected) == (0, 9, 6)
    assert view.table[0].accepted == (4, 3, 2)
    commands.undo(tmp_path / "p")
    assert reader.view().waiting == waiting


def test_a_failed_stage_carries_its_error(tmp_path: Path, reader: Reader) -> None:
    stores.failed(tmp_path / "p")
    view = reader.view()
    assert view.state == "failed"
    assert view.current is not None
    assert view.current.error.startswith("BackendError")
    assert view.next == (0, "judge")


def test_a_finished_run_says_why_it_ended_and_more_rounds_reopen_it(tmp_path: Path, reader: Reader) -> None:
    stores.finished(tmp_path / "p")
    view = reader.view()
    assert (view.state, view.closing, view.next, view.reason) == ("done", True, None, "2 rounds are done")
    commands.set_plan(tmp_path / "p", 3)
    assert (reader.view().state, reader.view().next) == ("idle", (2, "score"))


def test_a_step_leaves_the_run_idle_with_what_comes_next(tmp_path: Path, reader: Reader) -> None:
    Store(tmp_path / "p").plan(until="train").round(0, 1)
    view = reader.view()
    assert (view.state, view.next, view.until) == ("idle", (0, "score"), "train")


def test_the_same_view_while_nothing_is_committed(tmp_path: Path, reader: Reader) -> None:
    store = stores.running(tmp_path / "p")
    first = reader.view()
    assert reader.view() is first
    store.event("news")
    assert reader.view() is not first


def test_what_did_not_change_stays_the_same_object(tmp_path: Path, reader: Reader) -> None:
    store = stores.running(tmp_path / "p")
    first = reader.view()
    store.event("news")
    second = reader.view()
    assert all(a is b for a, b in zip(first.curves, second.curves, strict=True))
    assert all(a is b for a, b in zip(first.table, second.table, strict=True))


def test_a_resumed_training_takes_steps_back(tmp_path: Path, reader: Reader) -> None:
    store = stores.running(tmp_path / "p")
    assert len(reader.view().curves[0].points) == 180
    store.db.execute("DELETE FROM metric WHERE round=1 AND step>100")
    assert len(reader.view().curves[0].points) == 100
    store.metrics(1, 120, first=101)
    assert len(reader.view().curves[0].points) == 120


def test_trouble_is_part_of_the_view_and_goes_away(tmp_path: Path, reader: Reader) -> None:
    assert "no project here" in reader.view().problem
    Store(tmp_path / "p")
    assert reader.view().problem == ""
    (tmp_path / "p" / "config.toml").write_text("[train]\nepoch = 3\n")
    broken = reader.view()
    assert "[train] epoch: no such key" in broken.problem
    assert str(tmp_path / "p" / "config.toml") in broken.problem
    assert broken.wrong == "config.toml"
    assert reader.view() is broken
    (tmp_path / "p" / "config.toml").write_text("[train]\nepochs = 3\n")
    assert reader.view().problem == ""


@pytest.mark.parametrize("text", ["[train]\nepoch = 3\n", "[train", "[train]\nepochs = 'many'\n"])
def test_a_config_that_cannot_be_read_hides_nothing_of_the_store(tmp_path: Path, reader: Reader, text: str) -> None:
    stores.running(tmp_path / "p")
    before = reader.view()
    (tmp_path / "p" / "config.toml").write_text(text)
    after = reader.view()
    assert after.problem
    for name in ("round", "stages", "curves", "table", "log", "worker", "waiting"):
        assert getattr(after, name) == getattr(before, name), name


def test_a_file_that_is_no_database(tmp_path: Path, reader: Reader) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / FILE).write_text("not a database, not at all, " * 100)
    assert "not a readable database" in reader.view().problem


def test_polling_says_only_what_is_new_and_ends_when_told(tmp_path: Path, reader: Reader) -> None:
    store = stores.running(tmp_path / "p")
    stop, told = Event(), []

    def post(view: LoopView) -> None:
        told.append(view)
        if len(told) == 1:
            store.event("news")
        else:
            stop.set()

    poll(reader, stop, post, every_s=0.001)
    assert [view.log[0].text for view in told] == ["resumed at 0", "news"]


def test_polling_does_not_repeat_what_is_shown_already(tmp_path: Path, reader: Reader) -> None:
    stores.running(tmp_path / "p")
    stop = Event()
    told: list[LoopView] = []
    stop.set()
    poll(reader, stop, told.append, reader.view())
    assert told == []


def test_a_project_that_is_taken_away_or_replaced_is_noticed(tmp_path: Path) -> None:
    project = tmp_path / "p"
    stores.running(project).db.close()
    reader = Reader(project)
    assert len(reader.view().curves) == 2
    project.rename(tmp_path / "elsewhere")
    assert "moved or deleted" in reader.view().problem
    Store(project, name="another").db.close()
    view = reader.view()
    assert (view.problem, view.project, view.curves, view.log) == ("", "another", (), ())
    reader.close()
