"""Every rewrite is checked and measured by the signals that its sample was selected by, before anyone decides on it.

1. Text (``engine.verification.text_checks``): what is empty, unchanged, a refusal, a near-duplicate, a loop, holds
   scaffolding or a prompt injection, or overlaps with the held-out set is rejected with the reason, and not measured.
2. The user's own program or web service (``verify.command``, ``verify.url``); what they reject is not measured either.
3. Signals, under the models of this round: both losses, the embedding's similarity to the dataset, six ratings in the
   mode that the samples were rated in. What cannot be measured is rejected; so is an added prompt that is a sample's in
   nearly the same words, by its embedding (``engine.verification.near_duplicates``, ``verify.max_similarity``).
4. The verdict (``engine.verification.verdicts``): is the rewrite better than what it replaces, and as good as what
   nobody selected? It decides nothing by itself; the review stage does.

A text that a person edited or sent back for another one lost its verdict. It is measured when this stage runs next,
apart from the rest, whose verdicts stand. What a person decided stands too; that it fails a text check is said.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace

from engine.chat import prompts
from engine.config.schema import Judge
from engine.plurals import counted
from engine.signals import flaw_score, judge_trust, losses
from engine.signals.losses import Measured
from engine.signals.ratings import Rated
from engine.stage import Ctx
from engine.stages.judge import as_judged, rate
from engine.store import prompt_keys
from engine.store.dataset import Dataset
from engine.store.rows import (
    Decision,
    Lenses,
    Losses,
    Ratings,
    Rewrite,
    Row,
    Threshold,
    Verdict,
)
from engine.teacher.job import TEMPLATES, template_of
from engine.verification import best_draw, text_checks
from engine.verification.candidates import Candidate, Key, candidates
from engine.verification.command import UserCommand
from engine.verification.corpus import Corpus, DatasetPrompts
from engine.verification.drift import Drift
from engine.verification.new_prompts import copied, held_out_prompt, own_of
from engine.verification.placement import Beside, Near
from engine.verification.text_checks import Exchange, HeldOut, Rejection
from engine.verification.validators import Validator, refused
from engine.verification.verdicts import Outcome, Placed, Values, outcome
from engine.verification.web_service import WebService

CHUNK = 512
"""Rewrites that are measured and saved together: each chunk loads the models before and after training once."""


def run(ctx: Ctx) -> None:
    """Check, measure and judge every rewrite that has an answer."""
    data = ctx.dataset()
    if drawn := best_draw.choose(ctx, data, _draw_check(ctx)):
        ctx.event(
            f"of several answers to {counted(drawn, 'prompt')}, those that the base model finds likeliest are kept"
        )
    made = candidates(ctx.rows(Rewrite), data)
    findings = inspect(ctx, data, made)
    kept = [c for c in made if c.key not in findings]
    judged = {(v.sample_id, v.axis) for v in ctx.rows(Verdict)}
    asked = [c for c in kept if c.key not in judged and c.row.state == "proposed"]
    validators = _validators(ctx) if asked else []
    looks = len(asked) * len(validators)
    done = len(findings) + sum(c.key in judged or refused(c) for c in kept)
    ctx.begin(len(made) + looks, done)
    ctx.save(rejections(made, findings), done=done)
    out = _ask_validators(ctx, validators, asked, done) | {c.key for c in kept if refused(c)}
    kept = [c for c in kept if c.key not in out or c.key in judged]
    if any(c.key not in judged for c in kept):
        _measure_all(ctx, data, kept, judged, len(made) - len(kept) + looks)
    for name in (PASSED, RATINGS):  # every verdict is there; also of a run that was killed here
        shutil.rmtree(ctx.workdir(name))
    if doubtful := [c for c in made if c.key in findings and c.row.original is not None and c.row.state == "accepted"]:
        ctx.event(warning(doubtful, findings), "warning")
    ctx.event(summary(made, ctx.rows(Rewrite), ctx.rows(Verdict)))


# ------------------------------------------------------------------------------------------------- text checks


def inspect(ctx: Ctx, data: Dataset, made: Sequence[Candidate]) -> dict[Key, Rejection]:
    """What is wrong with the text of which candidates: alone, among the others, against the held-out set."""
    check = _draw_check(ctx)
    heldout = ctx.heldout()
    held = HeldOut.of([Exchange(s.prompt, s.response) for s in heldout], ctx.config.verify.ngram)
    known = _known(held, data, made)
    corpus = Corpus.of(DatasetPrompts(data))
    items = {prompt_keys.key(s.messages): s.id for s in heldout}
    out: dict[Key, Rejection] = {}
    for i, one in enumerate(made):
        found = check(one.row, one.exchange, Exchange(one.sample.prompt, one.sample.response))
        found = found or text_checks.evaluation_overlap(one.exchange, held, known)
        if not one.row.is_evidence or one.new.prompt != one.sample.prompt:  # else it is the dataset's own
            found = found or held_out_prompt(one.new, items)
            found = found or copied(corpus, one.new.prompt, own_of(one.row.axis, one.sample.id), data)
        if found:
            out[one.key] = found
        else:
            corpus.add(-1 - i, one.new.prompt)
    return out


def _draw_check(ctx: Ctx) -> best_draw.Check:
    """The checks of one answer by its text alone."""
    templates = {name: text_checks.phrases(prompts.load(name, ctx.project).text) for name in TEMPLATES.values()}
    least, sent = ctx.config.verify.min_response_chars, ctx.config.data.injection == "send"
    harmless = ctx.dataset().unflagged

    def check(row: Rewrite, new: Exchange, original: Exchange) -> Rejection | None:
        carries = sent or row.sample_id in harmless
        return text_checks.inspect(new, original, text_checks.CheckLimits(least, templates[template_of(row)], carries))

    return check


def _known(held: HeldOut, data: Dataset, made: Sequence[Candidate]) -> set[str]:
    """Of the n-grams that candidates share with the held-out set, those that the dataset holds anyway."""
    shared = set().union(*(held.overlap(c.exchange) for c in made)) if made else set()
    if not shared:
        return set()
    found: set[str] = set()
    for sample in data:
        found |= text_checks.grams(f"{sample.prompt}\n{sample.response}", held.n) & shared
    return found


def rejections(made: Sequence[Candidate], findings: Mapping[Key, Rejection]) -> list[Decision]:
    """Rejections by the text checks of undecided rewrites."""
    return [
        Decision(c.row.round, *c.key, "rejected", str(findings[c.key]))
        for c in made
        if c.key in findings and c.row.state == "proposed"
    ]


def warning(edited: Sequence[Candidate], findings: Mapping[Key, Rejection]) -> str:
    """The log line on edited texts that a person accepted and that do not pass the checks."""
    text = f"{counted(len(edited), 'accepted rewrite fails', 'accepted rewrites fail')} the text checks after editing"
    return f"{text}: {'; '.join(f'#{c.sample.seq} {findings[c.key]}' for c in edited[:3])}"


PASSED = "command"
"""Where it is kept which rewrites the user's validators have let through, until the stage is over."""


