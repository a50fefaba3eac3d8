"""Do a signal's values form two groups, and where do they part? Pure numpy, deterministic.

Two Gaussians always fit a skewed or heavy-tailed distribution better than one, so neither that nor their distance tells
two groups from one: loss distributions of clean datasets are skewed. Here two Gaussians (five parameters) compete with
one hump of any skewness and tail weight (four: Jones and Pewsey's sinh-arcsinh distribution, Biometrika 2009), and
must win by likelihood. On top of that the groups must be apart, with a valley between them, and neither of them a
handful. docs/benchmarks/thresholds.md holds how often that errs on one group and finds two.

The fits see the values in robust units (median 0, quartiles ±0.67), far ones drawn in, counted in ``BINS`` bins: so
500k values cost what 500 do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.plurals import counted
from engine.selection.thresholds import Side
from engine.signals.nearest import Floats

BINS = 256
REACH = 12.0  # robust sigmas; values further out count as lying there
LEAST_VALUES = 100
OFFSET = 1e-3  # added to a loss before its logarithm: a loss of 0 is a number

# What two groups must show (docs/benchmarks/thresholds.md). They are far apart: the losses of clean data form groups
# too, of tasks that a model can do and tasks that it cannot. Measured on two worlds with known flaws, those were 3.1 to
# 3.5 sigma apart; in one of them the groups were 3.9 and 4.5 apart with 20 and 40 % wrong answers. At 2.5 the rule took
# half of the demo's samples when 5 % were flawed.
EVIDENCE = 6.0  # nats of log likelihood above the best single hump
APART = 3.6  # sigmas between the means
VALLEY = 0.9  # density between the groups over that at the lower hump
SMALLEST, LARGEST = 0.01, 0.55  # share of the values in the flawed group

TIGHTEST = 0.15  # a component's sigma over the wider one's: no spikes on ties
STEPS, TOLERANCE = 200, 1e-6
STARTS = (0.1, 0.35, 0.65, 0.9)  # quantiles at which the values are first parted


@dataclass(frozen=True, slots=True)
class Groups:
    """Two Gaussians, the lower one first; ``loglik`` in nats over all values."""

    weights: tuple[float, float]
    means: tuple[float, float]
    sigmas: tuple[float, float]
    loglik: float

    @property
    def separation(self) -> float:
        """Distance of the means in (root mean square) sigmas."""
        return (self.means[1] - self.means[0]) / float(np.sqrt(np.mean(np.square(self.sigmas))))


@dataclass(frozen=True, slots=True)
class GroupSplit:
    """Whether there are two groups, and where they part.

    ``cut``: in the signal's own unit; None when there are no two groups, and ``verdict`` says why. ``groups`` are on
    the scale that was looked at (the logarithm for losses); ``valley``: see ``VALLEY``; ``evidence`` in nats, None
    when the groups' shape had settled it.
    """

    cut: float | None
    verdict: str
    values: int
    groups: Groups | None = None
    valley: float = 1.0
    evidence: float | None = None

    def detail(self) -> dict[str, object]:
        """What is kept with the threshold, for JSON."""
        out: dict[str, object] = {"verdict": self.verdict, "values": self.values}
        if self.groups is not None:
            out |= {
                "weights": self.groups.weights,
                "means": self.groups.means,
                "sigmas": self.groups.sigmas,
                "separation": self.groups.separation,
                "valley": self.valley,
                "statistic": self.evidence,
            }
        return out


def split(values: Floats, side: Side, log: bool = False) -> GroupSplit:
    """Look for two groups in ``values`` ([N] in any order, missing ones are left out) of which the one on ``side`` is
    the flawed one; on the logarithm when ``log``.
    """
    known = np.asarray(values, dtype=np.float64)
    known = np.sort(known[np.isfinite(known)])
    if log:
        known = np.log(np.maximum(known, 0.0) + OFFSET)
    if len(known) < LEAST_VALUES:
        return GroupSplit(None, f"only {counted(len(known), 'value')}, too few to detect two groups", len(known))
    low, middle, high = np.quantile(known, [0.25, 0.5, 0.75])
    if known[0] == known[-1]:
        return GroupSplit(None, "all values are the same", len(known))
    scale = (high - low) / 1.349 or float(known.std())
    if not scale:  # so close together that their squared distances are no number
        return GroupSplit(None, "all values are the same", len(known))
    points, counts = _counted(np.clip((known - middle) / scale, -REACH, REACH))
    found = two_groups(points, counts)
    at, valley = parting(found, side)
    there = Groups(
        found.weights,
        (float(middle + scale * found.means[0]), float(middle + scale * found.means[1])),
        (float(scale * found.sigmas[0]), float(scale * found.sigmas[1])),
        found.loglik,
    )
    evidence = None
    reason = _shape(found, valley, side)
    if reason is None:
        evidence = found.loglik - one_hump(points, counts)
        if evidence < EVIDENCE:
            reason = f"a single skewed peak explains the values as well ({evidence:+.1f} of {EVIDENCE:.0f} nats needed)"
    if reason is not None:
        return GroupSplit(None, f"one group: {reason}", len(known), there, valley, evidence)
    cut = float(middle + scale * at)
    share = found.weights[1 if side == "above" else 0]
    verdict = f"two groups, {found.separation:.1f} sigma apart, the {_SIDE[side]} one with {share:.0%} of the samples"
    return GroupSplit(float(np.exp(cut) - OFFSET) if log else cut, verdict, len(known), there, valley, evidence)


_SIDE: dict[Side, str] = {"above": "upper", "below": "lower"}


def _shape(found: Groups, valley: float, side: Side) -> str | None:
    """Why the shape of these two is not that of two groups, or None."""
    share = found.weights[1 if side == "above" else 0]
    if found.separation < APART:
        return f"the groups are only {found.separation:.1f} sigma apart ({APART} needed)"
    if not SMALLEST <= share <= LARGEST:
        return f"the {_SIDE[side]} group has {share:.1%} of the samples ({SMALLEST:.0%} to {LARGEST:.0%} needed)"
    if valley > VALLEY:
        return f"no valley between the groups ({valley:.2f} of the lower peak, under {VALLEY} needed)"
    return None


def _counted(known: Floats) -> tuple[Floats, Floats]:
    """Sorted values as points with counts: themselves when they are few, else the bins' middles."""
    if len(known) <= BINS:
        return known, np.ones(len(known))
    counts, edges = np.histogram(known, BINS)
    held = counts > 0
    return ((edges[1:] + edges[:-1]) / 2)[held], counts[held].astype(np.float64)


