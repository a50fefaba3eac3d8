"""SIGKILL in the middle of 200 calls: by the server's own count no finished call is made again."""

from __future__ import annotations

from pathlib import Path

from chat_server import MODEL, Server
from e2e.processes import run_child

from engine import project
from engine.loop import NAMES
from engine.store import commands, read, teacher, write
from engine.store.connect import reader, writer
from engine.store.rows import Rewrite

REWRITES, IN_FLIGHT, KILL_AT = 100, 8, 60


def teaches(text: str) -> str:
    """A new prompt that names the old one, so that every call of a run is a text of its own."""
    if "<prompt>" in text:
        return f"<prompt>again {text.split('Name ')[1].split(' things')[0]} please</prompt>"
    return "a good answer"


def made(folder: Path, url: str) -> Path:
    data = folder / "rows.jsonl"
    row = '{{"instruction": "Name {0} things.", "input": "", "output": "Here are {0}."}}'
    data.write_text("\n".join(row.format(i) for i in range(REWRITES)), encoding="utf-8")
    how: dict[str, object] = {"backend": "openai", "url": url, "model": MODEL, "concurrency": IN_FLIGHT}
    home = folder / "P"
    project.create(home, [data], {"data": {"heldout_share": 0.0}, "teacher": how})
    db = writer(home)
    write.open_round(db, 0, "{}", NAMES, closing=False, stopped=None)
    commands.set_plan(home, 1)
    write.upsert(db, [Rewrite(0, sample.id, "quality", "owed") for sample in read.dataset(db, 0)])
    db.close()
    return home


def test_no_finished_call_is_made_again(tmp_path: Path) -> None:
    with Server(pause_s=0.01, answer=teaches) as server:
        home = made(tmp_path, server.url)
        assert run_child(home, 0, "rewrite", die_at=KILL_AT) == -9
        db = reader(home)
        saved = teacher.asked(db, 0)["calls"]
        assert 0 < saved < 2 * REWRITES
        first = sum(server.seen.values())
        assert run_child(home, 0, "rewrite") == 0
        again = [text for text, times in server.seen.items() if times > 1]
        assert {row.state for row in read.rows(db, Rewrite, 0)} == {"proposed"}, "none is lost"
        assert teacher.asked(db, 0)["calls"] == 2 * REWRITES, "none is counted twice"
        assert sum(server.seen.values()) - first == 2 * REWRITES - saved, "what was saved is not asked for again"
        assert len(again) == first - saved <= 2 * IN_FLIGHT, "only what was in flight"
        db.close()
