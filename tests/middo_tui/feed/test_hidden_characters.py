"""Characters that are not seen are found, counted and never shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from middo_tui.feed.hidden_characters import hidden_ids
from middo_tui.feed.orders import Order
from middo_tui.feed.pages import Pages, open_reader
from middo_tui.feed.sample import read_detail
from middo_tui.terminal import guard
from tests.middo_tui.feed.test_pages import listed
from tests.support.hostile import CORPUS
from tests.support.stores import Store


def test_hidden_characters_are_looked_for_again_when_another_merge_takes_the_place_of_one(tmp_path: Path) -> None:
    store = Store(tmp_path / "p").round(0, 9)
    pages = Pages(tmp_path / "p")
    assert listed(pages, Order(1, "flag:hidden")) == []
    old = store.db.execute("SELECT max(id) FROM sample").fetchone()[0]
    store.db.execute("DELETE FROM sample WHERE id=?", (old,))
    messages = json.dumps([["user", "a\x07"], ["assistant", "b"]])
    store.db.execute("INSERT INTO sample (id, messages, seq, born_round) VALUES (7, ?, 999, 1)", (messages,))
    store.db.execute("UPDATE job SET finished_at=finished_at+9 WHERE stage='merge'")
    assert listed(pages, Order(1, "flag:hidden")) == [7]


@pytest.mark.parametrize("name", CORPUS)
def test_hidden_characters_are_found_and_counted_and_never_shown(tmp_path: Path, name: str) -> None:
    text = CORPUS[name].encode("utf-8", "replace").decode()
    store = Store(tmp_path / "p")
    messages = json.dumps([["user", text], ["assistant", "b"]], ensure_ascii=False)
    store.db.execute("INSERT INTO sample (id, messages, seq, born_round) VALUES (7, ?, 999, 0)", (messages,))
    hidden = guard.clean(text).hidden
    assert hidden_ids(open_reader(tmp_path / "p")) == ([7] if hidden else [])
    assert listed(Pages(tmp_path / "p"), Order(0, "flag:hidden")) == ([7] if hidden else [])
    detail = read_detail(tmp_path / "p", 7, 0)
    assert detail is not None
    assert detail.hidden == hidden
    assert not guard.hides(detail.turns[0].text)
    assert not guard.hides(Pages(tmp_path / "p").rows([7], 0)[7].text)


def test_bytes_that_are_no_utf8_are_shown_as_such(tmp_path: Path) -> None:
    store = Store(tmp_path / "p")
    store.db.execute("INSERT INTO sample (id, messages, seq, born_round) VALUES (7, CAST(? AS TEXT), 999, 0)",
                     (b'[["user","a\xed\xa0\x80b"],["assistant","c"]]',))  # fmt: skip
    assert Pages(tmp_path / "p").rows([7], 0)[7].text.startswith("a")
    assert read_detail(tmp_path / "p", 7, 0) is not None