# ---------------------------------------------------------------------------------------------- two Gaussians


def two_groups(points: Floats, counts: Floats) -> Groups:
    """The best of some runs of expectation maximisation, each from another first parting of the ``points``."""
    below = np.cumsum(counts) / counts.sum()
    places = sorted({int(np.clip(np.searchsorted(below, q), 0, len(points) - 2)) for q in STARTS})
    runs = [_maximised(points, counts, np.arange(len(points)) > place) for place in places]
    return max(runs, key=lambda run: run.loglik)


def _maximised(points: Floats, counts: Floats, upper: np.ndarray) -> Groups:
    """Expectation maximisation from a first parting."""
    total = counts.sum()
    spread = float(np.sqrt(np.average((points - np.average(points, weights=counts)) ** 2, weights=counts)))
    shares = np.stack([~upper, upper]).astype(np.float64) * counts
    loglik = -np.inf
    for _ in range(STEPS):
        if shares.sum(axis=1).min() < 1e-9 * total:
            break  # one of them has died out
        size = shares.sum(axis=1)
        means = shares @ points / size
        variances = (shares * (points - means[:, None]) ** 2).sum(axis=1) / size
        variances = np.maximum(variances, max(TIGHTEST**2 * variances.max(), (1e-3 * spread) ** 2))
        logs = (
            np.log(size / total / np.sqrt(2 * np.pi * variances))[:, None]
            - (points - means[:, None]) ** 2 / (2 * variances)[:, None]
        )
        both = np.logaddexp(logs[0], logs[1])
        before, loglik = loglik, float(counts @ both)
        if loglik - before < TOLERANCE * total:
            break
        shares = np.exp(logs - both) * counts
    order = np.argsort(means, kind="stable")
    weights, means, sigmas = (size / total)[order], means[order], np.sqrt(variances)[order]
    return Groups(
        (float(weights[0]), float(weights[1])),
        (float(means[0]), float(means[1])),
        (float(sigmas[0]), float(sigmas[1])),
        loglik,
    )


