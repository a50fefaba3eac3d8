"""The Quarantine screen's keys."""

from __future__ import annotations

from msgspec import Struct

from middo_tui.keys.tables import Key, always, word


class QuarantineState(Struct, frozen=True):
    """``some``: there are rows. ``reasons``: there is more than one reason."""

    some: bool = False
    reasons: bool = False


def _some(state: QuarantineState) -> bool:
    return state.some


def _reasons(state: QuarantineState) -> bool:
    return state.reasons


KEYS: tuple[Key[QuarantineState], ...] = (
    Key("next_reason", ("tab", "right_square_bracket"), "Only rows of the next reason.", word("next reason"), _reasons),
    Key(
        id="previous_reason",
        keys=("shift+tab", "left_square_bracket"),
        help="Only rows of the reason before.",
        label=word("reason before"),
        works=_reasons,
        quiet=True,
    ),
    Key("down", ("down", "j"), "The next row.", word("next"), _some, quiet=True),
    Key("up", ("up", "k"), "The row before.", word("before"), _some, quiet=True),
    Key("page_down", ("pagedown", "ctrl+d"), "A page down.", word("page"), _some, quiet=True),
    Key("page_up", ("pageup", "ctrl+u"), "A page up.", word("page"), _some, quiet=True),
    Key("again", ("r",), "Read the quarantine again.", word("read again"), always, quiet=True),
)
