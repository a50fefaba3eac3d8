"""The wizard's second step: the first rows as they will be read, the columns' parts, and the count of the whole file.

The first rows come at once. The count runs behind, is given up when something changes, and may take minutes.
"""

from __future__ import annotations

from threading import Event
from typing import ClassVar, NamedTuple

from msgspec.structs import replace
from textual import on
from textual.app import ComposeResult
from textual.message import Message

from engine.errors import MiddoError, UsageError
from engine.formats import row_formats
from engine.formats.file_preview import FilePreview, UsableCount, count_usable, preview
from engine.formats.reading import Reject
from engine.plurals import counted
from middo_tui.screens.wizard.draft import Draft
from middo_tui.screens.wizard.steps import Step, StepNotice
from middo_tui.terminal import guard
from middo_tui.text.notice import Notice
from middo_tui.widgets.choices import Choices, Item, Menu
from middo_tui.widgets.divider import Divider
from middo_tui.widgets.lines import Line, Lines, Run
from middo_tui.widgets.paragraph import Paragraph, wrap

FORMATS = ("auto", "alpaca", "prompt", "messages", "sharegpt", "preference")
ENCODED = "The file is not UTF-8. Check that the rows below look right; press → for another encoding."
GUESSED = "Columns were mapped by name. Check the rows below; press ↓ and → to change the mapping."
NO_COLUMN = "—"
OVERLAP = {
    False: "rows whose prompts are held out are not trained on",
    True: "rows whose prompts are held out are trained on too, to measure memorisation",
}
TURN_ROWS = 3
AROUND = 5
"""Rows of the step beside its values and the preview: the file's name, two dividers, the count."""
PREVIEW_ROWS = 3
"""The preview has at least as many: which row it is, and a prompt with its answer."""
TURN_LIMIT = 2000


class FirstRowsRead(Message):
    """The first rows have been read."""

    def __init__(self, found: FilePreview) -> None:
        super().__init__()
        self.found = found


class Counted(Message):
    """So much of the file has been counted."""

    def __init__(self, found: UsableCount) -> None:
        super().__init__()
        self.found = found


class PreviewRow(NamedTuple):
    """A row of the preview: which of how many, and what it is."""

    number: int
    of: int
    row: tuple[tuple[str, str], ...]
    """(role, text) of every turn; one pair with an empty role is a reason."""


