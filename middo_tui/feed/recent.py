"""The projects that were opened lately, for who calls the program without naming one.

A small file of a person's own, ``$XDG_STATE_HOME/middo-tui/recent.json`` (``~/.local/state`` without it): a list of
folders, the last opened first. It is read by nobody else (0600), and can be deleted at any time.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

MOST = 30


def file(environ: Mapping[str, str] = os.environ) -> Path:
    """Where the list is. XDG says that a relative XDG_STATE_HOME does not count."""
    home = environ.get("XDG_STATE_HOME", "")
    return (Path(home) if home.startswith("/") else Path("~/.local/state").expanduser()) / "middo-tui" / "recent.json"


def folders(environ: Mapping[str, str] = os.environ) -> list[Path]:
    """The folders, the last opened first; none if there is no list, or it is not one."""
    try:
        found = json.loads(file(environ).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [Path(name) for name in found if isinstance(name, str)] if isinstance(found, list) else []


def remember(project: Path, environ: Mapping[str, str] = os.environ) -> None:
    """Put ``project`` first.

    Raises:
        OSError: the list cannot be written.
    """
    place = file(environ)
    opened = project.resolve()
    others = [str(folder) for folder in folders(environ) if folder != opened]
    place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = place.with_name(f".recent.{os.getpid()}")
    with open(fresh, "w", encoding="utf-8", opener=lambda name, flags: os.open(name, flags, 0o600)) as stream:
        json.dump([str(opened), *others][:MOST], stream)
    fresh.replace(place)
