"""Reviewing many rewrites: worst doubts first, similar ones together, few keys, the same few queries at any size."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.store import connect, overrides
from engine.store.connect import writer
from engine.verification.doubts import DRIFTED, OFF_TOPIC
from middo_tui.app import MiddoApp
from middo_tui.feed import rewrite
from middo_tui.feed.merge_card import MergeCard, Risk, read_card
from middo_tui.feed.review import Query, QueueEntry, read_queue
from middo_tui.feed.rewrite import TextBlock
from middo_tui.screens.merge_card import ConfirmMerge, lines
from middo_tui.screens.review.reading import ReviewReading
from middo_tui.text.word_diff import Part, diff
from middo_tui.widgets.lines import plain, width_of
from middo_tui.widgets.queue_strip import QueuePlace, strip
from middo_tui.widgets.word_diff import REWRITTEN, changes, laid_out
from tests.middo_tui.screens.review.test_screen import done, fates, opened
from tests.support.reviews import reviewing
from tests.support.screens import screen_text, until

OLD = "A river is water.\nIt flows down from the hills to a lake, and everybody may swim in it on warm days."
NEW = "Photosynthesis: plants turn light into sugar.\nLeaves hold chlorophyll; roots bring minerals upward instead."


def doubt(project: Path, verdicts: dict[int, tuple[int | None, str]]) -> None:
    """Set improved and verdict by the sample's number from 1000."""
    db = writer(project)
    for at, (improved, verdict) in verdicts.items():
        db.execute(
            "UPDATE rewrite SET improved=?, verdict=? WHERE sample_id=(SELECT id FROM sample WHERE seq=?)",
            (improved, verdict, 1000 + at),
        )
    db.close()


def queue(project: Path, filter: str = "", sort: str = "place") -> list[QueueEntry]:
    db = connect.reader(project)
    try:
        return list(read_queue(db, Query(filter=filter, sort=sort), 0.0).rows)
    finally:
        db.close()


def test_the_worst_doubts_come_first_and_are_flagged(tmp_path: Path) -> None:
    reviewing(tmp_path / "p", 6)
    doubt(
        tmp_path / "p",
        {
            0: (1, "improved: a"),
            1: (0, "not improved: a (b)"),
            2: (None, ""),
            3: (0, f"not improved: 12% {OFF_TOPIC} (b)"),
            4: (0, f"not improved: {DRIFTED} (IFD 1.02) (b)"),
            5: (0, "not improved: a; c; d (b)"),
        },
    )
    found = queue(tmp_path / "p", sort="doubtful")
    assert [entry.seq - 1000 for entry in found] == [4, 3, 5, 1, 2, 0]
    assert [entry.doubt for entry in found] == ["drifted", "off topic", "", "", "", ""]
    assert [entry.seq - 1000 for entry in queue(tmp_path / "p", filter="drifted")] == [3, 4]


def cluster(project: Path, numbers: dict[int, int]) -> None:
    db = writer(project)
    for at, number in numbers.items():
        db.execute(
            "UPDATE signal SET cluster=? WHERE sample_id=(SELECT id FROM sample WHERE seq=?)", (number, 1000 + at)
        )
    db.close()


async def test_similar_rewrites_are_decided_with_two_keys(tmp_path: Path) -> None:
    """Twelve of one axis and cluster; every second one is improved, so six are alike."""
    project = tmp_path / "p"
    wanted = reviewing(project, 36)
    cluster(project, dict.fromkeys(range(12), 7))
    together = queue(project, sort="similar")
    assert [entry.seq - 1000 for entry in together[:12]] == [1, 3, 5, 7, 9, 11, 0, 2, 4, 6, 8, 10]
    app = MiddoApp(project)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        await until(pilot, "6 similar: M marks them")
        await pilot.press("M", "A")
        await done(pilot, screen)
        taken = [at for at, (state, _) in enumerate(fates(project, wanted)) if state == "accepted"]
        assert taken == [0, 2, 4, 6, 8, 10]
        await pilot.press("M", "M")
        assert screen.taken == frozenset(), "the second press takes the marks away"


