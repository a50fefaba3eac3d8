"""The base of all widgets: what changed is found exactly, and nothing else is painted."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from textual.app import App, ComposeResult

from middo_tui.widgets.lines import Line, Lines, Run, changed_span, justified, plain, width_of
from middo_tui.widgets.sample_pane import _text

LINES = st.lists(st.builds(Run, st.text("ab 日", max_size=4), st.sampled_from(["", "dim"])), max_size=5).map(tuple)


def cells(line: Line) -> list[tuple[str, str]]:
    """What each cell of a row shows: its character (empty for the second half of a wide one) and its role."""
    return [
        (character if at == 0 else "", run.role)
        for run in line
        for character in run.text
        for at in range(cell_len(character))
    ]


def test_equal_rows_have_no_span() -> None:
    assert changed_span((Run("ab"),), (Run("ab"),)) is None


def test_only_the_run_that_changed() -> None:
    old = (Run("loss", "dim"), Run("   "), Run("0.84"), Run(" end"))
    new = (Run("loss", "dim"), Run("   "), Run("0.79"), Run(" end"))
    assert changed_span(old, new) == (7, 11)


def test_a_row_that_grew_is_painted_to_its_end() -> None:
    assert changed_span((Run("a"),), (Run("a"), Run("bc"))) == (1, 3)
    assert changed_span((Run("a"), Run("bc")), (Run("a"),)) == (1, 3)


@given(LINES, LINES)
def test_no_cell_outside_the_span_differs(old: Line, new: Line) -> None:
    span = changed_span(old, new) or (0, 0)
    before, after = cells(old), cells(new)
    for at in range(max(len(before), len(after))):
        if not span[0] <= at < span[1]:
            assert before[at : at + 1] == after[at : at + 1]


def test_spread_pushes_the_two_ends_apart_and_drops_the_right_one_when_it_must() -> None:
    assert plain([justified((Run("ab"),), (Run("c"),), 6)]) == "ab   c"
    assert plain([justified((Run("abcdef"),), (Run("c"),), 6)]) == "abcdef"
    assert width_of(justified((Run("日"),), (Run("c"),), 6)) == 6


class Word(Lines[str]):
    def draw(self, data: str, width: int, height: int) -> list[Line]:
        return [(Run(data),)]


class OneWord(App[None]):
    def compose(self) -> ComposeResult:
        yield Word("before")


async def test_what_came_while_it_was_hidden_is_seen_when_it_is_shown_again() -> None:
    app = OneWord()
    async with app.run_test(size=(20, 3)) as pilot:
        word = app.query_one(Word)
        word.display = False
        await pilot.pause()
        word.show("after")
        word.display = True
        await pilot.pause()
        assert word.render_line(0).text.strip() == "after"


async def test_of_two_that_are_equal_the_newer_is_held() -> None:
    async with (app := OneWord()).run_test(size=(20, 3)) as pilot:
        word, text = app.query_one(Word), "".join(["be", "fore"])
        word.show(text)
        await pilot.pause()
        assert word.data is text


class Facts(Lines[tuple[str, ...]]):
    """A row per word."""

    DEFAULT_CSS = """
    Facts { height: auto; }
    """

    def draw(self, data: tuple[str, ...], width: int, height: int) -> list[Line]:
        return [(Run(word),) for word in data]


class NoFactsYet(App[None]):
    def compose(self) -> ComposeResult:
        yield Facts(())


async def test_what_had_no_rows_gets_room_for_its_first_ones() -> None:
    app = NoFactsYet()
    async with app.run_test(size=(20, 5)) as pilot:
        facts = app.query_one(Facts)
        await pilot.pause()
        facts.show(("one", "two"))
        await pilot.pause()
        assert facts.size.height == 2
        assert [facts.render_line(y).text.strip() for y in range(2)] == ["one", "two"]


class Words(Lines[tuple[str, ...]]):
    """Shows its last words in the height that it is given."""

    DEFAULT_CSS = """
    Words { height: auto; max-height: 3; }
    """

    def draw(self, data: tuple[str, ...], width: int, height: int) -> list[Line]:
        return [(Run(word),) for word in (data[-height:] if height else data)]


class ManyWords(App[None]):
    def compose(self) -> ComposeResult:
        yield Words(("one",))


async def test_it_grows_with_its_rows_up_to_its_most() -> None:
    app = ManyWords()
    async with app.run_test(size=(20, 9)) as pilot:
        words = app.query_one(Words)
        for data, height in ((("one", "two"), 2), (("one", "two", "three", "four"), 3), (("one",), 1)):
            words.show(data)
            await pilot.pause()
            assert words.size.height == height
            assert words.render_line(height - 1).text.strip() == data[-1]


def test_only_a_text_that_is_cut_ends_in_an_ellipsis() -> None:
    def rows(text: str) -> list[str]:
        return plain([*_text(text, 9, "", 2)]).split("\n")

    assert rows("one two\nthree") == [" one two", " three"]
    assert rows("one two three") == [" one two", " three"]
    assert rows("one\ntwo\nthree") == [" one", " two", " …"]
    assert [row.count("…") for row in rows("one two three four five\nsix")] == [0, 1]