def _validators(ctx: Ctx) -> list[Validator]:
    """What the user has look at rewrites: the program first, then the web service."""
    how, out = ctx.config.verify, list[Validator]()
    if how.command:
        out.append(UserCommand(ctx.config, ctx.project, ctx.workdir(PASSED) / "passed"))
    if how.url:
        out.append(WebService(ctx.config, ctx.workdir(PASSED) / "passed-url"))
    return out


def _ask_validators(ctx: Ctx, validators: Sequence[Validator], asked: Sequence[Candidate], done: int) -> set[Key]:
    """Have them look at the texts that passed our checks; what one of them rejects is shown to no other and not
    measured.
    """
    rejected: set[Key] = set()
    for one in validators:
        there = [c for c in asked if c.key not in rejected]
        away = isinstance(one, WebService) and ctx.config.verify.sent_to
        ctx.event(
            f"{counted(len(there), 'rewrite is', 'rewrites are')} given to {one.name}", "warning" if away else "info"
        )
        for number, (candidate, found) in enumerate(one.results(there), start=1):
            if found is None:
                one.remember(candidate)
                ctx.progress(done + number)
            else:
                rejected.add(candidate.key)
                row = Decision(ctx.round, *candidate.key, "rejected", str(found))
                ctx.save([row], done=done + number)
        done += len(asked)
    return rejected


# ----------------------------------------------------------------------------------------------------- signals


def _measure_all(ctx: Ctx, data: Dataset, kept: Sequence[Candidate], judged: set[Key], done: int) -> None:
    """Measure the candidates chunk by chunk; a chunk whose verdicts are there is skipped."""
    about = {c.sample.id for c in kept}
    beside = Beside(ctx, data, about)
    near, drift = Near(ctx, data, beside.topics), Drift(ctx, data)
    old = originals(ctx, about)
    standings, own_form = _standings(ctx, data), flaw_score.OwnForm(data)
    marks = {t.signal: t for t in ctx.rows(Threshold)}
    planned = chunks(kept, judged)
    how = as_judged(ctx.config.judge, ctx.rows(Ratings))
    ahead = _rate_ahead(ctx, how, [c for chunk in planned if not _whole(chunk, judged) for c in chunk], done)
    for chunk in planned:
        done += len(chunk)
        if _whole(chunk, judged):
            continue
        measured = losses.measure(ctx, [c.new.messages for c in chunk])
        chats = [(c.key, c.new.messages) for c in chunk]
        rated = rate(ctx, how, chats) if ahead is None else [ahead[key] for key, _ in chats]
        similarity, copies = near.similarity(chunk, measured), near.duplicates(chunk, measured)
        explained = drift.explained(chunk)
        rows: list[Row] = []
        for i, one in enumerate(chunk):
            before = old.get(one.sample.id, Values(None, None, None))
            text = own_form.forgiven(flaw_score.text_of(one.new))
            lenses = {**asdict(measured[i].lenses), flaw_score.TEXT: text, flaw_score.JUDGE: rated[i].quality}
            flaw = standings.place(lenses)
            placed = replace(beside.place(one, similarity[i], flaw), explained=explained[i])
            found = outcome(one.row.axis, before, measured[i], rated[i], marks, ctx.config.verify, placed, copies[i])
            rows.append(_verdict(one, measured[i], rated[i], placed, found, flaw))
            if found.rejected and one.row.state == "proposed":
                rows.append(Decision(ctx.round, *one.key, "rejected", str(found.rejected)))
        ctx.save(rows, done=done)


