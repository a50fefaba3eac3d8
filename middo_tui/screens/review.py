"""The Review screen: the queue of a round's rewrites, what changed in each, and a person's decisions on them.

Every decision is in the store before the next one is begun; there is no key to commit. What a key has asked for is
shown at once, and the store's own word replaces it as soon as it was read again. A decision tells the store what the
person saw: a rewrite that changed meanwhile is refused, never written over.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import ClassVar

from textual import on
from textual.app import SuspendNotSupported
from textual.binding import BindingType
from textual.message import Message

from engine.errors import UsageError
from engine.store.commands import Seen
from middo_tui import editor, guard, keys
from middo_tui.feed import control, deciding
from middo_tui.feed.review import REASONS, SORTS, Entry, Key, Query
from middo_tui.notice import Notice
from middo_tui.screens.confirm import Confirm
from middo_tui.screens.edit_rewrite import EditRewrite, Texts
from middo_tui.screens.line import TypeLine
from middo_tui.screens.review_keys import KEYS
from middo_tui.screens.review_reading import Reading
from middo_tui.widgets.word_diff import WordDiff, changes

ASKS_ABOVE = 20
"""Batches above this are asked about first."""
FILTERS = (
    "List only (words, all must hold): c d q · open accepted rejected failed owed · better worse · edited noted"
    " unchecked · any other word is looked for in verdict, reason and note"
)


class Landed(Message):
    """What was asked for is in the store, or was refused. ``keys``: look at the first of these."""

    def __init__(self, keys: tuple[Key, ...]) -> None:
        super().__init__()
        self.keys = keys


class ReviewScreen(Reading):
    """Progress, signals, verdict; the list and the text."""

    NAME = "review"
    KEYS = KEYS
    CSS_PATH = "review.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [*keys.bindings(KEYS, NAME), *keys.bindings(keys.EVERYWHERE, "app")]

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Rows with a parameter are told apart by it; a question about a reason takes all keys but leaving."""
        name = f"{action}('{parameters[0]}')" if parameters else action
        row = next((key for key in KEYS if key.id == name), None)
        if row is not None:
            return row.works(self.state())
        return not self.rejecting or action == "leave"

    def _footer(self) -> tuple[tuple[str, str], ...]:
        if not self.rejecting:
            return super()._footer()
        return (("1-9", "reason"), *keys.footer(keys.mine(KEYS, self.NAME), self.state()), ("esc", "not now"))

    # ---------------------------------------------------------------------------------------- deciding

    def _do(self, verb: Callable[[], str], look_at: list[Key] | None = None) -> None:
        """Have ``verb`` done after what was asked for before, then read again. ``look_at`` is filled by the verb."""

        def work() -> str:
            try:
                return verb()
            finally:
                self.post_message(Landed(tuple(look_at or ())))

        self._under_way += 1
        self.ask(work)

    @on(Landed)
    def _landed(self, message: Landed) -> None:
        self._under_way -= 1
        if message.keys:
            self._wanted = message.keys[0]
        if self._desk is not None:
            self._desk.look()
            self._looks_wanted = self._desk.looks

    def _seen(self, entries: Sequence[Entry]) -> dict[Key, Seen]:
        """What the person looks at: the state, and the text where one rewrite is looked at in full."""
        detail = self.detail if len(entries) == 1 else None
        text = detail.messages if detail is not None and detail.key == entries[0].key else None
        return {entry.key: Seen(self.state_of(entry), text) for entry in entries}

    def _decide(self, entries: Sequence[Entry], state: str, reason: str | None = None) -> None:
        round = self.queue.round
        if round is None or not entries:
            return
        chosen = [entry.key for entry in entries]
        self._do(partial(deciding.decide, self.project, round, chosen, state, self._seen(entries), reason))
        self._asked.update(dict.fromkeys(chosen, state))

    def _decide_here(self, state: str, reason: str | None = None) -> None:
        if self.entry is None:
            return
        self._decide([self.entry], state, reason)
        self._go_on()

    def _go_on(self) -> None:
        """To the next undecided one; with none left, stay."""
        following = self.next_open()
        if following is None:
            self.paint(keep_scroll=True)
        else:
            self.put_cursor(following)

    def action_accept(self) -> None:
        """This one is taken."""
        self._decide_here("accepted")

    def action_reject(self) -> None:
        """Ask why; the answer rejects."""
        self.rejecting = True
        self.say(Notice(""))
        self.state_changed()

    def action_reason(self, number: str) -> None:
        """The answer: 0 is none."""
        self.rejecting = False
        self._decide_here("rejected", REASONS[int(number) - 1] if int(number) else None)
        self.state_changed()

    def action_accept_batch(self) -> None:
        """Many at once."""
        word, accepts, _ = self.batch_now()
        self._batch(accepts, "accepted", f"Accept {len(accepts):,} {_what(word, 'that the signals call better')}?")

    def action_reject_batch(self) -> None:
        """Many at once."""
        word, _, rejects = self.batch_now()
        self._batch(rejects, "rejected", f"Reject {len(rejects):,} {_what(word, 'that are not better')}?")

    def _batch(self, entries: list[Entry], state: str, question: str) -> None:
        def decide(yes: bool | None) -> None:
            if yes:
                self._decide(entries, state, "rejected in a batch" if state == "rejected" else None)
                self.marked = frozenset()
                self._go_on()

        if len(entries) > ASKS_ABOVE:
            self.app.push_screen(Confirm(f"{question}  One u takes all of it back."), decide)
        else:
            decide(True)

    def action_undo(self) -> None:
        """One step back, and look at what it was about."""
        self._step(deciding.undo)

    def action_redo(self) -> None:
        """One step forth again."""
        self._step(deciding.redo)

    def _step(self, verb: Callable[..., tuple[str, tuple[Key, ...]]]) -> None:
        round, project = self.queue.round, self.project
        if round is None:
            return
        about: list[Key] = []

        def work() -> str:
            said, found = verb(project, round)
            about.extend(found)
            return said

        self._do(work, about)

    def action_skip(self) -> None:
        """Decide later."""
        self._go_on()

    def action_again(self) -> None:
        """Back to the teacher."""
        word, round = "marked" if self.marked else "", self.queue.round
        entries = [e for e in self.queue.rows if e.key in self.marked] or ([self.entry] if self.entry else [])
        if round is None or not entries:
            return

        def send(yes: bool | None) -> None:
            if yes:
                chosen = [entry.key for entry in entries]
                self._do(partial(deciding.send_back, self.project, round, chosen, self._seen(entries)))
                self._asked.update(dict.fromkeys(chosen, "owed"))
                self.marked = frozenset()
                self._go_on()

        if len(entries) > ASKS_ABOVE:
            self.app.push_screen(Confirm(f"Have {len(entries):,} {_what(word, '')} written again?"), send)
        else:
            send(True)

    # ------------------------------------------------------------------------------------------ texts

    def action_edit(self) -> None:
        """Here, in two boxes."""
        detail = self.detail
        if detail is not None and detail.messages is not None:
            self.app.push_screen(
                EditRewrite(detail.prompt, detail.response), partial(self._save, detail.key, detail.messages)
            )

    def _save(self, key: Key, messages: str, texts: Texts | None) -> None:
        """``messages``: what was edited; if somebody else changed it meanwhile, the store refuses."""
        round, entry = self.queue.round, next((e for e in self.queue.rows if e.key == key), None)
        if texts is not None and round is not None and entry is not None:
            seen = Seen(self.state_of(entry), messages)
            self._do(partial(deciding.edit, self.project, round, key, *texts, seen))

    def action_editor(self) -> None:
        """In the person's own editor, with the app out of the way."""
        detail = self.detail
        if detail is None or detail.messages is None:
            return
        try:
            words = editor.command()
            with self.app.suspend():
                texts = editor.edited(words, detail.prompt, detail.response)
        except UsageError as error:
            self.say(Notice(guard.clean(str(error)).text, "bad"))
        except SuspendNotSupported:
            self.say(Notice("This terminal cannot be lent to another program: press e to edit here.", "bad"))
        else:
            self._save(detail.key, detail.messages, texts)
            if texts is None:
                self.say(Notice("Nothing was changed."))

    def action_note(self) -> None:
        """A remark in one line."""
        detail, round = self.detail, self.queue.round
        if detail is None or round is None:
            return

        def keep(text: str | None) -> None:
            if text is not None:
                self._do(partial(deciding.note, self.project, round, detail.key, text))

        self.app.push_screen(TypeLine("A note on this rewrite (empty: none)", detail.note), keep)

    def action_copy(self) -> None:
        """Through the terminal (OSC 52), never with a control character in it."""
        if self.detail is not None:
            self.app.copy_to_clipboard(guard.clean(f"{self.detail.prompt}\n\n{self.detail.response}").text)
            self.say(Notice("Copied the new prompt and response, if the terminal allows it."))

    # ----------------------------------------------------------------------------------------- the run

    def action_go_on(self) -> None:
        """Merge, or write again what was sent back, and so on to the end of the plan."""
        self.ask(partial(control.go, self.project))

    def action_recheck(self) -> None:
        """Only the verify stage."""
        if self.queue.round is not None:
            self.ask(partial(control.step, self.project, self.queue.round, "verify"))

    # ---------------------------------------------------------------------------------- moving and listing

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
        question = "Search in old and new texts (any case)"
        self._type(question, self.query_now.search, lambda text: replace(self.query_now, search=text.strip()))

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
            self.list_anew(Query(int(round)))


def _what(word: str, otherwise: str) -> str:
    return f"{word} rewrites" if word else f"rewrites {otherwise}".strip()
