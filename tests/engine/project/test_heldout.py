"""What is held out is not trained on: prompts are told by what they ask, and every way of data into a project is
checked.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.errors import DataError
from engine.project import folder as project
from engine.project import heldout
from engine.project.asked_prompts import Asked
from engine.store import prompt_keys, read, write
from engine.store.connect import reader, transaction, writer
from engine.store.rows import Message, Sample, content_id, dump_messages
from engine.store.schema import migrate, migrations
from middo_tui.cli import plain
from middo_tui.text.status import gather
from tests.support import tiny

WORDS = ["red", "blue", "green", "small", "large", "apple", "pear", "bread"]


def row(number: int, answer: str = "") -> dict[str, str]:
    return {"instruction": f"Name the {WORDS[number % 8]} thing {number}.", "output": answer or f"Thing {number}."}


def rows(count: int) -> list[dict[str, str]]:
    return [row(i) for i in range(count)]


def put(path: Path, content: list[dict[str, str]]) -> Path:
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def sides(folder: Path) -> tuple[list[Sample], list[Sample], int]:
    """What is trained on, what is held out, and how many held-out samples have a prompt that is trained on."""
    db = reader(folder)
    trained, held = read.dataset(db, 0), read.heldout(db)
    db.close()
    known = {key for sample in trained for key in prompt_keys.keys(sample.messages)}
    return trained, held, sum(prompt_keys.key(sample.messages) in known for sample in held)


@pytest.mark.parametrize(
    "other",
    [
        "what is  THE\tcode of item 7",
        "“What is the code of item 7?”",
        "What is the code of item 7?\n",
        "What is\u200b the code of item ７？",
        "  (What is the code of item 7 ?!) ",
    ],
)
def test_the_same_question_is_known_however_it_is_written(other: str) -> None:
    assert prompt_keys.key(tiny.chat(other, "a")) == prompt_keys.key(tiny.chat("What is the code of item 7?", "b"))


@pytest.mark.parametrize(
    "other", ["What is the code of item 17?", "What is the code of item -7?", "Code of item 7", "?"]
)
def test_other_questions_are_others(other: str) -> None:
    assert prompt_keys.key(tiny.chat(other, "a")) != prompt_keys.key(tiny.chat("What is the code of item 7?", "a"))
    assert prompt_keys.key(tiny.chat("Explain C#", "a")) != prompt_keys.key(tiny.chat("Explain C", "a"))
    assert prompt_keys.key(tiny.chat("?", "a")) != prompt_keys.key(tiny.chat("!", "a"))


def test_a_question_is_known_behind_a_system_turn_and_within_a_conversation() -> None:
    alone = prompt_keys.key(tiny.chat("Where is Rome?", "In Italy."))
    assert alone in prompt_keys.keys((Message("system", "Be brief."), *tiny.chat("where is Rome", "There.")))
    assert alone in prompt_keys.keys(tiny.chat("Hi", "Hello", "Where is Rome?", "In Italy.", "Thanks", "Welcome"))


def test_the_last_words_of_a_conversation_are_no_question_without_it() -> None:
    one, two = tiny.chat("Sing.", "La", "Go on", "La la"), tiny.chat("Count.", "1", "Go on", "2")
    assert prompt_keys.key(one) not in prompt_keys.keys(two)
    assert prompt_keys.key(one) in prompt_keys.keys((*one, *tiny.chat("Again", "La la la")))


def test_all_copies_are_held_out_or_none(tmp_path: Path) -> None:
    """1,000 rows written twice: not one of the 40 held-out rows is trained on."""
    data = put(tmp_path / "twice.json", rows(1000) + rows(1000))
    (added,) = project.create(tmp_path / "P", [data], {})
    trained, held, both = sides(tmp_path / "P")
    assert (len(trained), len(held), both) == (1960, 40, 0)
    assert (added.rows, added.heldout, added.duplicates, added.copies) == (1960, 40, 1000, 0)
    assert project.export(tmp_path / "P", tmp_path / "out.json", None, "alpaca") == 2000
    written = json.loads((tmp_path / "out.json").read_text())
    assert [w["output"] for w in written] == [r["output"] for r in rows(1000) + rows(1000)]


def test_copies_with_other_answers_and_typography_stay_together(tmp_path: Path) -> None:
    shouted = [{**r, "instruction": r["instruction"].upper().rstrip("."), "output": "No idea."} for r in rows(200)]
    project.create(tmp_path / "P", [put(tmp_path / "a.json", rows(200) + shouted)], {})
    assert [len(side) for side in sides(tmp_path / "P")[:2]] == [392, 8]
    assert sides(tmp_path / "P")[2] == 0


def test_without_copies_the_same_rows_are_held_out_as_ever() -> None:
    chats = list(tiny.chats(100))
    held = []
    for order in (chats, chats[::-1]):
        asked, ids = Asked(), [content_id(chat) for chat in order]
        for chat in order:
            asked.append(prompt_keys.last_first(chat))
        held.append({ids[at] for at in heldout.split(asked, ids, heldout.Known(), 5, seed=3).held})
    assert len(held[0]) == 5
    assert held[0] == held[1], "the order in the file does not matter"


def test_a_later_import_is_checked_in_both_directions(tmp_path: Path) -> None:
    first, second = rows(300), [row(i, "Another answer.") for i in range(600)]
    project.create(tmp_path / "P", [put(tmp_path / "a.json", first)], {})
    held_before = {prompt_keys.key(s.messages) for s in sides(tmp_path / "P")[1]}
    (added,) = project.add(tmp_path / "P", [put(tmp_path / "b.json", second)])
    trained, held, both = sides(tmp_path / "P")
    assert both == 0, "neither a copy of a held-out row is trained on nor one of a trained row held out"
    assert (added.copies, len(trained) + len(held)) == (6, 900)
    assert added.heldout > added.copies, "rows that are new may be held out"
    assert held_before <= {prompt_keys.key(s.messages) for s in held}
    db = reader(tmp_path / "P")
    assert [e.text for e in read.events(db)] == [f"{tmp_path / 'b.json'}: {added.overlaps()[0]}"]
    db.close()
    assert "6 rows are held out because" in added.overlaps()[0]


def test_two_files_at_once_are_checked_against_each_other(tmp_path: Path) -> None:
    data = [put(tmp_path / "a.json", rows(300)), put(tmp_path / "b.json", [row(i, "Other.") for i in range(300)])]
    project.create(tmp_path / "P", data, {})
    assert sides(tmp_path / "P")[2] == 0


def test_copies_in_another_file_are_counted(tmp_path: Path) -> None:
    """A dataset that is imported twice under two names would be learned twice without a word."""
    data = [put(tmp_path / "a.json", rows(100)), put(tmp_path / "b.json", rows(60))]
    assert [added.duplicates for added in project.create(tmp_path / "P", data, {})] == [0, 60]
    (later,) = project.add(tmp_path / "P", [put(tmp_path / "c.json", [*rows(110), *rows(1)])])
    assert later.duplicates == 101


def test_rows_whose_prompts_a_file_of_its_own_holds_out_are_set_aside(tmp_path: Path) -> None:
    own = put(tmp_path / "held.json", [row(i, "Right.") for i in range(10)])
    settings: dict[str, dict[str, object]] = {"data": {"heldout": str(own)}}
    (added,) = project.create(tmp_path / "P", [put(tmp_path / "a.json", rows(100))], settings)
    trained, held, both = sides(tmp_path / "P")
    assert (len(trained), len(held), both) == (90, 10, 0)
    assert (added.barred, added.rejected) == (10, 10)
    (later,) = project.add(tmp_path / "P", [put(tmp_path / "b.json", [row(i, "Again.") for i in range(5, 20)])])
    assert (later.barred, later.rows, sides(tmp_path / "P")[2]) == (5, 10, 0)
    db = reader(tmp_path / "P")
    found = db.execute("SELECT file, row, reason, raw FROM quarantine ORDER BY id LIMIT 1").fetchone()
    db.close()
    assert tuple(found[:2]) == ("a.json", 1)
    assert "held out (item 1 of" in found["reason"]
    assert "thing 0" in found["raw"]


def test_data_that_is_all_held_out_is_refused(tmp_path: Path) -> None:
    own = put(tmp_path / "held.json", rows(10))
    data = put(tmp_path / "a.json", [row(i, "x") for i in range(10)])
    with pytest.raises(DataError, match=r"the prompts of all 10 are held out\. .* give --allow-overlap"):
        project.create(tmp_path / "P", [data], {"data": {"heldout": str(own)}})
    assert not (tmp_path / "P").exists()


def test_an_overlap_that_is_asked_for_is_trained_on_and_told_everywhere(tmp_path: Path) -> None:
    """To measure memorisation: the data are whole, and whoever reads a score learns what it measures."""
    own = put(tmp_path / "held.json", [*rows(10), row(3, "Another.")])
    several = {"messages": [{"role": r, "content": c} for i in range(3) for r, c in turn_pair(i)]}
    (tmp_path / "m.json").write_text(json.dumps([several]))
    data = [put(tmp_path / "a.json", [row(i, "x") for i in range(5, 10)]), tmp_path / "m.json"]
    folder, allowed = tmp_path / "P", {"data": {"heldout": str(own), "allow_overlap": True}}
    added = project.create(folder, data, allowed)
    assert [(one.rows, one.both, one.barred, one.rejected) for one in added] == [(5, 5, 0, 0), (1, 1, 0, 0)]
    assert "5 rows are trained on although their prompts are held out" in added[0].overlaps()[0]
    (later,) = project.add(folder, [put(tmp_path / "b.json", [row(3, "x"), row(99)])])
    assert (later.rows, later.both) == (2, 1)
    status = gather(folder)
    assert status["dataset"].items() >= {"imported": 8, "heldout": 11, "overlap": 10, "quarantined": 0}.items()
    assert "10 with prompts that are also in the training data: scores partly measure memorisation" in plain.describe(
        status
    )
    project.export(folder, tmp_path / "hub", None, "hub")
    card = (tmp_path / "hub" / "README.md").read_text()
    assert "also in the training data: 10 of 11. Scores on those measure memorisation" in card


def turn_pair(number: int) -> list[tuple[str, str]]:
    return [("user", row(number)["instruction"]), ("assistant", "x")]


def test_what_is_drawn_from_the_data_stays_whole_where_an_overlap_is_allowed(tmp_path: Path) -> None:
    """Copies within a file go together still; only a later import may ask what is held out."""
    put(tmp_path / "a.json", [row(i % 100, f"{i}") for i in range(200)])
    (first,) = project.create(tmp_path / "P", [tmp_path / "a.json"], {})
    assert (first.both, sides(tmp_path / "P")[2]) == (0, 0)
    later = put(tmp_path / "b.json", [row(i, "later") for i in range(100)])
    (added,) = project.add(tmp_path / "P", [later], {"allow_overlap": True})
    assert (added.rows, added.both) == (100, first.heldout // 2)
    assert gather(tmp_path / "P")["dataset"]["overlap"] == first.heldout


def test_rows_of_one_prompt_cannot_be_held_out_and_that_is_said(tmp_path: Path) -> None:
    same = [{"instruction": "Name a colour.", "output": f"Colour {i}."} for i in range(100)]
    (added,) = project.create(tmp_path / "P", [put(tmp_path / "a.json", same)], {})
    assert added.heldout == 0
    assert added.overlaps()[0].startswith("no row is held out: too few distinct prompts")


def test_status_says_how_many_are_on_both_sides(tmp_path: Path) -> None:
    project.create(tmp_path / "P", [put(tmp_path / "a.json", rows(100))], {})
    status = gather(tmp_path / "P")
    assert status["dataset"].items() >= {"imported": 100, "heldout": 2, "overlap": 0, "quarantined": 0}.items()
    assert "heldout  2 samples, 0 with prompts that are also in the training data" in plain.describe(status)
    project.export(tmp_path / "P", tmp_path / "hub", None, "hub")
    assert (
        "Held-out prompts that are also in the training data: 0 of 2." in (tmp_path / "hub" / "README.md").read_text()
    )


def test_a_project_of_an_older_version_is_told_of_its_overlap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What older versions let in is counted when the store is brought up to date."""
    with monkeypatch.context() as older:
        names = [m.name for m in migrations._migrations]
        older.setattr(migrations, "_migrations", migrations._migrations[: names.index("m010_both_sides")])
        migrate(tmp_path, create=True)
    first, second, three = tiny.chats(3)
    trained = tiny.samples([first, second, (Message("system", "Be brief."), *three)])
    db = writer(tmp_path)
    with transaction(db):
        for one in trained:
            sql = "INSERT INTO sample (id, messages, seq, born_round) VALUES (?,?,?,0)"
            db.execute(sql, (one.id, dump_messages(one.messages), one.seq))
        write.add_heldout(db, tiny.samples([tiny.chat("unseen", "a"), three]), own_file=False)
    db.close()
    status = gather(tmp_path)
    assert status["dataset"]["overlap"] == 1
    assert "1 with prompts that are also in the training data: scores partly measure memorisation" in plain.describe(
        status
    )
    db = reader(tmp_path)
    assert [tuple(r) for r in db.execute("SELECT sample_id, item FROM overlap")] == [(trained[2].id, 2)]
    db.close()
