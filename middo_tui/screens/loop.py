"""The Loop screen: where the run is, how it goes, and what it needs from a person. It shows the store, no more."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.screen import Screen

from middo_tui import keys
from middo_tui.feed import control
from middo_tui.feed.view import LoopView
from middo_tui.guard import clean
from middo_tui.notice import Notice, notice
from middo_tui.screens.confirm import Confirm
from middo_tui.screens.help import Help
from middo_tui.widgets.divider import Divider
from middo_tui.widgets.gpu_bar import GpuBar
from middo_tui.widgets.header import Header
from middo_tui.widgets.key_bar import KeyBar
from middo_tui.widgets.line_chart import Chart, LineChart
from middo_tui.widgets.link_gauge import LinkState
from middo_tui.widgets.log_tail import LogTail
from middo_tui.widgets.paragraph import Paragraph
from middo_tui.widgets.progress_line import ProgressLine
from middo_tui.widgets.rounds_table import RoundsTable
from middo_tui.widgets.stage_strip import StageStrip
from middo_tui.widgets.training_facts import TrainingFacts

LEAST = (80, 24)
TALL, WIDE = 36, 120
EMPTY_CHART = "no training step has been logged yet"


class Ask(Message):
    """A person wants something of the run. ``verb`` is bound and takes no arguments."""

    def __init__(self, verb: partial[str]) -> None:
        super().__init__()
        self.verb = verb


class LoopScreen(Screen[None]):
    """Header, stages, progress, notice, chart and gauges, rounds, log, keys."""

    BINDINGS: ClassVar[list[BindingType]] = keys.bindings()

    def __init__(self, project: Path, view: LoopView, leave_when_done: bool = False) -> None:
        super().__init__()
        self.project = project
        self.leave_when_done = leave_when_done
        self.view = view
        self._said: Notice | None = None

    def compose(self) -> ComposeResult:
        """Top to bottom."""
        view = self.view
        yield Header((view, LinkState()))
        yield StageStrip(view.stages)
        yield Divider()
        yield ProgressLine(view.current)
        yield Paragraph(self._notice(), id="notice")
        with Horizontal(id="body"):
            yield LineChart(_chart(view))
            with Vertical(id="side"):
                yield GpuBar(view.gauges)
                yield TrainingFacts(view.training)
        yield RoundsTable(view.table)
        yield Divider()
        yield LogTail(view.log)
        yield KeyBar(self._footer())
        yield Paragraph(Notice(""), id="too-small")

    def on_resize(self, event: events.Resize) -> None:
        """Room decides what is shown; under the least there is only a word about it."""
        width, height = event.size
        small = width < LEAST[0] or height < LEAST[1]
        self.set_class(small, "-small")
        self.set_class(height >= TALL, "-tall")
        self.set_class(width >= WIDE, "-wide")
        text = f"This screen needs {LEAST[0]} x {LEAST[1]} cells; the terminal has {width} x {height}. Make it larger."
        self.query_one("#too-small", Paragraph).show(Notice(text, "decide"))

    def show(self, view: LoopView, link: LinkState) -> None:
        """Paint what is new in ``view``. A said sentence stays until the state of the run changes."""
        if view.state != self.view.state:
            self._said = None
        self.view = view
        self.query_one(Header).show((view, link))
        self.query_one(StageStrip).show(view.stages)
        self.query_one(ProgressLine).show(view.current)
        self.query_one("#notice", Paragraph).show(self._notice())
        self.query_one(LineChart).show(_chart(view))
        self.query_one(GpuBar).show(view.gauges)
        self.query_one(TrainingFacts).show(view.training)
        self.query_one(RoundsTable).show(view.table)
        self.query_one(LogTail).show(view.log)
        self.query_one(KeyBar).show(self._footer())

    def say(self, text: Notice) -> None:
        """Show a sentence in place of the state's own."""
        self._said = text if text.text else None
        self.query_one("#notice", Paragraph).show(self._notice())

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """A key works exactly while the footer shows it."""
        row = keys.BY_ID.get(action)
        return True if row is None else row.works(self.view) and (self.leave_when_done or row.id != keys.FINISH)

    def _ask(self, verb: partial[str]) -> None:
        self.post_message(Ask(verb))

    def _confirm(self, question: str, verb: partial[str]) -> None:
        self.app.push_screen(Confirm(question), lambda yes: self._ask(verb) if yes else None)

    def action_run(self) -> None:
        """Start, resume, retry."""
        self._ask(partial(control.go, self.project))

    def action_pause(self) -> None:
        """Pause, or go on."""
        verb = control.go if self.view.state == "paused" else control.pause
        self._ask(partial(verb, self.project))

    def action_step(self) -> None:
        """Exactly the next stage."""
        if self.view.next is not None:
            self._ask(partial(control.step, self.project, *self.view.next))

    def action_more(self) -> None:
        """One round beyond the plan."""
        self._ask(partial(control.more, self.project))

    def action_cancel(self) -> None:
        """Stop now, after a question."""
        question = "Stop the running stage now? What is saved stays; enter goes on from it later."
        self._confirm(question, partial(control.cancel, self.project))

    def action_auto(self) -> None:
        """Who decides at the review."""
        self._ask(partial(control.auto, self.project, not self.view.auto))

    def action_accept_improved(self) -> None:
        """The better ones in, the others out."""
        waiting = self.view.waiting
        others = waiting.open - waiting.improved
        self._decide("improved", f"Accept {waiting.improved:,} rewrites and reject the other {others:,}?")

    def action_accept_all(self) -> None:
        """All in."""
        open_ = self.view.waiting.open
        self._decide("all", f"Accept all {open_:,} rewrites, also those that the signals do not call better?")

    def action_reject_all(self) -> None:
        """All out."""
        self._decide("none", f"Reject all {self.view.waiting.open:,} rewrites?")

    def _decide(self, which: str, question: str) -> None:
        if self.view.round is not None:
            verb = partial(control.decide, self.project, self.view.round, which)
            self._confirm(f"{question}  The run then goes on.", verb)

    def action_help(self) -> None:
        """The key table."""
        self.app.push_screen(Help())

    def action_finish(self) -> None:
        """Leave at the end of a run that the app was opened for."""
        self.app.exit(0)

    def action_quit(self) -> None:
        """Leave, and say in the shell what goes on."""
        words = f"The run goes on. Watch it: middo-tui {self.project}\nStop it: middo-tui pause {self.project}"
        self.app.exit(0, message=Text(clean(words).text) if self.view.state in keys.RUNNING else None)

    def _footer(self) -> tuple[tuple[str, str], ...]:
        return keys.footer(self.view, self.leave_when_done)

    def _notice(self) -> Notice:
        text, role = notice(self.view)
        ends = self.leave_when_done and self.view.state == "done"
        return self._said or Notice(f"{text}  Press enter to leave." if ends else text, role)


def _chart(view: LoopView) -> Chart:
    return Chart("loss", view.curves, empty=EMPTY_CHART)
