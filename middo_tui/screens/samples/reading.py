"""The reading half of the Samples screen: what is listed, the sample in full, what a search found; no keys."""

from __future__ import annotations

import sqlite3
from array import array
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from textual import events, on
from textual.app import ComposeResult
from textual.containers import Container, Vertical
from textual.message import Message

from engine.errors import MiddoError
from middo_tui.feed.listing import Listing, jump
from middo_tui.feed.orders import Order
from middo_tui.feed.pages import Pages, SampleRow
from middo_tui.feed.quick_find import SampleNumber
from middo_tui.feed.release_memory import give_back
from middo_tui.feed.sample import SampleDetail, read_detail
from middo_tui.feed.search_hits import FoundPlaces, among
from middo_tui.feed.view import LoopView
from middo_tui.keys.tables import press
from middo_tui.screens.frame import WIDE, Framed
from middo_tui.screens.samples import wording
from middo_tui.screens.samples.keys import SamplesKeyState
from middo_tui.screens.samples.sort_menu import BY_NAME, SHOWN
from middo_tui.terminal import guard
from middo_tui.text import number_format
from middo_tui.text.notice import Notice, unindexed
from middo_tui.widgets.divider import Divider
from middo_tui.widgets.sample_pane import SamplePane, SamplePaneState
from middo_tui.widgets.samples_bar import SamplesBar, SamplesBarState
from middo_tui.widgets.vtable import Column, Moved, Ordered, VTable

FAILURES = (MiddoError, sqlite3.Error, OSError)
HOLD_S = 0.06
"""So long nothing is painted when another order is asked for: it is there sooner, as a rule, and Textual waits 17 to 33
ms from one frame to the next."""
WATCHED = ("score", "judge", "select", "rewrite", "verify", "review", "merge")


class DetailRead(Message):
    """The sample under the cursor, in full, or why it could not be read."""

    def __init__(self, id: int, detail: SampleDetail | None, problem: str = "") -> None:
        super().__init__()
        self.id, self.detail, self.problem = id, detail, problem


class SearchDone(Message):
    """What a search found in ``listed``, the order that was listed then."""

    def __init__(self, text: str, listed: array[int], found: FoundPlaces, problem: str = "") -> None:
        super().__init__()
        self.text, self.listed, self.found, self.problem = text, listed, found, problem


