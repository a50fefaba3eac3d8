"""What earlier rounds say of this one: floors under its thresholds, and samples that are not tried again. Light, for
the app as well as for stages.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import NamedTuple

from engine.config import schema as configs
from engine.store.rows import Threshold

AGREES = "false alarm: the teacher's answer agrees"
AGREES_AGAIN = "false alarm: the teacher's second answer agrees"
UNSURE = "false alarm: the teacher's own answers differ as much"
FALSE_ALARMS = (AGREES, AGREES_AGAIN, UNSURE)
"""Why a sample is kept that nobody is asked about again."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """What earlier rounds say about this one's thresholds.

    ``floors``: round 0's cuts by signal. ``frozen``: the first mixture threshold on the loss before training, which
    holds as long as the base model is the one before training.
    """

    floors: Mapping[str, float]
    frozen: Threshold | None = None

    @classmethod
    def of(cls, rounds: Sequence[Sequence[Threshold]], config: configs.Config) -> Earlier:
        """From the thresholds of all earlier rounds, oldest first."""
        settings = config.select
        if settings.parity == "reference" or not rounds:
            return cls({})
        found = (t for rows in rounds for t in rows if t.signal == "loss_before" and t.rule == "mixture")
        frozen = next(found, None) if config.train.init == "base" else None
        if settings.floor == "none":
            return cls({}, frozen)
        return cls({t.signal: t.cut for t in rounds[0] if isfinite(t.cut)}, frozen)


class Lineage(NamedTuple):
    """Where a sample came from: what it replaced or was inspired by, for which axis, in which round it was born."""

    id: int
    parent_id: int | None
    axis: str | None
    born_round: int


class Try(NamedTuple):
    """An earlier rewrite of ``sample_id``: its state, the calls made for it, and whether the signals were better.
    ``agreed``: the teacher's answer to the sample's own prompt agreed with the sample's.
    """

    round: int
    sample_id: int
    axis: str
    state: str
    attempts: int
    improved: bool | None
    agreed: bool = False


def blocked(data: Iterable[Lineage], past: Sequence[Try]) -> tuple[set[int], set[int]]:
    """Sample ids that are not selected again: on the replacing axes, and as a core of diversity.

    A rewrite that was never begun (the budget ran out) is no try.
    """
    tries = [t for t in past if t.attempts > 0]
    without = {t.sample_id for t in tries if t.axis != "diversity" and (t.agreed or t.state in ("failed", "rejected"))}
    improved = {(t.round, t.sample_id, t.axis) for t in past if t.improved}
    for one in data:
        replaced = one.parent_id is not None and one.axis is not None and one.axis != "diversity"
        if replaced and (one.born_round - 1, one.parent_id, one.axis) not in improved:
            without.add(one.id)
    return without, {t.sample_id for t in tries if t.axis == "diversity"}
