"""``middo-tui samples``: the list of the Samples screen, for scripts."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from middo_tui.cli.commands import main
from tests.support import invented_project

WORST = (
    "SELECT s.id, g.quality FROM sample s JOIN signal g ON g.sample_id=s.id AND g.round=2"
    " LEFT JOIN departure d ON d.sample_id=s.id AND d.round<=2"
    " WHERE s.born_round<=2 AND d.sample_id IS NULL AND g.quality<4 ORDER BY g.quality, s.seq LIMIT 5"
)


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return invented_project.make(tmp_path_factory.mktemp("invented") / "p")


def run(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, ["samples", *arguments])
    return done.exit_code, done.output


def test_the_command_lists_what_was_asked_for(listed: Path) -> None:
    with closing(sqlite3.connect(listed / "middo.db")) as db:
        worst = db.execute(WORST).fetchall()
    code, out = run(str(listed), "--where", "quality<4", "--sort", "quality", "--limit", "5", "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert len(worst) == 5
    assert [(row["id"], row["quality"]) for row in rows] == worst


def test_the_command_says_how_many_there_are(listed: Path) -> None:
    last = run(str(listed), "--limit", "2", "--round", "0")[1].splitlines()[-1]
    assert last == "2 of 600 samples in the dataset of round 0"


def test_columns_go_by_their_headings_too_and_a_mistyped_one_is_asked_about(listed: Path) -> None:
    heading = run(str(listed), "--limit", "1")[1].splitlines()[0].split()
    assert heading == ["#", "axes", "base", "tuned", "sim", "qual", "flaw", "text"]
    for name, sort in (("base", "loss_before"), ("tuned", "loss_after"), ("sim", "similarity"), ("qual", "quality")):
        named = run(str(listed), "--sort", name, "--where", f"{name}>0", "--limit", "3")
        assert named == run(str(listed), "--sort", sort, "--where", f"{sort}>0", "--limit", "3")
        assert named[0] == 0
    assert "qualty: unknown sort key. Did you mean quality?" in run(str(listed), "--sort", "qualty")[1]


@pytest.mark.parametrize("wrong", [("--where", "foo<3"), ("--sort", "foo"), ("--round", "9")])
def test_a_wrong_question_is_exit_code_2(listed: Path, wrong: tuple[str, str]) -> None:
    code, out = run(str(listed), *wrong)
    assert code == 2
    assert out.startswith("middo-tui: ")