def preview_lines(shown: PreviewRow | None, width: int, height: int) -> list[Line]:
    """A conversation, turn by turn; of long turns the beginning."""
    if shown is None:
        return [(Run(" No rows to show yet: map the columns above.", "dim"),)]
    most = max(TURN_ROWS, (height - 1) // max(1, len(shown.row)))
    out: list[Line] = [(Run(f" row {shown.number} of the first {shown.of}", "strong"), Run(""))]
    for role, text in shown.row:
        rows = wrap(text, max(10, width - 14), most)
        name = guard.fit(role or "not used", 10)
        for at, row in enumerate(rows):
            out.append((Run(f" {name if not at else ' ' * 10}  ", "dim" if role else "bad"), Run(row)))
    if not 0 < height < len(out):
        return out
    *before, (name_, text_) = out[:height]
    return [*before, (name_, Run(guard.fit(f"{text_.text} {guard.ELLIPSIS}", max(10, width - 14)).rstrip()))]


class DataPreview(Lines[PreviewRow | None]):
    """``preview_lines`` as a widget."""

    def draw(self, data: PreviewRow | None, width: int, height: int) -> list[Line]:
        """The conversation."""
        return preview_lines(data, width, height)


def counts(found: UsableCount | None) -> Notice:
    """How many rows can be used, and why the others cannot."""
    if found is None:
        return Notice("Counting …", "dim")
    said = counted(found.rows, "row") + ("" if found.ended else " so far …")
    bad = found.rows - found.usable
    if not bad:
        return Notice(f"{said}, all usable.", "quality" if found.ended else "dim")
    reasons = "; ".join(f"{reason} ({n:,}, first in row {row:,})" for reason, n, row in found.reasons)
    return Notice(f"{said}: {found.usable:,} usable, {bad:,} unusable: {guard.one_line(reasons)}", "warn")


class PreviewStep(Step):
    """Rows of values: the shown row, the format, and each part's column; left and right change them."""

    TITLE = "columns"
    QUESTION = ""
    FOOT: ClassVar[tuple[tuple[str, str], ...]] = (("enter", "next"), ("↑↓", "choose"), ("←→", "change"))

    def __init__(self, draft: Draft) -> None:
        super().__init__(draft)
        self._look = FilePreview((), "", ())
        self._tally: UsableCount | None = None
        self._row = 0
        self._menu = Menu(())
        self._names: tuple[str, ...] = ()
        self._stop = Event()
        self._guessed = False

    def compose(self) -> ComposeResult:
        """What it is, the values, the shown row, the counts."""
        yield Paragraph(Notice(guard.one_line(self.draft.source.name), "strong"), classes="question")
        yield Choices(self._menu, classes="parts")
        yield Divider()
        yield DataPreview(None)
        yield Divider()
        yield Paragraph(counts(None), classes="about")

    def on_mount(self) -> None:
        """Read the first rows; there is nothing to type here."""
        self.screen.set_focus(None)
        self._read()

    def on_unmount(self) -> None:
        """The count may end."""
        self._stop.set()

    # ------------------------------------------------------------------------------- reading

    def _read(self) -> None:
        self._stop.set()
        self._stop = stop = Event()
        self._tally = None
        draft = self.draft
        self.run_worker(
            lambda: self._look_and_count(draft, stop), group="look", thread=True, exclusive=True, exit_on_error=False
        )

    def _look_and_count(self, draft: Draft, stop: Event) -> None:
        try:
            found = preview(draft.source, draft.reading())
            if stop.is_set():
                return
            self.post_message(FirstRowsRead(found))
            if found.format:
                for tallied in count_usable(draft.source, draft.reading()):
                    if stop.is_set():
                        return
                    self.post_message(Counted(tallied))
        except (MiddoError, OSError) as error:
            if not stop.is_set():
                self.post_message(StepNotice(Notice(guard.clean(str(error)).text, "bad")))

    @on(FirstRowsRead)
    def _looked(self, message: FirstRowsRead) -> None:
        message.stop()
        self._look = message.found
        if message.found.guess and not self._guessed and self.draft.format == "auto" and not self.draft.columns:
            self._guessed = True
            named = {ours: yours for ours, yours in message.found.guess.items() if ours != yours}
            self.draft = replace(self.draft, columns=named)
            self._read()
            return
        self._row = min(self._row, max(0, len(self._look.rows) - 1))
        self._list()
        if self._look.problem:
            self.post_message(StepNotice(Notice(_what_is_missing(self.draft, self._look), "decide")))
        else:
            guessed = [ENCODED] if self.draft.encodings else []
            guessed += [GUESSED] if self._guessed and self.draft.columns else []
            self.post_message(StepNotice(Notice(" ".join(guessed), "decide")))

    @on(Counted)
    def _counted(self, message: Counted) -> None:
        message.stop()
        self._tally = message.found
        self.query_one(".about", Paragraph).show(counts(self._tally))

    def _list(self) -> None:
        items = []
        if self._look.rows:
            items.append(("row", Item("row", f"{self._row + 1} of the first {len(self._look.rows)}")))
        detected = f"{self._look.format} (detected)" if self._look.format else "unknown: choose one"
        if self.draft.encodings:
            items.append(("encoding", Item("encoding", self.draft.encodings[0], "→ for another")))
        items.append(("format", Item("format", detected if self.draft.format == "auto" else self.draft.format)))
        for part, needed in self._parts():
            column = self.draft.columns.get(part, part if part in self._look.columns else NO_COLUMN)
            missing = needed and column == NO_COLUMN
            aside, role = ("required", "bad") if missing else ("", "")
            items.append((part, Item(part, guard.one_line(column), aside, role=role)))
        items.append(("overlap", Item("held-out", OVERLAP[self.draft.allow_overlap])))
        self._names = tuple(name for name, _ in items)
        at = min(self._menu.at, len(items) - 1)
        self._menu = Menu(tuple(item for _, item in items), at, 14)
        parts = self.query_one(".parts", Choices)
        parts.show(self._menu)
        self._fit()
        self.query_one(DataPreview).show(self._shown())
        self.query_one(".about", Paragraph).show(counts(self._tally) if self._look.format else Notice(""))

    def on_resize(self) -> None:
        """The notice below has taken rows, or given some back."""
        self._fit()

    def _fit(self) -> None:
        """All values, or pages of them where the preview would have no room."""
        rows = min(len(self._menu.items), self.size.height - AROUND - PREVIEW_ROWS)
        self.query_one(".parts", Choices).styles.height = max(1, rows)

    def _parts(self) -> list[tuple[str, bool]]:
        """Parts of the format and whether each is needed."""
        name = self.draft.format if self.draft.format != "auto" else self._look.format
        if not name:
            return []
        shape = row_formats.named(name)
        more = [part for part in shape.may if part != "reasoning_content"]  # another name of thinking
        return [*((part, True) for part in shape.needs), *((part, False) for part in more)]

    def _shown(self) -> PreviewRow | None:
        if not self._look.rows:
            return None
        row = self._look.rows[self._row]
        if isinstance(row, Reject):
            turns: tuple[tuple[str, str], ...] = (("", row.reason), ("row", row.raw))
        else:
            turns = tuple((turn.role, turn.content) for turn in row)
        safe = tuple((guard.one_line(role, 20), guard.clean(text[:TURN_LIMIT]).text) for role, text in turns)
        return PreviewRow(self._row + 1, len(self._look.rows), safe)

    # ------------------------------------------------------------------------------ the keys

    def move(self, by: int) -> None:
        """Another value."""
        self._menu = self._menu.moved(by)
        self.query_one(".parts", Choices).show(self._menu)

    def change(self, by: int) -> None:
        """Another row, format or column."""
        if not self._names:
            return
        name = self._names[self._menu.at]
        if name == "row":
            self._row = (self._row + by) % len(self._look.rows)
            self._list()
            return
        if name == "overlap":
            self.draft = replace(self.draft, allow_overlap=not self.draft.allow_overlap)
            self._list()
            return
        if name == "encoding":
            names = self.draft.encodings
            self.draft = replace(self.draft, encodings=(*names[by:], *names[:by]))
        elif name == "format":
            format = FORMATS[(FORMATS.index(self.draft.format) + by) % len(FORMATS)]
            self.draft = replace(self.draft, format=format, columns={})
        else:
            options = [NO_COLUMN, *self._look.columns]
            now = self.draft.columns.get(name, name if name in self._look.columns else NO_COLUMN)
            chosen = options[(options.index(now) + by) % len(options)]
            columns = {part: column for part, column in self.draft.columns.items() if part != name}
            if chosen not in (NO_COLUMN, name):
                columns[name] = chosen
            self.draft = replace(self.draft, columns=columns)
        self._list()
        self._read()

    def value(self) -> str:
        """What was read."""
        return self._look.format

    def answer(self, value: str) -> Draft:
        """Something that can be read, with at least one row that can be used as far as that is known."""
        if not self._look.columns:
            raise UsageError("The file could not be read, or is still loading.")
        if not value:
            raise UsageError(_what_is_missing(self.draft, self._look))
        if self._tally is not None and self._tally.ended and not self._tally.usable:
            raise UsageError("No usable row. Choose another format or other columns, or press esc for another file.")
        return self.draft


def _what_is_missing(draft: Draft, found: FilePreview) -> str:
    """What to do when the columns are not known."""
    shown = guard.one_line(", ".join(found.columns[:12]), 300)
    if draft.format == "auto":
        return f"No known columns. Columns: {shown}. Choose a format (→ on its row), then map the columns."
    parts: dict[str, list[str]] = {}
    for ours, yours in draft.columns.items():
        parts.setdefault(yours, []).append(ours)
    if twice := next((yours for yours, ours in parts.items() if len(ours) > 1), None):
        return f"{guard.one_line(twice, 60)} cannot be both {' and '.join(parts[twice])}. Press → for another column."
    return f"Map the columns: ↓ for the next part, → for its column. Columns: {shown}."
