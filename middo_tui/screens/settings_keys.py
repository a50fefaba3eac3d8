"""The Settings screen's keys."""

from __future__ import annotations

from msgspec import Struct

from middo_tui.keys.tables import Key, always, word


class SettingsState(Struct, frozen=True):
    """``row``: the cursor is on a setting of the project. ``changed``: it is not the default. ``theme``: it is on the
    theme. ``editing``: a value is being typed. ``some``: there is something to move over.
    """

    row: bool = False
    changed: bool = False
    theme: bool = False
    editing: bool = False
    only_changed: bool = False
    some: bool = False


def _moves(state: SettingsState) -> bool:
    return state.some and not state.editing


KEYS: tuple[Key[SettingsState], ...] = (
    Key(
        id="edit",
        keys=("enter",),
        help="Edit the value; Enter saves it to config.toml. On the theme: choose the next one.",
        label=lambda state: "next theme" if state.theme else "edit",
        works=lambda state: (state.row or state.theme) and not state.editing,
    ),
    Key(
        id="reset",
        keys=("d",),
        help="Reset to the default.",
        label=word("default"),
        works=lambda state: state.row and state.changed and not state.editing,
    ),
    Key(
        id="only_changed",
        keys=("c",),
        help="Show only changed settings, or all.",
        label=lambda state: "all" if state.only_changed else "only changed",
        works=lambda state: not state.editing,
    ),
    Key("down", ("down", "j"), "Go to the next setting.", word("next"), _moves, quiet=True),
    Key("up", ("up", "k"), "Go to the previous setting.", word("previous"), _moves, quiet=True),
    Key("next_section", ("right_square_bracket", "tab"), "Go to the next section.", word("section"), _moves),
    Key(
        id="previous_section",
        keys=("left_square_bracket", "shift+tab"),
        help="Go to the previous section.",
        label=word("previous section"),
        works=_moves,
        quiet=True,
    ),
    Key("page_down", ("pagedown", "ctrl+d"), "Page down.", word("page"), _moves, quiet=True),
    Key("page_up", ("pageup", "ctrl+u"), "Page up.", word("page"), _moves, quiet=True),
    Key("reload", ("r",), "Reload config.toml.", word("reload"), always, quiet=True),
)
