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
    Key(
        "next_reason",
        ("tab", "right_square_bracket"),
        "Show rows with the next reason.",
        word("next reason"),
        _reasons,
    ),
    Key(
        id="previous_reason",
        keys=("shift+tab", "left_square_bracket"),
        help="Show rows with the previous reason.",
        label=word("previous reason"),
        works=_reasons,
        quiet=True,
    ),
    Key("down", ("down", "j"), "Go to the next row.", word("next"), _some, quiet=True),
    Key("up", ("up", "k"), "Go to the previous row.", word("previous"), _some, quiet=True),
    Key("page_down", ("pagedown", "ctrl+d"), "Page down.", word("page"), _some, quiet=True),
    Key("page_up", ("pageup", "ctrl+u"), "Page up.", word("page"), _some, quiet=True),
    Key("reload", ("r",), "Reload the quarantine.", word("reload"), always, quiet=True),
)
