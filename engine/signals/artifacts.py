"""What an earlier stage has made, for one that goes on from it: whole, or the run stops with a sentence."""

from __future__ import annotations

from pathlib import Path

from engine.errors import StageError
from engine.files.whole_file import cut_off, parts
from engine.loop import MADE_BY
from engine.stage import Ctx


def finished(ctx: Ctx, name: str, round: int | None = None) -> Path | None:
    """The artifact ``name`` of ``round`` (this one when None); None if it was never finished.

    Raises:
        StageError: it is not there, or cut off: after a power cut, or by a copy that was ended.
    """
    path = ctx.artifact(name, round)
    if path is None:
        return None
    here = ctx.round if round is None else round
    way = f"Run with --redo {MADE_BY[name]}" if here == ctx.round else "Fork the project at an earlier round"
    for file in parts(path):
        if reason := cut_off(file) if file.exists() else "missing":
            raise StageError(f"{file}: {reason}. {way}, or restore a backup.")
    return path
