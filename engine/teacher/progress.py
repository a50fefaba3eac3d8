"""How far a teacher on this machine is: what it writes, how fast, and how long the rest will take.

A row says so about once a second, from the moment that the model is being loaded, so that nobody looks at a silent
screen. A teacher that gets none of its first replies into the form is named then, not when all its tries are over.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from engine.backends import Generation, ReplyProgress
from engine.stage import Ctx
from engine.store.rows import Rewrite
from engine.store.teacher import UnderWay
from engine.teacher.job import Phase, RewriteJob
from engine.teacher.replies import read_reply

EVERY_S, WINDOW_S = 1.0, 30.0
FEW = 3
"""Whole replies whose mean length says something of the others'."""
SHOWN = 240
"""Characters of what is being written that are shown."""


@dataclass(slots=True)
class Meter:
    """Measures a local teacher's progress in this run of the stage. ``clock``: seconds."""

    ctx: Ctx
    job: RewriteJob
    clock: Callable[[], float] = time.monotonic
    replies: int = 0
    whole: int = 0
    tokens: int = 0
    _began: float | None = None
    _last_report: float = float("-inf")
    _seen: deque[tuple[float, int]] = field(default_factory=deque)

    def loading(self) -> None:
        """Report that the model is being loaded."""
        self.ctx.save([UnderWay(self.ctx.round, "load", 1, 0, 0, 0, 0.0, time.time())])

    def of(self, phase: Phase, attempt: int, batch: Sequence[Rewrite]) -> Callable[[ReplyProgress], None]:
        """A callback that records the progress of one batch, and raises Paused if requested."""
        before = self.tokens

        def watch(going: ReplyProgress) -> None:
            now = self.clock()
            self._began = now if self._began is None else self._began
            self.tokens = before + going.tokens - going.kept
            if now - self._last_report < EVERY_S:
                self.ctx.progress(self.job.settled())
                return
            self._last_report = now
            if self.job.unheard and going.done:
                self._hear(phase, attempt, batch, going.replies())
            row = self._row(phase, attempt, going, now)
            self.ctx.save([row], done=self.job.settled())

        return watch

    def finished(self, going: Sequence[Generation]) -> None:
        """Record the end of a batch."""
        self.replies += len(going)
        self.whole += sum(reply.tokens_out for reply in going)

    def _hear(self, phase: Phase, attempt: int, batch: Sequence[Rewrite], replies: Sequence[Generation]) -> None:
        for row, reply in zip(batch, replies, strict=False):
            _, reason = read_reply(self.job.samples[row.sample_id], row.axis, phase, reply)
            self.job.hear(self.ctx, (row.key, phase.name, attempt), reason)

    def _row(self, phase: Phase, attempt: int, going: ReplyProgress, now: float) -> UnderWay:
        self._seen.append((now, self.tokens))
        while len(self._seen) > 2 and now - self._seen[1][0] > WINDOW_S:
            self._seen.popleft()
        (since, before), began = self._seen[0], self._began or now
        per_s = (self.tokens - before) / (now - since) if now > since else None
        return UnderWay(
            round=self.ctx.round,
            step=phase.name,
            attempt=attempt,
            done=going.done,
            total=going.total,
            tokens=self.tokens,
            seconds=now - began,
            at=time.time(),
            per_s=per_s,
            left_s=self._left_s(going),
            text=going.text()[-SHOWN:],
        )

    def _left_s(self, going: ReplyProgress) -> float | None:
        """Seconds until all is made: prompts to read, and steps for what is still to be written.

        That is what is pending, as long as replies were so far, less what is begun. A step takes about as long for all
        places as for those that are taken now.
        """
        if not going.step_s:
            return None
        how, replies, whole = self.ctx.config.teacher, self.replies + going.done, self.whole + going.whole
        mean = whole / replies if replies >= FEW else self.job.expected_reply(how)
        pending = 2 * len(self.job.rows) - self.job.settled() - going.done
        tokens = max(0.0, pending * mean - (going.tokens - going.whole))
        unread = max(0, pending - going.open)
        return unread * going.reading_s + tokens * going.step_s / max(1, min(how.batch_size, pending))
