"""The Thresholds screen's keys: move the cut, look at both its sides, apply it."""

from __future__ import annotations

from msgspec import Struct

from middo_tui.keys.tables import Key, word

NEAR, FAR = 0.01, 0.1
"""Sigmas per key press."""


class ThresholdsKeyState(Struct, frozen=True):
    """What the keys depend on. ``ready``: the signals are there. ``seeking``: two groups are being looked for.

    ``moved``: the thresholds are not those of config.toml. ``unlike``: the stored selection was made with others.
    ``may_select``: select can be redone at once; ``costs``: only if rewrites are discarded.
    ``evidence``: by config.toml evidence selects, and applying thresholds switches to their rule.
    """

    ready: bool = False
    seeking: bool = False
    rule: str = "sigma"
    moved: bool = False
    unlike: bool = False
    may_select: bool = False
    costs: bool = False
    evidence: bool = False


def _ready(state: ThresholdsKeyState) -> bool:
    return state.ready and not state.seeking


def _moves(state: ThresholdsKeyState) -> bool:
    return _ready(state) and state.rule == "sigma"


def _applies(state: ThresholdsKeyState) -> bool:
    return _ready(state) and (state.moved or state.evidence or (state.unlike and state.may_select))


KEYS: tuple[Key[ThresholdsKeyState], ...] = (
    Key(
        id="apply",
        keys=("enter",),
        help="Write the thresholds and their rule to config.toml; redo the selection if nothing was rewritten yet.",
        label=lambda state: "switch rule" if state.evidence else "apply" if state.moved else "redo select",
        works=_applies,
    ),
    Key(
        id="redo",
        keys=("X",),
        help="Discard this round's rewrites and redo the selection (asks first).",
        label=word("redo select"),
        works=lambda state: _ready(state) and state.costs and state.unlike,
    ),
    Key(id="left", keys=("h", "left"), help=f"Move the threshold {NEAR}σ left.", label=word("◂"), works=_moves),
    Key(id="right", keys=("l", "right"), help=f"Move the threshold {NEAR}σ right.", label=word("▸ move"), works=_moves),
    Key(
        id="far_left",
        keys=("H", "shift+left"),
        help=f"Move the threshold {FAR}σ left.",
        label=word("◂◂"),
        works=_moves,
    ),
    Key(
        id="far_right",
        keys=("L", "shift+right"),
        help=f"Move the threshold {FAR}σ right.",
        label=word("▸▸"),
        works=_moves,
    ),
    Key(id="next_axis", keys=("tab",), help="Go to the next axis.", label=word("axis"), works=_ready),
    Key(
        id="previous_axis",
        keys=("shift+tab",),
        help="Go to the previous axis.",
        label=word("axis"),
        works=_ready,
        quiet=True,
    ),
    Key(
        id="open",
        keys=("o",),
        help="Show the samples past the threshold on the Samples screen.",
        label=word("samples"),
        works=_ready,
    ),
    Key(
        id="mixture",
        keys=("m",),
        help="Move the threshold to the bimodal split, if there is one.",
        label=word("bimodal"),
        works=_moves,
    ),
    Key(
        id="number",
        keys=("equals_sign",),
        help="Type the threshold in sigmas (m).",
        label=word("set m"),
        works=_moves,
    ),
    Key(
        id="rule",
        keys=("t",),
        help="Switch the rule for all axes: mean ± m·sigma, or bimodal split.",
        label=lambda state: "rule: sigma" if state.rule == "sigma" else "rule: bimodal",
        works=_ready,
    ),
    Key(
        id="lenses",
        keys=("v",),
        help="Show how the lenses (end of turn, IFD, worst window) are distributed.",
        label=word("lenses"),
        works=_ready,
    ),
    Key(
        id="counts",
        keys=("y",),
        help="Draw the counts on a linear, logarithmic or square-root axis.",
        label=word("axis"),
        works=_ready,
        quiet=True,
    ),
    Key(
        id="cursor_right",
        keys=("greater_than_sign",),
        help="Move a cursor over the histograms: how many samples are there.",
        label=word("cursor"),
        works=_ready,
        quiet=True,
    ),
    Key(
        id="cursor_left",
        keys=("less_than_sign",),
        help="Move the histograms' cursor left.",
        label=word("cursor"),
        works=_ready,
        quiet=True,
    ),
    Key(
        id="reset",
        keys=("r",),
        help="Reset to the thresholds in config.toml.",
        label=word("reset"),
        works=lambda state: _ready(state) and state.moved,
    ),
)
