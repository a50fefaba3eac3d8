"""The stages that vLLM works for, on a fully fine-tuned checkpoint: killed in the middle, resumed, compared with hf."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path

import pytest
from msgspec.structs import replace

from engine.chat.render import load_tokenizer
from engine.config.edit import edit
from engine.config.schema import load
from engine.loop import NAMES
from engine.runtime.context import StoreCtx
from engine.signals import ratings, round_models
from engine.store import commands, write
from engine.store.connect import transaction, writer
from engine.store.rows import RATING_COLUMNS, Ratings, Rewrite
from tests.support.processes import run_child
from tests.with_vllm.conftest import copy


def context(project: Path, stage: str) -> StoreCtx:
    return StoreCtx(writer(project), project, load(project), 0, stage)


def begin_again(project: Path, stage: str) -> None:
    """As if the round had come to just before ``stage``."""
    db = writer(project)
    later = NAMES[NAMES.index(stage) :]
    with transaction(db):
        db.executemany("UPDATE job SET state='pending', done=0 WHERE round=0 AND stage=?", [(name,) for name in later])
        if stage == "judge":
            columns = ", ".join(f"{name}=NULL" for name in (*RATING_COLUMNS, "quality", "digit_mass", "judge_error"))
            db.execute(f"UPDATE signal SET {columns}")
    if stage == "rewrite":
        write.reset(db, 0, later)
    db.close()


def said(project: Path, stage: str) -> list[int]:
    """Prompt tokens that each run of ``stage`` computed, by its line in the log."""
    db = writer(project)
    lines = [row[0] for row in db.execute("SELECT text FROM event WHERE stage=? AND text LIKE 'vLLM:%'", (stage,))]
    db.close()
    return [int(re.sub(r"\D", "", line.split(" prompt")[0])) for line in lines]


# In the child: a pause is asked for before step {at} of vLLM's engine, and every step says how many requests it ended.
# What is taken is looked at after every step, as it is where a step takes long.
PAUSING = """
from pathlib import Path
from engine.backends import vllm
from engine.signals import rating_stream
from engine.store import commands
vllm.PATIENCE_S = rating_stream.GIVE_S = 0.0
steps, step = 0, vllm.Engine._step
def pausing(self):
    global steps
    steps += 1
    if steps == {at}:
        commands.set_want(Path(sys.argv[2]), "pause")
    ended = step(self)
    with open({steps!r}, "a") as file:
        file.write(f"{{len(ended)}}\\n")
    return ended
