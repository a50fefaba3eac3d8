"""Lists of samples: every filter and sort against the same worked out by hand, and counts of what it costs."""

from __future__ import annotations

import json
import re
import sqlite3
from array import array
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.store.rows import RATING_COLUMNS
from middo_tui.feed import orders as module
from middo_tui.feed import search_hits
from middo_tui.feed.filters import FLAGS, STATES, FilterError, match_of, parse
from middo_tui.feed.hidden_characters import count
from middo_tui.feed.orders import FIRST, SORTS, Order
from middo_tui.feed.pages import Pages, open_reader
from middo_tui.feed.sample import read_detail
from tests.support import invented_project
from tests.support.hostile import CORPUS
from tests.support.stores import SIZE, Store

Facts = Mapping[str, Any]
NEVER_FEW, ALWAYS_FEW = -1, 1 << 40


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return invented_project.make(tmp_path_factory.mktemp("invented") / "p")


@pytest.fixture(scope="module")
def facts(project: Path) -> dict[int, list[Facts]]:
    """Everything about every sample of every round, read in the plainest way, in the dataset's order."""
    db = sqlite3.connect(project / "middo.db")
    db.row_factory = sqlite3.Row
    out: dict[int, list[Facts]] = {}
    for round in range(3):
        rows = db.execute(
            "SELECT s.id AS sample, s.seq, s.born_round, s.messages, g.* FROM sample s"
            " LEFT JOIN signal g ON g.sample_id=s.id AND g.round=?"
            " LEFT JOIN departure d ON d.sample_id=s.id"
            " WHERE s.born_round<=? AND (d.round IS NULL OR d.round>?) ORDER BY s.seq",
            (round, round, round),
        )
        out[round] = [_facts(db, round, dict(row)) for row in rows]
    db.close()
    return out


def _facts(db: sqlite3.Connection, round: int, row: dict[str, Any]) -> Facts:
    key = (round, row["sample"])
    row["axes"] = {r[0] for r in db.execute("SELECT axis FROM selection WHERE round=? AND sample_id=?", key)}
    rewrites = db.execute("SELECT state, original FROM rewrite WHERE round=? AND sample_id=?", key).fetchall()
    row["states"], row["edited"] = {r[0] for r in rewrites}, any(r[1] for r in rewrites)
    row["text"] = "\n".join(turn[1] for turn in json.loads(row["messages"])).lower()
    row["delta"] = None if row["loss_after"] is None else row["loss_after"] - row["loss_before"]
    row["tokens"] = None if row["prompt_tokens"] is None else row["prompt_tokens"] + row["response_tokens"]
    return row


def known(name: str, test: Callable[[float], bool]) -> Callable[[Facts], bool]:
    return lambda row: row[name] is not None and test(row[name])


CASES: dict[str, Callable[[Facts], bool]] = {
    "": lambda row: True,
    "quality<4": known("quality", lambda v: v < 4),
    "quality>=4": known("quality", lambda v: v >= 4),
    "-quality<4": lambda row: row["quality"] is None or row["quality"] >= 4,
    "quality:none": lambda row: row["quality"] is None,
    "loss_after > 1 quality<7": lambda row: (row["loss_after"] or 0) > 1 and (row["quality"] or 9) < 7,
    "delta<-0.6": known("delta", lambda v: v < -0.6),
    "tokens>200": known("tokens", lambda v: v > 200),
    "response_clarity<3": known("response_clarity", lambda v: v < 3),
    "cluster:7": lambda row: row["cluster"] == 7,
    "cluster:-1,7": lambda row: row["cluster"] in (-1, 7),
    "axis:C": lambda row: "complexity" in row["axes"],
    "axis:C,quality": lambda row: bool(row["axes"] & {"complexity", "quality"}),
    "axis:C axis:Q": lambda row: {"complexity", "quality"} <= row["axes"],
    "-axis:C": lambda row: "complexity" not in row["axes"],
    "state:proposed": lambda row: "proposed" in row["states"],
    "state:merged,failed": lambda row: bool(row["states"] & {"accepted", "failed"}),
    "flag:error": lambda row: bool(row["score_error"] or row["judge_error"]),
    "flag:edited": lambda row: row["edited"],
    "flag:selected": lambda row: bool(row["axes"]),
    "flag:truncated": lambda row: (row["tokens"] or 0) >= 2048,
    "flag:hidden": lambda row: count(row["messages"]) > 0,
    "-flag:hidden axis:D": lambda row: count(row["messages"]) == 0 and "diversity" in row["axes"],
    "born:1": lambda row: row["born_round"] == 1,
    "born>0 axis:C": lambda row: row["born_round"] > 0 and "complexity" in row["axes"],
    "#49": lambda row: row["seq"] == 49,
    "-#49 seq:#48": lambda row: row["seq"] == 48,
    "seq<50": lambda row: row["seq"] < 50,
    "glaciers": lambda row: "glaciers" in row["text"],
    'text:"common mistakes"': lambda row: "common mistakes" in row["text"],
    "glac*": lambda row: "glac" in row["text"],
    "sim<0.7 glaciers -axis:D": lambda row: (
        (row["similarity"] or 1) < 0.7 and "glaciers" in row["text"] and "diversity" not in row["axes"]
    ),
}


