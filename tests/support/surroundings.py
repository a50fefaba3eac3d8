"""A test sees nothing of the person at this machine: no home, no shell settings, no temporary files of others."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import MutableMapping
from pathlib import Path

from engine.processes import environment

TELLS = re.compile(
    "(NO|FORCE|CLICOLOR)_?(COLOR|FORCE)?|COLUMNS|LINES|TERM.*|COLORTERM|COLORFGBG|TMUX.*|STY|TEXTUAL.*"  # the terminal
    "|LANG(UAGE)?|LC_.*|TZ|(XDG|GIT|SLURM|MIDDO)_.*|.*_PROXY|CI|GITHUB_.*|PYTHON(PATH|WARNINGS|IOENCODING|UTF8)"
    "|VISUAL|EDITOR|PAGER|BROWSER|MPL.*|DATASETS_.*",
    re.IGNORECASE,
)
"""Names of variables by which a shell changes what a program says or does."""

KEPT = re.compile("(CUDA|NCCL|GLOO)_.*|TORCHDYNAMO_DISABLE|MIDDO_TEST_DATA|MIDDO_SMOLLM2|TEXTUAL_SNAPSHOT_TEMPDIR")
"""Of these and of those that steer libraries: what this machine has, and what the tests are asked to run with; where
the processes of the tests exchange their pictures.
"""

OURS = {"TERM": "xterm-256color", "LANG": "C.UTF-8", "TZ": "UTC", "HF_HUB_OFFLINE": "1"}


def strange(name: str) -> bool:
    """Whether a test must not see the variable."""
    told = TELLS.fullmatch(name) or environment.STEERING.fullmatch(name) or environment.secret(name)
    return bool(told) and not KEPT.fullmatch(name)


def leave(environ: MutableMapping[str, str], place: Path) -> None:
    """Change the environment to one with an empty home and no temporary files, both in ``place``.

    pytest's own folders stay where a person looks for them, and a model that was written into the cache stays known.
    """
    home = Path(environ.get("HOME", "/"))
    cache = Path(environ.get("XDG_CACHE_HOME") or home / ".cache") / "middo-tui" / "smollm2-135m-instruct"
    if cache.is_dir():
        environ.setdefault("MIDDO_SMOLLM2", str(cache))
    environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
    for name in filter(strange, [*environ]):
        del environ[name]
    for name, folder in {"HOME": place / "home", "TMPDIR": place / "tmp"}.items():
        folder.mkdir()
        environ[name] = str(folder)
    (place / "tmp").chmod(0o1777)  # as /tmp is
    environ.update(OURS)
    tempfile.tempdir = None  # asked anew
    time.tzset()
