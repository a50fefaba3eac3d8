"""No stage holds the texts of a dataset: what it remembers at its most is a fraction of them."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import pytest

from engine.stages import merge, select, verify
from engine.store.dataset import PAGE
from engine.store.rows import Rewrite, dump_messages
from engine.verification.candidates import candidates
from tests.support import rounds, tiny

COUNT, LENGTH = 3 * PAGE, 24_000


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tiny.Project:
    """36 MB of answers, of which a page of the store is a third; signals, and two rewrites."""
    made = rounds.project(tmp_path_factory.mktemp("memory"), COUNT, answer="reply {} " + "word " * (LENGTH // 5))
    rounds.signal(made, [(1.0 + i % 7, 0.5, 0.3, 6.0) for i in range(COUNT)])
    data = made.ctx("x").dataset()
    text = dump_messages(tiny.chat("something else", "a new answer to it"))
    states = ("proposed", "accepted")
    made.ctx("rewrite").save(
        [Rewrite(0, data[i].id, "quality", state, messages=text) for i, state in enumerate(states)]
    )
    return made


def checked(made: tiny.Project) -> None:
    ctx = made.ctx("verify")
    verify.inspect(ctx, ctx.dataset(), candidates(ctx.rows(Rewrite), ctx.dataset()))


@pytest.mark.parametrize(
    "work",
    [lambda made: merge.run(made.ctx("merge")), lambda made: select.run(made.ctx("select")), checked],
    ids=["merge", "select", "verify"],
)
def test_the_texts_are_not_in_memory_at_once(made: tiny.Project, work: Callable[[tiny.Project], None]) -> None:
    whole = COUNT * LENGTH
    tracemalloc.start()
    try:
        work(made)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 0.8 * whole, f"{most / whole:.2f} of the texts"
