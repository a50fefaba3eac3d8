"""Can the judge tell good from bad on this dataset? Pure rules on evidence; light imports only, for screens too.

Where samples are known to be flawed or good (a person's labels, a teacher's agreement), they decide. Else the judge is
tried on *spoilt copies* of samples (``engine.signals.spoilt_copies``): answers that are foreign, cut off or shuffled.
Those are gross flaws, so a judge that does not rate most samples above their own copies cannot tell smaller ones.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from math import comb, sqrt
from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct

from engine.config.schema import Select
from engine.plurals import counted
from engine.store import judging, labels
from engine.store.judging import JudgeCheck
from engine.store.labels import SampleLabel
from engine.store.rows import Ratings

if TYPE_CHECKING:
    from engine.stage import Ctx

LEAST_AUC = 0.65
"""A judge that ranks worse than this is not believed."""
CHANCE = 0.05
"""Nor is one that would rank as well by chance this often."""
LEAST_PAIRS = 16
"""Of fewer pairs nothing is said."""
LEAST_LABELS = 8
"""Samples known to be flawed, and known to be good: of fewer nothing is said."""
LEAST_RATED = 0.5
"""A judge that rates a smaller share of the samples is not believed."""
ALARM_SHARE, ALARM_COUNT = 0.05, 3
"""More judge errors than this share, and at least so many, are an alarm."""

Answer = Literal["yes", "no", "unknown"]


class JudgeTrust(Struct, frozen=True):
    """Whether the judge can be believed, and why: a sentence without its full stop."""

    answer: Answer
    reason: str


UNTESTED = JudgeTrust("unknown", "the judge has not been tested")


def rank_auc(flawed: list[float], good: list[float]) -> float:
    """How often a flawed sample's rating lies below a good one's; ties count half."""
    below = sum((f < g) + 0.5 * (f == g) for f in flawed for g in good)
    return below / (len(flawed) * len(good))


def by_chance(wins: float, pairs: int) -> float:
    """How often a coin wins at least ``wins`` of ``pairs`` times."""
    least = int(wins + 1e-6)  # a half win is none; a share times a count may come out just below a whole number
    return float(sum(comb(pairs, k) for k in range(least, pairs + 1)) / 2**pairs)


def of_pairs(auc: float | None, pairs: int) -> JudgeTrust:
    """By spoilt copies: ``auc`` is the share of ``pairs`` in which the sample is rated above its copy."""
    if auc is None or pairs < LEAST_PAIRS:
        return JudgeTrust("unknown", f"the dataset has too few samples to test the judge ({counted(pairs, 'pair')})")
    return _answer(auc, by_chance(auc * pairs, pairs), counted(pairs, "pair"))


def of_labels(ratings: Mapping[int, float], flawed: Mapping[int, bool]) -> JudgeTrust:
    """By samples that are known to be flawed or good, both by sample id."""
    known = [(ratings[id], bad) for id, bad in flawed.items() if id in ratings]
    bad, good = [v for v, b in known if b], [v for v, b in known if not b]
    if min(len(bad), len(good)) < LEAST_LABELS:
        return JudgeTrust("unknown", f"too few samples are labelled to test the judge ({len(known)})")
    auc = rank_auc(bad, good)
    sigma = sqrt((len(known) + 1) / (12 * len(bad) * len(good)))  # of Mann and Whitney's U without ties, as a share
    return _answer(auc, 0.0 if auc - 0.5 > 1.645 * sigma else 1.0, counted(len(known), "labelled sample"))


def _answer(auc: float, chance: float, evidence: str) -> JudgeTrust:
    said = f"AUC {auc:.2f} of {evidence}"
    if auc >= LEAST_AUC and chance < CHANCE:
        return JudgeTrust("yes", f"the judge tells good from bad on your data ({said})")
    return JudgeTrust("no", f"the judge cannot tell good from bad on your data ({said})")


def trusted(
    check: JudgeCheck | None, ratings: Mapping[int, float] | None = None, flawed: Mapping[int, bool] | None = None
) -> JudgeTrust:
    """Whether a round's quality axis can be believed.

    Args:
        check: what the judge stage found; None: it is an older version's, or has not run.
        ratings, flawed: mean ratings, and what is known of samples, by their ids.
    """
    if check and check.rated < LEAST_RATED * (check.rated + check.errors):
        return JudgeTrust(
            "no", f"the judge could rate only {check.rated:,} of {counted(check.rated + check.errors, 'sample')}"
        )
    if flawed and (known := of_labels(ratings or {}, flawed)).answer != "unknown":
        return known
    if check is None or not check.done:
        return UNTESTED
    return of_pairs(check.auc, check.pairs)


def of_round(db: sqlite3.Connection, round: int) -> JudgeTrust:
    """The same of a round in the store."""
    return trusted(judging.check(db, round), *labels.rated(db, round))


def of_stage(ctx: Ctx, check: JudgeCheck | None = None) -> JudgeTrust:
    """The same for a stage; ``check``: what the judge stage has just found, not saved yet."""
    flawed = labels.flawed(ctx.rows(SampleLabel))
    ratings = {row.sample_id: row.quality for row in ctx.rows(Ratings) if row.quality is not None} if flawed else {}
    return trusted(check or next(iter(ctx.rows(JudgeCheck)), None), ratings, flawed)


def counts(ctx: Ctx) -> bool:
    """Whether the judge has a part in the round's flaw scores: as the judge stage found, whatever is labelled since."""
    check = next(iter(ctx.rows(JudgeCheck)), None)
    if check is not None and check.counted is not None:
        return check.counted
    return has_a_part(ctx.config.select, of_stage(ctx, check))


