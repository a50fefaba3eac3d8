"""Selection by evidence at its edges: the share that may be repaired, calls without answers, samples sent back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from engine.backends import Generation
from engine.errors import Paused, StageError
from engine.runtime.context import StoreCtx
from engine.selection.survey import AGREES, CAPPED
from engine.stages import rewrite, select, verify
from engine.store.rows import Flaw, Losses, Rewrite, Selection, dump_messages
from engine.teacher.job import Phase, RewriteJob
from engine.verification.candidates import candidates
from tests.support import rounds, tiny
from tests.support.rewriting import Chat, run
from tests.support.rounds import Scripted, said

COUNT = 120
EVIDENCE = 'select.threshold = "evidence"\nteacher.batch_size = 8\nselect.new_samples = 0.0\n'


def project(folder: Path, extra: str = "") -> tiny.Project:
    """Samples that look the more flawed the lower their place."""
    made = rounds.project(folder, COUNT, EVIDENCE + extra)
    rounds.signal(made, rounds.usual(COUNT))
    data = rounds.dataset(made)
    made.ctx("score").save([Flaw(0, s.id, 1 - (i + 0.5) / COUNT, "ifd") for i, s in enumerate(data)])
    return made


def differs_below(limit: int, silent: int = 0) -> Scripted:
    """A teacher that disagrees with the samples below a place, and has no answer to the first ``silent`` of them."""

    def answer(chat: Chat, seed: int) -> Generation:
        place = int(chat[-1].content.split()[1])
        if place < silent:
            return said("")
        return said("Something else" if place < limit else f"reply {place} here")

    return Scripted(answer)


@pytest.mark.parametrize(("share", "most"), [(0.1, 12), (0.3, 36), (0.01, 1)])
def test_no_more_is_repaired_than_max_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float, most: int
) -> None:
    made = project(tmp_path, f"select.max_share = {share}\n")
    select.run(made.ctx("select"))
    run(made, monkeypatch, differs_below(60))
    assert len(made.ctx("x").rows(Selection)) == most
    rows = made.ctx("x").rows(Rewrite)
    assert sum(r.state == "proposed" for r in rows) == most
    assert f"as much is flawed as select.max_share = {share:g} allows" in " ".join(made.events())
    assert {r.reason for r in rows if r.state == "kept" and r.control} >= ({CAPPED} if share == 0.3 else set())


def test_a_call_without_a_usable_answer_is_a_cost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = project(tmp_path, "teacher.attempts = 3\n")
    select.run(made.ctx("select"))
    run(made, monkeypatch, differs_below(60, silent=12))  # of the first batch 10 of 46 calls find a flaw
    assert max(row.batch for row in made.ctx("x").rows(Rewrite)) == 0
    assert len(made.ctx("x").rows(Selection)) >= 10


class _Stops(StoreCtx):
    """Pauses once a second batch is asked for."""

    def save(self, rows: object, done: int | None = None) -> None:
        super().save(rows, done)  # type: ignore[arg-type]
        if any(isinstance(row, Rewrite) and row.batch == 1 and row.state == "prompted" for row in rows):  # type: ignore[attr-defined]
            raise Paused


def test_what_a_person_sends_back_meanwhile_is_not_asked_about_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = project(tmp_path)
    select.run(made.ctx("select"))
    stops = _Stops(made.db, made.folder, made.config, 0, "rewrite")
    with pytest.raises(Paused):
        run(made, monkeypatch, differs_below(40), stops)
    worst = next(r for r in made.ctx("x").rows(Rewrite) if r.state == "proposed" and not r.control)
    mine = "the answer that was asked for"
    made.ctx("x").save([replace(worst, state="proposed", draw=3, response=mine)])
    run(made, monkeypatch, differs_below(40))
    after = {r.key: r for r in made.ctx("x").rows(Rewrite)}[worst.key]
    assert (after.draw, after.response) == (3, mine)


def test_another_rule_knows_what_the_evidence_settled(tmp_path: Path) -> None:
    made = project(tmp_path)
    data = rounds.dataset(made)
    rows = [
        Rewrite(0, data[0].id, "complexity", "kept", answer_attempts=1, probe=True, reason=AGREES),
        Rewrite(0, data[1].id, "complexity", "rejected", answer_attempts=1, probe=True, reason="not improved"),
        Rewrite(0, data[2].id, "complexity", "kept", answer_attempts=1, probe=True, reason=CAPPED),
        Rewrite(0, data[3].id, "complexity", "failed", probe=True),
    ]
    made.ctx("rewrite").save(rows)
    tried = select.remembered(made.ctx("select", 1), made.ctx("x").dataset())
    assert tried["complexity"][:5].tolist() == [True, True, False, False, False]


def test_the_count_of_what_is_settled_follows_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = project(tmp_path)
    select.run(made.ctx("select"))
    job = RewriteJob.begin(made.ctx("rewrite"))
    assert job.settled() == len(job.rows)
    one, two, *_ = job.all()
    job.update([replace(one, state="proposed"), replace(two, state="owed")])
    job.update([replace(one, state="failed")])
    assert job.settled() == len(job.rows)
    job.add(made.ctx("rewrite"), [Rewrite(0, rounds.dataset(made)[119].id, "diversity", "owed")])
    assert job.settled() == len(job.rows) - 1


def test_a_plan_is_made_once_for_each_try(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not once for each piece: that took minutes at 200,000."""
    monkeypatch.setattr(rewrite, "PLANNED", 1)
    made = project(tmp_path)
    select.run(made.ctx("select"))
    planned = rewrite.pool
    asked: list[int] = []

    def noted(rows: Sequence[Rewrite], phase: Phase, attempt: int) -> list[Rewrite]:
        asked.append(len(rows))
        return planned(rows, phase, attempt)

    monkeypatch.setattr(rewrite, "pool", noted)
    run(made, monkeypatch, differs_below(0))
    assert len(made.ctx("x").rows(Rewrite)) == 38
    assert len(asked) <= 15


def test_the_new_prompt_of_an_edited_answer_is_held_against_others(tmp_path: Path) -> None:
    made = project(tmp_path)
    data = rounds.dataset(made)
    rows = []
    for sample, prompt in ((data[0], "ask 5 please"), (data[1], data[1].prompt)):
        text = dump_messages(tiny.chat(prompt, "a new answer to it"))
        rows.append(Rewrite(0, sample.id, "complexity", "proposed", prompt=prompt, messages=text, probe=True))
    found = verify.inspect(made.ctx("verify"), made.ctx("x").dataset(), candidates(rows, made.ctx("x").dataset()))
    assert list(found) == [rows[0].key]
    assert found[rows[0].key].code == "duplicate"


def test_samples_that_could_not_be_scored_are_not_an_older_versions(tmp_path: Path) -> None:
    made = rounds.project(tmp_path, 4, EVIDENCE)
    ids = [s.id for s in rounds.dataset(made)]
    made.ctx("score").save([Losses(0, id, None, None, 3, 0, "the answer has no token") for id in ids])
    with pytest.raises(StageError, match=r"none of 4 samples could be scored, e.g.: the answer has no token"):
        select.run(made.ctx("select"))
