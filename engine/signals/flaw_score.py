"""One number per sample that says how flawed it looks, from its ranks on the lenses.

Kinds of flaws show in one lens each (a cut-off answer in its end of turn, a swapped one in IFD, shuffled words in the
worst window), so a high rank on one of them must be enough: a mean over lenses would hide it. Of samples with equally
high ranks, those that also look bad on another lens come first. Both is done by the harmonic mean of the shares of
samples that look worse (Wilson 2019, "The harmonic mean p-value for combining dependent tests"); the score is the rank
by that. It needs no thresholds and no scale. What the text alone shows (``engine.signals.text_signs``) comes first of
all: a model finds a fluent refusal or a loop likely. Figures: docs/benchmarks/flaws.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.signals.nearest import Floats
from engine.signals.text_signs import SIGNS, sign
from engine.store.rows import Flaw, Lenses, Sample

LENSES = ("end_of_turn", "ifd", "worst_window")
"""Those that the score is made of; the first named wins a tie. High values look flawed."""
JUDGE = "quality"
"""The judge's mean rating, for where it is trusted: low values look flawed."""
TEXT = "text"
"""Which of ``SIGNS`` the text alone shows, from 1; 0: none. It is no rank: all that show one come before all others."""
CLOSE = 0.01
"""Ranks within this share of the worst count about alike: which of two samples is the very worst means little."""
ODD_FORM = SIGNS.index("odd_form") + 1.0
"""``TEXT`` of an answer in a form that nobody asked for."""
USUAL = 0.1
"""The share of answers from which on their form is no sign of a flaw."""
SIGN = dict.fromkeys(LENSES, 1.0) | {JUDGE: -1.0}


def ranks(values: Floats) -> Floats:
    """Which share of the values lies below each, between 0 and 1 exclusive, float64[n]; NaN where there is none.

    Equal values are ranked in their order.
    """
    out = np.full(len(values), np.nan)
    there = np.flatnonzero(np.isfinite(values))
    order = there[np.argsort(values[there], kind="stable")]
    out[order] = (np.arange(len(order)) + 0.5) / max(len(order), 1)
    return out


def flaw_scores(lenses: Mapping[str, Floats]) -> tuple[Floats, NDArray[np.int64]]:
    """The flaw score of each sample, and the place of the lens that looks worst.

    Args:
        lenses: values in dataset order by name (``LENSES``, ``TEXT``, and ``JUDGE`` if it is trusted); NaN where there
            is none.

    Returns:
        float64[n], NaN where no lens has a value; int64[n].
    """
    table = np.array([_badness(name, values) for name, values in lenses.items()])
    known = np.isfinite(table)
    worst = np.where(known, table, -1.0).argmax(0)
    shown = np.any([values > 0 for name, values in lenses.items() if name == TEXT], axis=0)
    scores = ranks(np.where(known.any(0), combined(table[[name != TEXT for name in lenses]]), np.nan))
    return np.where(shown, 1.0, scores), worst


def combined(table: Floats) -> Floats:
    """The inverse of the harmonic mean of the shares of samples that look worse, float64[n].

    Args:
        table: ranks by lens, [lenses, n]. A lens without a value (NaN) counts as a middling one.
    """
    filled = np.where(np.isfinite(table), table, 0.5)
    return np.asarray((1.0 / (1.0 - filled + CLOSE)).sum(0))


def _badness(name: str, values: Floats) -> Floats:
    """How bad each value of a lens is, 0 to 1; NaN where there is none, or where the text shows nothing."""
    return np.where(values > 0, 1.0, np.nan) if name == TEXT else ranks(SIGN[name] * values)


