"""A project in a folder that cannot be written can be looked at, with all that its log holds."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.store import commands, read, write
from engine.store.connect import FILE, reader, writer
from middo_tui.feed.reader import Reader
from middo_tui.text.status import gather
from tests.support.first_release import unpack
from tests.support.stores import SIZE, Store

NOBODY = 65534


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where every user can come: a test's own folder is its user's alone."""
    made = Path(tempfile.mkdtemp(prefix="middo-read-only-"))
    made.chmod(0o755)
    yield made
    for path in made.rglob("*"):
        if path.is_dir():
            path.chmod(0o700)
    shutil.rmtree(made)


def close_off(project: Path) -> None:
    """Nobody can write there. The superuser always can, so who looks is another user then."""
    for path in sorted(project.rglob("*"), reverse=True):
        path.chmod(0o500 if path.is_dir() else 0o400)
        if os.geteuid() == 0:
            os.chown(path, NOBODY, NOBODY)
    project.chmod(0o500)
    if os.geteuid() == 0:
        os.chown(project, NOBODY, NOBODY)


def as_a_user(look: Callable[[], str]) -> str:
    """What ``look`` says in a process without the superuser's rights."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            if os.geteuid() == 0:
                os.setresgid(NOBODY, NOBODY, NOBODY)
                os.setresuid(NOBODY, NOBODY, NOBODY)
            said = look()
        except BaseException as error:  # noqa: BLE001 - whatever it is, the test is to see it
            said = repr(error)
        os.write(theirs, said.encode())
        os._exit(0)
    os.close(theirs)
    with os.fdopen(ours, "rb") as pipe:
        said = pipe.read().decode()
    os.waitpid(pid, 0)
    return said


def paused(project: Path) -> str:
    """Ask for a pause."""
    commands.set_want(project, "pause")
    return "it was written"


def seen(project: Path) -> str:
    view = Reader(project)
    shown = view.view()
    view.close()
    facts = gather(project)
    return f"{shown.problem}|{shown.table[0].size}|{shown.log[0].text}|{facts['dataset']['imported']}"


@pytest.mark.parametrize("left", ["closed", "log", "log and index"])
def test_it_can_be_looked_at(folder: Path, left: str) -> None:
    """Also what was never brought from the log into the file, as after a kill, and without what readers share."""
    store = Store(folder / "made").plan().round(0)
    write.event(store.db, "the last thing")
    project = folder / "made"
    if left == "closed":
        store.db.close()
    else:
        project = folder / "killed"
        shutil.copytree(folder / "made", project)
        if left == "log":
            (project / f"{FILE}-shm").unlink()
        assert (project / f"{FILE}-wal").stat().st_size
    assert seen(project).endswith(f"|{SIZE}|the last thing|{SIZE}")
    if left == "log":  # looking at it has made what readers share, and taken it away again or not
        (project / f"{FILE}-shm").unlink(missing_ok=True)
    close_off(project)
    assert as_a_user(lambda: seen(project)) == f"|{SIZE}|the last thing|{SIZE}"
    refused = as_a_user(lambda: paused(project))
    assert refused.startswith("StoreError(")
    assert "cannot write" in refused


def test_the_copy_of_a_reader_that_was_killed_goes_with_the_next_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever looks ends without cleaning up."""
    store = Store(folder / "made").plan().round(0)
    write.event(store.db, "the last thing")
    project = folder / "killed"
    shutil.copytree(folder / "made", project)
    store.db.close()
    (project / f"{FILE}-shm").unlink()
    close_off(project)
    (folder / "tmp").mkdir()
    (folder / "tmp").chmod(0o777)
    monkeypatch.setattr(tempfile, "tempdir", str(folder / "tmp"))
    for _ in range(2):
        assert as_a_user(lambda: seen(project)).startswith(f"|{SIZE}|")
        assert len(list((folder / "tmp").iterdir())) == 1


def test_a_store_that_was_copied_in_use_is_whole(folder: Path) -> None:
    """A file copy with its log is one state of the store, if nothing is checkpointed meanwhile: SQLite reads it so."""
    store = Store(folder / "p").plan().round(0)
    with store.db:
        write.event(store.db, "before")
    shutil.copytree(folder / "p", folder / "copy")
    write.event(store.db, "after")
    db = reader(folder / "copy")
    assert [event.text for event in read.events(db)] == ["before"]
    assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    db.close()
    writer(folder / "copy").close()


def test_what_is_no_database_is_said_in_a_closed_folder_too(folder: Path) -> None:
    (folder / "p").mkdir()
    (folder / "p" / FILE).write_bytes(b"no database at all, but long enough to look like a file of one" * 40)
    close_off(folder / "p")
    assert "not a readable database: " in as_a_user(lambda: str(reader(folder / "p")))


def test_one_of_an_older_version_can_be_looked_at(folder: Path) -> None:
    """A copy is brought up to date: the owner's file is not ours to change."""
    before = (database := unpack(folder / "old") / FILE).read_bytes()
    assert "problem" not in seen(unpack(folder / "mine")), "what it takes is loaded"
    close_off(folder / "old")
    assert as_a_user(lambda: seen(folder / "old")).startswith("|60|")
    assert database.read_bytes() == before
