"""A thin rule between tasks: the only border there is."""

from __future__ import annotations

from middo_tui.widgets.lines import Line, Lines, Run


class Divider(Lines[None]):
    """One row of line."""

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(None, id=id, classes=classes)

    def draw(self, data: None, width: int, height: int) -> list[Line]:
        """The rule."""
        return [(Run("─" * width, "faint"),)]
