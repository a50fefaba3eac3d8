"""The escape guard: what comes out of it is printable, counted, and as wide as it was."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.color import Color

from middo_tui.terminal import guard
from tests.support.hostile import CORPUS, ONE_MEGABYTE

MARKUP = {"rich markup", "textual markup", "unclosed markup"}
HOSTILE = sorted(set(CORPUS) - MARKUP)
BLACK = Color(0, 0, 0)


def hidden_in(text: str) -> list[str]:
    """The characters of ``text`` that a terminal would act on or not show."""
    return [c for c in text if not c.isprintable() and c not in "\n\u00a0\u3000" and not "\ue000" <= c <= "\uf8ff"]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_becomes_visible_and_is_counted(name: str) -> None:
    cleaned = guard.clean(CORPUS[name])
    assert hidden_in(cleaned.text) == []
    assert cleaned.hidden > 0


@pytest.mark.parametrize("name", sorted(MARKUP))
def test_markup_is_only_text(name: str) -> None:
    assert guard.clean(CORPUS[name]) == (CORPUS[name], 0)


def test_what_it_looks_like() -> None:
    assert guard.clean("a\x1b[2Jb").text == "a␛[2Jb"
    assert guard.clean("\x00\x7f\x9b").text == "␀␡⟨U+009B⟩"
    assert guard.clean("a\u202eb").text == "a⟨U+202E⟩b"
    assert guard.clean("a\ud800b").text == "a⟨U+D800⟩b"


def test_newlines_and_tabs_are_ordinary() -> None:
    assert guard.clean("a\r\nb\tc\nd") == ("a\nb    c\nd", 0)
    assert guard.one_line("a\r\nb\nc") == "a⏎b⏎c"


def test_ordinary_text_of_any_language_is_left_alone() -> None:
    for text in ("naïve café", "日本語", "עברית", "العربية", "हिन्दी", "👍🏽 ❤️", "e\u0301", "x² ≤ ½ → ∞"):
        assert guard.clean(text) == (text, 0)


def test_a_long_line_is_cut_before_it_is_worked_on() -> None:
    assert guard.one_line(ONE_MEGABYTE, 40) == "x" * 40 + "…"
    assert guard.one_line("x" * 40, 40) == "x" * 40


def test_fit_measures_cells_not_characters() -> None:
    assert guard.fit("日本語", 5) == "日本…"
    assert guard.fit("日本語", 4) == "日… "
    assert guard.fit("ab", 5) == "ab   "
    assert guard.fit("ab", 5, right=True) == "   ab"
    assert guard.fit("abc", 0) == ""


@given(st.text(), st.integers(0, 40))
def test_fit_is_exactly_as_wide_as_asked(text: str, width: int) -> None:
    assert cell_len(guard.fit(guard.one_line(text), width)) == width


@given(st.text(st.characters(codec=None)))
def test_clean_text_is_printable_and_clean_again(text: str) -> None:
    once = guard.clean(text).text
    assert guard.clean(once) == (once, 0)
    guard.one_line(text).encode("utf-8")  # no lone surrogate is left to crash the writer


@given(st.text(st.characters(codec=None)))
def test_the_filter_keeps_widths_and_lets_nothing_through(text: str) -> None:
    (out,) = guard.Guard().apply([Segment(text, Style(bold=True))], BLACK)
    assert cell_len(out.text) == cell_len(text)
    assert not set(out.text) & {c for c in text if "\x00" <= c < "\x20" or "\x7f" <= c <= "\x9f"}
    out.text.encode("utf-8")
    assert out.style == Style(bold=True)


@pytest.mark.parametrize("name", HOSTILE)
def test_the_filter_stops_the_corpus(name: str) -> None:
    (out,) = guard.Guard().apply([Segment(CORPUS[name])], BLACK)
    assert hidden_in(out.text) == []
