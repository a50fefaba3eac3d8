"""The doctor holds what is installed against the package's own requirements."""

from __future__ import annotations

import tomllib
from importlib.metadata import PackageNotFoundError

import pytest
from packaging.requirements import Requirement

from engine.doctor import versions
from engine.doctor.finding import Finding
from tests.support import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ASKED = [
    *PROJECT["dependencies"],
    *(
        f'{one}{" and" if ";" in one else ";"} extra == "{extra}"'
        for extra, some in PROJECT["optional-dependencies"].items()
        for one in some
    ),
]


def found(**other: str | None) -> dict[str, Finding]:
    """With every package at its least version, those of extras missing, but for ``other`` (None: missing)."""
    least = {
        one.name: next(str(part.version) for part in one.specifier if part.operator in (">=", "=="))
        for one in map(Requirement, PROJECT["dependencies"])
    }
    there = least | {name.replace("_", "-"): version for name, version in other.items()}

    def installed(name: str) -> str:
        if there.get(name) is None:
            raise PackageNotFoundError(name)
        return str(there[name])

    return {one.name: one for one in versions.findings(installed, ASKED)}


def test_what_is_as_it_should_be_is_told_where_a_run_depends_on_it() -> None:
    said = found()
    assert set(said) == versions.TOLD
    assert {one.mark for one in said.values()} == {"✔"}


@pytest.mark.parametrize(
    ("name", "version", "mark", "fix"),
    [
        ("torch", None, "✘", 'pip install "torch>='),
        ("transformers", "4.50.0", "!", 'pip install "transformers<'),
        ("trl", "99.0", "!", 'pip install "trl<'),
        ("msgspec", "0.1", "!", 'pip install "msgspec>='),
        ("msgspec", None, "✘", 'pip install "msgspec>='),
        ("vllm", "0.1", "!", 'pip install "middo-tui[vllm]"'),
        ("bitsandbytes", "0.1", "!", 'pip install "middo-tui[qlora]"'),
        ("vllm", "99.0", "✔", ""),
    ],
)
def test_what_is_wrong_has_its_fix(name: str, version: str | None, mark: str, fix: str) -> None:
    said = found(**{name: version})[name]
    assert said.mark == mark
    assert said.fix.startswith(fix)


def test_a_version_after_the_numbered_one_is_in_its_range() -> None:
    assert found(torch="2.13.0+cu128")["torch"].mark == "✔"
    assert found(torch="2.14.0.dev20261101")["torch"].mark == "✔"


def test_a_checkout_that_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "SELF", "no-such-distribution")
    (said,) = versions.findings()
    assert "not checked" in said.text
