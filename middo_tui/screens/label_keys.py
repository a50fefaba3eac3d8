"""The Label screen's keys."""

from __future__ import annotations

from msgspec import Struct

from middo_tui.keys.tables import Key, word


class LabelKeyState(Struct, frozen=True):
    """``drawn``: samples are drawn; ``scored``: some could be; ``report``: the report is shown; ``labelled``: the one
    that is shown has a label; ``given``: any has.
    """

    drawn: bool = False
    scored: bool = False
    report: bool = False
    labelled: bool = False
    given: bool = False


def _asked(state: LabelKeyState) -> bool:
    return state.drawn and not state.report


KEYS: tuple[Key[LabelKeyState], ...] = (
    Key("draw", ("enter",), "Draw 80 samples to label.", word("draw 80 samples"),
        lambda state: state.scored and not state.drawn),
    Key("good", ("g",), "This sample is good.", word("good"), _asked),
    Key("flawed", ("f",), "This sample is flawed; then which kind.", word("flawed"), _asked),
    Key("unlabel", ("u",), "Remove this sample's label.", word("remove label"),
        lambda state: _asked(state) and state.labelled),
    Key("next", ("j", "down"), "Go to the next sample.", word("next"), _asked),
    Key("previous", ("k", "up"), "Go to the previous sample.", word("previous"), _asked),
    Key("scroll_down", ("J", "space", "pagedown"), "Scroll the text down.", word("scroll"), _asked, quiet=True),
    Key("scroll_up", ("K", "pageup"), "Scroll the text up.", word("scroll"), _asked, quiet=True),
    Key(
        id="report",
        keys=("r",),
        help="Show what the labels say about the signals, or continue labelling.",
        label=lambda state: "label" if state.report else "report",
        works=lambda state: state.given,
    ),
)  # fmt: skip
