"""Rows come back from a spool as they went in, and take next to no memory."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.chat.render import Rendered
from engine.chat.rendered_rows import Spool

tokens = st.lists(st.tuples(st.integers(0, 2**31 - 1), st.booleans()), max_size=40)
rows = st.builds(
    lambda pairs, own, end, cut, error, ends, offsets: Rendered(
        [i for i, _ in pairs], [m for _, m in pairs], end, cut, error, own, ends=ends, offsets=offsets
    ),
    tokens,
    st.lists(st.booleans(), max_size=20),
    st.integers(0, 2**31 - 1),
    st.booleans(),
    st.none() | st.text(),
    st.booleans(),
    st.lists(st.integers(0, 2**31 - 1), max_size=20),
)


@given(made=st.lists(rows, max_size=12))
def test_rows_come_back_as_they_were(made: list[Rendered], tmp_path_factory: pytest.TempPathFactory) -> None:
    spool = Spool(made, tmp_path_factory.getbasetemp())
    assert list(spool) == made
    assert spool[1:] == made[1:]
    assert list(reversed(spool)) == made[::-1]
    assert list(spool.lengths) == [len(row.ids) for row in made]
    assert list(spool.response_tokens) == [row.response_tokens for row in made]
    assert spool.errors == {i: row.error for i, row in enumerate(made) if row.error is not None}


def test_a_row_that_is_not_there_is_an_index_error(tmp_path: Path) -> None:
    spool = Spool([Rendered([1], [True], 0, False)], tmp_path)
    assert spool[-1].ids == [1]
    for at in (1, -2):
        with pytest.raises(IndexError, match=str(at)):
            spool[at]


def test_memory_does_not_grow_with_the_rows_tokens(tmp_path: Path) -> None:
    def held(length: int) -> int:
        tracemalloc.start()
        spool = Spool((Rendered(list(range(length)), [True] * length, 1, False) for _ in range(500)), tmp_path)
        size = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert len(spool) == 500
        return size

    assert held(2000) < held(10) + 100_000  # as lists, the longer rows would take 16 MB more


def test_the_file_has_no_name(tmp_path: Path) -> None:
    Spool([Rendered([1, 2], [False, True], 1, False)], tmp_path)
    assert list(tmp_path.iterdir()) == []
