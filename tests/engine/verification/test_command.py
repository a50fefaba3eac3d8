"""The user's program: real processes, by their exit codes, reasons, faults and surroundings."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import psutil
import pytest

from engine.config import schema
from engine.errors import ConfigError, StageError
from engine.store.rows import Rewrite, Sample
from engine.verification.candidates import Candidate
from engine.verification.command import UserCommand, end
from engine.verification.text_checks import Rejection
from engine.verification.validators import refused
from tests.support import tiny


def candidate(place: int, prompt: str = "name a colour", response: str = "red") -> Candidate:
    old = Sample(id=place, messages=tiny.chat("old prompt", "old response"), seq=place)
    new = Sample(id=place, messages=tiny.chat(prompt, response), seq=place)
    return Candidate(Rewrite(0, place, "quality", "proposed"), old, new)


def look(
    folder: Path, script: str, asked: list[Candidate], jobs: int = 1, timeout: float = 30.0
) -> list[Rejection | None]:
    """What a program of these lines says; it lies in the project's folder."""
    (folder / "check.py").write_text(script, encoding="utf-8")
    how = schema.Verify(command=(sys.executable, "-S", "check.py"), command_timeout_s=timeout, command_jobs=jobs)
    config = msgspec.structs.replace(schema.Config(), verify=how)
    program = UserCommand(config, folder, folder / "passed")
    out = []
    for one, found in program.results(asked):
        if found is None:
            program.remember(one)
        out.append(found)
    return out


READS = "import json, os, sys\ngiven = json.load(sys.stdin)\n"


def test_it_sees_both_texts_and_says_why(tmp_path: Path) -> None:
    script = READS + (
        "assert given['original'] == {'prompt': 'old prompt', 'response': 'old response', 'messages':"
        " [{'role': 'user', 'content': 'old prompt'}, {'role': 'assistant', 'content': 'old response'}]}\n"
        "if given['rewrite']['response'] == 'red': sys.exit(0)\n"
        "print('', file=sys.stderr)\n"
        "print(given['axis'], given['sample'], given['round'], 'is no \\u00e4nswer\\nmore', file=sys.stderr)\n"
        "sys.exit(1)\n"
    )
    found = look(tmp_path, script, [candidate(3), candidate(4, response="\ud83d{}$(touch x)")], jobs=2)
    assert found == [None, Rejection("command", "quality 4 0 is no änswer")]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["check.py", "passed"]


def test_a_rejection_without_a_word_is_one(tmp_path: Path) -> None:
    assert look(tmp_path, "raise SystemExit(1)", [candidate(1)]) == [Rejection("command", "it gave no reason")]


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("import sys\nprint('a\\nlost', file=sys.stderr)\nsys.exit(2)", "ended with exit code 2, its last words: lost"),
        ("raise RuntimeError('no model')", "exit code 1, its last words: RuntimeError: no model"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", "ended with signal 9, its last words: nothing"),
    ],
)
def test_a_fault_of_the_program_is_no_verdict(tmp_path: Path, script: str, says: str) -> None:
    with pytest.raises(StageError, match=r"\(rewrite of #7, quality\)") as caught:
        look(tmp_path, script, [candidate(7)])
    assert says in str(caught.value)


def test_a_program_that_is_not_there_stops_the_stage(tmp_path: Path) -> None:
    config = msgspec.structs.replace(schema.Config(), verify=schema.Verify(command=("no-such-program",)))
    with pytest.raises(StageError, match="'no-such-program' cannot be started"):
        list(UserCommand(config, tmp_path, tmp_path / "passed").results([candidate(1)]))


def test_a_program_that_takes_too_long_stops_the_stage(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"took longer than command_timeout_s = 0\.05"):
        look(tmp_path, "import time; time.sleep(600)", [candidate(1)], timeout=0.05)


def test_a_program_is_ended_with_what_it_started() -> None:
    lines = (
        "import subprocess, sys; child = subprocess.Popen(['sleep', '600']); print(child.pid, flush=True); child.wait()"
    )
    with subprocess.Popen([sys.executable, "-S", "-c", lines], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        child = psutil.Process(int(process.stdout.readline()))
        end(process)
        assert process.returncode is not None
    _, alive = psutil.wait_procs([child], timeout=30)  # a killed process is gone when its parent has looked
    assert [one for one in alive if one.status() != psutil.STATUS_ZOMBIE] == []


def test_it_gets_no_secrets_and_nothing_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_TOKEN", "OPENAI_API_KEY", "PYTHONSAFEPATH", "PYTHONPATH"):
        monkeypatch.setenv(name, "hidden")
    monkeypatch.setenv("PLAIN", "seen")
    script = (
        "import os, sys\nassert os.environ['PLAIN'] == 'seen'\n"
        "print(sorted(name for name, value in os.environ.items() if value == 'hidden'), file=sys.stderr)\nsys.exit(1)"
    )
    assert look(tmp_path, script, [candidate(1)]) == [Rejection("command", "[]")]


def test_no_key_that_config_names_reaches_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever they are called."""
    text = (
        "[teacher]\nkey_env = 'MY_TEACHER'\n[judge]\nkey_env = 'MY_JUDGE'\n"
        "[notify]\nwebhook_env = 'MY_HOOK'\ntoken_env = 'MY_SIGN'\n[launch]\ntoken_env = 'MY_TOKEN'\n"
    )
    config = schema.parse(text, "config.toml")
    for name in config.secret_names:
        monkeypatch.setenv(name, "hidden")
    program = UserCommand(config, tmp_path, tmp_path / "passed")
    assert {"MY_TEACHER", "MY_JUDGE", "MY_HOOK", "MY_SIGN", "MY_TOKEN"} == config.secret_names
    assert "hidden" not in program._environment.values()


def test_what_it_let_through_is_not_asked_again_unless_text_or_program_changed(tmp_path: Path) -> None:
    script = "open('asked', 'a').write('x')\n"
    asked = [candidate(1), candidate(2)]
    look(tmp_path, script, asked)
    assert look(tmp_path, script, [*asked, candidate(1, "another")]) == [None] * 3
    assert (tmp_path / "asked").read_text() == "xxx"
    look(tmp_path, script + "# better", asked)
    assert (tmp_path / "asked").read_text() == "xxxxx"


def test_a_fault_keeps_what_came_before_it(tmp_path: Path) -> None:
    script = READS + "open('asked', 'a').write(str(given['sample']))\nsys.exit(3 if given['sample'] == 3 else 0)"
    asked = [candidate(place) for place in (1, 2, 3, 4)]
    with pytest.raises(StageError, match="rewrite of #3"):
        look(tmp_path, script, asked)
    assert len((tmp_path / "passed").read_text().split()) == 2


def test_its_rejections_are_told_from_others() -> None:
    one = candidate(1)
    for reason, theirs in (("command: it lies", True), ("refusal: no", False), (None, False)):
        row = msgspec.structs.replace(one.row, state="rejected", reason=reason)
        assert refused(Candidate(row, one.sample, one.new)) is theirs


def test_a_command_is_a_list_that_names_a_program() -> None:
    for text in ('command = "check.py"', 'command = [""]'):
        with pytest.raises(ConfigError, match=r"\[verify\]:? command"):
            schema.parse(f"[verify]\n{text}", "config.toml")
