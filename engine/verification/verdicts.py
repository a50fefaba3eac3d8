"""Is a rewrite better than what it replaces? Pure rules on the signals of both.

A sample is selected for being extreme, so almost anything is better than it: samples drawn at random in place of the
rewrites were, in 70 to 93 % of cases. So a rewrite is also held against what nobody selected:

- it must have to do with its original (diversity: or with one of the hints): more than ``verify.on_topic`` of random
  samples have. By chance so many fail;
- one that replaces its original must still answer what that asked (``engine.verification.drift``);
- it must lie on the side of the thresholds where samples are kept;
- it may not look flawed on a lens (``engine.signals.lenses``) as only the worst two in a hundred samples do, unless its
  original looked worse. On the demo that costs no rewrite and lets none less through by chance; it is there for answers
  that a teacher breaks off or garbles.

Improved means, with the round's limits, mean and sigma:

- complexity: loss before training within the limit, and lower than the original's by more than
  ``verify.loss_margin``; quality within the limit, and not lower than the original's by more than half a sigma. Before
  training, because then neither was trained on: the tuned model has seen the original, so a systematic mistake in it
  costs less than the right answer (on the demo, 31 of 78 rewrites were refused for that alone, 29 of them right);
- quality: quality within the limit, and higher than the original's by more than ``verify.quality_margin``; loss after
  training within mean + 2 sigma;
- diversity: not where the densest quarter of the samples lies that nobody selected; quality within the limit, and loss
  before training within mean + 2 sigma.

What that lets through by chance and of real rewrites: docs/benchmarks/verdicts.md. A stricter bound on the losses
("below the kept rows' 95 % quantile") threw good rewrites away (accuracy .737 against .757 on a test-bed with known
flaws), and so does the median: half of what is kept does not pass it. A signal that the original lacks raises no doubt.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from engine.config.schema import Verify
from engine.signals.axes import threshold_value
from engine.signals.losses import Measured
from engine.signals.ratings import Rated
from engine.store.rows import Threshold
from engine.verification import doubts as phrases
from engine.verification.text_checks import Rejection


@dataclass(frozen=True, slots=True)
class Values:
    """The signals of one conversation that a verdict is about; None where there is none."""

    loss_before: float | None
    loss_after: float | None
    quality: float | None


@dataclass(frozen=True, slots=True)
class Explained:
    """How its original's prompt explains a new answer: the answer's IFD under it, and what random prompts reach."""

    ifd: float
    bound: float


@dataclass(frozen=True, slots=True)
class Placed:
    """Where a rewrite lies among the samples.

    similarity: mean, to its nearest prompts. usual: three of four samples that nobody selected lie sparser than this.
    on_topic: the share of random samples that have less to do with its original. flaw: its flaw score among the
    samples and the lens that it comes from; was: its original's score, when it replaces it. explained: see there. None
    where it cannot be told.
    """

    similarity: float | None
    usual: float | None = None
    on_topic: float | None = None
    flaw: tuple[float, str] | None = None
    was: float | None = None
    explained: Explained | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """A verdict in words; ``rejected`` when the rewrite cannot be merged whatever the review's policy."""

    improved: bool
    text: str
    rejected: Rejection | None = None


def outcome(
    axis: str,
    old: Values,
    measured: Measured,
    rated: Rated,
    marks: Mapping[str, Threshold],
    limits: Verify,
    placed: Placed,
    copy: Rejection | None = None,
) -> Outcome:
    """The verdict on one measured candidate. ``copy``: what it is a duplicate of."""
    error = measured.error or (rated.error if "quality" in marks else None)
    unrated = rated.quality is None and "quality" in marks
    if error or measured.loss_before is None or measured.loss_after is None or unrated:
        finding = Rejection("unmeasured", error or "it has no loss or no rating")
        return Outcome(False, str(finding), finding)
    if copy:
        return Outcome(False, str(copy), copy)
    new = Values(measured.loss_before, measured.loss_after, rated.quality)
    doubts = [
        *_off_topic(placed, limits),
        *_drifted(placed, limits),
        *_looks_wrong(placed),
        *_DOUBTS[axis](old, new, marks, limits, placed),
    ]
    numbers = describe(axis, old, new, placed)
    return Outcome(not doubts, f"not improved: {'; '.join(doubts)} ({numbers})" if doubts else f"improved: {numbers}")


def _off_topic(placed: Placed, limits: Verify) -> list[str]:
    if placed.on_topic is None or placed.on_topic > limits.on_topic or not limits.on_topic:
        return []
    return [f"{1 - placed.on_topic:.0%} {phrases.OFF_TOPIC}"]


