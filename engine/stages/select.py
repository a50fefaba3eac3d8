"""Which samples are rewritten this round, and why.

Per axis a sample is selected when it lies beyond the round's cut (``engine.selection.choose``: mean ± m·sigma, or a
mixture's cut). On top of that, unless ``select.parity`` is "reference":

- floor: a later round selects only what is also beyond round 0's cut, because a relative cut keeps selecting after the
  data is clean;
- memory: what was rewritten before without getting better is not selected again on a replacing axis, and a core prompt
  inspires one new sample at most once;
- cap: at most ``select.max_share`` of the dataset is rewritten in a round, the worst first (in sigmas beyond the mean).

A sample selected for both complexity and quality is rewritten once, for the first of ``merge.order``. ``m`` stays
configurable with parity "reference"; the reference scripts use 1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from engine.errors import StageError
from engine.plurals import counted
from engine.selection import choose, control_arm, overridden, probing
from engine.selection.choose import SIGNALS, Earlier, Lineage, Picks, SelectionMasks, Try, Values
from engine.selection.preview.save_signals import keep
from engine.selection.survey import FALSE_ALARMS, by_evidence, survey
from engine.signals import held_back, judge_trust
from engine.signals.nearest import Floats
from engine.stage import Ctx
from engine.store.controls import ControlArm
from engine.store.dataset import Dataset
from engine.store.rows import (
    AXES,
    Losses,
    Neighbourhood,
    Ratings,
    Rewrite,
    Row,
    Sample,
    Selection,
    Threshold,
    Verdict,
    unwritable,
)
from engine.teacher.budget import save_forecast
from engine.teacher.job import RewriteJob


def run(ctx: Ctx) -> None:
    """Write this round's thresholds, selections and pending rewrites in one transaction."""
    ctx.begin(1)
    arm = control_arm.of(ctx)
    if arm is not None and arm.kind != "random":
        _leave_out(ctx, arm)
    elif by_evidence(ctx):
        _begin_evidence(ctx)
    else:
        _past_thresholds(ctx, arm)


def _past_thresholds(ctx: Ctx, arm: ControlArm | None) -> None:
    """Select what lies past the thresholds, or as many samples at random for a control's ``arm``."""
    settings, data = ctx.config.select, ctx.dataset()
    values, believed = _measured(ctx, data)
    held = overridden.overrides(ctx)
    asked = overridden.requested(ctx, held, data, values)
    earlier = Earlier.of([ctx.rows(Threshold, r) for r in range(ctx.round)], ctx.config)
    thresholds = choose.cuts(values, settings, earlier, ctx.round)
    past, lost = writable(choose.beyond_all(values, thresholds), data)
    flagged = held_back.held(ctx)
    back = np.fromiter((id in flagged for id in data.ids), np.bool_, len(data))
    ruled = np.fromiter((id not in held for id in data.ids), np.bool_, len(data)) & ~back
    picks: Picks = {axis: past[axis] & ruled for axis in AXES}
    tried = remembered(ctx, data) if settings.parity == "ours" and settings.remember else {}
    fresh: Picks = {axis: picks[axis] & ~tried[axis] if axis in tried else picks[axis] for axis in AXES}
    most = choose.rewrite_cap(settings, len(data))
    chosen = choose.choose(
        fresh, lambda: choose.ranked(choose.badness(values, thresholds)), ctx.config.merge.order, most
    )
    if arm is not None:
        chosen, picks = control_arm.at_random(ctx, data, arm), fresh
    if ctx.config.merge.flawed == "drop":  # the merge drops what these axes selected: no teacher is needed
        nobody = np.zeros(len(data), dtype=np.bool_)
        chosen = replace(chosen, pending={**chosen.pending, "complexity": nobody, "quality": nobody})
    ctx.save([*_rows(ctx.round, data.ids, values, thresholds, chosen), *asked], done=1)
    skipped = sum(int((picks[axis] & ~fresh[axis]).sum()) for axis in AXES)
    ctx.event(describe(chosen, len(data), skipped))
    _tell_requested(ctx, asked)
    _tell_left_out(ctx, lost, int(np.logical_or.reduce([past[axis] & back for axis in AXES]).sum()))
    save_forecast(ctx, RewriteJob.begin(ctx))
    for name in (s.name for s in SIGNALS if s.name not in thresholds and (believed or s.name != "quality")):
        ctx.event(f"no sample has {name}, so its axis selected nothing", "warning")
    for text in (f"{t.signal}: {said}" for t in thresholds.values() if (said := choose.verdict(t))):
        ctx.event(text)


