"""Families of samples as they are read: complete, in order, with who decided, and in five queries."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from msgspec import Struct
from msgspec.structs import astuple

from engine.store import write
from engine.store.connect import reader, transaction
from engine.store.rows import Message, Sample, content_id
from middo_tui.cli.commands import main
from middo_tui.feed import lineage
from middo_tui.feed.lineage import compared, family, most_changed, search
from middo_tui.terminal import guard
from tests.support import families, stores
from tests.support.families import BETTER, FIRST, INSPIRED, SIMPLER
from tests.support.hostile import CORPUS
from tests.support.stores import Store


@pytest.fixture
def project(tmp_path: Path) -> Path:
    families.family(tmp_path / "p")
    return tmp_path / "p"


@pytest.mark.parametrize("asked", [FIRST, BETTER, SIMPLER, INSPIRED])
def test_the_whole_family_is_found_from_any_member(project: Path, asked: Sample) -> None:
    found = family(project, asked.id)
    assert found is not None
    assert found.chosen == asked.id
    assert [(v.id, v.depth, v.axis) for v in found.versions] == [
        (FIRST.id, 0, ""),
        (BETTER.id, 1, "quality"),
        (SIMPLER.id, 2, "complexity"),
        (INSPIRED.id, 2, "diversity"),
    ]
    assert [(v.born, v.retired, v.replaced) for v in found.versions] == [
        (0, 1, True),
        (1, 2, True),
        (2, None, False),
        (2, None, False),
    ]


def test_who_decided_when_and_what_came_to_nothing(project: Path) -> None:
    found = family(project, FIRST.id)
    assert found is not None
    first, better, simpler, inspired = found.versions
    assert better.made_by is not None
    assert (better.made_by.by, better.made_by.at, better.made_by.edited) == ("app", stores.NOON, True)
    assert simpler.made_by is not None
    assert (simpler.made_by.by, simpler.made_by.at) == ("policy", None)
    assert [(a.axis, a.state, a.by, a.reason) for a in first.tried] == [
        ("complexity", "rejected", "command line", "changes the facts")
    ]
    assert [(a.axis, a.state, a.by, a.written) for a in better.tried] == [("quality", "failed", "", False)]
    assert inspired.tried == ()


def test_signals_are_told_round_by_round(project: Path) -> None:
    found = family(project, FIRST.id)
    assert found is not None
    assert [[one.round for one in version.signals] for version in found.versions] == [[0], [1], [2], []]
    assert found.versions[1].signals[0].loss_before == pytest.approx(0.7)


def test_a_decision_that_was_taken_back_is_not_told(project: Path) -> None:
    db = sqlite3.connect(project / "middo.db")
    db.execute("UPDATE decision SET undone=1 WHERE after='accepted'")
    db.commit()
    db.close()
    found = family(project, FIRST.id)
    assert found is not None
    assert found.versions[1].made_by is not None
    assert found.versions[1].made_by.by == "policy"


def test_a_sample_without_a_story_is_a_family_of_one(tmp_path: Path) -> None:
    Store(tmp_path / "p")
    found = family(tmp_path / "p", FIRST.id)
    assert found is not None
    assert [(v.id, v.signals, v.made_by, v.tried) for v in found.versions] == [(FIRST.id, (), None, ())]
    assert most_changed(tmp_path / "p") == ()


def test_what_is_no_sample_has_no_family(tmp_path: Path) -> None:
    store = Store(tmp_path / "p")
    held = Sample(1, families.text("Held out?"), seq=9_000)
    with transaction(store.db):
        write.add_heldout(store.db, [held], own_file=False)
    assert family(tmp_path / "p", content_id(held.messages)) is None
    assert search(tmp_path / "p", "Held out?") == ()


def test_a_family_takes_six_queries_whatever_its_size(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def traced(folder: Path) -> sqlite3.Connection:
        db = reader(folder)
        db.set_trace_callback(asked.append)
        return db

    monkeypatch.setattr(lineage, "reader", traced)
    family(project, SIMPLER.id)
    assert len([one for one in asked if one != "BEGIN"]) == 6


def test_an_endless_brood_is_cut(tmp_path: Path) -> None:
    store = Store(tmp_path / "p")
    brood = [families.child(f"Child {n}", FIRST, "diversity", 1, stores.SIZE + n) for n in range(lineage.MOST + 10)]
    families.bear(store, 0, brood, [])
    found = family(tmp_path / "p", brood[3].id)
    assert found is not None
    assert (len(found.versions), found.cut) == (lineage.MOST, True)
    assert found.at(brood[3].id) is not None


def test_the_most_changed_come_first(project: Path) -> None:
    db = sqlite3.connect(project / "middo.db")
    other = stores._sample(5)
    db.execute(
        "INSERT INTO sample (id, messages, seq, parent_id, axis, born_round) VALUES (1,?,999,?,'q',1)",
        ('[["user","x"]]', other.id),
    )
    db.commit()
    db.close()
    assert [(s.id, s.longest, s.versions) for s in most_changed(project)] == [(FIRST.id, 2, 4), (other.id, 1, 2)]


@pytest.mark.parametrize("typed", ["#3", "3", str(FIRST.id)])
def test_a_sample_is_found_by_place_and_by_id(project: Path, typed: str) -> None:
    assert [start.id for start in search(project, typed)] == [FIRST.id]


def test_a_sample_is_found_by_its_words(project: Path) -> None:
    assert [start.id for start in search(project, "very useful")] == [SIMPLER.id]


@pytest.mark.parametrize("typed", ['"', "*", "AND", "text:x", "a\x00b", "(", "-", "99999999999999999999", "'; DROP"])
def test_odd_searches_find_nothing_and_break_nothing(project: Path, typed: str) -> None:
    assert search(project, typed) == ()


# ------------------------------------------------------------------------------------------------ the texts


def test_a_version_is_held_against_its_parent(project: Path) -> None:
    user, assistant = compared(project, BETTER.id)
    assert (user.role, assistant.role) == ("user", "assistant")
    assert "".join(p.text for p in user.parts if p.kind != "new") == FIRST.prompt
    assert "".join(p.text for p in user.parts if p.kind != "old") == BETTER.prompt
    assert {part.kind for part in assistant.parts} == {"same"}


def test_the_first_one_and_an_attempt(project: Path) -> None:
    assert {part.kind for section in compared(project, FIRST.id) for part in section.parts} == {"same"}
    found = family(project, FIRST.id)
    assert found is not None
    assert [len(compared(project, v.id, a)) for v in found.versions for a in v.tried] == [2, 0]


def test_conversations_of_other_lengths_and_endless_turns() -> None:
    long = "word " * lineage.TURN_LIMIT
    old = (Message("system", "Be brief."), Message("user", long))
    (system, user) = lineage.sections(old, (Message("system", "Be brief."),))
    assert (system.cut, user.cut) == (False, True)
    assert {part.kind for part in user.parts} == {"old"}


@pytest.mark.parametrize("name", [name for name in CORPUS if name != "lone surrogate"])
def test_hostile_text_is_clean_in_everything_that_is_read(tmp_path: Path, name: str) -> None:
    store = Store(tmp_path / "p").round(0, 9)
    evil = CORPUS[name]
    made = Sample(7, families.text(evil, evil), seq=900, parent_id=FIRST.id, axis="quality", born_round=1)
    families.save(store, 0, "verify", families.rewrite(FIRST, 0, "complexity", "rejected", made, reason=evil))
    families.bear(store, 0, [made], [FIRST])
    found = (family(tmp_path / "p", 7), compared(tmp_path / "p", 7), search(tmp_path / "p", "900"))
    texts = list(strings(found))
    assert any("a" in text for text in texts)
    assert [text for text in texts if guard.clean(text).hidden] == []


def strings(value: object) -> Iterator[str]:
    """Every text in a nest of frozen values."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, tuple):
        for one in value:
            yield from strings(one)
    elif isinstance(value, Struct):
        yield from strings(astuple(value))


# ------------------------------------------------------------------------------------------ without a screen


def test_the_command_tells_the_story(project: Path) -> None:
    done = CliRunner().invoke(main, ["lineage", str(project), str(SIMPLER.id)])
    assert done.exit_code == 0
    for part in ("inspired by #120", "complexity rewrite of #120", "imported", "by command line",
                 "changes the facts", "<- this sample", "edited by hand"):  # fmt: skip
        assert part in done.output


def test_the_command_speaks_json(project: Path) -> None:
    done = CliRunner().invoke(main, ["lineage", str(project), "#3", "--json"])
    found = json.loads(done.output)
    assert (found["sample"], found["complete"], len(found["versions"])) == (FIRST.id, True, 4)
    assert found["versions"][0]["tried"][0]["reason"] == "changes the facts"


@pytest.mark.parametrize(("sample", "part"), [("99", "imported"), ("#99999", "no sample"), ("x", "not a sample")])
def test_the_command_says_what_is_wrong(project: Path, sample: str, part: str) -> None:
    done = CliRunner().invoke(main, ["lineage", str(project), sample])
    assert part in done.output
