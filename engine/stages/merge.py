"""The next round's dataset: accepted rewrites replace their samples, diversity adds, redundant samples may leave.

With ``merge.size = "fixed"`` as many samples are retired as diversity adds: the most redundant ones that nobody
selected this round (exact copies first, then highest similarity to their neighbours, then lowest tuned loss). Each has
a *keeper*: the copy or nearest neighbour that it is redundant to, which stays. So no two near-duplicates leave
together: at first nothing is retired beside anything that leaves, replaced samples included; where that does not give
enough, its nearest neighbour must stay. Samples that the last merge brought are never retired, nor those that a person
protects. What a person dropped (``engine.store.overrides``) leaves and makes room as well. A rewrite that failed or
was rejected leaves its original in place, unless evidence says that the original is flawed: where the checks or the
signals refused its rewrite the sample is dropped, as a known flaw must not stay silently, and later rounds bring new
samples for it. With ``merge.flawed = "drop"`` all samples that complexity or quality selected are.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Literal, NamedTuple

from engine.plurals import counted
from engine.selection.survey import by_evidence, target_size
from engine.stage import Ctx
from engine.store import prompt_keys
from engine.store.rows import (
    AXES,
    Decision,
    Losses,
    Neighbourhood,
    Override,
    Retirement,
    Rewrite,
    Sample,
    Selection,
    Threshold,
    content_id,
    load_messages,
)
from engine.verification import retirement


def run(ctx: Ctx) -> None:
    """Run the stage: write the next dataset in one transaction."""
    data = members(ctx.dataset())
    accepted = [r for r in ctx.rows(Rewrite) if r.state == "accepted" and r.messages is not None]
    ctx.begin(1)
    held = given_away(accepted, ctx.heldout())
    accepted = [r for r in accepted if r.key not in held]
    dataset = ctx.dataset()
    parents = {s.id: s for s in dataset.take(sorted({r.sample_id for r in accepted}))}
    born = births(parents, accepted, _taken(ctx, data), dataset.next_place)
    replaced = [s.parent_id for s in born if s.axis != "diversity" and s.parent_id is not None]
    added = len(born) - len(replaced)
    asked = {row.sample_id: row.action for row in ctx.rows(Override)}
    staying = {s.id for s in data} - set(replaced)
    by_hand = [s.id for s in data if asked.get(s.id) == "drop" and s.id in staying]
    bad = [id for id in flawed(ctx, staying - set(by_hand)) if asked.get(id) != "protect"]
    dropped = [*by_hand, *bad]
    room = _room(ctx, len(data), added, len(dropped)) if ctx.config.merge.size == "fixed" else 0
    redundant: dict[int, DuplicateOf] = {}
    if room:
        retirable = [s for s in _retirable(ctx, data) if asked.get(s.id) != "protect"]
        redundant = most_redundant(retirable, _redundancy(ctx), room, [*replaced, *dropped])
    refused = [Decision(ctx.round, *key, "rejected", f"evaluation: {reason}") for key, reason in held.items()]
    why = [Retirement(id, ctx.round + 1, kept.reason, kept.id) for id, kept in redundant.items()]
    why += [Retirement(id, ctx.round + 1, "dropped", id) for id in by_hand]
    why += [Retirement(id, ctx.round + 1, "flawed", id) for id in bad]
    ctx.replace(born, [*replaced, *redundant, *dropped], [*refused, *why])
    ctx.save([], done=1)
    ctx.event(describe(len(data), len(replaced), added, list(redundant.values()), len(by_hand), len(bad)))
    if held:
        one, many = (
            "accepted rewrite is not merged because its prompt is",
            "accepted rewrites are not merged because their prompts are",
        )
        ctx.event(f"{counted(len(held), one, many)} held out", "warning")
    if len(redundant) < room:
        ctx.event(f"only {counted(len(redundant), 'sample')} could be retired to balance {added} added ones", "warning")


def flawed(ctx: Ctx, among: Set[int]) -> list[int]:
    """The ids ``among`` the dataset's that are dropped for being flawed, in order.

    What a person rejected stays: they have looked at it.
    """
    rows = {r.key: r for r in ctx.rows(Rewrite)}
    selected = [s for s in ctx.rows(Selection) if s.axis != "diversity" and s.sample_id in among]
    marks = [t.detail or "{}" for t in ctx.rows(Threshold) if t.rule == "evidence"]
    suspects = (_suspect(s, rows.get((s.sample_id, s.axis))) for s in selected)
    return sorted(retirement.flawed(suspects, marks[0] if marks else None, ctx.config.merge.flawed == "drop"))


def _suspect(one: Selection, row: Rewrite | None) -> retirement.Suspect:
    if row is None:
        return retirement.Suspect(one.sample_id, one.threshold)
    return retirement.Suspect(one.sample_id, one.threshold, row.state, row.attempts, row.reason, row.probe)


def _room(ctx: Ctx, size: int, added: int, dropped: int) -> int:
    """How many redundant samples make room for what is added."""
    return retirement.room(size, added, dropped, target_size(ctx) if by_evidence(ctx) else None)


def given_away(accepted: Sequence[Rewrite], heldout: Sequence[Sample]) -> dict[tuple[int, str], str]:
    """The rewrites that would train on a held-out prompt, whoever accepted them, each with the reason."""
    held = {prompt_keys.key(s.messages): s.id for s in heldout}
    found = ((r.key, prompt_keys.item(load_messages(r.messages or "[]"), held)) for r in accepted)
    return {key: f"the prompt is item {item} of the held-out set" for key, item in found if item is not None}


class Member(NamedTuple):
    """What the merge knows of each sample. ``content``: the hash of its conversation; exact copies have the same."""

    id: int
    place: int
    born_round: int
    content: int


def members(data: Iterable[Sample]) -> list[Member]:
    """The dataset without its texts, gone through once."""
    return [Member(s.id, s.seq, s.born_round, content_id(s.messages)) for s in data]


def births(parents: Mapping[int, Sample], accepted: Sequence[Rewrite], taken: set[int], first: int) -> list[Sample]:
    """The accepted rewrites as samples, by axis and place of their parent; ``first``: the first place that nobody had.

    What takes another's place keeps its row's other columns (an id, a source).
    """
    ordered = sorted(accepted, key=lambda r: (AXES.index(r.axis), parents[r.sample_id].seq))
    used = set(taken)
    out = []
    for place, row in enumerate(ordered, start=first):
        messages = load_messages(row.messages or "[]")
        copy = 0
        while (id := content_id(messages, copy)) in used:
            copy += 1
        used.add(id)
        out.append(
            Sample(
                id=id,
                messages=messages,
                seq=place,
                parent_id=row.sample_id,
                axis=row.axis,
                born_round=row.round + 1,
                extra="" if row.axis == "diversity" else parents[row.sample_id].extra,
                source=f"rewrite of #{parents[row.sample_id].seq}",
            )
        )
    return out


@dataclass(frozen=True, slots=True)
class Redundancy:
    """A sample's similarity to its neighbours, its tuned loss, and its nearest neighbours, nearest first."""

    similarity: float
    loss_after: float
    near: tuple[int, ...]


