"""The command line on bad and good input: one clear message, the right exit code, nothing half written."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from shlex import quote

import pytest
from click.testing import CliRunner, Result

from engine.config import schema
from middo_tui.cli import main
from tests.support import stores

ROW = {"instruction": "Name a colour.", "input": "", "output": "Blue."}


def cli(*args: str | Path) -> Result:
    return CliRunner().invoke(main, [str(a) for a in args], catch_exceptions=False)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([{**ROW, "output": f"Colour {i}."} for i in range(60)]))
    return path


def refused(result: Result, code: int, *says: str) -> None:
    assert result.exit_code == code, result.output
    for text in says:
        assert text in result.output
    assert result.output.count("\n") == 1, "one message, no traceback"


BAD_FILES: dict[str, tuple[bytes, str]] = {
    "not JSON": (b"{not json", "JSON"),
    "wrong columns": (b'[{"foo": 1, "bar": 2}]', "foo"),
    "empty": (b"", "empty"),
    "no rows": (b"[]", "no row"),
    "mixed encodings": (json.dumps([ROW]).encode()[:-1] + ', {"instruction": "caf\xe9"}]'.encode("latin-1"), "UTF-8"),
    "only empty rows": (b'[{"instruction": "", "input": "", "output": ""}]', "row"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_file_that_cannot_be_used_leaves_nothing_behind(kind: str, tmp_path: Path) -> None:
    content, says = BAD_FILES[kind]
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    refused(cli("init", tmp_path / "P", "--data", path), 1, "bad.json", says)
    assert not (tmp_path / "P").exists()


HOSTILE = "a\x1b]0;owned\x07\x9b31m\u202eb"


def test_no_command_lets_a_name_act_on_the_terminal(data: Path, tmp_path: Path) -> None:
    named = data.rename(tmp_path / f"{HOSTILE}.json")
    project = tmp_path / HOSTILE
    said = [cli("init", project, "--data", tmp_path / f"{HOSTILE}.none").output]
    said += [cli("init", project, "--data", named).output, cli("import", project, named).output]
    said += [cli(*args).output for args in (("status", project), ("status", project, "--json"), ("doctor", project))]
    (project / "config.toml").write_text('[train]\n"\\u009b31m" = 1\n')
    said += [cli("run", project).output, cli("export", project, tmp_path / f"{HOSTILE}.json").output]
    said += [cli(tmp_path / f"{HOSTILE} not there").output]
    for text in said:
        assert "\N{SYMBOL FOR ESCAPE}" in text or "\\u001b" in text or "⟨U+009B⟩" in text
        assert not set(text) & set("\x1b\x07\x9b\u202e")
    assert json.loads(said[4])["project"] == HOSTILE


def test_a_name_that_is_no_text_is_refused(data: Path, tmp_path: Path) -> None:
    odd = os.fsdecode(b"\xff")
    named = tmp_path / f"{odd}.json"
    named.write_bytes(data.read_bytes())
    for project, file in ((tmp_path / "P", named), (tmp_path / odd, data), (tmp_path / odd / "P", data)):
        refused(cli("init", project, "--data", file), 2, "⟨U+DCFF⟩", "not UTF-8. Rename it")
        assert not project.exists()
    assert cli("init", tmp_path / "P", "--data", data).exit_code == 0
    for name in (f"{odd}2.json", f"{odd}.parquet", odd):
        refused(cli("export", tmp_path / "P", tmp_path / name), 2, "⟨U+DCFF⟩", "not UTF-8. Rename it")
    moved = (tmp_path / "P").rename(tmp_path / odd)
    (moved / "config.toml").write_text('[model]\nname = "demo:base"\n', encoding="utf-8")
    refused(cli("run", moved, "--plain"), 2, "⟨U+DCFF⟩", "not UTF-8. Rename it")


@pytest.mark.parametrize("page", [1, 2, 8])
def test_a_damaged_database_is_said_without_a_traceback(page: int, data: Path, tmp_path: Path) -> None:
    project = tmp_path / "P"
    assert cli("init", project, "--data", data).exit_code == 0
    with (project / "middo.db").open("r+b") as stream:
        stream.seek(4096 * page)
        stream.write(b"\xff" * 4096)
    for args in (("status", project), ("samples", project), ("export", project, tmp_path / "out.json")):
        done = cli(*args)
        assert done.exit_code in (0, 1)
        if done.exit_code:
            assert "middo.db: " in (last := done.output.splitlines()[-1])
            assert "restore it from a backup" in last


def test_what_cannot_be_written_is_named_as_it_was_asked_for(data: Path, tmp_path: Path) -> None:
    assert cli("init", tmp_path / "P", "--data", data).exit_code == 0
    refused(cli("export", tmp_path / "P", "/proc/out.json"), 1, "/proc/out.json: cannot write")


def test_a_project_without_its_config_is_not_told_to_begin_anew(data: Path, tmp_path: Path) -> None:
    assert cli("init", tmp_path / "P", "--data", data).exit_code == 0
    (tmp_path / "P" / "config.toml").unlink()
    refused(cli("run", tmp_path / "P"), 2, "config.toml: missing. Put it back")


def test_commands_that_are_named_can_be_copied(data: Path, tmp_path: Path) -> None:
    project = tmp_path / "My Project [1]"
    there = quote(str(project))
    assert f"Create one with `middo-tui init {there}" in cli("status", project).output
    assert cli("init", project, "--data", data).output.endswith(
        f"Next: set [model] name there, then middo-tui run {there}\n"
    )
    assert f"`middo-tui run {there}`" in cli("status", project).output
    refused(cli("export-model", project, tmp_path / "out"), 2, f"`middo-tui run {there} --until train`")
    refused(cli("review", project, "--accept", "all"), 2, f"`middo-tui run {there}`")


def test_a_locale_with_few_characters_gets_what_it_has(data: Path, tmp_path: Path) -> None:
    named = data.rename(tmp_path / "Gr\N{LATIN SMALL LETTER U WITH DIAERESIS}n.json")
    environ = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    base = [sys.executable, "-m", "middo_tui.cli"]
    made = str(tmp_path / "\N{CJK UNIFIED IDEOGRAPH-65E5}")
    for args in (["init", made, "--data", named], ["keys"]):
        done = subprocess.run([*base, *args], capture_output=True, env=environ, check=True)
        assert b"Gr\xfcn.json: alpaca" in done.stdout or b"pause" in done.stdout
    shown = [*base, "status", made]
    assert b"project  ?\n" in subprocess.run(shown, capture_output=True, env=environ, check=True).stdout
    facts = subprocess.run([*shown, "--json"], capture_output=True, env=environ, check=True).stdout
    assert json.loads(facts)["project"] == "\N{CJK UNIFIED IDEOGRAPH-65E5}"


def test_a_reader_that_goes_away_is_no_error(data: Path, tmp_path: Path) -> None:
    project = tmp_path / "P"
    assert cli("init", project, "--data", data).exit_code == 0
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "middo_tui.cli", "status", str(project)]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert done.stderr == b""


def test_odd_columns_are_named_as_the_error_says(tmp_path: Path) -> None:
    path = tmp_path / "odd.csv"
    path.write_text("the question,answer\nName a colour.,Blue.\n")
    plain = ("init", tmp_path / "P", "--data", path)
    refused(cli(*plain), 1, "--column instruction='the question' --column output=answer")
    refused(cli(*plain, "--column", "instruction"), 2, "--column instruction: expected OURS=YOURS")
    refused(cli(*plain, "--column", "answr=answer"), 2, "answr")
    named = ("--column", "instruction=the question", "--column", "output=answer")
    assert cli(*plain, *named).exit_code == 0
    more = tmp_path / "more.csv"
    more.write_text("the question,answer\nName a fruit.,A fig.\n")
    assert cli("import", tmp_path / "P", more).exit_code == 0
    assert cli("export", tmp_path / "P", tmp_path / "out.json").exit_code == 0
    assert [row["output"] for row in json.loads((tmp_path / "out.json").read_text())] == ["Blue.", "A fig."]


def test_a_missing_file(tmp_path: Path) -> None:
    refused(cli("init", tmp_path / "P", "--data", tmp_path / "none.json"), 1, "none.json", "no such file")
    assert not (tmp_path / "P").exists()


def test_bad_rows_are_quarantined_with_their_row_and_reason(tmp_path: Path) -> None:
    path = tmp_path / "mixed.jsonl"
    huge = json.dumps({**ROW, "output": "x" * 10_000_000})
    rows = [json.dumps(ROW), '{"instruction": "no answer", "output": ""}', "{broken", huge, json.dumps(ROW)]
    path.write_text("\n".join(rows))
    done = cli("init", tmp_path / "P", "--data", path)
    assert done.exit_code == 0, done.output
    assert "3 rows quarantined" in done.output
    facts = json.loads(cli("status", tmp_path / "P", "--json").output)
    overrides = {"drop": 0, "protect": 0, "rewrite": 0}
    counts = {"imported": 2, "heldout": 0, "overlap": 0, "quarantined": 3}
    assert facts["dataset"] == {**counts, "overrides": overrides, "injections": 0}


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--model", "./nowhere", "--model ./nowhere: no such folder"),
        ("--teacher", "./nowhere", "--teacher ./nowhere: no such folder"),
        ("--teacher", "http://127.0.0.1:9/v1", "--teacher http://127.0.0.1:9/v1: write a server as URL MODEL"),
        ("--preset", "gpt-9", "llama-3.1-8b"),
        ("--heldout", "none.json", "none.json"),
    ],
)
def test_options_that_cannot_be_meant(option: str, value: str, says: str, data: Path, tmp_path: Path) -> None:
    result = cli("init", tmp_path / "P", "--data", data, option, value)
    assert result.exit_code in (1, 2)
    assert says in " ".join(result.output.split())
    assert not (tmp_path / "P").exists()


def test_a_server_as_teacher(data: Path, tmp_path: Path) -> None:
    server = "https://api.example.com/v1 big MY_KEY"
    assert cli("init", tmp_path / "P", "--data", data, "--teacher", server).exit_code == 0
    teacher = schema.load(tmp_path / "P").teacher
    assert (teacher.backend, teacher.model, teacher.key_env) == ("openai", "big", "MY_KEY")
    assert teacher.url == "https://api.example.com/v1"


def test_a_folder_in_use_is_not_touched(data: Path, tmp_path: Path) -> None:
    refused(cli("init", tmp_path, "--data", data), 2, "not empty")
    assert data.exists()


def test_an_unknown_config_key_names_file_and_key(data: Path, tmp_path: Path) -> None:
    project = tmp_path / "P"
    assert cli("init", project, "--data", data).exit_code == 0
    config = project / "config.toml"
    config.write_text(config.read_text().replace("[train]", "[train]\nepoch = 2"))
    refused(cli("run", project), 2, "config.toml", "[train] epoch")


def test_a_run_without_a_model_says_so(data: Path, tmp_path: Path) -> None:
    assert cli("init", tmp_path / "P", "--data", data).exit_code == 0
    refused(cli("run", tmp_path / "P"), 2, "[model] name is empty")


def test_what_the_worker_refuses_in_config_toml_exits_as_bad_config(data: Path, tmp_path: Path) -> None:
    project = tmp_path / "P"
    assert cli("init", project, "--data", data, "--model", "demo:base").exit_code == 0
    config = project / "config.toml"
    config.write_text(config.read_text().replace("\ntasks = []", '\ntasks = ["gsm8k_kot"]'))
    for command in (("run", project, "--wait"), ("resume", project)):
        refused(cli(*command), 2, "[evaluate] tasks: lm-eval has no task 'gsm8k_kot'", "Did you mean gsm8k_cot")


def test_the_same_file_twice_is_refused(data: Path, tmp_path: Path) -> None:
    assert cli("init", tmp_path / "P", "--data", data).exit_code == 0
    refused(cli("import", tmp_path / "P", data), 1, "already in the project")


def test_import_adds_rows_and_export_gives_them_back_in_order(data: Path, tmp_path: Path) -> None:
    more, out = tmp_path / "more.json", tmp_path / "out" / "all.json"
    out.parent.mkdir()
    more.write_text(json.dumps([ROW, ROW, {"instruction": "Sort.", "input": "b a", "output": "a b"}]))
    assert cli("init", tmp_path / "P", "--data", data).exit_code == 0
    assert cli("import", tmp_path / "P", more).exit_code == 0
    assert cli("export", tmp_path / "P", out).exit_code == 0
    assert json.loads(out.read_text()) == json.loads(data.read_text()) + json.loads(more.read_text())


def test_an_export_replaces_a_file_only_when_it_is_told_to(data: Path, tmp_path: Path) -> None:
    project, out = tmp_path / "P", tmp_path / "all.json"
    assert cli("init", project, "--data", data).exit_code == 0
    out.write_text("mine")
    refused(cli("export", project, out), 2, "all.json: exists. Replace it with --force")
    assert out.read_text() == "mine"
    assert cli("export", project, out, "--force").exit_code == 0
    assert json.loads(out.read_text()) == json.loads(data.read_text())
    (tmp_path / "hub").mkdir()
    assert cli("export", project, tmp_path / "hub", "--format", "hub").exit_code == 0
    refused(cli("export", project, tmp_path / "hub", "--format", "hub"), 2, "hub: exists. Replace it with --force")
    assert cli("export", project, tmp_path / "hub", "--format", "hub", "--force").exit_code == 0


def test_no_project_here(tmp_path: Path) -> None:
    for command in ("status", "pause", "resume", "run"):
        refused(cli(command, tmp_path), 1, "no project here")


def test_pause_without_a_worker_says_so(data: Path, tmp_path: Path) -> None:
    assert cli("init", tmp_path / "P", "--data", data).exit_code == 0
    refused(cli("pause", tmp_path / "P"), 2, "nothing is running")


def test_a_word_that_is_neither_command_nor_folder() -> None:
    result = cli("my-new-project")
    assert result.exit_code == 2
    assert "neither a command nor a project folder" in result.output
    assert "mkdir" in result.output
    assert "List all commands with `middo-tui --help`." in result.output
    assert "export-model" not in result.output, "the list of all commands is long"


@pytest.mark.parametrize("room", [100_000, 200_000, 700_000])
def test_a_disk_that_fills_up_during_the_import(data: Path, tmp_path: Path, room: int) -> None:
    """The file size limit of the process stands in for the disk's end: SQLite sees the same failed write."""
    data.write_text(json.dumps([{**ROW, "output": f"{i} " + "x" * 5_000} for i in range(400)]))

    def small_disk() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))

    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);from middo_tui.cli import main; main()",
            "init",
            str(tmp_path / "P"),
            "--data",
            str(data),
        ],
        preexec_fn=small_disk,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "middo.db" in done.stderr
    assert not (tmp_path / "P").exists()