def _drifted(placed: Placed, limits: Verify) -> list[str]:
    found = placed.explained
    if found is None or found.ifd < found.bound or not limits.on_topic:
        return []
    return [f"{phrases.DRIFTED} (IFD {found.ifd:.2f})"]


FLAWED = 0.98
"""A rewrite that looks worse on a lens than so many samples, and than its original, is doubtful."""
LOOKS = {
    "end_of_turn": "it stops before it is complete",
    "ifd": "its prompt does not help to predict its answer",
    "worst_window": "a stretch of its answer is unlikely text",
    "text": "its answer is a refusal, a loop or the like",
}


def _looks_wrong(placed: Placed) -> list[str]:
    if placed.flaw is None or placed.flaw[0] <= max(FLAWED, placed.was or 0.0):
        return []
    return [f"{LOOKS.get(placed.flaw[1], placed.flaw[1])}: worse than {min(placed.flaw[0], 0.999):.1%} of samples"]


def _complexity(old: Values, new: Values, marks: Mapping[str, Threshold], limits: Verify, placed: Placed) -> list[str]:
    doubts = _beyond("loss_before", new.loss_before, marks)
    if old.loss_before is not None and not _number(new.loss_before) < old.loss_before - limits.loss_margin:
        doubts.append("its base loss is not lower")
    if "quality" not in marks:
        return doubts
    half = marks["quality"].sigma / 2
    if old.quality is not None and _number(new.quality) < old.quality - half:
        return [*doubts, f"its quality is more than {half:.2f} lower"]
    return doubts + _beyond("quality", new.quality, marks)


def _quality(old: Values, new: Values, marks: Mapping[str, Threshold], limits: Verify, placed: Placed) -> list[str]:
    doubts = _beyond("quality", new.quality, marks)
    if old.quality is not None and not _number(new.quality) > old.quality + limits.quality_margin:
        doubts.append("its quality is not higher")
    return doubts + _too_hard("loss_after", new.loss_after, marks)


def _diversity(old: Values, new: Values, marks: Mapping[str, Threshold], limits: Verify, placed: Placed) -> list[str]:
    doubts = []
    if placed.usual is not None and placed.similarity is not None and placed.similarity >= placed.usual:
        doubts.append("it lies where the densest quarter of the kept samples do")
    return doubts + _beyond("quality", new.quality, marks) + _too_hard("loss_before", new.loss_before, marks)


_DOUBTS = {"complexity": _complexity, "diversity": _diversity, "quality": _quality}


def _beyond(signal: str, value: float | None, marks: Mapping[str, Threshold]) -> list[str]:
    """A doubt when a value would be selected for by the round's limit."""
    if signal not in marks:
        return []
    bound = threshold_value(marks[signal])
    if signal == "quality":
        return [f"its quality is below the threshold {bound:.2f}"] if _number(value) < bound else []
    return [f"its base loss is above the threshold {bound:.3f}"] if _number(value) > bound else []


def _too_hard(signal: str, value: float | None, marks: Mapping[str, Threshold]) -> list[str]:
    """A doubt when a loss lies beyond mean + 2 sigma of the dataset's."""
    if signal not in marks:
        return []
    bound = marks[signal].mean + 2 * marks[signal].sigma
    which = "base" if signal == "loss_before" else "tuned"
    return [f"its {which} loss is above mean + 2 sigma = {bound:.3f}"] if _number(value) > bound else []


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def describe(axis: str, old: Values, new: Values, placed: Placed) -> str:
    """The numbers that the verdict stands on."""
    topic = (
        ""
        if placed.on_topic is None
        else f", shares more with the original than {placed.on_topic:.0%} of random samples"
    )
    if axis == "diversity":
        usual = "" if placed.usual is None else f" (three quarters of the kept samples: below {placed.usual:.3f})"
        sparse = f"similarity {_shown(placed.similarity, 3)}{usual}"
        quality, loss = f"quality {_number(new.quality):.2f}", f"base loss {_number(new.loss_before):.3f}"
        return f"{sparse}, {quality}, {loss}{topic}"
    rated = ("quality", old.quality, new.quality, 2)
    shown = [("base loss", old.loss_before, new.loss_before, 3), rated]
    if axis == "quality":
        shown = [rated, ("tuned loss", old.loss_after, new.loss_after, 3)]
    return ", ".join(f"{name} {_shown(a, n)} → {_shown(b, n)}" for name, a, b, n in shown) + topic


def _shown(value: float | None, digits: int) -> str:
    return "?" if value is None else f"{value:.{digits}f}"
