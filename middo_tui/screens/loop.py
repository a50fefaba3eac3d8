"""The Loop screen: where the run is, how it goes, and what it needs from a person. It shows the store, no more."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical

from engine.plurals import counted
from middo_tui.feed import control
from middo_tui.feed.loop_notice import notice
from middo_tui.feed.turn import merges
from middo_tui.feed.view import LoopView, Training
from middo_tui.keys import tables
from middo_tui.keys.tables import Key, press
from middo_tui.screens.loop_charts import LoopCharts
from middo_tui.screens.loop_keys import FINISH, KEYS
from middo_tui.text.notice import Notice
from middo_tui.widgets.divider import Divider
from middo_tui.widgets.gpu_bar import GpuBar
from middo_tui.widgets.header import Header
from middo_tui.widgets.key_bar import KeyBar
from middo_tui.widgets.line_chart import LineChart
from middo_tui.widgets.link_gauge import LinkState
from middo_tui.widgets.log_tail import LogTail
from middo_tui.widgets.paragraph import Paragraph
from middo_tui.widgets.progress_line import ProgressLine
from middo_tui.widgets.rounds_table import RoundsTable
from middo_tui.widgets.score_facts import RoundScores, ScoreFacts
from middo_tui.widgets.small_multiples import SmallMultiples
from middo_tui.widgets.stage_strip import StageStrip
from middo_tui.widgets.training_facts import TrainingFacts

STARTING = "Starting the worker …"


class LoopScreen(LoopCharts):
    """Header, stages, progress, notice, charts and gauges, rounds, log, keys."""

    NAME = "loop"
    FOLLOWS_RUN = True
    KEYS = KEYS
    BINDINGS: ClassVar[list[BindingType]] = tables.bindings(KEYS, NAME)

    def __init__(self, project: Path, view: LoopView, leave_when_done: bool = False) -> None:
        super().__init__(project, view)
        self.leave_when_done = leave_when_done

    def compose(self) -> ComposeResult:
        """Top to bottom; the notice is where the eye looks for what to do, above the curve."""
        view = self.view
        yield Header((view, LinkState()))
        yield StageStrip(view.stages)
        yield Divider()
        yield ProgressLine(view.progress)
        yield Paragraph(self._notice(), id="notice")
        with Horizontal(id="body"):
            yield LineChart(self.chart())
            with Vertical(id="side"):
                yield GpuBar(view.gauges)
                yield TrainingFacts(_training(view))
                yield ScoreFacts(RoundScores.of(view))
        yield SmallMultiples(self.small())
        yield RoundsTable(view.table)
        yield Divider()
        yield LogTail(view.log)
        yield KeyBar(self._footer())
        yield Paragraph(Notice(""), id="too-small")

    def changed(self, view: LoopView) -> None:
        """Everything that the view holds."""
        self.query_one(StageStrip).show(view.stages)
        self.query_one(ProgressLine).show(view.progress)
        self.paint_charts()
        self.query_one(GpuBar).show(view.gauges)
        self.query_one(TrainingFacts).show(_training(view))
        self.query_one(ScoreFacts).show(RoundScores.of(view))
        self.query_one(RoundsTable).show(view.table)
        self.query_one(LogTail).show(view.log)

    def shown_keys(self) -> tuple[Key[LoopView], ...]:
        """Quitting at the end of the run only where the app was opened for it."""
        return tuple(key for key in KEYS if self.leave_when_done or key.id != FINISH)

    def _footer(self) -> tuple[tuple[str, str], ...]:
        """When rewrites wait, the way to them comes first."""
        footer = super()._footer()
        asked = not self.view.problem and self.view.state == "waiting" and self.view.waiting.open
        return ((press("app.go-review"), "review"), *footer) if asked else footer

    def own_notice(self) -> Notice:
        """What the state of the run asks for."""
        text, role = notice(self.view)
        if self.view.judge:
            text = f"{text}  {self.view.judge}.".lstrip()
        ends = self.leave_when_done and self.view.state == "done"
        return Notice(f"{text}  Press {press('loop.finish')} to quit." if ends else text, role)

    def action_run(self) -> None:
        """Start, resume, retry; or begin the next round without waiting."""
        if self.view.holds_until is not None:
            self.ask(partial(control.begin_now, self.project))
            return
        if merges(self.view) and self.view.round is not None:
            from middo_tui.screens.merge_card import ask_to_merge  # a second screen can wait until it is asked for

            ask_to_merge(self, self.view.round)
            return
        self.ask(partial(control.go, self.project), saying=STARTING)

    def action_pause(self) -> None:
        """Pause, or resume."""
        paused = self.view.state == "paused"
        verb = control.go if paused else control.pause
        self.ask(partial(verb, self.project), saying=STARTING if paused else "")

    def action_step(self) -> None:
        """Exactly the next stage."""
        if self.view.next is not None:
            self.ask(partial(control.step, self.project, *self.view.next), saying=STARTING)

    def action_more(self) -> None:
        """One round beyond the plan, after a question: it begins at once."""
        took = f" The teacher's last round: {self.view.teacher}." if self.view.teacher else ""
        self.confirm(f"Start one more round now?{took}", partial(control.more, self.project))

    def action_cancel(self) -> None:
        """Stop now, after a question."""
        question = f"{cancel_question(self.view)} Saved work is kept; press {press('loop.run')} later to resume."
        if self.view.batch:
            question += f" This also cancels the provider's batch; pausing ({press('loop.pause')}) does not."
        self.confirm(question, partial(control.cancel, self.project))

    def action_log(self) -> None:
        """The whole log."""
        self.go("log")

    def action_writing(self) -> None:
        """What the teacher writes."""
        self.go("writing")

    def action_written(self) -> None:
        """What it wrote last."""
        self.go("writing")

    def action_auto(self) -> None:
        """Who decides at the review."""
        self.ask(partial(control.auto, self.project, not self.view.auto))

    def action_accept_improved(self) -> None:
        """The better ones in, the others out."""
        waiting = self.view.waiting
        others = waiting.open - waiting.improved
        rest = "" if not others else f" and reject the other {'one' if others == 1 else f'{others:,}'}"
        if waiting.improved:
            self._decide("improved", f"Accept {counted(waiting.improved, 'improved rewrite')}{rest}?")
        else:
            self._decide("improved", f"None is improved. Reject {_all(waiting.open)}?")

    def action_accept_all(self) -> None:
        """All in."""
        open_, worse = self.view.waiting.open, self.view.waiting.open - self.view.waiting.improved
        which = "which is" if open_ == 1 else f"including {worse:,}"
        self._decide("all", f"Accept {_all(open_)}{f', {which} not improved' if worse else ''}?")

    def action_reject_all(self) -> None:
        """All out."""
        self._decide("none", f"Reject {_all(self.view.waiting.open)}?")

    def _decide(self, which: str, question: str) -> None:
        if self.view.round is not None:
            verb = partial(control.decide, self.project, self.view.round, which)
            self.confirm(f"{question}  Undo with {press('loop.undo')} until the merge.", verb)

    def action_undo(self) -> None:
        """The merge, or the last step of the review."""
        if self.view.undo is not None:
            self.ask(partial(control.undo, self.project))
        elif self.view.round is not None:
            self.ask(partial(control.undo_review, self.project, self.view.round))

    def action_finish(self) -> None:
        """Quit at the end of a run that the app was opened for."""
        self.app.exit(0)


def cancel_question(view: LoopView) -> str:
    """What a cancel ends, as a question."""
    if view.state == "lost":
        return "Cancel the run, whose worker is not responding?"
    stage = view.stage("running")
    if stage is None:
        return "Cancel the run? No stage is running at the moment."
    return f"Cancel the running stage ({stage.name} of round {view.round})?"


def _all(open_: int) -> str:
    return "the only rewrite" if open_ == 1 else f"all {open_:,} rewrites"


def _training(view: LoopView) -> Training | None:
    """The last step, while training is what it is about; afterwards the round's scores have the place."""
    stage = view.current
    training = (stage is not None and stage.name == "train") or not any(row.scores for row in view.table)
    return view.training if training else None
