"""The first machine's side of files: which ones may be fetched, and sending them in pieces."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
from msgspec import Struct

from engine.files.json_errors import UNREADABLE
from engine.nodes.channel import Channel, ConnectionLost

PIECE_BYTES = 1 << 20


class FileRequest(Struct, frozen=True, tag=True):
    """A file, or a folder with all that is below it, by its path on the first machine."""

    path: str


class File(Struct, frozen=True, tag=True):
    """A file of ``size`` bytes follows in pieces, and then its ``Sum``. ``name``: below what was asked for; empty: it
    is that itself.
    """

    name: str
    size: int


class Sum(Struct, frozen=True, tag=True):
    """SHA-256 of the file that was sent, in hex."""

    sha256: str


class Sent(Struct, frozen=True, tag=True):
    """That was all; so many files."""

    files: int


class Withheld(Struct, frozen=True, tag=True):
    """It is not handed out, or not there."""

    why: str


def given_out(project: Path, models: Iterable[Path]) -> list[Path]:
    """The folders whose files may be fetched, resolved: what a round's training left and leaves, and models that lie in
    the project. Never the store, the config, data or logs.
    """
    inside = project.resolve()
    folders = [*project.glob("artifacts/round-*/checkpoint"), *models]
    found = (folder.resolve() for folder in folders)
    return [folder for folder in found if folder.is_dir() and folder != inside and folder.is_relative_to(inside)]


def allowed(path: Path, folders: Iterable[Path]) -> Path | None:
    """``path`` resolved, if it lies in one of ``folders`` (resolved), and no link leads out of it; else None."""
    try:
        found = path.resolve(strict=True)
    except (OSError, RuntimeError, ValueError):
        return None
    return found if path.is_absolute() and any(found.is_relative_to(folder) for folder in folders) else None


def _files(found: Path, folders: list[Path]) -> Iterator[tuple[str, Path]]:
    """Names below ``found`` and the files; what is no file, or is a link that leads out, is left out."""
    if found.is_file():
        yield "", found
        return
    for file in sorted(found.rglob("*")):
        if file.is_file() and (real := allowed(file, folders)) is not None:
            yield file.relative_to(found).as_posix(), real


def send(channel: Channel, project: Path, models: Iterable[Path]) -> None:
    """Answer one request for files.

    Raises:
        ConnectionLost: the other machine went away, or asked for something that is no request.
    """
    try:
        wanted = msgspec.json.decode(channel.receive(), type=FileRequest)
    except UNREADABLE:
        raise ConnectionLost("does not speak middo-tui's language") from None
    folders = given_out(project, models)
    found = allowed(Path(wanted.path), folders)
    if found is None:
        _say(channel, Withheld("only files of a round's checkpoint and of the project's own models are handed out"))
        return
    count = 0
    for name, file in _files(found, folders):
        try:
            _send_file(channel, name, file)
        except OSError as error:
            _say(channel, Withheld(f"{file.name} cannot be read ({error.strerror})"))
            return
        count += 1
    _say(channel, Sent(count))


def _send_file(channel: Channel, name: str, file: Path) -> None:
    with open(file, "rb") as source:
        state = os.fstat(source.fileno())
        if not stat.S_ISREG(state.st_mode):
            raise OSError(0, "not a file")
        _say(channel, File(name, state.st_size))
        digest, left = hashlib.sha256(), state.st_size
        try:
            while left:
                if not (piece := source.read(min(left, PIECE_BYTES))):
                    raise OSError(0, "became shorter while it was sent")
                digest.update(piece)
                left -= len(piece)
                channel.send(piece)
        except OSError:
            channel.send(b"")  # no further piece: why follows
            raise
    _say(channel, Sum(digest.hexdigest()))


def _say(channel: Channel, answer: File | Sum | Sent | Withheld) -> None:
    channel.send(msgspec.json.encode(answer))
