"""Rounds that owe rewrites, and the stage that makes them with a teacher given by hand."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

import pytest

from engine.backends import Generation
from engine.runtime.context import StoreCtx
from engine.stages import rewrite
from engine.store.rows import AXES, Message, Rewrite, content_id
from tests.support import rounds, tiny
from tests.support.rounds import Scripted, said

Chat = Sequence[Message]
SMALL = "teacher.batch_size = 2\n"
UNATTENDED = SMALL + "review.policy = 'auto'\n"
OWED = {"complexity": [1, 3, 5], "diversity": [2, 3], "quality": [0, 4]}


def seven(folder: Path, extra: str = SMALL) -> tiny.Project:
    """Twelve samples, seven pending rewrites."""
    made = rounds.project(folder, 12, extra)
    rounds.signal(made, rounds.usual(12))
    owe(made, **OWED)
    return made


def owe(made: tiny.Project, **axes: list[int]) -> None:
    data = rounds.dataset(made)
    made.ctx("select").save([Rewrite(0, data[i].id, axis, "owed") for axis, places in axes.items() for i in places])


def asks_for_prompt(chat: Chat) -> bool:
    """Whether the request is for a new prompt: ours all name the tags, answers' requests do not."""
    return "<prompt>" in chat[-1].content


def newly(text: str) -> str:
    """A new prompt of twelve bytes, another one for every request: a copy would be refused before its answer."""
    return f"new {blake2b(text.encode(), digest_size=4).hexdigest()}"


def well(chat: Chat, seed: int) -> Generation:
    """A teacher that always does what it is asked; every reply depends on chat and seed."""
    if not asks_for_prompt(chat):
        return said(f"answer to {chat[-1].content} {seed}")
    return said(f"<prompt>new {content_id(chat)} {seed}</prompt>")


def run(
    made: tiny.Project, monkeypatch: pytest.MonkeyPatch, teacher: Scripted, ctx: StoreCtx | None = None
) -> Scripted:
    """The stage with ``teacher``, in pieces of teacher.batch_size calls."""
    monkeypatch.setattr(rewrite, "open_teacher", lambda _: teacher)
    monkeypatch.setattr(rewrite, "PLANNED", 1)
    rewrite.run(ctx or made.ctx("rewrite"))
    return teacher


def rows(made: tiny.Project) -> list[Rewrite]:
    """By axis and place."""
    place = {s.id: s.seq for s in rounds.dataset(made)}
    return sorted(made.ctx("x").rows(Rewrite), key=lambda r: (AXES.index(r.axis), place[r.sample_id]))
