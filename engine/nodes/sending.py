"""Serves files from the first machine: which ones may be fetched, and sending them in pieces."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
from msgspec import Struct

from engine.files.json_errors import UNREADABLE
from engine.nodes.channel import Channel, ConnectionLost

PIECE_BYTES = 1 << 20


class FileRequest(Struct, frozen=True, tag=True):
    """Asks for a file, or a folder with everything below it, by its path on the first machine."""

    path: str


class File(Struct, frozen=True, tag=True):
    """A file of ``size`` bytes follows in pieces, and then its ``Sum``; after an empty piece ``Withheld`` comes
    instead. ``name``: its path below the requested folder; "" for a requested file.
    """

    name: str
    size: int


class Sum(Struct, frozen=True, tag=True):
    """SHA-256 of the file that was just sent, in hex."""

    sha256: str


class Sent(Struct, frozen=True, tag=True):
    """The end of the answer, with the number of files sent."""

    files: int


class Withheld(Struct, frozen=True, tag=True):
    """The request is refused, the path does not exist, or a file cannot be read."""

    why: str


def given_out(project: Path, models: Iterable[Path]) -> list[Path]:
    """The folders whose files may be fetched, resolved: the checkpoints of all rounds and ``models`` inside the
    project. Never the store, the config, data or logs.
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
    """The files below ``found``, each with its name, without links that lead out of ``folders``."""
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
        digest, left = hashlib.sha256(), os.fstat(source.fileno()).st_size
        _say(channel, File(name, left))
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
