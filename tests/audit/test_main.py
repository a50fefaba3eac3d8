"""``python -m audit``: passes, fails, or says that it cannot tell; never passes where it saw nothing."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from audit import AuditError, database
from audit.__main__ import CANNOT_TELL, VULNERABLE, main
from audit.exemptions import read_exemptions
from audit.pins import read_pins, without_markers
from tests.support import ROOT

EXPORT = Path(__file__).parent / "export"
HASH = " \\\n    --hash=sha256:" + "0" * 64
TODAY = datetime.now(UTC).date()


@pytest.fixture
def audit_folder(tmp_path: Path) -> Path:
    """A fresh export, a lock with nothing vulnerable, and constraints."""
    export = shutil.copytree(EXPORT, tmp_path / "export")
    newest = export / "MADEUP-last.json"
    newest.write_text(json.dumps({**json.loads(newest.read_text()), "modified": datetime.now(UTC).isoformat()}))
    (tmp_path / "lock").write_text(f"# by uv\nRequests==2.34.2{HASH}\nonly-on-windows==1 ; os_name == 'nt'{HASH}\n")
    (tmp_path / "constraints").write_text("requests==2.34.2\nwide==1\n")
    shutil.copy(ROOT / "audit/exemptions.toml", tmp_path / "exemptions")
    return tmp_path


def audited(folder: Path, *more: str) -> int:
    files = ("lock", "constraints", "exemptions")
    words = [word for name in files for word in (f"--{name}", str(folder / name))]
    return main(["--database", str(folder / "export"), *words, *more])


def test_nothing_known_passes(audit_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert audited(audit_folder) == 0
    assert capsys.readouterr().out == (
        "3 pinned versions, 2 advisories about their packages: 0 vulnerable, 0 exempt\n"
    )  # one of them withdrawn


@pytest.mark.parametrize("name", ["lock", "constraints"])
def test_a_vulnerable_pin_fails_in_either_file(
    audit_folder: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = audit_folder / name
    path.write_text(path.read_text().replace("2.34.2", "2.30"))
    assert audited(audit_folder) == VULNERABLE
    assert "VULNERABLE: requests 2.30: CVE-2023-32681, GHSA-j8r2-6x86-q33q, PYSEC-2023-74 (fixed in 2.31.0)" in (
        capsys.readouterr().out
    )


def test_a_pin_for_another_system_is_audited_too(audit_folder: Path) -> None:
    lock = audit_folder / "lock"
    lock.write_text(lock.read_text().replace("only-on-windows==1", "commits==1"))
    assert audited(audit_folder) == VULNERABLE


def test_an_export_is_read_from_a_zip_too(audit_folder: Path) -> None:
    packed = audit_folder / "all.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for file in (audit_folder / "export").glob("*.json"):
            archive.write(file, file.name)
    assert audited(audit_folder, "--database", str(packed)) == 0
    packed.write_bytes(packed.read_bytes()[:-100])
    assert audited(audit_folder, "--database", str(packed)) == CANNOT_TELL


def test_a_zip_that_is_damaged_inside_cannot_tell(audit_folder: Path) -> None:
    packed = audit_folder / "all.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.json", "{}" * 500)
        start = len("a.json") + 30  # of the first file's packed bytes
    damaged = bytearray(packed.read_bytes())
    damaged[start : start + 4] = b"\xff\xff\xff\xff"
    packed.write_bytes(damaged)
    assert audited(audit_folder, "--database", str(packed)) == CANNOT_TELL


def test_a_record_in_a_zip_may_not_be_endless(
    audit_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(database, "LARGEST_RECORD", 100)
    packed = audit_folder / "all.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.json", " " * 101)
    assert audited(audit_folder, "--database", str(packed)) == CANNOT_TELL
    assert "a.json has 101 bytes" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("package", "until", "code"),
    [
        ("requests", TODAY + timedelta(days=1), 0),
        ("Requests", TODAY + timedelta(days=1), 0),
        ("wide", TODAY + timedelta(days=1), VULNERABLE),
        ("requests", TODAY - timedelta(days=1), CANNOT_TELL),
    ],
)
def test_an_exemption_holds_for_its_package_until_its_day(
    audit_folder: Path, package: str, until: date, code: int
) -> None:
    (audit_folder / "constraints").write_text("requests==2.30\nwide==1\n")
    entry = f'[[exempt]]\npackage = "{package}"\nid = "CVE-2023-32681"\nreason = "No proxy here."\nuntil = {until}\n'
    (audit_folder / "exemptions").write_text(entry)
    assert audited(audit_folder) == code


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ('reason = " "\nuntil = 2030-01-01', "X-1 has no reason"),
        ('reason = "none"', "until"),
        ('reason = "none"\nuntil = "some day"', "until"),
        ('reason = "none"\nuntil = 2030-01-01\nunitl = 1', "unitl"),
        ('reason = "none"\nuntil = 2026-01-01', "X-1 expired on 2026-01-01"),
    ],
)
def test_an_exemption_needs_a_reason_and_a_day(tmp_path: Path, line: str, complaint: str) -> None:
    path = tmp_path / "exemptions.toml"
    path.write_text(f'[[exempt]]\npackage = "x"\nid = "X-1"\n{line}\n')
    with pytest.raises(AuditError, match=complaint):
        read_exemptions(path, today=date(2026, 1, 2))


def test_an_exemption_holds_on_its_last_day(tmp_path: Path) -> None:
    path = tmp_path / "exemptions.toml"
    path.write_text('[[exempt]]\npackage = "x"\nid = "X-1"\nreason = "none"\nuntil = 2026-01-02\n')
    assert [entry.id for entry in read_exemptions(path, today=date(2026, 1, 2))] == ["X-1"]


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("export/PYSEC-2021-142.json", '{"id": "X"}', "PYSEC-2021-142.json is not an OSV record"),
        ("export/PYSEC-2021-142.json", '{"id": "X", "modified": "2026-01-01T00:00:00"}', "PYSEC-2021-142.json is not"),
        ("export/PYSEC-2021-142.json", "[" * 200_000, "PYSEC-2021-142.json is not an OSV record"),
        ("export/PYSEC-2021-142.json", b'{"id": "\xff"}', "PYSEC-2021-142.json is not an OSV record"),
        ("export/MADEUP-withdrawn.json", None, "has schema 2.0"),
        ("export/MADEUP-npm.json", None, "has schema 2.0"),
        ("lock", "", "has no pins"),
        ("lock", "requests==2.34.2\n", "lock:1: requests has no hash"),
        ("lock", f"requests>=2{HASH}", "lock:1 is not a pin"),
        ("lock", f"-r other{HASH}", "lock:1 is not a pin"),
        ("constraints", "requests==2.34.2\nrequests==x-y\n", "constraints:2"),
        ("constraints", b"requests==2.34.2\xff", "can't decode byte"),
    ],
)
def test_what_cannot_be_read_is_no_pass(
    audit_folder: Path, name: str, text: str | bytes | None, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = audit_folder / name
    content = path.read_text().replace("1.7.3", "2.0") if text is None else text
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert audited(audit_folder) == CANNOT_TELL
    assert complaint in capsys.readouterr().err


def test_a_record_from_the_future_does_not_make_an_old_export_new(
    audit_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    newest = audit_folder / "export/MADEUP-last.json"
    newest.write_text(json.dumps({**json.loads(newest.read_text()), "modified": "2999-01-01T00:00:00Z"}))
    assert audited(audit_folder, "--max-age", "0") == CANNOT_TELL
    assert "days old" in capsys.readouterr().err
    for file in (audit_folder / "export").glob("*.json"):
        file.write_text(json.dumps({**json.loads(file.read_text()), "modified": "2999-01-01T00:00:00Z"}))
    assert audited(audit_folder) == CANNOT_TELL
    assert "from the future" in capsys.readouterr().err


def test_a_folder_that_cannot_be_listed_is_no_pass(audit_folder: Path) -> None:
    locked = audit_folder / "export/more"
    locked.mkdir(mode=0o000)
    if os.access(locked, os.R_OK):
        pytest.skip("this user may read everything")
    assert audited(audit_folder) == CANNOT_TELL


def test_an_exemption_does_not_spread_to_another_vulnerability_of_one_report(audit_folder: Path) -> None:
    about = {"package": {"ecosystem": "PyPI", "name": "wide"}, "versions": ["1"]}
    for name, aliases in (("both", ["CVE-A", "CVE-B"]), ("only-a", ["CVE-A"]), ("only-b", ["CVE-B"])):
        record = {"id": name, "modified": "2026-01-01T00:00:00Z", "aliases": aliases, "affected": [about]}
        (audit_folder / f"export/{name}.json").write_text(json.dumps(record))
    entries = [
        f'[[exempt]]\npackage = "wide"\nid = "{id}"\nreason = "none"\nuntil = {TODAY}\n' for id in ("CVE-A", "CVE-B")
    ]
    (audit_folder / "exemptions").write_text(entries[0])
    assert audited(audit_folder) == VULNERABLE
    (audit_folder / "exemptions").write_text("".join(entries))
    assert audited(audit_folder) == 0


def test_an_old_incomplete_or_missing_export_is_no_pass(audit_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert audited(audit_folder, "--max-age", "-1") == CANNOT_TELL
    assert "0 days old" in capsys.readouterr().err
    for file in (audit_folder / "export").glob("*.json"):
        if "pyyaml" in file.read_text().lower():
            file.unlink()
    assert audited(audit_folder) == CANNOT_TELL
    assert "lacks the advisories on pyyaml 5.3" in capsys.readouterr().err
    shutil.rmtree(audit_folder / "export")
    assert audited(audit_folder) == CANNOT_TELL


def test_the_repository_s_own_files_can_be_audited() -> None:
    text = (ROOT / "requirements.lock").read_text()
    entries = [line for line in text.splitlines() if not line.startswith((" ", "#"))]
    assert len(read_pins(ROOT / "requirements.lock", hashes=True)) == len(entries)
    read_pins(ROOT / "constraints.txt", hashes=False)
    read_exemptions(ROOT / "audit/exemptions.toml", today=TODAY)
    unmarked = without_markers(text)
    assert " ; " in text
    assert " ; " not in unmarked
    assert unmarked.count("--hash") == text.count("--hash")
