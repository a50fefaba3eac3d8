"""A preview of a round that is in memory, prepared in this process."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from engine.config import schema as configs
from engine.files.mapped_file import Sections
from engine.selection.preview.build import mixtures, prepare
from engine.selection.preview.build_process import Given
from engine.selection.preview.counts import Preview
from engine.selection.preview.facts import PreviewFacts
from engine.selection.preview.round_arrays import Round, read_round
from engine.store.rows import AXES, Axis
from engine.teacher import forecast
from engine.teacher.forecast import RequestTokens

SENT: dict[Axis, RequestTokens] = dict.fromkeys(AXES, RequestTokens(50.0, 2.0, 1.0))


def previewed(data: Round, facts: PreviewFacts | configs.Config) -> Preview:
    """As ``Preview.load`` makes one of a stored round."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the preview holds it
    prepare(data, True, "", file)
    told = facts if isinstance(facts, PreviewFacts) else PreviewFacts(facts)
    return Preview(Sections(file), told, sought)


def sought(laid: Sections, given: Given) -> Sections:
    """What the mixture rule says."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the preview holds it
    mixtures(laid, Given.of(given.text), file)
    return Sections(file)


def in_this_process(folder: Path, *what: str, passing: tuple[int, ...] = ()) -> Sections:
    """In place of ``engine.selection.preview.build_process.prepared``: without the half second that a process takes to
    begin."""
    if what[0] == "mixture":
        return sought(Sections(os.fdopen(os.dup(passing[0]), "rb")), Given.of(what[1]))
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the preview holds it
    believed = what[3] == "True"
    config = configs.load(folder)
    data = read_round(folder, int(what[2]), believed, config)
    prepare(data, believed, forecast.asked_with(config, folder, data.flagged), file)
    return Sections(file)