def _standings(ctx: Ctx, data: Dataset) -> flaw_score.Standings:
    """The round's samples by what their own flaw scores are made of: the judge counts where it did for them."""
    ids = data.ids
    lenses = flaw_score.columns(ids, ctx.rows(Lenses))
    if judge_trust.counts(ctx):
        quality = {row.sample_id: row.quality for row in ctx.rows(Ratings) if row.quality is not None}
        lenses[flaw_score.JUDGE] = flaw_score.judge_column(ids, quality)
    return flaw_score.Standings(lenses)


def _whole(chunk: Sequence[Candidate], judged: set[Key]) -> bool:
    return all(c.key in judged for c in chunk)


RATINGS = "ratings"
"""Where ratings are kept from when vLLM has made them until they are part of a verdict."""


def _rate_ahead(ctx: Ctx, how: Judge, pending: Sequence[Candidate], done: int) -> dict[Key, Rated] | None:
    """All ratings at once when vLLM makes them: it cannot share the GPU with the models that measure."""
    if not ctx.config.judge.streams:
        return None
    from engine.signals import rating_stream

    return rating_stream.ahead(ctx, how, ctx.workdir(RATINGS), [(c.key, c.new.messages) for c in pending], done)


def chunks(kept: Sequence[Candidate], judged: set[Key]) -> list[Sequence[Candidate]]:
    """Chunks planned over all texts as the teacher first wrote them, then over those that a person had changed.

    Of the changed ones, only what has no verdict is measured: chunks are saved whole and in order, so those that are
    left after a kill are chunked as they would have been.
    """
    first = [c for c in kept if not c.changed]
    again = [c for c in kept if c.changed]
    there, pending = [c for c in again if c.key in judged], [c for c in again if c.key not in judged]
    return [part[i : i + CHUNK] for part in (first, there, pending) for i in range(0, len(part), CHUNK)]


def originals(ctx: Ctx, ids: Collection[int]) -> dict[int, Values]:
    """The signals of the samples ``ids``."""
    quality = {r.sample_id: r.quality for r in ctx.rows(Ratings) if r.sample_id in ids}
    out = {id: Values(None, None, value) for id, value in quality.items()}
    for row in ctx.rows(Losses):
        if row.sample_id in ids:
            out[row.sample_id] = Values(row.loss_before, row.loss_after, quality.get(row.sample_id))
    return out


def _verdict(
    one: Candidate,
    measured: Measured,
    rated: Rated,
    placed: Placed,
    found: Outcome,
    flaw: tuple[float, str] | None,
) -> Verdict:
    ratings = json.dumps(rated.ratings) if rated.ratings else None
    return Verdict(
        one.row.round,
        *one.key,
        measured.loss_before,
        measured.loss_after,
        placed.similarity,
        rated.quality,
        ratings,
        found.improved,
        found.text,
        placed.on_topic,
        placed.usual,
        *measured.lenses.values,
        *(flaw or (None, None)),
    )


def summary(made: Sequence[Candidate], rows: Sequence[Rewrite], verdicts: Sequence[Verdict]) -> str:
    """The log line: how many there were, how many were rejected by a check and for what, how many are better.

    The numbers add up. What a person or the policy decided since is not counted: the same after a second check.
    """
    mine = {c.key for c in made}
    codes: dict[str, int] = {}
    failed: set[Key] = set()
    for row in rows:
        code = (row.reason or "").partition(":")[0]
        if row.key in mine and row.state == "rejected" and code in text_checks.CODES:
            codes[code] = codes.get(code, 0) + 1
            failed.add(row.key)
    measured = [v for v in verdicts if (key := (v.sample_id, v.axis)) in mine and key not in failed]
    better = sum(bool(v.improved) for v in measured)
    others = len(mine) - len(failed) - better
    text = f"{counted(len(made), 'rewrite')} checked: {better} improved"
    text += f", {others} not improved" if others else ""
    text += f", {len(failed)} rejected"
    return text + (f" ({', '.join(f'{code} {n}' for code, n in sorted(codes.items()))})" if codes else "")
