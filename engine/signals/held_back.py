"""Flagged samples are held back: no model sees them ([data] injection = "hold").

A rating might be what the sample's own text demands, so it gets none, with the reason. The teacher sees it only if a
person has requested its rewrite, and its prompt is not used as an example for others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from engine.plurals import counted
from engine.signals.rating_rows import row_of
from engine.signals.ratings import Rated
from engine.stage import Ctx
from engine.store.rows import Override, Ratings

HELD = "not rated: possible prompt injection"
"""The beginning of the reason that stands in place of a flagged sample's rating."""


def held(ctx: Ctx) -> Mapping[int, str]:
    """The samples of the round that are held back: id -> what was found."""
    return ctx.dataset().flagged if ctx.config.data.injection == "hold" else {}


def settled(rows: Iterable[Ratings], held: Mapping[int, str]) -> set[int]:
    """The samples of ``rows`` that need no rating any more: all but those that were held back and no longer are."""
    return {row.sample_id for row in rows if row.sample_id in held or not (row.judge_error or "").startswith(HELD)}


def hold_back(ctx: Ctx, held: Mapping[int, str], rated: Iterable[int]) -> None:
    """Save rows without ratings for held samples that have no row yet (``rated``: ids that have one), and log it."""
    there = set(rated)
    rows = [
        row_of(ctx.round, id, Rated(None, None, None, f"{HELD}: {why}")) for id, why in held.items() if id not in there
    ]
    if rows:
        ctx.save(rows)
        one, many = "sample is not rated", "samples are not rated"
        ctx.event(f"{counted(len(rows), one, many)}: possible prompt injection", "warning")


def approved(ctx: Ctx) -> set[int]:
    """The samples whose rewrite a person requested for this round."""
    return {row.sample_id for row in ctx.rows(Override) if row.action == "rewrite" and row.met_round == ctx.round}
