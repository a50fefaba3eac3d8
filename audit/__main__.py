"""``python -m audit [--database EXPORT]``: exits with 0 (nothing known), 1 (vulnerable) or 2 (cannot tell)."""

from __future__ import annotations

import argparse
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from audit import AuditError
from audit.database import read_advisories
from audit.exemptions import Exemption, read_exemptions
from audit.offline import Vulnerability, find
from audit.pins import Pin, read_pins, without_markers
from audit.reachable import why_not

ROOT = Path(__file__).resolve().parents[1]
VULNERABLE, CANNOT_TELL = 1, 2


def main(arguments: list[str] | None = None) -> int:
    """Audit both files; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        exemptions = read_exemptions(options.exemptions, today=datetime.now(UTC).date())
        pins = read_pins(options.lock, hashes=True) | read_pins(options.constraints, hashes=False)
        if options.database is None:
            return _ask_pypi(options.lock, options.constraints, exemptions)
        return _read_export(options.database, timedelta(days=options.max_age), pins, exemptions)
    except (AuditError, OSError, UnicodeDecodeError) as error:
        print(f"audit: {error}", file=sys.stderr)
        return CANNOT_TELL


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m audit", description="Known vulnerabilities of the pinned packages")
    parser.add_argument("--database", type=Path, help="OSV's export for PyPI, a zip or a folder (default: ask PyPI)")
    parser.add_argument("--max-age", type=int, default=30, metavar="DAYS", help="of the export's newest advisory (30)")
    parser.add_argument("--lock", type=Path, default=ROOT / "requirements.lock", help="what a user installs")
    parser.add_argument("--constraints", type=Path, default=ROOT / "constraints.txt", help="what CI installs")
    parser.add_argument("--exemptions", type=Path, default=ROOT / "audit/exemptions.toml")
    return parser


def _read_export(database: Path, max_age: timedelta, pins: set[Pin], exemptions: list[Exemption]) -> int:
    names = frozenset(pin.name for pin in pins)
    advisories = read_advisories(database, names, now=datetime.now(UTC), max_age=max_age)
    found = find(pins, advisories)
    exempt = [one for one in found if _is_exempt(one, exemptions)]
    vulnerable = [one for one in found if one not in exempt]
    for one in exempt:
        print(f"exempt: {one}")
    for one in vulnerable:
        print(f"VULNERABLE: {one}")
    print(
        f"{len(pins)} pinned versions, {len(advisories)} advisories about their packages:"
        f" {len(vulnerable)} vulnerable, {len(exempt)} exempt"
    )
    return VULNERABLE if vulnerable else 0


def _is_exempt(found: Vulnerability, exemptions: list[Exemption]) -> bool:
    """Whether every report of it is exempt; a report that names two vulnerabilities merges the reports on each."""
    return all(any(entry.covers(found.pin.name, report.ids) for entry in exemptions) for report in found.advisories)


def _ask_pypi(lock: Path, constraints: Path, exemptions: list[Exemption]) -> int:
    """Audit with pip-audit; returns its exit code. ``--strict``: a package that PyPI does not know is an error.

    pip-audit silently skips what a marker excludes on this machine. Users have other machines, so markers are removed.
    """
    if reason := why_not():
        raise AuditError(f"{reason} Give OSV's export for PyPI: make audit AUDIT_DATABASE=FILE.")
    ignored = [word for entry in exemptions for word in ("--ignore-vuln", entry.id)]
    base = [sys.executable, "-m", "pip_audit", "--strict", "--disable-pip", *ignored]
    with TemporaryDirectory() as folder:
        unmarked = Path(folder) / lock.name
        unmarked.write_text(without_markers(lock.read_text(encoding="utf-8")), encoding="utf-8")
        for arguments in (["--require-hashes", "-r", str(unmarked)], ["--no-deps", "-r", str(constraints)]):
            if code := subprocess.run([*base, *arguments], check=False).returncode:
                return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