vllm.Engine._step = pausing
"""


def paused(project: Path, stage: str, at: int) -> tuple[list[int], int]:
    """Run ``stage`` in a child that is asked to pause in step ``at`` of its engine.

    Returns how many requests each of its steps ended, and how many it gave up by its own word.
    """
    steps = project / f"steps-{stage}"
    steps.unlink(missing_ok=True)
    assert run_child(project, 0, stage, also=PAUSING.format(at=at, steps=str(steps))) == 0
    db = writer(project)
    ((state,),) = db.execute("SELECT state FROM job WHERE stage=?", (stage,)).fetchall()
    *_, (said,) = db.execute("SELECT text FROM event WHERE stage=? AND text LIKE 'pausing:%'", (stage,)).fetchall()
    db.close()
    assert state == "paused"
    commands.set_want(project, "run")
    return [int(line) for line in steps.read_text().split()], int(re.sub(r"\D", "", said.split(" requests")[0]))


def test_judging_goes_on_after_kill_and_pause_and_rates_as_hf_does(by_hf: Path, tmp_path: Path) -> None:
    project = copy(by_hf, tmp_path / "P", {"judge.backend": "vllm"})
    begin_again(project, "judge")
    assert run_child(project, 0, "judge", die_at=2) == -signal.SIGKILL
    ctx = context(project, "judge")
    killed = ctx.rows(Ratings)
    assert 0 < len(killed) < len(ctx.dataset())
    ended, given_up = paused(project, "judge", at=1)
    before = ctx.rows(Ratings)
    assert len(ended) == 1, "no step more is made once a pause is asked for"
    assert [row for row in before if row.sample_id in {r.sample_id for r in killed}] == killed
    assert given_up == 6 * (len(ctx.dataset()) - len(killed)) - sum(ended) > 0
    assert run_child(project, 0, "judge") == 0
    after = {row.sample_id: row for row in ctx.rows(Ratings)}
    theirs = {row.sample_id: row for row in context(by_hf, "judge").rows(Ratings)}
    assert after.keys() == theirs.keys()
    assert [after[row.sample_id] for row in before] == before
    for id, row in after.items():
        assert row.judge_error is None
        assert [getattr(row, c) for c in RATING_COLUMNS] == pytest.approx(
            [getattr(theirs[id], c) for c in RATING_COLUMNS], abs=0.05
        )
        assert row.digit_mass == pytest.approx(theirs[id].digit_mass, abs=0.01)
    left = set(after) - {row.sample_id for row in before}
    assert said(project, "judge") == [tokens(ctx, left)], "what was rated before the kill is not asked for again"
    ((state, done, total),) = ctx._db.execute("SELECT state, done, total FROM job WHERE stage='judge'").fetchall()
    assert (state, done, total) == ("done", len(after), len(after))


def tokens(ctx: StoreCtx, ids: set[int]) -> int:
    """Of all rating requests of these samples."""
    tokenizer = load_tokenizer(round_models.after_model(ctx).base)
    templates = ratings.judge_templates(ctx.project)

    class Judge:
        """What renders requests."""

        positions = 2047

        def __init__(self) -> None:
            self.tokenizer = tokenizer

    chats = [sample.messages for sample in ctx.dataset() if sample.id in ids]
    asked = [p for chat in chats for p in ratings.judge_prompts(templates, Judge(), chat)]  # type: ignore[arg-type]
    return sum(len(p) for p in asked)


def test_rewriting_goes_on_after_kill_and_pause_and_writes_as_hf_does(by_hf: Path, tmp_path: Path) -> None:
    project = copy(by_hf, tmp_path / "P", {"teacher.backend": "vllm", "vllm.in_flight": 8})
    begin_again(project, "rewrite")
    assert run_child(project, 0, "rewrite", die_at=4) == -signal.SIGKILL
    ctx = context(project, "rewrite")
    first = {(r.sample_id, r.axis): r for r in ctx.rows(Rewrite)}
    assert 0 < sum(r.answer_attempts > 0 for r in first.values()) < len(first)

    edit(project, {"vllm.in_flight": 768})
    ended, given_up = paused(project, "rewrite", at=20)
    second = {(r.sample_id, r.axis): r for r in ctx.rows(Rewrite)}
    calls = [sum(r.attempts + r.answer_attempts for r in rows.values()) for rows in (first, second)]
    assert (len(ended), sum(ended)) == (20, calls[1] - calls[0]), "every reply that came is saved, none is waited for"
    assert calls[1] > calls[0]
    assert 0 < given_up <= sum(r.state in ("owed", "prompted") for r in second.values())
    settled = {key: r.response for key, r in second.items() if r.response is not None}
    assert run_child(project, 0, "rewrite") == 0
    ours = {(r.sample_id, r.axis): r for r in ctx.rows(Rewrite)}
    assert {key: ours[key].response for key in settled} == settled
    theirs = {(r.sample_id, r.axis): r for r in context(by_hf, "rewrite").rows(Rewrite)}
    assert {key: answer(r) for key, r in ours.items()} == {key: answer(r) for key, r in theirs.items()}
    assert sum(r.tokens_in for r in ours.values()) == sum(r.tokens_in for r in theirs.values()), "no call was repeated"


def answer(row: Rewrite) -> tuple[object, ...]:
    """What a rewrite says, whatever was decided about it since."""
    made = row.messages is not None and row.state != "failed"
    row = replace(row, state="made" if made else "failed")
    messages = json.loads(row.messages) if row.messages else None
    return row.state, row.prompt, row.response, messages, row.attempts, row.answer_attempts
