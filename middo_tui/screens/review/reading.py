"""The reading half of the Review screen: the queue as the store has it, the cursor in it, the rewrite under it.

Two threads read: one follows the queue (also what other apps and the worker do to it), one reads the rewrite under the
cursor and the next ones, so that going on shows a difference that is already there.
"""

from __future__ import annotations

import sqlite3
from functools import partial
from pathlib import Path
from typing import ClassVar

from msgspec.structs import replace
from textual import events, on
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.message import Message

from engine.errors import MiddoError
from middo_tui.feed.review import Key, Query, Queue, QueueEntry, ReviewRequests
from middo_tui.feed.review_order import SORTS
from middo_tui.feed.rewrite import VERDICT, RewriteDetail, load
from middo_tui.feed.view import LoopView
from middo_tui.screens.frame import WIDE, Framed
from middo_tui.screens.review.keys import CHANGEABLE, ReviewState
from middo_tui.screens.review.wording import own_notice
from middo_tui.terminal import guard
from middo_tui.text.notice import Notice
from middo_tui.widgets.queue_list import QueueList, QueueRows
from middo_tui.widgets.queue_strip import QueuePlace, QueueStrip
from middo_tui.widgets.review_bar import ReviewBar, ReviewBarState, says_all
from middo_tui.widgets.word_diff import DiffPage, WordDiff

AHEAD = 3
KEPT = 64


class QueueRead(Message):
    """The queue, and how many looks had been asked for when it was read."""

    def __init__(self, queue: Queue, looks: int) -> None:
        super().__init__()
        self.queue = queue
        self.looks = looks


class DetailsRead(Message):
    """Rewrites in full."""

    def __init__(self, details: tuple[RewriteDetail, ...], problem: str = "") -> None:
        super().__init__()
        self.details = details
        self.problem = problem