def copied(project: Path, to: Path) -> Path:
    """A project of its own with the same store."""
    to.mkdir()
    (to / "config.toml").write_text((project / "config.toml").read_text())
    with sqlite3.connect(project / "middo.db") as old, sqlite3.connect(to / "middo.db") as new:
        old.backup(new)
    return to


def listed(pages: Pages, wanted: Order) -> list[int]:
    return [id for block in pages.order(wanted) for id in block]


def expected(rows: list[Facts], where: str, sort: str, down: bool) -> list[int]:
    """Ids by hand: the measured ones by their value, then the others."""
    passed = [row for row in rows if CASES[where](row)]
    measured = [row for row in passed if row[sort] is not None]
    measured.sort(key=lambda row: row[sort], reverse=down)
    return [row["sample"] for row in measured] + [row["sample"] for row in passed if row[sort] is None]


@pytest.mark.parametrize("sort", ["seq", "quality", "cluster", "delta"])
def test_an_order_turned_round_is_what_the_store_gives(project: Path, sort: str) -> None:
    kept = Pages(project)
    for down in (False, True, False):
        read = listed(Pages(project), Order(2, "", sort, down))
        assert listed(kept, Order(2, "", sort, down)) == read
        passed = listed(Pages(project), Order(2, "-quality<4", sort, down))
        assert listed(kept, Order(2, "-quality<4", sort, down)) == passed


def test_an_order_that_is_kept_is_held_once(project: Path) -> None:
    pages = Pages(project)
    ids = array("q", listed(pages, Order(2, "", "quality", False)))
    held = pages.same(Order(2, "", "quality", False), ids)
    assert held == ids
    assert held is not ids
    assert pages.same(Order(2, "", "quality", False), ids[1:]) == ids[1:]
    for other in (Order(2, "quality<4", "quality", False), Order(2, "", "quality", True), Order(1, "", "quality")):
        assert pages.same(other, ids) is ids


def test_of_the_orders_that_are_kept_one_stays_out_of_sight(project: Path) -> None:
    pages = Pages(project)
    seq, quality = (listed(pages, Order(2, "", sort)) for sort in ("seq", "quality"))
    pages.rest()
    for sort, ids, held in (("seq", seq, False), ("quality", quality, True)):
        same = array("q", ids)
        assert (pages.same(Order(2, "", sort), same) is not same) == held


def test_an_order_that_is_kept_is_not_read_again_until_the_round_changes(project: Path, tmp_path: Path) -> None:
    copy = copied(project, tmp_path / "p")
    pages = Pages(copy)
    before = listed(pages, Order(2, "", "quality"))
    with sqlite3.connect(copy / "middo.db") as db:
        db.execute("UPDATE signal SET quality=-1 WHERE round=2 AND sample_id=?", (before[-1],))
    assert listed(pages, Order(2, "", "quality")) == before, "nothing of the round was done anew"
    with sqlite3.connect(copy / "middo.db") as db:
        db.execute("UPDATE job SET finished_at=finished_at+1 WHERE round=2 AND stage='judge'")
    assert listed(pages, Order(2, "", "quality"))[0] == before[-1]
    with sqlite3.connect(copy / "middo.db") as db:
        db.execute("UPDATE job SET state='running' WHERE round=2 AND stage='judge'")
        db.execute("UPDATE signal SET quality=-2 WHERE round=2 AND sample_id=?", (before[-2],))
    assert listed(pages, Order(2, "", "quality"))[0] == before[-2], "while judge runs, nothing is kept"


