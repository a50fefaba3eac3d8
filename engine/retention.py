"""Which rounds' checkpoints stay on the disk (train.keep_checkpoints)."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from engine.diagnosis import CHECKPOINT
from engine.stage import Ctx
from engine.store.read import MAIN_SCORES
from engine.store.rows import Score


def kept(rounds: Collection[int], scores: Mapping[int, Mapping[str, float]], keep: int) -> set[int]:
    """The rounds whose checkpoints stay: the last ``keep``, and the best by the main score among all.

    Args:
        scores: round -> task -> value, of the rounds that were evaluated.
    """
    stay = set(sorted(rounds)[-keep:])
    for task, sign in MAIN_SCORES:
        found = {round: sign * scores[round][task] for round in rounds if task in scores.get(round, {})}
        if found:
            return stay | {max(found, key=lambda round: (found[round], round))}
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
    scores = {r: {row.task: row.value for row in ctx.rows(Score, r)} for r in there}
    stay = kept(there, scores, keep) | {ctx.round}
    if ctx.config.train.init == "previous":
        stay.add(ctx.round - 1)
    gone = [r for r in there if r not in stay]
    for round in gone:
        ctx.withdraw(CHECKPOINT, round)
    if gone:
        rounds = f"round{'s' if len(gone) > 1 else ''} {', '.join(map(str, gone))}"
        ctx.event(f"removed the checkpoint of {rounds} (train.keep_checkpoints = {keep})")
