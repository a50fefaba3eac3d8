"""``join`` at a real door: what it says, and its exit code, when it is let in, refused, sent home or left alone."""

from __future__ import annotations

import re
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from engine.distributed import world as worlds
from engine.distributed.torchrun import RANK_FAILED
from engine.models import locate
from engine.nodes import door, messages
from engine.nodes.machine_versions import this_machine
from engine.nodes.messages import NeededModel
from engine.runtime import joining
from middo_tui.cli import main
from tests.support.doors import TOKEN, OpenDoor, open_door

HERE = this_machine((), ())
DEMO = locate.DEMO["demo:base"]
OWN = NeededModel("/models/own", locate.fingerprint(locate.ModelRef(DEMO)))


def join(held: OpenDoor, *options: str, token: str = TOKEN) -> Result:
    command = ["join", f"{held.host}:{held.port}", *options]
    return CliRunner().invoke(main, command, env={"MIDDO_JOIN_TOKEN": token})


@contextmanager
def sent_home(held: OpenDoor, why: str, failed: bool = False) -> Iterator[list[str]]:
    """Whoever joins is sent home at once. Gives what the first machine logged."""
    lines: list[str] = []

    def wait() -> None:
        lines.append(held.line())
        held.door.close(why, failed)

    thread = threading.Thread(target=wait)
    thread.start()
    yield lines
    thread.join()


def test_it_joins_and_ends_with_the_run(tmp_path: Path) -> None:
    with open_door(tmp_path, about=HERE) as held, sent_home(held, "done") as lines:
        result = join(held)
    assert result.exit_code == 0, result.output
    first = f"{HERE.host} ({held.host}:{held.port})"
    assert result.output.splitlines() == [
        f"joined as machine 2 of 2 of {tmp_path} on {first}",
        f"the run on {first} has ended: done",
    ]
    assert lines == [f"machine 2 of 2 joined: {HERE.host} (127.0.0.1)"]


def test_a_run_that_failed_is_exit_code_1(tmp_path: Path) -> None:
    with open_door(tmp_path, about=HERE) as held, sent_home(held, "failed in round 0", failed=True):
        assert join(held).exit_code == 1


def test_a_wrong_token_is_one_sentence(tmp_path: Path) -> None:
    with open_door(tmp_path, about=HERE) as held:
        result = join(held, token="another one of 16")  # noqa: S106
    where = f"{held.host}:{held.port}"
    assert result.output == (
        f"middo-tui: {where} refused the token. Give MIDDO_JOIN_TOKEN the value that it has on the first machine.\n"
    )
    assert result.exit_code == 1


@pytest.mark.parametrize(
    ("token", "says"),
    [("", "MIDDO_JOIN_TOKEN is not set"), ("short", "MIDDO_JOIN_TOKEN is too short: it needs")],
)
def test_a_token_that_is_none_is_wrong_usage(tmp_path: Path, token: str, says: str) -> None:
    with open_door(tmp_path) as held:
        result = join(held, token=token)
    assert says in result.output
    assert result.exit_code == 2


def test_another_version_is_one_sentence(tmp_path: Path) -> None:
    other = msgspec.structs.replace(HERE, host="head", libraries={**HERE.libraries, "trl": "0.1"})
    with open_door(tmp_path, about=other) as held:
        result = join(held)
    assert "does not let this machine join: trl is 0.1 on head and" in result.output
    assert result.exit_code == 1


def test_a_missing_model_is_one_sentence_here_and_there(tmp_path: Path) -> None:
    with open_door(tmp_path, about=HERE, own="/models/own", models=(OWN,)) as held:
        result = join(held)
        line = held.line()
    assert "/models/own: no such folder" in result.output
    assert "Or name its folder here: --model DIR." in result.output
    assert f"{HERE.host} (127.0.0.1), cannot take part: /models/own: no such folder" in line
    assert result.exit_code == 1


def test_the_model_may_be_at_another_place(tmp_path: Path) -> None:
    with open_door(tmp_path, about=HERE, own="/models/own", models=(OWN,)) as held, sent_home(held, "done") as lines:
        assert join(held, "--model", str(DEMO)).exit_code == 0
    assert lines == [f"machine 2 of 2 joined: {HERE.host} (127.0.0.1)"]


