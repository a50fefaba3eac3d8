"""One number per sample that says how flawed it looks: its rank on the lens that looks worst.

A sample is flawed if any lens says so: kinds of flaws show in one lens each (a cut-off answer in its end of turn, a
swapped one in IFD, shuffled words in the worst window), and a mean over lenses would hide them. Ranks need no
thresholds and no scale. Of 196 real Alpaca rows with 80 planted flaws under SmolLM2-135M, the area under the ROC curve
is .80, .81 and .78 for the three lenses alone and .99 for the worst rank. What the text alone shows
(``engine.signals.text_signs``) comes first of all: a model finds a fluent refusal or a loop likely.
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
    """The worst rank of each sample over ``lenses``, and the place of that lens among them.

    Args:
        lenses: values in dataset order by name (``LENSES``, ``TEXT``, and ``JUDGE`` if it is trusted); NaN where there
            is none.

    Returns:
        float64[n], NaN where no lens has a value; int64[n].
    """
    table = np.array([_badness(name, values) for name, values in lenses.items()])
    known = np.isfinite(table)
    filled = np.where(known, table, -1.0)
    return np.where(known.any(0), filled.max(0), np.nan), filled.argmax(0)


def _badness(name: str, values: Floats) -> Floats:
    """How bad each value of a lens is, 0 to 1; NaN where there is none, or where the text shows nothing."""
    return np.where(values > 0, 1.0, np.nan) if name == TEXT else ranks(SIGN[name] * values)


def place(lenses: Mapping[str, Floats], values: Mapping[str, float | None]) -> tuple[float, str] | None:
    """The flaw score that a sample with ``values`` would have among those of ``lenses``, and its worst lens."""
    if shown := values.get(TEXT):
        return 1.0, _named(TEXT, shown)
    found = {
        name: (float((there < SIGN[name] * value).sum()) + 0.5) / (len(there) + 1)
        for name, column in lenses.items()
        if name != TEXT
        and (value := values.get(name)) is not None
        and len(there := SIGN[name] * column[np.isfinite(column)])
    }
    if not found:
        return None
    worst = max(found, key=found.__getitem__)
    return found[worst], worst


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


def text_column(samples: Iterable[Sample]) -> Floats:
    """``TEXT`` of the samples, float64[n]."""
    return np.array([text_value(sample.prompt, sample.response) for sample in samples])


def text_value(prompt: str, answer: str) -> float:
    """``TEXT`` of one exchange."""
    found = sign(prompt, answer)
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
