"""The Label screen: drawn samples one by one, blind; then what the labels say of the signals."""

from __future__ import annotations

import sqlite3
from functools import partial
from pathlib import Path
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container

from engine.errors import MiddoError
from engine.store.labels import KINDS, Labelled
from middo_tui.feed.labels import LabelView, draw, give, read_labels
from middo_tui.feed.sample import SampleDetail, read_detail
from middo_tui.feed.view import LoopView
from middo_tui.keys import tables
from middo_tui.screens.frame import Framed, ReadMessage
from middo_tui.screens.label_keys import KEYS, LabelKeyState
from middo_tui.screens.letter_menu import LetterChoice, LetterMenu
from middo_tui.terminal import guard
from middo_tui.text.label_report import report_lines
from middo_tui.text.notice import Notice
from middo_tui.widgets.divider import Divider
from middo_tui.widgets.lines import Line, Lines, Run
from middo_tui.widgets.paragraph import Paragraph
from middo_tui.widgets.sample_pane import SamplePane, SamplePaneState

FAILURES = (MiddoError, sqlite3.Error, OSError)
PAGE = 6
FLAWS = (
    LetterChoice("", "f", "flawed", "no particular kind"),
    *(LetterChoice(kind, letter, kind) for kind, letter in zip(KINDS, "wcvobx", strict=True)),
)


class LabelsRead(ReadMessage):
    """The drawn samples, the one that is shown, or why they could not be read."""

    def __init__(self, found: LabelView, at: int, detail: SampleDetail | None, problem: str = "") -> None:
        super().__init__()
        self.found, self.at, self.detail, self.problem = found, at, detail, problem


class ReportLines(Lines[tuple[str, ...]]):
    """The report, a row for each line."""

    def draw(self, data: tuple[str, ...], width: int, height: int) -> list[Line]:
        """The lines that fit."""
        shown = data[:height] if height else data
        lines: list[Line] = [(Run(" " + guard.fit(line, width - 1).rstrip()),) for line in shown]
        return lines


