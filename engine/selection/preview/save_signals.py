"""Keeps a round's signals for its preview (``saved_signals`` beside this), while the select stage has them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from engine.files import durable
from engine.selection.choose import Values
from engine.selection.preview import build
from engine.selection.preview.round_arrays import Round, mean_prompt
from engine.signals import held_back
from engine.stage import Ctx
from engine.store.dataset import Dataset
from engine.store.rows import PREVIEW, Losses, unwritable
from engine.teacher import forecast

NAME = "signals.mapped"


def keep(ctx: Ctx, data: Dataset, values: Values, believed: bool) -> None:
    """Write the file and name it in the store.

    Args:
        data: the round's dataset. values: its signals in dataset order.
        believed: the quality axis may select.
    """
    lengths = {row.sample_id: (row.prompt_tokens or 0, row.response_tokens or 0) for row in ctx.rows(Losses)}
    tokens = np.array([lengths.get(id, (0, 0)) for id in data.ids], dtype=np.int64).reshape(-1, 2).T
    ids = np.array(data.ids, dtype=np.int64)
    held = held_back.held(ctx)
    fixed = np.fromiter((s.id in held or bool(unwritable(s.messages)) for s in data), np.bool_, len(data))
    few = data.take(data.ids[: forecast.EXAMPLES])
    first = [(forecast.before_answer(s.messages), lengths.get(s.id, (0, 0))[0]) for s in few]
    sent = forecast.requests(mean_prompt(tokens), ctx.config, ctx.project, [one for one in first if one[1]])
    made = Round(ctx.round, ids, values, tokens, sent, fixed)
    written = write(ctx.workdir(PREVIEW), made, believed, forecast.asked_with(ctx.config, ctx.project, sorted(held)))
    ctx.publish(PREVIEW, written, {"rows": len(data)})


def write(folder: Path, data: Round, believed: bool, asked: str) -> Path:
    """Write the file, whole or not at all; one that the app has mapped stays as it is."""
    new, file = folder / f"{NAME}.new", folder / NAME
    with new.open("wb") as out:
        build.prepare(data, believed, asked, out)
    durable.replace(new, file)
    return file
