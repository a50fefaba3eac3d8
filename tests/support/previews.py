"""A preview of a round that is in memory, prepared in this process."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from engine.config import schema as configs
from engine.files.mapped_file import Sections
from engine.selection.preview.build import mixtures, prepare
from engine.selection.preview.counts import Preview
from engine.selection.preview.round_arrays import Round, read_round


def previewed(data: Round, config: configs.Config) -> Preview:
    """As ``Preview.load`` makes one of a stored round."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the preview holds it
    prepare(data, config, file)
    return Preview(Sections(file), sought)


def sought(laid: Sections) -> Sections:
    """What the mixture rule says."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the preview holds it
    mixtures(laid, file)
    return Sections(file)


def in_this_process(folder: Path, *what: str, passing: tuple[int, ...] = ()) -> Sections:
    """In place of ``engine.selection.preview.build_process.prepared``: without the half second that a process takes to
    begin."""
    if what[0] == "mixture":
        return sought(Sections(os.fdopen(os.dup(passing[0]), "rb")))
    config = configs.load(folder)
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the preview holds it
    prepare(read_round(folder, int(what[2]), config), config, file)
    return Sections(file)
