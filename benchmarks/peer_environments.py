"""Environments of their own for the programs that this one is compared with, made when they are first asked for."""

from __future__ import annotations

import subprocess
import venv
from collections.abc import Sequence
from pathlib import Path

FOLDER = Path.home() / ".cache" / "middo-tui" / "peers"
DONE = "installed"


def python(folder: Path, name: str, packages: Sequence[str], without: Sequence[str] = ()) -> Path:
    """The interpreter of the environment ``name`` below ``folder``, which has ``packages`` (as pip names them).

    An environment that holds other packages, or was not finished, is made anew.

    Args:
        without: packages that pip installs as dependencies and that do not work here: removed again.
    """
    home = folder / name
    wanted = "\n".join([*packages, *(f"without {one}" for one in without)])
    note, program = home / DONE, home / "bin" / "python"
    if not note.exists() or note.read_text(encoding="utf-8") != wanted:
        venv.create(home, with_pip=True, clear=True)
        pip = [str(program), "-m", "pip"]
        subprocess.run([*pip, "install", "--quiet", *packages], check=True)
        if without:
            subprocess.run([*pip, "uninstall", "--quiet", "--yes", *without], check=True)
        note.write_text(wanted, encoding="utf-8")
    return program