def test_a_condition_that_most_meet_is_known_by_those_that_do_not(
    project: Path, facts: dict[int, list[Facts]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FEW", NEVER_FEW)
    asked: list[str] = []
    db = open_reader(project)
    db.set_trace_callback(asked.append)
    filter = parse("quality>=4")
    found = [
        id for block in module.listed(db, Order(2, "quality>=4"), filter, "[]", module.OrderCache()) for id in block
    ]
    assert found == expected(facts[2], "quality>=4", "seq", False)
    assert len(found) > len(facts[2]) / 2
    assert any("NOT coalesce(" in sql for sql in asked)
    assert not any("JOIN" in sql for sql in asked), "nobody is looked up one by one"


@pytest.mark.parametrize(("few", "at_once"), [(NEVER_FEW, None), (NEVER_FEW, 16), (40, None), (ALWAYS_FEW, None)])
@pytest.mark.parametrize("where", CASES)
def test_a_filter_lists_what_it_says(
    project: Path,
    facts: dict[int, list[Facts]],
    where: str,
    few: int,
    at_once: int | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """``at_once``: as if the ids that meet a condition were too many for a set."""
    monkeypatch.setattr(module, "FEW", few)
    if at_once is not None:
        for each in (module, search_hits):
            monkeypatch.setattr(each, "AT_ONCE", at_once)
            monkeypatch.setattr(each, "FIRST_LOOK", at_once)
    pages = Pages(project)
    for round in range(3):
        by_place = expected(facts[round], where, "seq", False)
        assert listed(pages, Order(round, where)) == by_place
        assert listed(pages, Order(round, where, "seq", True)) == by_place[::-1]
        for sort in ("quality", "delta"):
            assert sorted(listed(pages, Order(round, where, sort))) == sorted(by_place)
    pages.close()


@pytest.mark.parametrize("down", [False, True])
@pytest.mark.parametrize("sort", SORTS)
def test_every_sort_puts_what_was_measured_first(
    project: Path, facts: dict[int, list[Facts]], sort: str, down: bool
) -> None:
    rows = {row["sample"]: row for row in facts[2]}
    ids = listed(Pages(project), Order(2, "", sort, down))
    values = [rows[id][sort] for id in ids]
    there = [value for value in values if value is not None]
    assert len(ids) == len(set(ids)) == len(rows)
    assert values[: len(there)] == sorted(there, reverse=down)


@pytest.mark.parametrize("where", ["", "axis:C", "glaciers", "-quality<4"])
def test_a_round_that_is_half_scored_lists_everybody(
    project: Path, facts: dict[int, list[Facts]], where: str, tmp_path: Path
) -> None:
    copy = copied(project, tmp_path / "p")
    with sqlite3.connect(copy / "middo.db") as new:
        new.execute("UPDATE job SET state='running' WHERE round=2 AND stage='score'")
        new.execute("DELETE FROM signal WHERE round=2 AND sample_id % 2=0")
    pages = Pages(copy)
    everybody = {row["sample"] for row in facts[2] if CASES[where](row)}
    ids = listed(pages, Order(2, where, "quality"))
    if where != "-quality<4":
        assert set(ids) == everybody
    else:
        assert everybody <= set(ids)
    assert len(ids) == len(set(ids))
    scored = [pages.rows([id], 2)[id].number("quality") is not None for id in ids]
    assert scored == sorted(scored, reverse=True)


def test_before_the_first_round_there_are_samples_without_signals(tmp_path: Path) -> None:
    Store(tmp_path / "p")
    pages = Pages(tmp_path / "p")
    for sort in SORTS:
        ids = listed(pages, Order(0, "", sort))
        assert len(ids) == SIZE
    row = pages.rows(ids[:1], 0)[ids[0]]
    assert (row.numbers, row.axes, row.states, row.error) == ({}, (), (), False)
    assert listed(pages, Order(0, "quality<4")) == []


def test_a_store_without_samples_lists_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path / "p")
    store.db.execute("DELETE FROM sample")
    pages = Pages(tmp_path / "p")
    assert [listed(pages, Order(0, where, sort)) for where in ("", "axis:C") for sort in SORTS] == [[]] * 2 * len(SORTS)
    assert read_detail(tmp_path / "p", 1, 0) is None


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("qualty<3", "Did you mean quality?"),
        ("zzz<3", "Names: loss_before"),
        ("quality<abc", "not a number"),
        ("quality<", "missing value"),
        ("quality<1,2", "use a colon for a list of values"),
        ("axis:X", "C (complexity)"),
        ("state:done", "accepted"),
        ("flag:foo", ", ".join(FLAGS)),
        ("axis>3", "axis:C"),
        ("born:x", "not a whole number"),
        (f"id:{1 << 64}", "larger than any sample number"),
        ("!!!", "no letters or digits"),
    ],
)
def test_a_wrong_filter_says_what_is_possible(line: str, says: str) -> None:
    with pytest.raises(FilterError, match=re.escape(says)) as caught:
        parse(line)
    assert caught.value.exit_code == 2


