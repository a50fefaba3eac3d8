"""Going through the queue and the text: moving, scrolling, marking, filtering, searching, other rounds and screens."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from middo_tui.feed.listing import jump
from middo_tui.feed.review import Query
from middo_tui.feed.review_order import SORTS
from middo_tui.screens.input_line import TypeLine
from middo_tui.screens.review.reading import ReviewReading
from middo_tui.text.notice import Notice
from middo_tui.widgets.word_diff import WordDiff, changes

FILTERS = (
    "Filter by words (all must match): c d q · open accepted rejected failed pending · improved worse drifted"
    " · edited noted unchecked · any other word is searched in verdict, reason and note"
)


class Moving(ReviewReading):
    """All keys that change nothing in the store."""

    def action_move(self, by: str) -> None:
        """Up and down the queue."""
        self.put_cursor(self.cursor + int(by))

    def action_first(self) -> None:
        """To the top."""
        self.put_cursor(0)

    def action_last(self) -> None:
        """To the end."""
        self.put_cursor(len(self.queue.rows) - 1)

    def action_scroll(self, way: str) -> None:
        """Half a page of what has the focus."""
        text = self.query_one(WordDiff)
        half = max(1, self.query_one("#desk").size.height // 2) * int(way)
        if self.listing:
            self.put_cursor(self.cursor + half)
        else:
            text.show(replace(text.data, y=max(0, min(text.data.y + half, text.last))))

    def action_change(self, way: str) -> None:
        """To the next row in which a change begins."""
        text = self.query_one(WordDiff)
        rows, y = changes(text.rows), text.data.y
        found = [row for row in rows if row > y] if int(way) > 0 else [row for row in rows[::-1] if row < y]
        if found:
            text.show(replace(text.data, y=min(found[0], text.last)))

    def action_aside(self, way: str) -> None:
        """Along long lines."""
        text = self.query_one(WordDiff)
        if not text.data.wrap:
            text.show(replace(text.data, x=max(0, text.data.x + 8 * int(way))))

    def action_wrap(self) -> None:
        """Long lines."""
        text = self.query_one(WordDiff)
        text.show(replace(text.data, wrap=not text.data.wrap, x=0, y=0))

    def action_layout(self) -> None:
        """One column or two."""
        self.split = not self.is_split
        self.paint()

    def action_view_list(self) -> None:
        """The other half."""
        self.listing = not self.listing
        self.paint(keep_scroll=True)

    def action_mark(self) -> None:
        """This one, and on to the next."""
        if self.key is not None:
            self.marked ^= {self.key}
            self.paint(keep_scroll=True)
            self.put_cursor(self.cursor + 1)

    def action_mark_alike(self) -> None:
        """Those like this one, or none of them any more."""
        alike = self.alike()
        self.marked = self.marked - alike if alike <= self.marked else self.marked | alike
        self.paint(keep_scroll=True)

    def action_range(self) -> None:
        """Begin, or take what is between."""
        if self.range_from is None:
            self.range_from = self.key
        else:
            self.marked |= self.in_range()
            self.range_from = None
        self.paint(keep_scroll=True)

    def action_clear(self) -> None:
        """What was begun last goes first."""
        if self.rejecting:
            self.rejecting = False
        elif self.range_from is not None:
            self.range_from = None
        elif self.marked:
            self.marked = frozenset()
        elif self.query_now.search:
            self.list_anew(replace(self.query_now, search=""))
        else:
            self.list_anew(replace(self.query_now, filter=""))
        self.paint(keep_scroll=True)

    def action_filter(self) -> None:
        """Ask for words."""
        self._type(FILTERS, self.query_now.filter, lambda text: replace(self.query_now, filter=" ".join(text.split())))

    def action_search(self) -> None:
        """Ask for words, and go to the first that has them."""

        def query(text: str) -> Query:
            self._seeking = bool(text.strip())
            return replace(self.query_now, search=text.strip())

        self._type("Search in old and new texts (any case)", self.query_now.search, query)

    def action_jump(self) -> None:
        """Ask for a place."""
        total = len(self.queue.rows)

        def take(typed: str | None) -> None:
            if typed is None:
                return
            kind, value = jump(typed, total)
            if kind == "seq":
                place = next((at for at, entry in enumerate(self.queue.rows) if entry.seq == value), None)
                if place is None:
                    self.say(Notice(f"No rewrite of #{value:.0f} is listed.", "decide"))
                    return
                self.put_cursor(place)
            else:
                self.put_cursor(round(value / 100 * (total - 1)) if kind == "share" else int(value))

        question = f"Jump to a rewrite (1 to {total:,}), a percentage (73%) or a sample (#120)."
        self.app.push_screen(TypeLine(question, check=lambda text: jump(text, total)), take)

    def _type(self, question: str, typed: str, query: Callable[[str], Query]) -> None:
        def take(text: str | None) -> None:
            if text is not None:
                self.say(Notice(""))
                self.list_anew(query(text))

        self.app.push_screen(TypeLine(question, typed), take)

    def action_hit(self, way: str) -> None:
        """Through what was found, round and round."""
        hits = self.queue.hits
        ahead = [at for at in hits if at > self.cursor] or list(hits)
        behind = [at for at in hits if at < self.cursor] or list(hits)
        self.put_cursor(ahead[0] if int(way) > 0 else behind[-1])

    def action_sort(self) -> None:
        """The next order."""
        names = [sort.name for sort in SORTS]
        following = SORTS[(names.index(self.query_now.sort) + 1) % len(SORTS)]
        self.list_anew(replace(self.query_now, sort=following.name))
        self.say(Notice(f"Order: {following.help}.", "dim"))

    def action_round(self, way: str) -> None:
        """Another round's rewrites."""
        rounds = self.queue.rounds
        if self.queue.round in rounds:
            at = rounds.index(self.queue.round) + int(way)
            if 0 <= at < len(rounds):
                self.list_anew(replace(self.query_now, round=rounds[at]))

    def action_lineage(self) -> None:
        """Every version of the sample."""
        if self.key is not None:
            self.go("lineage", self.key[0])

    def action_sample(self) -> None:
        """The sample among the others."""
        if self.key is not None:
            self.go("samples", self.key[0])

    def aim(self, target: object) -> None:
        """``(round, sample id, axis)``."""
        if isinstance(target, tuple) and len(target) == 3:
            round, id, axis = target
            self._wanted = (int(id), str(axis))
            self.list_anew(Query(int(round), sort=self.query_now.sort))
