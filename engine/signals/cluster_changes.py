"""What became of the clusters of one round in the next. Pure sets and numbers; nothing of how clusters are found.

HDBSCAN numbers its clusters anew every time. Samples persist, so clusters are told by who is in them: a sample that was
replaced stands for its parent, one that was added stands for nobody. A cluster that goes on keeps its number over all
rounds, and a number is never given to another one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

Change = Literal["born", "kept", "grew", "shrank", "split", "merged", "died"]
CHANGES: tuple[Change, ...] = ("born", "kept", "grew", "shrank", "split", "merged", "died")
NOISE = -1
SAME_SIZE = 0.1
"""Up to this share of change in size a cluster has been kept as it is."""


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of a cluster.

    number: its number from now on; of a cluster that died: below -1 (-2 minus the number it had). found: the label that
    the clustering gave it this round (None: it died). ``previous`` and its size: what it goes back to (None: born).
    """

    number: int
    found: int | None
    size: int
    change: Change
    previous: int | None
    previous_size: int | None


def groups(labels: Mapping[int, int]) -> dict[int, set[int]]:
    """Sample ids by label; noise is in no group."""
    out: dict[int, set[int]] = {}
    for id, label in labels.items():
        if label > NOISE:
            out.setdefault(label, set()).add(id)
    return out


def follow(
    before: Mapping[int, int], now: Mapping[int, int], stands_for: Mapping[int, int], used: Iterable[int] = ()
) -> list[Fate]:
    """The fates of all clusters of two rounds, those of now first.

    Args:
        before, now: label by sample id, ``NOISE`` for none. Those of ``before`` are numbers given by this function.
        stands_for: who a sample of now was before, if it had another id (a replaced sample's parent).
        used: numbers that earlier rounds gave; a new cluster gets a higher one.

    A cluster continues the one of before that it is most like (Jaccard index, each used once), if most of that one's
    samples are now in it or most of its own were in that one; of samples that both rounds have. It *merged* when it
    took in most of two or more, and was *split* when it comes from a cluster that also goes on elsewhere: every part
    is, the one that keeps the number too. Otherwise it is kept, grew or shrank by its size. A cluster *died* when none
    continues it and none took it in.
    """
    old, new = groups(before), groups(now)
    paths = [(label, before[was]) for id, label in now.items() if (was := stands_for.get(id, id)) in before]
    shared = {pair: n for pair, n in Counter(paths).items() if NOISE not in pair}
    went = _most(((p, c, n) for (c, p), n in shared.items()), Counter(p for _, p in paths))
    came = _most(((c, p, n) for (c, p), n in shared.items()), Counter(c for c, _ in paths))
    related = {pair: n for pair, n in shared.items() if came.get(pair[0]) == pair[1] or went.get(pair[1]) == pair[0]}
    heir = _matched(related, old, new)
    taken_in = Counter(went.values())
    parts: dict[int, set[int]] = {}
    for c, p in [*came.items(), *heir.items()]:
        parts.setdefault(p, set()).add(c)
    number = max([*used, *old, NOISE]) + 1
    fates = []
    for c in sorted(new):
        before_it = heir.get(c, came.get(c))
        mine = heir.get(c, number)
        number += c not in heir
        change: Change
        if before_it is None:
            change = "born"
        elif taken_in[c] > 1:
            change = "merged"
        elif len(parts[before_it]) > 1:
            change = "split"
        else:
            change = _by_size(len(old[before_it]), len(new[c]))
        size = None if before_it is None else len(old[before_it])
        fates.append(Fate(mine, c, len(new[c]), change, before_it, size))
    ended = sorted(set(old) - set(heir.values()) - set(went))
    return fates + [Fate(-2 - p, None, 0, "died", p, len(old[p])) for p in ended]


Pair = tuple[int, int]


def _most(triples: Iterable[tuple[int, int, int]], totals: Mapping[int, int]) -> dict[int, int]:
    """For each first name the second one that has more than half of its total."""
    return {a: b for a, b, n in triples if 2 * n > totals[a]}


def _matched(shared: Mapping[Pair, int], old: Mapping[int, set[int]], new: Mapping[int, set[int]]) -> dict[int, int]:
    """Clusters of now with the one they continue: greedy by Jaccard index, equals by the lower number of before."""

    def likeness(pair: Pair) -> float:
        return shared[pair] / (len(new[pair[0]]) + len(old[pair[1]]) - shared[pair])

    out: dict[int, int] = {}
    for c, p in sorted(shared, key=lambda pair: (-likeness(pair), pair[1], pair[0])):
        if c not in out and p not in out.values():
            out[c] = p
    return out


def _by_size(before: int, now: int) -> Change:
    if abs(now - before) <= SAME_SIZE * before:
        return "kept"
    return "grew" if now > before else "shrank"
