"""Removes old rounds' checkpoints (train.keep_checkpoints)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from engine.signals.round_models import CHECKPOINT
from engine.stage import Ctx
from engine.store.read import main_scores
from engine.store.rows import EvalScore


def kept(
    rounds: Collection[int], scores: Mapping[int, Mapping[str, EvalScore]], keep: int, tasks: Sequence[str] = ()
) -> set[int]:
    """The rounds whose checkpoints stay: the last ``keep``, and the best by the main score among all.

    Args:
        scores: round -> task -> score, of the rounds that were evaluated.
        tasks: [evaluate] tasks, one of which may be the main score.
    """
    stay = set(sorted(rounds)[-keep:])
    for name in main_scores(tasks):
        found = {round: scores[round][name] for round in rounds if name in scores.get(round, {})}
        if found:
            newest = found[max(found)]
            alike = {round: one.better for round, one in found.items() if one.comparable(newest)}
            return stay | {max(alike, key=lambda round: (alike[round], round))}
    return stay


def prune(ctx: Ctx) -> None:
    """After this round's training: remove the checkpoints of earlier rounds that are not to be kept.

    This round's stays in any case. So does the one before with train.init = "previous": it is this round's model
    before training.
    """
    keep = ctx.config.train.keep_checkpoints
    if not keep:
        return
    there = [r for r in range(ctx.round + 1) if ctx.artifact(CHECKPOINT, r) is not None]
    scores = {r: {row.task: row for row in ctx.rows(EvalScore, r)} for r in there}
    stay = kept(there, scores, keep, ctx.config.evaluate.tasks) | {ctx.round}
    if ctx.config.train.init == "previous":
        stay.add(ctx.round - 1)
    gone = [r for r in there if r not in stay]
    for round in gone:
        ctx.withdraw(CHECKPOINT, round)
    if gone:
        rounds = f"round{'s' if len(gone) > 1 else ''} {', '.join(map(str, gone))}"
        ctx.event(f"removed the checkpoint of {rounds} (train.keep_checkpoints = {keep})")
