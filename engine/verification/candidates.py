"""What is verified: a rewrite with the sample that it came from and the conversation that it would become."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.store.dataset import Dataset
from engine.store.rows import AXES, Rewrite, Sample, load_messages
from engine.verification.text_checks import Exchange

Key = tuple[int, str]
"""What identifies a rewrite within its round: its sample and its axis."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A rewrite with an answer: the row, the sample it came from and the conversation it would become."""

    row: Rewrite
    sample: Sample
    new: Sample

    @property
    def key(self) -> Key:
        """What identifies the rewrite within its round."""
        return self.row.sample_id, self.row.axis

    @property
    def changed(self) -> bool:
        """Whether a person edited the text or had it written again."""
        return self.row.original is not None or self.row.draw > 0

    @property
    def exchange(self) -> Exchange:
        """The new prompt and response."""
        return Exchange(self.new.prompt, self.new.response)


def candidates(rows: Sequence[Rewrite], data: Dataset) -> list[Candidate]:
    """The rewrites that have an answer, by axis and place in the dataset."""
    there = [(row, row.messages) for row in rows if row.messages is not None and row.state != "failed"]
    samples = {s.id: s for s in data.take(sorted({row.sample_id for row, _ in there}))}
    out = []
    for row, messages in there:
        sample = samples[row.sample_id]
        new = Sample(id=sample.id, messages=load_messages(messages), seq=sample.seq)
        out.append(Candidate(row, sample, new))
    return sorted(out, key=lambda c: (AXES.index(c.row.axis), c.sample.seq))
