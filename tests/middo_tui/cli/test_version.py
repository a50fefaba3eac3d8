"""``--version`` and ``--help``: what is installed, and what the exit codes mean."""

from __future__ import annotations

from importlib import metadata

from click.testing import CliRunner

from middo_tui.cli import exit_codes, version
from middo_tui.cli.commands import main
from middo_tui.cli.reference import STATES
from middo_tui.text import status
from tests.middo_tui.test_imports import HEAVY, modules_after


def test_the_version_lists_libraries_and_extras_also_those_that_are_missing() -> None:
    def installed(name: str) -> str:
        if name in ("peft", "deepspeed"):
            raise metadata.PackageNotFoundError(name)
        return "1.2.3"

    first, *lines = version.text(installed).splitlines()
    found = dict(line.split(maxsplit=1) for line in lines)
    assert first.startswith("middo-tui 1.2.3 (Python 3.")
    assert found["torch"] == found["liger-kernel"] == "1.2.3"
    assert found["peft"] == found["deepspeed"] == "not installed"
    assert set(found) == {*version.LIBRARIES, *version.EXTRAS}


def test_the_version_imports_no_library() -> None:
    code = "from middo_tui.cli.commands import main\ntry: main(['--version'])\nexcept SystemExit: pass"
    assert not modules_after(code) & set(HEAVY)


def test_help_explains_every_exit_code() -> None:
    text = CliRunner().invoke(main, ["--help"]).output
    for code, meaning in {**exit_codes.COMMON, **exit_codes.STATES}.items():
        assert f"  {code}  {meaning}\n" in text
    returned = {status.exit_code({"worker": {"state": state}}) for state in STATES}
    assert returned <= exit_codes.COMMON.keys() | exit_codes.STATES.keys()
