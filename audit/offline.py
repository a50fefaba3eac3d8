"""Compares pins with the advisories of an export, without any network."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from audit.osv import Advisory
from audit.pins import Pin


class Vulnerability(NamedTuple):
    """A vulnerability of a pinned version. Reports from several databases on the same one are merged."""

    pin: Pin
    ids: frozenset[str]
    advisories: tuple[Advisory, ...]

    def __str__(self) -> str:
        fixes = sorted({fix for one in self.advisories for fix in one.fixes(self.pin)})
        fixed = f"fixed in {', '.join(map(str, fixes))}" if fixes else "no fixed version"
        summary = next((one.summary for one in self.advisories if one.summary), "")
        line = f"{self.pin.name} {self.pin.version}: {', '.join(sorted(self.ids))} ({fixed}) {summary[:200]}"
        return "".join(letter if letter.isprintable() else " " for letter in line).rstrip()


def find(pins: Iterable[Pin], advisories: Iterable[Advisory]) -> list[Vulnerability]:
    """The vulnerabilities of the pins, in the order of their names."""
    by_name: dict[str, list[Advisory]] = {}
    for advisory in advisories:
        for name in advisory.names:
            by_name.setdefault(name, []).append(advisory)
    found = []
    for pin in sorted(pins):
        affecting = [one for one in by_name.get(pin.name, ()) if one.affects(pin)]
        found += [Vulnerability(pin, ids, group) for ids, group in _same(affecting)]
    return found


def _same(advisories: list[Advisory]) -> list[tuple[frozenset[str], tuple[Advisory, ...]]]:
    """Groups of advisories that share an id or alias, each with all of its ids."""
    groups: list[tuple[frozenset[str], tuple[Advisory, ...]]] = []
    for advisory in sorted(advisories, key=lambda one: one.id):
        ids = advisory.ids
        members: tuple[Advisory, ...] = (advisory,)
        apart: list[tuple[frozenset[str], tuple[Advisory, ...]]] = []
        for other_ids, others in groups:
            if ids & other_ids:
                ids, members = ids | other_ids, others + members
            else:
                apart.append((other_ids, others))
        groups = [*apart, (ids, members)]
    return groups
