"""Losses before and after training and prompt embeddings of every sample: the data for complexity and diversity. And
the lenses (``engine.signals.lenses``) with the flaw score that they make.

A conversation's loss is that of its last answer, which is what is rated and rewritten; the mean over all its answers is
kept beside it.

Five parts: (1) losses and lenses under the base model, and losses under the model before training where that is another
one, both only where the cache does not know them; (2) one fused pass under this round's checkpoint for losses and
embeddings; (3) the flaw scores; (4) the nearest neighbours and clusters; (5) the map. What is done is what has a row;
an embedding is on disk before its batch's rows are saved.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct

from engine.backends import Scored
from engine.chat import batches
from engine.chat.render import Rendered
from engine.chat.rendered_rows import Spool
from engine.distributed import ranks
from engine.files import durable
from engine.files.json_errors import UNREADABLE
from engine.models.locate import ModelRef
from engine.signals import embedding_map, flaw_score, lenses, losses, neighbourhoods, round_models
from engine.signals.last_exchange import Chat
from engine.signals.lenses import Reading
from engine.stage import Ctx
from engine.store.dataset import Dataset
from engine.store.rows import CachedLoss, Lenses, Losses, Neighbourhood

EMBEDDINGS = "embeddings"
PART = 2_000
"""Neighbourhoods per transaction."""
POOLING = 2
"""Raised when an embedding becomes the mean of other tokens: what was begun before is not gone on with."""
LEAST, MOST = np.finfo(np.float16).min, np.finfo(np.float16).max


class _Work(Struct, frozen=True):
    """What a run depends on, as it is kept beside the embeddings: another model or setting starts anew.

    unread: the samples whose lenses nobody knew when the stage began. fresh: those whose loss before training nobody
    knew; none where that is the base model's, which comes with the lenses. Kept, because what is unknown shrinks while
    the stage runs, and batches must be the same after a resume.
    """

    base: str
    before: str
    after: str
    embed: str
    unread: tuple[int, ...]
    fresh: tuple[int, ...]

    @property
    def models(self) -> tuple[str, str, str, str]:
        """What it was begun for."""
        return self.base, self.before, self.after, self.embed


def run(ctx: Ctx) -> None:
    """The stage. Returns at once when its artifact is there for this model and dataset."""
    samples = ctx.dataset()
    folder = ctx.workdir(EMBEDDINGS)
    work = _resume(ctx, folder, samples)
    final = folder / f"{work.after.partition(':')[0]}.npy"
    if ctx.artifact(EMBEDDINGS) == final and len(ctx.rows(Losses)) == len(samples):
        return
    total = len(work.unread) + len(work.fresh) + len(samples)
    ctx.begin(total)
    base, before = round_models.base_model(ctx), round_models.before_model(ctx)
    failed = _fill_cache(ctx, samples, work.unread, base, work.base, folder, 0)
    failed |= _fill_cache(ctx, samples, work.fresh, before, work.before, folder, len(work.unread))
    embedded = _fused_pass(ctx, samples, work, failed, folder)
    _save_flaws(ctx, samples)
    recall = _place(ctx, samples, embedded, folder, total)
    embedding_map.publish(ctx, samples.ids, np.load(_partial(folder), mmap_mode="r"), f"{work.base} {work.embed}")
    durable.replace(_partial(folder), final)
    found: dict[str, object] = {} if recall is None else {"neighbour_recall": recall}
    ctx.publish(EMBEDDINGS, final, {"model": work.after, "rows": len(samples), "embed": work.embed, **found})


def _resume(ctx: Ctx, folder: Path, samples: Dataset) -> _Work:
    """The work begun before a restart, or new work when that was for another model, setting or dataset."""
    which = round_models.base_model(ctx), round_models.before_model(ctx), round_models.after_model(ctx)
    base, before, after = (losses.loss_key(ctx.config.model, ref) for ref in which)
    embed = f"{ctx.config.score.embed}:{POOLING}"
    ids = set(samples.ids)
    unread = ids - {row.sample_id for row in ctx.cached(base) if row.has_lenses}
    fresh = set() if before == base else ids - {row.sample_id for row in ctx.cached(before)}
    note = folder / "work.json"
    work = _read(note)
    if work is not None and work.models == (base, before, after, embed):
        parts = (unread, work.unread), (fresh, work.fresh)
        if all(unknown <= set(begun) <= ids for unknown, begun in parts):
            return work
    _partial(folder).unlink(missing_ok=True)
    first, second = (tuple(id for id in samples.ids if id in some) for some in (unread, fresh))
    work = _Work(base, before, after, embed, first, second)
    new = note.with_suffix(".new")
    new.write_bytes(msgspec.json.encode(work))
    durable.replace(new, note)
    return work


def _partial(folder: Path) -> Path:
    return folder / "embeddings.partial.npy"


def _read(note: Path) -> _Work | None:
    """What a run has begun; None when there is no note, or an older version's, or a damaged one."""
    try:
        return msgspec.json.decode(note.read_bytes(), type=_Work)
    except (FileNotFoundError, *UNREADABLE):
        return None


