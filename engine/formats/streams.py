"""Dataset files as streams of bytes, text and lines: compression, encodings and their failures.

Files are read in blocks, so memory holds the rows that are kept and one block, not the file.
"""

from __future__ import annotations

import codecs
import gzip
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import zstandard

from engine.errors import DataError
from engine.files.progress import Seen, ignore

MAX_ROW = 8 << 20
"""Longest row in bytes (characters in a JSON array): a longer one is no training example but a broken file."""
BLOCK = 1 << 20
PIECE = 1 << 10
"""Bytes of Zstandard that are unpacked at a time: of zeros they become 32 MB."""
MAX_WHOLE = 512 << 20
"""Characters of a JSON file that can only be read as one value."""
MAX_RAW = 4000
PACKED = (".gz", ".zst")
"""The endings of compressed files."""


@dataclass(frozen=True, slots=True)
class Raw:
    """A raw row: a value, or the reason why it is unreadable. Rows are numbered from 1, in line-based files by
    line.
    """

    row: int
    value: Any
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class TextFile:
    """A text file: where it is, its byte order mark and its encoding. ``seen`` hears which share of it is read."""

    path: Path
    bom: bytes
    encoding: str
    seen: Seen = ignore


def blocks(path: Path, seen: Seen = ignore) -> Iterator[bytes]:
    """The decompressed bytes in blocks; gzip and Zstandard are told by their first bytes, whatever the name says.
    ``seen`` hears which share of the file is read.

    Raises:
        DataError: the file cannot be read, or its compressed stream is broken or cut off.
    """
    try:
        with path.open("rb") as stream:
            magic = stream.read(4)
            stream.seek(0)
            size = path.stat().st_size or 1
            for block in _unpacked(stream, magic):
                seen(stream.tell() / size)
                yield block
    except (OSError, EOFError, zlib.error, zstandard.ZstdError) as error:
        raise DataError(f"{path}: cannot be read to the end: {error}. Is the file complete?") from None


def _unpacked(stream: IO[bytes], magic: bytes) -> Iterator[bytes]:
    if magic == b"\x28\xb5\x2f\xfd":
        yield from _zstd(stream)
        return
    source = gzip.GzipFile(fileobj=stream) if magic.startswith(b"\x1f\x8b") else stream
    while block := source.read(BLOCK):
        yield block


def _zstd(stream: IO[bytes]) -> Iterator[bytes]:
    """Zstandard frames, one after the other. Its own reader takes a cut-off frame for a finished one."""
    frame = zstandard.ZstdDecompressor().decompressobj()
    while packed := stream.read(min(PIECE, BLOCK)):
        while packed:
            if frame.eof:
                frame = zstandard.ZstdDecompressor().decompressobj()
            if block := frame.decompress(packed):
                yield block
            packed = frame.unused_data if frame.eof else b""
    if not frame.eof:
        raise EOFError("the last Zstandard frame is cut off")


@contextmanager
def packing(path: Path, suffix: str) -> Iterator[Callable[[bytes], int]]:
    """Writes a new file of bytes that are compressed as ``suffix`` says: the same bytes for the same content."""
    with path.open("wb") as file:
        if suffix == ".gz":  # a header without name and time, so that the bytes are reproducible
            with gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as stream:
                yield stream.write
        elif suffix == ".zst":
            with zstandard.ZstdCompressor().stream_writer(file, closefd=False) as stream:
                yield stream.write
        else:
            yield file.write


def text(file: TextFile) -> Iterator[str]:
    """The file's text in blocks. Single bytes that the encoding does not allow come as U+DC80 to U+DCFF, so that their
    row can be refused and not the file.

    Raises:
        DataError: what the encoding does not allow, and no row can be blamed for; names its place.
    """
    decoder = codecs.getincrementaldecoder(file.encoding)("surrogateescape")
    skip, done = len(file.bom), 0
    for block in blocks(file.path, file.seen):
        if skip:
            block, skip, done = block[skip:], 0, skip
        yield _decoded(file, decoder, block, done)
        done += len(block)
    yield _decoded(file, decoder, b"", done, final=True)


def _decoded(file: TextFile, decoder: codecs.IncrementalDecoder, block: bytes, done: int, final: bool = False) -> str:
    held = len(decoder.getstate()[0])
    try:
        return decoder.decode(block, final)
    except UnicodeDecodeError as error:
        place = done - held + error.start
        raise DataError(
            f"{file.path}: not {file.encoding.upper()} at byte {place} ({error.reason}). Is --encoding right, and the"
            " file complete?"
        ) from None


def lines(file: TextFile) -> Iterator[tuple[int, bytes | str | None]]:
    """Numbered lines, ended by \\n only; None for a line longer than ``MAX_ROW``. UTF-8 lines come as
    bytes.
    """
    if file.encoding == "utf-8":
        yield from _split(_skip(blocks(file.path, file.seen), len(file.bom)), b"\n")
    else:
        yield from _split(text(file), "\n")


def _skip(stream: Iterator[bytes], count: int) -> Iterator[bytes]:
    for block in stream:
        yield block[count:]
        count = 0


def _split(stream: Iterator[Any], newline: Any) -> Iterator[tuple[int, Any]]:
    """Split a stream of blocks at newlines. The rest of an overlong line is skipped, not kept."""
    number, pending, overlong = 1, newline[:0], False
    for block in stream:
        *whole, rest = (pending + block).split(newline)
        for line in whole:
            yield number, None if overlong or len(line) > MAX_ROW else line
            number, overlong = number + 1, False
        pending = rest
        if len(pending) > MAX_ROW:
            pending, overlong = newline[:0], True
    if pending or overlong:
        yield number, None if overlong else pending
