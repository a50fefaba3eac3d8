"""Fetches files from the first machine in authenticated pieces, and checks size and SHA-256 of each file."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import socket
from pathlib import Path, PurePosixPath

import msgspec

from engine.errors import MiddoError, StageError
from engine.files.json_errors import UNREADABLE
from engine.nodes import handshake
from engine.nodes.channel import SILENT_S, Channel, ConnectionLost
from engine.nodes.sending import File, FileRequest, Sent, Sum, Withheld
from engine.plurals import counted

_answers = msgspec.json.Decoder(File | Sum | Sent | Withheld)


def fetch(host: str, port: int, secret: bytes, path: Path, into: Path) -> Path:
    """Fetch a file, or a folder with everything below it, from the first machine.

    Args:
        host, port: the first machine's door. secret: the launch's secret for files.
        path: on the first machine.
        into: a folder here, created with mode 0700 if missing.

    Returns:
        ``into`` / the last part of ``path``, which appears only when everything has arrived and been checked.

    Raises:
        StageError: names the path, the first machine and the reason.
    """
    into.mkdir(mode=0o700, parents=True, exist_ok=True)
    part, whole = into / f"{path.name}.part", into / path.name
    try:
        connection = socket.create_connection((host, port), timeout=SILENT_S)
        channel = Channel(connection)
        try:
            handshake.call(channel, handshake.FILES, secret, f"{host}:{port}", "the launch's key")
            channel.send(msgspec.json.encode(FileRequest(str(path))))
            _receive(channel, part)
        finally:
            channel.close()
    except (MiddoError, OSError) as error:
        _remove(part)
        why = error.strerror if isinstance(error, OSError) else str(error).removesuffix(".")
        full = isinstance(error, OSError) and error.errno == errno.ENOSPC
        fix = " Set TMPDIR to a disk that has room for it, and join again." if full else ""
        raise StageError(f"{path} could not be fetched from {host}:{port}: {why}.{fix}") from None
    _remove(whole)
    part.rename(whole)
    return whole


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _receive(channel: Channel, part: Path) -> None:
    """Write all files of one answer below ``part``."""
    _remove(part)
    count = 0
    while not isinstance(answer := _answer(channel), Sent):
        if isinstance(answer, Withheld):
            raise ConnectionLost(answer.why)
        if not isinstance(answer, File):
            raise ConnectionLost("it sent something other than files")
        _receive_file(channel, answer, _place(part, answer.name))
        count += 1
    if count != answer.files:
        raise ConnectionLost(f"{count} of {counted(answer.files, 'file')} came")
    if not count:
        part.mkdir(mode=0o700)


def _answer(channel: Channel) -> File | Sum | Sent | Withheld:
    try:
        answer: File | Sum | Sent | Withheld = _answers.decode(channel.receive())
        return answer
    except UNREADABLE:
        raise ConnectionLost("it sent something other than files") from None


def _place(part: Path, name: str) -> Path:
    """Where a file is written; never outside ``part``."""
    below = PurePosixPath(name)
    if below.is_absolute() or ".." in below.parts:
        raise ConnectionLost(f"it sent a file with the name {name!r}")
    return part / below


def _receive_file(channel: Channel, file: File, to: Path) -> None:
    to.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    digest, left = hashlib.sha256(), file.size
    with open(os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        while left > 0 and (piece := channel.receive()):  # an empty piece: the rest cannot be read there
            digest.update(piece)
            left -= len(piece)
            out.write(piece)
    said = _answer(channel)
    if isinstance(said, Withheld):
        raise ConnectionLost(said.why)
    if left or not isinstance(said, Sum) or said.sha256 != digest.hexdigest():
        raise ConnectionLost(f"{file.name or to.name} did not arrive as it is there")
