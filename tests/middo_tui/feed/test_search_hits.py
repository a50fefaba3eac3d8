"""What a search found, by place."""

from __future__ import annotations

from array import array

import pytest

from middo_tui.feed import search_hits
from middo_tui.feed.search_hits import FoundPlaces, among


def test_ids_that_were_found_are_known_by_their_places(monkeypatch: pytest.MonkeyPatch) -> None:
    ids, hits = array("q", [2**60, 1, 3, 2, -5]), array("q", [-5, 3, 7, 2**60])
    for at_once, look in ((1, 0), (2, 0), (100, 0), (2, 100)):
        monkeypatch.setattr(search_hits, "AT_ONCE", at_once)
        monkeypatch.setattr(search_hits, "FIRST_LOOK", look)
        assert list(among(hits, ids)) == [1, 0, 1, 0, 1]
    assert among(array("q"), ids) == bytes(5)
    assert among(hits, array("q")) == b""


def test_one_walks_through_what_was_found_and_round_again() -> None:
    places = FoundPlaces(bytes([0, 1, 0, 1, 1, 0]))
    assert len(places) == 3
    assert [at for at in range(-2, 8) if at in places] == [1, 3, 4]
    assert [places.after(at) for at in range(6)] == [1, 3, 3, 4, 1, 1]
    assert [places.before(at) for at in range(6)] == [4, 4, 1, 1, 3, 4]


def test_nothing_found_leads_nowhere() -> None:
    for nothing in (FoundPlaces(), FoundPlaces(bytes(3))):
        assert not nothing
        assert (nothing.after(0), nothing.before(2)) == (-1, -1)
