"""Rewrites through an endpoint, or vLLM in this process: many calls in flight, every result saved as it comes.

A rewrite goes its own way, prompt, answer, further tries, without waiting for others; answers go first, so that what
was begun is finished. A call is in the store before it is sent, as the most that it can take: that is what a try counts
as that got no reply, or that was under way when the process was killed. A pause lets the calls in flight come home and
be saved where they are paid for; vLLM's are given up, which may take minutes to end. What was saved is never asked for
again.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

from msgspec.structs import replace

from engine.backends import Answers, Call, Generation, Lost, backend
from engine.backends.openai import Endpoint, EndpointLimits
from engine.config import schema as configs
from engine.errors import Paused
from engine.plurals import counted
from engine.signals import round_models
from engine.stage import Ctx
from engine.store.rows import Row
from engine.store.teacher import SentCall
from engine.teacher.budget import Purse, give_up
from engine.teacher.job import ANSWER, PROMPT, Key, Phase, RewriteJob, require_endpoint, teacher_folder
from engine.teacher.replies import record_reply

if TYPE_CHECKING:
    from engine.backends.vllm import Engine

AHEAD = 2
"""Calls handed over per slot, so that no slot waits for the store."""


def open_endpoint(how: configs.Teacher, answered: bool = False) -> Endpoint:
    """The endpoint that [teacher] names; ``answered``: it took such calls before.

    Raises:
        ConfigError: the url or the model's name is missing. BackendError: the key is not there.
    """
    require_endpoint(how)
    return Endpoint(how.url, how.model, how.key_env, EndpointLimits.of(how), answered, more_urls=how.more_urls)


def through_endpoint(ctx: Ctx, job: RewriteJob) -> None:
    """Make every pending rewrite, and say where texts are sent before the first one is."""
    endpoint = open_endpoint(ctx.config.teacher, answered=job.tokens > 0)
    try:
        where = " and ".join((endpoint.url, *ctx.config.teacher.more_urls))
        texts = f"the texts of {counted(len(job.rows), 'selected sample')}"
        ctx.event(f"{texts} are sent to {where} ({endpoint.model})", "warning")
        how = ctx.config.teacher
        # Towards a cap each call counts as its worst until it is over: none is then handed over that has to wait.
        slots = how.concurrency * (1 + len(how.more_urls))
        stream(ctx, job, endpoint, slots * (1 if how.budget_tokens or how.budget_cost else AHEAD))
        if how.more_urls:
            ctx.event(f"replies by {endpoint.servers.shares()}")
    finally:
        endpoint.close()


def through_engine(ctx: Ctx, job: RewriteJob) -> None:
    """Make every pending rewrite with vLLM in this process."""
    how = ctx.config.teacher
    quantised = not how.model and round_models.base_model(ctx).nf4
    engine: Engine = backend("vllm")(
        teacher_folder(ctx),
        dtype=how.dtype,
        quantization="bitsandbytes" if quantised else "",
        settings=ctx.config.vllm,
    )
    try:
        stream(ctx, job, engine, ctx.config.vllm.in_flight)
        ctx.event(engine.summary())
    finally:
        engine.close()


def stream(ctx: Ctx, job: RewriteJob, endpoint: Answers, ahead: int) -> None:
    """Make every pending rewrite through ``endpoint``, with at most ``ahead`` calls handed over at a time.

    Raises:
        Paused: all that came is saved, also the calls in flight if they are paid for. Cancelled: at once.
        BackendError: no call can work any more.
    """
    _Stream(ctx, job, endpoint, ahead).work()


class _Stream:
    """What waits, what is in flight, and what is to be saved before anything more is sent."""

    def __init__(self, ctx: Ctx, job: RewriteJob, endpoint: Answers, ahead: int) -> None:
        self.ctx, self.job, self.endpoint, self.ahead = ctx, job, endpoint, ahead
        self.how = ctx.config.teacher
        self.purse = Purse.begin(self.how, job)
        self.waiting = deque(row.key for row in job.pending())
        self.flying: dict[Key, Phase] = {}
        self.sent: dict[Key, SentCall] = {}
        self.fresh: list[Key] = []
        self.again: list[tuple[Key, Call]] = []
        self.made: list[Row] = []
        self.wish: Paused | None = None

    def work(self) -> None:
        """Until nothing is pending, or a wish ends it."""
        while True:
            if self.wish is None:
                self.choose()
            self.save()
            if self.wish is not None and (not self.flying or not self.endpoint.paid):
                raise self.wish
            self.send()
            if self.flying:
                self.take()
            elif self.waiting:
                state = self.job.rows[self.waiting[0]].state
                give_up(self.ctx, self.job, [row for row in self.job.pending() if row.state == state], self.how)
                self.waiting = deque(row.key for row in self.job.pending())
            elif self.job.more():
                self.waiting = deque(row.key for row in self.job.pending())
            else:
                return

    def choose(self) -> None:
        """Take up what waits, as much as there is room and money for."""
        while self.waiting and len(self.flying) < self.ahead:
            row = self.job.rows[self.waiting[0]]
            phase = Phase.of(row)
            if not self.purse.afford(self.job, phase, row):
                return
            key = self.waiting.popleft()
            self.flying[key] = phase
            self.fresh.append(key)
            self._note_sent(key, phase)

    def save(self) -> None:
        """What came, and what is to be sent: all that is paid for is in the store before it leaves the machine."""
        made, self.made = self.made, []
        if not made and not self.fresh and not self.again:
            return
        try:
            self.ctx.save(made, done=self.job.settled())
        except Paused as asked:
            if self.wish is None and len(self.flying) > len(self.fresh) + len(self.again):
                self.ctx.event(self.endpoint.stopping())
            self.wish = asked
            self._take_back()

    def _take_back(self) -> None:
        """Something else is wanted: what would have been sent now waits."""
        for _, call in self.again:
            self.endpoint.leave(call)
        for key in (*self.fresh, *(key for key, _ in self.again)):
            self._over(key)
        self.fresh, self.again = [], []
        made, self.made = self.made, []
        with suppress(Paused):
            self.ctx.save(made)

    def _over(self, key: Key) -> None:
        """A call is not in flight any more and its rewrite waits, for one reason or another."""
        self.flying.pop(key)
        row = self.job.rows[key]
        self.purse.spent(self.job, row, row)
        self._close(key)
        self._wait(key)

    def _wait(self, key: Key) -> None:
        state = self.job.rows[key].state
        if state == ANSWER.state:
            self.waiting.appendleft(key)
        elif state == PROMPT.state:
            self.waiting.append(key)

    def _note_sent(self, key: Key, phase: Phase) -> None:
        if self.endpoint.paid:
            self.sent[key] = self.job.sent(self.ctx, phase, self.job.rows[key], self.how)
            self.made.append(self.sent[key])

    def _close(self, key: Key) -> None:
        if key in self.sent:
            self.made.append(replace(self.sent.pop(key), open=False))

    def send(self) -> None:
        """Hand over what was chosen."""
        for key in self.fresh:
            self.endpoint.submit(self.job.call(self.ctx, self.flying[key], self.job.rows[key]))
        for _, call in self.again:
            self.endpoint.again(call)
        self.fresh, self.again = [], []

    def take(self) -> None:
        """What came back."""
        for call, reply in self.endpoint.take():
            key: Key = call.tag  # type: ignore[assignment]
            if isinstance(reply, Lost):
                self._lost(key, call, reply)
            else:
                self._record(key, reply)
        for note in self.endpoint.notes:
            self.ctx.event(note, "warning")
        self.endpoint.notes.clear()
        if not self.made:
            self.ctx.progress(self.job.settled())

    def _record(self, key: Key, reply: Generation) -> None:
        phase, before = self.flying.pop(key), self.job.rows[key]
        row, entry = record_reply(self.ctx, self.job, before, phase, reply, self.how)
        self.purse.spent(self.job, before, row)
        self.made += [row, entry]
        self._close(key)
        self._wait(key)

    def _lost(self, key: Key, call: Call, lost: Lost) -> None:
        """A try was lost: it is booked as the most it can have taken, and there is another one if that can be paid."""
        phase = self.flying[key]
        if lost.counts:
            entry = self.job.lose(self.sent[key], lost.error)
            self.purse.paid(key, entry.tokens_in + entry.tokens_out, entry.cost)
            self.made.append(entry)
            self._close(key)
        if not lost.asks:
            return
        if self.wish is None and self.purse.afford(self.job, phase, self.job.rows[key]):
            self._note_sent(key, phase)
            self.again.append((key, call))
        else:
            self.endpoint.leave(call)
            self._over(key)
