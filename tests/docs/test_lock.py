"""requirements.lock holds what pyproject.toml asks for, in the versions that CI tests, each file with its hash."""

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

ROOT = Path(__file__).resolve().parents[2]


def _locked() -> dict[NormalizedName, tuple[str, str]]:
    """Version and the text of its entry by canonical name."""
    text = (ROOT / "requirements.lock").read_text()
    entries = re.findall(r"^([\w.-]+)==([^\s;]+)(.*(?:\n {4}--hash.*)*)", text, re.M)
    return {canonicalize_name(name): (version, rest) for name, version, rest in entries}


def test_every_dependency_is_locked_in_the_version_that_is_tested() -> None:
    locked = _locked()
    pins = re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.M)
    tested = {canonicalize_name(name): version for name, version in pins}
    asked = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    for line in asked:
        requirement = Requirement(line)
        name = canonicalize_name(requirement.name)
        assert name in locked, f"{name} is missing: run make lock"
        assert requirement.specifier.contains(locked[name][0]), f"{name} is too old or too new: run make lock"
    differing = {
        name: (version, tested[name])
        for name, (version, _) in locked.items()
        if name in tested and version != tested[name]
    }
    assert not differing, f"constraints.txt and requirements.lock differ: run make lock: {differing}"


def test_every_locked_file_has_its_hash() -> None:
    locked = _locked()
    assert len(locked) > 100
    assert [name for name, (_, entry) in locked.items() if "--hash=sha256:" not in entry] == []