class Standings:
    """A round's samples, to tell where an answer that is not among them would stand.

    Args:
        lenses: see ``flaw_scores``.
    """

    def __init__(self, lenses: Mapping[str, Floats]) -> None:
        found = {name: SIGN[name] * values for name, values in lenses.items() if name != TEXT}
        self._sorted = {n: np.sort(v[np.isfinite(v)]) for n, v in found.items() if np.isfinite(v).any()}
        table = np.array([ranks(found[name]) for name in self._sorted])
        self._combined = np.sort(combined(table)[np.isfinite(table).any(0)]) if len(table) else np.zeros(0)

    def place(self, values: Mapping[str, float | None]) -> tuple[float, str] | None:
        """The flaw score that an answer with ``values`` would have, and its worst lens; None where nothing is known."""
        if shown := values.get(TEXT):
            return 1.0, _named(TEXT, shown)
        found = {
            name: _share_below(there, SIGN[name] * value)
            for name, there in self._sorted.items()
            if (value := values.get(name)) is not None
        }
        if not found:
            return None
        row = np.array([[found.get(name, np.nan)] for name in self._sorted])
        return _share_below(self._combined, float(combined(row)[0])), max(found, key=found.__getitem__)


def _share_below(there: Floats, value: float) -> float:
    """Which share of ``there``, sorted, lies below a value that joins it, between 0 and 1 exclusive."""
    return float((np.searchsorted(there, value) + 0.5) / (len(there) + 1))


def columns(ids: Sequence[int], rows: Sequence[Lenses]) -> dict[str, Floats]:
    """The lenses as arrays in the order of ``ids``; NaN where a sample has none."""
    at = {id: i for i, id in enumerate(ids)}
    out = {name: np.full(len(ids), np.nan) for name in LENSES}
    for row in rows:
        if (i := at.get(row.sample_id)) is not None:
            for name, column in out.items():
                value: Any = getattr(row, name)
                column[i] = np.nan if value is None else value
    return out


def judge_column(ids: Sequence[int], quality: Mapping[int, float]) -> Floats:
    """``JUDGE`` of the samples ``ids``: mean ratings, float64[n]; NaN where a sample has none."""
    return np.array([quality.get(id, np.nan) for id in ids], dtype=np.float64)


def text_column(samples: Iterable[Sample]) -> Floats:
    """``TEXT`` of the samples, float64[n]. A form that many answers have is the dataset's own, not an odd one."""
    found = np.array([text_of(sample) for sample in samples])
    return np.where(found == ODD_FORM, 0.0, found) if _is_usual(found) else found


def _is_usual(found: Floats) -> bool:
    """Whether so many answers have an odd form that it is the dataset's own."""
    return bool((found == ODD_FORM).sum() > USUAL * len(found))


class OwnForm:
    """Forgives answers that are not among a dataset's what ``text_column`` forgives the dataset's own.

    Args:
        samples: the dataset; looked at when the first answer has an odd form.
    """

    def __init__(self, samples: Iterable[Sample]) -> None:
        self._samples = samples
        self._usual: bool | None = None

    def forgiven(self, value: float) -> float:
        """``TEXT`` of an answer: 0 for a form that many of the dataset's have."""
        if value != ODD_FORM:
            return value
        if self._usual is None:
            self._usual = _is_usual(np.array([text_of(sample) for sample in self._samples]))
        return 0.0 if self._usual else value


def text_of(sample: Sample) -> float:
    """``TEXT`` of a sample, or of what a rewrite would make of it: its last exchange after what was said before."""
    return text_value(sample.prompt, sample.response, before(sample))


def before(sample: Sample) -> str:
    """What is said before the last prompt, by the system too."""
    asked = max((i for i, message in enumerate(sample.messages) if message.role == "user"), default=0)
    return "\n".join(m.content for m in sample.messages[:asked] if m.role in ("system", "user"))


def text_value(prompt: str, answer: str, context: str = "") -> float:
    """``TEXT`` of one exchange after ``context``."""
    found = sign(prompt, answer, context)
    return 0.0 if found is None else SIGNS.index(found) + 1.0


def _named(lens: str, value: float) -> str:
    """What is stored as the lens that looks worst: of ``TEXT`` the sign."""
    return SIGNS[int(value) - 1] if lens == TEXT else lens


def flaws(round: int, ids: Sequence[int], lenses: Mapping[str, Floats]) -> list[Flaw]:
    """The rows that hold the flaw scores of ``ids``; none for a sample without lenses."""
    names = list(lenses)
    scores, worst = flaw_scores(lenses)
    there = [(i, names[worst[i]]) for i in np.flatnonzero(np.isfinite(scores)).tolist()]
    return [Flaw(round, ids[i], float(scores[i]), _named(name, lenses[name][i])) for i, name in there]
