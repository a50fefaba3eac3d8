"""Rewrites through a provider's batch API: files of calls, cheaper, with results within a day.

All calls that are pending go out together, in as many batches as their size and the caps need; what comes back adds the
next ones (answers to new prompts, further tries), which are the next batch. A batch is in the store with all its calls
before anything leaves the machine, and carries our token at the provider: whatever kills the stage, the next run finds
it there and gives no call away twice.

A pause leaves the batches to the provider. A cancel calls them off there and takes in what they had done.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Sequence

from engine.backends.openai_batches import CROWDED, Batches, BatchStatus, Crowded, StopRequested, Unreachable
from engine.errors import BackendError, Cancelled
from engine.plurals import counted
from engine.stage import Ctx
from engine.store.rows import Rewrite
from engine.store.teacher import BatchCall, TeacherBatch
from engine.teacher.batch_ledger import Books, Flight, call_name
from engine.teacher.budget import give_up
from engine.teacher.job import Phase, RewriteJob, require_endpoint, worst

MOST_CALLS, MOST_BYTES = 50_000, 100_000_000
"""Of one batch. Providers take 200 MB; the client holds a file in memory twice."""
FIRST_POLL_S, LONGEST_POLL_S, GROWTH = 5.0, 300.0, 1.5
WINDOW_S, LATE_S = 86_400.0, 3600.0
"""How long a batch may take where the provider does not say, and so long more it is waited for."""


def through_batches(ctx: Ctx, job: RewriteJob) -> None:
    """Make every pending rewrite by batches; without ``teacher.batch`` only call off and take in what is out.

    Raises:
        Paused: at once. Cancelled: when the batches are called off. BackendError: no batch can work any more.
    """
    how = require_endpoint(ctx.config.teacher)
    client = Batches(
        how.url,
        how.model,
        how.key_env,
        timeout_s=how.timeout_s,
        retries=how.retries,
        stop=lambda: ctx.wanted() != "run",
    )
    try:
        with ctx.own_cancel():
            BatchRunner(Books(ctx, job, client)).work()
    finally:
        client.close()


class BatchRunner:
    """Sends batches, polls them and collects their results."""

    def __init__(self, books: Books) -> None:
        self.books, self.ctx, self.job, self.client = books, books.ctx, books.job, books.client
        self.how, self.gives = books.how, books.ctx.config.teacher.batch
        self.most = MOST_CALLS
        self.fresh = True  # calls are pending that were not planned yet
        self.crowded = self.silent = False

    def work(self) -> None:
        """Run until no call is pending and no batch is open."""
        try:
            self._heeding(self.begin)
            self._heeding(self.go_on)
        except Cancelled:
            self.call_off()
            raise

    def _heeding(self, step: Callable[[], None]) -> None:
        """Run ``step``. Raise Paused or Cancelled if it was stopped; retry it if the request was withdrawn."""
        while True:
            try:
                return step()
            except StopRequested:
                self.ctx.progress(self.books.done())

    # ------------------------------------------------------------------------------------------------ what is out

    def begin(self) -> None:
        """Resume the batches of earlier runs."""
        self.books.flights.clear()
        calls: dict[str, list[BatchCall]] = {}
        for call in self.ctx.rows(BatchCall):
            calls.setdefault(call.token, []).append(call)
        known = sorted(self.ctx.rows(TeacherBatch), key=lambda batch: batch.planned_at)
        for batch in (b for b in known if b.url == self.how.url):
            self._learn(batch)
            if batch.pending:
                flight = Flight.of(batch, calls.get(batch.token, []))
                self.books.flights.append(flight)
                for call in flight.calls.values():
                    self.books.hold(call)
        if self.gives:
            self.client.ready()  # before any text is sent
            if self.job.pending():
                where = f"{self.how.url} ({self.how.model})"
                text = f"the texts of {counted(len(self.job.rows), 'selected sample')} are sent to {where} in batches"
                self.ctx.event(f"{text}; the files are deleted there once the results are saved", "warning")

    def _learn(self, batch: TeacherBatch) -> None:
        """Learn from earlier batches which options the model rejects, and how many calls are too many."""
        if batch.model == self.how.model:
            self.client.chat.names = json.loads(batch.options)
        if batch.error == CROWDED:
            self.most = min(self.most, max(1, batch.calls // 2))

    def find(self) -> None:
        """Resolve a batch whose run ended before its id was saved: the provider created it, or never received it."""
        for flight in [flight for flight in self.books.flights if flight.batch.id is None]:
            found = self.client.find(flight.batch.token, flight.batch.planned_at)
            if found is not None:
                self.books.note(flight, found, state="open")
                self.ctx.event(f"batch {found.id} was already created; resuming it")
                continue
            self._drop(flight)

    def _drop(self, flight: Flight) -> None:
        """Drop a batch that was never created: its calls are pending again, its file is deleted."""
        if flight.batch.file:
            self.client.forget(flight.batch.file)
        self.books.end(flight, "dropped")

    # ------------------------------------------------------------------------------------------------ giving away

    def go_on(self) -> None:
        """Send pending calls, poll, wait, and repeat."""
        self.find()
        if not self.gives:
            self.ask_to_end()
        looks = 0
        while True:
            if self.gives and self.fresh and not self.crowded:
                self.give_away()
                looks = 0
            if not self.books.flights:
                if not (self.gives and self.job.more()):
                    return
                self.fresh = True
                continue
            if not self.look():
                self.client.rest(min(LONGEST_POLL_S, FIRST_POLL_S * GROWTH**looks))
                looks += 1

    def give_away(self) -> None:
        """Send all pending calls that the budget allows, in batches."""
        while not self.crowded:
            away = {name for flight in self.books.flights for name in flight.calls}
            waiting = [row for row in self.job.pending() if call_name(self.job, row) not in away]
            if chunk := self._chunk(waiting):
                self._send(chunk)
            elif waiting and not self.books.flights:
                give_up(self.ctx, self.job, [row for row in waiting if row.state == waiting[0].state], self.how)
            else:
                self.fresh = False
                return

    def _chunk(self, waiting: Sequence[Rewrite]) -> list[tuple[BatchCall, bytes]]:
        """The first calls of ``waiting`` that fit into one batch and the budget."""
        chunk: list[tuple[BatchCall, bytes]] = []
        token, size = uuid.uuid4().hex, 0
        for row in waiting[: self.most]:
            phase, name = Phase.of(row), call_name(self.job, row)
            line = self.client.line(name, self.job.call(self.ctx, phase, row))
            size += len(line)
            if (chunk and size > MOST_BYTES) or not self.books.purse.afford(self.job, phase, row):
                break
            most_in, most_out = worst(self.job, phase, row, self.how)
            call = BatchCall(token, name, self.ctx.round, *row.key, phase.name, most_in, most_out)
            chunk.append((call, line))
        return chunk

    def _send(self, chunk: Sequence[tuple[BatchCall, bytes]]) -> None:
        """Save a batch, upload its file, create it."""
        calls, lines = [call for call, _ in chunk], [line for _, line in chunk]
        token, options = calls[0].token, json.dumps(self.client.chat.names)
        where = self.how.url, self.how.model
        batch = TeacherBatch(token, self.ctx.round, *where, "new", len(calls), time.time(), options)
        flight = self.books.begin(batch, calls)
        try:
            file = self.client.upload(token, lines)
            self.books.keep(flight, file=file)
            made = self.client.create(file, token, {"middo_round": str(self.ctx.round)}, batch.planned_at)
        except Crowded:
            self.books.keep(flight, error=CROWDED)
            self._drop(flight)
            self._too_many(len(calls))
            return
        self.books.note(flight, made, state="open")
        until = f"by {clock(made.expires_at)}" if made.expires_at else "within a day"
        self.ctx.event(f"batch {made.id}: {counted(len(calls), 'call')} sent, results due {until}")

    def _too_many(self, calls: int) -> None:
        """The provider's queue limit is reached: wait for one of our batches to end, or send smaller ones."""
        self.fresh = True
        if self.books.flights:
            self.crowded = True
            return
        if calls == 1:
            raise BackendError(
                f"{self.how.url}: the provider accepts no more batched calls now. Wait until your other batches are"
                " done, then resume."
            )
        self.most = max(1, calls // 2)
        self.ctx.event(
            f"the provider rejected a batch of {counted(calls, 'call')}; sending at most {self.most:,} at a time",
            "warning",
        )

    # --------------------------------------------------------------------------------------------------- watching

    def look(self) -> bool:
        """Poll all open batches and collect finished ones. Returns whether one had finished."""
        ended = False
        for flight in list(self.books.flights):
            standing = self._standing(flight)
            if standing is None:
                continue
            self.books.note(flight, standing)
            if standing.over:
                self.take_in(flight, standing)
                ended = True
        return ended

    def _standing(self, flight: Flight) -> BatchStatus | None:
        """The status of a batch; None if the provider cannot be reached now.

        Raises:
            BackendError: it knows no such batch, or was silent for too long.
        """
        batch = flight.batch
        ends = (batch.expires_at or batch.planned_at + WINDOW_S) + LATE_S
        try:
            found = self.client.look(str(batch.id))
        except Unreachable as error:
            if time.time() > ends:
                raise
            if not self.silent:
                self.ctx.event(f"{error}. The batch continues there; it will be polled again", "warning")
            self.silent = True
            return None
        if self.silent:
            self.ctx.event(f"{self.how.url} answers again")
        self.silent = False
        if found is None and time.time() <= ends:
            raise BackendError(
                f"{self.how.url}: no batch {batch.id} for this API key, but it has"
                f" {counted(len(flight.calls), 'call')}. Set the key that created it, or wait"
                f" until {clock(ends)}; then the calls are sent again."
            )
        return found or BatchStatus(str(batch.id), "expired")

    def take_in(self, flight: Flight, standing: BatchStatus) -> None:
        """Read the results of a finished batch, and decide whether to continue."""
        began = flight.batch.created_at or flight.batch.planned_at
        took = max(0.0, (standing.ended_at or time.time()) - began)
        files = [file for file in (standing.output, standing.errors) if file]
        for file in files:
            self.books.read(flight, file, took)
        outage, ordered = self.books.settle(flight), flight.batch.state == "cancelling"
        nothing = not flight.answered and len(flight.calls) == len(flight.names)
        self.books.end(flight, "done")
        self.fresh, self.crowded = True, False
        self._tell(flight, standing)
        for file in (*files, *([flight.batch.file] if flight.batch.file else [])):
            self.client.forget(file)
        if standing.code == CROWDED:
            self._too_many(flight.batch.calls)
        elif why := _wrong(standing, outage, flight.hopeless, nothing and not ordered, ordered):
            raise BackendError(why if flight.hopeless else f"{self.how.url}: batch {standing.id} {why}")

    def _tell(self, flight: Flight, standing: BatchStatus) -> None:
        """Log the results of a batch."""
        back = len(flight.names) - len(flight.calls)
        self.ctx.event(
            f"batch {standing.id} is {standing.status}: {back:,} of {counted(len(flight.names), 'call')} came back"
        )
        if flight.strange:
            said = counted(
                flight.strange,
                "result line is unreadable or matches no call of this batch, and is ignored",
                "result lines are unreadable or match no call of this batch, and are ignored",
            )
            self.ctx.event(f"batch {standing.id}: {said}", "warning")
        for note in self.client.chat.notes:
            self.ctx.event(note, "warning")
        self.client.chat.notes.clear()

    # ------------------------------------------------------------------------------------------------ calling off

    def ask_to_end(self) -> None:
        """Ask the provider to cancel all batches. Finished calls can still be collected."""
        for flight in self.books.flights:
            if flight.batch.state != "cancelling":
                self.client.cancel(str(flight.batch.id))
                self.books.keep(flight, state="cancelling")

    def call_off(self) -> None:
        """Cancel the batches at the provider, and collect finished calls within the grace period."""
        self.books.leaving = True
        ends = time.monotonic() + max(1.0, self.ctx.config.launch.grace_s - 2.0)
        self.client.stop = lambda: time.monotonic() > ends
        try:
            self.find()
            self.ask_to_end()
            while self.books.flights:
                if not self.look():
                    self.client.rest(min(1.0, FIRST_POLL_S))
        except StopRequested:
            pass
        except BackendError as error:
            self.ctx.event(str(error), "warning")
        if left := len(self.books.flights):
            what = counted(left, "batch is", "batches are")
            self.ctx.event(
                f"{what} being cancelled at {self.how.url}; the next run collects the finished calls", "warning"
            )


def _wrong(standing: BatchStatus, outage: str, hopeless: str, nothing: bool, ordered: bool) -> str:
    """The error that a batch's end means for the stage; empty if the stage can continue."""
    if hopeless:
        return hopeless
    if outage:
        return f"failed in all its calls (last: {outage}). They do not count as attempts. Check [teacher], then resume."
    if standing.status == "failed":
        return f"was rejected: {standing.why or 'no reason was given'}. Check [teacher], then resume."
    if standing.status == "cancelled" and not ordered:
        return "was cancelled at the provider. Its finished calls are saved. Run again to send the rest."
    if nothing:
        return f"is {standing.status} without any result. Run again to retry, or set [teacher] batch = false."
    return ""


def clock(at: float) -> str:
    """Local time as ``Sat 14:05``, since a batch may end tomorrow."""
    return time.strftime("%a %H:%M", time.localtime(at))
