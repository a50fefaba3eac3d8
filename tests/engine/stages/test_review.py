"""The review's policies, and that a person's decisions stand."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import Waiting
from engine.stages import review
from engine.store import commands
from engine.store.rows import Rewrite, Verdict, dump_messages
from tests.support import rounds, tiny


def made(folder: Path, policy: str) -> tiny.Project:
    """Six rewrites: improved, not improved, unmeasured, failed, and two that a person decided."""
    out = rounds.project(folder, 6, f'review.policy = "{policy}"')
    data = rounds.dataset(out)
    states = ["proposed", "proposed", "proposed", "failed", "proposed", "proposed"]
    text = dump_messages(tiny.chat("new", "better"))
    ctx = out.ctx("rewrite")
    ctx.save(
        [
            Rewrite(0, data[i].id, "quality", state, messages=None if state == "failed" else text)
            for i, state in enumerate(states)
        ]
    )
    improved = {0: True, 1: False, 4: False, 5: True}
    ctx.save(
        [
            Verdict(0, data[i].id, "quality", 1.0, 1.0, 0.5, 5.0, None, better, f"verdict {i}")
            for i, better in improved.items()
        ]
    )
    commands.decide(out.folder, 0, [(data[4].id, "quality")], "accepted")
    commands.decide(out.folder, 0, [(data[5].id, "quality")], "rejected", "not to my taste")
    return out


def fates(project: tiny.Project) -> list[tuple[str, str | None]]:
    by_id = {r.sample_id: (r.state, r.reason) for r in project.ctx("x").rows(Rewrite)}
    return [by_id[s.id] for s in rounds.dataset(project)]


BY_HAND = [("accepted", None), ("rejected", "not to my taste")]


def test_auto_accepts_all_that_passed_the_checks(tmp_path: Path) -> None:
    project = made(tmp_path, "auto")
    review.run(project.ctx("review"))
    assert fates(project) == [("accepted", None)] * 3 + [("failed", None), *BY_HAND]
    assert project.events()[-1] == "review (auto): 4 accepted, 1 rejected, 1 failed"


def test_improved_accepts_what_is_better_and_says_why_not(tmp_path: Path) -> None:
    project = made(tmp_path, "improved")
    review.run(project.ctx("review"))
    assert fates(project) == [
        ("accepted", None),
        ("rejected", "verdict 1"),
        ("rejected", "it was not measured"),
        ("failed", None),
        *BY_HAND,
    ]


def test_manual_waits_until_all_are_decided(tmp_path: Path) -> None:
    project = made(tmp_path, "manual")
    before = fates(project)
    with pytest.raises(Waiting):
        review.run(project.ctx("review"))
    assert fates(project) == before
    assert project.events()[-1] == "3 rewrites are waiting for review"
    job = project.db.execute("SELECT done, total FROM job WHERE stage='review'").fetchone()
    assert (job["done"], job["total"]) == (2, 5)
    commands.decide_open(project.folder, 0, "improved", "test")
    review.run(project.ctx("review"))
    assert project.events()[-1] == "review (manual): 2 accepted, 3 rejected, 1 failed"


def test_nothing_to_decide_does_not_wait(tmp_path: Path) -> None:
    project = rounds.project(tmp_path, 3)
    review.run(project.ctx("review"))
    assert project.events() == ["review (manual): 0 accepted, 0 rejected, 0 failed"]
