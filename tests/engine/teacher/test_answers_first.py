"""Selection by evidence through an endpoint and through a provider's batches: as with a teacher on this machine."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from engine.config.schema import Teacher
from engine.stages import rewrite, select
from engine.store.rows import Flaw, Rewrite, Row
from engine.teacher import batch as rewrite_batch
from tests.support import rounds, tiny
from tests.support.batch_server import BatchServer
from tests.support.chat_server import MODEL, Server
from tests.support.rewriting import newly

COUNT, FLAWED = 120, 40


def knows(text: str) -> str:
    """Right where the first samples are wrong; new prompts on request."""
    if "<prompt>" in text:
        return f"<prompt>{newly(text)}</prompt>"
    words = text.split()
    place = int(words[1]) if words[0] == "ask" else 0
    return f"Right is {place}" if place < FLAWED else f"reply {place} here"


def project(folder: Path, server: Server, batch: bool) -> tiny.Project:
    made = rounds.project(folder, COUNT, 'select.threshold = "evidence"\nselect.new_samples = 0.05')
    how = {"backend": "openai", "url": server.url, "model": MODEL, "batch": batch}
    made.config = msgspec.structs.replace(made.config, teacher=msgspec.convert(how, Teacher))
    rounds.signal(made, rounds.usual(COUNT))
    data = rounds.dataset(made)
    scores: list[Row] = [Flaw(0, s.id, 1 - (s.seq + 0.5) / COUNT, "ifd") for s in data]
    made.ctx("score").save(scores)
    select.run(made.ctx("select"))
    return made


def checked(made: tiny.Project) -> None:
    place = {s.id: s.seq for s in rounds.dataset(made)}
    found = made.ctx("x").rows(Rewrite)
    flawed = {place[r.sample_id] for r in found if r.probe and r.state == "proposed"}
    assert flawed == set(range(FLAWED))
    assert {r.state for r in found} == {"proposed", "kept"}
    assert sum(r.axis == "diversity" for r in found) == 6
    assert any("of 120 samples look flawed; stopped after" in line for line in made.events())


def test_through_an_endpoint(tmp_path: Path) -> None:
    with Server(answer=knows) as server:
        made = project(tmp_path, server, batch=False)
        rewrite.run(made.ctx("rewrite"))
        checked(made)
        calls = sum(server.seen.values())
        rewrite.run(made.ctx("rewrite"))
        assert sum(server.seen.values()) == calls, "a stage that is done asks for nothing"


def test_through_batches_there_are_few_and_large_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rewrite_batch, "FIRST_POLL_S", 0.0)
    with BatchServer(answer=knows) as server:
        made = project(tmp_path, server, batch=True)
        rewrite.run(made.ctx("rewrite"))
        checked(made)
        probes = max(r.batch for r in made.ctx("x").rows(Rewrite) if r.probe) + 1
        assert server.took["create"] == probes + 2, "then new prompts, then their answers"
