"""Writes dataset folders with a card: in the format of ``datasets.save_to_disk``, or for the Hub."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from engine.errors import UsageError
from engine.files import durable
from engine.formats.arrow import Table
from engine.formats.card import card

FOLDERS = ("hf", "hub")
"""``hf`` is for ``datasets.load_from_disk``, ``hub`` for ``datasets.load_dataset``: neither reads the other's."""

PARQUET = "data/train-00000-of-00001.parquet"


def write(table: Table, out: Path, story: str) -> None:
    """Write ``table`` as the folder ``out``; an older one of the same kind is exchanged, but keeps the licence that a
    person wrote into its card.

    Raises:
        UsageError: ``out`` holds something else.
    """
    format = table.layout.format
    if out.exists() and any(out.iterdir()) and not _ours(out, format):
        raise UsageError(f"{out}: not empty and not a dataset of this kind. Choose a new folder.")
    place = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    try:
        new = place / "new"
        if format == "hf":
            table.write_folder(new)
            files = "data-*.arrow"
        else:
            (new / PARQUET).parent.mkdir(parents=True)
            table.write_parquet(new / PARQUET)
            files = "data/train-*.parquet"
        (new / "README.md").write_text(card(table.layout, files, story, _licence(out)), encoding="utf-8")
        if out.exists():
            out.rename(place / "old")
        durable.replace(new, out)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _ours(out: Path, format: str) -> bool:
    if format == "hf":
        return (out / "state.json").is_file()
    files = {str(file.relative_to(out)) for file in out.rglob("*") if not file.is_dir()}
    return PARQUET in files and files <= {PARQUET, "README.md"}


def _licence(out: Path) -> str | None:
    """The licence in the existing card's header."""
    path = out / "README.md"
    if not path.is_file():
        return None
    header = path.read_text(encoding="utf-8", errors="replace").removeprefix("---\n").partition("\n---")[0]
    return next((line for line in header.splitlines() if line.startswith("license:")), None)