@given(
    st.text(max_size=40)
    | st.sampled_from([*CORPUS.values(), "a' OR 1=1 --", 'x" OR "y', "NEAR(a b)", "a AND NOT b", "^a*"])
)
@settings(max_examples=150, deadline=None)
def test_no_text_is_ever_an_error_of_the_search(text: str) -> None:
    db = sqlite3.connect(":memory:")
    db.execute("CREATE VIRTUAL TABLE words USING fts5(text)")
    try:
        match = match_of(text)
    except FilterError:
        return
    db.execute("SELECT rowid FROM words WHERE words MATCH ?", (match.encode("utf-8", "replace").decode(),)).fetchall()


@given(st.text(max_size=60))
@settings(max_examples=150, deadline=None)
def test_no_line_is_anything_but_a_filter_or_a_filter_error(text: str) -> None:
    with suppress(FilterError):
        assert parse(text).text == " ".join(text.split())


def test_values_never_become_part_of_the_sql(project: Path) -> None:
    line = 'text:"\'); DROP TABLE sample; --"'
    assert listed(Pages(project), Order(2, line)) == []
    for condition in parse(f"{line} state:{next(iter(STATES))} quality<3 born:1 id:7").conditions:
        assert "DROP" not in condition.test + (condition.ids or "")
        assert all(str(value) not in (condition.ids or "") for value in condition.values if value != 1)


def test_a_page_is_four_queries_whatever_its_size(project: Path) -> None:
    pages = Pages(project)
    ids = listed(pages, Order(2))
    pages.rows(ids[:1], 2)
    asked: list[str] = []
    db = pages._db
    assert db is not None
    db.set_trace_callback(asked.append)
    assert len(pages.rows(ids[:64], 2)) == 64
    assert len(pages.rows(ids[:3], 2)) == 3
    assert len(asked) == 8


@pytest.mark.parametrize("sort", SORTS)
def test_an_order_of_many_blocks_is_the_same(project: Path, sort: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where many share a value (a cluster, none at all), so that a block ends among them."""
    wanted = [Order(2, "", sort, down) for down in (False, True)]
    whole = [listed(Pages(project), one) for one in wanted]
    monkeypatch.setattr(module, "BLOCK", 7)
    parts = [list(Pages(project).order(one)) for one in wanted]
    assert [[id for block in part for id in block] for part in parts] == whole
    assert all(len(part) > (600 - FIRST) // 7 for part in parts)


def test_what_a_stage_writes_between_two_blocks_moves_nobody(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = copied(project, tmp_path / "p")
    whole = listed(Pages(copy), Order(2, "", "quality"))
    monkeypatch.setattr(module, "BLOCK", 7)
    blocks = Pages(copy).order(Order(2, "", "quality"))
    found = list(next(blocks))
    with sqlite3.connect(copy / "middo.db") as db:
        db.execute("UPDATE signal SET quality=10-quality WHERE round=2")
    assert found + [id for block in blocks for id in block] == whole


def test_the_first_block_is_short_and_the_second_is_the_rest(project: Path) -> None:
    blocks = list(Pages(project).order(Order(2, "", "quality")))
    assert [len(block) for block in blocks] == [FIRST, 600 - FIRST]


def test_a_detail_has_everything(project: Path, facts: dict[int, list[Facts]]) -> None:
    row = next(r for r in facts[1] if len(r["axes"]) == 1 and r["states"] and r["born_round"] == 0)
    detail = read_detail(project, row["sample"], 1)
    assert detail is not None
    assert [t.role for t in detail.turns][-2:] == ["user", "assistant"]
    assert sorted(detail.signals) == [0, 1]
    assert detail.signals[1]["quality"] == row["quality"]
    assert {c.axis for c in detail.chosen} == row["axes"]
    assert all((c.value < c.threshold) == c.below for c in detail.chosen)
    assert len(detail.neighbours) == 2
    assert all(near.text for near in detail.neighbours)
    assert {w.state for w in detail.rewrites if w.round == 1} == row["states"]
    assert set(RATING_COLUMNS) <= set(detail.signals[1])