def _tell_left_out(ctx: Ctx, lost: Mapping[str, int], flagged: int) -> None:
    """Samples past a threshold that are not selected: why a rewrite would lose content, how many are flagged."""
    if lost:
        why = ", ".join(f"{reason} {count}" for reason, count in sorted(lost.items()))
        skips = counted(sum(lost.values()), "sample past a threshold is", "samples past a threshold are")
        ctx.event(f"{skips} skipped because a rewrite would lose content: {why}")
    if flagged:
        kept = counted(flagged, "sample past a threshold is", "samples past a threshold are")
        ctx.event(f"{kept} held back: possible prompt injection", "warning")


def _leave_out(ctx: Ctx, arm: ControlArm) -> None:
    """A control without a teacher: what its round selected is left out by the merge, or nothing is."""
    rows = control_arm.left_out(ctx, arm)
    mark = [probing.nothing_asked(ctx)] if by_evidence(ctx) else []
    ctx.save([*mark, *rows], done=1)
    left = counted(len(rows), "sample that the round selected is", "samples that the round selected are")
    ctx.event(f"control: {left} left out" if rows else "control: no change")


def _begin_evidence(ctx: Ctx) -> None:
    """Nothing is selected yet: the first batch of samples that the teacher is asked about, and what the signals are
    compared with when a rewrite is verified.
    """
    found = survey(ctx)
    if not np.isfinite(found.scores).any():
        raise StageError(_no_scores(ctx))
    data = ctx.dataset()
    values, _ = _measured(ctx, data)
    thresholds = choose.cuts(values, ctx.config.select, Earlier({}), ctx.round)
    asked = overridden.requested(ctx, overridden.overrides(ctx), data, values)
    arm = control_arm.of(ctx)
    first = probing.first(ctx, found) if arm is None else probing.at_random(ctx, found, arm)
    ctx.save([*thresholds.values(), *first, *asked], done=1)
    _tell_requested(ctx, asked)
    save_forecast(ctx, RewriteJob.begin(ctx))
    for name in (s.name for s in SIGNALS if s.name not in thresholds and s.name != "quality"):
        ctx.event(f"no sample has {name}", "warning")
    if arm is not None:
        ctx.event("control: the teacher is asked about random samples, as many as the round asked about")
        return
    ctx.event(
        f"the teacher is asked about the samples that look most flawed, {len(found.order):,} of {len(found.ids):,}, in"
        " batches until it no longer pays"
        if len(found.order)
        else "no sample is left to ask about"
    )


def _no_scores(ctx: Ctx) -> str:
    """Why no sample has a flaw score, and what to do."""
    scored = ctx.rows(Losses)
    errors = [row.score_error for row in scored if row.score_error]
    if errors and len(errors) == len(scored):
        return f"round {ctx.round}: none of {counted(len(errors), 'sample')} could be scored, e.g.: {errors[0]}."
    return (
        f"round {ctx.round} has no flaw scores: it was scored by an older version, or its answers are too short for the"
        ' lenses. Run with --redo score; if that does not help, select with [select] threshold = "sigma".'
    )


def _tell_requested(ctx: Ctx, asked: Sequence[Row]) -> None:
    count = sum(isinstance(row, Rewrite) for row in asked)
    if count:
        ctx.event(f"{count} {'rewrite was' if count == 1 else 'rewrites were'} requested by hand")


def writable(picks: Picks, data: Iterable[Sample]) -> tuple[Picks, Counter[str]]:
    """``picks`` without the samples that a rewrite would lose something of, and how many there were by reason.

    They may inspire nothing either: what a call or its result is about is not in the prompt. As neighbours their
    prompts are hints like others.
    """
    reasons = [unwritable(s.messages) for s in data]
    fixed = np.fromiter((bool(reason) for reason in reasons), np.bool_, len(reasons))
    beyond = np.logical_or.reduce([picks[axis] for axis in AXES]) & fixed
    return {axis: picks[axis] & ~fixed for axis in AXES}, Counter(reasons[i] for i in np.flatnonzero(beyond))


