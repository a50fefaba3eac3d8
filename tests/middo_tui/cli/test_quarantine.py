"""``middo-tui quarantine`` and the options of ``import``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from engine.store import read
from engine.store.connect import reader
from middo_tui.cli.commands import main
from tests.support.data_files import GOOD, put

ESCAPE = "\x1b]0;owned\x07"


def run(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture
def project(tmp_path: Path) -> Path:
    good = [GOOD | {"input": str(n)} for n in range(5)]
    first = put(tmp_path, [*good, {"instruction": ESCAPE + "\nb" * 400, "output": ""}, GOOD | {"label": 3}], "a.json")
    made = run("init", tmp_path / "P", "--data", first)
    assert made.exit_code == 0, made.output
    assert "1 row quarantined: empty response (1)" in made.output
    assert "extra columns, kept and exported unchanged: label" in made.output
    second = put(tmp_path, [GOOD, {"instruction": "x", "output": ""}, {"instruction": 4, "output": "y"}], "b.json")
    assert run("import", tmp_path / "P", second).exit_code == 0
    return tmp_path / "P"


def test_every_row_is_listed_with_its_place_and_reason(project: Path) -> None:
    said = run("quarantine", project)
    assert said.exit_code == 0
    lines = said.output.splitlines()
    assert lines[0] == "a.json, row 6: empty response"
    assert lines[-1] == "3 quarantined rows"
    assert "b.json, row 3: instruction is a number, expected text" in lines
    assert "\x1b" not in said.output
    assert all(len(line) <= 700 for line in lines)


def test_words_choose_and_counts_add_up(project: Path) -> None:
    assert run("quarantine", project, "--reason", "EMPTY").output.endswith("\n2 quarantined rows match\n")
    assert run("quarantine", project, "--file", "b.json", "--reason", "empty").output.startswith("b.json, row 2: ")
    counted = run("quarantine", project, "--counts").output.splitlines()
    assert counted[0].split() == ["2", "empty", "response", "(first:", "a.json,", "row", "6)"]
    assert run("quarantine", project, "--limit", "1").output.splitlines()[-1] == "3 quarantined rows"
    assert run("quarantine", project, "--reason", "nothing like it").output == "0 quarantined rows match\n"
    assert run("quarantine", project / "nowhere").exit_code == 1


def test_json_reads_back(project: Path) -> None:
    rows = [json.loads(line) for line in run("quarantine", project, "--json").output.splitlines()]
    assert [(row["file"], row["row"], row["reason"]) for row in rows] == [
        ("a.json", 6, "empty response"),
        ("b.json", 2, "empty response"),
        ("b.json", 3, "instruction is a number, expected text"),
    ]
    assert ESCAPE in json.loads(rows[0]["raw"])["instruction"]
    (most, _) = [json.loads(line) for line in run("quarantine", project, "--counts", "--json").output.splitlines()]
    assert most == {"reason": "empty response", "rows": 2, "file": "a.json", "row": 6}


def test_an_import_has_columns_format_and_encoding_of_its_own(project: Path, tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    path.write_bytes("Frage,Antwort\nGrüße?,Schöne Grüße\n".encode("cp1252"))
    options = ("--encoding", "cp1252", "--column", "instruction=Frage", "--column", "output=Antwort")
    said = run("import", project, path, *options, "--format", "alpaca")
    assert said.exit_code == 0, said.output
    db = reader(project)
    try:
        assert read.dataset(db, 0)[-1].response == "Schöne Grüße"
    finally:
        db.close()
    assert "Frage" not in (project / "config.toml").read_text()
    wrong = run("import", project, path, "--encoding", "cp1252", "--column", "frage")
    assert wrong.exit_code == 2


def test_rows_of_the_held_out_file_are_set_aside_too(tmp_path: Path) -> None:
    data = put(tmp_path, [GOOD | {"input": str(n)} for n in range(5)], "a.json")
    own = put(tmp_path, [GOOD, {"instruction": "x", "output": ""}], "own.json")
    said = run("init", tmp_path / "P", "--data", data, "--heldout", own)
    assert said.exit_code == 0, said.output
    assert f"held out: 1 row of {own}\n  1 row of it quarantined: empty response (1)\n" in said.output
    assert run("quarantine", tmp_path / "P").output.startswith("own.json, row 2: empty response\n")
