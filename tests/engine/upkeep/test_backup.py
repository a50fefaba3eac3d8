"""A backup is whole, verified, made beside a writer, and refused when anything about it is not as it was written."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.errors import MiddoError, StoreError, UsageError
from engine.project.folder import export
from engine.store import controls
from engine.store.connect import KEPT_BEFORE, reader, transaction, writer
from engine.upkeep import backup as backups
from engine.upkeep.backup import COMPLETE, MANIFEST, backup, restore
from engine.upkeep.check import check
from tests.support.processes import cli
from tests.support.whole_project import EMBEDDINGS, FINAL, whole


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return whole(tmp_path_factory.mktemp("sound") / "P")


@pytest.fixture
def project(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "P"))


def dataset(project: Path, out: Path) -> bytes:
    export(project, out, None, "messages", provenance=True)
    return out.read_bytes()


def test_what_was_backed_up_comes_back(project: Path, tmp_path: Path) -> None:
    (project / f"{KEPT_BEFORE}m002").write_bytes(b"old")
    (project / "worker.lock").touch()
    (project / "machines.json").touch()
    made = backup(project, tmp_path / "B")
    assert {EMBEDDINGS, f"{FINAL}/model.safetensors", "config.toml", "middo.db", "data/heldout.jsonl"} <= set(
        made.files
    )
    assert not {"worker.lock", "machines.json", f"{KEPT_BEFORE}m002", "middo.db-wal"} & set(made.files)
    restore(tmp_path / "B", tmp_path / "there" / "Q")
    assert dataset(tmp_path / "there" / "Q", tmp_path / "q.jsonl") == dataset(project, tmp_path / "p.jsonl")
    assert check(tmp_path / "there" / "Q").faults == ()
    places = [tmp_path / "B", *(tmp_path / "B").rglob("*"), *(tmp_path / "there" / "Q").rglob("*")]
    assert not [path for path in places if path.stat().st_mode & 0o077]


def test_a_writer_goes_on_and_the_copy_is_one_state(project: Path, tmp_path: Path) -> None:
    """Every transaction writes a pair; no backup ever has half of one."""
    over, begun, errors, written = threading.Event(), threading.Event(), [], [0]

    def writes() -> None:
        db = writer(project)
        try:
            while not over.is_set():
                with transaction(db):
                    written[0] += 1
                    db.execute("INSERT OR REPLACE INTO meta VALUES ('one', ?)", (str(written[0]),))
                    db.execute("INSERT OR REPLACE INTO meta VALUES ('two', ?)", (str(written[0]),))
                begun.set()
        except MiddoError as error:
            errors.append(error)
        finally:
            db.close()

    thread = threading.Thread(target=writes)
    thread.start()
    try:
        assert begun.wait(60)
        for number in range(4):
            before = written[0]
            backup(project, tmp_path / f"B{number}")
            assert written[0] > before, "the writer was not held up"
    finally:
        over.set()
        thread.join()
    assert errors == []
    for number in range(4):
        db = reader(tmp_path / f"B{number}")
        pair = {row[0] for row in db.execute("SELECT value FROM meta WHERE key IN ('one','two')")}
        db.close()
        assert len(pair) == 1


def test_any_damaged_file_of_a_backup_is_refused_and_nothing_is_restored(project: Path, tmp_path: Path) -> None:
    made = backup(project, tmp_path / "B")
    for name in [*made.files, MANIFEST]:
        file = tmp_path / "B" / name
        content = file.read_bytes()
        for damage in (content[:-1], bytes([content[0] ^ 1]) + content[1:], None):
            file.unlink() if damage is None else file.write_bytes(damage)
            with pytest.raises((StoreError, UsageError), match=r"[Bb]ackup"):
                restore(tmp_path / "B", tmp_path / "Q")
            assert not (tmp_path / "Q").exists()
            file.write_bytes(content)
    restore(tmp_path / "B", tmp_path / "Q")


def test_a_backup_of_a_newer_format_is_refused(project: Path, tmp_path: Path) -> None:
    backup(project, tmp_path / "B")
    manifest = json.loads((tmp_path / "B" / MANIFEST).read_text())
    (tmp_path / "B" / MANIFEST).write_text(json.dumps(manifest | {"format": backups.FORMAT + 1}))
    with pytest.raises(StoreError, match=r"format 2, of a newer middo-tui\. Upgrade"):
        restore(tmp_path / "B", tmp_path / "Q")


def test_a_damaged_database_is_not_backed_up(project: Path, tmp_path: Path) -> None:
    db = project / "middo.db"
    content = bytearray(db.read_bytes())
    content[-4096:] = bytes(4096)
    db.write_bytes(content)
    with pytest.raises(StoreError, match=r"/P/middo\.db is damaged \(.*\), so no backup was made\."):
        backup(project, tmp_path / "B")
    assert not (tmp_path / "B").exists()


def test_a_copy_has_no_worker(project: Path, tmp_path: Path) -> None:
    db = writer(project)
    with transaction(db):
        names = [row[1] for row in db.execute("PRAGMA table_info(worker)")]
        db.execute(f"INSERT INTO worker VALUES ({', '.join('1' for _ in names)})")
        db.execute("UPDATE job SET state='running' WHERE (round, stage) IN (SELECT round, stage FROM job LIMIT 1)")
    db.close()
    backup(project, tmp_path / "B")
    copy = reader(tmp_path / "B")
    assert copy.execute("SELECT count(*) FROM worker").fetchone()[0] == 0
    states = {row[0] for row in copy.execute("SELECT state FROM job")}
    copy.close()
    assert "running" not in states
    assert "interrupted" in states


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil", "", ".", "a//b", "x\0y"])
def test_a_manifest_cannot_name_a_file_outside(name: str, project: Path, tmp_path: Path) -> None:
    backup(project, tmp_path / "B")
    manifest = json.loads((tmp_path / "B" / MANIFEST).read_text())
    manifest["files"][name] = {"bytes": 0, "blake2b": ""}
    (tmp_path / "B" / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(StoreError, match="outside of the backup"):
        restore(tmp_path / "B", tmp_path / "Q")


def test_only_whole_checkpoints_of_an_unfinished_training_are_taken(project: Path, tmp_path: Path) -> None:
    for step, marked in ((3, True), (6, False)):
        folder = project / "artifacts" / "round-1" / "checkpoint" / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        (folder / "optimizer.pt").write_bytes(b"x")
        if marked:
            (folder / COMPLETE).write_text("{}")
    made = backup(project, tmp_path / "B")
    taken = {name for name in made.files if "round-1" in name}
    assert taken == {f"artifacts/round-1/checkpoint/checkpoint-3/{name}" for name in (COMPLETE, "optimizer.pt")}


def test_a_model_that_goes_away_meanwhile_starts_the_backup_again(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker removes the model of an old round (train.keep_checkpoints) between the database and the files."""
    real = backups._settle
    calls: list[Path] = []

    def meanwhile(file: Path, whose: Path) -> None:
        real(file, whose)
        if not calls:
            db = writer(project)
            db.execute("DELETE FROM artifact WHERE name='checkpoint'")
            db.close()
            shutil.rmtree(project / FINAL)
        calls.append(file)

    monkeypatch.setattr(backups, "_settle", meanwhile)
    made = backup(project, tmp_path / "B")
    assert len(calls) == 2
    assert f"{FINAL}/model.safetensors" not in made.files
    (project / EMBEDDINGS).unlink()
    with pytest.raises(StoreError, match="went away"):
        backup(project, tmp_path / "C")
    assert not (tmp_path / "C").exists()


