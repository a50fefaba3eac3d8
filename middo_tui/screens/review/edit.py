"""Prompt and response in two boxes to type in. What is kept is what is saved; everything else is as it was."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen
from textual.widgets import TextArea

from middo_tui.text.notice import Notice
from middo_tui.widgets.key_bar import KeyBar
from middo_tui.widgets.paragraph import Paragraph

Texts = tuple[str, str]


class Box(TextArea):
    """Plain text, no frame. It shows raw text, which the guard at the end makes safe; nothing is lost by editing."""

    DEFAULT_CSS = """
    Box, Box:focus { border: none; padding: 0 1; background: $panel; height: 1fr; }
    """

    def __init__(self, text: str, id: str) -> None:
        super().__init__(text, id=id, soft_wrap=True, tab_behavior="focus", highlight_cursor_line=False)
        self.cursor_blink = False


class EditRewrite(ModalScreen[Texts | None]):
    """Dismisses with both texts on ctrl-s, with None when nothing was changed or it was given up."""

    DEFAULT_CSS = """
    EditRewrite { background: $background; layout: vertical; }
    EditRewrite #response { height: 2fr; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "save", "save", show=False, priority=True),
        Binding("escape", "give_up", "back", show=False, priority=True),
    ]

    def __init__(self, prompt: str, response: str) -> None:
        super().__init__()
        self._before = (prompt, response)
        self._warned = False

    def compose(self) -> ComposeResult:
        """Prompt, response, what is wrong, the keys."""
        yield Paragraph(Notice("prompt", "strong"))
        yield Box(self._before[0], id="prompt")
        yield Paragraph(Notice("response", "strong"))
        yield Box(self._before[1], id="response")
        yield Paragraph(Notice(""), id="said")
        yield KeyBar((("ctrl-s", "save"), ("tab", "other box"), ("esc", "back")))

    def on_mount(self) -> None:
        """Type at once, and know what the boxes make of the texts (they know one kind of line end)."""
        self._shown = self._typed()
        self.query_one("#prompt", Box).focus()

    def _typed(self) -> Texts:
        return self.query_one("#prompt", Box).text, self.query_one("#response", Box).text

    def _texts(self) -> Texts:
        """What was typed; a box that nobody changed gives back its text to the character."""
        typed = zip(self._before, self._shown, self._typed(), strict=True)
        prompt, response = (before if now == shown else now for before, shown, now in typed)
        return prompt, response

    def action_save(self) -> None:
        """Close with the texts, if there is anything in both."""
        texts = self._texts()
        empty = [name for name, text in zip(("prompt", "response"), texts, strict=True) if not text.strip()]
        if empty:
            said = f"The {' and the '.join(empty)} must not be empty: a sample needs both."
            self.query_one("#said", Paragraph).show(Notice(said, "bad"))
            return
        self.dismiss(None if texts == self._before else texts)

    def action_give_up(self) -> None:
        """Close; typed text is only discarded the second time."""
        if self._texts() == self._before or self._warned:
            self.dismiss(None)
            return
        self._warned = True
        self.query_one("#said", Paragraph).show(
            Notice("Press ctrl-s to save, or esc again to discard your changes.", "decide")
        )
