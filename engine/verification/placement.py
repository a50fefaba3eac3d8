"""Where a rewrite lies among the round's samples: how near to which, how much it has to do with its original."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from heapq import nsmallest

import numpy as np

from engine.errors import StageError
from engine.plurals import counted
from engine.signals import held_back
from engine.signals.artifacts import finished
from engine.signals.losses import Measured
from engine.signals.nearest import Floats, Ints, against
from engine.stage import Ctx
from engine.store.dataset import Dataset
from engine.store.rows import Flaw, Neighbourhood, Sample, Selection, dump_messages
from engine.verification import topics
from engine.verification.candidates import Candidate
from engine.verification.near_duplicates import NearDuplicates, Twin
from engine.verification.text_checks import Exchange, Rejection
from engine.verification.topics import Topics
from engine.verification.verdicts import Placed

DENSE = 0.75
"""Of the samples that nobody selected so many lie sparser than what is too dense for an added sample."""


class Near:
    """Similarity of candidates to the dataset's different prompts, as the score stage measures it."""

    def __init__(self, ctx: Ctx, data: Dataset, words: Topics) -> None:
        path = finished(ctx, "embeddings")
        if path is None:
            raise StageError(f"round {ctx.round} has no embeddings. Run its score stage first.")
        array = np.load(path, mmap_mode="r")
        if len(array) != len(data):
            raise StageError(
                f"{path}: {counted(len(array), 'embedding')} for {counted(len(data), 'sample')}."
                " Run the score stage again."
            )
        placed = {n.sample_id for n in ctx.rows(Neighbourhood)}
        first: dict[bytes, int] = {}
        for i, sample in enumerate(data):
            if sample.id in placed:
                first.setdefault(_before_answer(sample), i)
        self._data = data
        self._embeddings: Floats = array
        self._which: Ints = np.fromiter(first.values(), np.int64, len(first))
        self._rows = {prompt: n for n, prompt in enumerate(first)}
        self._folder = path.parent
        self._k = ctx.config.select.neighbours
        self._limit = ctx.config.verify.max_similarity
        self._words = words
        self._duplicates: NearDuplicates | None = None

    def similarity(self, chunk: Sequence[Candidate], measured: Sequence[Measured]) -> list[float | None]:
        """Per candidate the mean similarity to the k nearest. What a rewrite replaces is left out."""
        near, _ = against(self._queries(measured), self._embeddings, self._k, self._own(chunk), which=self._which)
        known = np.isfinite(near)
        pairs = zip(near, known, strict=True)
        return [float(row[ok].mean(dtype=np.float64)) if ok.any() else None for row, ok in pairs]

    def duplicates(self, chunk: Sequence[Candidate], measured: Sequence[Measured]) -> list[Rejection | None]:
        """Which of the candidates that would be added are duplicates by their embeddings."""
        added = [i for i, one in enumerate(chunk) if one.row.axis == "diversity"]
        out: list[Rejection | None] = [None] * len(chunk)
        if added and len(self._which):
            find = self._beyond_limit if self._limit else self._twins
            found = find([chunk[i] for i in added], self._queries([measured[i] for i in added]))
            for i, rejection in zip(added, found, strict=True):
                out[i] = rejection
        return out

    def _beyond_limit(self, added: Sequence[Candidate], queries: Floats) -> list[Rejection | None]:
        near, rows = against(queries, self._embeddings, 1, np.full(len(queries), -1), which=self._which)
        return [
            Rejection("duplicate", f"its embedding has similarity {one:.4f} to the prompt of #{self._sample(row).seq}")
            if row >= 0 and one > self._limit
            else None
            for one, row in zip(near[:, 0].tolist(), rows[:, 0].tolist(), strict=True)
        ]

    def _twins(self, added: Sequence[Candidate], queries: Floats) -> list[Rejection | None]:
        if self._duplicates is None:
            self._duplicates = NearDuplicates.of(
                lambda row: self._sample(row).prompt, self._embeddings, self._words, self._which, self._folder
            )
        found = self._duplicates.find([one.new.prompt for one in added], queries, np.full(len(queries), -1))
        return [None if twin is None else self._said(twin, self._duplicates.bound) for twin in found]

    def _said(self, twin: Twin, bound: float) -> Rejection:
        near = f"its embedding has similarity {twin.similarity:.3f}, standardised (bound {bound:.3f})"
        whose = f"the prompt is nearly that of #{self._sample(twin.row).seq}"
        return Rejection("duplicate", f"{whose}: {twin.shared:.0%} of the words are shared, and {near}")

    def _sample(self, row: int) -> Sample:
        """The first sample with the different prompt ``row``."""
        return self._data[int(self._which[row])]

    def _queries(self, measured: Sequence[Measured]) -> Floats:
        width = self._embeddings.shape[1]
        rows = [np.full(width, np.nan) if m.embedding is None else m.embedding for m in measured]
        return np.array(rows, dtype=np.float32).astype(self._embeddings.dtype)

    def _own(self, chunk: Sequence[Candidate]) -> Ints:
        rows = (-1 if c.row.axis == "diversity" else self._rows.get(_before_answer(c.sample), -1) for c in chunk)
        return np.array(list(rows), dtype=np.int64)


def _before_answer(sample: Sample) -> bytes:
    """What tells prompts apart, in 16 bytes: the turns before the last answer, but for the system's, which no embedding
    reads.
    """
    last = max(i for i, m in enumerate(sample.messages) if m.role == "assistant")
    text = dump_messages(m for m in sample.messages[:last] if m.role != "system")
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


class Beside:
    """What a rewrite is held against besides its original: random samples, and those that nobody selected."""

    def __init__(self, ctx: Ctx, data: Dataset, about: Collection[int]) -> None:
        """``about``: the samples that rewrites will be held against."""
        self._data = data
        drawn = data.take(nsmallest(topics.REFERENCES, data.ids))  # ids are hashes: the smallest are random ones
        self.topics = Topics.of((s.id, _exchange(s)) for s in drawn)
        near, there = ctx.rows(Neighbourhood), set(data.ids) - held_back.held(ctx).keys()
        mine = {row.sample_id: json.loads(row.neighbours) for row in near if row.sample_id in about}
        self._hints = {id: [other for other in found if other in there] for id, found in mine.items()}
        selected = {row.sample_id for row in ctx.rows(Selection)}
        kept = [row.similarity for row in near if row.sample_id not in selected]
        self._flaws = {row.sample_id: row.flaw for row in ctx.rows(Flaw) if row.sample_id in about}
        self._usual = float(np.quantile(kept, DENSE)) if kept else None

    def place(self, one: Candidate, similarity: float | None, flaw: tuple[float, str] | None = None) -> Placed:
        """Where ``one`` lies, with its ``flaw`` score and lens. What inspired a new prompt are the core and the hints
        that the teacher had.
        """
        added = one.row.axis == "diversity"
        hints = self._hints.get(one.sample.id, []) if added else []
        sources = [one.sample, *self._data.take(hints)]
        but = {s.id for s in sources}
        shares = [self.topics.share(_exchange(s), one.exchange, but) for s in sources]
        known = [share for share in shares if share is not None]
        usual = self._usual if added and not one.row.batch else None  # by evidence, they go where the loss is high
        was = None if added else self._flaws.get(one.sample.id)
        return Placed(similarity, usual, max(known, default=None), flaw, was)


def _exchange(sample: Sample) -> Exchange:
    return Exchange(sample.prompt, sample.response)
