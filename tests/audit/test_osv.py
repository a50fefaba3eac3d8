"""Is a version affected? OSV's evaluation of ranges, versions and what cannot be evaluated."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from packaging.version import Version

from audit.offline import find
from audit.osv import Advisory, Package, VersionRange
from audit.pins import Pin

EXPORT = Path(__file__).parent / "export"
RECORDS = [msgspec.json.decode(file.read_bytes(), type=Advisory) for file in sorted(EXPORT.glob("*.json"))]


def ids(name: str, version: str) -> list[set[str]]:
    """The ids of what affects one version, one set for each vulnerability."""
    return [set(one.ids) for one in find([Pin(name, Version(version))], RECORDS)]


@pytest.mark.parametrize(
    ("name", "version", "affected"),
    [
        ("requests", "2.2.9", False),
        ("requests", "2.3.0", True),
        ("requests", "2.30.0", True),
        ("requests", "2.31.0rc1", True),
        ("requests", "2.31.0", False),
        ("requests", "2.30.0+local", True),
        ("old-end", "0.9", False),
        ("old-end", "2.0", True),
        ("old-end", "2.0.post1", False),
        ("holes", "0.dev1", True),
        ("holes", "1.8.15", True),
        ("holes", "1.8.16", False),
        ("holes", "1.9", True),
        ("holes", "1.10", False),
        ("listed", "1.1", True),
        ("listed", "1.2", False),
        ("commits", "1.0", True),
        ("wide", "1.0", False),
        ("npm-only", "1.0", False),
        ("never-heard-of", "1.0", False),
    ],
)
def test_a_version_is_affected_as_osv_says(name: str, version: str, affected: bool) -> None:
    assert bool(ids(name, version)) is affected


def test_what_two_databases_write_of_one_vulnerability_is_one_entry() -> None:
    assert ids("pyyaml", "5.3") == [{"PYSEC-2021-142", "GHSA-8q59-q68h-6hv4", "CVE-2020-14343"}]
    assert "fixed in 5.4" in str(find([Pin("pyyaml", Version("5.3"))], RECORDS)[0])


@pytest.mark.parametrize(
    "events",
    [
        [],
        [{}],
        [{"fixed": "2.0"}],
        [{"introduced": "0"}, {"fixed": "2.0-what-is-this"}],
        [{"introduced": "0"}, {"fixed": "0.5"}, {"limit": "?"}],
    ],
)
def test_a_range_that_cannot_be_evaluated_counts_as_affected(events: list[dict[str, str]]) -> None:
    assert advisory(events).affects(Pin("any", Version("1.0")))
    assert advisory(events, ["0.1"]).affects(Pin("any", Version("1.0"))), "the list may be older than the version"


def test_listed_versions_alone_and_beside_commits_say_enough() -> None:
    listed = advisory([], ["0.1", "1.0+cpu"])
    about = msgspec.structs.replace(listed.affected[0], ranges=None)  # type: ignore[index]
    commits = msgspec.structs.replace(about, ranges=(VersionRange("GIT", ()),))
    for one in (about, commits):
        said = msgspec.structs.replace(listed, affected=(one,))
        assert [said.affects(Pin("any", Version(version))) for version in ("1.0", "1.0+cu130", "0.2")] == [
            *(True, True, False)
        ]


def test_an_ecosystem_may_name_its_index() -> None:
    record = advisory([{"introduced": "0"}])
    named = msgspec.structs.replace(record.affected[0], package=Package("PyPI:https://elsewhere.example", "any"))  # type: ignore[index]
    assert msgspec.structs.replace(record, affected=(named,)).affects(Pin("any", Version("1.0")))


def test_a_limit_ends_a_range() -> None:
    events = [{"introduced": "0"}, {"limit": "1.0"}]
    assert advisory(events).affects(Pin("any", Version("0.9")))
    assert not advisory(events).affects(Pin("any", Version("1.0")))
    assert advisory([*events, {"limit": "*"}]).affects(Pin("any", Version("1.0")))


def test_what_an_advisory_says_cannot_reach_the_terminal_raw() -> None:
    hostile = msgspec.structs.replace(advisory([]), summary="\x1b]0;mine\x07\n\u202e")
    assert str(find([Pin("any", Version("1"))], [hostile])[0]).isprintable()


def advisory(events: list[dict[str, str]], versions: list[str] | None = None) -> Advisory:
    about = {"package": {"ecosystem": "PyPI", "name": "Any"}, "ranges": [{"type": "ECOSYSTEM", "events": events}]}
    record = {
        "id": "MADEUP",
        "modified": datetime(2026, 1, 1, tzinfo=UTC),
        "affected": [{**about, "versions": versions}],
    }
    return msgspec.convert(record, Advisory)
