"""What a rewrite would lose something of is not selected, is said, and is not previewed either."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.config import defaults
from engine.selection.preview.round_arrays import read_round
from engine.stages import select
from engine.store import connect
from engine.store.rows import AXES, Message, Neighbourhood, Rewrite, Selection, dump_messages, unwritable
from engine.store.schema import migrate, migrations
from tests.support import rounds, tiny
from tests.support.previews import previewed
from tests.support.rounds import Signals

ALL: Signals = (3.0, 2.5, 0.1, 1.0)
USER, ANSWER = Message("user", "What is the weather in Rome?"), Message("assistant", "Sunny.")
CALL = Message("assistant", "", tool_calls='[{"id":"a","type":"function","function":{"name":"w","arguments":"{}"}}]')
RESULT = Message("tool", "sunny", tool_call_id="a")
LOSING: dict[str, list[tuple[Message, ...]]] = {
    "tool calls": [
        (USER, CALL, RESULT, ANSWER),
        (USER, CALL),
        (USER, Message("assistant", "{}", kind="function_call"), Message("tool", "x", kind="observation"), ANSWER),
    ],
    "several answers in a row": [(USER, ANSWER, ANSWER)],
    "a separate reasoning field": [(USER, Message("assistant", "Sunny.", thinking="It is June."))],
    "an answer with weight 0": [(USER, ANSWER, USER, Message("assistant", "Bad.", train=False))],
    "no final user turn with an answer": [(USER, ANSWER, USER), (Message("system", "Be brief."), ANSWER)],
}
KEPT = [
    (USER, ANSWER),
    (Message("system", "Be brief."), USER, ANSWER, USER, ANSWER),
    (USER, CALL, RESULT, ANSWER, Message("user", "Thanks. And in Oslo?"), ANSWER),
    (Message("system", "[]", kind="tools"), USER, ANSWER),
]


@pytest.mark.parametrize("why", LOSING)
def test_what_would_be_lost(why: str) -> None:
    assert {unwritable(chat) for chat in LOSING[why]} == {why}


def test_turns_before_the_last_exchange_are_kept_by_a_rewrite() -> None:
    assert {unwritable(chat) for chat in KEPT} == {""}


def selected(made: tiny.Project) -> dict[str, list[int]]:
    place = {s.id: s.seq for s in rounds.dataset(made)}
    rows = made.ctx("x").rows(Selection)
    return {axis: sorted(place[row.sample_id] for row in rows if row.axis == axis) for axis in AXES}


def pending(made: tiny.Project) -> list[tuple[str, int]]:
    place = {s.id: s.seq for s in rounds.dataset(made)}
    return [(row.axis, place[row.sample_id]) for row in made.ctx("x").rows(Rewrite)]


def project(folder: Path) -> tiny.Project:
    """Forty samples; the first six lie past every threshold, three of them cannot be rewritten whole."""
    chats = [tiny.chat(f"ask {i} please", f"reply {i} here") for i in range(40)]
    chats[0] = (Message("user", "ask 0"), CALL, RESULT, ANSWER)
    chats[1] = (Message("user", "ask 1"), CALL, RESULT, Message("assistant", "Rain."))
    chats[2] = (Message("user", "ask 2"), Message("assistant", "Sunny.", thinking="It is June."))
    made = tiny.Project(folder, tiny.make_config(folder / "no-model", "[select]\nmax_share = 1.0\n"), chats)
    rounds.open_round(made, 0)
    rounds.signal(made, rounds.usual(40, **{f"s{i}": ALL for i in range(6)}))
    (folder / "config.toml").write_text(defaults.render({"select": {"max_share": 1.0}}), encoding="utf-8")
    return made


def test_it_is_not_selected_on_any_axis_and_that_is_said(tmp_path: Path) -> None:
    made = project(tmp_path)
    select.run(made.ctx("select"))
    assert selected(made) == {axis: [3, 4, 5] for axis in AXES}
    assert {place for _, place in pending(made)} == {3, 4, 5}
    said = "3 samples past a threshold are skipped because a rewrite would lose content"
    assert f"{said}: a separate reasoning field 1, tool calls 2" in made.events()


def test_its_prompt_may_still_be_a_hint(tmp_path: Path) -> None:
    made = project(tmp_path)
    select.run(made.ctx("select"))
    near = {row.sample_id: json.loads(row.neighbours) for row in made.ctx("x").rows(Neighbourhood)}
    ids = [s.id for s in rounds.dataset(made)]
    assert ids[1] in near[ids[0]]


def test_the_preview_counts_what_the_stage_selects(tmp_path: Path) -> None:
    made = project(tmp_path)
    preview = previewed(read_round(tmp_path, 0, True, made.config), made.config)
    count = preview.counts(preview.configured)
    select.run(made.ctx("select"))
    stored = selected(made)
    assert dict(count.selected) == {axis: len(stored[axis]) for axis in AXES}
    assert sum(count.rewrites.values()) == len(pending(made))
    ids = [s.id for s in rounds.dataset(made)]
    beyond, kept = preview.margin("quality", preview.configured["quality"], 40)
    assert not {near.id for near in (*beyond, *kept)} & set(ids[:3])


def test_an_older_project_learns_which_samples_those_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [m.name for m in migrations._migrations]
    with monkeypatch.context() as older:
        older.setattr(migrations, "_migrations", migrations._migrations[: names.index("m018_unwritable")])
        migrate(tmp_path, create=True)
    chats = [LOSING["tool calls"][0], KEPT[0]]
    db = connect.writer(tmp_path)
    for i, chat in enumerate(chats):
        db.execute("INSERT INTO sample (id, messages, seq, born_round) VALUES (?,?,?,0)", (i, dump_messages(chat), i))
    db.close()
    migrate(tmp_path)
    db = connect.reader(tmp_path)
    assert [tuple(row) for row in db.execute("SELECT id, unwritable FROM sample")] == [(0, "tool calls"), (1, "")]
    db.close()
