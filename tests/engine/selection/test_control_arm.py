"""What a control selects instead of its round: as many at random, the round's selection left out, or nothing."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from engine.project.folder import redo
from engine.selection import control_arm
from engine.stages import merge, rewrite, select
from engine.store import read
from engine.store.controls import ControlArm
from engine.store.rows import AGAIN, Flaw, Rewrite, Row, Selection
from tests.support import rounds, tiny
from tests.support.rewriting import Chat, asks_for_prompt, run
from tests.support.rounds import Scripted, said

COUNT = 120
EVIDENCE = 'select.threshold = "evidence"\nteacher.batch_size = 8\n'


def project(folder: Path, extra: str = EVIDENCE) -> tiny.Project:
    """Samples that look the more flawed the lower their place."""
    made = rounds.project(folder, COUNT, extra)
    rounds.signal(made, rounds.usual(COUNT))
    data = rounds.dataset(made)
    scores: list[Row] = [Flaw(0, s.id, 1 - (i + 0.5) / COUNT, "ifd") for i, s in enumerate(data)]
    made.ctx("score").save(scores)
    return made


def arm(made: tiny.Project, kind: str, **plan: object) -> None:
    none = {"complexity": 0, "diversity": 0, "quality": 0}
    whole = {"selected": [], "probes": 0, "group": [], "rewrites": none, "certain": True}
    made.ctx("x").save([ControlArm(0, kind, "", json.dumps({**whole, **plan}))])


def every_third(chat: Chat, seed: int) -> object:
    """A teacher that disagrees with every third sample."""
    if asks_for_prompt(chat):
        return said(f"<prompt>a new one {seed}</prompt>")
    words = chat[-1].content.split()
    if words[0] != "ask":
        return said("an answer to it")
    return said("Something else" if int(words[1]) % 3 == 0 else f"reply {words[1]} here")


def test_random_samples_are_asked_and_then_it_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = project(tmp_path)
    data = rounds.dataset(made)
    group = [(data[i].id, i % 2) for i in range(60, 76)]
    axes = {"complexity": 0, "diversity": 5, "quality": 0}
    arm(made, "random", probes=30, group=group, rewrites=axes, again=4)
    select.run(made.ctx("select"))
    run(made, monkeypatch, Scripted(every_third))
    rows = made.ctx("x").rows(Rewrite)
    assert sum(r.draw == AGAIN for r in rows) == 4
    assert Counter((r.probe, r.control) for r in rows) == {(True, False): 30, (True, True): 16, (False, False): 5}
    assert {(r.sample_id, r.batch) for r in rows if r.control} == set(group)
    place = {s.id: s.seq for s in data}
    drawn = sorted(place[r.sample_id] for r in rows if r.probe and not r.control)
    assert drawn[-1] > 76, "not only those that look flawed"
    wrong = [r for r in rows if r.probe and not r.control and place[r.sample_id] % 3 == 0]
    assert {r.state for r in wrong} == {"proposed"}
    assert {r.key for r in wrong} <= {(s.sample_id, s.axis) for s in made.ctx("x").rows(Selection)}
    assert "as many were asked about as in the round itself" in " ".join(made.events())
    rewrite.run(made.ctx("rewrite"))
    assert made.ctx("x").rows(Rewrite) == rows, "a second run asks nothing more"


def test_a_random_control_that_is_rewritten_anew_draws_the_same(tmp_path: Path) -> None:
    made = project(tmp_path)
    arm(made, "random", probes=30, rewrites={"complexity": 0, "diversity": 5, "quality": 0})
    select.run(made.ctx("select"))
    drawn = made.ctx("x").rows(Rewrite)
    assert len(drawn) == 35
    told: list[str] = []
    redo(made.folder, "rewrite", told.append)
    assert told[0].startswith("round 0: select, rewrite, ")
    assert made.ctx("x").rows(Rewrite) == []
    select.run(made.ctx("select"))
    assert made.ctx("x").rows(Rewrite) == drawn


def test_as_many_are_asked_about_a_second_time_as_in_the_round() -> None:
    rows = [Rewrite(0, id, "quality", "proposed" if id % 2 else "kept", probe=True, control=id == 1) for id in range(9)]
    plans = {2: {"again": 2}, 3: {"again": 9}, 0: {}}
    for count, plan in plans.items():
        found = control_arm.again(ControlArm(0, "random", "", json.dumps(plan)), rows)
        assert [row.sample_id for row in found] == [3, 5, 7][:count]


@pytest.mark.parametrize("rule", ["evidence", "sigma"])
def test_what_the_round_selected_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rule: str) -> None:
    made = project(tmp_path, f'select.threshold = "{rule}"\nmerge.flawed = "drop"\n')
    gone = [s.id for s in rounds.dataset(made)[3:9]]
    arm(made, "drop", selected=[(id, "complexity", 2.0, 1.0) for id in gone])
    select.run(made.ctx("select"))
    run(made, monkeypatch, Scripted(every_third))
    assert made.ctx("x").rows(Rewrite) == []
    merge.run(made.ctx("merge"))
    assert {s.id for s in rounds.dataset(made)} - {s.id for s in rounds.dataset(made, 1)} == set(gone)


def test_an_unchanged_dataset_is_measured_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = project(tmp_path)
    arm(made, "none")
    select.run(made.ctx("select"))
    run(made, monkeypatch, Scripted(every_third))
    merge.run(made.ctx("merge"))
    assert [s.id for s in rounds.dataset(made, 1)] == [s.id for s in rounds.dataset(made)]
    made.db.execute("UPDATE job SET state='done' WHERE round=0")
    facts = read.round_facts(made.db, 0)
    assert facts is not None
    assert facts.control


def test_thresholds_hand_over_to_as_many_random_samples(tmp_path: Path) -> None:
    made = project(tmp_path, "")
    axes = {"complexity": 7, "diversity": 4, "quality": 9}
    arm(made, "random", rewrites=axes)
    select.run(made.ctx("select"))
    assert Counter(r.axis for r in made.ctx("x").rows(Rewrite)) == axes
    assert Counter(s.axis for s in made.ctx("x").rows(Selection)) == axes
