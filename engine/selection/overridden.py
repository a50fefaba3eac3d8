"""What a person wants of single samples, as the select stage sees it (``engine.store.overrides``).

A dropped or protected sample is not selected, whatever its signals say. A sample whose rewrite was requested is
selected on the axis that the person named, beside what the rule selects and beyond any cap; the round that does so ends
the request.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from msgspec.structs import replace

from engine.selection import choose
from engine.selection.choose import Values
from engine.stage import Ctx
from engine.store.dataset import Dataset
from engine.store.rows import AXES, Override, Rewrite, Row, Selection, unwritable


def overrides(ctx: Ctx) -> dict[int, Override]:
    """The overrides that hold in this round, by sample id."""
    return {row.sample_id: row for row in ctx.rows(Override) if row.met_round in (None, ctx.round)}


def requested(ctx: Ctx, held: Mapping[int, Override], data: Dataset, values: Values) -> list[Row]:
    """The selections and pending rewrites of samples whose rewrite a person requested, and the requests as met.

    ``held``: the overrides that hold in this round (``overrides``). A requested selection has an infinite
    threshold, so that every value is past it.
    """
    out: list[Row] = []
    places = [i for i, id in enumerate(data.ids) if id in held and held[id].action == "rewrite"]
    for place, sample in zip(places, data.take([data.ids[i] for i in places]), strict=True):
        row = held[sample.id]
        if unwritable(sample.messages):
            continue
        axis = next(axis for axis in AXES if axis == row.axis)
        signal = choose.BY_NAME[choose.shown_signal(axis)]
        past = float("-inf") if signal.side == "above" else float("inf")
        value = float(np.nan_to_num(values[signal.name][place]))  # 0 where there is none: the store takes no NaN
        out += [
            Selection(ctx.round, sample.id, axis, value, past),
            Rewrite(ctx.round, sample.id, axis, "owed"),
            replace(row, met_round=ctx.round),
        ]
    return out
