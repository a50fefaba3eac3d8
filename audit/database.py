"""Reads an export of OSV's PyPI advisories: a zip of JSON files, or a folder of them."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import NoReturn

import msgspec
from packaging.version import Version

from audit import CANARY, AuditError
from audit.osv import Advisory
from audit.pins import Pin

LARGEST_RECORD = 64 << 20
"""Bytes; OSV's longest records take some hundred thousand."""
_UNREADABLE = (OSError, EOFError, zlib.error, zipfile.BadZipFile, zipfile.LargeZipFile, RuntimeError)
"""What zipfile raises for a damaged file or one that is no zip; RuntimeError: encrypted, or unknown compression."""

_CLOCKS = timedelta(days=1)
"""How far the clocks of two machines may be apart."""


def read_advisories(path: Path, names: frozenset[str], *, now: datetime, max_age: timedelta) -> list[Advisory]:
    """The advisories on packages with these canonical names, withdrawn ones included.

    Raises:
        AuditError: the export is no folder or zip, has an unreadable record, lacks a well-known advisory, or its newest
            record is older than ``max_age``.
    """
    found = []
    newest: datetime | None = None
    complete = False
    canary = Pin(CANARY[0], Version(CANARY[1]))
    for name, advisory in _advisories(path):
        if advisory.schema_version.split(".")[0] != "1":  # who knows where it names its packages
            raise AuditError(f"{path}: {name} has schema {advisory.schema_version}. Only OSV's schema 1 is known.")
        if advisory.modified <= now + _CLOCKS:  # a date in the future says nothing of the export's age
            newest = advisory.modified if newest is None else max(newest, advisory.modified)
        complete = complete or advisory.affects(canary)
        if advisory.names & names:
            found.append(advisory)
    if not complete:
        known = f"{canary.name} {canary.version}"
        raise AuditError(f"{path} lacks the advisories on {known}. Use OSV's complete export for PyPI.")
    if newest is None:
        raise AuditError(f"Every advisory in {path} is from the future. Set this machine's clock.")
    if (age := now - newest) > max_age:
        raise AuditError(
            f"The newest advisory in {path} is {age.days} days old, and {max_age.days} are allowed."
            " Download the export again, or pass --max-age."
        )
    return found


def _advisories(path: Path) -> Iterator[tuple[str, Advisory]]:
    """Name and content of every record."""
    decoder = msgspec.json.Decoder(Advisory)
    for name, content in _records(path):
        try:
            yield name, decoder.decode(content)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise AuditError(f"{path}: {name} is not an OSV record: {error}. Download the export again.") from error


def _records(path: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of every JSON file."""
    if path.is_dir():
        for folder, _, files in os.walk(path, onerror=_refuse):  # rglob passes over folders that cannot be listed
            for name in sorted(files):
                if name.endswith(".json"):
                    file = Path(folder, name)
                    yield str(file.relative_to(path)), file.read_bytes()
        return
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                if not entry.filename.endswith(".json"):
                    continue
                if entry.file_size > LARGEST_RECORD:
                    raise AuditError(
                        f"{path}: {entry.filename} has {entry.file_size} bytes. No OSV record is that long."
                    )
                yield entry.filename, archive.read(entry)
    except _UNREADABLE as error:
        raise AuditError(f"{path} is neither a folder nor a readable zip: {error}.") from error


def _refuse(error: OSError) -> NoReturn:
    raise error