def _measured(ctx: Ctx, data: Dataset) -> tuple[dict[str, Floats], bool]:
    """The four signals in dataset order, without ratings where the judge is not believed, and whether it is. They are
    kept for the preview.
    """
    settings = ctx.config.select
    values = gather(ctx, data.ids)
    trust = judge_trust.of_stage(ctx)
    believed = judge_trust.uses_quality(settings, trust)
    if not believed:
        values["quality"] = np.full(len(data), np.nan)
        ctx.event(judge_trust.verdict(settings, trust), "warning")
    keep(ctx, data, values, believed)
    return values, believed


def gather(ctx: Ctx, ids: Sequence[int]) -> dict[str, Floats]:
    """The four signals of the samples ``ids`` as arrays in their order; NaN where one has none. One kind of rows is in
    memory at a time.
    """
    place = {id: i for i, id in enumerate(ids)}
    kinds: tuple[tuple[type[Losses | Neighbourhood | Ratings], tuple[str, ...]], ...] = (
        (Losses, ("loss_before", "loss_after")),
        (Neighbourhood, ("similarity",)),
        (Ratings, ("quality",)),
    )
    out: dict[str, Floats] = {}
    for kind, names in kinds:
        out |= {name: np.full(len(ids), np.nan) for name in names}
        for row in ctx.rows(kind):
            if (i := place.get(row.sample_id)) is not None:
                for name in names:
                    value: float | None = getattr(row, name)
                    out[name][i] = np.nan if value is None else value
    return out


def describe(chosen: SelectionMasks, size: int, skipped: int) -> str:
    """The log line: counts per axis, overlaps, what memory and cap left out."""
    counts = {axis: int(mask.sum()) for axis, mask in chosen.selected.items()}
    parts = [f"{axis} {counts[axis]}" for axis in AXES]
    pairs = [(a, b) for i, a in enumerate(AXES) for b in AXES[i + 1 :]]
    both = {(a, b): int((chosen.selected[a] & chosen.selected[b]).sum()) for a, b in pairs}
    overlaps = [f"{a} and {b} {n}" for (a, b), n in both.items() if n]
    text = f"selected {', '.join(parts)} of {counted(size, 'sample')}"
    text += f" (both {'; '.join(overlaps)})" if overlaps else ""
    text += f": {counted(sum(int(mask.sum()) for mask in chosen.pending.values()), 'rewrite')}"
    text += f"; {skipped} skipped (already rewritten)" if skipped else ""
    return text + (f"; {chosen.capped} beyond select.max_share" if chosen.capped else "")


def remembered(ctx: Ctx, data: Dataset) -> Picks:
    """Per axis, which samples earlier rounds say should not be tried again."""
    improved = {(v.round, v.sample_id, v.axis): v.improved for r in range(ctx.round) for v in ctx.rows(Verdict, r)}
    past = [
        Try(
            row.round,
            row.sample_id,
            row.axis,
            row.state,
            row.attempts + row.answer_attempts,
            improved.get((r, row.sample_id, row.axis)),
            row.reason in FALSE_ALARMS,
        )
        for r in range(ctx.round)
        for row in ctx.rows(Rewrite, r)
    ]
    lineage = (Lineage(s.id, s.parent_id, s.axis, s.born_round) for s in data)
    return choose.tried(data.ids, lineage, past)


def _rows(
    round: int, ids: Sequence[int], values: Values, thresholds: Mapping[str, Threshold], chosen: SelectionMasks
) -> list[Row]:
    out: list[Row] = list(thresholds.values())
    for axis in AXES:
        places = np.flatnonzero(chosen.selected[axis])
        if len(places):
            rule = next(t.rule for t in thresholds.values() if t.axis == axis)
            name = choose.shown_signal(axis, rule)
            limit = choose.threshold_value(thresholds[name])
            out += [Selection(round, ids[i], axis, float(values[name][i]), limit) for i in places]
    out += [Rewrite(round, ids[i], axis, "owed") for axis, i in chosen.rewrites()]
    return out
