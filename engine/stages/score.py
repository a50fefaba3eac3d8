"""Losses before and after training and prompt embeddings of every sample: the data for complexity and diversity.

A conversation's loss is that of its last answer, which is what is rated and rewritten; the mean over all its answers is
kept beside it.

Three parts: (1) losses under the model before training, only where the cache does not know them; (2) one fused pass
under this round's checkpoint for losses and embeddings; (3) the nearest neighbours and clusters. What is done is
what has a row; an embedding is on disk before its batch's rows are saved.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from engine.backends import Scored
from engine.chat import batches
from engine.chat.render import Rendered
from engine.chat.rendered_rows import Spool
from engine.distributed import ranks
from engine.signals import losses, neighbourhoods, round_models
from engine.stage import Ctx
from engine.store.dataset import Dataset
from engine.store.rows import CachedLoss, Losses, Neighbourhood

EMBEDDINGS = "embeddings"
PART = 2_000
"""Neighbourhoods per transaction."""
POOLING = 2
"""Raised when an embedding becomes the mean of other tokens: what was begun before is not gone on with."""
LEAST, MOST = np.finfo(np.float16).min, np.finfo(np.float16).max


@dataclass(frozen=True, slots=True)
class _Work:
    """What a run depends on, as it is kept beside the embeddings: another model or setting starts anew.

    fresh: the samples whose loss before training nobody knew when the stage began. Kept, because what is unknown
    shrinks while the stage runs, and batches must be the same after a resume.
    """

    before: str
    after: str
    embed: str
    fresh: tuple[int, ...]


def run(ctx: Ctx) -> None:
    """The stage. Returns at once when its artifact is there for this model and dataset."""
    samples = ctx.dataset()
    folder = ctx.workdir(EMBEDDINGS)
    work = _resume(ctx, folder, samples)
    final = folder / f"{work.after.partition(':')[0]}.npy"
    if ctx.artifact(EMBEDDINGS) == final and len(ctx.rows(Losses)) == len(samples):
        return
    total = len(work.fresh) + len(samples)
    ctx.begin(total)
    failed = _losses_before(ctx, samples, work, folder)
    embedded = _fused_pass(ctx, samples, work, failed, folder)
    _place(ctx, samples, embedded, folder, total)
    os.replace(_partial(folder), final)
    ctx.publish(EMBEDDINGS, final, {"model": work.after, "rows": len(samples), "embed": work.embed})


def _resume(ctx: Ctx, folder: Path, samples: Dataset) -> _Work:
    """The work begun before a restart, or new work when that was for another model, setting or dataset."""
    before = losses.loss_key(ctx, round_models.before_model(ctx))
    after = losses.loss_key(ctx, round_models.after_model(ctx))
    known = {row.sample_id for row in ctx.rows(CachedLoss) if row.model == before}
    embed = f"{ctx.config.score.embed}:{POOLING}"
    ids = set(samples.ids)
    note = folder / "work.json"
    if note.exists():
        begun = json.loads(note.read_text(encoding="utf-8"))
        work = _Work(begun["before"], begun["after"], begun["embed"], tuple(begun["fresh"]))
        same = (work.before, work.after, work.embed) == (before, after, embed)
        if same and ids - known <= set(work.fresh) <= ids:
            return work
    _partial(folder).unlink(missing_ok=True)
    fresh = tuple(id for id in samples.ids if id not in known)
    work = _Work(before, after, embed, fresh)
    text = json.dumps({"before": before, "after": after, "embed": work.embed, "fresh": fresh})
    new = note.with_suffix(".new")
    new.write_text(text, encoding="utf-8")
    os.replace(new, note)
    return work


def _partial(folder: Path) -> Path:
    return folder / "embeddings.partial.npy"


def _losses_before(ctx: Ctx, samples: Dataset, work: _Work, folder: Path) -> dict[int, str]:
    """Fill the cache for the fresh samples; returns why some have no loss (sample id -> reason)."""
    fresh = work.fresh
    if not fresh:
        return {}
    ref = round_models.before_model(ctx)
    model = round_models.open_model(ctx, ref)
    wanted = set(fresh)
    chats = (sample.messages for sample in samples if sample.id in wanted)
    rows = Spool(losses.rendered(ctx, model, chats), folder)
    usable = [i for i in range(len(rows)) if i not in rows.errors]
    known = {row.sample_id for row in ctx.rows(CachedLoss) if row.model == work.before}
    failed: dict[int, str] = {}
    planned = batches.plan([rows.lengths[i] for i in usable], ctx.config.score.token_budget)
    plan = [[usable[j] for j in batch] for batch in planned]
    owed = batches.unfinished(plan, lambda i: fresh[i] in known, len(rows) - len(usable))
    score = partial(losses.score_losses, ctx.config.model, ref)
    results = ranks.map_batches(score, ([rows[i] for i in batch] for batch, _ in owed))
    for (batch, done), scores in zip(owed, results, strict=True):
        found = dict(zip(batch, scores, strict=True))
        failed |= {fresh[i]: scored.error for i, scored in found.items() if scored.error}
        cached = [_cached(work.before, fresh[i], s) for i, s in found.items()]
        ctx.save([row for row in cached if row is not None], done)
    return failed


def _fused_pass(ctx: Ctx, samples: Dataset, work: _Work, failed: dict[int, str], folder: Path) -> Spool:
    """Losses and embeddings under this round's checkpoint; returns the rows that were embedded."""
    ref = round_models.after_model(ctx)
    model = round_models.open_model(ctx, ref)
    rows = Spool(losses.rendered(ctx, model, (sample.messages for sample in samples)), folder)
    bare = losses.embedded_rows(ctx, model, (sample.messages for sample in samples), rows)
    apart = None if bare is None else Spool(bare, folder)
    embedded = rows if apart is None else apart
    usable = [i for i in range(len(rows)) if i not in embedded.errors]
    unusable = [
        Losses(ctx.round, samples.ids[i], None, None, embedded.prompt_ends[i], 0, error)
        for i, error in embedded.errors.items()
    ]
    done = len(work.fresh) + len(unusable)
    ctx.save(unusable, done)
    before = {row.sample_id: row for row in ctx.rows(CachedLoss) if row.model == work.before}
    saved = {row.sample_id: row.score_error for row in ctx.rows(Losses)}
    array = _open(folder, len(samples), model.hidden_size)

    def there(i: int) -> bool:
        id = samples.ids[i]
        return id in saved and bool(saved[id] or np.isfinite(array[i]).all())

    planned = batches.plan([rows.lengths[i] for i in usable], ctx.config.score.token_budget)
    owed = batches.unfinished([[usable[j] for j in batch] for batch in planned], there, done)
    score = partial(losses.score_both, ctx.config.model, ref)
    results = ranks.map_batches(score, (losses.of_batch(rows, apart, batch) for batch, _ in owed))
    for (batch, done), found in zip(owed, results, strict=True):
        for i, scored in zip(batch, found, strict=True):
            if scored.embedding is not None:
                array[i] = np.clip(scored.embedding, LEAST, MOST)
        array.flush()
        ids = [samples.ids[i] for i in batch]
        measured = [
            _losses(ctx, id, rows, i, scored, before.get(id), failed.get(id))
            for id, i, scored in zip(ids, batch, found, strict=True)
        ]
        ctx.save([*measured, *_cached_after(ctx, work, ids, found)], done)
    return embedded