def _fill_cache(
    ctx: Ctx, samples: Dataset, ids: Sequence[int], model: ModelRef, key: str, folder: Path, done: int
) -> dict[int, str]:
    """Fill the cache of ``model`` for the samples ``ids``; returns why some have no loss (sample id -> reason).

    Under the base with the lenses. ``done``: units of the stage before these.
    """
    if not ids:
        return {}
    how, wanted = ctx.config.model, set(ids)
    opened = round_models.open_model(how, model)

    def chats() -> Iterator[Chat]:
        return (sample.messages for sample in samples if sample.id in wanted)

    rows = Spool(losses.rendered(opened, chats(), how.max_length), folder)
    read = model == round_models.base_model(ctx)
    bare = Spool(losses.without_prompts(opened, chats(), rows, how.max_length), folder) if read else None
    usable = [i for i in range(len(rows)) if i not in rows.errors]
    known = {row.sample_id for row in ctx.cached(key) if row.has_lenses or not read}
    planned = batches.plan([rows.lengths[i] for i in usable], ctx.config.score.token_budget)
    plan = [[usable[j] for j in batch] for batch in planned]
    pending = batches.unfinished(plan, lambda i: ids[i] in known, done + len(rows) - len(usable))
    score = partial(lenses.score, how, model)
    failed: dict[int, str] = {}
    results = ranks.map_batches(score, (losses.of_batch(rows, bare, batch) for batch, _ in pending))
    for (batch, done), scores in zip(pending, results, strict=True):
        found = {ids[i]: one for i, one in zip(batch, scores, strict=True)}
        failed |= {id: scored.error for id, (scored, _) in found.items() if scored.error}
        cached = (_cached(key, id, *one) for id, one in found.items())
        ctx.save([row for row in cached if row is not None], done)
    return failed


def _fused_pass(ctx: Ctx, samples: Dataset, work: _Work, failed: dict[int, str], folder: Path) -> Spool:
    """Losses and embeddings under this round's checkpoint; returns the rows that were embedded."""
    ref = round_models.after_model(ctx)
    how = ctx.config.model
    model = round_models.open_model(how, ref)
    rows = Spool(losses.rendered(model, (sample.messages for sample in samples), how.max_length), folder)
    bare = losses.embedded_rows(ctx.config, model, (sample.messages for sample in samples), rows)
    apart = None if bare is None else Spool(bare, folder)
    embedded = rows if apart is None else apart
    usable = [i for i in range(len(rows)) if i not in embedded.errors]
    unusable = [
        Losses(ctx.round, samples.ids[i], None, None, embedded.prompt_ends[i], 0, error)
        for i, error in embedded.errors.items()
    ]
    done = len(work.unread) + len(work.fresh) + len(unusable)
    ctx.save(unusable, done)
    saved = {row.sample_id: row.score_error for row in ctx.rows(Losses)}
    array = _open(folder, len(samples), model.hidden_size)

    def there(i: int) -> bool:
        id = samples.ids[i]
        return id in saved and bool(saved[id] or np.isfinite(array[i]).all())

    planned = batches.plan([rows.lengths[i] for i in usable], ctx.config.score.token_budget)
    pending = batches.unfinished([[usable[j] for j in batch] for batch in planned], there, done)
    score = partial(losses.score_both, how, ref)
    results = ranks.map_batches(score, (losses.of_batch(rows, apart, batch) for batch, _ in pending))
    for (batch, done), found in zip(pending, results, strict=True):
        for i, scored in zip(batch, found, strict=True):
            if scored.embedding is not None:
                array[i] = np.clip(scored.embedding, LEAST, MOST)
        array.flush()
        ids = [samples.ids[i] for i in batch]
        base = {row.sample_id: row for row in ctx.cached(work.base, ids)}
        before = base if work.before == work.base else {row.sample_id: row for row in ctx.cached(work.before, ids)}
        measured = [
            _losses(ctx.round, id, rows, i, scored, before.get(id), failed.get(id))
            for id, i, scored in zip(ids, batch, found, strict=True)
        ]
        read = [_lenses(ctx.round, base[m.sample_id]) for m in measured if not m.score_error and m.sample_id in base]
        kept = _cached_after(work, ids, found) if ctx.config.train.init == "previous" else []
        ctx.save([*measured, *read, *kept], done)
    return embedded


