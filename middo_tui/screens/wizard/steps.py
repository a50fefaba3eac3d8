"""The wizard's steps that ask one thing: a line to type in, and under it what can be chosen instead."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import ClassVar

from msgspec.structs import replace
from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.message import Message
from textual.widgets import Input
from textual.widgets.input import Selection

from engine.errors import MiddoError, UsageError
from engine.formats import Source
from engine.formats.encodings import EncodingUnknown
from engine.formats.file_preview import preview
from engine.hub.fetch import Fetch, Progress, named
from engine.hub.layout import Undecided
from engine.hub.names import Name
from middo_tui.feed.home import is_project
from middo_tui.screens.wizard import draft as drafts
from middo_tui.screens.wizard.draft import Draft, Offer
from middo_tui.terminal import guard
from middo_tui.text.notice import Notice
from middo_tui.widgets.choices import Choices, Item, Menu
from middo_tui.widgets.paragraph import Paragraph
from middo_tui.widgets.text_input import TextInput

DEMO = "\x00demo"  # no path holds a NUL


class Forward(Message):
    """This step is answered."""

    def __init__(self, draft: Draft) -> None:
        super().__init__()
        self.draft = draft


class StepNotice(Message):
    """Something to say at the step it belongs to. ``busy``: it is being answered; ``stops``: and esc gives that up."""

    def __init__(self, notice: Notice, busy: bool = False, stops: bool = False) -> None:
        super().__init__()
        self.notice = notice
        self.busy = busy
        self.stops = stops


class Choose(Message):
    """The answer leaves something open; these are whole ones."""

    def __init__(self, choices: tuple[str, ...]) -> None:
        super().__init__()
        self.choices = choices


class Step(Vertical):
    """One step. ``enter`` answers it: in a thread (``answer``), so that nothing it looks at holds up the keys."""

    TITLE: ClassVar[str]
    QUESTION: ClassVar[str]
    FOOT: ClassVar[tuple[tuple[str, str], ...]] = (("enter", "next"), ("↑↓", "choose"))

    def __init__(self, draft: Draft) -> None:
        super().__init__()
        self.draft = draft

    def submit(self) -> None:
        """Answer with what is there now."""
        value = self.value()
        self.post_message(StepNotice(Notice("Checking …", "dim"), busy=True))
        self.run_worker(lambda: self._answer(value), group="answer", thread=True, exclusive=True, exit_on_error=False)

    def _answer(self, value: str) -> None:
        try:
            message: Message = Forward(self.answer(value))
        except (MiddoError, OSError) as error:
            message = StepNotice(Notice(guard.clean(str(error)).text, "bad"))
        self.post_message(message)

    def move(self, by: int) -> None:
        """Another row of what can be chosen."""

    def change(self, by: int) -> None:
        """Another value of the row."""

    def complete(self) -> None:
        """Take over what is sure."""

    def stop(self) -> None:
        """Give up what is under way."""

    def value(self) -> str:
        """What is answered."""
        raise NotImplementedError

    def answer(self, value: str) -> Draft:
        """The draft with the answer in it. Runs in a thread.

        Raises:
            MiddoError: it is no answer; the sentence says why.
        """
        raise NotImplementedError


class EntryStep(Step):
    """A line and offers. Typing narrows the offers; the arrows choose one; tab takes over what they have in common."""

    FOOT: ClassVar[tuple[tuple[str, str], ...]] = (("enter", "next"), ("tab", "complete"), ("↑↓", "choose"))
    PLACEHOLDER: ClassVar[str] = ""
    COLUMN: ClassVar[int] = 34

    def __init__(self, draft: Draft) -> None:
        super().__init__(draft)
        self._offers: list[Offer] = []
        self._listed = ""
        self._chosen = False

    def compose(self) -> ComposeResult:
        """The question, the line, the offers, what is to be said about the choice."""
        yield Paragraph(Notice(self.QUESTION), classes="question")
        yield TextInput(self.before(), placeholder=self.PLACEHOLDER)
        yield Choices(Menu((), column=self.COLUMN), classes="offers")
        yield Paragraph(Notice(""), classes="about")

    def on_mount(self) -> None:
        """Type at once: over an earlier answer, or, after an arrow key, in it."""
        entry = self.query_one(TextInput)
        entry.selection = Selection(0, len(entry.value))
        entry.focus()
        self._list()

    def before(self) -> str:
        """What was answered earlier."""
        return ""

    def offers(self, typed: str) -> list[Offer]:
        """What can be chosen after ``typed``."""
        raise NotImplementedError

    def about(self, value: str) -> str:
        """What is to be said about an answer."""
        return ""

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        if event.value == self._listed:  # said at the beginning, also when nobody typed
            return
        self._chosen = False
        self.post_message(StepNotice(Notice("")))
        self._list()

    def _list(self) -> None:
        typed = self._listed = self.query_one(TextInput).value
        self._offers = self.offers(typed)
        at = 0 if not typed and self._offers else -1
        self.query_one(Choices).show(Menu(tuple(offer.item for offer in self._offers), at, self.COLUMN))
        self._tell()

    def _tell(self) -> None:
        self.query_one(".about", Paragraph).show(Notice(self.about(self.value()), "dim"))

    def move(self, by: int) -> None:
        """Another offer."""
        choices = self.query_one(Choices)
        choices.show(choices.data.moved(by))
        self._chosen = True
        self._tell()

    def complete(self) -> None:
        """What the offers have in common goes into the line; the chosen one, if one was chosen."""
        entry = self.query_one(TextInput)
        at = self.query_one(Choices).data.at
        values = [offer.value for offer in self._offers if not offer.value.startswith("\x00")]
        whole = self._offers[at].value if self._chosen and self._offers else drafts.common(values)
        if not whole.startswith("\x00") and (self._chosen or len(whole) > len(entry.value)):
            entry.value = whole
            entry.cursor_position = len(whole)

    def value(self) -> str:
        """The chosen offer, or the line."""
        typed = self.query_one(TextInput).value
        at = self.query_one(Choices).data.at
        if (self._chosen or not typed) and 0 <= at < len(self._offers):
            return self._offers[at].value
        return typed

    def submit(self) -> None:
        """A folder is opened; anything else is the answer."""
        at = self.query_one(Choices).data.at
        if self._chosen and self._offers[at].open:
            self.complete()
        else:
            super().submit()


class DataStep(EntryStep):
    """The dataset file, a hub's dataset, or the demo. Nothing can be typed while one is fetched; esc gives that up."""

    TITLE = "data"
    QUESTION = (
        "Which dataset? A file (JSON, JSON Lines, CSV, Parquet; also .gz or .zst), a folder saved by `datasets`, or"
        " owner/name on the Hugging Face Hub, downloaded now. The project is created in the last step."
    )
    PLACEHOLDER = "path (~ is your home) or owner/name[:CONFIG][@REVISION] [SPLIT]"

    def __init__(self, draft: Draft) -> None:
        super().__init__(draft)
        self._choices: tuple[str, ...] = ()
        self._fetch: Fetch | None = None

    def before(self) -> str:
        """What was typed."""
        return self.draft.data

    def offers(self, typed: str) -> list[Offer]:
        """The demo for who has no data; what a hub's dataset leaves open; then paths."""
        place = "" if self.draft.folder else f"in ./{drafts.DEMO_FOLDER}; "
        demo = [Offer(Item("try the demo", f"{place}minutes on a CPU"), DEMO)]
        open_ = [Offer(Item(guard.one_line(text), "Hub"), text) for text in self._choices if text.startswith(typed)]
        return [*([] if typed else demo), *(open_ if typed else []), *drafts.paths(typed, files=True)]

    def on_unmount(self) -> None:
        """Nobody waits for it any more."""
        self.stop()

    def stop(self) -> None:
        """Give up what is being fetched."""
        if self._fetch is not None:
            self._fetch.stop()

    def answer(self, value: str) -> Draft:
        """Data that can be read."""
        text = value.strip()
        if text == DEMO:
            return replace(self.draft, demo=True)
        if not text:
            raise UsageError("Enter the path or name of a dataset, or choose the demo.")
        if is_project(Path(text).expanduser()):
            raise UsageError(f"{guard.one_line(text)}: a project, not a dataset. To open it: middo-tui {quote(text)}")
        draft = replace(self.draft, demo=False, data=text)
        if draft.data != self.draft.data:
            draft = replace(draft, fetched=None, format="auto", columns={}, encodings=())
        if draft.fetched is None and isinstance(found := named(text), Name):
            draft = replace(draft, fetched=self._fetched(found))
        try:
            preview(draft.source, draft.reading(), most=1)
        except EncodingUnknown as unknown:
            if not unknown.likely:
                raise
            draft = replace(draft, encodings=unknown.likely)
            preview(draft.source, draft.reading(), most=1)
        return draft

    def _fetched(self, name: Name) -> Source:
        self.post_message(StepNotice(Notice(f"{name}: looking it up …", "dim"), busy=True, stops=True))
        self._fetch = Fetch(name.written)
        try:
            return self._fetch.wait(self._progress)
        except Undecided as error:
            self.post_message(Choose(error.choices))
            raise

    def _progress(self, progress: Progress) -> None:
        self.post_message(StepNotice(Notice(str(progress), "dim"), busy=True, stops=True))

    @on(StepNotice)
    def _hold(self, message: StepNotice) -> None:
        entry = self.query_one(TextInput)
        if message.stops != entry.disabled:
            entry.disabled = message.stops
            if not message.stops:
                entry.focus()

    @on(Choose)
    def _open(self, message: Choose) -> None:
        message.stop()
        self._choices = message.choices
        self._list()


class PresetStep(Step):
    """Settings of a known model."""

    TITLE = "preset"
    QUESTION = "Start from which settings? You can change them later (key , in the app, or config.toml)."

    def compose(self) -> ComposeResult:
        """The presets, the fitting one chosen."""
        self._offers = drafts.presets()
        at = next((at for at, offer in enumerate(self._offers) if offer.value == self.draft.preset), 0)
        yield Paragraph(Notice(self.QUESTION), classes="question")
        yield Choices(Menu(tuple(offer.item for offer in self._offers), at, 22), classes="offers")
        yield Paragraph(Notice(""), classes="about")

    def on_mount(self) -> None:
        """Say all of the chosen one's line."""
        self.move(0)

    def move(self, by: int) -> None:
        """Another preset."""
        choices = self.query_one(Choices)
        choices.show(choices.data.moved(by) if by else choices.data)
        item = choices.data.item
        self.query_one(".about", Paragraph).show(Notice(item.text if item else "", "dim"))

    def value(self) -> str:
        """The chosen preset."""
        return self._offers[self.query_one(Choices).data.at].value

    def answer(self, value: str) -> Draft:
        """Any of them."""
        return replace(self.draft, preset=value)