def test_a_folder_where_nothing_is_mounted_is_no_model(tmp_path: Path) -> None:
    empty = tmp_path / "models"
    empty.mkdir()
    own = msgspec.structs.replace(OWN, name=str(empty))
    with open_door(tmp_path, about=HERE, own=str(empty), models=(own,)) as held, sent_home(held, "done"):
        assert join(held, "--model", str(DEMO)).exit_code == 0
    with open_door(tmp_path, about=HERE, own=str(empty), models=(own,)) as held:
        assert "Or name its folder here: --model DIR." in join(held).output


def test_another_model_at_that_place_is_refused(tmp_path: Path) -> None:
    other = msgspec.structs.replace(OWN, fingerprint="0" * 16)
    with open_door(tmp_path, about=HERE, own="/models/own", models=(other,)) as held:
        result = join(held, "--model", str(DEMO))
    assert f"{DEMO}: not the same model as /models/own on the first machine." in result.output


def test_nobody_there_is_one_sentence_after_the_wait(tmp_path: Path) -> None:
    with open_door(tmp_path) as held:
        pass
    result = join(held, "--wait", "0")
    assert f"{held.host}:{held.port} cannot be reached (Connection refused). Start the run there" in result.output
    assert result.exit_code == 1


def test_a_run_that_ends_while_a_machine_gets_ready_is_no_matter_of_firewalls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = joining.missing_model
    monkeypatch.setattr(door, "GOODBYE_S", 30.0)  # it is closed when the machine has heard it
    with open_door(tmp_path, about=HERE, own="/models/own", models=(OWN,)) as held:

        def ends(*args: Any) -> str:
            held.door.close("cancel requested")
            return check(*args)

        monkeypatch.setattr(joining, "missing_model", ends)
        result = join(held)
    assert result.output.endswith(" has ended: cancel requested\n")
    assert result.exit_code == 0


def test_a_forwarded_port_without_anybody_behind_it_is_nobody() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=lambda: server.accept()[0].close()).start()
        host, port = server.getsockname()
        result = CliRunner().invoke(main, ["join", f"{host}:{port}", "--wait", "0"], env={"MIDDO_JOIN_TOKEN": TOKEN})
    assert f"{host}:{port} cannot be reached (closed at once). Start the run there" in result.output


def launched_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int = 1) -> tuple[list[str], list[str]]:
    """Join, and be told to begin a launch so many times: what this machine says, and what the first one hears."""
    monkeypatch.setenv("TEST_JOIN_TOKEN", TOKEN)
    lines: list[str] = []
    heard: list[str] = []
    with open_door(tmp_path, about=HERE) as held:

        def say(line: str) -> None:
            lines.append(line)
            if line.startswith("joined"):
                threading.Thread(target=begin).start()

        def begin() -> None:
            (machine,) = held.door.machines()
            for _ in range(times):
                world, listener = worlds.begin(1, "cpu", "/p", nodes=2, host=held.host, door_port=held.port)
                listener.close()
                machine.begin(messages.Begin(msgspec.json.encode(world.on(1, "")).decode(), "00", "score of round 0"))
                while machine.ended is None:
                    pass
                heard.append(machine.ended.said)
            held.door.close("the test is over")

        joining.Joining(joining.Where(held.host, held.port, "TEST_JOIN_TOKEN"), say).run(5.0, stay=False)
    return lines, heard


def test_a_machine_without_room_for_its_files_says_so_and_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    lines, (why,) = launched_at(tmp_path, monkeypatch)
    assert why.startswith(str(tmp_path / "gone"))
    assert why.endswith("No such file or directory")
    assert lines[1] == f"score of round 0 cannot run here: {why}"


FAILS = """#!/bin/sh
echo "[rank1]: Traceback of a library"
echo "train of round 0: rank 1 of 2 (pid 7) ran out of memory"
exit {code}
"""


