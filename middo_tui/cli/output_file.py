"""Writing a command's output file: whole or not at all, and over another one only if asked."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from engine.errors import DataError, UsageError
from engine.files import durable


def require_free(out: Path, force: bool) -> None:
    """Raises UsageError: ``out`` exists, and it is not to be overwritten."""
    if out.exists() and not force:
        raise UsageError(f"{out}: exists. Choose another name, or overwrite it with --force.")


def write_whole(out: Path, data: bytes) -> None:
    """Write ``data`` to ``out``.

    Raises:
        DataError: it cannot be written.
    """
    new = out.with_name(f".{out.name}.new")
    try:
        new.write_bytes(data)
        durable.replace(new, out)
    except OSError as error:
        with suppress(OSError):
            new.unlink(missing_ok=True)
        raise DataError(f"{out}: cannot write: {error.strerror}. Choose another place.") from None
