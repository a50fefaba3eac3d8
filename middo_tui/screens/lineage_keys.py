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
        label=word("show versions"),
        works=lambda state: not state.family and state.rows > 0,
    ),
    Key(
        id="down",
        keys=("j", "down"),
        help="Next version, or scroll the text down.",
        label=lambda state: "scroll" if state.text else "version" if state.family else "down",
        works=_rows,
    ),
    Key("up", ("k", "up"), "Previous version, or scroll the text up.", word("up"), _rows, quiet=True),
    Key("first", ("g", "home"), "First version, or top of the text.", word("first"), _rows, quiet=True),
    Key("last", ("G", "end"), "Last version, or end of the text.", word("last"), _rows, quiet=True),
    Key(
        id="tab",
        keys=("tab",),
        help="Switch between the versions and the text.",
        label=lambda state: "versions" if state.text else "text",
        works=_family,
    ),
    Key(id="page_down", keys=("pagedown", "ctrl+d"), help="Scroll the text down.", label=word("more"), works=_family,
        quiet=True),
    Key("page_up", ("pageup", "ctrl+u"), "Scroll the text up.", word("up"), _family, quiet=True),
    Key("samples", ("o",), "Show this version on the Samples screen.", word("samples"), _family),
    Key(
        id="review",
        keys=("r",),
        help="Show its rewrite on the Review screen.",
        label=word("review"),
        works=lambda state: state.family and state.rewrite,
    ),
    Key(id="find", keys=("slash",), help="Find another sample: #120, an id, or words of its text.", label=word("find"),
        works=always),
    Key("list", ("s",), "List the samples with the most rewrites.", word("most rewritten"), _family),
)  # fmt: skip
