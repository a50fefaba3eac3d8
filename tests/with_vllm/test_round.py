"""A whole demo round: vLLM judges, vLLM's OpenAI server rewrites; against the same round by transformers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.doctor.report import findings
from engine.store.rows import RATING_COLUMNS, Ratings, Rewrite, Selection, Verdict
from tests.support.processes import cli, status
from tests.with_vllm.conftest import Server, make
from tests.with_vllm.test_stages import answer, context


@pytest.fixture(scope="module")
def by_vllm(tmp_path_factory: pytest.TempPathFactory, by_hf: Path, server: Server) -> Path:
    teacher = {"teacher.backend": "openai", "teacher.url": server.url, "teacher.model": "teacher"}
    project = make(tmp_path_factory.mktemp("vllm") / "P", {"judge.backend": "vllm"} | teacher)
    done = cli("run", project, "--rounds", "1", "--auto", "--wait")
    assert done.returncode == 0, done.stdout + done.stderr
    return project


def test_every_stage_ends_well(by_vllm: Path) -> None:
    facts = status(by_vllm)
    assert all(stage["state"] == "done" for round in facts["rounds"] for stage in round["stages"])
    assert facts["rounds"][0]["teacher"]["calls"] > 0
    assert facts["rounds"][0]["rewrites"]["failed"] == 0
    logs = {path.name for path in (by_vllm / "logs").glob("round-0-*.log")}
    assert {"round-0-score.log", "round-0-judge.log", "round-0-evaluate.log"} <= logs, "judge has a child of its own"
    assert not list((by_vllm / "artifacts" / "round-0" / "ratings").glob("*.jsonl")), "what verify kept aside is gone"


def test_ratings_agree(by_hf: Path, by_vllm: Path) -> None:
    theirs = {r.sample_id: r for r in context(by_hf, "x").rows(Ratings)}
    ours = context(by_vllm, "x").rows(Ratings)
    assert len(ours) == len(theirs) > 0
    for row in ours:
        expected = [getattr(theirs[row.sample_id], c) for c in RATING_COLUMNS]
        assert [getattr(row, c) for c in RATING_COLUMNS] == pytest.approx(expected, abs=0.05)


def test_selection_and_rewrites_are_the_same(by_hf: Path, by_vllm: Path) -> None:
    chosen = [{(s.sample_id, s.axis) for s in context(p, "x").rows(Selection)} for p in (by_hf, by_vllm)]
    assert chosen[0] == chosen[1]
    assert len(chosen[0]) > 0
    texts = [{(r.sample_id, r.axis): answer(r) for r in context(p, "x").rows(Rewrite)} for p in (by_hf, by_vllm)]
    assert texts[0] == texts[1]


def test_verdicts_agree(by_hf: Path, by_vllm: Path) -> None:
    theirs = {(v.sample_id, v.axis): v for v in context(by_hf, "x").rows(Verdict)}
    ours = context(by_vllm, "x").rows(Verdict)
    assert len(ours) == len(theirs) > 0
    for row in ours:
        other = theirs[row.sample_id, row.axis]
        assert json.loads(row.new_ratings or "") == pytest.approx(json.loads(other.new_ratings or ""), abs=0.05)
        assert row.new_loss_after == pytest.approx(other.new_loss_after, abs=1e-4)


def test_the_doctor_finds_all_that_the_roles_need(by_vllm: Path) -> None:
    found = {finding.name: finding for finding in findings(by_vllm)}
    assert "judge" in found["vllm for"].text
    assert not found["vllm for"].bad
    assert found["teacher"].text.startswith("teacher at http://127.0.0.1")
