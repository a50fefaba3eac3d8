"""The Review screen: the queue of a round's rewrites, what changed in each, and a person's decisions on them.

Every decision is in the store before the next one is begun; there is no key to commit. What a key has asked for is
shown at once, and the store's own word replaces it as soon as it was read again. A decision tells the store what the
person saw: a rewrite that changed meanwhile is refused, never written over.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import ClassVar

from textual import on
from textual.app import SuspendNotSupported
from textual.binding import BindingType
from textual.message import Message

from engine.errors import StoreBlocked, UsageError
from engine.plurals import counted
from engine.store.commands import ReviewedVersion
from middo_tui.feed import control, review_commands
from middo_tui.feed.review import REASONS, Key, QueueEntry
from middo_tui.keys import tables
from middo_tui.keys.tables import press
from middo_tui.screens.confirm import Confirm
from middo_tui.screens.input_line import TypeLine
from middo_tui.screens.review import external_editor
from middo_tui.screens.review.edit import EditRewrite, Texts
from middo_tui.screens.review.keys import KEYS
from middo_tui.screens.review.navigation import Moving
from middo_tui.terminal import guard
from middo_tui.text.notice import Notice

ASKS_ABOVE = 20
"""Batches above this are asked about first."""


class Landed(Message):
    """What was asked for is in the store, or was refused. ``keys``: look at the first of these."""

    def __init__(self, keys: tuple[Key, ...]) -> None:
        super().__init__()
        self.keys = keys


class ReviewScreen(Moving):
    """Progress, signals, verdict; the list and the text."""

    NAME = "review"
    KEYS = KEYS
    CSS_PATH = "review.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [*tables.bindings(KEYS, NAME), *tables.bindings(tables.EVERYWHERE, "app")]

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Rows with a parameter are told apart by it; a question about a reason takes all keys but leaving."""
        name = f"{action}('{parameters[0]}')" if parameters else action
        row = next((key for key in KEYS if key.id == name), None)
        if row is not None:
            return row.works(self.state())
        return not self.rejecting or action == "quit"

    def would(self, key: str) -> str:
        """While a reason is asked for, the question stays. Enter merges: what keeps it from that."""
        found, count = "" if self.rejecting else super().would(key), self.queue.counts.open
        if found and key == "enter" and count:
            return f"{counted(count, 'rewrite is', 'rewrites are')} undecided. Once all are decided, it merges."
        bulk = next(row for row in tables.remapped(KEYS, self.NAME) if row.id == "accept_batch")
        if found and key in bulk.keys and count and not self.batch_now()[0]:
            return f"no undecided rewrite improved. Filter ({press('review.filter')}) or mark others first."
        return found

    def _footer(self) -> tuple[tuple[str, str], ...]:
        if not self.rejecting:
            return super()._footer()
        return (("1-9", "reason"), *tables.footer(tables.remapped(KEYS, self.NAME), self.state()), ("esc", "not now"))

    # ---------------------------------------------------------------------------------------- deciding

    def _do(self, verb: Callable[[], str], look_at: list[Key] | None = None) -> None:
        """Have ``verb`` done after what was asked for before, then read again. ``look_at`` is filled by the verb."""

        def work() -> str:
            again = False
            try:
                return verb()
            except StoreBlocked:
                again = True  # the app has it done again until the database can be written
                raise
            finally:
                if not again:
                    self.post_message(Landed(tuple(look_at or ())))

        self._under_way += 1
        self.ask(work)

    @on(Landed)
    def _landed(self, message: Landed) -> None:
        self._under_way -= 1
        if message.keys:
            self._wanted = message.keys[0]
        if not self._under_way and self._held is not None:
            keep_scroll, self._held = self._held, None
            self.paint(keep_scroll)
        if self._requests is not None:
            self._requests.look()
            self._looks_wanted = self._requests.looks

    def _seen(self, entries: Sequence[QueueEntry]) -> dict[Key, ReviewedVersion]:
        """What the person looks at: the state, and the text where one rewrite is looked at in full."""
        detail = self.detail if len(entries) == 1 else None
        text = detail.messages if detail is not None and detail.key == entries[0].key else None
        return {entry.key: ReviewedVersion(self.state_of(entry), text) for entry in entries}

    def _decide(self, entries: Sequence[QueueEntry], state: str, reason: str | None = None) -> None:
        round = self.queue.round
        if round is None or not entries:
            return
        chosen = [entry.key for entry in entries]
        self._do(partial(review_commands.decide, self.project, round, chosen, state, self._seen(entries), reason))
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
        rewrites = counted(len(accepts), f"{word or 'improved'} rewrite")
        self._batch(accepts, "accepted", f"Accept {rewrites}?")

    def action_reject_batch(self) -> None:
        """Many at once."""
        word, _, rejects = self.batch_now()
        rewrites = counted(len(rejects), f"{word} rewrite".strip())
        self._batch(rejects, "rejected", f"Reject {rewrites}{'' if word else ' that did not improve'}?")

    def _batch(self, entries: list[QueueEntry], state: str, question: str) -> None:
        def decide(yes: bool | None) -> None:
            if yes:
                self._decide(entries, state, "bulk" if state == "rejected" else None)
                self.unmark()
                self._go_on()

        if len(entries) > ASKS_ABOVE:
            self.app.push_screen(
                Confirm(f"{question}  Press {press('review.undo')} afterwards to undo all of it."), decide
            )
        else:
            decide(True)

    def action_undo(self) -> None:
        """One step back, and look at what it was about; in a merged round, the merge."""
        if self.state().unmerges:
            self._do(partial(control.undo, self.project))
            return
        self._step(review_commands.undo)

    def action_redo(self) -> None:
        """One step forth again."""
        self._step(review_commands.redo)

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

    def action_send_back(self) -> None:
        """Back to the teacher."""
        taken, round = self.taken, self.queue.round
        word = "marked" if taken else ""
        entries = [e for e in self.queue.rows if e.key in taken] or ([self.entry] if self.entry else [])
        if round is None or not entries:
            return

        def send(yes: bool | None) -> None:
            if yes:
                chosen = [entry.key for entry in entries]
                self._do(partial(review_commands.send_back, self.project, round, chosen, self._seen(entries)))
                self._asked.update(dict.fromkeys(chosen, "owed"))
                self.unmark()
                self._go_on()

        if len(entries) > ASKS_ABOVE:
            self.app.push_screen(
                Confirm(f"Send {counted(len(entries), f'{word} rewrite'.strip())} back to the teacher?"), send
            )
        else:
            send(True)

    # ------------------------------------------------------------------------------------------ texts

    def action_edit(self) -> None:
        """Here, in two boxes."""
        detail = self.detail_now()
        if detail is not None and detail.messages is not None:
            self.app.push_screen(
                EditRewrite(detail.prompt, detail.response), partial(self._save, detail.key, detail.messages)
            )

    def _save(self, key: Key, messages: str, texts: Texts | None) -> None:
        """``messages``: what was edited; if somebody else changed it meanwhile, the store refuses."""
        round, entry = self.queue.round, next((e for e in self.queue.rows if e.key == key), None)
        if texts is not None and round is not None and entry is not None:
            seen = ReviewedVersion(self.state_of(entry), messages)
            self._do(partial(review_commands.edit, self.project, round, key, *texts, seen))

    def action_editor(self) -> None:
        """In the person's own editor, with the app out of the way."""
        detail = self.detail_now()
        if detail is None or detail.messages is None:
            return
        texts: Texts | None = None
        problem = "Nothing was changed."
        try:
            words = external_editor.command()
            with self.app.suspend():
                try:  # an error that left this block would leave the app suspended
                    texts = external_editor.edited(words, detail.prompt, detail.response)
                except UsageError as error:
                    problem = str(error)
        except UsageError as error:
            problem = str(error)
        except SuspendNotSupported:
            problem = f"This terminal cannot start another program. Press {press('review.edit')} to edit here."
        if texts is None:
            self.say(Notice(guard.clean(problem).text, "bad"))
        else:
            self._save(detail.key, detail.messages, texts)

    def action_note(self) -> None:
        """A remark in one line."""
        detail, round = self.detail_now(), self.queue.round
        if detail is None or round is None:
            return

        def keep(text: str | None) -> None:
            if text is not None:
                self._do(partial(review_commands.note, self.project, round, detail.key, text))

        self.app.push_screen(TypeLine("Note on this rewrite (leave empty for none)", detail.note), keep)

    def action_copy(self) -> None:
        """Through the terminal (OSC 52), never with a control character in it."""
        if self.detail is not None:
            self.app.copy_to_clipboard(guard.clean(f"{self.detail.prompt}\n\n{self.detail.response}").text)
            self.say(Notice("Copied prompt and response (if the terminal supports it)."))

    # ----------------------------------------------------------------------------------------- the run

    def action_resume(self) -> None:
        """Merge, after a last look, or write again what was sent back, and so on to the end of the plan."""
        if self.state().goes_on == "merge" and self.queue.round is not None:
            from middo_tui.screens.merge_card import ask_to_merge  # a second screen can wait until it is asked for

            ask_to_merge(self, self.queue.round)
            return
        self.ask(partial(control.go, self.project), saying="Starting the worker …")

    def action_recheck(self) -> None:
        """Only the verify stage."""
        if self.queue.round is not None:
            self.ask(partial(control.step, self.project, self.queue.round, "verify"))