class SamplesReading(Framed):
    """The line that says what is listed, the table, the detail pane."""

    def __init__(self, project: Path, view: LoopView) -> None:
        super().__init__(project, view)
        self._pages = Pages(project)
        self._order = Order(view.scored_round)
        self._shown: tuple[str, ...] = SHOWN
        self._search = ""
        self._hits = FoundPlaces()
        self._pane: bool | None = None  # None: as wide as the screen is
        self._problem = ""
        self._total: int | None = None
        self._wanted: int | None = None  # a sample that another screen asked for
        self._jumps: str = ""  # where to, typed before the list was there
        self._seen = _signature(view)
        self._held, self._holds = ExitStack(), False
        self.table: VTable[SampleRow] = VTable(self._columns(), id="rows")

    # ------------------------------------------------------------------------------------------ the body

    def body(self) -> ComposeResult:
        """What is listed, the table, and beside or below it the sample under the cursor."""
        yield SamplesBar(SamplesBarState(self._order.round))
        with Container(id="main"):
            yield self.table
            with Vertical(id="detail"):
                yield Divider(id="rule")
                yield SamplePane(id="pane")

    def on_mount(self) -> None:
        """Begin to read."""
        if self._wanted is None and self._total is None:
            self._list()

    def on_screen_suspend(self) -> None:
        """Out of sight, no order is held for the next sort or filter."""
        self._pages.rest()

    def on_unmount(self) -> None:
        """Give the connection back."""
        self._held.close()
        self._pages.close()

    def on_resize(self, event: events.Resize) -> None:
        """Room decides whether the pane is there from the beginning."""
        self.call_after_refresh(self._place_pane)

    @property
    def pane_open(self) -> bool:
        """Whether the sample under the cursor is shown in full."""
        return self.size.width >= WIDE if self._pane is None else self._pane

    def _place_pane(self) -> None:
        self.set_class(self.pane_open, "-pane")
        self._read_detail()
        self.state_changed()

    def _columns(self) -> tuple[Column[SampleRow], ...]:
        shown = [*self._shown]
        if self._order.sort not in (*shown, "seq"):
            shown.append(self._order.sort)
        return (
            Column("#", 8, lambda row: number_format.count(row.seq), right=True, title_role=self._title_role("seq")),
            Column("axes", 4, wording.axes_cell, _axis_role),
            *(self._number(name) for name in shown),
            Column("text", 0, lambda row: row.text, lambda row: "error" if row.error else ""),
        )

    def _number(self, name: str) -> Column[SampleRow]:
        sort = BY_NAME[name]
        mark = ("▼" if self._order.down else "▲") if name == self._order.sort else ""
        title = mark + sort.head
        width = max(sort.width, len(title))
        return Column(
            title,
            width,
            lambda row: sort.written(row.number(name)),
            right=True,
            title_role=self._title_role(name),
        )

    def _title_role(self, name: str) -> str:
        return "active-strong" if name == self._order.sort else "dim"

    # ------------------------------------------------------------------------------------------- listing

    def _list(self, order: Order | None = None, keep: bool = False) -> None:
        """List what ``order`` says (the present one when None)."""
        self._order = order or self._order
        self._problem = ""
        self._total = None  # of this order it is not known yet: what is typed meanwhile waits for it
        self._hits = FoundPlaces()
        self._hold()
        self.table.show(Listing(self._pages, self._order), keep, self._columns())
        self._tell()

    def _hold(self) -> None:
        """Paint nothing until the new rows are there, if that is soon: one frame, not one with the old ones first."""
        self._let_go()
        self._held.enter_context(self.app.batch_update())
        self._holds = True
        self.set_timer(HOLD_S, self._let_go)

    def _let_go(self) -> None:
        """Paint again. What was held back is not known to Textual any more, so all of it."""
        if self._holds:
            self._holds = False
            self._held.close()
            self.refresh()

    def changed(self, view: LoopView) -> None:
        """Rows in view are read again when a stage has written; the order stays."""
        now = _signature(view)
        if now != self._seen:
            self._seen = now
            if self._total is None or self._total == 0:
                self._list()
            else:
                self.table.stale()
                self._read_detail()

    @on(Ordered)
    def _listed(self, message: Ordered) -> None:
        if not self.table.is_old:
            self._let_go()
        self._problem = message.problem
        self._total = message.total if message.whole else None
        if message.whole:
            self._arrive()
            if self._jumps:
                self._jump(self._jumps)
            if self._search:
                self._find(self._search)
        self._tell()
        self.state_changed()

    def _jump(self, typed: str | None) -> None:
        """To a place in the list; a list that is still being read goes there as soon as it is there."""
        self._jumps = ""
        if typed is None:
            return
        kind, value = jump(typed, len(self.table.ids))
        if self._total is None:
            self._jumps = typed
        elif kind == "seq":
            self._to_sample(int(value))
        elif kind == "share":
            self.table.go_to_share(value)
        else:
            self.table.go_to(int(value))

    def _to_sample(self, seq: int) -> None:
        """To ``#seq``, where it is listed; else say why it is not."""
        id = self._pages.of_seq(seq, self._order.round)
        if id is not None and self.table.go_to_id(id):
            return
        missing = f"#{seq} is not in the dataset of round {self._order.round}."
        hidden = f"The filter hides #{seq}. Press {press('samples.back')} to clear it."
        self.say(Notice(missing if id is None else hidden, "decide"))

    def _arrive(self) -> None:
        """To the sample that another screen asked for."""
        if self._wanted is None:
            return
        wanted, self._wanted = self._wanted, None
        if not self.table.go_to_id(wanted):
            self._pane = True
            seq = self._pages.seq(wanted)
            which = "That sample" if seq is None else f"#{seq}"
            self._problem = (
                f"{which} is not in the dataset of round {self._order.round}."
                f" Press {press('samples.older')} or {press('samples.newer')} to change the round."
            )

    @on(Moved)
    def _moved(self, message: Moved) -> None:
        self._tell()
        self._read_detail()
        self.state_changed()

    def _tell(self) -> None:
        sort = (
            "" if self._order.sort == "seq" else f"{BY_NAME[self._order.sort].words} {'▼' if self._order.down else '▲'}"
        )
        self.query_one(SamplesBar).show(
            SamplesBarState(
                round=self._order.round,
                total=self._total if self.table.whole else None,
                at=self.table.at,
                where=self._order.where,
                sort=sort if self._order.sort in BY_NAME else "",
                search=self._search,
                found=len(self._hits),
                marked=len(self.table.marks),
                busy=not self.table.whole,
            )
        )

    # -------------------------------------------------------------------------------------------- detail

    def _read_detail(self) -> None:
        """Have the sample under the cursor read, if it is shown."""
        id = self.table.cursor_id
        if not self.pane_open:
            return
        if id is None:
            self.query_one(SamplePane).show(SamplePaneState(None))
            return
        work = partial(self._read_one, id, self._order.round)
        self.run_worker(work, group="detail", description="detail", thread=True, exclusive=True, exit_on_error=False)

    def _read_one(self, id: int, round: int) -> None:
        """In a thread."""
        try:
            self.post_message(DetailRead(id, read_detail(self.project, id, round)))
        except FAILURES as error:
            self.post_message(DetailRead(id, None, guard.clean(str(error)).text))

    @on(DetailRead)
    def _detail_read(self, message: DetailRead) -> None:
        if message.id != self.table.cursor_id:
            return
        if message.problem:
            self._problem = message.problem
            self.state_changed()
        pane = self.query_one(SamplePane)
        same = pane.data.detail is not None and pane.data.detail.id == message.id
        pane.show(SamplePaneState(message.detail, pane.data.top if same else 0))

    # --------------------------------------------------------------------------------------------- state

    @property
    def reading(self) -> bool:
        """Nothing was read yet, nor is it known why not."""
        return self._total is None and not self.table.ids and not self._problem

    def state(self) -> SamplesKeyState:
        """What the keys depend on."""
        table = self.table
        row = table.row(table.cursor_id)
        clears = "search" if self._search else "marks" if table.marks else "filter" if self._order.where else ""
        return SamplesKeyState(
            total=len(table.ids),
            round=self._order.round,
            last_round=_last_round(self.view),
            pane=self.pane_open,
            found=len(self._hits),
            marked=len(table.marks),
            rewritten=row is not None and bool(row.states),
            clears=clears,
            problem=bool(self._problem),
            reading=self._total is None and not self._problem,
            flag="" if row is None else "unflagged" if row.unflagged else "flagged" if row.injection else "",
        )

    def own_notice(self) -> Notice:
        """What is wrong, or what an empty list means."""
        if self._problem:
            return Notice(self._problem, "bad")
        if self.view.unindexed and (self._order.where or self._search):
            return Notice(unindexed(self.view.unindexed), "decide")
        if self._total == 0:
            if self._order.where:
                return Notice(
                    f"No sample matches this filter. Press {press('samples.filter')} to change it,"
                    f" {press('samples.back')} to clear it.",
                    "decide",
                )
            return Notice("This dataset is empty. Import data: middo-tui import DIR FILE", "decide")
        if self._total is None and not self.table.ids:
            return Notice("Loading …", "dim")
        table, wanted = self.table, self._order
        first = table.row(table.ids[0]) if table.ids else None
        never = self.view.closing and wanted.round == self.view.round
        return wording.absent(wanted.sort, wanted.round, first, table.row(table.cursor_id), never)

    # -------------------------------------------------------------------------------------------- search

    def _find(self, text: str) -> None:
        work = partial(self._find_all, text, self.table.ids)
        self.run_worker(work, group="search", description="search", thread=True, exclusive=True, exit_on_error=False)

    def _find_all(self, text: str, ids: array[int]) -> None:
        """In a thread."""
        try:
            places = FoundPlaces(among(self._pages.matches(text), ids))
            give_back()
            self.post_message(SearchDone(text, ids, places))
        except FAILURES as error:
            self.post_message(SearchDone(text, ids, FoundPlaces(), guard.clean(str(error)).text))

    def _go_to_number(self, seq: int) -> None:
        """To ``#seq`` in the newest scored dataset; to its versions when it is in an older one only."""
        round, id = self.view.scored_round, self._pages.ever(seq)
        if id is None and self._total is not None:
            self._to_sample(seq)  # says that there is none, and what is listed stays
        elif id is not None and self._pages.of_seq(seq, round) is None:
            self.go("lineage", id)
        else:
            self._jumps = f"#{seq}"
            self._list(Order(round))

    def aim(self, target: object) -> None:
        """A filter line, the id or the number of a sample, or an order."""
        if isinstance(target, Order):
            self._list(target)
        elif isinstance(target, str):
            self._list(Order(self.view.scored_round, target, self._order.sort, self._order.down))
        elif isinstance(target, SampleNumber):
            self._go_to_number(target.seq)
        elif isinstance(target, int):
            self._wanted = target
            self._list(Order(self.view.round or 0))


def _axis_role(row: SampleRow) -> str:
    return row.axes[0] if row.axes else ""


def _signature(view: LoopView) -> tuple[object, ...]:
    """What the rows of this screen depend on."""
    return view.round, tuple((stage.state, stage.done) for stage in view.stages if stage.name in WATCHED), view.waiting


def _last_round(view: LoopView) -> int:
    """The newest dataset: one beyond the last merged round."""
    return (view.round or 0) + any(stage.name == "merge" and stage.state == "done" for stage in view.stages)