@pytest.mark.usefixtures("started")
async def test_a_whole_review_takes_two_keys_a_rewrite_and_two_to_merge(tmp_path: Path, started: list[Path]) -> None:
    """The dearest way, every single one rejected: 2 n + 2 keys, so 402 for 200."""
    project, count, pressed = tmp_path / "p", 12, 0
    reviewing(project, count)
    app = MiddoApp(project)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        while any(screen.state_of(entry) == "proposed" for entry in screen.queue.rows):
            await pilot.press("r", "r")
            pressed += 2
        await done(pilot, screen)
        await until(pilot, "All 12 rewrites are decided")
        await pilot.press("enter")
        await until(pilot, "Merge round 0? 0 rewrites accepted.")
        await pilot.press("enter")
        pressed += 2
        await pilot.pause()
    assert started == [project]
    assert pressed == 2 * count + 2


def statements(monkeypatch: pytest.MonkeyPatch, work: Callable[[], object]) -> list[str]:
    """The SQL that ``work`` runs, with SQLite's steps in thousands at the end."""
    seen: list[str] = []

    def traced(project: Path) -> sqlite3.Connection:
        db = connect.reader(project)
        db.set_trace_callback(seen.append)
        return db

    monkeypatch.setattr(rewrite, "reader", traced)
    work()
    return seen


def test_the_next_rewrite_costs_the_same_few_queries_at_any_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = []
    for size in (9, 90):
        keys = reviewing(tmp_path / str(size), size)
        counts.append(len(statements(monkeypatch, lambda: rewrite.load(tmp_path / str(size), 0, keys[:1]))))  # noqa: B023
    assert counts[0] == counts[1] <= 12


async def test_the_next_rewrite_is_already_read_when_it_is_asked_for(tmp_path: Path) -> None:
    """A key to the next rewrite shows what was read before it was pressed: it waits for no query."""
    reviewing(tmp_path / "p", 9)
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        for _ in range(4):
            await pilot.pause()
            ahead = screen.queue.rows[screen.cursor + 1].key
            await until(pilot, f"#{screen.queue.rows[screen.cursor].seq}")
            while (0, ahead) not in screen._details:
                await pilot.pause(0.01)
            await pilot.press("j")
            assert screen.detail is not None
            assert screen.detail.key == ahead


def test_a_text_that_is_new_throughout_is_plain_and_side_by_side() -> None:
    block = TextBlock("response", diff(OLD, NEW))
    for split in (False, True):
        rows = laid_out((block,), split, True, 76)
        text = plain(rows)
        assert "[-" not in text
        assert "{+" not in text
        assert "A river is water." in text.split("\n")[2]
        assert "│ Photosynthesis: plants" in text.split("\n")[2]
        assert REWRITTEN in text.split("\n")[1]
        assert {run.role for row in rows[2:] for run in row} <= {"", "dim", "faint"}, "nothing is struck out"
        assert changes(rows) == [1], "the keys for the next change find it"
        assert max(width_of(row) for row in rows) <= 76


def test_a_short_or_partial_change_keeps_its_signs() -> None:
    short = laid_out((TextBlock("prompt", (Part("old", "what"), Part("new", "why"))),), False, True, 76)
    assert "[-what-] {+why+}" in plain(short).replace("-]{+", "-] {+")
    partial = laid_out((TextBlock("response", diff(OLD, OLD + " " + NEW)),), False, True, 76)
    assert "{+Photosynthesis" in plain(partial)


def entries(count: int) -> tuple[QueueEntry, ...]:
    states = ("accepted", "rejected", "proposed")
    return tuple(
        QueueEntry((i, "quality"), 1000 + i, states[min(2, i)], True, False, False, "", "drifted" * (i == 3))
        for i in range(count)
    )


def test_place_and_queue_are_seen_at_eighty_columns() -> None:
    line = strip(QueuePlace(entries(5), 2, 4), 80)
    assert plain([line]).startswith(" 3 of 5  ✔ ✘▸· ≠ ·")
    assert "4 similar: M marks them" in plain([line])
    assert width_of(line) == 80
    assert "✔" not in plain([strip(QueuePlace(entries(5), 2, 1, listed=True), 80)])
    for count, cursor in ((0, 0), (1, 0), (5000, 4999), (412, 17)):
        assert width_of(strip(QueuePlace(entries(count), cursor, 400), 80)) == 80


