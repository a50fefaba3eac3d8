"""``middo-tui plot``: pictures that can be read, the same ones for the same project, and what is refused."""

from __future__ import annotations

import os
import re
import struct
import sys
import xml.etree.ElementTree as ET
from contextlib import closing
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from click.testing import CliRunner, Result

from engine.runtime import launch
from engine.store.connect import reader, transaction, writer
from engine.upkeep.maps import make_maps, unmapped
from middo_tui.cli.commands import main
from middo_tui.cli.plot import COLOURS, KINDS, SUFFIXES
from middo_tui.feed import map_classes
from middo_tui.feed.map_places import open_map
from middo_tui.report import figures
from tests.support import invented_project
from tests.support.stores import Store

HOSTILE = "</text><script>alert(1)</script> $\\frac{1}$ \x1b[31m&amp;"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three rounds; every prompt tries to be something else than text."""
    return invented_project.make_hostile(tmp_path_factory.mktemp("plot") / "p", HOSTILE)


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(main, ["plot", *map(str, args)], catch_exceptions=False)


def texts(svg: Path) -> str:
    return " ".join(ET.fromstring(svg.read_bytes()).itertext())  # noqa: S314 - our own


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_of_each_kind(project: Path, tmp_path: Path, kind: str) -> None:
    pytest.importorskip("matplotlib")
    png, one, other = (tmp_path / name for name in ("a.png", "a.svg", "b.SVG"))
    for out in (png, one, other):
        done = run(project, kind, out)
        assert done.exit_code == 0, done.output
    assert png.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", png.read_bytes()[16:24]) == (1260, 840)
    assert one.read_bytes() == other.read_bytes(), "no date, no random ids"
    assert b"<path" in one.read_bytes()
    assert "KiB" in done.output


def test_the_text_of_a_prompt_stays_text(project: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    done = run(project, "map", tmp_path / "a.svg", "--colour", "cluster", "--round", "1")
    assert done.exit_code == 0, done.output
    assert "quotes prompts" in done.output
    written = (tmp_path / "a.svg").read_bytes()
    ET.fromstring(written)  # noqa: S314 - our own
    assert b"<script" not in written
    assert b"\x1b" not in written


@pytest.mark.parametrize("colour", ["state", "cluster"])
def test_a_legend_of_prompts_leaves_the_map_its_room(project: Path, colour: Literal["state", "cluster"]) -> None:
    mpl = pytest.importorskip("matplotlib")
    figure = pytest.importorskip("matplotlib.figure").Figure(figsize=(9.0, 6.0), layout="constrained")
    with mpl.rc_context({"text.parse_math": False}), closing(reader(project)) as db:
        figures._map(figure, db, project, 1, colour)
        figure.draw_without_rendering()
    assert figure.axes[0].get_position().width > 0.5
    words = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert all(re.search(r"\([\d,]+\)$", text) for text in words), "the count is there"


def test_what_cannot_be_drawn_is_refused(project: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    out = tmp_path / "a.svg"
    Store(tmp_path / "new").plan().db.close()
    for args, said in (
        ((project, "map", tmp_path / "a.pdf"), "Name it *.png or *.svg."),
        ((project, "loss", out, "--colour", "axis"), "--colour is for the map."),
        ((project, "rounds", out, "--round", "1"), "shows all rounds"),
        ((project, "loss", out, "--round", "9"), "The project has rounds 0 to 2."),
        ((tmp_path / "new", "map", out), "no map yet"),
        ((tmp_path / "new", "loss", out), "no training step"),
        ((tmp_path / "new", "signals", out), "nothing was measured"),
        ((tmp_path / "new", "rounds", out), "no round has run yet"),
    ):
        done = run(*args)
        assert done.exit_code != 0
        assert said in " ".join(done.output.split())
        assert not out.exists()
    out.write_text("mine")
    assert "exists" in run(project, "loss", out).output
    assert out.read_text() == "mine"


def test_without_matplotlib_it_says_how_to_get_it(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    done = run(project, "loss", tmp_path / "a.png")
    assert done.exit_code == 2
    assert "pip install 'middo-tui[plots]'" in " ".join(done.output.split())
    assert list(tmp_path.iterdir()) == []


def test_the_command_offers_what_there_is() -> None:
    from middo_tui.report import figures

    assert KINDS == figures.KINDS
    assert SUFFIXES == figures.SUFFIXES
    assert COLOURS == map_classes.COLOURS


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """Two rounds of a version without maps: with embeddings alone."""
    old = invented_project.make(tmp_path / "old", 60)
    db = writer(old)
    with transaction(db):
        db.execute("DELETE FROM artifact")
        for round in (0, 1):
            rows = db.execute("SELECT count(*) FROM signal WHERE round=?", (round,)).fetchone()[0]
            folder = old / "artifacts" / f"round-{round}" / "embeddings"
            folder.mkdir(parents=True)
            np.save(folder / "x.npy", np.random.default_rng(round).normal(size=(rows, 6)).astype(np.float16))
            place = str((folder / "x.npy").relative_to(old))
            db.execute("INSERT INTO artifact (round, name, path, meta) VALUES (?,'embeddings',?,'{}')", (round, place))
    db.close()
    return old


def test_maps_of_an_older_version_are_made_from_the_embeddings(old: Path, tmp_path: Path) -> None:
    assert unmapped(old) == [0, 1]
    held = launch.lock(old, within_s=0.0)
    done = run(old, "map", tmp_path / "a.svg")
    os.close(held)
    assert "are not made now" in done.output, "a worker runs"
    assert unmapped(old) == [0, 1]
    assert make_maps(old, pytest.fail) == [0, 1]
    assert unmapped(old) == []
    db = reader(old)
    assert [open_map(db, old, round).head.basis_round for round in (0, 1)] == [0, 0]
    db.close()


def test_damaged_files_cost_no_more_than_their_own_map(old: Path, tmp_path: Path) -> None:
    first, second = (old / "artifacts" / f"round-{round}" / "embeddings" / "x.npy" for round in (0, 1))
    os.truncate(first, 200)
    (second.parent / "work.json").write_bytes(b"{")
    done = run(old, "map", tmp_path / "a.svg")
    assert "made the map of round 1" in done.output
    assert f"Round 0 gets no map: {first}: cut off" in done.output
    assert unmapped(old) == [0]
    db = writer(old)
    with transaction(db):
        db.execute("DELETE FROM artifact WHERE name='map'")
        db.execute("INSERT INTO artifact (round, name, path, meta) VALUES (0,'map',?,'{}')", (str(first),))
    db.close()
    said: list[str] = []
    assert make_maps(old, said.append) == [1]
    assert said[0].startswith("Round 0 gets no map: ")
    assert [line for line in said if line.endswith("The map of round 1 has axes of its own.")] == said[1:] != []


@pytest.mark.parametrize("size", [None, 100])
def test_a_map_whose_file_is_lost_is_made_anew(old: Path, size: int | None) -> None:
    assert make_maps(old, pytest.fail) == [0, 1]
    place = old / "artifacts" / "round-0" / "map" / "coordinates.map"
    whole = place.read_bytes()
    place.unlink() if size is None else os.truncate(place, size)
    assert unmapped(old) == [0]
    assert make_maps(old, pytest.fail) == [0]
    assert place.read_bytes() == whole