class ReviewReading(Framed):
    """Queue, cursor, marks and the text; the subclass has the keys. ``SORT``: the order that it opens with."""

    SORT: ClassVar[str] = SORTS[0].name

    def __init__(self, project: Path, view: LoopView) -> None:
        super().__init__(project, view)
        self.queue = Queue(known=False)
        self.cursor = 0
        self.marked: frozenset[Key] = frozenset()
        self.range_from: Key | None = None
        self.rejecting = False
        self.listing = False
        self.split: bool | None = None  # None: as wide as the screen is
        self._requests: ReviewRequests | None = None
        self._listed = Query(sort=self.SORT)
        self._asked: dict[Key, str] = {}
        self._under_way = 0
        self._held: bool | None = None  # a paint that waits for the store, and whether it keeps the scroll
        self._looks_wanted = 0
        self._details: dict[tuple[int, Key], RewriteDetail] = {}
        self._wanted: Key | None = None
        self._seeking = False  # a search was asked for: go to the first place when it is known

    # ------------------------------------------------------------------------------------------ the body

    def body(self) -> ComposeResult:
        """Progress, signals and verdict; the list beside the text."""
        yield ReviewBar(ReviewBarState(self.queue))
        yield QueueStrip(QueuePlace())
        with Horizontal(id="desk"):
            yield QueueList(QueueRows(), id="queue")
            yield WordDiff(DiffPage())

    def on_screen_resume(self) -> None:
        """Looked at: follow the store."""
        if self._requests is None:
            self._requests = ReviewRequests(self._listed)
            work = partial(self._requests.follow, self.project, self._post_queue)
            self.run_worker(work, group="feed", description="feed", thread=True, exclusive=True, exit_on_error=False)
        super().on_screen_resume()

    def on_screen_suspend(self) -> None:
        """Another screen is looked at: leave the store alone. A question above this one changes nothing."""
        if next(screen for screen in reversed(self.app.screen_stack) if isinstance(screen, Framed)) is not self:
            self._stop_following()

    def on_unmount(self) -> None:
        """The app ends."""
        self._stop_following()

    def _stop_following(self) -> None:
        if self._requests is not None:
            self._requests.close()
            self._requests = None

    def _post_queue(self, queue: Queue, looks: int) -> None:
        self.post_message(QueueRead(queue, looks))

    def list_anew(self, query: Query) -> None:
        """List something else; the cursor stays on its rewrite where that is listed too."""
        self._listed = query
        if self._requests is not None:
            self._requests.ask(query)

    @property
    def query_now(self) -> Query:
        """What was asked for last."""
        return self._listed

    # -------------------------------------------------------------------------------------- what was read

    @property
    def reading(self) -> bool:
        """Nothing was read yet, nor is it known why not."""
        return not self.queue.known

    @on(QueueRead)
    def _queue_read(self, message: QueueRead) -> None:
        here = self._wanted or self.key
        other = message.queue.round != self.queue.round
        self.queue = message.queue
        if not self._under_way and message.looks >= self._looks_wanted:
            self._asked.clear()
        if other:
            self.marked, self.range_from, self.rejecting = frozenset(), None, False
        places = {entry.key: at for at, entry in enumerate(self.queue.rows)}
        self.marked &= frozenset(places)
        if here in places:
            self.cursor, self._wanted = places[here], None
        elif other:
            self.cursor = self._first_open()
        self.cursor = max(0, min(self.cursor, len(self.queue.rows) - 1))
        self._seek()
        self.paint(keep_scroll=self.key == here)
        self._read_details()

    def _seek(self) -> None:
        """To the first place that the search found, from the cursor on; once."""
        hits = self.queue.hits
        if self._seeking and self.queue.query == self._listed:
            self._seeking = False
            if hits:
                self.cursor = next((at for at in hits if at >= self.cursor), hits[0])

    def _first_open(self) -> int:
        rows = self.queue.rows
        return next((at for at, entry in enumerate(rows) if self.state_of(entry) == "proposed"), 0)

    def _read_details(self) -> None:
        """The rewrite under the cursor and the next ones that will be looked at."""
        if self.queue.round is None or self.key is None:
            return
        ahead = [entry.key for entry in self.queue.rows[self.cursor : self.cursor + 1 + AHEAD]]
        following = self.next_open()
        if following is not None and (key := self.queue.rows[following].key) not in ahead:
            ahead.insert(1, key)
        work = partial(self._load, self.queue.round, tuple(ahead))
        self.run_worker(work, group="detail", description="detail", thread=True, exclusive=True, exit_on_error=False)

    def _load(self, round: int, wanted: tuple[Key, ...]) -> None:
        try:
            self.post_message(DetailsRead(load(self.project, round, wanted[:1])))
            self.post_message(DetailsRead(load(self.project, round, wanted[1:])))
        except (MiddoError, sqlite3.Error) as error:
            self.post_message(DetailsRead((), guard.one_line(str(error))))

    @on(DetailsRead)
    def _details_read(self, message: DetailsRead) -> None:
        if message.problem:
            self.say(Notice(message.problem, "bad"))
        for detail in message.details:
            self._details.pop((detail.round, detail.key), None)
            self._details[detail.round, detail.key] = detail
        while len(self._details) > KEPT:
            self._details.pop(next(iter(self._details)))
        if any(detail.key == self.key for detail in message.details):
            self.paint(keep_scroll=True)

    # ------------------------------------------------------------------------------------ where we are

    @property
    def entry(self) -> QueueEntry | None:
        """The row under the cursor."""
        return self.queue.rows[self.cursor] if self.cursor < len(self.queue.rows) else None

    @property
    def key(self) -> Key | None:
        """The rewrite under the cursor."""
        return None if self.entry is None else self.entry.key

    @property
    def detail(self) -> RewriteDetail | None:
        """The rewrite under the cursor in full, once it was read."""
        if self.queue.round is None or self.key is None:
            return None
        return self._details.get((self.queue.round, self.key))

    def detail_now(self) -> RewriteDetail | None:
        """``detail``, read at once if need be: what is typed behind a key that opens an input belongs into it."""
        if self.detail is None and self.queue.round is not None and self.key is not None:
            try:
                for detail in load(self.project, self.queue.round, (self.key,)):
                    self._details[detail.round, detail.key] = detail
            except (MiddoError, sqlite3.Error) as error:
                self.say(Notice(guard.one_line(str(error)), "bad"))
        return self.detail

    def state_of(self, entry: QueueEntry) -> str:
        """As the store has it, or as it was just asked for."""
        return self._asked.get(entry.key, entry.state)

    def next_open(self) -> int | None:
        """The next undecided rewrite below the cursor, else from the top; None when there is no other."""
        rows = self.queue.rows
        order = (*range(self.cursor + 1, len(rows)), *range(self.cursor))
        return next((at for at in order if self.state_of(rows[at]) == "proposed"), None)

    def batch_now(self) -> tuple[str, list[QueueEntry], list[QueueEntry]]:
        """What A and R would change: a word for it, those to accept, those to reject."""
        if marked := self.taken:
            chosen = [e for e in self.queue.rows if e.key in marked and self.state_of(e) in CHANGEABLE]
            return (
                "marked",
                [e for e in chosen if self.state_of(e) != "accepted"],
                [e for e in chosen if self.state_of(e) != "rejected"],
            )
        open_ = [entry for entry in self.queue.rows if self.state_of(entry) == "proposed"]
        if self.queue.query.filter:
            return "listed", open_, open_
        return "", [e for e in open_ if e.improved], [e for e in open_ if e.improved is False]

    @property
    def is_split(self) -> bool:
        """Whether old and new stand side by side."""
        return self.size.width >= WIDE if self.split is None else self.split

    def state(self) -> ReviewState:
        """What decides which keys work."""
        entry = self.entry
        word, accepts, rejects = self.batch_now()
        return ReviewState(
            view=self.view,
            queue=self.queue,
            state="" if entry is None else self.state_of(entry),
            edited=entry is not None and entry.edited,
            rejecting=self.rejecting,
            marked=len(self.taken),
            alike=len(self.alike()),
            ranging=self.range_from is not None,
            batch=word,
            accepts=len(accepts),
            rejects=len(rejects),
            split=self.is_split,
            wide=self.size.width >= WIDE,
            listing=self.listing,
        )

    def own_notice(self) -> Notice:
        """What there is to do."""
        return own_notice(self.state())

    # ------------------------------------------------------------------------------------------ painting

    def on_resize(self, event: events.Resize) -> None:
        """Two columns where there is room."""
        self.call_after_refresh(self.paint, keep_scroll=True)

    def paint(self, keep_scroll: bool = False) -> None:
        """Everything that the cursor and the queue decide; nothing looks decided before the store has it."""
        if self._under_way:
            self._held = keep_scroll and self._held is not False
            return
        entry, detail = self.entry, self.detail
        rows = self.queue.rows
        if self._asked:
            rows = tuple(replace(row, state=self._asked[row.key]) if row.key in self._asked else row for row in rows)
        place = self.cursor + 1 if rows else 0
        state = "" if entry is None else self.state_of(entry)
        doubt = "" if entry is None else entry.doubt
        self.query_one(ReviewBar).show(ReviewBarState(self.queue, place, detail, state, len(self.taken), doubt))
        self.query_one(QueueStrip).show(QueuePlace(rows, self.cursor, len(self.alike()), self.size.width >= WIDE))
        self.query_one(QueueList).show(QueueRows(rows, self.cursor, self.taken, self.listing))
        text = self.query_one(WordDiff)
        blocks = () if detail is None else detail.blocks
        if detail is not None and says_all(detail, self.size.width):
            blocks = tuple(block for block in blocks if block.title != VERDICT)
        page = replace(text.data, blocks=blocks, split=self.is_split)
        text.show(page if keep_scroll else replace(page, y=0, x=0))
        self.set_class(self.listing, "-listing")
        self.state_changed()

    def alike(self) -> frozenset[Key]:
        """The undecided rewrites of the cursor's axis and cluster that have the same verdict; empty: it is alone."""
        entry = self.entry
        if entry is None or not entry.alike:
            return frozenset()
        found = (e for e in self.queue.rows if e.alike == entry.alike and self.state_of(e) == "proposed")
        return frozenset(e.key for e in found) | {entry.key}

    def in_range(self) -> frozenset[Key]:
        """From where v was pressed to the cursor."""
        if self.range_from is None:
            return frozenset()
        start = next((at for at, entry in enumerate(self.queue.rows) if entry.key == self.range_from), self.cursor)
        low, high = sorted((start, self.cursor))
        return frozenset(entry.key for entry in self.queue.rows[low : high + 1])

    @property
    def taken(self) -> frozenset[Key]:
        """What a batch is for: what is marked, also by a range that is still open."""
        return self.marked | self.in_range()

    def unmark(self) -> None:
        """Nothing is marked any more."""
        self.marked, self.range_from = frozenset(), None

    def put_cursor(self, at: int) -> None:
        """Look at another rewrite."""
        at = max(0, min(at, len(self.queue.rows) - 1))
        if at != self.cursor:
            self.cursor = at
            self.rejecting = False
            self.paint()
            self._read_details()
