"""The wizard's last steps: where the project will be and whether this machine can run it, then making it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from msgspec.structs import replace
from textual import on
from textual.app import ComposeResult
from textual.message import Message
from textual.worker import get_current_worker

from engine.config import defaults
from engine.config import schema as configs
from engine.doctor import report
from engine.doctor.finding import Finding
from engine.doctor.report import Keep
from engine.errors import MiddoError, UsageError
from engine.plurals import counted
from middo_tui.screens.wizard import draft as drafts
from middo_tui.screens.wizard.draft import DEMO_FOLDER, Draft, Offer
from middo_tui.screens.wizard.steps import EntryStep, Step, StepNotice
from middo_tui.terminal import guard
from middo_tui.text.notice import Notice
from middo_tui.widgets.choices import Choices, Item, Menu
from middo_tui.widgets.paragraph import Paragraph
from middo_tui.widgets.text_input import TextInput

ROLES = {"✘": "bad", "!": "warn", "✔": "quality"}


class DoctorReported(Message):
    """What the doctor says; so far, unless it is the ``whole``."""

    def __init__(
        self,
        findings: tuple[Finding, ...],
        whole: bool = True,
        keep: Keep | None = None,
    ) -> None:
        """``keep``: keeps in a project how fast the models are; None: not measured."""
        super().__init__()
        self.keep = keep
        self.findings = findings
        self.whole = whole


class CreationProgress(Message):
    """A line about what is being done."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text


class ProjectCreated(Message):
    """The project is there."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder


def rows(findings: tuple[Finding, ...]) -> tuple[Item, ...]:
    """Findings as rows, what needs a look first; the fix stands under its finding."""
    out: list[Item] = []
    order = {"✘": 0, "!": 1, "✔": 2}
    for found in sorted(findings, key=lambda one: order[one.mark]):
        role = ROLES[found.mark]
        out.append(Item(guard.one_line(found.name), guard.one_line(found.text), mark=found.mark, role=role))
        if found.fix and found.mark != "✔":
            out.append(Item("", f"→ {guard.one_line(found.fix)}"))
    return tuple(out)


class CheckStep(EntryStep):
    """The project's folder, and what the doctor says about all of it."""

    TITLE = "check"
    QUESTION = "Project folder? Below: whether this machine can run the project."
    FOOT: ClassVar[tuple[tuple[str, str], ...]] = (("enter", "create the project"), ("↑↓", "scroll"))
    COLUMN = 12

    def __init__(self, draft: Draft) -> None:
        super().__init__(draft)
        self._keep: Keep | None = None

    def before(self) -> str:
        """The folder."""
        return self.draft.folder or drafts.folder_for(self.draft.data)

    def on_mount(self) -> None:
        """Ask the doctor, who may take a second."""
        super().on_mount()
        self.query_one(Choices).show(Menu((), column=self.COLUMN, empty="Checking this machine …"))
        self.run_worker(self._ask, group="doctor", thread=True, exclusive=True, exit_on_error=False)

    def _ask(self) -> None:
        # the app can only end when this thread has: once the step is gone, the model is read no further
        worker = get_current_worker()
        try:
            config = configs.parse(defaults.render(self.draft.settings()), "the settings")
            found: list[Finding] = []
            keep: list[Keep] = []
            gone: Callable[[], bool] = lambda: worker.is_cancelled  # noqa: E731
            for one in report.planned(Path.cwd(), config, gone, keep.append):  # it may take a while
                if worker.is_cancelled:
                    return
                found.append(one)
                self.post_message(DoctorReported(tuple(found), whole=False))
            self.post_message(DoctorReported(tuple(found), keep=keep[0] if keep else None))
        except (MiddoError, OSError) as error:
            self.post_message(StepNotice(Notice(guard.clean(str(error)).text, "bad")))

    @on(DoctorReported)
    def _found(self, message: DoctorReported) -> None:
        message.stop()
        self._keep = message.keep
        found = rows(message.findings)
        choices = self.query_one(Choices)
        choices.show(Menu(found, max(0, choices.data.at), self.COLUMN))
        if not message.whole:
            self.post_message(StepNotice(Notice("Checking this machine …", "dim")))
            return
        self.post_message(StepNotice(Notice("")))
        bad = sum(one.bad for one in message.findings)
        if bad:
            problems = counted(bad, "problem")
            said = f"A run would fail: {problems} (✘). You can create the project anyway and fix them later."
            self.post_message(StepNotice(Notice(said, "decide")))

    def offers(self, typed: str) -> list[Offer]:
        """The list shows findings here."""
        return []

    def _list(self) -> None:
        """Typing changes nothing in the findings."""

    def move(self, by: int) -> None:
        """Along the findings."""
        choices = self.query_one(Choices)
        choices.show(choices.data.moved(by))
        item = choices.data.item
        self.query_one(".about", Paragraph).show(Notice(item.text if item else "", "dim"))

    def complete(self) -> None:
        """There is nothing to complete."""

    def value(self) -> str:
        """The folder."""
        return self.query_one(TextInput).value

    def answer(self, value: str) -> Draft:
        """A folder that is new or empty."""
        if not value.strip():
            raise UsageError("Enter a new folder for the project.")
        draft = replace(self.draft, folder=value.strip(), keep=self._keep)
        place = draft.place
        if place.exists() and (not place.is_dir() or any(place.iterdir())):
            raise UsageError(f"{guard.one_line(value)}: exists and is not empty. Enter a new folder.")
        return draft


