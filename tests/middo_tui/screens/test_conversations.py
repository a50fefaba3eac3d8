"""Conversations of several answers: signals speak of the last one, what was measured of all is shown beside it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from engine.store import connect, read
from engine.store.rows import CachedLoss, Losses, dump_messages
from engine.store.schema import migrate, migrations
from middo_tui.cli.commands import main
from middo_tui.feed.sample import read_detail
from middo_tui.widgets.sample_pane import pane_lines
from tests.support import tiny

ONE, TWO = tiny.chat("Hi", "Hello"), tiny.chat("Hi", "Hello", "And then?", "Bye")


def told(project: Path, id: int) -> str:
    detail = read_detail(project, id, 0)
    assert detail is not None
    return "\n".join("".join(run.text for run in line) for line in pane_lines(detail, 60))


def test_all_answers_are_shown_where_there_are_several(tmp_path: Path) -> None:
    made = tiny.Project(tmp_path, tiny.make_config(tmp_path), [ONE, TWO])
    one, two = read.dataset(made.db, 0)
    made.ctx("score").save([Losses(0, one.id, 2.0, 1.0, 3, 4), Losses(0, two.id, 2.0, 1.0, 3, 4, None, 4.25, 3.5)])
    assert "base, all" not in told(tmp_path, one.id)
    lines = told(tmp_path, two.id).splitlines()
    assert [line.split()[-1] for line in lines if "base, all" in line or "tuned, all" in line] == ["4.250", "3.500"]
    done = CliRunner().invoke(main, ["samples", str(tmp_path), "--where", "conversation_before>4", "--json"])
    (facts,) = map(json.loads, done.stdout.splitlines())
    assert (facts["id"], facts["loss_before"], facts["conversation_before"]) == (two.id, 2.0, 4.25)
    assert facts["conversation_after"] == 3.5


def test_older_projects_keep_what_was_measured_of_all_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [m.name for m in migrations._migrations]
    with monkeypatch.context() as older:
        older.setattr(migrations, "_migrations", migrations._migrations[: names.index("m011_last_exchange")])
        migrate(tmp_path, create=True)
    db = connect.writer(tmp_path)
    one, two = tiny.samples([ONE, TWO])
    for sample in (one, two):
        sql = "INSERT INTO sample (id, messages, seq, born_round) VALUES (?,?,?,0)"
        db.execute(sql, (sample.id, dump_messages(sample.messages), sample.seq))
    for id in (one.id, two.id):
        db.execute("INSERT INTO signal (round, sample_id, loss_before, loss_after) VALUES (0,?,2.0,1.0)", (id,))
        db.execute("INSERT INTO loss_cache (model, sample_id, loss) VALUES ('base',?,2.0)", (id,))
    db.close()
    migrate(tmp_path)
    db = connect.reader(tmp_path)
    assert [row.sample_id for row in read.rows(db, CachedLoss, 0)] == [one.id], (
        "the last answer alone was never measured"
    )
    whole = {row.sample_id: (row.conversation_before, row.conversation_after) for row in read.rows(db, Losses, 0)}
    assert whole == {one.id: (None, None), two.id: (2.0, 1.0)}
    db.close()
