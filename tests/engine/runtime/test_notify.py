"""[notify]: who is told what, without a word of the data; a failing notifier is one line in the log."""

from __future__ import annotations

import errno
import http.client
import json
import os
import socket
import ssl
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from engine.config.schema import Config, Notify, parse
from engine.errors import ConfigError, why_unreached
from engine.loop import NAMES
from engine.nodes import machine_facts
from engine.runtime import launch
from engine.runtime.notifier import HELD_S, LOOK_S, Notifier
from engine.runtime.notify import Announcement, deliver, ended
from engine.store import commands, read, write
from engine.store.connect import patient
from engine.store.rows import Job
from engine.store.schema import migrate

SAID = Announcement("waiting", "p", "p: 3 rewrites are waiting for your review in round 0.", 0, "review")


def jobs(**states: str) -> list[Job]:
    return [Job(0, name, states.get(name, "done")) for name in NAMES]


@pytest.mark.parametrize(
    ("found", "undecided", "event", "text"),
    [
        (
            jobs(review="waiting", merge="pending"),
            412,
            "waiting",
            "412 rewrites are waiting for your review in round 0.",
        ),
        (jobs(review="waiting", merge="pending"), 1, "waiting", "1 rewrite is waiting for your review"),
        (jobs(rewrite="waiting"), 0, "waiting", "rewrite of round 0 is waiting for your decision."),
        (jobs(judge="failed", select="pending"), 0, "failed", "judge of round 0 failed."),
        (jobs(), 0, "done", "done; the last round was 0."),
        (jobs(review="pending", merge="pending"), 0, "done", "stopped after verify of round 0, as asked."),
    ],
)
def test_how_a_run_ended_is_one_sentence(found: list[Job], undecided: int, event: str, text: str) -> None:
    said = ended("p", found, undecided, error=False)
    assert said is not None
    assert (said.event, text in said.text) == (event, True), said


def test_a_person_who_paused_or_cancelled_is_not_told_so() -> None:
    assert ended("p", jobs(score="paused", judge="pending"), 0, error=False) is None
    assert ended("p", jobs(score="cancelled", judge="pending"), 0, error=False) is None
    assert ended("p", [], 0, error=False) is None
    failed = ended("p", [], 0, error=True)
    assert failed is not None
    assert failed.text == "p: the run failed."


def test_a_pause_between_two_stages_is_not_told_as_done() -> None:
    found = jobs(review="pending", merge="pending")
    for want in ("pause", "cancel"):
        assert ended("p", found, 0, error=False, want=want) is None
        assert ended("p", jobs(), 0, error=False, want=want) is None, "while the merge could be taken back"
    assert ended("p", jobs(judge="failed"), 0, error=False, want="pause") is not None


def test_a_run_may_stop_before_the_newest_round_began() -> None:
    new = [Job(1, name, "pending") for name in NAMES]
    said = ended("p", [*sorted(jobs(), key=lambda job: job.stage), *new], 0, error=False)
    assert said is not None
    assert said.text == "p: stopped after merge of round 0, as asked."
    first = ended("p", new, 0, error=False)
    assert first is not None
    assert first.text == "p: stopped before its first stage, as asked."


def test_a_failed_stage_is_named_and_its_error_is_not_sent() -> None:
    failed = [*jobs(), Job(1, "train", "failed", error="row 'my private text' cannot be used")]
    said = ended("p", failed, 0, error=False)
    assert said is not None
    assert "private" not in json.dumps(said.payload())
    assert said.text == "p: train of round 1 failed."


def test_the_program_gets_the_message_and_no_secret_but_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MY_API_KEY", "TEACHER", "MY_TOKEN", "HOOK"):
        monkeypatch.setenv(name, "s3cret")
    script = "import json,os,sys; json.dump([json.load(sys.stdin), dict(os.environ), os.getcwd()], open('out','w'))"
    how = Notify(command=(sys.executable, "-c", script), token_env="MY_TOKEN", webhook_env="")  # noqa: S106 - a name
    assert deliver(SAID, how, tmp_path, ("TEACHER", "")) == []
    given, environ, where = json.loads((tmp_path / "out").read_text())
    assert given["text"] == given["content"] == SAID.text
    assert (given["event"], given["round"], given["stage"]) == ("waiting", 0, "review")
    assert environ["MIDDO_TEXT"] == SAID.text
    assert Path(where).samefile(tmp_path)
    assert {name for name, value in environ.items() if value == "s3cret"} == {"MY_TOKEN", "HOOK"}


