"""A teacher on this machine is seen at work: what it writes, how fast, how long yet, and when none of it is of use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from engine.backends import Call, Generation, ReplyProgress, hf
from engine.errors import Paused
from engine.runtime.context import StoreCtx
from engine.stages import rewrite
from engine.store import read
from engine.store import teacher as teacher_store
from engine.store.teacher import UnderWay
from engine.teacher.progress import Meter
from tests.support import rounds, tiny
from tests.support.rewriting import Chat, asks_for_prompt, owe, rows, run, seven, well
from tests.support.rounds import Scripted, said


def real(folder: Path, model: Path) -> tiny.Project:
    """Four pending rewrites of a random model, which gets none into the form."""
    config = tiny.make_config(model, "teacher.max_new_tokens = 40\nteacher.attempts = 2\nteacher.batch_size = 2")
    made = tiny.Project(folder, config, tiny.chats(6))
    (folder / "prompts").mkdir()
    for name in ("simplify", "improve", "diversify"):
        (folder / "prompts" / f"{name}.txt").write_text("Sort: {prompt}", encoding="utf-8")
    rounds.open_round(made, 0)
    owe(made, complexity=[0, 2], quality=[1, 3])
    return made


class Stops(StoreCtx):
    """Is paused at the n-th look."""

    left = 0

    def wanted(self) -> str:
        self.left -= 1
        return "pause" if self.left < 0 else "run"


@pytest.mark.parametrize("after", [1, 3, 9, 30, 60])
def test_a_pause_within_a_piece_ends_in_the_same_rows(tmp_path: Path, tiny_model: Path, after: int) -> None:
    results = []
    for name in ("undisturbed", "paused"):
        made = real(tmp_path / name, tiny_model)
        if name == "paused":
            ctx = Stops(made.db, made.folder, made.config, 0, "rewrite")
            ctx.left = after
            with pytest.raises(Paused):
                rewrite.run(ctx)
            hf.release()
        rewrite.run(made.ctx("rewrite"))
        results.append(rows(made))
        assert not list(made.folder.glob("artifacts/**/*.safetensors*")), "nothing is left of what was kept"
    assert results[0] == results[1]


class Slow(Scripted):
    """Writes a token of every reply at a time, a second each; ``look`` is called in between."""

    def __init__(self, answer: object, clock: list[float], look: Callable[[], None] = lambda: None) -> None:
        super().__init__(answer)
        self.clock, self.look = clock, look

    def write(
        self, calls: Sequence[Call], *, rows: int, watch: Callable[[ReplyProgress], None], keep: Path
    ) -> list[Generation]:
        """Five seconds of five tokens a reply."""
        found = super().write(calls, rows=rows, watch=watch, keep=keep)
        for second in range(1, 6):
            self.clock[0] += 1.0
            whole = second == 5
            tokens = second * len(calls)
            replies = found if whole else []
            done, total = len(replies), len(calls)
            watch(
                ReplyProgress(
                    done,
                    total,
                    tokens,
                    tokens * whole,
                    0,
                    len(calls),
                    0.0,
                    1.0,
                    lambda: "the \x1b text",
                    partial(list, replies),
                )
            )
            self.look()
        return found


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that only a test moves."""
    now = [100.0]
    monkeypatch.setattr(rewrite, "Meter", lambda ctx, job: Meter(ctx, job, lambda: now[0]))
    return now


def test_what_is_written_is_said_every_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: list[float]
) -> None:
    made = seven(tmp_path)
    made.db.execute("UPDATE job SET state='running' WHERE stage='rewrite'")
    seen: list[dict[str, Any]] = []

    def look() -> None:
        found = teacher_store.underway(read_only(made), 0)
        assert found is not None
        seen.append(found)

    run(made, monkeypatch, Slow(well, clock, look))
    assert len(seen) == 8 * 5, "four pieces of prompts, four of answers"
    first, later = seen[0], seen[6]
    assert (first["step"], first["done"], first["total"], first["tokens"]) == ("prompt", 0, 2, 2)
    assert first["text"] == "the \x1b text"
    assert (later["tokens"], later["seconds"], later["per_s"]) == (14, 6.0, 2.0)
    assert seen[20]["step"] == "answer"
    # 14 replies of 5 tokens, two a second: what is left shrinks to nothing.
    assert seen[-1]["left_s"] == 0.0
    assert seen[7]["left_s"] > seen[20]["left_s"] > seen[30]["left_s"]
    made.db.execute("UPDATE job SET state='paused' WHERE stage='rewrite'")
    assert teacher_store.underway(made.db, 0) is None


def read_only(made: tiny.Project) -> Any:
    from engine.store.connect import reader

    return reader(made.folder)


def test_loading_the_teacher_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = seven(tmp_path)

    def opened(ctx: Any) -> Scripted:
        assert [row.step for row in ctx.rows(UnderWay)] == ["load"]
        return Scripted(well)

    monkeypatch.setattr(rewrite, "open_teacher", opened)
    rewrite.run(made.ctx("rewrite"))


NONE = "none of the teacher's first"


def test_a_teacher_that_gets_nothing_into_the_form_is_named_early(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: list[float]
) -> None:
    made = rounds.project(tmp_path, 12, "teacher.batch_size = 10")
    owe(made, complexity=list(range(10)))
    run(made, monkeypatch, Slow(lambda chat, seed: said("As an AI"), clock))
    told = [line for line in made.events() if NONE in line]
    assert len(told) == 1
    assert "first 8 replies" in told[0] or "first 10 replies" in told[0]
    assert "expected exactly one <prompt>" in told[0]


def test_one_good_reply_of_the_first_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = rounds.project(tmp_path, 12, "teacher.batch_size = 3")
    owe(made, complexity=list(range(10)))

    def mostly(chat: Chat, seed: int) -> Generation:
        return well(chat, seed) if "ask 4 " in chat[-1].content or not asks_for_prompt(chat) else said("no")

    run(made, monkeypatch, Scripted(mostly))
    assert not [line for line in made.events() if NONE in line]
    assert read.rewrites(made.db, 0)["complexity"]["failed"] == 9
