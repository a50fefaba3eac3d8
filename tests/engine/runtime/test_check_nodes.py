"""``doctor`` on several machines: what is said of address and token here, and of a machine that really joins."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from shlex import quote

import msgspec
import pytest

from engine.config import schema as configs
from engine.doctor import machines as doctor
from engine.doctor import privacy
from engine.nodes import caller, machine_facts, messages
from engine.nodes.handshake import JoinRefused
from engine.nodes.machine_versions import this_machine
from engine.runtime.check_nodes import AGAIN, muster
from engine.store import write
from engine.store.connect import writer
from tests.support.doors import TOKEN, join_at
from tests.support.stores import Store

HERE = this_machine((), ())


def config(host: str = "127.0.0.1", port: int = 0) -> configs.Config:
    if not port:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
    text = f'[model]\nname = "demo:base"\ndevice = "cpu"\n[launch]\nnodes = 2\nrendezvous = "{host}:{port}"\n'
    return configs.parse(text, "config.toml")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MIDDO_JOIN_TOKEN", TOKEN)
    return Store(tmp_path / "p").project


def test_one_machine_has_nothing_to_say(project: Path) -> None:
    assert list(doctor.findings(configs.Config(), project)) == []


def test_a_missing_token_a_foreign_address_and_a_taken_port_are_bad(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MIDDO_JOIN_TOKEN")
    token, machines = doctor.findings(config("192.0.2.1", 29400), project)
    assert (token.bad, token.name) == (True, "token")
    assert "openssl rand -hex 16" in token.fix
    assert machines.bad
    assert "192.0.2.1:29400: cannot listen there" in machines.text


def test_a_taken_port_is_reported_before_the_project_exists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIDDO_JOIN_TOKEN", TOKEN)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        (found,) = doctor.findings(config(port=port), tmp_path / "not yet")
    assert found.bad
    assert f"127.0.0.1:{port}: cannot listen there" in found.text


def test_loopback_is_no_address_for_others(project: Path) -> None:
    (found,) = doctor.findings(config(), project)
    assert not found.bad
    assert "other machines cannot reach 127.0.0.1" in found.fix


def test_that_samples_go_to_other_machines_is_said(project: Path) -> None:
    assert "no text leaves" in privacy.leaves(configs.Config()).text
    found = privacy.leaves(config())
    assert "samples and checkpoints are sent to the machines that join, unencrypted" in found.text
    assert "set [launch] nodes = 1" in found.fix


def test_while_a_run_goes_on_it_says_what_its_worker_knows(project: Path) -> None:
    db = writer(project)
    write.register(db, 4711, 0.0, "boot")
    db.close()
    one = machine_facts.MachineFacts(2, "node2 (10.0.0.2)", ("H200",) * 2 + ("A100",), "2.27", "ready", 0.0004, 5e7)
    machine_facts.write(
        project, machine_facts.MachinesFacts(4711, 3, "10.0.0.1:29400", "waiting for 1 of 3 machines: run X", (one,))
    )
    (left,) = doctor.findings(config(), project)
    assert "waits at" in left.text, "a worker that was killed leaves a note"
    with socket.create_server(("127.0.0.1", 0)) as held:
        there = config(port=held.getsockname()[1])
        all_of, second = doctor.findings(there, project)
        (instead,) = muster(there, project, 0.0, print)
    assert (all_of.text, all_of.fix) == ("2 of 3 are there, at 10.0.0.1:29400", "run X")
    assert second.text == "node2 (10.0.0.2) · 2 × H200, 1 × A100 · NCCL 2.27 · 0.4 ms there and back · about 50 MB/s"
    assert "mostly wait for the network" in second.fix
    assert (instead.bad, instead.text) == (True, "a run of this project has 10.0.0.1:29400, 2 of 3 are there")
    assert instead.fix == f"to try them without it, first run `middo-tui pause {quote(str(project))}`"


def test_a_machine_that_joins_is_measured_and_may_come_again(project: Path) -> None:
    settings = config()
    host, port = settings.launch.address
    heard: list[object] = []

    def join(_: str) -> None:
        def work() -> None:
            channel, _ = join_at(host, port, HERE)
            heard.append(caller.MessageReader(channel).next(30))

        thread.append(threading.Thread(target=work))
        thread[0].start()

    thread: list[threading.Thread] = []
    all_of, second = muster(settings, project, 30.0, join)
    thread[0].join()
    assert (all_of.bad, all_of.text) == (False, f"2 of 2 are there, at {host}:{port}")
    assert second.name == "machine 2"
    assert second.text.startswith(f"{HERE.host} (127.0.0.1) · no GPU")
    assert "MB/s" in second.text
    assert heard == [messages.Bye(AGAIN, again=True)]


def test_machines_that_do_not_come_or_are_refused_are_bad(project: Path) -> None:
    settings = config()
    host, port = settings.launch.address
    other = msgspec.structs.replace(HERE, host="node2", libraries={**HERE.libraries, "peft": "0.1"})

    def join(line: str) -> None:
        assert line.startswith("waiting for 1 of 2 machines: run `middo-tui join")
        with pytest.raises(JoinRefused):
            join_at(host, port, other)

    refusal, all_of = muster(settings, project, 0.0, join)
    assert (refusal.bad, all_of.bad) == (True, True)
    assert "node2 (127.0.0.1) cannot join: peft is" in refusal.text
    assert all_of.text == f"1 of 2 are there, at {host}:{port}"
    assert all_of.fix == f"run `middo-tui join {host}:{port}` there"
