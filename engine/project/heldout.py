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

from engine.store.prompt_keys import Key, key, keys
from engine.store.rows import Sample


@dataclass(frozen=True, slots=True)
class HeldoutSplit:
    """The samples of an import, in its order.

    held: held out, copies of prompts that are held out already (``copies`` many) among them. barred: left out, each
    with the held-out item that has its prompt, because that item comes from a file of its own. both: of those trained
    on, the ones whose prompts are held out, where a person allowed that.
    """

    trained: list[Sample]
    held: list[Sample]
    barred: list[tuple[Sample, int]]
    copies: int
    both: list[Sample] = field(default_factory=list)


@dataclass(slots=True)
class Known:
    """What a project has before an import: prompts that are held out, with the item; those of them that come from a
    file of their own; prompts that are trained on.
    """

    held: dict[Key, int] = field(default_factory=dict)
    own: set[Key] = field(default_factory=set)
    trained: set[Key] = field(default_factory=set)

    def learn(self, made: HeldoutSplit) -> None:
        """An import was split like this."""
        for sample in made.held:
            self.held.setdefault(key(sample.messages), -1)
        for sample in made.trained:
            self.trained |= keys(sample.messages)


def split(samples: Sequence[Sample], known: Known, most: int, seed: int, overlap: bool = False) -> HeldoutSplit:
    """Which of ``samples`` are held out: up to ``most``, by the hash of content and ``seed``, so that file order does
    not matter; all copies of a prompt or none. Prompts that do not fit into ``most``, or are trained on, stay.

    ``overlap``: rows whose prompts are held out already are trained on all the same.
    """
    asked = [keys(s.messages) for s in samples]
    if overlap:
        both = {i for i, every in enumerate(asked) if not every.isdisjoint(known.held)}
        held = _drawn(samples, asked, known.trained, both, most, seed)
        trained = [s for i, s in enumerate(samples) if i not in held]
        return HeldoutSplit(trained, [samples[i] for i in sorted(held)], [], 0, [samples[i] for i in sorted(both)])
    barred = {i: known.held[k] for i, every in enumerate(asked) for k in every if k in known.own}
    joined = {i for i, every in enumerate(asked) if i not in barred and not every.isdisjoint(known.held)}
    held = joined | _drawn(samples, asked, known.trained, {*joined, *barred}, most - len(joined), seed)
    return HeldoutSplit(
        [s for i, s in enumerate(samples) if i not in held and i not in barred],
        [s for i, s in enumerate(samples) if i in held],
        [(samples[i], item) for i, item in sorted(barred.items())],
        len(joined),
    )


def _drawn(
    samples: Sequence[Sample], asked: Sequence[set[Key]], trained: Collection[Key], gone: set[int], most: int, seed: int
) -> set[int]:
    """Places of newly held-out samples. Who has a sample's last prompt has all its prompts: one step finds them all."""
    if most <= 0:
        return set()
    having: dict[Key, list[int]] = {}
    for i, every in enumerate(asked):
        for k in every:
            having.setdefault(k, []).append(i)
    salt = seed.to_bytes(8, "big")
    out: set[int] = set()
    rank = [hashlib.blake2b(s.id.to_bytes(8, "big"), key=salt).digest() for s in samples]
    for i in sorted(range(len(samples)), key=rank.__getitem__):
        if len(out) >= most:
            break
        prompt = key(samples[i].messages)
        if i in out or i in gone or prompt in trained:
            continue
        together = set(having[prompt]) - out
        if len(out) + len(together) <= most and together.isdisjoint(gone):
            out |= together
    return out
