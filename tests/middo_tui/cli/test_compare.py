"""``middo-tui compare``: projects side by side, with errors of the differences."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from engine.store import write
from engine.store.connect import transaction
from engine.store.conversation import dump_messages
from engine.store.rows import EvalItem, EvalScore, Message
from middo_tui.cli.commands import main
from middo_tui.feed.compare import _differing, compare
from tests.support.stores import Store

FIRST = (True, True, False, False, True, False, True, True)
SECOND = (True, True, True, True, True, False, True, True)


def made(project: Path, marks: tuple[bool, ...], heldout: str = "question") -> Path:
    """Two rounds; the second one's model answered the held-out questions like ``marks``."""
    store = Store(project).round(0, 9).round(1, 9)
    with transaction(store.db):
        for item in range(len(marks)):
            text = dump_messages([Message("user", f"{heldout} {item}"), Message("assistant", "x")])
            store.db.execute("INSERT INTO heldout (item, messages, source) VALUES (?, ?, '')", (item, text))
    share = sum(marks) / len(marks)
    own = math.sqrt(share * (1 - share) / len(marks))
    items = [EvalItem(1, item, 1.0, 4, "", mark) for item, mark in enumerate(marks)]
    write.save(store.db, 1, "evaluate", [*items, EvalScore(1, "accuracy", share, own, len(marks))], None)
    store.db.close()
    return project


TOO_FEW = "compare needs at least two projects: middo-tui compare DIR DIR"


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(main, ["compare", *map(str, args)], catch_exceptions=False)


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    return made(tmp_path / "plain", FIRST), made(tmp_path / "other", SECOND)


def test_the_same_questions_are_compared_one_by_one(pair: tuple[Path, Path]) -> None:
    found = compare(pair)
    score = found.projects[1].scores["accuracy"]
    assert found.same_questions
    assert score.paired
    assert score.change == pytest.approx(0.25)
    assert score.combined == pytest.approx(math.sqrt(2 * 0.75**2 + 6 * 0.25**2) / 8)
    assert found.projects[0].scores["accuracy"].change is None, "the first is what the others are held against"
    said = run(*pair).output
    assert "+25.0 ±15.3 ≈" in said
    assert "question by question" in said


def test_other_questions_are_never_paired(tmp_path: Path) -> None:
    found = compare((made(tmp_path / "a", FIRST), made(tmp_path / "b", SECOND, heldout="another")))
    score = found.projects[1].scores["accuracy"]
    own = [math.sqrt(share * (1 - share) / 8) for share in (5 / 8, 7 / 8)]
    assert not found.same_questions
    assert not score.paired
    assert score.combined == pytest.approx(math.hypot(*own))
    said = run(tmp_path / "a", tmp_path / "b").output
    assert "added up, and held-out scores get no mark" in said
    assert not {"▲", "▼", "≈"} & set(said.partition("Differences")[0])
    second = json.loads(run(tmp_path / "a", tmp_path / "b", "--json").output)["projects"][1]
    assert second["scores"]["accuracy"]["beyond_chance"] is None


def test_rounds_calls_and_differing_settings_are_shown(pair: tuple[Path, Path]) -> None:
    store = Store(pair[0].parent / "P3", model="another/model").round(0, 1)
    store.db.close()
    said = run(*pair, store.project).output
    head = said.splitlines()[0].split()
    assert head == ["plain", "other", "P3"]
    assert "teacher calls" in said
    assert "newest scores" in said
    assert '"another/model"' in said[said.index("settings that differ") :]
    assert said.count("round | size") == 3


def test_a_setting_that_no_round_ran_with_yet_is_shown(pair: tuple[Path, Path]) -> None:
    said = run(*pair).output
    assert "merge.flawed" not in said
    for folder, flawed in zip(pair, ("rewrite", "drop"), strict=True):
        (folder / "config.toml").write_text(f'[model]\nname = "m"\n[merge]\nflawed = "{flawed}"\n', encoding="utf-8")
    assert ("merge.flawed", ('"rewrite"', '"drop"')) in compare(pair).settings


def test_a_setting_that_a_version_did_not_know_was_as_it_is_by_default() -> None:
    assert _differing([{"teacher.more_urls": "[]"}, {}]) == ()
    assert _differing([{"teacher.more_urls": '["a"]'}, {}]) == (("teacher.more_urls", ('["a"]', "")),)


def test_json_has_every_project_and_difference(pair: tuple[Path, Path]) -> None:
    facts = json.loads(run(*pair, "--json").output)
    first, second = facts["projects"]
    assert second["scores"]["accuracy"] == pytest.approx({
        "value": 0.875, "stderr": second["scores"]["accuracy"]["stderr"], "difference": 0.25,
        "difference_stderr": second["scores"]["accuracy"]["difference_stderr"],
        "paired": True, "beyond_chance": False, "better": True,
    })  # fmt: skip
    assert [one["round"] for one in first["rounds"]] == [0, 1]
    assert facts["same_questions"] is True


def test_two_folders_of_one_name_are_told_apart_by_their_paths(tmp_path: Path) -> None:
    folders = made(tmp_path / "a" / "P", FIRST), made(tmp_path / "b" / "P", FIRST)
    assert [one.label for one in compare(folders).projects] == [str(folder) for folder in folders]


def test_one_project_or_none_is_refused(pair: tuple[Path, Path], tmp_path: Path) -> None:
    assert (run(pair[0]).exit_code, run(pair[0]).output) == (2, f"middo-tui: {TOO_FEW}\n")
    assert run(pair[0], tmp_path / "nowhere").exit_code == 1