@pytest.mark.parametrize(
    ("code", "why"),
    [
        (RANK_FAILED, "train of round 0: rank 1 of 2 (pid 7) ran out of memory"),
        (3, "its processes ended with exit code 3"),
    ],
)
def test_a_launch_that_fails_is_its_reason_alone_and_where_its_log_is(
    code: int, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (launcher := tmp_path / "launcher").write_text(FAILS.format(code=code))
    launcher.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(launcher))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    lines, heard = launched_at(tmp_path, monkeypatch, times=2)
    assert heard == ["train of round 0: rank 1 of 2 (pid 7) ran out of memory"] * 2
    said, _, log = lines[-2].partition(". Its log: ")
    assert said == f"score of round 0: {why}"
    assert Path(log).read_text().startswith("[rank1]: Traceback of a library\n")
    assert [file.name for file in tmp_path.glob("middo-*")] == [Path(log).name], "of the newest one"


@pytest.mark.parametrize("where", ["10.0.0.1", "10.0.0.1:", "10.0.0.1:http", ":29400", "head:70000"])
def test_an_address_has_a_host_and_a_port(where: str) -> None:
    result = CliRunner().invoke(main, ["join", where])
    assert "not HOST:PORT. It is [launch] rendezvous of the first machine" in result.output
    assert result.exit_code == 2


def test_who_stays_waits_for_the_next_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_JOIN_TOKEN", TOKEN)
    lines: list[str] = []

    def say(line: str) -> None:
        lines.append(line)
        if line.startswith("waiting for"):
            raise KeyboardInterrupt

    with open_door(tmp_path, about=HERE) as held, sent_home(held, "failed in round 0", failed=True):
        where = joining.Where(held.host, held.port, "TEST_JOIN_TOKEN")
        with pytest.raises(KeyboardInterrupt):
            joining.Joining(where, say).run(5.0, stay=True)
    assert lines[1:] == [
        f"the run on {HERE.host} ({where}) has ended: failed in round 0",
        f"waiting for {where} (Connection refused) …",
    ]


def test_it_tries_to_reach_who_joins_after_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_JOIN_TOKEN", TOKEN)
    found: list[object] = []
    with open_door(tmp_path, nodes=3, about=HERE) as held:

        def say(line: str) -> None:
            if line.startswith("joined"):
                threading.Thread(target=another).start()

        def another() -> None:
            (machine,) = held.door.machines()
            with socket.create_server(("127.0.0.1", 0)) as server:
                host, port = server.getsockname()
                found.append(machine.cannot_reach(host, port))
                found.append(server.accept()[1][0])
            found.append(machine.cannot_reach(host, port))
            held.door.close("the test is over")

        joining.Joining(joining.Where(held.host, held.port, "TEST_JOIN_TOKEN"), say).run(5.0, stay=False)
    assert found[:2] == ["", "127.0.0.1"]
    assert re.match(r"127\.0\.0\.1 cannot be reached on port \d+ \(Connection refused\)", str(found[2]))


def test_who_stays_waits_for_a_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_JOIN_TOKEN", TOKEN)
    monkeypatch.setattr(joining, "AGAIN_S", 0.01)
    lines: list[str] = []
    with open_door(tmp_path, about=HERE) as held:
        channel, _ = held.join(HERE)
        where = joining.Where(held.host, held.port, "TEST_JOIN_TOKEN")
        refused = join(held)

        def say(line: str) -> None:
            lines.append(line)
            if line.startswith("joined"):
                raise KeyboardInterrupt
            channel.close()  # the one that has the place

        with pytest.raises(KeyboardInterrupt):
            joining.Joining(where, say).run(5.0, stay=True)
    full = f"{where} does not let this machine join: all 2 machines are here."
    assert (refused.exit_code, refused.output) == (1, f"middo-tui: {full}\n")
    assert lines[0] == f"{full} Waiting until one leaves …"
    assert lines[1].startswith("joined as machine 2 of 2")


def test_another_program_at_that_port_is_one_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        where = f"127.0.0.1:{server.getsockname()[1]}"

        def answer() -> None:
            with server.accept()[0] as caller:
                caller.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")
                caller.recv(1)

        thread = threading.Thread(target=answer)
        thread.start()
        result = CliRunner().invoke(main, ["join", where], env={"MIDDO_JOIN_TOKEN": TOKEN})
        thread.join()
    assert f"{where} does not speak middo-tui's language. Check the address: it is [launch] rendezvous" in result.output
    assert result.exit_code == 1