class CreateStep(Step):
    """Making it: the only step that writes. When it fails nothing is left behind."""

    TITLE = "create"
    QUESTION = "Creating the project."
    FOOT: ClassVar[tuple[tuple[str, str], ...]] = ()

    def __init__(self, draft: Draft) -> None:
        super().__init__(draft)
        self._progress_lines: tuple[str, ...] = ()

    def compose(self) -> ComposeResult:
        """What is being done, line by line."""
        place = self.draft.folder or DEMO_FOLDER
        yield Paragraph(Notice(f"Creating {guard.one_line(place)}", "strong"), classes="question")
        yield Choices(Menu((), column=60, empty="…"), classes="offers")

    def on_mount(self) -> None:
        """At once."""
        self.screen.set_focus(None)
        self.run_worker(self._make, group="make", thread=True, exclusive=True, exit_on_error=False)

    def _say(self, text: str) -> None:
        self.post_message(CreationProgress(guard.one_line(text)))

    def _make(self) -> None:
        try:
            self.post_message(ProjectCreated(make(self.draft, self._say)))
        except (MiddoError, OSError) as error:
            text = f"{guard.clean(str(error)).text}  Nothing was created. Press esc to go back."
            self.post_message(StepNotice(Notice(text, "bad")))

    @on(CreationProgress)
    def _doing(self, message: CreationProgress) -> None:
        message.stop()
        self._progress_lines = (*self._progress_lines, message.text)
        menu = Menu(tuple(Item(text, mark="·") for text in self._progress_lines), -1)
        self.query_one(Choices).show(menu)

    def submit(self) -> None:
        """It is under way already."""


def make(draft: Draft, say: Callable[[str], None]) -> Path:
    """Make the project; returns its folder.

    Raises:
        MiddoError: why it cannot be made; nothing is left behind.
    """
    from engine.demo.project import create_demo
    from engine.project import folder as project

    if draft.demo:
        folder = draft.place if draft.folder else Path(DEMO_FOLDER)
        if not (folder / "middo.db").exists():
            say("writing the demo data …")
            for line in create_demo(folder):
                say(line)
        return folder
    name = draft.place.resolve().name
    settings = draft.settings()
    settings.setdefault("project", {})["name"] = name
    data = draft.fetched or draft.source.files[0][1].resolve()
    for added in project.create(draft.place, [data], settings, say):
        held, rejected = f"{added.heldout:,} of them held out", counted(added.rejected, "row")
        say(f"{counted(added.rows + added.heldout, 'sample')} imported, {held}; {rejected} quarantined")
        for text in (*added.overlaps(), *added.notes):
            say(text)
    if draft.keep is not None:
        try:
            draft.keep(draft.place)
        except (MiddoError, sqlite3.Error, OSError) as error:  # the project is there all the same
            say(f"the estimated time could not be kept: {guard.one_line(str(error))}")
    return draft.place
