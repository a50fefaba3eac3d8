"""Parses names of Hub datasets: ``owner/name``, optionally with a configuration, a revision and a split."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePath

from engine.formats.files import SUFFIXES, suffix_of

SCHEME = "hf://datasets/"
SPLIT, HELDOUT_SPLIT = "train", "test"
"""The split that is read when none is named: as the dataset, and as its held-out samples."""
MODEL_FILES = ("*.json", "*.safetensors", "*.jinja", "tokenizer.model", "*.txt")
"""What is fetched of a model: weights as safetensors, never pickles or code."""
FORM = "owner/name, owner/name:CONFIG, owner/name@REVISION"
_WRITTEN = re.compile(
    r"(?P<repo>[A-Za-z0-9_][\w.-]*/[A-Za-z0-9_][\w.-]*)"
    r"(?:@(?P<before>[^\s:@]+))?(?::(?P<config>[^\s:@]+))?(?:@(?P<after>[^\s:@]+))?"
    r"(?:\s+(?P<split>\w[\w.-]*))?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Name:
    """A dataset on the Hub. ``config``, ``revision`` and ``split`` are empty if not given."""

    repo: str
    config: str = ""
    revision: str = ""
    split: str = ""

    def __str__(self) -> str:
        """As it is written."""
        config = f":{self.config}" if self.config else ""
        revision = f"@{self.revision}" if self.revision else ""
        split = f" {self.split}" if self.split else ""
        return f"{self.repo}{config}{revision}{split}"

    @property
    def written(self) -> str:
        """The form that means a hub's dataset and nothing else."""
        return f"{SCHEME}{self}"


def parse(text: str) -> Name | None:
    """A hub's dataset as it is written; None where it can only be a path of this machine.

    ``data/rows.json`` and ``data/rows`` where there is a folder ``data`` are paths, whether they are there or not;
    ``hf://datasets/`` before a name says that it is none.
    """
    plain = text.strip()
    said = plain.startswith(SCHEME)
    found = _WRITTEN.fullmatch(plain.removeprefix(SCHEME))
    if found is None or not plain.isprintable() or (found["before"] and found["after"]):
        return None
    repo = found["repo"]
    if not said and (suffix_of(PurePath(repo)) in SUFFIXES or Path(repo).parent.is_dir()):
        return None
    return Name(repo, found["config"] or "", found["before"] or found["after"] or "", found["split"] or "")
