"""The help page, made from the key tables, so that it cannot disagree with what the keys do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen

from middo_tui.feed.view import MARKS
from middo_tui.keys.tables import EVERYWHERE, SCREENS, Key, name, numbers, remapped
from middo_tui.text.signal_help import SIGNALS
from middo_tui.widgets.key_bar import KeyBar
from middo_tui.widgets.lines import Line, Lines, Run
from middo_tui.widgets.paragraph import wrap

LEGEND = " ".join(f"{mark} {state}" for state, mark in MARKS.items() if state != "interrupted")
NUMBERED = " ".join(f"{number} {screen}" for number, screen in enumerate((*SCREENS, "map"), start=1))
ABOUT = (
    "The run is a process of its own: quitting the app never stops it.",
    "Axes: C complexity (loss), D diversity (neighbours), Q quality (ratings).",
    LEGEND,
)


COLUMN = 14
MOST_ROWS = 4
MOST_TYPED = 60
SIGNALS_TITLE = "What the signals mean"


def help_lines(screen: str, table: Sequence[Key[Any]], width: int = 80, wanted: str = "") -> list[Line]:
    """The keys of the screen and of all screens, what the signals mean, then the signs.

    wanted: words; only what has all of them is listed.
    """
    everywhere = remapped(EVERYWHERE, "app")[len(SCREENS) + 1 :]
    column = max(COLUMN, *(len(_names(key)) + 1 for key in (*table, *everywhere)))
    sections = (
        (f"{screen.capitalize()} keys", _by_key(table)),
        ("Keys on every screen", [(numbers(), NUMBERED), *((_names(key), key.help) for key in everywhere)]),
        (SIGNALS_TITLE, [(name, f"{means} {doubt}") for name, means, doubt in SIGNALS]),
    )
    out: list[Line] = []
    for title, entries in sections:
        found = [entry for entry in entries if has_all(" ".join(entry), wanted)]
        if found:
            out += [() for _ in out[:1]]
            out.append((Run(f" {title}", "strong"),))
            out += [row for name, text in found for row in _rows(name, text, column, width)]
    about = [text for text in ABOUT if has_all(text, wanted)]
    out += [*([()] if out and about else []), *((Run(f" {text}", "dim"),) for text in about)]
    return out or [(Run(f" No key or signal matches “{wanted}”.", "dim"),)]


def _by_key(table: Sequence[Key[Any]]) -> list[tuple[str, str]]:
    """(keys, help), each key once: what it does by turns is one entry, a sentence per line."""
    out: dict[str, str] = {}
    for key in table:
        names = _names(key)
        out[names] = f"{out[names]}\n{key.help}" if names in out else key.help
    return [*out.items()]


def has_all(text: str, wanted: str) -> bool:
    """Whether every word of ``wanted`` is somewhere in ``text``, in any case."""
    return all(word in text.casefold() for word in wanted.casefold().split())


def _names(key: Key[Any]) -> str:
    return " ".join(name(k) for k in key.keys)


def _rows(name: str, about: str, column: int, width: int) -> list[Line]:
    """A key or signal, and beside it what it is for, in as many rows as that takes."""
    texts = wrap(about, max(20, width - column - 2), MOST_ROWS)
    return [(Run(f"  {'' if at else name:<{column}}", "key"), Run(text)) for at, text in enumerate(texts)]


class HelpData(NamedTuple):
    """Which screen's keys, and which words they must have."""

    screen: str
    table: tuple[Key[Any], ...]
    wanted: str = ""


class HelpPage(Lines[HelpData]):
    """``help_lines`` as a widget, as high as the page."""

    DEFAULT_CSS = """
    HelpPage { height: auto; }
    """

    def draw(self, data: HelpData, width: int, height: int) -> list[Line]:
        """The page."""
        return help_lines(data.screen, data.table, width, data.wanted)


class Help(ModalScreen[None]):
    """Covers the screen until a key closes it; a long page scrolls."""

    DEFAULT_CSS = """
    Help { background: $background; }
    Help #page { height: 1fr; scrollbar-size: 0 0; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q,enter,question_mark,f1", "dismiss", "back", show=False),
        Binding("escape", "leave", "back", show=False),
        Binding("slash", "search", show=False),
        Binding("down,j", "scroll('down')", show=False),
        Binding("up,k", "scroll('up')", show=False),
        Binding("pagedown,space,ctrl+d", "scroll('page_down')", show=False),
        Binding("pageup,ctrl+u", "scroll('page_up')", show=False),
        Binding("home,g", "scroll('home')", show=False),
        Binding("end,G", "scroll('end')", show=False),
    ]

    def __init__(self, screen: str, table: Sequence[Key[Any]], wanted: str = "") -> None:
        """``wanted``: show only what has all of these words."""
        super().__init__()
        self._page = HelpData(screen, tuple(table), wanted)

    def compose(self) -> ComposeResult:
        """The page and the way back."""
        with VerticalScroll(id="page"):
            yield HelpPage(self._page)
        yield KeyBar((("/", "search"), ("j/k", "scroll"), ("space", "page"), ("esc", "back")))

    def action_scroll(self, where: str) -> None:
        """Move the page: a line, a screenful, or to an end of it."""
        page = self.query_one("#page", VerticalScroll)
        moves = {
            "down": page.scroll_down,
            "up": page.scroll_up,
            "page_down": page.scroll_page_down,
            "page_up": page.scroll_page_up,
            "home": page.scroll_home,
            "end": page.scroll_end,
        }
        moves[where](animate=False)

    def action_search(self) -> None:
        """Ask for words; none shows everything again."""
        from middo_tui.screens.input_line import TypeLine  # brings the input along: only when it is used

        self.app.push_screen(TypeLine("Search keys and signals (all words must match)", self._page.wanted), self._show)

    def _show(self, wanted: str | None) -> None:
        if wanted is None:
            return
        self._page = self._page._replace(wanted=" ".join(wanted.split())[:MOST_TYPED])
        self.query_one(HelpPage).show(self._page)
        self.query_one("#page", VerticalScroll).scroll_home(animate=False)

    def action_leave(self) -> None:
        """Everything again after a search, else back."""
        if self._page.wanted:
            self._show("")
        else:
            self.dismiss()
