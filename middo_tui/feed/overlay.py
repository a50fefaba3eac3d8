"""Other projects laid over this one on the Rounds screen: which there are, and their rounds. For threads."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from engine.store.connect import reader
from middo_tui.feed import recent
from middo_tui.feed.compare import OWN_QUESTIONS, heldout_digest
from middo_tui.feed.home import folders, last_used
from middo_tui.feed.rounds import RoundDetail, RoundsReader
from middo_tui.terminal import guard

NAME_LIMIT = 24
MOST = 3
"""Projects beside the own one: as many looks as a chart has for lines."""


class OtherProject(Struct, frozen=True):
    """Its rounds as they were when it was added. ``same_questions``: it holds out what this project does."""

    folder: Path
    name: str
    rounds: tuple[RoundDetail, ...]
    same_questions: bool

    def comparable(self, task: str) -> bool:
        """Whether its figure of ``task`` answers the same questions."""
        return self.same_questions or task not in OWN_QUESTIONS


def others(project: Path) -> list[tuple[Path, float]]:
    """The projects beside ``project`` and those opened lately, with when they were last used (wall time), the last used
    first; not itself. None of them is opened: that would bring older ones up to date.
    """
    own = project.resolve()
    found = [folder for folder in folders(own.parent, recent.folders()) if folder.resolve() != own]
    return sorted(((folder, last_used(folder)) for folder in found), key=lambda one: (-one[1], one[0].name))


def read(project: Path, other: Path) -> OtherProject:
    """The rounds of ``other``, to be laid over those of ``project``.

    Raises:
        StoreError: one of them cannot be read: it is gone, or of a newer version.
    """
    rounds = RoundsReader(other).read().rounds
    digests = []
    for folder in (project, other):
        db = reader(folder)
        try:
            digests.append(heldout_digest(db))
        finally:
            db.close()
    return OtherProject(other, guard.one_line(other.resolve().name, NAME_LIMIT), rounds, digests[0] == digests[1])
