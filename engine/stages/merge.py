"""The next round's dataset: accepted rewrites replace their samples, diversity adds, redundant samples may leave.

With ``merge.size = "fixed"`` as many samples are retired as diversity adds: the most redundant ones that nobody
selected this round (exact copies first, then highest similarity to their neighbours, then lowest loss after
training). A sample whose nearest neighbour has just been retired is passed over at first: what it was redundant to is
gone. Samples that the last merge brought are never retired. A rewrite that failed or was rejected leaves its original
in place.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.stage import Ctx
from engine.store import asked
from engine.store.rows import (
    AXES,
    Decision,
    Losses,
    Neighbourhood,
    Rewrite,
    Sample,
    Selection,
    content_id,
    dump_messages,
    load_messages,
)


def run(ctx: Ctx) -> None:
    """Write the next dataset in one transaction."""
    data = list(ctx.dataset())
    accepted = [r for r in ctx.rows(Rewrite) if r.state in ("accepted", "merged") and r.messages is not None]
    ctx.begin(1)
    held = given_away(accepted, ctx.heldout())
    accepted = [r for r in accepted if r.key not in held]
    born = births(data, accepted, _taken(ctx, data))
    replaced = [s.parent_id for s in born if s.axis != "diversity" and s.parent_id is not None]
    added = len(born) - len(replaced)
    redundant: list[int] = []
    if ctx.config.merge.size == "fixed" and added:
        untouched = _retirable(ctx, data)
        redundant = most_redundant(untouched, _redundancy(ctx), added)
    merged = [Decision(ctx.round, r.sample_id, r.axis, "merged") for r in accepted]
    refused = [Decision(ctx.round, *key, "rejected", f"evaluation: {reason}") for key, reason in held.items()]
    ctx.replace(born, [*replaced, *redundant], [*merged, *refused])
    ctx.save([], done=1)
    ctx.event(describe(len(data), len(replaced), added, len(redundant)))
    if held:
        ctx.event(f"{len(held)} accepted rewrites are left out: their prompts are held out", "warning")
    if len(redundant) < added and ctx.config.merge.size == "fixed":
        ctx.event(f"only {len(redundant)} samples could be retired for {added} added ones", "warning")


def given_away(accepted: Sequence[Rewrite], heldout: Sequence[Sample]) -> dict[tuple[int, str], str]:
    """The rewrites that would train on a held-out prompt, whoever accepted them, each with the reason."""
    held = {asked.key(s.messages): s.id for s in heldout}
    found = ((r.key, asked.item(load_messages(r.messages or "[]"), held)) for r in accepted)
    return {key: f"the prompt is that of item {item} of the held-out set" for key, item in found if item is not None}


def births(data: Sequence[Sample], accepted: Sequence[Rewrite], taken: set[int]) -> list[Sample]:
    """The accepted rewrites as samples, by axis and place of their parent; places go on after the dataset's last."""
    parents = {s.id: s for s in data}
    ordered = sorted(accepted, key=lambda r: (AXES.index(r.axis), parents[r.sample_id].seq))
    used = set(taken)
    top = max((s.seq for s in data), default=-1)
    out = []
    for place, row in enumerate(ordered, start=top + 1):
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
                source=f"rewrite of #{parents[row.sample_id].seq}",
            )
        )
    return out


@dataclass(frozen=True, slots=True)
class Redundancy:
    """How redundant a sample is: similarity to its neighbours, loss after training, its nearest neighbour."""

    similarity: float
    loss_after: float
    nearest: int | None


def most_redundant(samples: Sequence[Sample], known: Mapping[int, Redundancy], count: int) -> list[int]:
    """Up to ``count`` ids to retire, the most redundant first; equals by place in the dataset."""
    seen: set[str] = set()
    copies: list[Sample] = []
    rest: list[Sample] = []
    for sample in sorted(samples, key=lambda s: s.seq):
        text = dump_messages(sample.messages)
        (copies if text in seen else rest).append(sample)
        seen.add(text)
    ranked = [s for s in rest if s.id in known]
    ranked.sort(key=lambda s: (-known[s.id].similarity, known[s.id].loss_after, s.seq))
    out = [s.id for s in copies[:count]]
    gone = set(out)
    passed_over = []
    for sample in ranked:
        if len(out) == count:
            break
        if known[sample.id].nearest in gone:
            passed_over.append(sample.id)
        else:
            out.append(sample.id)
            gone.add(sample.id)
    return out + passed_over[: count - len(out)]


def describe(size: int, replaced: int, added: int, retired: int) -> str:
    """The log line: what changed, and the new size."""
    return (
        f"{replaced} samples replaced, {added} added, {retired} redundant ones retired:"
        f" {size} → {size + added - retired} samples"
    )


# ------------------------------------------------------------------------------------------------- the store


def _retirable(ctx: Ctx, data: Sequence[Sample]) -> list[Sample]:
    """Samples that nobody selected and that the last merge did not bring."""
    selected = {row.sample_id for row in ctx.rows(Selection)}
    return [s for s in data if s.id not in selected and (s.born_round == 0 or s.born_round < ctx.round)]


def _redundancy(ctx: Ctx) -> dict[int, Redundancy]:
    losses = {row.sample_id: row.loss_after for row in ctx.rows(Losses)}
    out = {}
    for row in ctx.rows(Neighbourhood):
        near = json.loads(row.neighbours)
        loss = losses.get(row.sample_id)
        out[row.sample_id] = Redundancy(
            row.similarity, float("inf") if loss is None else loss, near[0] if near else None
        )
    return out


def _taken(ctx: Ctx, data: Sequence[Sample]) -> set[int]:
    """The ids of all samples there ever were, retired ones included: every one was scored in some round."""
    scored = {row.sample_id for r in range(ctx.round + 1) for row in ctx.rows(Losses, r)}
    return scored | {s.id for s in data} | {content_id(s.messages) for s in ctx.heldout()}