class DuplicateOf(NamedTuple):
    """Why a sample is redundant, and the kept sample it duplicates."""

    reason: Literal["copy", "near"]
    id: int


def most_redundant(
    samples: Sequence[Member], known: Mapping[int, Redundancy], count: int, leaving: Iterable[int] = ()
) -> dict[int, DuplicateOf]:
    """Up to ``count`` ids to retire with what they are redundant to, the most redundant first; equals by place in the
    dataset. ``leaving``: samples that are replaced.
    """
    copies, rest = _copies(samples, set(leaving))
    out = dict(list(copies.items())[:count])
    ranked = [s for s in rest if s.id in known]
    ranked.sort(key=lambda s: (-known[s.id].similarity, known[s.id].loss_after, s.place))
    gone, keepers = {*leaving, *out}, {kept.id for kept in out.values()}
    beside = {near for id in gone if id in known for near in known[id].near}
    for strict in (True, False):
        for id in (s.id for s in ranked if s.id not in gone):
            if len(out) == count:
                return out
            near = known[id].near
            touches = id in beside or not gone.isdisjoint(near)
            if not near or near[0] in gone or id in keepers or (strict and touches):
                continue
            out[id] = DuplicateOf("near", near[0])
            keepers.add(near[0])
            gone.add(id)
            beside.update(near)
    return out


