"""A line to type in: Textual's input without its frame and its blinking."""

from __future__ import annotations

from textual.widgets import Input


class TextInput(Input):
    """One row. Its text is what a person typed; what is painted of it passes the guard like everything else."""

    DEFAULT_CSS = """
    TextInput, TextInput:focus { border: none; height: 1; padding: 0 1; background: $background; color: $foreground; }
    TextInput:focus { background-tint: transparent; }
    """

    def __init__(self, value: str = "", *, placeholder: str = "", id: str | None = None) -> None:
        super().__init__(value, placeholder=placeholder, id=id, select_on_focus=False, compact=True)
        self.cursor_blink = False
