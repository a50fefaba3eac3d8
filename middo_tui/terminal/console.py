"""Prints text that may come from data, with control characters made visible. Loads no Textual.

``clean`` is the edge of every screen too; ``guard`` has what only screens need.
"""

from __future__ import annotations

import json
import re
import sys
from typing import Any, NamedTuple

TAB = "    "
NEWLINE = "⏎"
ELLIPSIS = "…"
INDENT = "  "

# Characters that draw nothing themselves, reorder what is drawn, or speak to the terminal. U+FE0F (emoji presentation)
# and combining accents are left alone: they are ordinary in text and change nothing but the glyph before them.
INVISIBLE = (
    "\u00ad\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0e\ufeff\uffa0\ufff9-\ufffb\ufffe\uffff\U000e0000-\U000e0fff"
)
SURROGATES = "\ud800-\udfff"
HIDDEN = re.compile(f"[\x00-\x08\x0b-\x1f\x7f-\x9f{INVISIBLE}{SURROGATES}]")


class Cleaned(NamedTuple):
    """Text that is safe to paint, and how many characters of it had been hidden."""

    text: str
    hidden: int


def _visible(match: re.Match[str]) -> str:
    """A control picture where Unicode has one, the code point in brackets otherwise."""
    code = ord(match.group())
    if code < 0x20:
        return chr(0x2400 + code)
    return "\N{SYMBOL FOR DELETE}" if code == 0x7F else f"⟨U+{code:04X}⟩"


def clean(text: str) -> Cleaned:
    """Make ``text`` safe to show over several lines: newlines stay, tabs become spaces, the rest becomes visible."""
    text, hidden = HIDDEN.subn(_visible, text.replace("\r\n", "\n"))
    return Cleaned(text.replace("\t", TAB), hidden)


def one_line(text: str, limit: int = 400) -> str:
    """``text`` for a single row: cleaned, newlines as a sign, cut to ``limit`` characters *before* the work is done."""
    short = text[:limit]
    line = clean(short).text.replace("\n", NEWLINE)
    return line + ELLIPSIS if len(text) > limit else line


def hides(text: str) -> bool:
    """Whether ``clean`` would find a hidden character (also in a line end ``\\r\\n``): quicker, for searching."""
    return HIDDEN.search(text) is not None


def say(text: str, err: bool = False, wrap: bool = False) -> None:
    """Print ``text``, which may hold names and words from data, so that the terminal acts on none of it.

    Args:
        wrap: on a terminal break lines between words, not where the row ends. What is piped stays as it is.
    """
    import click  # here, because the app cleans text too and prints none

    text = clean(text).text
    if wrap and (sys.stderr if err else sys.stdout).isatty():
        import shutil

        text = wrapped(text, shutil.get_terminal_size().columns)
    try:
        click.echo(text, err=err)
    except UnicodeEncodeError:  # a locale without these characters
        code = (sys.stderr if err else sys.stdout).encoding
        click.echo(text.encode(code, "replace").decode(code), err=err)


def wrapped(text: str, columns: int) -> str:
    """``text`` with lines of at most ``columns`` cells, broken at spaces; the rest of a line is indented. A command in
    backticks stays in one piece where it fits.
    """
    return "\n".join(_wrap(line, columns) for line in text.split("\n"))


def _wrap(line: str, columns: int) -> str:
    from rich.cells import cell_len  # only where lines are broken

    if cell_len(line) <= columns:
        return line
    rows = [""]
    for word in _words(line, columns - len(INDENT)):
        longer = f"{rows[-1]}{word}"
        if cell_len(longer.rstrip(" ")) <= columns or not rows[-1].strip():
            rows[-1] = longer
        else:
            rows[-1] = rows[-1].rstrip(" ")
            rows.append(INDENT + word)
    return "\n".join(rows)


def _words(line: str, columns: int) -> list[str]:
    """The words of a line, each with the space behind it; what stands in backticks is one, if it is no longer than
    ``columns``.
    """
    found: list[str] = []
    for at, part in enumerate(line.split("`")):
        whole = at % 2 == 1 and len(part) + 2 <= columns
        pieces = [part] if whole else [f"{word} " for word in part.split(" ")]
        if not whole:
            pieces[-1] = pieces[-1][:-1]
        pieces[0] = f"{'`' if at else ''}{pieces[0]}"
        if found and not found[-1].endswith(" "):
            pieces[0] = found.pop() + pieces[0]
        found += pieces
    return found


def say_json(value: Any) -> None:
    """Print ``value`` as one line of JSON that reads back as it was, with all that a terminal may act on escaped."""
    import click

    try:
        click.echo(HIDDEN.sub(_escaped, json.dumps(value, ensure_ascii=False)))
    except UnicodeEncodeError:
        click.echo(json.dumps(value))


def _escaped(match: re.Match[str]) -> str:
    return json.dumps(match.group())[1:-1]
