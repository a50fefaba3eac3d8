"""Files that want all memory or time: long lines, bombs, deep nesting. Each is read by a process of its own.

``python -m benchmarks.fuzz.giants NAME FOLDER`` makes one, reads it with a limit on memory, and prints how it ended.
"""

from __future__ import annotations

import gzip
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import zstandard

MB = 1 << 20
LIMIT_MB = 1500
"""Resident memory that no file may need: one JSON value of 512 MB is read at once."""
ROW = b'{"instruction": "a", "output": "b"}'


class Giant(NamedTuple):
    """What came of one file: how it ended, its seconds and the most memory."""

    name: str
    ended: str
    seconds: float
    memory_mb: float

    @property
    def broken(self) -> bool:
        """Whether it took too much, or ended in anything but a result or a typed error."""
        return self.memory_mb > LIMIT_MB or not self.ended.startswith(("read", "refused"))


def _repeated(part: bytes, times: int, head: bytes = b"", tail: bytes = b"") -> Iterator[bytes]:
    yield head
    for _ in range(times):
        yield part
    yield tail


def _plain(parts: Iterator[bytes], path: Path) -> None:
    with path.open("wb") as file:
        file.writelines(parts)


def _gzipped(parts: Iterator[bytes], path: Path) -> None:
    with gzip.open(path, "wb", compresslevel=1) as file:
        for part in parts:
            file.write(part)


def _zstandard(parts: Iterator[bytes], path: Path) -> None:
    with path.open("wb") as file, zstandard.ZstdCompressor(level=3).stream_writer(file) as stream:
        for part in parts:
            stream.write(part)


def _long(letter: bytes, times: int) -> Iterator[bytes]:
    head = ROW + b'\n{"instruction": "a", "output": "'
    return _repeated(letter * MB, times, head, b'"}\n' + ROW + b"\n")


GIANTS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "a line of 100 MB": ("a.jsonl", lambda path: _plain(_long(b"x", 100), path)),
    "a value of 100 MB in an array": (
        "a.json",
        lambda path: _plain(_repeated(b"x" * MB, 100, b"[" + ROW + b', {"output": "', b'"}, ' + ROW + b"]"), path),
    ),
    "600 MB in 3 MB of gzip, one line": ("a.jsonl.gz", lambda path: _gzipped(_long(b"x", 600), path)),
    "1 GB in 100 kB of Zstandard, one line": ("a.jsonl.zst", lambda path: _zstandard(_long(b"x", 1000), path)),
    "600 MB of white space in gzip": ("a.json.gz", lambda path: _gzipped(_repeated(b" " * MB, 600), path)),
    "one JSON object of 700 MB in gzip": (
        "b.json.gz",
        lambda path: _gzipped(_repeated(b"\n" + b" " * MB, 700, b'{"data": [', b"]}"), path),
    ),
    "10 million brackets": ("a.json", lambda path: _plain(_repeated(b"[" * MB, 10), path)),
    "10 million brackets in a line": (
        "a.jsonl",
        lambda path: _plain(iter([ROW + b"\n", b"[" * (7 * MB), b"\n" + ROW + b"\n"]), path),
    ),
    "a CSV field of 100 MB": (
        "a.csv",
        lambda path: _plain(_repeated(b"x" * MB, 100, b'instruction,output\na,"', b'"\nc,d\n'), path),
    ),
    "a CSV with an open quote, 100 MB": (
        "b.csv",
        lambda path: _plain(_repeated(b"x" * 1021 + b",y\n", 100_000, b'instruction,output\na,"'), path),
    ),
    "10 million rows": ("c.jsonl", lambda path: _plain(_repeated((ROW + b"\n") * 1000, 10_000), path)),
    "a CSV of a million columns": ("c.csv", lambda path: _plain(_repeated(b"c,", 1_000_000, b"", b"c\n1,2\n"), path)),
    "an integer of 5 million digits": (
        "a.jsonl",
        lambda path: _plain(iter([ROW + b'\n{"output": ', b"9" * (5 * MB), b"}\n"]), path),
    ),
}


def read_all(folder: Path) -> Iterator[Giant]:
    """Every giant, each in a process of its own."""
    for name in GIANTS:
        began = time.monotonic()
        command = [sys.executable, "-m", "benchmarks.fuzz.giants", name, str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        words = done.stdout.strip().splitlines()
        seconds = time.monotonic() - began
        if words:
            told = json.loads(words[-1])
            yield Giant(name, told["ended"], seconds, told["memory"] / 1024)
        else:
            yield Giant(name, f"died: {done.stderr.strip()[-200:]}", seconds, 0.0)


def main(name: str, folder: Path) -> None:
    """Make and read one."""
    from engine.config.schema import Data
    from engine.errors import DataError
    from engine.formats.reading import Reject, RowReader
    from engine.formats.source import source_of

    file, make = GIANTS[name]
    path = folder / file
    make(path)
    resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
    samples, rejects = 0, []
    try:
        for row in RowReader(source_of(path), Data()):  # as ``init`` does
            if isinstance(row, Reject):
                rejects.append(row.reason)
            else:
                samples += 1
        reason = f", {rejects[0]}" if rejects else ""
        ended = f"read: {samples:,} samples, {len(rejects):,} quarantined{reason}"
    except DataError as error:
        ended = f"refused: {str(error).replace(str(folder), '')}"
    except MemoryError:
        ended = "out of memory"
    finally:
        path.unlink()
    # Not by getrusage: its figure begins with that of the process that started this one.
    memory = int(
        next(line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line).split()[1]
    )
    sys.stdout.write(json.dumps({"ended": ended[:300], "memory": memory}) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