def parting(found: Groups, side: Side) -> tuple[float, float]:
    """Where between the means both groups are equally likely, and how deep the valley is there: the lowest density
    between the means over that at the lower of the two humps.
    """
    grid = np.linspace(found.means[0], found.means[1], 513)
    parts = [
        w / s * np.exp(-((grid - m) ** 2) / (2 * s * s))
        for w, m, s in zip(found.weights, found.means, found.sigmas, strict=True)
    ]
    upper = parts[1] > parts[0]
    at = int(np.argmax(upper)) if upper.any() else len(grid) - 1
    if side == "below" and not upper.all():
        at = len(grid) - 1 - int(np.argmax(~upper[::-1]))
    density = parts[0] + parts[1]
    lowest = int(np.argmin(density))
    hump = min(density[: lowest + 1].max(), density[lowest:].max())
    return float(grid[at]), float(density[lowest] / hump)


# -------------------------------------------------------------------------------------------------- one hump


def one_hump(points: Floats, counts: Floats) -> float:
    """The log likelihood of the best sinh-arcsinh distribution, in nats."""
    third = float(np.average(points**3, weights=counts))
    lean = 0.5 if third > 0 else -0.5
    return max(_climbed(points, counts, np.array([0.0, 0.0, skew, 0.0])) for skew in (0.0, lean, -2 * lean))


LOWEST, HIGHEST = np.array([-REACH, -6.0, -10.0, -3.0]), np.array([REACH, 4.0, 10.0, 2.0])


def _climbed(points: Floats, counts: Floats, at: Floats) -> float:
    """Damped scoring: Newton's method with the outer product of the scores for the curvature."""
    loglik, scores = _hump(points, at)
    best = float(counts @ loglik)
    damping = 1e-2
    for _ in range(STEPS):
        gradient = counts @ scores
        curvature = (scores * counts[:, None]).T @ scores
        step = np.linalg.solve(curvature + damping * np.diag(np.diag(curvature) + 1e-9), gradient)
        there = np.clip(at + np.clip(step, -1.0, 1.0), LOWEST, HIGHEST)
        loglik, tried = _hump(points, there)
        if (now := float(counts @ loglik)) > best:
            gain, best, at, scores, damping = now - best, now, there, tried, damping / 5
            if gain < TOLERANCE * counts.sum():
                break
        else:
            damping *= 6
            if damping > 1e8:
                break
    return best


def _hump(points: Floats, at: Floats) -> tuple[Floats, Floats]:
    """Log density ([N]) and its derivatives ([N, 4]) by location, log scale, skewness and log tail weight."""
    place, log_scale, skew, log_tail = at
    scale, tail = np.exp(log_scale), np.exp(log_tail)
    u = (points - place) / scale
    root = np.sqrt(1 + u * u)
    bent = tail * np.arcsinh(u)
    inner = np.clip(bent - skew, -30.0, 30.0)
    sinh, cosh = np.sinh(inner), np.cosh(inner)
    density = -0.5 * sinh * sinh - 0.5 * np.log(2 * np.pi) + log_tail + np.log(cosh) - log_scale - np.log(root)
    by_inner = -sinh * cosh + sinh / cosh
    by_u = by_inner * tail / root - u / (root * root)
    return density, np.stack([-by_u / scale, -u * by_u - 1, -by_inner, by_inner * bent + 1], axis=1)
