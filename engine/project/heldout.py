"""What is held out stays out: it is told by its prompt (``engine.store.prompt_keys``), so all copies of one are on the
same side.

A conversation trains the answers to every prompt in it; a held-out one is measured by its last. So a sample may be
trained on when none of its prompts is the last one of a held-out sample; and a held-out sample that is a single
question may stand nowhere in a conversation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from heapq import nsmallest

from engine.project.asked_prompts import Asked
from engine.store.prompt_keys import Key


@dataclass(frozen=True, slots=True)
class HeldoutSplit:
    """What becomes of the rows of an import, by their places in it.

    held: held out, copies of prompts that are held out already (``copies`` many) among them. barred: left out, each
    with the held-out item that has its prompt, because that item comes from a file of its own. both: of those trained
    on, the ones whose prompts are held out, where a person allowed that.
    """

    held: set[int]
    barred: dict[int, int]
    copies: int
    both: set[int] = field(default_factory=set)

    def trains(self, place: int) -> bool:
        """Whether the row at ``place`` is trained on."""
        return place not in self.held and place not in self.barred


@dataclass(slots=True)
class Known:
    """What a project has before an import: prompts that are held out, with the item; those of them that come from a
    file of their own; prompts that are trained on.
    """

    held: dict[Key, int] = field(default_factory=dict)
    own: set[Key] = field(default_factory=set)
    trained: Asked = field(default_factory=Asked)

    def learn(self, asked: Asked, made: HeldoutSplit) -> None:
        """An import was split like this."""
        for place in sorted(made.held):
            self.held.setdefault(asked[place][0], -1)
        for place, keys in enumerate(asked):
            if made.trains(place):
                self.trained.append(keys)


def split(asked: Asked, ids: Sequence[int], known: Known, most: int, seed: int, overlap: bool = False) -> HeldoutSplit:
    """Which rows of an import are held out: up to ``most``, by the hash of their ids and ``seed``, so that file order
    does not matter; all copies of a prompt or none. Prompts that do not fit into ``most``, or are trained on, stay.

    ``overlap``: rows whose prompts are held out already are trained on all the same.
    """
    met = dict.fromkeys((row for row, _ in asked.rows(known.held)) if known.held else ())
    if overlap:
        return HeldoutSplit(_drawn(asked, ids, known.trained, met, most, seed), {}, 0, set(met))
    barred: dict[int, int] = {}
    for row, key in asked.rows(known.own) if known.own else ():
        barred.setdefault(row, known.held[key])
    joined = met.keys() - barred.keys()
    drawn = _drawn(asked, ids, known.trained, met, most - len(joined), seed)
    return HeldoutSplit(joined | drawn, barred, len(joined))


TRIED = 4
"""So many times more rows than are to be held out are looked at first: some are copies, or trained on."""


def _drawn(asked: Asked, ids: Sequence[int], trained: Asked, gone: Collection[int], most: int, seed: int) -> set[int]:
    """Places of newly held-out rows. Who has a row's last prompt has all its prompts: one step finds them all."""
    if most <= 0:
        return set()
    salt = seed.to_bytes(8, "big")
    tried = 0
    while True:
        tried = min(len(ids), tried * TRIED or most * TRIED)
        ranked = nsmallest(
            tried, range(len(ids)), key=lambda row: hashlib.blake2b(ids[row].to_bytes(8, "big"), key=salt).digest()
        )
        out = _first_that_fit(asked, ranked, trained, gone, most)
        if len(out) >= most or tried == len(ids):
            return out


def _first_that_fit(asked: Asked, ranked: Sequence[int], trained: Asked, gone: Collection[int], most: int) -> set[int]:
    prompts = {row: asked[row][0] for row in ranked}
    having: dict[Key, set[int]] = {prompt: set() for prompt in prompts.values()}
    for row, key in asked.rows(having):
        having[key].add(row)
    known = {key for _, key in trained.rows(having)}
    out: set[int] = set()
    for row, prompt in prompts.items():
        if len(out) >= most:
            break
        if row in out or row in gone or prompt in known:
            continue
        together = having[prompt] - out
        if len(out) + len(together) <= most and together.isdisjoint(gone):
            out |= together
    return out
