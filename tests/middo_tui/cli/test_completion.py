"""``middo-tui completion``: what a real bash completes with the script."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from engine.config.defaults import presets
from engine.loop import NAMES
from middo_tui.cli.commands import main
from middo_tui.cli.completion import SHELLS

BASH = shutil.which("bash")
ASK = """
compopt() { :; }
eval "$(middo-tui completion bash)"
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
_middo_tui_completion middo-tui
printf '%s\\n' "${COMPREPLY[@]}"
"""
"""``compopt`` works inside a completion only. It asks for folders beside the words; what they are is bash's work."""


def completed(folder: Path, *words: str) -> list[str]:
    """What bash offers for the last of ``words``."""
    program = folder / "middo-tui"
    program.write_text(f"#!{sys.executable}\nfrom middo_tui.cli import main\nmain()\n")
    program.chmod(0o755)
    assert BASH is not None
    done = subprocess.run(
        [BASH, "--norc", "-c", ASK, "bash", *words],
        env={**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "PYTHONPATH": os.getcwd()},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.skipif(BASH is None, reason="no bash on this machine")
@pytest.mark.parametrize(("words", "offered"), [
    (("middo-tui", "exp"), ["export", "export-model"]),
    (("middo-tui", "init", "P", "--preset", "qwen2.5-1"), ["qwen2.5-1.5b", "qwen2.5-14b"]),
    (("middo-tui", "run", "P", "--redo", "re"), ["rewrite", "review"]),
    (("middo-tui", "run", "P", "--until", "s"), ["score", "select"]),
])  # fmt: skip
def test_bash_completes_commands_presets_and_stages(words: tuple[str, ...], offered: list[str], tmp_path: Path) -> None:
    assert completed(tmp_path, *words) == offered


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_has_a_script_that_asks_the_program(shell: str) -> None:
    done = CliRunner().invoke(main, ["completion", shell])
    assert done.exit_code == 0
    assert f"_MIDDO_TUI_COMPLETE={shell}_complete" in done.output


def offers(words: str, incomplete: str) -> dict[str, list[str]]:
    """What the program tells a shell, by type: words are ``plain``, folders ``dir``."""
    env = {"_MIDDO_TUI_COMPLETE": "fish_complete", "COMP_WORDS": f"middo-tui {words}", "COMP_CWORD": incomplete}
    found: dict[str, list[str]] = {}
    for line in CliRunner().invoke(main, [], prog_name="middo-tui", env=env).output.splitlines():
        kind, _, value = line.partition(",")
        found.setdefault(kind, []).append(value.partition("\t")[0])
    return found


def test_a_project_is_completed_to_folders_and_to_no_files() -> None:
    assert offers("status", "my") == {"dir": ["my"]}
    assert offers("fork", "my") == {"dir": ["my"]}
    assert offers("export P", "out") == {"file": ["out"]}
    first = offers("", "st")
    assert first == {"dir": ["st"], "plain": ["status"]}, "a project is also opened by its folder alone"


def test_everything_of_a_list_is_offered() -> None:
    assert offers("init P --preset", "") == {"plain": presets()}
    assert offers("run P --redo", "") == {"plain": list(NAMES)}
    assert "quality" in offers("samples P --sort", "qu")["plain"]
