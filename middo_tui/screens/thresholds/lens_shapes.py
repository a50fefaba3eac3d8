"""How the lenses of a round are distributed: a histogram each. Nothing is cut here; full bars are the highest 5%."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.message import Message
from textual.screen import ModalScreen

from engine.errors import MiddoError
from middo_tui.feed import lens_shapes
from middo_tui.feed.lens_shapes import HIGH, LENSES, LensShape
from middo_tui.feed.orders import Order
from middo_tui.terminal import guard
from middo_tui.text.flaw_wording import MEASURES, NAMES
from middo_tui.text.notice import Notice
from middo_tui.widgets.chart_view import AxisScale, next_scale
from middo_tui.widgets.divider import Divider
from middo_tui.widgets.histogram import Cutting, Histogram
from middo_tui.widgets.key_bar import KeyBar
from middo_tui.widgets.lines import Line, Run
from middo_tui.widgets.paragraph import Paragraph


class ShapesRead(Message):
    """The lenses have been read; ``problem``: why not."""

    def __init__(self, shapes: tuple[LensShape, ...], problem: str = "") -> None:
        super().__init__()
        self.shapes, self.problem = shapes, problem


def heading(shape: LensShape) -> Line:
    """``end of turn  median 0.52 · 95% below 4.10 · highest 12.31  loss of the last token``."""
    figures = f"median {shape.median:.2f} · {HIGH:.0%} below {shape.high:.2f} · highest {shape.highest:.2f}"
    return Run(f"{NAMES[shape.name]}  ", "strong"), Run(figures), Run(f"  {MEASURES[shape.name]}", "dim")


class LensShapes(ModalScreen[Order | None]):
    """Dismisses with what to list on the Samples screen, or None."""

    DEFAULT_CSS = """
    LensShapes { background: $background; }
    LensShapes Histogram { height: 1fr; margin: 0 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,v", "dismiss(None)", "back", show=False),
        Binding("o,enter", "open", "samples", show=False),
        Binding("y", "counts", "axis", show=False),
    ]

    def __init__(self, project: Path, round: int) -> None:
        super().__init__()
        self._project, self._round = project, round
        self._shapes: tuple[LensShape, ...] = ()
        self._counts: AxisScale = "linear"

    def compose(self) -> ComposeResult:
        """A line of words, the histograms, the keys."""
        with Vertical():
            said = f"Round {self._round}, losses of the answers' tokens under the base model. Full: highest 5%."
            yield Paragraph(Notice(said, "dim"))
            for name in LENSES:
                yield Divider()
                yield Histogram(Cutting(None, "above", "complexity", empty="Reading …"), id=name)
            yield KeyBar((("o", "list by flaw score"), ("y", "axis"), ("esc", "back")))

    def on_mount(self) -> None:
        """Have them read."""
        self.run_worker(self._read, thread=True, exit_on_error=False)

    def _read(self) -> None:
        """In a thread."""
        try:
            self.post_message(ShapesRead(lens_shapes.load(self._project, self._round)))
        except (MiddoError, sqlite3.Error, OSError) as error:
            self.post_message(ShapesRead((), guard.clean(str(error)).text))

    @on(ShapesRead)
    def _taken(self, message: ShapesRead) -> None:
        if message.problem:
            self.query_one(Paragraph).show(Notice(message.problem, "bad"))
        self._shapes = message.shapes
        self._paint()

    def _paint(self) -> None:
        for shape in self._shapes:
            cut = shape.high if shape.count else None
            empty = f"{NAMES[shape.name]}: no sample of this round has one."
            head = heading(shape) if shape.count else ()
            picture = Cutting(shape.bins, "above", "complexity", cut, heading=head, empty=empty, counts=self._counts)
            self.query_one(f"#{shape.name}", Histogram).show(picture)

    def action_counts(self) -> None:
        """Their counts on another axis."""
        self._counts = next_scale(self._counts)
        self._paint()

    def action_open(self) -> None:
        """The round's samples, those that look worst first."""
        self.dismiss(Order(self._round, "", "flaw", down=True))
