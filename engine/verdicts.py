"""Is a rewrite better than what it replaces? Pure rules on the signals of both.

Improved means, with the round's mean and sigma:

- complexity: loss before training lower than the original's by more than ``verify.loss_margin``, and quality not
  lower than the original's by more than half a sigma. Before training, because then neither was trained on: the tuned
  model has seen the original, so a systematic mistake in it costs less than the right answer (on the demo, 31 of 78
  rewrites were refused for that alone, 29 of them right);
- quality: quality higher than the original's by more than ``verify.quality_margin``, and loss after training within
  mean + 2 sigma;
- diversity: quality not under the round's cut, and loss before training within mean + 2 sigma.

Comparing with the original and not with the rest is on purpose: "loss below the kept rows' 95 % quantile" threw good
rewrites away (accuracy .737 against .757 on a test-bed with known flaws). A signal that the original lacks raises no
doubt.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from engine.checks import Finding
from engine.config import Verify
from engine.diagnosis import Measured, Rated
from engine.store.rows import Threshold


@dataclass(frozen=True, slots=True)
class Values:
    """The signals of one conversation that a verdict is about; None where there is none."""

    loss_before: float | None
    loss_after: float | None
    quality: float | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """A verdict in words; ``rejected`` when the rewrite cannot be merged whatever the review's policy."""

    improved: bool
    text: str
    rejected: Finding | None = None


def outcome(
    axis: str,
    old: Values,
    measured: Measured,
    rated: Rated,
    marks: Mapping[str, Threshold],
    limits: Verify,
    nearest: float,
) -> Outcome:
    """The verdict on one measured candidate."""
    error = measured.error or rated.error
    if error or measured.loss_before is None or measured.loss_after is None or rated.quality is None:
        finding = Finding("unmeasured", error or "it has no loss or no rating")
        return Outcome(False, str(finding), finding)
    if axis == "diversity" and nearest > limits.max_similarity:
        finding = Finding("duplicate", f"its embedding has similarity {nearest:.4f} to another prompt's")
        return Outcome(False, str(finding), finding)
    new = Values(measured.loss_before, measured.loss_after, rated.quality)
    doubts = _DOUBTS[axis](old, new, marks, limits)
    numbers = describe(axis, old, new)
    return Outcome(not doubts, f"not improved: {'; '.join(doubts)} ({numbers})" if doubts else f"improved: {numbers}")


def _complexity(old: Values, new: Values, marks: Mapping[str, Threshold], limits: Verify) -> list[str]:
    doubts = []
    if old.loss_before is not None and not _number(new.loss_before) < old.loss_before - limits.loss_margin:
        doubts.append("its loss before training is not lower")
    half = marks["quality"].sigma / 2 if "quality" in marks else 0.0
    if old.quality is not None and _number(new.quality) < old.quality - half:
        doubts.append(f"its quality is more than {half:.2f} lower")
    return doubts


def _quality(old: Values, new: Values, marks: Mapping[str, Threshold], limits: Verify) -> list[str]:
    doubts = []
    if old.quality is not None and not _number(new.quality) > old.quality + limits.quality_margin:
        doubts.append("its quality is not higher")
    return doubts + _too_hard("loss_after", new.loss_after, marks)


def _diversity(old: Values, new: Values, marks: Mapping[str, Threshold], limits: Verify) -> list[str]:
    doubts = []
    if "quality" in marks and _number(new.quality) < marks["quality"].cut:
        doubts.append(f"its quality is under this round's cut {marks['quality'].cut:.2f}")
    return doubts + _too_hard("loss_before", new.loss_before, marks)


_DOUBTS = {"complexity": _complexity, "diversity": _diversity, "quality": _quality}


def _too_hard(signal: str, value: float | None, marks: Mapping[str, Threshold]) -> list[str]:
    """A doubt when a loss lies beyond mean + 2 sigma of the dataset's."""
    if signal not in marks:
        return []
    bound = marks[signal].mean + 2 * marks[signal].sigma
    when = "before" if signal == "loss_before" else "after"
    return [f"its loss {when} training is above mean + 2 sigma = {bound:.3f}"] if _number(value) > bound else []


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def describe(axis: str, old: Values, new: Values) -> str:
    """The numbers that the verdict stands on."""
    if axis == "diversity":
        return f"quality {_number(new.quality):.2f}, loss before training {_number(new.loss_before):.3f}"
    rated = ("quality", old.quality, new.quality, 2)
    shown = [("loss before training", old.loss_before, new.loss_before, 3), rated]
    if axis == "quality":
        shown = [rated, ("loss after training", old.loss_after, new.loss_after, 3)]
    return ", ".join(f"{name} {_shown(a, n)} → {_shown(b, n)}" for name, a, b, n in shown)


def _shown(value: float | None, digits: int) -> str:
    return "?" if value is None else f"{value:.{digits}f}"
