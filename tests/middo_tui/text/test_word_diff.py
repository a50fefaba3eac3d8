"""Word differences: exact to the character, minimal where it matters, readable, and drawn within their width."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.cells import cell_len

from middo_tui.feed.rewrite import TextBlock
from middo_tui.terminal.guard import clean
from middo_tui.text.word_diff import MOST_EDITS, Part, diff, myers, tokens
from middo_tui.widgets.lines import plain, width_of
from middo_tui.widgets.word_diff import DiffPage, WordDiff, changes, flow, laid_out
from tests.support.hostile import CORPUS

WORDS = st.lists(
    st.sampled_from(["the", "a", "cat", "sat", "mat", "日本", "don't", ".", "\n", "  ", " ", "x1"]), max_size=40
)
TEXTS = WORDS.map(" ".join) | WORDS.map("".join) | st.text(max_size=40)


def marked(old: str, new: str) -> str:
    signs = {"same": "{}", "old": "[-{}-]", "new": "{{+{}+}}"}
    return "".join(signs[part.kind].format(part.text) for part in diff(old, new))


@given(TEXTS)
def test_tokens_put_together_are_the_text(text: str) -> None:
    assert "".join(word + space for word, space in tokens(text)) == text


@given(TEXTS, TEXTS)
def test_the_parts_are_both_texts_to_the_character(old: str, new: str) -> None:
    parts = diff(old, new)
    assert "".join(part.text for part in parts if part.kind != "new") == old
    assert "".join(part.text for part in parts if part.kind != "old") == new
    assert all(a.kind != b.kind for a, b in itertools.pairwise(parts))
    assert all(part.text for part in parts)


@given(TEXTS)
def test_a_text_differs_in_nothing_from_itself(text: str) -> None:
    assert diff(text, text) == ((Part("same", text),) if text else ())


def longest_common(a: list[int], b: list[int]) -> int:
    row = [0] * (len(b) + 1)
    for x in a:
        before = row[:]
        for j, y in enumerate(b):
            row[j + 1] = before[j] + 1 if x == y else max(before[j + 1], row[j])
    return row[-1]


@given(st.lists(st.integers(0, 3), max_size=24), st.lists(st.integers(0, 3), max_size=24))
def test_the_search_finds_a_longest_common_row(a: list[int], b: list[int]) -> None:
    pairs = myers(a, b, 1000)
    assert pairs is not None
    assert all(a[i] == b[j] for i, j in pairs)
    assert all(p < q and r < s for (p, r), (q, s) in itertools.pairwise(pairs))
    assert len(pairs) == longest_common(a, b)


def test_the_search_gives_up_beyond_its_bound() -> None:
    assert myers([1] * 5, [2] * 5, 9) is None
    assert myers([1] * 5, [2] * 5, 10) == []


def test_a_change_beyond_the_bound_is_still_found_between_words_that_are_there_once() -> None:
    middle = [f"w{i}" for i in range(MOST_EDITS)]
    old = " ".join(["start", *middle, "anchor", *middle, "end"])
    new = " ".join(["start", *(w + "x" for w in middle), "anchor", *middle, "end"])
    parts = diff(old, new)
    assert [part.kind for part in parts] == ["same", "old", "new", "same"]
    assert parts[-1].text.startswith("anchor w0")


def test_words_change_not_letters() -> None:
    assert marked("The cat sat on the big mat today.", "The cat lay on the big mat today.") == (
        "The cat [-sat -]{+lay +}on the big mat today."
    )


def test_a_lone_small_word_is_no_island() -> None:
    assert marked("red cat the mat went home early", "blue dog the rug went home early") == (
        "[-red cat the mat -]{+blue dog the rug +}went home early"
    )


def test_texts_with_little_in_common_are_replaced_whole() -> None:
    old, new = (
        "Tell me stuff about volcano erupt.",
        "Explain what causes the eruption of a volcano, and how it is foreseen.",
    )
    assert [part.kind for part in diff(old, new)] == ["old", "new"]


def test_scripts_without_spaces_change_by_character() -> None:
    assert marked("日本語のテキストです", "日本語の文章です") == "日本語の[-テキスト-]{+文章+}です"


# ------------------------------------------------------------------------------------------------ drawing


def block(old: str, new: str, title: str = "prompt") -> TextBlock:
    return TextBlock(title, diff(old, new))


@pytest.mark.parametrize("split", [False, True])
@example(old="the the the the the the", new="cat cat cat", width=40)
@given(old=TEXTS, new=TEXTS, width=st.integers(40, 120))
def test_no_row_is_wider_than_the_screen(split: bool, old: str, new: str, width: int) -> None:
    lines = laid_out((block(clean(old).text, clean(new).text),), split, True, width)
    assert max(map(width_of, lines)) <= width
    assert not any("\n" in run.text for line in lines for run in line)


def test_changes_are_marked_by_signs_and_strokes_not_by_colour_alone() -> None:
    lines = laid_out((block("keep this old word here now", "keep this new word here now"),), False, True, 60)
    assert "keep this [-old-] {+new+} word here now" in plain(lines)
    roles = {run.text: run.role for run in lines[1]}
    assert (roles["old"], roles["new"]) == ("gone", "came")
    from middo_tui.look import theme

    assert theme.ROLES["gone"].strike
    assert theme.ROLES["came"].underline


def test_two_columns_hold_one_text_each_and_stay_level() -> None:
    lines = laid_out((block("one two three\nsame line", "one zwei three\nsame line"),), True, True, 60)
    rows = plain(lines).split("\n")
    assert rows[1].split("│")[0].strip() == "one [-two-] three"
    assert rows[1].split("│")[1].strip() == "one {+zwei+} three"
    assert [part.strip() for part in rows[2].split("│")] == ["same line", "same line"]


def test_without_wrapping_a_line_is_a_row() -> None:
    text = "word " * 50
    assert len(laid_out((block(text, text),), False, False, 40)) == 2
    assert len(laid_out((block(text, text),), False, True, 40)) > 5


def test_wide_characters_break_anywhere_and_are_counted_in_cells() -> None:
    from middo_tui.widgets.lines import Run

    rows = flow([Run("日本語のテキスト")], 6)
    assert [row[0].text for row in rows] == ["日本語", "のテキ", "スト"]
    assert all(cell_len(row[0].text) <= 6 for row in rows)


def test_a_word_wider_than_a_row_is_cut_and_a_sign_never_stands_alone() -> None:
    from middo_tui.widgets.lines import Run

    assert [plain([row]) for row in flow([Run("abcdefgh")], 3)] == ["abc", "def", "gh"]
    rows = plain(laid_out((block("aaa bbb ccc " * 9 + "old", "aaa bbb ccc " * 9 + "new"),), False, True, 44)).split(
        "\n"
    )
    assert not any(row.rstrip().endswith(("[-", "{+")) or row.lstrip().startswith(("-]", "+}")) for row in rows)


def test_the_window_moves_over_rows_and_changes_are_found() -> None:
    blocks = (block("a\n" * 30 + "old", "a\n" * 30 + "new"),)
    lines = laid_out(blocks, False, True, 40)
    assert changes(lines) == [31]
    shown = WordDiff(DiffPage()).draw(DiffPage(blocks, y=30), 40, 2)
    assert "old" in plain(shown)
    shifted = WordDiff(DiffPage()).draw(DiffPage((block("日本 text", "日本 text"),), wrap=False, x=3), 40, 5)
    assert plain(shifted).split("\n")[1] == " 本 text"


def test_hostile_text_is_visible_and_harmless() -> None:
    for text in CORPUS.values():
        lines = laid_out((block(clean(text).text, clean(text + " more").text),), False, True, 60)
        assert all(run.text.isprintable() for line in lines for run in line)