def _copies(samples: Sequence[Member], leaving: set[int]) -> tuple[dict[int, DuplicateOf], list[Member]]:
    """Exact copies of samples that stay, each with the first of them; and all others. In order of place."""
    first: dict[int, int] = {}
    copies: dict[int, DuplicateOf] = {}
    rest: list[Member] = []
    for sample in sorted((s for s in samples if s.id not in leaving), key=lambda s: s.place):
        kept = first.setdefault(sample.content, sample.id)
        if kept == sample.id:
            rest.append(sample)
        else:
            copies[sample.id] = DuplicateOf("copy", kept)
    return copies, rest


def describe(
    size: int, replaced: int, added: int, retired: Sequence[DuplicateOf], dropped: int = 0, bad: int = 0
) -> str:
    """The log line: changes, why samples were retired, and the new size."""
    copies = sum(kept.reason == "copy" for kept in retired)
    near = counted(len(retired) - copies, "near-duplicate")
    why = f" ({counted(copies, 'exact copy', 'exact copies')}, {near} of kept samples)" if retired else ""
    gone_ones = counted(len(retired), "redundant one")
    gone = f", {dropped} dropped by hand" if dropped else ""
    gone += f", {counted(bad, 'flawed one')} dropped" if bad else ""
    return (
        f"{counted(replaced, 'sample')} replaced, {added:,} added, {gone_ones} retired{why}{gone}:"
        f" {size:,} → {counted(size + added - len(retired) - dropped - bad, 'sample')}"
    )


# ------------------------------------------------------------------------------------------------- the store


def _retirable(ctx: Ctx, data: Sequence[Member]) -> list[Member]:
    """Samples that nobody selected and that the last merge did not bring."""
    selected = {row.sample_id for row in ctx.rows(Selection)}
    return [s for s in data if s.id not in selected and (s.born_round == 0 or s.born_round < ctx.round)]


def _redundancy(ctx: Ctx) -> dict[int, Redundancy]:
    """By sample. Where evidence selects, what is easy counts as much as what is similar: the ranks of both together
    stand for the similarity.
    """
    losses = {row.sample_id: row.loss_after for row in ctx.rows(Losses)}
    near = ctx.rows(Neighbourhood)
    found = [losses.get(row.sample_id) for row in near]
    loss = [float("inf") if value is None else value for value in found]
    similar = [row.similarity for row in near]
    if by_evidence(ctx):
        similar = [a + b for a, b in zip(_places(similar), _places([-value for value in loss]), strict=True)]
    return {
        row.sample_id: Redundancy(similar[i], loss[i], tuple(json.loads(row.neighbours))) for i, row in enumerate(near)
    }


def _places(values: Sequence[float]) -> list[float]:
    """The rank of each value; ties by order."""
    out = [0.0] * len(values)
    for place, i in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        out[i] = float(place)
    return out


def _taken(ctx: Ctx, data: Sequence[Member]) -> set[int]:
    """The ids of all samples, retired ones included."""
    scored = {row.sample_id for r in range(ctx.round + 1) for row in ctx.rows(Losses, r)}
    return scored | {s.id for s in data} | {content_id(s.messages) for s in ctx.heldout()}
