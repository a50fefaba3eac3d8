"""The wheel has everything that the program needs, and nothing else. ``make test-wheel`` installs and runs it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
import zipfile
from email.parser import Parser

import pytest

from tests.support import ROOT

BUILD = "from setuptools import build_meta; import sys; build_meta.build_wheel(sys.argv[1])"
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "docs/middo-tui.1")


def wanted() -> set[str]:
    """Every file of both packages, as it is in the tree."""
    found = (path for package in ("engine", "middo_tui") for path in (ROOT / package).rglob("*") if path.is_file())
    return {str(path.relative_to(ROOT)) for path in found if "__pycache__" not in path.parts}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Built by the tree's own build backend, from a copy, so that the tree stays as it is. No network."""
    tree = tmp_path_factory.mktemp("tree")
    for name in SOURCES:
        (tree / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tree / name)
    for package in ("engine", "middo_tui"):
        shutil.copytree(ROOT / package, tree / package, ignore=shutil.ignore_patterns("__pycache__"))
    done = subprocess.run([sys.executable, "-c", BUILD, "out"], cwd=tree, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return zipfile.ZipFile(next((tree / "out").glob("*.whl")))


def test_no_file_of_the_packages_is_missing(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    assert wanted() - names == set(), "name its kind in [tool.setuptools.package-data]"
    assert "engine/config/default.toml" in names
    assert any(name.startswith("engine/demo/base/") for name in names)


def test_nothing_else_is_installed(wheel: zipfile.ZipFile) -> None:
    others = {name for name in set(wheel.namelist()) - wanted() if ".dist-info/" not in name}
    assert {name.partition(".data/")[2] for name in others} == {"data/share/man/man1/middo-tui.1"}


def test_the_changelog_begins_with_this_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    heads = [
        line for line in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").splitlines() if line.startswith("## ")
    ]
    assert heads[0].split()[1] == version


def test_the_metadata_is_that_of_the_project(wheel: zipfile.ZipFile) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    info = f"middo_tui-{project['version']}.dist-info"
    found = Parser().parsestr(wheel.read(f"{info}/METADATA").decode())
    assert (found["Version"], found["License-Expression"]) == (project["version"], "Apache-2.0")
    assert len(found.get_all("Requires-Dist", [])) >= len(project["dependencies"])
    assert set(found.get_all("Provides-Extra", [])) == set(project["optional-dependencies"])
    assert "middo-tui = middo_tui.cli:main" in wheel.read(f"{info}/entry_points.txt").decode()
