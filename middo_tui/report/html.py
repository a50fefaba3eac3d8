"""HTML as strings that escape by default: what is not ``Markup`` is text, cleaned of hidden characters first."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from middo_tui.terminal.console import clean

VOID = frozenset({"meta", "br", "line", "circle", "rect", "polyline"})
"""Elements without content; those of SVG close themselves."""


class Markup(str):
    """Text that is HTML already, built by this module."""

    __slots__ = ()


def text(words: str) -> Markup:
    """``words`` as they are, for a reader: no tag, no entity, and every control or bidi mark visible."""
    return words if isinstance(words, Markup) else Markup(escape(clean(words).text))


def tag(name: str, /, *children: str, **attributes: str | float) -> Markup:
    """An element. Underscores at the end of an attribute's name go (``class_``), others become hyphens."""
    named = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(clean(_written(value)).text)}"'
        for key, value in attributes.items()
    )
    if name in VOID:
        return Markup(f"<{name}{named}/>")
    return Markup(f"<{name}{named}>{joined(children)}</{name}>")


def joined(children: Iterable[str]) -> Markup:
    """Children one after another; what is not Markup becomes text."""
    return Markup("".join(text(child) for child in children))


def table(head: Iterable[str], rows: Iterable[Iterable[str]], words: int = 1) -> Markup:
    """A table; all columns but the first ``words`` hold numbers."""

    def line(cells: Iterable[str], kind: str) -> Markup:
        filled = (tag(kind, cell, class_="words" if at < words else "number") for at, cell in enumerate(cells))
        return tag("tr", *filled)

    body = [line(row, "td") for row in rows]
    inner = tag("table", tag("thead", line(head, "th")), tag("tbody", *body))
    return tag("div", inner, class_="wide")


def _written(value: str | float) -> str:
    return f"{value:.1f}" if isinstance(value, float) else str(value)
