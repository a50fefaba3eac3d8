"""Logs a download's progress in a stage, and checks for pause and cancel."""

from __future__ import annotations

import time

from engine.errors import Cancelled, Paused
from engine.hub.fetch import OnProgress, Progress
from engine.stage import Ctx

EVERY_S = 30.0


def log_progress(ctx: Ctx) -> OnProgress:
    """Log the start of a download, then its progress at intervals.

    Raises:
        Paused, Cancelled: in the returned function, when the job's ``want`` asks for it.
    """
    last: float | None = None

    def said(progress: Progress) -> None:
        nonlocal last
        now = time.monotonic()
        if progress.total and (last is None or now >= last + EVERY_S):
            last = now
            ctx.event(f"fetching {progress}")
        want = ctx.wanted()
        if want == "pause":
            raise Paused
        if want == "cancel":
            raise Cancelled

    return said
