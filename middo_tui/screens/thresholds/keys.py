"""The Thresholds screen's keys: move the cut, look at both its sides, apply it."""

from __future__ import annotations

from msgspec import Struct

from middo_tui.keys.tables import Key, word

NEAR, FAR = 0.01, 0.1
"""Sigmas per key press."""


class ThresholdsKeyState(Struct, frozen=True):
    """What the keys depend on. ``ready``: the signals are there. ``seeking``: two groups are being looked for.

    ``moved``: the cuts are not those of config.toml. ``unlike``: the stored selection was made with other cuts.
    ``may_select``: select could run anew at once; ``costs``: only if rewrites are thrown away.
    """

    ready: bool = False
    seeking: bool = False
    rule: str = "sigma"
    moved: bool = False
    unlike: bool = False
    may_select: bool = False
    costs: bool = False


def _ready(state: ThresholdsKeyState) -> bool:
    return state.ready and not state.seeking


def _moves(state: ThresholdsKeyState) -> bool:
    return _ready(state) and state.rule == "sigma"


def _applies(state: ThresholdsKeyState) -> bool:
    return _ready(state) and (state.moved or (state.unlike and state.may_select))


KEYS: tuple[Key[ThresholdsKeyState], ...] = (
    Key(
        id="apply",
        keys=("enter",),
        help="Write the cuts to config.toml; select this round anew where nothing was rewritten yet.",
        label=lambda state: "apply" if state.moved else "select anew",
        works=_applies,
    ),
    Key(
        id="anew",
        keys=("X",),
        help="Throw this round's rewrites away and select it anew (asks first).",
        label=word("select anew"),
        works=lambda state: _ready(state) and state.costs and state.unlike,
    ),
    Key(id="left", keys=("h", "left"), help=f"The cut {NEAR}σ to the left.", label=word("◂"), works=_moves),
    Key(id="right", keys=("l", "right"), help=f"The cut {NEAR}σ to the right.", label=word("▸ cut"), works=_moves),
    Key(
        id="far_left",
        keys=("H", "shift+left"),
        help=f"The cut {FAR}σ to the left.",
        label=word("◂◂"),
        works=_moves,
    ),
    Key(
        id="far_right",
        keys=("L", "shift+right"),
        help=f"The cut {FAR}σ to the right.",
        label=word("▸▸"),
        works=_moves,
    ),
    Key(id="next_axis", keys=("tab",), help="The next axis.", label=word("axis"), works=_ready),
    Key(
        id="previous_axis",
        keys=("shift+tab",),
        help="The axis before.",
        label=word("axis"),
        works=_ready,
        quiet=True,
    ),
    Key(
        id="open",
        keys=("o",),
        help="Look at the selected side on the Samples screen.",
        label=word("samples"),
        works=_ready,
    ),
    Key(
        id="mixture",
        keys=("m",),
        help="Put the cut where two groups part, if there are two.",
        label=word("two groups"),
        works=_moves,
    ),
    Key(
        id="number",
        keys=("equals_sign",),
        help="Type m, then enter.",
        label=word("m"),
        works=_moves,
    ),
    Key(
        id="rule",
        keys=("t",),
        help="The rule for all axes: mean ± m·sigma, or where two groups part.",
        label=lambda state: "rule: sigma" if state.rule == "sigma" else "rule: two groups",
        works=_ready,
    ),
    Key(
        id="reset",
        keys=("r",),
        help="Back to the cuts of config.toml.",
        label=word("reset"),
        works=lambda state: _ready(state) and state.moved,
    ),
)