def _losses(
    round: int, id: int, rows: Spool, i: int, scored: Scored, before: CachedLoss | None, failed: str | None
) -> Losses:
    lengths = rows.prompt_ends[i], rows.reply_tokens[i]
    if error := scored.error or failed:
        return Losses(round, id, None, None, *lengths, error)
    first, all_first = (before.loss, before.conversation) if before else (None, None)
    return Losses(round, id, first, scored.loss, *lengths, None, all_first, scored.conversation)


def _cached(model: str, id: int, scored: Scored, reading: Reading | None = None) -> CachedLoss | None:
    values = reading.values if reading else ()
    return None if scored.loss is None else CachedLoss(model, id, scored.loss, scored.conversation, *values)


def _cached_after(work: _Work, ids: Sequence[int], found: Sequence[Scored]) -> list[CachedLoss]:
    """With train.init = "previous" this round's loss after is the next round's loss before."""
    rows = (_cached(work.after, id, s) for id, s in zip(ids, found, strict=True))
    return [row for row in rows if row is not None]


def _lenses(round: int, cached: CachedLoss) -> Lenses:
    """The part of a signal row that the cache knows."""
    return Lenses(round, cached.sample_id, *(getattr(cached, name) for name in Lenses.__struct_fields__[2:]))


def _save_flaws(ctx: Ctx, samples: Dataset) -> None:
    """The flaw score of every sample that has lenses: a rank among all of them."""
    seen = flaw_score.columns(samples.ids, ctx.rows(Lenses)) | {flaw_score.TEXT: flaw_score.text_column(samples)}
    found = sorted(flaw_score.flaws(ctx.round, samples.ids, seen), key=lambda row: row.sample_id)  # as they lie
    for start in range(0, len(found), PART):
        ctx.save(found[start : start + PART])


def _open(folder: Path, rows: int, width: int) -> np.memmap[Any, np.dtype[np.float16]]:
    """The memory-mapped embeddings of this run, float16[rows, width]; NaN where nothing was computed yet."""
    path = _partial(folder)
    if not path.exists():
        new = path.with_suffix(".new")
        with new.open("wb") as stream:
            np.save(stream, np.full((rows, width), np.nan, dtype=np.float16))
        durable.replace(new, path)
    array: np.memmap[Any, np.dtype[np.float16]] = np.load(path, mmap_mode="r+")
    return array


def _place(ctx: Ctx, samples: Dataset, embedded: Spool, folder: Path, total: int) -> float | None:
    """Neighbours and clusters of all samples that were embedded, saved in parts: nothing holds the database long.

    Returns which share of the neighbours an index found; None: all pairs were compared.
    """
    array = np.load(_partial(folder), mmap_mode="r")
    keys = [
        _digest(embedded[i]) if i not in embedded.errors and np.isfinite(array[i]).all() else None
        for i in range(len(embedded))
    ]
    found, recall = neighbourhoods.rows(ctx, samples, keys, array)
    found.sort(key=lambda row: row.sample_id if isinstance(row, Neighbourhood) else -1)  # as they lie in the file
    for start in range(0, len(found), PART):  # until the artifact is published a resumed run places all of them anew
        ctx.save(found[start : start + PART])
    ctx.save([], done=total)
    return recall


def _digest(row: Rendered) -> bytes:
    """What tells a prompt from others, in 16 bytes however long it is."""
    return hashlib.blake2b(np.array(row.ids[: row.prompt_end], dtype=np.int32).tobytes(), digest_size=16).digest()
