"""The first-run wizard: from a dataset file to a project, step by step, back and forth by keys alone.

An app of its own, as there is no project yet; it ends with the project's folder, on which the real app is then opened.
Nothing is written before the last step. Everything slow (reading data, asking the doctor) happens in threads.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.screen import Screen
from textual.widgets import Input

from middo_tui.base_app import BaseApp
from middo_tui.look.preferences import Preferences
from middo_tui.screens.frame import LEAST
from middo_tui.screens.wizard.draft import Draft
from middo_tui.screens.wizard.last_step import CheckStep, CreateStep, ProjectCreated
from middo_tui.screens.wizard.model_steps import ModelStep, TeacherStep
from middo_tui.screens.wizard.preview import PreviewStep
from middo_tui.screens.wizard.steps import DataStep, Forward, PresetStep, Step, StepNotice
from middo_tui.text.notice import Notice
from middo_tui.widgets.divider import Divider
from middo_tui.widgets.key_bar import KeyBar
from middo_tui.widgets.lines import Line, Lines, Run, justified
from middo_tui.widgets.paragraph import Paragraph

STEPS: tuple[type[Step], ...] = (DataStep, PreviewStep, ModelStep, TeacherStep, PresetStep, CheckStep, CreateStep)
LAST = len(STEPS) - 1


class WizardProgress(Lines[int]):
    """Title and steps: what is behind, where one is, what is to come."""

    DEFAULT_CSS = """
    WizardProgress { height: 2; }
    """

    def draw(self, data: int, width: int, height: int) -> list[Line]:
        """Two rows."""
        head = justified(
            (Run(" middo  ", "active-strong"), Run("new project", "strong")),
            (Run(f"step {data + 1} of {len(STEPS)} ", "dim"),),
            width,
        )
        runs: list[Run] = [Run(" ")]
        for at, step in enumerate(STEPS):
            mark, role = ("✔", "dim") if at < data else ("▶", "active-strong") if at == data else ("·", "dim")
            runs.append(Run(f"{step.TITLE} {mark}  ", role))
        return [head, tuple(runs)]


class WizardScreen(Screen[None], inherit_bindings=False):
    """One step at a time between a head and a foot that stay. Tab completes here, it does not move the focus."""

    CSS_PATH = "wizard.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "forward", show=False),
        Binding("escape", "back", show=False),
        Binding("tab", "complete", show=False),
        Binding("down,ctrl+n", "move(1)", show=False),
        Binding("up,ctrl+p", "move(-1)", show=False),
        Binding("pagedown", "move(10)", show=False),
        Binding("pageup", "move(-10)", show=False),
        Binding("right,l", "change(1)", show=False),
        Binding("left,h", "change(-1)", show=False),
        Binding("ctrl+q", "leave", show=False, priority=True),
    ]

    def __init__(self, draft: Draft) -> None:
        super().__init__()
        self.draft = draft
        self._at = 0
        self._busy = self._stops = False

    def compose(self) -> ComposeResult:
        """Head, step, sentence, keys."""
        yield WizardProgress(0)
        yield Divider()
        yield Container(STEPS[0](self.draft), id="step")
        yield Paragraph(Notice(""), id="said")
        yield KeyBar(self._foot())
        yield Paragraph(Notice(""), id="too-small")

    @property
    def step(self) -> Step:
        """The step that is shown."""
        return self.query_one(Step)

    def _foot(self) -> tuple[tuple[str, str], ...]:
        back = "quit" if not self._at else "back"
        if self._stops:
            return (("esc", "cancel the download"), ("ctrl-q", "quit"))
        return (*STEPS[self._at].FOOT, ("esc", back), ("ctrl-q", "quit"))

    def on_resize(self, event: events.Resize) -> None:
        """Under the least size there is only a word about it."""
        width, height = event.size
        self.set_class(width < LEAST[0] or height < LEAST[1], "-small")
        text = f"The terminal is {width}×{height}; at least {LEAST[0]}×{LEAST[1]} is needed. Enlarge the window."
        self.query_one("#too-small", Paragraph).show(Notice(text, "decide"))

    @on(StepNotice)
    def _show_notice(self, message: StepNotice) -> None:
        self._busy = message.busy
        if message.stops != self._stops:
            self._stops = message.stops
            self.query_one(KeyBar).show(self._foot())
        self.query_one("#said", Paragraph).show(message.notice)

    @on(Forward)
    async def _forward(self, message: Forward) -> None:
        self._busy = self._stops = False
        self.draft = message.draft
        await self._show(LAST if self.draft.demo else self._at + 1)

    async def _show(self, at: int) -> None:
        self._at = at
        holder = self.query_one("#step", Container)
        await holder.remove_children()
        self.query_one("#said", Paragraph).show(Notice(""))
        self.query_one(WizardProgress).show(at)
        self.query_one(KeyBar).show(self._foot())
        await holder.mount(STEPS[at](self.draft))

    @on(ProjectCreated)
    def _project_created(self, message: ProjectCreated) -> None:
        self.app.exit(message.folder)

    @on(Input.Submitted)
    def action_forward(self) -> None:
        """Answer the step. Not a priority key: it must not overtake what was typed before it."""
        if not self._busy:
            self.step.submit()

    async def action_back(self) -> None:
        """The step before; at the first one, leave."""
        if self._at == LAST and self.app.workers and any(w.group == "make" and w.is_running for w in self.app.workers):
            return  # what is being written is finished, or undone by itself
        if self._stops:
            self.step.stop()
            return
        if not self._at:
            self.app.exit(None)
            return
        self._busy = False
        self.draft = self.step.draft
        await self._show(0 if self.draft.demo else self._at - 1)

    def action_complete(self) -> None:
        """Complete a path."""
        self.step.complete()

    def action_move(self, by: int) -> None:
        """Another offer."""
        self.step.move(by)

    def action_change(self, by: int) -> None:
        """Another value."""
        self.step.change(by)

    def action_leave(self) -> None:
        """Without a project."""
        self.app.exit(None)


class Wizard(BaseApp[Path]):
    """Ends with the folder of the project that was made, or with None. ``folder``: where it is to be, if given."""

    def __init__(self, preferences: Preferences | None = None, folder: Path | None = None) -> None:
        super().__init__(preferences or Preferences())
        self._first = WizardScreen(Draft(folder=str(folder) if folder else ""))

    def on_mount(self) -> None:
        """The only screen."""
        self.push_screen(self._first)