def test_a_move_changes_two_cells_of_the_strip() -> None:
    a, b = (strip(QueuePlace(entries(400), cursor, 0), 80) for cursor in (102, 103))
    assert sum(x != y for x, y in zip(a, b, strict=True)) == 3, "the number, the old and the new place"


def test_the_card_counts_names_the_riskiest_and_says_the_way_back(tmp_path: Path) -> None:
    project = tmp_path / "p"
    reviewing(project, 6)
    doubt(project, {1: (0, "not improved: its answer is cut; it loops (0.4)"), 4: (0, f"not improved: {DRIFTED} (x)")})
    db = writer(project)
    db.execute("UPDATE rewrite SET state='accepted'")
    db.execute("UPDATE rewrite SET state='rejected' WHERE sample_id=(SELECT id FROM sample WHERE seq=1002)")
    db.close()
    card = read_card(project, 0)
    assert (card.accepted, card.by_axis, card.replaces, card.adds) == (5, ((2, 2), (1, 2), (2, 2)), 4, 1)
    assert [(risk.seq, risk.doubt) for risk in card.risks] == [(1004, "drifted"), (1001, ""), (1003, "")]
    text = "\n".join(line.text for line in lines(card))
    for part in (
        "Merge round 0? 5 rewrites accepted.",
        "C complexity 2 of 2 · D diversity 1 of 2 · Q quality 2 of 2",
        "1  #1004 quality: drifted:",
        "2  #1001 complexity: its answer is cut; it loops",
        "126 samples: 4 replaced, 1 added, up to 1 redundant retired",
        "undo      u, until the next round starts",
    ):
        assert part in text
    assert len(lines(card)) <= 9


def test_the_card_counts_what_is_dropped(tmp_path: Path) -> None:
    project = tmp_path / "p"
    ids = [id for id, _ in reviewing(project, 12)]
    db = writer(project)
    db.execute("UPDATE rewrite SET state='accepted'")
    refused = "UPDATE rewrite SET probe=1, state='rejected', reason=? WHERE sample_id=?"
    reasons = ("loop: it loops", "validator: no", "not improved: a", "unchanged: a", "refusal: a")
    for id, reason in zip((*ids[:3], *ids[8:10]), reasons, strict=True):
        db.execute(refused, (reason, id))
    db.execute("DELETE FROM selection")
    db.execute("INSERT INTO selection SELECT round, sample_id, axis, 2, 1 FROM rewrite")
    db.execute("UPDATE selection SET threshold=9e999 WHERE sample_id=?", (ids[8],))
    db.close()
    overrides.set_overrides(project, [ids[1], ids[3]], "drop")  # the second of them is replaced
    overrides.set_overrides(project, [ids[2]], "protect")
    card = read_card(project, 0)
    assert (card.flawed, card.by_hand, card.room) == (2, 1, 1)
    assert (
        "132 samples: 3 replaced, 4 added, 2 flawed dropped, 1 dropped by hand, up to 1 redundant retired"
        in "\n".join(line.text for line in lines(card))
    )
    db = writer(project)
    db.execute("UPDATE threshold SET rule='evidence', detail='{\"certain\": false}'")
    db.close()
    assert read_card(project, 0).flawed == 0, "no answer told flaws from chance"


def test_the_card_fits_whatever_it_holds() -> None:
    risk = Risk((1, "complexity"), 10**6, "x" * 120, "off topic")
    card = MergeCard(9, ((10**6, 10**6),) * 3, 10**6, (risk,) * 3, 10**7, 10**6, 10**6, 10**6, 10**6, 10**9, 12345.678)
    assert len(lines(card)) <= 10


async def test_a_risky_rewrite_is_one_key_from_the_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ReviewReading, "SORT", "doubtful")
    project = tmp_path / "p"
    reviewing(project, 6)
    db = writer(project)
    db.execute("UPDATE rewrite SET state='accepted'")
    db.close()
    app = MiddoApp(project)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, "your turn: merge")
        await pilot.press("enter")
        await until(pilot, "Merge round 0? 6 rewrites accepted.")
        assert isinstance(app.screen, ConfirmMerge)
        await pilot.press("2")
        await until(pilot, "#1003 ✔ accepted")
        assert "2 of 6" in screen_text(app)
