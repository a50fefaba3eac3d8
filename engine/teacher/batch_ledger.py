"""The books of batches that are with a provider: which calls are out, what they may take, and what came back of them.

Each result is saved in one transaction with the mark that it is in the books, so a file of results can be read any
number of times. What comes back for a rewrite that was thrown away meanwhile is counted as spent and used for nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from dataclasses import replace as changed

from msgspec.structs import replace

from engine.backends import Generation
from engine.backends.openai import OUTAGE_CALLS
from engine.backends.openai_batches import Batches, BatchStatus, Unreachable
from engine.config import schema as configs
from engine.errors import Cancelled, Paused
from engine.stage import Ctx
from engine.store.rows import Rewrite, Row, content_id
from engine.store.teacher import BatchCall, TeacherBatch
from engine.teacher.budget import Purse
from engine.teacher.job import PROMPT, Phase, RewriteJob
from engine.teacher.replies import record_reply

SAVED = 100
"""Results per transaction."""


def call_name(job: RewriteJob, row: Rewrite) -> str:
    """The custom_id of the next call for ``row`` (64 characters at most): the same after any restart, another one for
    another try, another wave or another request.
    """
    phase = Phase.of(row)
    asked = f"{content_id(job.chat(phase, row)):x}"
    return f"{phase.name}-{phase.tries(row) + 1}-{row.draw}-{row.sample_id}-{row.axis}-{asked}"


@dataclass(slots=True)
class Flight:
    """A batch that is out, with those of its calls that are not in the books yet, by name.

    ``names``: all of them. ``held``: failures that wait for a sign that not all calls fail (a refusal where others have
    worked is the row's own). ``answered``: how many calls the results said anything of. ``strange``: lines that are
    about no call of this batch, or that cannot be read. ``hopeless``: why no call can work.
    """

    batch: TeacherBatch
    calls: dict[str, BatchCall]
    names: frozenset[str]
    held: dict[str, Generation] = field(default_factory=dict)
    answered: int = 0
    strange: int = 0
    hopeless: str = ""

    @classmethod
    def of(cls, batch: TeacherBatch, calls: Sequence[BatchCall]) -> Flight:
        """The open batch for a row of the store."""
        return cls(batch, {c.name: c for c in calls if not c.done}, frozenset(c.name for c in calls))

    def tokens_in(self, name: str) -> int:
        """Tokens of a request that the provider did not count, from its bytes: the most it can have is one for two."""
        return round(self.calls[name].tokens_in * 2 / 3) if name in self.calls else 0


class Books:
    """What is out and what came back, in the store and in the purse. ``leaving``: wishes are known, only save."""

    def __init__(self, ctx: Ctx, job: RewriteJob, client: Batches) -> None:
        self.ctx, self.job, self.client = ctx, job, client
        self.how: configs.Teacher = replace(ctx.config.teacher, batch=True)  # a batch has its price
        self.purse = Purse.begin(self.how, job)
        self.flights: list[Flight] = []
        self.leaving = self.good = False
        self._made: list[Row] = []

    def done(self) -> int:
        """Units of progress: settled calls, plus those that the provider reports as done."""
        return self.job.settled() + sum(min(f.batch.completed, len(f.calls)) for f in self.flights)

    def save(self, *rows: Row) -> None:
        """Save rows, with results that came back before. Raises Paused or Cancelled if requested."""
        made, self._made = self._made, []
        with suppress(*((Cancelled, Paused) if self.leaving else ())):
            self.ctx.save([*made, *rows], done=self.done())

    # ----------------------------------------------------------------------------------------------- what is out

    def row(self, call: BatchCall) -> Rewrite | None:
        """The rewrite that waits for this call; None if it was discarded or its request has changed."""
        row = self.job.rows.get((call.sample_id, call.axis))
        waits = row is not None and row.state in ("owed", "prompted")
        return row if row is not None and waits and call_name(self.job, row) == call.name else None

    def hold(self, call: BatchCall) -> None:
        """Reserve budget for a call that an earlier run sent."""
        row = self.row(call)
        self.purse.hold(call.name if row is None else row.key, (call.tokens_in, call.tokens_out))
        if row is not None and call.step == PROMPT.name:
            self.purse.keep(self.job, row)
        elif row is not None:
            self.purse.drop(row.key)

    def begin(self, batch: TeacherBatch, calls: Sequence[BatchCall]) -> Flight:
        """Save a batch with all its calls, before it is sent."""
        flight = Flight.of(batch, calls)
        self.flights.append(flight)
        self.save(batch, *calls)
        return flight

    def note(self, flight: Flight, standing: BatchStatus, state: str = "") -> None:
        """Save a batch's status at the provider."""
        batch = flight.batch
        flight.batch = replace(
            batch,
            state=state or batch.state,
            id=standing.id,
            status=standing.status,
            completed=standing.completed,
            failed=standing.failed,
            created_at=standing.created_at or batch.created_at,
            expires_at=standing.expires_at or batch.expires_at,
            ended_at=standing.ended_at,
            error=standing.code or None,
        )
        self.save(flight.batch)

    def keep(self, flight: Flight, **facts: str) -> None:
        """Update columns of a batch's row."""
        flight.batch = replace(flight.batch, **facts)
        self.save(flight.batch)

    def end(self, flight: Flight, state: str) -> None:
        """Close a batch. Calls without a result are pending again and do not count as attempts."""
        for call in flight.calls.values():
            row = self.row(call)
            if row is None:
                self.purse.free(call.name)
            else:
                self.purse.spent(self.job, row, row)
        self.flights.remove(flight)
        self.keep(flight, state=state, options=json.dumps(self.client.chat.names))

    # -------------------------------------------------------------------------------------------- what came back

    def read(self, flight: Flight, file: str, took: float) -> None:
        """One file of results, from its start again when it breaks off. ``took``: seconds that the batch ran."""
        tries = 0
        self.good = self.good or len(flight.calls) < len(flight.names)  # an earlier run has read a part of it
        while True:
            try:
                for line in self.client.lines(file):
                    self._line(flight, line, took)
                    if len(self._made) >= 3 * SAVED:  # the rewrite, the call for the books, the mark
                        self.save()
                return
            except Unreachable:
                tries += 1
                if tries > self.client.retries:
                    raise
            finally:
                self.save()

    def _line(self, flight: Flight, line: bytes, took: float) -> None:
        """Process one result line."""
        if not line.strip():
            return
        try:
            found = self.client.read(line, json.loads(flight.batch.options), flight.tokens_in)
        except ValueError:
            flight.strange += 1
            return
        if found.name not in flight.calls:
            flight.strange += found.name not in flight.names  # otherwise it is already booked
            return
        flight.answered += found.kind != "unmade"
        flight.hopeless = found.said or flight.hopeless
        self.good = self.good or found.kind == "reply"
        if found.reply is None:
            return
        reply = changed(found.reply, seconds=took)
        if self.good or (reply.final and self.job.tokens):
            self._book(flight, found.name, reply)
        else:
            flight.held[found.name] = reply

    def settle(self, flight: Flight) -> str:
        """Book the failures that were held back. If all calls failed, book none and return the reason."""
        held, flight.held = flight.held, {}
        if not self.good and len(held) >= OUTAGE_CALLS:
            return next(reversed(held.values())).error or ""
        for name, reply in held.items():
            self._book(flight, name, reply)
        return ""

    def _book(self, flight: Flight, name: str, reply: Generation) -> None:
        """Book a call's result: advance its rewrite and count the call."""
        call = flight.calls.pop(name)
        before = self.row(call)
        if before is None:
            entry = self.job.book(self.ctx, (call.sample_id, call.axis), call.step, reply, self.how)
            self.purse.paid(name, entry.tokens_in + entry.tokens_out, entry.cost)
            self._made += [entry, replace(call, done=True)]
            return
        row, entry = record_reply(self.ctx, self.job, before, Phase.of(before), reply, self.how)
        self.purse.spent(self.job, before, row)
        self._made += [row, entry, replace(call, done=True)]
