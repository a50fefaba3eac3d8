"""The projects in a folder, for who calls the program without naming one. Reads only; light."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from engine.errors import MiddoError
from engine.store.connect import FILE
from middo_tui.terminal import guard
from middo_tui.text.status import standing

MOST = 100


class ProjectSummary(NamedTuple):
    """``state``: in words, clean. ``used``: when something last wrote to it, wall time."""

    folder: Path
    state: str
    used: float


def is_project(folder: Path) -> bool:
    """Whether there is a store in ``folder``."""
    return (folder / FILE).is_file()


def project_around(folder: Path) -> Path | None:
    """``folder`` if there is a store in it, else its nearest parent that is a project.

    A parent needs the settings beside the store: a stray database in the root or at home hides no folder below it.
    """
    if is_project(folder):
        return folder
    return next((one for one in folder.parents if is_project(one) and (one / "config.toml").is_file()), None)


def folders(here: Path, opened: Iterable[Path] = ()) -> list[Path]:
    """The projects directly in ``here``, then those ``opened`` lately that are still there."""
    try:
        beside = [folder for folder in here.iterdir() if _readable(folder)]
    except OSError:
        beside = []
    seen = {folder.resolve() for folder in beside}
    return [*beside, *(folder for folder in dict.fromkeys(opened) if folder not in seen and _readable(folder))]


def projects(here: Path) -> list[ProjectSummary]:
    """The projects directly in ``here``, the last used first; at most ``MOST``."""
    return known(here, ())


def known(here: Path, opened: Iterable[Path]) -> list[ProjectSummary]:
    """The projects in ``here`` and those ``opened`` lately that are still there, the last used first."""
    return _summaries(folders(here, opened))


def _readable(folder: Path) -> bool:
    try:
        return is_project(folder)
    except OSError:  # a folder that is another's by now
        return False


def _summaries(found: list[Path]) -> list[ProjectSummary]:
    """The last used first; only of the first ``MOST`` is the state read."""
    used = {folder: last_used(folder) for folder in found}
    newest = sorted(found, key=lambda folder: (-used[folder], folder.name))[:MOST]
    return [ProjectSummary(folder, _state(folder), used[folder]) for folder in newest]


def last_used(folder: Path) -> float:
    """The newest of the store and its write-ahead log."""
    times = []
    for name in (FILE, f"{FILE}-wal"):
        try:
            times.append((folder / name).stat().st_mtime)
        except OSError:
            continue
    return max(times, default=0.0)


def _state(folder: Path) -> str:
    try:
        now = standing(folder)
    except (MiddoError, OSError) as error:
        return f"unreadable: {guard.one_line(str(error))}"
    if not now.jobs:
        return "not started"
    round = max(job.round for job in now.jobs)
    newest = [job for job in now.jobs if job.round == round]
    closed = all(job.stage != "merge" and job.state == "done" for job in newest)  # a closing round merges nothing
    state = "done" if now.state == "idle" and closed else now.state
    words = {"waiting": "your turn", "lost": "not responding"}
    return f"{words.get(state, state)}, round {round}"
