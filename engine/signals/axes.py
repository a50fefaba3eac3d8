"""The four signals that a threshold is put on, and what holds of thresholds: plain Python, for stages and screens."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from engine.store.rows import AXES, Axis, Threshold

if TYPE_CHECKING:
    from engine.config import schema as configs

Side = Literal["above", "below"]
Rule = Literal["sigma", "mixture"]


@dataclass(frozen=True, slots=True)
class Signal:
    """One thresholded signal: its axis, the side that is suboptimal, its sigma's ddof, the scale a mixture is
    looked for on.
    """

    name: str
    axis: Axis
    side: Side
    ddof: int = 0
    log: bool = False


SIGNALS = (
    Signal("loss_before", "complexity", "above", log=True),
    Signal("loss_after", "complexity", "above", log=True),
    Signal("similarity", "diversity", "below"),
    Signal("quality", "quality", "below", ddof=1),
)
BY_NAME = {s.name: s for s in SIGNALS}
OF_AXIS: dict[Axis, tuple[Signal, ...]] = {axis: tuple(s for s in SIGNALS if s.axis == axis) for axis in AXES}
UNUSED = "loss_after"  # the signal that the mixture rule does without


def shown_signal(axis: Axis, rule: str = "sigma") -> str:
    """The signal whose value and threshold a selection shows: of complexity's two the last to be passed, or the only
    one that counts.
    """
    return next(s.name for s in reversed(OF_AXIS[axis]) if rule == "sigma" or s.name != UNUSED)


def relative_threshold(mean: float, sigma: float, m: float, side: Side) -> float:
    """``m`` sigma ``above`` or ``below`` the mean."""
    return mean + m * sigma if side == "above" else mean - m * sigma


def effective_threshold(cut: float, floor: float | None, side: Side) -> float:
    """The threshold that holds: the stricter of the relative cut and the floor (None: there is no floor)."""
    if floor is None:
        return cut
    return max(cut, floor) if side == "above" else min(cut, floor)


def side(signal: str) -> Side:
    """The suboptimal side of a signal; what has no threshold of its own (the flaw score) is so when it is high."""
    return BY_NAME[signal].side if signal in BY_NAME else "above"


def threshold_value(threshold: Threshold) -> float:
    """What a sample must be strictly beyond: the stricter of cut and floor."""
    return effective_threshold(threshold.cut, threshold.floor, side(threshold.signal))


def sigmas_beyond(threshold: Threshold, value: float) -> float:
    """How many sigmas ``value`` lies beyond the limit; negative or 0 where it is not beyond."""
    sign = 1.0 if side(threshold.signal) == "above" else -1.0
    return sign * (value - threshold_value(threshold)) / (threshold.sigma or 1.0)


def verdict(threshold: Threshold) -> str:
    """What the mixture rule said about a signal; empty under the sigma rule."""
    return str(json.loads(threshold.detail).get("verdict", "")) if threshold.detail else ""


def rewrite_cap(settings: configs.Select, size: int) -> int:
    """How many rewrites a dataset of ``size`` samples may owe."""
    return int(settings.max_share * size) if settings.parity == "ours" else 2 * size


def replacing(order: Sequence[str]) -> tuple[Axis, Axis]:
    """The two replacing axes, the one that a sample selected on both is rewritten for first."""
    first = {name: i for i, name in enumerate(order)}
    late = first.get("complexity", len(first)) > first.get("quality", len(first))
    return ("quality", "complexity") if late else ("complexity", "quality")
