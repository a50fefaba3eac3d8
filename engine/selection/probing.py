"""Asks the teacher about samples that look flawed, in batches, worst first, until it no longer pays; then has new
samples written where the model is weak.

A probe is a rewrite whose prompt is the sample's own: it waits for its answer from the start. Where the answer agrees
with the sample's (``engine.selection.agreement``) it was a false alarm: the rewrite is ``kept``, and so is the sample.
Where it disagrees, the rewrite is the sample's prompt with the teacher's answer, for one call. A control group of
random samples is hidden in the batches; what looks fine of it tells how often answers differ by chance, and is kept
whatever the answer. When to end is in ``engine.selection.evidence``.

The calls that are left go to new samples, at most as many as flaws were found, in all rounds together, and at most
``select.new_samples`` of the dataset in a round, beside what earlier rounds dropped.

Before the asking ends, what differs is asked about a second time wherever chance may explain more than a twentieth of
it (``evidence.doubtful``). If the second answer agrees with the sample's, it was a false alarm as well. Where it only
asked what is wanted (``unclear_prompts``), it is asked for a new prompt in the end, then for its answer.

What comes next follows from the rows that are there: each step is saved whole, with the rows that the next one needs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field as field_of

import numpy as np
from msgspec.structs import replace

from engine.plurals import counted
from engine.selection import control_arm, evidence
from engine.selection.agreement import Bounds
from engine.selection.comparison import Comparison, asked_again, first_calls, is_unclear, with_more, without_prompt
from engine.selection.evidence import End, FlawedShare, Tally, tally
from engine.selection.survey import AGREES, CAPPED, FALSE_ALARMS, NOISE, RULE, SIGNAL, Survey, by_evidence, survey
from engine.signals import axes
from engine.stage import Ctx
from engine.store.controls import ControlArm
from engine.store.rows import AGAIN, Rewrite, Row, Selection, Threshold
from engine.teacher.budget import EXHAUSTED, FEWER
from engine.teacher.job import RewriteJob

WAVES = 4
"""How often new samples are asked for again in place of those that came to nothing."""
FINE = "a random check: it looks fine, and the teacher's answer differs"
DROPPED = "the sample is dropped (merge.flawed)"


def first(ctx: Ctx, found: Survey) -> list[Row]:
    """What the select stage writes: the first batch, and a threshold that nobody is beyond yet."""
    most = axes.rewrite_cap(ctx.config.select, len(found.ids))
    return [_threshold(ctx, found, float("inf"), {"samples": len(found.ids)}), *_batch(ctx, found, set(), 0, most)]


def at_random(ctx: Ctx, found: Survey, arm: ControlArm) -> list[Row]:
    """What the select stage of a control writes: everything that is asked, chosen at random."""
    return [_threshold(ctx, found, float("inf"), {"samples": len(found.ids)}), *control_arm.probes(ctx, found, arm)]


def nothing_asked(ctx: Ctx) -> Threshold:
    """The threshold of a control without a teacher: what it selects is certain, and the asking is over."""
    detail: dict[str, object] = {
        "samples": len(ctx.dataset().ids),
        "verdict": "a control without a teacher: nothing is asked",
        "stopped": "nothing is asked",
        "certain": True,
    }
    return _threshold(ctx, survey(ctx), float("inf"), detail)


def _batch(ctx: Ctx, found: Survey, asked: set[int], number: int, most: int) -> list[Rewrite]:
    """The probes of batch ``number``: the worst of those not ``asked`` about, at most ``most``, and random ones."""
    size = max(0, min(most, evidence.batch_size(number, len(found.ids), ctx.config.teacher.batch)))
    if number == 0:  # so that even a small dataset has a control group
        size = min(size, math.ceil(len(found.order) / 2))
    worst = [int(i) for i in found.order if found.ids[i] not in asked][:size]
    if not worst:
        return []
    taken = asked | {found.ids[i] for i in worst}
    drawn = [int(i) for i in found.drawn(ctx.config.project.seed, ctx.round) if found.ids[i] not in taken]
    places = [(i, False) for i in worst] + [(i, True) for i in drawn[: evidence.controls(number, size)]]
    prompts = {s.id: s.prompt for s in ctx.dataset().take(sorted(found.ids[i] for i, _ in places))}
    return [found.probe(ctx.round, i, prompts, control, number) for i, control in places]


def _threshold(ctx: Ctx, found: Survey, cut: float, detail: dict[str, object]) -> Threshold:
    known = found.scores[np.isfinite(found.scores)]
    mean, sigma = (float(known.mean()), float(known.std())) if len(known) else (0.0, 0.0)
    m = (cut - mean) / (sigma or 1.0)
    return Threshold(ctx.round, SIGNAL, "quality", mean, sigma, m, cut, None, rule=RULE, detail=json.dumps(detail))


@dataclass(slots=True)
class Probing:
    """The evidence of a round as it grows. ``ended``: the asking is over. ``arm``: the round is a control, in which no
    batch follows the first.
    """

    ctx: Ctx
    job: RewriteJob
    found: Survey
    ended: bool
    arm: ControlArm | None = None
    place: dict[int, int] = field_of(default_factory=dict)

    @classmethod
    def begin(cls, ctx: Ctx, job: RewriteJob) -> Probing | None:
        """Take up what is there; None where the round does not select by evidence."""
        if not by_evidence(ctx):
            return None
        found = survey(ctx)
        marks = [t for t in ctx.rows(Threshold) if t.signal == SIGNAL]
        ended = any("stopped" in json.loads(t.detail or "{}") for t in marks)
        return cls(ctx, job, found, ended, control_arm.of(ctx), {id: i for i, id in enumerate(found.ids)})

    def more(self) -> bool:
        """Whether calls are owed, after the next ones are added to the job where none are."""
        if self.job.pending():
            return True
        if not self.ended:
            if self._ask_on():
                return True
            self.ended = True
        return bool(self.job.pending()) or (self.arm is None and self._grow())

    # ------------------------------------------------------------------------------------------------- evidence

    @property
    def probes(self) -> list[Rewrite]:
        """The rewrites that are the teacher's answers to samples' own prompts, but those that a person sent back."""
        return [row for row in self.job.all() if row.is_evidence]

    def score(self, row: Rewrite) -> float:
        """The flaw score of a rewrite's sample."""
        return float(self.found.scores[self.place[row.sample_id]])

    def _ask_on(self) -> bool:
        """Look at what came back, and add the next batch or end the asking; whether there is a next batch."""
        compared = self._compared()
        self.job.update(compared)
        number = max((row.batch for row in self.probes), default=-1)
        end = self._ends(number) if number >= 0 else None
        if self.arm is not None:
            end = End("as many were asked about as in the round itself", settled=False)
        asked = {row.sample_id for row in self.job.all() if row.probe}  # also what a person sent back
        most = self._cap() - sum(not row.control for row in self._differing())
        over = end or any(row.draw == AGAIN for row in self.probes)
        fresh = [] if over else _batch(self.ctx, self.found, asked, number + 1, most)
        if fresh:
            self.job.add(self.ctx, fresh)
            self._save([*compared, *fresh])
            return True
        if again := self._again():
            one, many = "answer that may differ by chance is", "answers that may differ by chance are"
            self.ctx.event(f"{counted(len(again), one, many)} asked for a second time")
            self.job.update(again)
            self._save([*compared, *again])
            return True
        if end is None and most <= 0:
            end = self._at_cap()
        self._save([*compared, *self._end(end or End("all candidates were asked about", settled=True))])
        return False

    def _compared(self) -> list[Rewrite]:
        """The probes whose answers were not looked at yet, each with how alike the two answers are."""
        comparison = self._comparison()
        out = []
        for row in self.probes:
            if row.agreement is not None:
                continue
            if row.first_answer is not None and row.state in ("proposed", "failed"):
                out.append(comparison.after_second(row))
            elif row.state == "proposed":
                out.append(comparison.after_first(row))
        return out

    def _comparison(self) -> Comparison:
        """When answers agree, as the first batch and the control group beside it tell."""

        def pairs(rows: Sequence[Rewrite]) -> list[tuple[str, str]]:
            found = [row for row in rows if not row.batch]
            return [(self.job.samples[r.sample_id].response, r.first_answer or r.response or "") for r in found]

        bounds = Bounds.of(pairs(self._fine()), pairs([row for row in self.probes if _answered(row)]))
        return Comparison(bounds, self.job.samples, {id: self.found.lenses[i] for id, i in self.place.items()})

    def _again(self) -> list[Rewrite]:
        """What is asked about a second time: where answers differ and chance may explain more than a twentieth."""
        if any(row.draw == AGAIN or row.reason == EXHAUSTED for row in self.probes):
            return []
        if self.arm is not None:
            return [asked_again(row) for row in control_arm.again(self.arm, self.probes)]
        fine, cut = self._tally(self._fine()), self._cut()
        groups: dict[int, list[Rewrite]] = {}
        for row in self.probes:
            if not row.control:
                groups.setdefault(row.batch, []).append(row)
            elif self.score(row) >= cut and self.score(row) > self.found.median:
                groups.setdefault(-1, []).append(row)
        doubtful = [rows for rows in groups.values() if evidence.doubtful(self._tally(rows), fine)]
        return [asked_again(row) for rows in doubtful for row in rows if row.state == "proposed"]

    def _fine(self) -> list[Rewrite]:
        """Of the control group, answered, what looks fine."""
        return [r for r in self.probes if r.control and _answered(r) and self.score(r) <= self.found.median]

    def _tally(self, rows: Sequence[Rewrite]) -> Tally:
        """Of ``rows``, where the teacher's first answer differs."""
        return tally([row.reason != AGREES for row in rows if _answered(row)])

    def _last_tally(self, rows: Sequence[Rewrite]) -> Tally:
        """The same after what was asked a second time."""
        return tally([row.reason not in FALSE_ALARMS for row in rows if _answered(row)])

    def _ends(self, number: int) -> End | None:
        """Why no batch follows batch ``number``; None: one does."""
        if any(row.reason == EXHAUSTED for row in self.probes):
            return End("the teacher's budget is exhausted", settled=False)
        if evidence.chance(self._tally(self._fine())) > evidence.NOISE and not self._told():
            return End("the teacher's answers differ as often at random", settled=False)
        if len(self._differing()) >= self._cap():
            return self._at_cap()
        batch = self._batch_tally(number)
        failed = sum(r.batch == number and not r.control and r.state == "failed" for r in self.probes)
        if evidence.pays(self._batch_calls(number), self._tally(self._fine())):
            return None
        if failed > batch.asked:
            return End(
                f"the teacher gave no usable answer to {failed} of the last {failed + batch.asked}", settled=False
            )
        return End(f"the last {batch.asked} gave {counted(batch.differ, 'repair')}", settled=True)

    def _at_cap(self) -> End:
        share = self.ctx.config.select.max_share
        return End(f"as much is flawed as select.max_share = {share:g} allows", settled=False)

    def _batch_tally(self, number: int) -> Tally:
        return self._tally([row for row in self.probes if row.batch == number and not row.control])

    def _batch_calls(self, number: int) -> Tally:
        """The calls of a batch, unusable ones as well, up to its first answers, and those that found a flaw."""
        rows = [row for row in self.probes if row.batch == number and not row.control]
        return Tally(sum(map(first_calls, rows)), self._tally(rows).differ)

    def _cap(self) -> int:
        """How many flaws a round may repair."""
        return axes.rewrite_cap(self.ctx.config.select, len(self.found.ids))

    def _flawed(self) -> list[Rewrite]:
        """Probes whose answer differs: for looking flawed, or at random and looking no better than those, as far as
        ``select.max_share`` allows.
        """
        cut = self._cut()
        there = [r for r in self.probes if r.state == "proposed" or r.reason == DROPPED]
        own, drawn = [r for r in there if not r.control], [r for r in there if r.control and self.score(r) >= cut]
        return own + drawn[: max(0, self._cap() - len(own))]

    def _differing(self) -> list[Rewrite]:
        """The same before any second answer."""
        return self._flawed() + [row for row in self.probes if row.draw == AGAIN and row.reason in FALSE_ALARMS]

    def _cut(self) -> float:
        """The lowest flaw score that was asked about for looking flawed."""
        return min((self.score(row) for row in self.probes if not row.control), default=float("inf"))

    def _told(self) -> bool:
        """Whether what looks flawed differs more often than what looks fine."""
        return evidence.tells(self._tally([row for row in self.probes if not row.control]), self._tally(self._fine()))

    def share(self) -> FlawedShare:
        """How much of the dataset is flawed."""
        cut, control = self._cut(), [row for row in self.probes if row.control]
        asked = [row for row in self.probes if not row.control or self.score(row) >= cut]
        number = max((row.batch for row in self.probes), default=0)
        twice = {(row.batch, row.control) for row in asked if row.draw == AGAIN}
        return evidence.flawed_share(
            len(self.found.ids),
            self._tally([row for row in asked if (row.batch, row.control) not in twice]),
            self._last_tally([row for row in self.probes if row.batch == number and not row.control]),
            self._tally([row for row in control if self.score(row) < cut]),
            self._tally(self._fine()),
            self._last_tally([row for row in asked if (row.batch, row.control) in twice]),
        )

    def _end(self, end: End) -> list[Row]:
        """What is written when the asking is over: the threshold, who is selected, and who is kept."""
        probes, flawed, cut = self.probes, self._flawed(), self._cut()
        chosen = {row.key for row in flawed}
        left = [r for r in probes if r.state == "proposed" and r.key not in chosen]
        kept = [
            replace(row, state="kept", messages=None, reason=FINE if self.score(row) < cut else CAPPED) for row in left
        ]
        fine, told = self._tally(self._fine()), self._told()
        certain, noise = told and evidence.chance(fine) <= evidence.NOISE, evidence.chance(fine) > evidence.NOISE
        if self.arm is not None:  # at random nothing can be told: what the round took for certain is so here
            certain, noise = bool(json.loads(self.arm.plan)["certain"]), False
        if noise and not told:
            kept += [replace(row, state="kept", messages=None, reason=NOISE) for row in flawed]
            flawed = []
        elif certain and self.ctx.config.merge.flawed == "drop":
            kept += [replace(row, state="rejected", messages=None, reason=DROPPED) for row in flawed]
        self.job.update(kept)
        calls, share = sum(r.answer_attempts for r in probes), self.share()
        said = "no sample is left to ask about"
        if probes:
            asked = counted(calls, "call")
            said = f"{share.of(len(self.found.ids))}; stopped after {asked}: {end.why}"
        detail = {
            "samples": len(self.found.ids),
            "verdict": said,
            "stopped": end.why,
            "settled": end.settled,
            "certain": certain,
            "calls": calls,
            "flawed": len(flawed),
            "grows": len(flawed) if probes and evidence.pays(self._batch_calls(0), fine) else 0,
            "kept": sum(row.state == "kept" for row in self.probes),
            "share": [share.share, share.low, share.high],
            "control": [fine.asked, fine.differ],
            "batches": max((row.batch for row in probes), default=-1) + 1,
        }
        self.ctx.event(said)
        if probes:
            some = counted(fine.asked, "random sample that looks", "random samples that look")
            self.ctx.event(f"the control group: of {some} fine, the teacher's answer differs from {fine.differ}")
        if probes and noise and not told:
            self.ctx.event("the teacher's answers differ as often at random, so they are no evidence here", "warning")
        selected = [Selection(row.round, *row.key, self.score(row), cut) for row in flawed]
        skip = {one.key for one in kept}
        unclear = [without_prompt(row) for row in flawed if row.key not in skip and is_unclear(row)]
        self.job.update(unclear)
        if unclear:
            prompts = counted(len(unclear), "prompt names", "prompts name")
            self.ctx.event(f"{prompts} no task, by the teacher's answers: new ones are asked for")
        skip |= {one.key for one in unclear}
        more = [with_more(row) for row in flawed if row.key not in skip] if self.ctx.config.teacher.best_of > 1 else []
        self.job.update(more)
        return [*kept, *unclear, *more, *selected, _threshold(self.ctx, self.found, cut, detail)]

    # ---------------------------------------------------------------------------------------------- new samples

    def _grow(self) -> bool:
        """Ask for the new samples that are still wanted, weakest regions first; whether there are any."""
        rows = [row for row in self.job.all() if row.axis == "diversity" and row.batch]  # not those requested by hand
        waves = {row.batch for row in rows}
        if len(waves) >= WAVES or any(row.reason in (EXHAUSTED, FEWER) for row in self.job.all()):
            return False
        made = sum(row.state not in ("failed", "owed", "prompted") for row in rows)
        wanted = self._wanted() - made
        asked = [row for row in self.job.all() if row.probe]
        used = {row.sample_id for row in rows} | {row.sample_id for row in asked if row.state != "kept"}
        free = [int(i) for i in np.flatnonzero(self.found.cores) if self.found.ids[i] not in used]
        chosen = sorted(free, key=lambda i: (-self.found.weak[i], i))[: max(0, wanted)]
        if not chosen:
            return False
        number = max((row.batch for row in self.job.all()), default=0) + 1
        fresh = [Rewrite(self.ctx.round, self.found.ids[i], "diversity", "owed", batch=number) for i in chosen]
        sparse = max(float(self.found.similarity[i]) for i in chosen)
        selected = [
            Selection(self.ctx.round, self.found.ids[i], "diversity", float(self.found.similarity[i]), sparse)
            for i in chosen
        ]
        if not waves:
            self.ctx.event(
                f"{counted(len(fresh), 'new sample is', 'new samples are')} asked for, where few samples lie and"
                " the tuned model's loss is high"
            )
        self.job.add(self.ctx, fresh)
        self._save([*fresh, *selected])
        return True

    def _wanted(self) -> int:
        """How many new samples this round may bring."""
        settings, size = self.ctx.config.select, len(self.found.ids)
        flawed = len(self._flawed())
        clean = not evidence.pays(self._batch_calls(0), self._tally(self._fine()))  # the first batch showed that
        share = int(settings.new_samples * size) + max(0, self.found.target - size)
        found = self.found.found + (0 if clean else flawed)
        return max(0, min(share, found - self.found.added, axes.rewrite_cap(settings, size) - flawed))

    def _save(self, rows: Sequence[Row]) -> None:
        self.ctx.begin(2 * len(self.job.rows), self.job.settled())
        self.ctx.save(rows, done=self.job.settled())


def _answered(row: Rewrite) -> bool:
    return row.state in ("kept", "proposed") or row.reason == DROPPED or row.attempts > 0 or row.draws is not None
