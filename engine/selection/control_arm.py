"""What a control selects instead of its round (``engine.store.controls``): the same number of random samples, or
only what the round selected, to be left out.

At random, as many samples are handled as the round handled, in the same ways: as many are asked about, as many of
what differs a second time, as many rewritten on each axis. The round's own control group is asked alike in both.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from engine.chat import batches
from engine.selection import overridden
from engine.selection.choose import Picks, SelectionMasks
from engine.selection.survey import Survey
from engine.signals import held_back
from engine.stage import Ctx
from engine.store.controls import ControlArm
from engine.store.dataset import Dataset
from engine.store.rows import AXES, Rewrite, Row, Selection, unwritable


def of(ctx: Ctx) -> ControlArm | None:
    """What this round is the control of; None for an ordinary one."""
    return next((arm for arm in ctx.rows(ControlArm) if arm.round == ctx.round), None)


def probes(ctx: Ctx, found: Survey, arm: ControlArm) -> list[Row]:
    """Random samples to ask about where evidence selects, the round's own control group, and random cores of new
    samples; with their selections.
    """
    plan: dict[str, Any] = json.loads(arm.plan)
    group = {int(id): int(batch) for id, batch in plan["group"]}
    place = {id: i for i, id in enumerate(found.ids)}
    rng = _random(ctx)
    free = [int(i) for i in np.flatnonzero(found.open) if found.ids[i] not in group]
    drawn = [free[i] for i in rng.permutation(len(free))[: plan["probes"]]]
    asked = [(i, 0, False) for i in drawn] + [(place[id], batch, True) for id, batch in group.items()]
    taken = {i for i, _, _ in asked}
    cores = [int(i) for i in np.flatnonzero(found.cores) if i not in taken]
    new = [cores[i] for i in rng.permutation(len(cores))[: plan["rewrites"]["diversity"]]]
    prompts = {s.id: s.prompt for s in ctx.dataset().take(sorted(found.ids[i] for i in taken))}
    rows: list[Row] = [found.probe(ctx.round, i, prompts, control, batch) for i, batch, control in asked]
    for i in new:
        similarity = float(found.similarity[i])
        rows.append(Rewrite(ctx.round, found.ids[i], "diversity", "owed", batch=1))
        rows.append(Selection(ctx.round, found.ids[i], "diversity", similarity, similarity))
    return rows


def again(arm: ControlArm, probes: Sequence[Rewrite]) -> list[Rewrite]:
    """Of what differs, as many as the round asked about a second time."""
    differing = [row for row in probes if row.state == "proposed" and not row.control]
    return differing[: json.loads(arm.plan).get("again", 0)]


def left_out(ctx: Ctx, arm: ControlArm) -> list[Row]:
    """The selections of the round, for a control that only leaves them out; none where its dataset stays as it was."""
    return [Selection(ctx.round, *row) for row in json.loads(arm.plan)["selected"]]


def at_random(ctx: Ctx, data: Dataset, arm: ControlArm) -> SelectionMasks:
    """As many samples on each axis as the round rewrote, where thresholds select."""
    wanted: dict[str, int] = json.loads(arm.plan)["rewrites"]
    held = overridden.overrides(ctx).keys() | held_back.held(ctx).keys()
    free = [i for i, s in enumerate(data) if s.id not in held and not unwritable(s.messages)]
    order = [free[i] for i in _random(ctx).permutation(len(free))]
    chosen: Picks = {}
    for axis in AXES:
        taken, order = order[: wanted[axis]], order[wanted[axis] :]
        chosen[axis] = np.zeros(len(data), dtype=np.bool_)
        chosen[axis][taken] = True
    return SelectionMasks(chosen, chosen, 0)


def _random(ctx: Ctx) -> np.random.Generator:
    return np.random.default_rng(batches.seed(ctx.config.project.seed, ctx.round, "random control"))