@pytest.mark.parametrize(
    ("typed", "meant"), [("statu", "status"), ("exprot", "export"), ("resum", "resume"), ("STATUS", "status")]
)
def test_a_mistyped_command_suggests_the_nearest(typed: str, meant: str) -> None:
    result = cli(typed, "P")
    assert result.exit_code == 2
    assert f"Did you mean `middo-tui {meant}`?" in result.output


def test_help_is_a_word_too() -> None:
    assert cli("help").output == cli("--help").output
    assert cli("help", "export").output.startswith("Usage: main export")
    assert "zzz: no such command. List all commands with `middo-tui --help`." in cli("help", "zzz").output
    assert "statsu: no such command. Did you mean `middo-tui status`?" in cli("help", "statsu").output


def test_a_finished_project_is_not_said_to_run(tmp_path: Path) -> None:
    stores.finished(tmp_path / "P")
    for command in (("resume",), ("run", "--rounds", "2")):
        result = cli(*command, tmp_path / "P")
        assert result.exit_code == 0
        assert "nothing to run. Done: " in result.output
        assert "running" not in result.output
        assert "--rounds 3" in result.output


def test_what_waits_for_a_person_is_not_said_to_run(tmp_path: Path) -> None:
    stores.waiting(tmp_path / "P")
    assert "15 undecided rewrites" in cli("resume", tmp_path / "P").output
    assert "Undo: middo-tui undo" in cli("review", tmp_path / "P", "--accept", "improved").output
    assert "undid the last decision on 15 rewrites of round 0" in cli("undo", tmp_path / "P").output
    refused(cli("undo", tmp_path / "P"), 2, "nothing to undo")