class LabelScreen(Framed):
    """One sample's text; the keys label it and go on to the next without a label."""

    NAME = "label"
    KEYS = KEYS
    CSS_PATH = "label.tcss"
    BINDINGS: ClassVar[list[BindingType]] = tables.bindings(KEYS, NAME)

    def __init__(self, project: Path, view: LoopView) -> None:
        super().__init__(project, view)
        self._found: LabelView | None = None
        self._at = 0
        self._reporting = False
        self._problem = ""

    def body(self) -> ComposeResult:
        """Where the person is, the text or the report."""
        yield Paragraph(Notice(""), id="summary")
        yield Divider()
        with Container(id="main"):
            yield SamplePane(blind=True, id="pane")
            yield ReportLines((), id="report")

    def on_screen_resume(self) -> None:
        """Labels may have come from a file meanwhile."""
        super().on_screen_resume()
        self._read(None)

    # ------------------------------------------------------------------------------------------- reading

    def _read(self, at: int | None) -> None:
        """Read everything, then show the sample ``at`` (None: the first without a label from here on)."""
        work = partial(self._load, at, self._at)
        self.run_worker(work, group="label", description="label", thread=True, exclusive=True, exit_on_error=False)

    def _load(self, at: int | None, now: int) -> None:
        """In a thread."""
        try:
            found = read_labels(self.project)
            place = _pending_from(found, now) if at is None else max(0, min(at, len(found.rows) - 1))
            row = found.rows[place] if found.rows else None
            detail = None if row is None else read_detail(self.project, row.sample_id, found.round)
            self.post_message(LabelsRead(found, place, detail))
        except FAILURES as error:
            self.post_message(LabelsRead(LabelView(), 0, None, guard.one_line(str(error))))

    @on(LabelsRead)
    def _was_read(self, message: LabelsRead) -> None:
        if message.outdated:
            return
        complete = bool(message.found.rows) and not message.found.pending
        before = self._found
        if complete and (before is None or before.pending):
            self._reporting = True
        self._found, self._at, self._problem = message.found, message.at, message.problem
        self.query_one(SamplePane).show(SamplePaneState(message.detail))
        self._paint()

    def _paint(self) -> None:
        found = self._found
        reporting = self._reporting and found is not None
        self.set_class(reporting, "-reporting")
        self.set_class(not reporting and self._row is not None, "-labelling")
        self.query_one(ReportLines).show(tuple(report_lines(found.report)) if found is not None else ())
        self.query_one("#summary", Paragraph).show(Notice(self._summary(), "strong"))
        self.state_changed()

    def _summary(self) -> str:
        found, row = self._found, self._row
        if found is None or row is None:
            return "Label samples"
        done = len(found.rows) - found.pending
        if self._reporting:
            return f"Label samples · report · {done:,} of {len(found.rows):,} labelled"
        said = f" · {row.label}" + (f": {row.kind}" if row.kind else "") if row.label else ""
        return f"Label samples · {self._at + 1:,} of {len(found.rows):,} · {done:,} labelled{said}"

    # --------------------------------------------------------------------------------------------- state

    @property
    def _row(self) -> Labelled | None:
        rows = self._found.rows if self._found is not None else ()
        return rows[self._at] if rows else None

    def state(self) -> LabelKeyState:
        """What the keys depend on."""
        found = self._found or LabelView()
        row = self._row
        return LabelKeyState(
            drawn=row is not None,
            scored=found.scored,
            report=self._reporting,
            labelled=row is not None and row.label is not None,
            given=found.pending < len(found.rows),
        )

    def own_notice(self) -> Notice:
        """What to do first, and what this is for."""
        if self._problem:
            return Notice(self._problem, "bad")
        if self._found is None:
            return Notice("Loading …", "dim")
        if self._found.rows:
            return Notice("")
        if not self._found.scored:
            return Notice("Samples can be drawn once the score stage has run.", "decide")
        return Notice(
            "Label 80 samples to see how far the signals can be trusted on your data. They are drawn along the flaw"
            " score and shown without their signals.",
            "decide",
        )

    # ---------------------------------------------------------------------------------------------- keys

    def action_draw(self) -> None:
        """Draw samples."""
        self.ask(partial(draw, self.project), partial(self._read, None))

    def action_good(self) -> None:
        """Good, and on to the next."""
        self._give("good")

    def action_flawed(self) -> None:
        """Flawed, and which kind."""
        self.app.push_screen(LetterMenu("Which kind of flaw?", FLAWS, "flawed"), self._flawed)

    def _flawed(self, kind: str | None) -> None:
        if kind is not None:
            self._give("flawed", kind)

    def action_unlabel(self) -> None:
        """Take the label back; the sample stays in view."""
        if self._row is not None:
            again = partial(self._read, self._at)
            self.ask(partial(give, self.project, self._row.sample_id, None), again)

    def _give(self, said: str, kind: str = "") -> None:
        if self._row is not None:
            self.ask(partial(give, self.project, self._row.sample_id, said, kind), partial(self._read, None))

    def action_next(self) -> None:
        """The next sample."""
        self._read(self._at + 1)

    def action_previous(self) -> None:
        """The one before."""
        self._read(self._at - 1)

    def action_scroll_down(self) -> None:
        """Further down in the text."""
        self.query_one(SamplePane).scroll_lines(PAGE)

    def action_scroll_up(self) -> None:
        """Back up."""
        self.query_one(SamplePane).scroll_lines(-PAGE)

    def action_report(self) -> None:
        """The report, or the samples again."""
        self._reporting = not self._reporting
        self._paint()


def _pending_from(found: LabelView, now: int) -> int:
    """The first sample without a label from place ``now`` on, then from the start; ``now`` when all have one."""
    order = [*range(now, len(found.rows)), *range(min(now, len(found.rows)))]
    return next((i for i in order if found.rows[i].label is None), min(now, max(0, len(found.rows) - 1)))
