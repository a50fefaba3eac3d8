"""Advisories in OSV's format, and whether a version is affected (https://ossf.github.io/osv-schema/)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from audit.pins import Pin


class Event(msgspec.Struct, frozen=True):
    """One end of a range; exactly one field is set."""

    introduced: str | None = None
    fixed: str | None = None
    last_affected: str | None = None
    limit: str | None = None

    @property
    def version(self) -> str:
        """The one version that it names."""
        return self.introduced or self.fixed or self.last_affected or self.limit or ""


class VersionRange(msgspec.Struct, frozen=True):
    """Affected versions by their bounds. Ranges of commits (type ``GIT``) say nothing about versions."""

    type: str
    events: tuple[Event, ...] = ()


class Package(msgspec.Struct, frozen=True):
    """A package of an ecosystem: ``PyPI`` and its name there."""

    ecosystem: str
    name: str

    @property
    def python_name(self) -> str:
        """The canonical name; "" where it is no Python package. ``PyPI:`` plus an index's address counts as one."""
        return canonicalize_name(self.name) if self.ecosystem.partition(":")[0] == "PyPI" else ""


class Affected(msgspec.Struct, frozen=True):
    """Which versions of one package are affected."""

    package: Package | None = None
    ranges: tuple[VersionRange, ...] | None = None
    versions: tuple[str, ...] | None = None


class Advisory(msgspec.Struct, frozen=True):
    """A record of the database, reduced to what the audit needs."""

    id: str
    modified: Annotated[datetime, Meta(tz=True)]
    schema_version: str = "1.0.0"
    withdrawn: datetime | None = None
    aliases: tuple[str, ...] | None = None
    summary: str = ""
    affected: tuple[Affected, ...] | None = None

    @property
    def ids(self) -> frozenset[str]:
        """All that it is called: its own id and its aliases."""
        return frozenset({self.id, *(self.aliases or ())})

    @property
    def names(self) -> frozenset[str]:
        """The canonical names of the PyPI packages that it is about."""
        return frozenset(one.package.python_name for one in self.affected or () if one.package) - {""}

    def of(self, name: str) -> Iterator[Affected]:
        """Its entries on one package, given by the canonical name."""
        return (one for one in self.affected or () if one.package and one.package.python_name == name)

    def affects(self, pin: Pin) -> bool:
        """Whether the pin is affected; also true where no versions are named, so that a person has to look."""
        return self.withdrawn is None and any(_is_affected(one, pin.version) for one in self.of(pin.name))

    def fixes(self, pin: Pin) -> list[Version]:
        """The versions above the pin in which it is fixed."""
        ends = (event.fixed for one in self.of(pin.name) for part in one.ranges or () for event in part.events)
        versions = {_parsed(end) for end in ends if end is not None}
        return sorted(version for version in versions if version is not None and version > pin.version)


def _is_affected(affected: Affected, version: Version) -> bool:
    """Whether a version is affected. Its local part (``+cpu``) names a build and is ignored. A list of versions is
    complete only for the day it was made, so a version that is not listed is not safe while a range cannot be
    evaluated.
    """
    version = Version(version.public)
    listed = affected.versions or ()
    if any(_parsed(one.partition("+")[0]) == version for one in listed):
        return True
    told = [_in_range(part.events, version) for part in affected.ranges or () if part.type in ("ECOSYSTEM", "SEMVER")]
    return any(told) or None in told or not (told or listed)


def _in_range(events: Sequence[Event], version: Version) -> bool | None:
    """OSV's evaluation algorithm; None where a bound is no Python version, or nothing introduces the range."""
    ends: list[tuple[Version | None, Event]] = []
    limits: list[str] = []
    for event in events:
        if event.limit is not None:
            limits.append(event.limit)
        elif event.introduced == "0":  # before every version, even 0.dev1
            ends.append((None, event))
        elif (end := _parsed(event.version)) is not None:
            ends.append((end, event))
        else:
            return None
    if not any(event.introduced is not None for _, event in ends):
        return None
    if limits and "*" not in limits:
        bounds = [_parsed(limit) for limit in limits]
        if None in bounds:
            return None
        if not any(version < bound for bound in bounds if bound is not None):
            return False
    inside = False
    for end, event in sorted(ends, key=lambda pair: (pair[0] is not None, pair[0] or Version("0"))):
        if event.introduced is not None:
            inside = inside or end is None or version >= end
        elif end is not None and (version >= end if event.fixed is not None else version > end):
            inside = False
    return inside


def _parsed(text: str) -> Version | None:
    try:
        return Version(text)
    except InvalidVersion:
        return None
