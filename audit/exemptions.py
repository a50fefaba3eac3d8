"""Reads audit/exemptions.toml: which known vulnerabilities are accepted, why, and until when."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import msgspec
from packaging.utils import canonicalize_name

from audit import AuditError


class Exemption(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One accepted vulnerability of one package."""

    package: str
    id: str
    reason: str
    until: date
    """The last day on which it holds."""

    def covers(self, package: str, ids: frozenset[str]) -> bool:
        """Whether it names this package (canonical name) and one of a report's ids."""
        return canonicalize_name(self.package) == package and self.id in ids


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    exempt: list[Exemption] = []


def read_exemptions(path: Path, *, today: date) -> list[Exemption]:
    """All entries.

    Raises:
        AuditError: an entry is malformed, expired as of ``today``, or has no reason.
    """
    try:
        entries = msgspec.toml.decode(path.read_bytes(), type=_File).exempt
    except msgspec.MsgspecError as error:
        raise AuditError(f"{path}: {error}. Each entry needs package, id, reason and until.") from error
    for entry in entries:
        if not entry.reason.strip():
            raise AuditError(f"{path}: {entry.id} has no reason. Say why it does no harm here.")
        if entry.until < today:
            raise AuditError(f"{path}: {entry.id} expired on {entry.until}. Look at it again, then renew or remove it.")
    return entries
