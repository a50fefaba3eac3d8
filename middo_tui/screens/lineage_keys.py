"""The Lineage screen's keys: find a sample, move over its versions, look at one, go on with it elsewhere."""

from __future__ import annotations

from msgspec import Struct

from middo_tui.keys.tables import Key, always, word


class LineageKeyState(Struct, frozen=True):
    """What the keys depend on. ``family``: one is shown, otherwise samples to begin with; ``rows``: of either.

    ``text``: the keys scroll the text; ``rewrite``: what the cursor is on is, or was made by, a rewrite.
    """

    family: bool = False
    rows: int = 0
    text: bool = False
    rewrite: bool = False


def _rows(state: LineageKeyState) -> bool:
    return state.rows > 1 or state.text


def _family(state: LineageKeyState) -> bool:
    return state.family


KEYS: tuple[Key[LineageKeyState], ...] = (
    Key(
        id="open",
        keys=("enter",),
        help="Show all versions of this sample.",
        label=word("show its versions"),
        works=lambda state: not state.family and state.rows > 0,
    ),
    Key(
        id="down",
        keys=("j", "down"),
        help="The next version, or further down in the text.",
        label=lambda state: "scroll" if state.text else "version" if state.family else "down",
        works=_rows,
    ),
    Key(id="up", keys=("k", "up"), help="Back up.", label=word("up"), works=_rows, quiet=True),
    Key(id="first", keys=("g", "home"), help="To the first.", label=word("first"), works=_rows, quiet=True),
    Key(id="last", keys=("G", "end"), help="To the last.", label=word("last"), works=_rows, quiet=True),
    Key(
        id="tab",
        keys=("tab",),
        help="Between the versions and the text.",
        label=lambda state: "to the versions" if state.text else "to the text",
        works=_family,
    ),
    Key(id="page_down", keys=("pagedown", "ctrl+d"), help="The text further down.", label=word("more"), works=_family,
        quiet=True),
    Key(id="page_up", keys=("pageup", "ctrl+u"), help="The text back up.", label=word("up"), works=_family, quiet=True),
    Key(id="samples", keys=("o",), help="This version on the Samples screen.", label=word("in Samples"), works=_family),
    Key(
        id="review",
        keys=("r",),
        help="The rewrite that made it, on the Review screen.",
        label=word("its rewrite"),
        works=lambda state: state.family and state.rewrite,
    ),
    Key(id="find", keys=("slash",), help="Another sample: #120, an id, or words of its text.", label=word("find"),
        works=always),
    Key(id="list", keys=("s",), help="The samples that were changed most.", label=word("most changed"), works=_family),
)  # fmt: skip