def test_a_folder_that_goes_away_meanwhile_starts_the_backup_again(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = project / "artifacts" / "round-9"
    gone.mkdir()
    walk = os.walk

    def meanwhile(top: Path, followlinks: bool = False) -> Iterator[tuple[str, list[str], list[str]]]:
        for found in walk(top, followlinks=followlinks):
            if found[0] == str(gone):
                gone.rmdir()
            yield found

    monkeypatch.setattr(os, "walk", meanwhile)
    assert EMBEDDINGS in backup(project, tmp_path / "B").files
    assert not gone.exists()


def test_controls_are_left_out_as_their_workers_may_write(project: Path, tmp_path: Path) -> None:
    shutil.copytree(project, controls.folder(project, 0, "random"))
    (project / "data" / controls.FOLDER).mkdir()
    (project / "data" / controls.FOLDER / "mine.jsonl").touch()
    made = backup(project, tmp_path / "B")
    assert [name for name in made.files if controls.FOLDER in name] == ["data/controls/mine.jsonl"]


def test_where_it_cannot_be(project: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(UsageError, match="not empty"):
        backup(project, tmp_path / "full")
    with pytest.raises(UsageError, match="inside of the project"):
        backup(project, project / "B")
    with pytest.raises(UsageError, match="no finished backup"):
        restore(tmp_path / "full", tmp_path / "Q")
    (tmp_path / "there").mkdir()
    backup(project, tmp_path / "there")
    with pytest.raises(UsageError, match=r"already holds a project\. Choose a new folder"):
        restore(tmp_path / "there", project)


def test_the_commands(project: Path, tmp_path: Path) -> None:
    made = cli("backup", project, tmp_path / "B")
    assert made.returncode == 0, made.stderr
    assert "read back and verified" in made.stdout
    back = cli("restore", tmp_path / "B", tmp_path / "Q")
    assert back.returncode == 0, back.stderr
    assert cli("check", tmp_path / "Q").returncode == 0
    again = cli("restore", tmp_path / "B", tmp_path / "Q")
    assert (again.returncode, again.stderr.count("\n")) == (2, 1)
