"""What the teacher's answer to a sample's own prompt makes of a probe: a false alarm, or the rewrite of a flaw.

Words alone do not tell where only the form is wrong: an answer that shows a sign of a flaw agrees with no answer that
does not show it, and one that stops in mid-sentence with none that ends.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from msgspec.structs import replace

from engine.selection.agreement import Bounds
from engine.selection.survey import AGREES, AGREES_AGAIN, UNSURE
from engine.selection.unclear_prompts import asks_back
from engine.signals.flaw_score import before
from engine.signals.text_signs import SIGNS, ends_open, sign
from engine.store.rows import AGAIN, Message, Rewrite, Sample, dump_messages
from engine.teacher.job import context


@dataclass(frozen=True, slots=True)
class Comparison:
    """Compares samples with answers. ``lenses``: by sample, which lens looks worst."""

    bounds: Bounds
    samples: Mapping[int, Sample]
    lenses: Mapping[int, str]

    def after_first(self, row: Rewrite) -> Rewrite:
        """``row`` after the teacher's answer."""
        answer = row.response or ""
        alike = self.bounds.alike(self.samples[row.sample_id].response, answer)
        row = replace(row, agreement=alike, first_calls=row.answer_attempts)
        return _kept(row, AGREES) if self.agrees(row, answer) else row

    def after_second(self, row: Rewrite) -> Rewrite:
        """``row`` after the teacher's second answer: a false alarm, or as it was after the first one."""
        sample, first, second = self.samples[row.sample_id], row.first_answer or "", row.response
        if row.state == "failed":
            second = None
        alike = [self.bounds.alike(sample.response, text) for text in (first, second or "")]
        turns = (*context(sample, row.axis), Message("user", row.prompt or ""), Message("assistant", first))
        calls = row.answer_attempts + max(1, row.first_calls)
        row = replace(row, response=first, agreement=max(alike), answer_attempts=calls, reason=None, raw=None)
        if second is not None and self.agrees(row, second):
            return _kept(row, AGREES_AGAIN)
        told = self._sign(row) or self.bounds.stands(sample.response, first, second or "")
        if second is not None and not told:
            return _kept(row, UNSURE)
        return replace(row, state="proposed", messages=dump_messages(turns))

    def agrees(self, row: Rewrite, answer: str) -> bool:
        """Whether ``answer`` says the same as the sample's, and in no better form where its form looks flawed."""
        sample = self.samples[row.sample_id]
        if shown := self._sign(row):
            if sign(sample.prompt, answer, before(sample)) != shown:
                return False
        elif self.lenses[row.sample_id] == "end_of_turn" and ends_open(sample.response) and not ends_open(answer):
            return False
        return self.bounds.agree(sample.response, answer)

    def _sign(self, row: Rewrite) -> str | None:
        """The sign of a flaw that the sample's text shows and that its flaw score is for."""
        sample, lens = self.samples[row.sample_id], self.lenses[row.sample_id]
        shown = sign(sample.prompt, sample.response, before(sample)) if lens in SIGNS else None
        return shown if shown == lens else None


def asked_again(row: Rewrite) -> Rewrite:
    """``row`` when the teacher is to answer a second time, with a count of tries of its own."""
    return replace(
        row,
        state="prompted",
        draw=AGAIN,
        first_answer=row.response,
        agreement=None,
        answer_attempts=0,
        response=None,
        messages=None,
    )


def is_unclear(row: Rewrite) -> bool:
    """Whether the prompt is the flaw, as the teacher only asked what is wanted."""
    return asks_back(row.first_answer or row.response or "")


def without_prompt(row: Rewrite) -> Rewrite:
    """``row`` when the teacher is to make a new prompt, and then its answer."""
    return replace(row, state="owed", prompt=None, answer_attempts=0, response=None, messages=None)


def with_more(row: Rewrite) -> Rewrite:
    """``row`` when the teacher is to give more answers, of which one will be kept ([teacher] best_of). Its tries are
    counted on, as their numbers are part of the seeds.
    """
    there = json.dumps([row.response], ensure_ascii=False)
    return replace(row, state="prompted", draws=there, response=None, messages=None)


def first_calls(row: Rewrite) -> int:
    """The calls that a probe's first answer took, or all of them where none came."""
    if row.first_calls or row.agreement is None:
        return row.first_calls or row.answer_attempts
    return 1  # compared by an older version, which did not count them


def _kept(row: Rewrite, why: str) -> Rewrite:
    return replace(row, state="kept", messages=None, reason=why)
