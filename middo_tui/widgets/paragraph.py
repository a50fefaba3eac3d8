"""A few rows of wrapped text in one role: notices, questions, explanations. Text comes in clean and is never markup."""

from __future__ import annotations

from rich.cells import cell_len

from middo_tui.terminal import guard
from middo_tui.text.notice import Notice
from middo_tui.widgets.lines import Line, Lines, Run


def wrap(text: str, width: int, most: int) -> list[str]:
    """``text`` in at most ``most`` rows of ``width`` cells; words too long for a row are cut, a cut end shows ``…``."""
    rows: list[str] = []
    for paragraph in text.split("\n"):
        row = ""
        for word in paragraph.split(" "):
            if not row and not word:
                continue  # no row begins with a gap
            if row and cell_len(row) + 1 + cell_len(word) > width:
                rows.append(row)
                row = ""
                if len(rows) > most:
                    break
            row = f"{row} {word}" if row else word
        rows.append(row)
        if len(rows) > most:
            break
    if len(rows) > most:
        rows = [*rows[: most - 1], rows[most - 1] + " " + guard.ELLIPSIS]
    return [guard.fit(row, width).rstrip() for row in rows]


class Paragraph(Lines[Notice]):
    """``wrap`` as a widget, as high as its text up to ``MOST`` rows, or fewer by its style; no text takes one row."""

    DEFAULT_CSS = """
    Paragraph { height: auto; }
    """
    MOST = 4

    def draw(self, data: Notice, width: int, height: int) -> list[Line]:
        """The wrapped rows, one cell from the left edge."""
        most = min(self.MOST, height or self.MOST)  # 0: asked how many it needs
        return [(Run(" " + row, data.role),) for row in wrap(data.text, max(1, width - 2), most)]
