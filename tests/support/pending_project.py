"""A real project that owes rewrites to an endpoint, as ``init`` and the stages up to select leave it."""

from __future__ import annotations

from pathlib import Path

from engine.loop import NAMES
from engine.project import folder
from engine.store import commands, read, write
from engine.store.connect import writer
from engine.store.rows import Rewrite
from tests.support.chat_server import MODEL

ROW = '{{"instruction": "Name {0} things.", "input": "", "output": "Here are {0}."}}'


def with_pending_rewrites(
    home: Path, url: str, count: int, until: tuple[int, str] | None = None, **teacher: object
) -> Path:
    """Make ``home``, a project whose ``count`` samples each have a pending rewrite. ``teacher``: more of it."""
    data = home.with_suffix(".jsonl")
    data.write_text("\n".join(ROW.format(i) for i in range(count)), encoding="utf-8")
    how = {"backend": "openai", "url": url, "model": MODEL} | teacher
    folder.create(home, [data], {"data": {"heldout_share": 0.0}, "teacher": how})
    db = writer(home)
    write.open_round(db, 0, "{}", NAMES, closing=False, stopped=None)
    write.upsert(db, [Rewrite(0, sample.id, "quality", "owed") for sample in read.dataset(db, 0)])
    for name in NAMES[: NAMES.index("rewrite")]:
        write.end_job(db, 0, name, "done")
    db.close()
    commands.set_plan(home, 1, until=until)
    return home


def teaches(text: str) -> str:
    """A teacher's reply. The new prompt names the old one, so that every call of a run is a text of its own."""
    if "<prompt>" not in text:
        return "a good answer"
    _, named, rest = text.rpartition("Name ")
    return f"<prompt>Once more: {rest.split()[0] if named else text}</prompt>"
