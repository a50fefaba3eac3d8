"""What an earlier stage has made, for one that goes on from it: whole, or the run stops with a sentence."""

from __future__ import annotations

from pathlib import Path

from engine.errors import StageError
from engine.files.whole_file import cut_off, parts
from engine.loop import MADE_BY
from engine.stage import Ctx

_whole: dict[Path, tuple[int, int, int]] = {}
"""Files that were found whole in this process, as they were then: verify asks for its models with every chunk, and a
tokenizer's JSON takes a tenth of a second to read."""


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
        if reason := _trouble(file):
            raise StageError(f"{file}: {reason}. {way}, or restore a backup.")
    return path


def _trouble(file: Path) -> str:
    """Why the file cannot be used; looked at again only when it is another one, or has changed."""
    try:
        now = file.stat()
    except FileNotFoundError:
        return "missing"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    state = now.st_ino, now.st_size, now.st_mtime_ns
    if _whole.get(file) == state:
        return ""
    reason = cut_off(file)
    if not reason:
        _whole[file] = state
    return reason