@pytest.mark.parametrize(
    ("command", "timeout_s", "says"),
    [
        (("/nowhere/at-all",), 5.0, "cannot be started: No such file or directory"),
        (("sh", "-c", "echo so bad >&2; exit 3"), 5.0, "ended with exit code 3: so bad"),
        (("sleep", "600"), 0.1, "took longer than timeout_s = 0.1"),
    ],
)
def test_a_program_that_does_not_work_is_a_sentence(
    tmp_path: Path, command: tuple[str, ...], timeout_s: float, says: str
) -> None:
    (wrong,) = deliver(SAID, Notify(command=command, timeout_s=timeout_s), tmp_path)
    assert says in wrong


class Receiver(HTTPServer):
    """A server that remembers what it was sent."""

    def __init__(self, status: int) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status = status
        self.got: list[tuple[str, str | None, dict[str, object]]] = []


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.got.append((self.path, self.headers["Authorization"], body))
        self.send_response(self.server.status)
        self.send_header("Location", "/elsewhere")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[Receiver]:
    server = Receiver(getattr(request, "param", 200))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_a_webhook_is_posted_once_with_the_token(
    server: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK", f"http://127.0.0.1:{server.server_port}/secret-path")
    monkeypatch.setenv("TOKEN", "t0ken")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # for other machines: a shell's proxy does not know this one
    assert deliver(SAID, Notify(webhook_env="HOOK", token_env="TOKEN"), tmp_path) == []  # noqa: S106
    assert server.got == [("/secret-path", "Bearer t0ken", SAID.payload())]


@pytest.mark.parametrize("server", [500, 302, 307], indirect=True)
def test_a_refusal_or_redirect_is_said_without_the_address(
    server: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A redirect is not followed: it would carry the token to whatever host it names."""
    monkeypatch.setenv("HOOK", f"http://127.0.0.1:{server.server_port}/secret-path")
    (wrong,) = deliver(SAID, Notify(webhook_env="HOOK"), tmp_path)
    assert wrong == f"[notify] webhook_env: the server answered {server.status}"
    assert len(server.got) == 1


def test_an_address_that_is_missing_or_dead_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOOK", raising=False)
    (wrong,) = deliver(SAID, Notify(webhook_env="HOOK"), tmp_path)
    assert "variable HOOK is not set" in wrong
    monkeypatch.setenv("HOOK", "s3cret without scheme")
    (wrong,) = deliver(SAID, Notify(webhook_env="HOOK"), tmp_path)
    assert wrong == "[notify] webhook_env: the value of HOOK is not a URL"
    monkeypatch.setenv("HOOK", "http://127.0.0.1:9/s3cret")
    (wrong,) = deliver(SAID, Notify(webhook_env="HOOK", timeout_s=5), tmp_path)
    assert wrong == "[notify] webhook_env: not reached: Connection refused"
    monkeypatch.setenv("HOOK", "http://s3cret..invalid/")
    (wrong,) = deliver(SAID, Notify(webhook_env="HOOK", timeout_s=5), tmp_path)
    assert wrong == "[notify] webhook_env: not reached: the address or a header is not valid"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (socket.gaierror(-2, "Name unknown"), "its host name is not known here (Name unknown)"),
        (TimeoutError(), "no answer in time"),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number"), "TLS failed (no reason given)"),
        (http.client.RemoteDisconnected("Remote end closed s3cret"), "the connection was closed"),
        (http.client.BadStatusLine("s3cret"), "the answer is not HTTP"),
        (ValueError("Invalid header value b's3cret'"), "the address or a header is not valid"),
        (http.client.InvalidURL("s3cret"), "the address or a header is not valid"),
        (OSError(errno.ENETUNREACH, "Network is unreachable"), "Network is unreachable"),
    ],
)
def test_why_a_server_gave_no_answer_is_said_in_words(error: Exception, words: str) -> None:
    assert why_unreached(error) == words


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def project(folder: Path, notify_toml: str) -> Config:
    migrate(folder, create=True)
    text = f'[project]\nname = "p"\n[notify]\n{notify_toml}\n'
    (folder / "config.toml").write_text(text, encoding="utf-8")
    return parse(text, "config.toml")


def test_a_failing_notifier_is_logged_once_and_the_run_ends_as_ever(tmp_path: Path) -> None:
    config = project(tmp_path, 'command = ["/nowhere/at-all"]')
    db = patient(tmp_path, None)
    write.open_round(db, 0, "{}", NAMES, closing=False, stopped=None)
    write.end_job(db, 0, "train", "failed", "x")
    notifier = Notifier(tmp_path, config)
    notifier.end(db, error=False)
    notifier.end(db, error=False)
    (line,) = [event.text for event in read.events(db) if "[notify]" in event.text]
    assert "cannot be started" in line
    assert "The run is not affected." in line
    db.close()


def test_a_stage_without_progress_is_announced_once(tmp_path: Path) -> None:
    config = project(tmp_path, 'command = ["sh", "-c", "echo \\"$MIDDO_EVENT $MIDDO_STAGE\\" >> out"]')
    db, clock = patient(tmp_path, None), Clock()
    write.open_round(db, 0, "{}", NAMES, closing=False, stopped=None)
    commands.set_plan(tmp_path, 1)
    notifier = Notifier(tmp_path, config, clock)
    write.start_job(db, 0, "score", "key", "{}")
    db.execute("UPDATE job SET moved='[1.0]' WHERE stage='score'")
    write.register(db, os.getpid(), launch.started(os.getpid()) or 0.0, launch.boot_id())
    for at in (1.0, LOOK_S, 2 * LOOK_S, 3 * LOOK_S):
        clock.now = at
        notifier.beat(db)
    notifier.end(db, error=False)  # waits for what is being sent; a stage that runs is no end to announce
    assert (tmp_path / "out").read_text() == "stalled score\n"
    db.close()


def test_machines_that_are_missing_are_announced_once(tmp_path: Path) -> None:
    config = project(tmp_path, 'command = ["sh", "-c", "echo \\"$MIDDO_EVENT $MIDDO_TEXT\\" >> out"]')
    db, clock = patient(tmp_path, None), Clock()
    notifier = Notifier(tmp_path, config, clock)
    write.register(db, os.getpid(), launch.started(os.getpid()) or 0.0, launch.boot_id())
    says = "waiting for 1 of 2 machines: run X there"
    machine_facts.write(tmp_path, machine_facts.MachinesFacts(os.getpid(), 2, "10.0.0.1:29400", says, ()))
    for at in (1.0, LOOK_S, 2 * LOOK_S, 3 * LOOK_S):
        clock.now = at
        notifier.beat(db)
    notifier.end(db, error=False)
    assert (tmp_path / "out").read_text() == f"stalled p: {says}.\n"
    db.close()


def test_a_locked_database_is_announced_when_it_lasts(tmp_path: Path) -> None:
    config = project(tmp_path, 'command = ["sh", "-c", "echo \\"$MIDDO_TEXT\\" >> out"]')
    clock = Clock()
    notifier = Notifier(tmp_path, config, clock)
    notifier.blocked("locked")
    clock.now = HELD_S - 1
    notifier.blocked("locked")
    notifier.blocked("")
    notifier.blocked("locked")  # another wait, from here
    clock.now += 2
    notifier.blocked("locked")
    for _ in range(3):
        clock.now += HELD_S
        notifier.blocked("locked")
    db = patient(tmp_path, None)
    notifier.end(db, error=False)
    assert (tmp_path / "out").read_text() == "p: waiting for the database, locked by another program.\n"
    db.close()


def test_only_what_was_asked_for_is_sent(tmp_path: Path) -> None:
    config = project(tmp_path, 'on = ["done"]\ncommand = ["sh", "-c", "echo x >> out"]')
    db = patient(tmp_path, None)
    Notifier(tmp_path, config).end(db, error=True)
    assert not (tmp_path / "out").exists()
    db.close()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('webhook = "ntfy.sh/middo"', "webhook is not a URL"),
        ('webhook = "http://a"\nwebhook_env = "B"', "keep one of them"),
        ('webhook_env = "https://hooks.example"', "the NAME of an environment variable"),
        ('command = [" "]', "command names no program"),
        ('on = ["always"]', 'on[0]: must be a list of "waiting", "failed", "done", "stalled".'),
    ],
)
def test_mistakes_in_the_section_are_named(text: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(f"[notify]\n{text}\n", "config.toml")
    assert says in str(caught.value)