def _losses(
    ctx: Ctx, id: int, rows: Spool, i: int, scored: Scored, before: CachedLoss | None, failed: str | None
) -> Losses:
    lengths = rows.prompt_ends[i], rows.reply_tokens[i]
    if error := scored.error or failed:
        return Losses(ctx.round, id, None, None, *lengths, error)
    first, all_first = (before.loss, before.conversation) if before else (None, None)
    return Losses(ctx.round, id, first, scored.loss, *lengths, None, all_first, scored.conversation)


def _cached(model: str, id: int, scored: Scored) -> CachedLoss | None:
    return None if scored.loss is None else CachedLoss(model, id, scored.loss, scored.conversation)


def _cached_after(ctx: Ctx, work: _Work, ids: Sequence[int], found: Sequence[Scored]) -> list[CachedLoss]:
    """With train.init = "previous" this round's loss after is the next round's loss before."""
    if ctx.config.train.init != "previous":
        return []
    rows = (_cached(work.after, id, s) for id, s in zip(ids, found, strict=True))
    return [row for row in rows if row is not None]


def _open(folder: Path, rows: int, width: int) -> np.memmap[Any, np.dtype[np.float16]]:
    """The memory-mapped embeddings of this run, float16[rows, width]; NaN where nothing was computed yet."""
    path = _partial(folder)
    if not path.exists():
        new = path.with_suffix(".new")
        with new.open("wb") as stream:
            np.save(stream, np.full((rows, width), np.nan, dtype=np.float16))
        os.replace(new, path)
    array: np.memmap[Any, np.dtype[np.float16]] = np.load(path, mmap_mode="r+")
    return array


def _place(ctx: Ctx, samples: Dataset, embedded: Spool, folder: Path, total: int) -> None:
    """Neighbours and clusters of all samples that were embedded, saved in parts: nothing holds the database long."""
    array = np.load(_partial(folder), mmap_mode="r")
    keys = [
        _digest(embedded[i]) if i not in embedded.errors and np.isfinite(array[i]).all() else None
        for i in range(len(embedded))
    ]
    found = neighbourhoods.rows(ctx, samples, keys, array)
    found.sort(key=lambda row: row.sample_id if isinstance(row, Neighbourhood) else -1)  # as they lie in the file
    for start in range(0, len(found), PART):  # until the artifact is published a resumed run places all of them anew
        ctx.save(found[start : start + PART])
    ctx.save([], done=total)


def _digest(row: Rendered) -> bytes:
    """What tells a prompt from others, in 16 bytes however long it is."""
    return hashlib.blake2b(np.array(row.ids[: row.prompt_end], dtype=np.int32).tobytes(), digest_size=16).digest()
