"""The store: schema, rows that share a table, transactions, rounds read back, decisions and their undo."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
from sqlite_utils import Database

from engine.config.schema import Config
from engine.errors import Cancelled, Paused, StoreError
from engine.runtime.context import StoreCtx
from engine.store import commands, connect, read, search, write
from engine.store.database_file import keep_before
from engine.store.rows import (
    EvalScore,
    Losses,
    Message,
    Metric,
    Neighbourhood,
    Ratings,
    Rewrite,
    Sample,
    Verdict,
    content_id,
    dump_messages,
    load_messages,
)
from engine.store.schema import migrate, migrations


def sample(text: str, seq: int, **more: object) -> Sample:
    messages = (Message("user", f"say {text}"), Message("assistant", text))
    return Sample(content_id(messages), messages, seq, **more)  # type: ignore[arg-type]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    migrate(tmp_path, create=True)
    db = connect.writer(tmp_path)
    with connect.transaction(db):
        write.add_samples(db, [sample(f"word {i}", i) for i in range(5)])
    write.open_round(db, 0, "{}", ["train", "score"], closing=False, stopped=None)
    db.close()
    commands.set_plan(tmp_path, 1)
    return tmp_path


@pytest.fixture
def db(project: Path) -> sqlite3.Connection:
    return connect.writer(project)


def test_migrating_twice_changes_nothing(project: Path, db: sqlite3.Connection) -> None:
    before = db.execute("SELECT sql FROM sqlite_master ORDER BY name").fetchall()
    migrate(project)
    assert [tuple(r) for r in db.execute("SELECT sql FROM sqlite_master ORDER BY name")] == [tuple(r) for r in before]


def test_a_database_of_a_newer_version_is_refused(project: Path, db: sqlite3.Connection) -> None:
    Database(db, execute_plugins=False)["_sqlite_migrations"].insert(
        {"migration_set": "middo", "name": "m999_future", "applied_at": "x"}
    )
    with pytest.raises(StoreError, match=r"newer middo-tui .*m999_future"):
        migrate(project)
    with pytest.raises(StoreError, match=r"newer middo-tui .*m999_future"):
        connect.reader(project)


def test_ids_are_content_not_position() -> None:
    a = (Message("user", "x"), Message("assistant", "y"))
    assert content_id(a) == content_id(load_messages(dump_messages(a)))
    assert content_id(a) != content_id((Message("user", "x"), Message("assistant", "y", "function_call")))
    assert content_id(a) != content_id(a, copy=1)
    assert 0 <= content_id(a) < 2**63


def test_row_kinds_of_one_table_fill_their_own_columns(db: sqlite3.Connection) -> None:
    write.save(db, 0, "score", [Losses(0, 7, 1.0, 0.5, 3, 4)], done=1)
    write.save(db, 0, "score", [Neighbourhood(0, 7, 0.9, "[1,2]")], done=2)
    assert read.rows(db, Ratings, 0) == []
    write.save(db, 0, "score", [Ratings(0, 7, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 3.5, 0.99)], done=3)
    assert read.rows(db, Losses, 0) == [Losses(0, 7, 1.0, 0.5, 3, 4)]
    assert read.rows(db, Neighbourhood, 0)[0].similarity == 0.9
    assert read.rows(db, Ratings, 0)[0].quality == 3.5
    assert next(j for j in read.jobs(db) if j.stage == "score").done == 3


def test_a_verdict_keeps_what_the_rewrite_row_holds(db: sqlite3.Connection) -> None:
    write.save(db, 0, "score", [Rewrite(0, 7, "quality", "proposed", prompt="p", response="r")], None)
    write.save(db, 0, "score", [Verdict(0, 7, "quality", 1.0, 0.5, 0.8, 7.0, "[]", True, "better")], None)
    assert read.rows(db, Rewrite, 0)[0].prompt == "p"
    assert read.rows(db, Verdict, 0)[0].improved is True


def test_a_failed_transaction_leaves_nothing(db: sqlite3.Connection) -> None:
    with pytest.raises(sqlite3.IntegrityError), connect.transaction(db):
        write.add_samples(db, [sample("new", -1), sample("clash", 0)])  # in the order of places
    assert read.size(db, 0) == 5


def test_a_full_disk_is_one_clear_message_and_nothing_is_kept(db: sqlite3.Connection) -> None:
    pages = db.execute("PRAGMA page_count").fetchone()[0]
    db.execute(f"PRAGMA max_page_count={pages + 2}")
    with pytest.raises(StoreError, match="disk is full"), connect.transaction(db):
        write.add_samples(db, [sample("x" * 50_000 + str(i), 100 + i) for i in range(50)])
    assert read.size(db, 0) == 5


def test_any_round_can_be_read_back_and_a_merge_can_be_done_again(db: sqlite3.Connection) -> None:
    old = read.dataset(db, 0)
    for _ in range(2):
        child = sample("better", 10, parent_id=old[1].id, axis="quality", born_round=1)
        write.replace(db, 0, [child], [old[1].id], [])
    assert [s.id for s in read.dataset(db, 0)] == [s.id for s in old]
    assert [s.seq for s in read.dataset(db, 1)] == [0, 2, 3, 4, 10]
    assert read.sample(db, child.id) == child


def test_the_loops_gain_is_told_by_the_main_score(db: sqlite3.Connection) -> None:
    """Accuracy, else the first task of both rounds that was measured alike, else the held-out loss, turned round."""
    wanted = {"evaluate": {"tasks": ["sums", "errors"]}}
    write.open_round(db, 1, json.dumps(wanted), ["merge"], closing=False, stopped=None)
    write.end_job(db, 1, "merge", "done")
    known = {"heldout_loss": (1.0, 0.8), "errors": (0.5, 0.25), "sums": (0.5, 0.75), "accuracy": (0.125, 0.25)}
    gains = []
    for task, values in known.items():
        for round, value in enumerate(values):
            how = ("m", task != "errors", "one") if task in ("sums", "errors") else ("", task == "accuracy", "")
            write.save(db, round, "evaluate", [EvalScore(round, task, value, None, 8, *how)], None)
        facts = read.round_facts(db, 1)
        gains.append(facts.gain if facts else None)
    assert gains == [pytest.approx(0.2), 0.25, 0.25, 0.125]
    db.execute("DELETE FROM score WHERE task='accuracy'")
    db.execute("UPDATE score SET source='two', value=0.1 WHERE task='sums' AND round=1")
    facts = read.round_facts(db, 1)
    assert facts is not None
    assert facts.gain == 0.25, "other questions were asked in sums: errors is next"


def test_save_honours_what_is_wanted_after_writing(project: Path, db: sqlite3.Connection) -> None:
    ctx = StoreCtx(db, project, Config(), 0, "train")
    for want, outcome in (("pause", Paused), ("cancel", Cancelled)):
        commands.set_want(project, want)
        with pytest.raises(outcome):
            ctx.save([Metric(0, 1, 0.0, 0.1, 2.0, 1e-3, 1.0, 10.0)], done=1)
    assert len(ctx.rows(Metric)) == 1


def test_publish_stays_inside_the_project(
    project: Path, db: sqlite3.Connection, tmp_path_factory: pytest.TempPathFactory
) -> None:
    ctx = StoreCtx(db, project, Config(), 0, "train")
    ctx.publish("checkpoint", ctx.workdir("checkpoint"), {"steps": 3})
    assert ctx.artifact("checkpoint") == project / "artifacts/round-0/checkpoint"
    assert ctx.artifact("checkpoint", 1) is None
    with pytest.raises(ValueError, match="not in the subpath"):
        ctx.publish("checkpoint", tmp_path_factory.mktemp("elsewhere"), {})


def proposals(db: sqlite3.Connection) -> list[tuple[int, str]]:
    rows = [
        Rewrite(0, 1, "quality", "proposed"),
        Rewrite(0, 2, "quality", "proposed"),
        Rewrite(0, 3, "diversity", "failed", reason="malformed"),
    ]
    write.save(db, 0, "score", rows, None)
    write.save(db, 0, "score", [Verdict(0, 1, "quality", 1.0, 1.0, 1.0, 1.0, "[]", True, "better")], None)
    write.save(db, 0, "score", [Verdict(0, 2, "quality", 1.0, 1.0, 1.0, 1.0, "[]", False, "loss 1 → 2")], None)
    return [(1, "quality"), (2, "quality"), (3, "diversity")]


def states(db: sqlite3.Connection) -> list[tuple[str, str | None]]:
    return [(r.state, r.reason) for r in read.rows(db, Rewrite, 0)]


def test_decisions_are_journalled_and_a_batch_is_one_undo(project: Path, db: sqlite3.Connection) -> None:
    keys = proposals(db)
    assert commands.decide(project, 0, keys, "rejected", "off topic") == 2
    assert states(db) == [("rejected", "off topic"), ("rejected", "off topic"), ("failed", "malformed")]
    assert commands.decide(project, 0, keys[:1], "accepted") == 1
    assert len(commands.undo(project).keys) == 1
    assert states(db)[0] == ("rejected", "off topic")
    assert len(commands.undo(project).keys) == 2
    assert states(db) == [("proposed", None), ("proposed", None), ("failed", "malformed")]
    assert commands.undo(project).keys == ()


def test_accept_improved_rejects_the_rest_with_the_verdict(project: Path, db: sqlite3.Connection) -> None:
    proposals(db)
    assert commands.decide_open(project, 0, "improved", "test") == {"accepted": 1, "rejected": 1}
    assert states(db)[:2] == [("accepted", None), ("rejected", "loss 1 → 2")]
    assert commands.decide_open(project, 0, "all", "test") == {"accepted": 0, "rejected": 0}


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/home/u/p", "nfs4"), ("/home/u/p/local disk/x", "ext4"), ("/tmp/x", "xfs"), ("/homework", "xfs")],
)
def test_the_filesystem_is_that_of_the_longest_mount_point(path: str, kind: str) -> None:
    mounts = "/dev/a / xfs rw 0 0\nserver:/h /home nfs4 rw 0 0\n/dev/b /home/u/p/local\\040disk ext4 rw 0 0\n"
    assert connect.filesystem(Path(path), mounts) == kind


def test_a_network_filesystem_is_refused_with_the_way_out() -> None:
    with pytest.raises(StoreError, match=r"network filesystem \(nfs4\).*ln -s"):
        connect.refuse_network(Path("/home/u/p/middo.db"), "server:/h /home nfs4 rw 0 0\n")


def test_a_missing_and_a_broken_database_are_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no project here"):
        connect.reader(tmp_path)
    (tmp_path / ".making").mkdir()
    with pytest.raises(StoreError, match="Run the same `middo-tui init` again"):
        connect.reader(tmp_path)
    (tmp_path / "out.html").touch()
    with pytest.raises(StoreError, match=r"out\.html: this is a file, not the folder of a project"):
        connect.reader(tmp_path / "out.html")
    (tmp_path / "middo.db").write_bytes(b"this is no database, it only looks like a file of that name" * 50)
    with pytest.raises(StoreError, match="not a readable database"):
        connect.reader(tmp_path)
    (tmp_path / "middo.db").unlink()
    sqlite3.connect(tmp_path / "middo.db").execute("CREATE TABLE other (x)")
    with pytest.raises(StoreError, match="not a middo-tui project"):
        connect.reader(tmp_path)


def test_a_folder_name_with_odd_characters_opens(tmp_path: Path) -> None:
    odd = tmp_path / "a?b#c%20 d"
    odd.mkdir()
    migrate(odd, create=True)
    assert read.jobs(connect.reader(odd)) == []


def test_a_first_schema_project_is_brought_up_to_date_and_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as first_release:
        first_release.setattr(migrations, "_migrations", migrations._migrations[:1])
        migrate(tmp_path, create=True)
    old = connect.writer(tmp_path)
    first = sample("Name a moon of Saturn.", seq=0)
    with connect.transaction(old):
        old.execute(
            "INSERT INTO sample (id, messages, seq, born_round) VALUES (?, ?, 0, 0)",
            (first.id, dump_messages(first.messages)),
        )
    migrate(tmp_path)
    with connect.transaction(old):
        write.add_samples(old, [sample("Name a\nmoon of Jupiter.", seq=1)])
    search.catch_up(old)
    found = "SELECT count(*) FROM sample_fts WHERE sample_fts MATCH ?"
    assert old.execute(found, ("moon",)).fetchone()[0] == 2
    with connect.transaction(old):
        old.execute("DELETE FROM sample WHERE seq=0")
    search.catch_up(old)
    assert old.execute(found, ("moon",)).fetchone()[0] == 1
    assert old.execute(found, ("Saturn",)).fetchone()[0] == 0


def test_the_search_index_can_be_made_anew(tmp_path: Path) -> None:
    migrate(tmp_path, create=True)
    db = connect.writer(tmp_path)
    with connect.transaction(db):
        write.add_samples(db, [sample("Name a moon of Saturn.", seq=0), sample("Name a moon of Jupiter.", seq=1)])
    found = "SELECT count(*) FROM sample_fts WHERE sample_fts MATCH 'moon'"
    for statement in (
        "INSERT INTO sample_fts (sample_fts) VALUES ('delete-all')",
        "INSERT INTO sample_fts (rowid, text) SELECT id, text FROM sample_text",
    ):
        db.execute(statement)
    db.execute("INSERT INTO sample_fts (sample_fts) VALUES ('integrity-check')")
    assert db.execute(found).fetchone()[0] == 2
    assert {row[0] for row in db.execute("PRAGMA integrity_check")} == {"ok"}
    with pytest.raises(sqlite3.OperationalError):  # FTS5 lets no content view use json_each
        db.execute("INSERT INTO sample_fts (sample_fts) VALUES ('rebuild')")


def test_an_older_project_is_brought_up_to_date_by_whoever_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [m.name for m in migrations._migrations][-1] == connect.NEWEST
    with monkeypatch.context() as first_release:
        first_release.setattr(migrations, "_migrations", migrations._migrations[:1])
        migrate(tmp_path, create=True)
    assert connect.reader(tmp_path).execute("SELECT count(cluster) FROM signal").fetchone()[0] == 0


def test_of_two_programs_that_bring_it_up_to_date_the_later_keeps_no_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It found migrations pending that the other one has made meanwhile; the other one's copy is being written."""
    with monkeypatch.context() as first_release:
        first_release.setattr(migrations, "_migrations", migrations._migrations[:1])
        migrate(tmp_path, create=True)
    first = migrations._migrations[1].name
    db = connect.writer(tmp_path)
    writing = tmp_path / f"{connect.KEPT_BEFORE}{first}.new"
    writing.touch()
    keep_before(db, connect.database(tmp_path), first)
    kept = tmp_path / f"{connect.KEPT_BEFORE}{first}"
    before = kept.read_bytes()
    migrate(tmp_path)
    (made,) = set(tmp_path.glob(f"{connect.KEPT_BEFORE}*")) - {writing}
    assert made.read_bytes() == before
    keep_before(db, connect.database(tmp_path), first)
    db.close()
    assert set(tmp_path.glob(f"{connect.KEPT_BEFORE}*")) == {kept, writing}
    assert kept.read_bytes() == before
