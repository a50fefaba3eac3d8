"""The Samples screen: every sample of a dataset as a table of any length, sorted, filtered, searched, one in detail."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

from msgspec.structs import replace
from textual import on
from textual.binding import BindingType

from middo_tui.feed.filters import EXAMPLE, match_of, parse
from middo_tui.feed.listing import jump, write_listing
from middo_tui.feed.orders import RISING
from middo_tui.feed.override import override_samples, toggle_flags
from middo_tui.feed.search_hits import FoundPlaces
from middo_tui.keys import tables
from middo_tui.screens.input_line import TypeLine
from middo_tui.screens.samples.keys import KEYS
from middo_tui.screens.samples.override_menu import override_menu
from middo_tui.screens.samples.reading import SamplesReading, SearchDone
from middo_tui.screens.samples.sort_menu import ColumnMenu, SortMenu, toggled
from middo_tui.text.notice import Notice
from middo_tui.widgets.sample_pane import SamplePane

PANE_LINES = 6


class SamplesScreen(SamplesReading):
    """The table by its keys."""

    NAME = "samples"
    KEYS = KEYS
    CSS_PATH = "samples.tcss"
    BINDINGS: ClassVar[list[BindingType]] = tables.bindings(KEYS, NAME)

    def action_down(self) -> None:
        """One row."""
        self.table.move(1)

    def action_up(self) -> None:
        """One row back."""
        self.table.move(-1)

    def action_half_down(self) -> None:
        """Half a page."""
        self.table.page(1)

    def action_half_up(self) -> None:
        """Half a page back."""
        self.table.page(-1)

    def action_first(self) -> None:
        """The first row."""
        self.table.go_to(0)

    def action_last(self) -> None:
        """The last row."""
        self.table.go_to(len(self.table.ids) - 1)

    def action_jump(self) -> None:
        """Ask for a place."""
        rows = "120" if self._total is None else f"1 to {self._total:,}"
        question = f"Jump to a row ({rows}), a percentage (73%) or a sample (#120)."
        self.app.push_screen(TypeLine(question, check=lambda text: jump(text, len(self.table.ids))), self._jump)

    def action_pane(self) -> None:
        """Show or hide the sample under the cursor."""
        self._pane = not self.pane_open
        self._place_pane()

    def action_pane_down(self) -> None:
        """Further down in it."""
        self.query_one(SamplePane).scroll_lines(PANE_LINES)

    def action_pane_up(self) -> None:
        """Back up."""
        self.query_one(SamplePane).scroll_lines(-PANE_LINES)

    def action_older(self) -> None:
        """The dataset of the round before."""
        self._list(replace(self._order, round=self._order.round - 1), keep=True)

    def action_newer(self) -> None:
        """The dataset of the round after."""
        self._list(replace(self._order, round=self._order.round + 1), keep=True)

    def action_sort(self) -> None:
        """Ask for a column."""
        self.app.push_screen(SortMenu(self._order.sort), self._sort)

    def _sort(self, name: str | None) -> None:
        if name is None:
            return
        down = not self._order.down if name == self._order.sort else name not in RISING
        self._list(replace(self._order, sort=name, down=down))

    def action_reverse(self) -> None:
        """The other way round."""
        self._list(replace(self._order, down=not self._order.down))

    def action_columns(self) -> None:
        """Ask for a column to show or hide."""
        self.app.push_screen(ColumnMenu(self._shown), self._show_or_hide)

    def _show_or_hide(self, name: str | None) -> None:
        if name is not None:
            self._shown = toggled(self._shown, name)
            self._list(keep=True)

    def action_filter(self) -> None:
        """Ask for a filter."""
        question = f"Filter, for example {EXAMPLE}"
        self.app.push_screen(TypeLine(question, self._order.where, parse), self._filter)

    def _filter(self, typed: str | None) -> None:
        if typed is not None and typed.strip() != self._order.where:
            self._list(replace(self._order, where=typed.strip()))

    def action_flagged(self) -> None:
        """List the samples that are flagged; their rating and rewrite wait for a person."""
        self._filter("flag:injection")

    def action_unflag(self) -> None:
        """Unflag the marked samples, or the one under the cursor; flag them again if none of them is flagged."""
        self.ask(partial(toggle_flags, self.project, self._meant()), self._overridden)

    def _meant(self) -> list[int]:
        """The marked samples, else the one under the cursor."""
        return sorted(self.table.marks) or [id for id in (self.table.cursor_id,) if id is not None]

    def action_search(self) -> None:
        """Ask for words."""
        question = 'Search for samples with all these words; "exact phrase"; prefix*'
        self.app.push_screen(TypeLine(question, self._search, match_of), self._search_for)

    def _search_for(self, typed: str | None) -> None:
        if typed is not None:
            self._find(typed.strip())

    @on(SearchDone)
    def _was_found(self, message: SearchDone) -> None:
        if message.listed is not self.table.ids:  # another order came meanwhile: its places are others
            self._find(message.text)
            return
        fresh = message.text != self._search
        self._search, self._hits, self._problem = message.text, message.found, message.problem
        self.table.highlight(message.found)
        if fresh and self._hits and self.table.at not in self._hits:
            self.action_next_found()
        elif fresh and not message.problem:
            count = len(self._hits)
            self.say(Notice("" if count else "No listed sample contains these words.", "decide"))
        self._tell()
        self.state_changed()

    def action_next_found(self) -> None:
        """The next row that was found; after the last the first."""
        self.table.go_to(self._hits.after(self.table.at))

    def action_previous_found(self) -> None:
        """The one before; before the first the last."""
        self.table.go_to(self._hits.before(self.table.at))

    def action_back(self) -> None:
        """First take back what was set here, the last thing first; then to the screen before."""
        clears = self.state().clears
        self.say(Notice(""))
        if clears == "search":
            self._search, self._hits = "", FoundPlaces()
            self.table.highlight(())
        elif clears == "marks":
            self.table.clear_marks()
        elif clears == "filter":
            self._list(replace(self._order, where=""), keep=True)
        else:
            super().action_back()
        self._tell()
        self.state_changed()

    def action_mark(self) -> None:
        """Mark the row, and go on to the next."""
        self.table.toggle_mark()
        self.table.move(1)
        self._tell()
        self.state_changed()

    def action_range(self) -> None:
        """Begin or end a range."""
        self.table.toggle_range()
        self._tell()
        self.state_changed()

    def action_export(self) -> None:
        """Write what is marked, else what is listed."""
        marks = self.table.marks
        ids = [id for id in self.table.ids if id in marks] if marks else self.table.ids
        self.ask(partial(write_listing, self.project, ids, self._order.round))

    def would(self, key: str) -> str:
        """Only what the next round starts from can be overridden: where that is."""
        found, shown = super().would(key), tables.press("samples.override")
        if found and tables.name(key) == shown and self._order.round < self.state().last_round:
            return f"it works on the newest dataset. Press {tables.press('samples.newer')} to go there."
        return found

    def action_override(self) -> None:
        """Ask what shall happen to the marked samples, or to the one under the cursor, whatever their signals say."""
        ids = self._meant()
        self.app.push_screen(override_menu(len(ids)), partial(self._override, ids))

    def _override(self, ids: list[int], choice: str | None) -> None:
        if choice is not None:
            numbers = self._pages.numbers(ids)
            self.ask(partial(override_samples, self.project, ids, choice, numbers), self._overridden)

    def _overridden(self) -> None:
        self.table.stale()
        self._read_detail()

    def action_label(self) -> None:
        """The samples that were drawn to be labelled."""
        self.go("label")

    def action_map(self) -> None:
        """What lies beside this sample."""
        self.go("map", (self._order.round, self.table.cursor_id))

    def action_lineage(self) -> None:
        """Every version of this sample."""
        self.go("lineage", self.table.cursor_id)

    def action_review(self) -> None:
        """Its rewrite."""
        row = self.table.row(self.table.cursor_id)
        if row is not None and row.states:
            self.go("review", (self._order.round, row.id, row.states[0][0]))