def has_a_part(select: Select, trust: JudgeTrust) -> bool:
    """Whether a judge is trusted so far that flaw scores are made of its ratings as well."""
    return trust.answer == "yes" and uses_quality(select, trust)


def outdated(db: sqlite3.Connection, round: int, select: Select) -> str:
    """That labels given since the judge ran say something else of it than the round's flaw scores were made by: a
    sentence, and the command that makes them anew; empty where they say the same, or nobody knows.
    """
    check, trust = judging.check(db, round), of_round(db, round)
    if check is None or check.counted is None or check.counted == has_a_part(select, trust):
        return ""
    made = "with" if check.counted else "without"
    return (
        f"The flaw scores of round {round} were made {made} the judge's ratings; by your labels since, {trust.reason}."
        " Stored scores do not change by themselves: `middo-tui run DIR --redo judge` makes them and all later stages"
        " of the round anew."
    )


def uses_quality(select: Select, trust: JudgeTrust) -> bool:
    """Whether the quality axis selects. The reference knows no doubt."""
    if select.parity == "reference" or select.quality == "on":
        return True
    return select.quality == "auto" and trust.answer != "no"


def alarm(check: JudgeCheck | None) -> str:
    """A sentence on judge errors that are so many that they call for attention; else empty."""
    if check is None or check.errors < ALARM_COUNT or check.errors <= ALARM_SHARE * (check.rated + check.errors):
        return ""
    return f"the judge could not rate {check.errors:,} of {counted(check.rated + check.errors, 'sample')}"


def verdict(select: Select, trust: JudgeTrust) -> str:
    """What a person reads of it: the reason and what follows for the axis."""
    used = uses_quality(select, trust)
    if select.quality == "off" and not used:
        return f'the quality axis is off ([select] quality = "off"); {trust.reason}'
    if not used:
        return f"{trust.reason}: the quality axis is off"
    if trust.answer != "no":
        return trust.reason
    kept = 'parity = "reference"' if select.parity == "reference" else 'quality = "on"'
    return f"{trust.reason}; the quality axis is on anyway ([select] {kept})"


def warning(db: sqlite3.Connection, round: int, select: Select) -> str:
    """What a person should know of a round's judge, as sentences without the last full stop; empty: nothing."""
    check, trust = judging.check(db, round), of_round(db, round)
    told = [alarm(check), verdict(select, trust) if trust.answer == "no" else ""]
    return ". ".join(_capital(text) for text in told if text)


def facts(db: sqlite3.Connection, round: int, select: Select) -> dict[str, Any] | None:
    """What ``status --json`` says of a round's judge; None before it was tried, and of an older version's rounds."""
    check = judging.check(db, round)
    if check is None or not check.done:
        return None
    trust = of_round(db, round)
    return {
        "model": check.judge,
        "begun": check.begun,
        "rated": check.rated,
        "errors": check.errors,
        "alarm": bool(alarm(check)),
        "digit_mass": check.digit_mass,
        "pairs": check.pairs,
        "auc": check.auc,
        "trusted": trust.answer,
        "reason": trust.reason,
        "quality_axis": uses_quality(select, trust),
        "verdict": verdict(select, trust),
    }


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
