"""The pinned versions of a requirements file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from audit import AuditError

_PIN = re.compile(
    r"([A-Za-z0-9][\w.-]*)(?:\[[^\]]*\])?\s*==\s*([^\s;]+)\s*(?:;[^#]*?)?((?:\s+--hash=sha256:[0-9a-f]{64})*)"
)


class Pin(NamedTuple):
    """One package in one version."""

    name: str
    """In its canonical form."""
    version: Version


def read_pins(path: Path, *, hashes: bool) -> set[Pin]:
    """All pins of a file, including those whose markers select other systems.

    Raises:
        AuditError: a line is no exact pin, lacks a hash where ``hashes`` is set, or the file has no pins.
    """
    pins = set()
    for number, line in _logical_lines(path):
        found = _PIN.fullmatch(line)
        if found is None:
            raise AuditError(f"{path}:{number} is not a pin such as name==1.2. Only exact versions can be audited.")
        if hashes and not found[3]:
            raise AuditError(f"{path}:{number}: {found[1]} has no hash. Run make lock.")
        try:
            pins.add(Pin(canonicalize_name(found[1]), Version(found[2])))
        except InvalidVersion as error:
            raise AuditError(f"{path}:{number}: {error}") from error
    if not pins:
        raise AuditError(f"{path} has no pins. There is nothing to audit.")
    return pins


def without_markers(text: str) -> str:
    """The text of a lock file without markers, so that every pin applies to every system."""
    return re.sub(r"^(\S+==\S+) *;[^\\\n]*", r"\1 ", text, flags=re.M)


def _logical_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines without comments, joined where they end in a backslash, each with the number of its first line."""
    start = 0
    parts: list[str] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        text = re.sub(r"(^|\s)#.*", "", line).strip()
        start = start if parts else number
        if text.endswith("\\"):
            parts.append(text.removesuffix("\\"))
            continue
        if joined := " ".join([*parts, text]).strip():
            yield start, joined
        parts = []
    if joined := " ".join(parts).strip():
        yield start, joined
