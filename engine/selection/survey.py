"""A round as evidence looks at it: who looks how flawed, who may be asked about, where new samples are worth most.

All arrays are in dataset order. Nothing here depends on what was asked this round, so a resumed run finds the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.chat import batches
from engine.selection import overridden
from engine.selection.earlier_rounds import AGREES as AGREES
from engine.selection.earlier_rounds import AGREES_AGAIN as AGREES_AGAIN
from engine.selection.earlier_rounds import FALSE_ALARMS as FALSE_ALARMS
from engine.selection.earlier_rounds import UNSURE as UNSURE
from engine.signals import held_back
from engine.signals.flaw_score import ranks
from engine.signals.nearest import Bools, Floats
from engine.stage import Ctx
from engine.store.rows import Axis, Flaw, Losses, Neighbourhood, Rewrite, Threshold, unwritable

SIGNAL = "flaw"
"""The signal of the threshold row that says what the evidence was."""
RULE = "evidence"
JUDGED = "quality"
"""The lens of the flaw score that is the judge's."""
NOISE = "no evidence: the teacher's answers differ as often at random"
"""Why a sample is kept that another teacher may be asked about."""
CAPPED = "a random check: no more is repaired in this round (select.max_share)"
"""Why a sample is kept that a later round may ask about."""
ANSWERED = ("kept", "proposed", "accepted", "rejected")
"""States of a rewrite whose answer came."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What is known of a round's samples before anything is asked.

    ids, places: of the samples, [N]. scores: flaw scores, [N], NaN where there is none. lenses: which lens is worst.
    open: may be asked about. cores: may inspire a new sample. weak: how much a new sample beside this one is worth, the
    highest most: where few samples lie and the tuned model's loss is high. similarity: [N]. target: how many samples
    the dataset should have. found, added: flaws that earlier rounds found and samples that they added.
    """

    ids: list[int]
    scores: Floats
    lenses: list[str]
    open: Bools
    cores: Bools
    weak: Floats
    similarity: Floats
    target: int
    found: int
    added: int

    @property
    def order(self) -> NDArray[np.int64]:
        """The places of those that may be asked about, the worst first; ties in dataset order."""
        there = np.flatnonzero(self.open)
        return there[np.argsort(-self.scores[there], kind="stable")]

    def drawn(self, seed: int, round: int) -> NDArray[np.int64]:
        """The same places in random order, for control groups."""
        rng = np.random.default_rng(batches.seed(seed, round, "control"))
        there = np.flatnonzero(self.open)
        return there[rng.permutation(len(there))]

    @property
    def median(self) -> float:
        """The flaw score below which a sample looks fine."""
        known = self.scores[np.isfinite(self.scores)]
        return float(np.median(known)) if len(known) else 0.0

    def axis(self, place: int) -> Axis:
        """Which axis a flaw belongs to: the judge's, or the losses'."""
        return "quality" if self.lenses[place] == JUDGED else "complexity"

    def probe(self, round: int, place: int, prompts: Mapping[int, str], control: bool, batch: int) -> Rewrite:
        """The question whether the teacher answers the sample's own prompt as the sample does.

        Args:
            prompts: by sample id.
            control, batch: as the row's.
        """
        id, axis = self.ids[place], self.axis(place)
        return Rewrite(round, id, axis, "prompted", prompt=prompts[id], probe=True, control=control, batch=batch)


def by_evidence(ctx: Ctx) -> bool:
    """Whether this round selects by evidence."""
    return ctx.config.select.rule == RULE


def _first(ctx: Ctx) -> Threshold | None:
    """What the first round that selected by evidence says of itself."""
    rounds = (t for r in range(ctx.round + 1) for t in ctx.rows(Threshold, r))
    return next((t for t in rounds if t.signal == SIGNAL), None)


def target_size(ctx: Ctx) -> int:
    """How many samples the dataset should have: as many as when evidence was first asked for, and what was added by
    hand since.
    """
    first = _first(ctx)
    if first is None:
        return len(ctx.dataset().ids)
    since = sum(sample.parent_id is None and sample.born_round > first.round for sample in ctx.dataset())
    return int(json.loads(first.detail or "{}")["samples"]) + since


def survey(ctx: Ctx) -> Survey:
    """Read the round's samples and signals."""
    before = [t for r in range(ctx.round) for t in ctx.rows(Threshold, r) if t.signal == SIGNAL]
    rounds = {t.round for t in before}
    settled = max((t.round for t in before if json.loads(t.detail or "{}").get("settled")), default=-1)
    past = [row for r in range(ctx.round) for row in ctx.rows(Rewrite, r)]
    asked = {row.sample_id for row in past if row.probe and row.state in ANSWERED and row.reason not in (NOISE, CAPPED)}
    used = {row.sample_id for row in past if row.axis == "diversity" and row.attempts}
    wishes = {id: row.action for id, row in overridden.overrides(ctx).items()}
    held = held_back.held(ctx)
    ids: list[int] = []
    open_: list[bool] = []
    cores: list[bool] = []
    for sample in ctx.dataset():
        whole = not unwritable(sample.messages) and sample.id not in held
        ids.append(sample.id)
        own = sample.parent_id is None
        left = sample.id in wishes
        open_.append(whole and own and not left and sample.id not in asked and sample.born_round > settled)
        cores.append(whole and sample.id not in used and wishes.get(sample.id) in (None, "protect"))
    flaws = {row.sample_id: row for row in ctx.rows(Flaw)}
    near = {row.sample_id: row.similarity for row in ctx.rows(Neighbourhood)}
    after = {row.sample_id: row.loss_after for row in ctx.rows(Losses)}
    scores = np.array([flaws[id].flaw if id in flaws else np.nan for id in ids])
    similarity = np.array([near.get(id, np.nan) for id in ids])
    weak = ranks(-similarity) * ranks(np.array([_number(after.get(id)) for id in ids]))
    return Survey(
        ids=ids,
        scores=scores,
        lenses=[flaws[id].flaw_lens if id in flaws else "" for id in ids],
        open=np.array(open_, dtype=np.bool_) & np.isfinite(scores),
        cores=np.array(cores, dtype=np.bool_) & np.isfinite(weak),
        weak=weak,
        similarity=similarity,
        target=target_size(ctx),
        found=sum(int(json.loads(t.detail or "{}").get("grows", 0)) for t in before),
        added=sum(row.axis == "diversity" and row.state == "accepted" and row.round in rounds for row in past),
    )


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
