"""Tells a program or a URL that a run waits for a person, failed, is done or is held up: section [notify].

The worker sends, so that it works without an open app. A message has the project's name, the round, the stage and
counts: no text of the dataset, and no error message, which may quote one. Sending happens in a thread with a timeout;
a failure is one warning in the log and never affects the run.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from engine.config.addresses import hosts_elsewhere
from engine.config.schema import Notify
from engine.errors import why_unreached
from engine.loop import NAMES
from engine.plurals import counted
from engine.processes import environment
from engine.processes.death_pipe import kill_group
from engine.processes.exit_reason import how_ended
from engine.store.rows import Job

WAITING, FAILED, DONE, STALLED = "waiting", "failed", "done", "stalled"
SHOWN = 200
OURS = ("PYTHONPATH", "PYTHONSAFEPATH", "PYTHONUNBUFFERED")


class Announcement(Struct, frozen=True):
    """What is sent. ``event``: waiting, failed, done or stalled. ``project``: its name. ``text``: one sentence."""

    event: str
    project: str
    text: str
    round: int | None = None
    stage: str = ""

    def payload(self) -> dict[str, object]:
        """As JSON: ``text`` is what Slack and Mattermost show, ``content`` the same for Discord."""
        return {
            "event": self.event,
            "project": self.project,
            "round": self.round,
            "stage": self.stage,
            "text": self.text,
            "content": self.text,
        }


def ended(project: str, jobs: Sequence[Job], undecided: int, error: bool, want: str = "run") -> Announcement | None:
    """What to announce when a worker ends; None if a person stopped it, who knows.

    Args:
        jobs: all jobs. undecided: rewrites of the newest round without a decision. error: the worker itself failed.
        want: the plan's ``want``, e.g. pause: between two groups of stages no job shows that a person paused.
    """
    newest = max((job.round for job in jobs), default=None)
    stages = {job.state: job.stage for job in reversed(jobs) if job.round == newest}
    if error or "failed" in stages:
        stage = stages.get("failed", "")
        where = f"{stage} of round {newest}" if stage else "the run"
        return Announcement(FAILED, project, f"{project}: {where} failed.", newest, stage)
    if stage := stages.get("waiting", ""):
        asks = f"{stage} of round {newest} is waiting for your decision."
        if stage == "review":
            rewrites = counted(undecided, "rewrite is", "rewrites are")
            asks = f"{rewrites} waiting for your review in round {newest}."
        return Announcement(WAITING, project, f"{project}: {asks}", newest, stage)
    if want != "run" or newest is None or {"paused", "cancelled", "interrupted", "running"} & stages.keys():
        return None
    if "pending" in stages:
        done = [job for job in jobs if job.state == "done"]
        last = max(done, key=lambda job: (job.round, NAMES.index(job.stage)), default=None)
        where = "before its first stage" if last is None else f"after {last.stage} of round {last.round}"
        number, stage = (newest, "") if last is None else (last.round, last.stage)
        return Announcement(DONE, project, f"{project}: stopped {where}, as asked.", number, stage)
    return Announcement(DONE, project, f"{project}: done; the last round was {newest}.", newest)


def deliver(what: Announcement, how: Notify, project: Path, known: Sequence[str] = ()) -> list[str]:
    """Send ``what`` in every way that ``how`` names; returns a sentence for each failure.

    Args:
        known: names of variables that count as secret whatever they look like; the command does not get them.
    """
    said = []
    if how.command and (wrong := _run(what, how, project, known)):
        said.append(f"[notify] command {' '.join(how.command)[:SHOWN]!r} {wrong}")
    if (how.webhook or how.webhook_env) and (wrong := _post(what, how, os.environ)):
        said.append(f"[notify] {'webhook_env' if how.webhook_env else 'webhook'}: {wrong}")
    return said


def _run(what: Announcement, how: Notify, project: Path, known: Sequence[str]) -> str:
    """Start the program with the message as JSON on standard input, and in its environment. Returns what is wrong."""
    own = environment.without_secrets(os.environ, but={how.token_env}, known={*known, how.webhook_env} - {""})
    env = {name: value for name, value in own.items() if name not in OURS}
    env |= {
        "MIDDO_EVENT": what.event,
        "MIDDO_TEXT": what.text,
        "MIDDO_PROJECT": what.project,
        "MIDDO_FOLDER": str(project),
        "MIDDO_ROUND": "" if what.round is None else str(what.round),
        "MIDDO_STAGE": what.stage,
    }
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as told:
        given.write(json.dumps(what.payload()).encode())
        given.seek(0)
        try:
            process = subprocess.Popen(
                how.command,
                stdin=given,
                stdout=subprocess.DEVNULL,
                stderr=told,
                cwd=project,
                env=env,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            return f"cannot be started: {getattr(error, 'strerror', None) or error}"
        try:
            code = process.wait(how.timeout_s)
        except subprocess.TimeoutExpired:
            kill_group(process.pid)
            process.wait()
            return f"took longer than timeout_s = {how.timeout_s:g}"
        told.seek(0)
        last = next(iter(told.read(4096).decode("utf-8", "replace").strip().splitlines()[-1:]), "")
    return "" if code == 0 else how_ended(code) + (f": {last[:SHOWN]}" if last else "")


def _post(what: Announcement, how: Notify, environ: Mapping[str, str]) -> str:
    """POST the message. Returns what is wrong, without the address: it may be a secret."""
    import http.client
    import urllib.error
    import urllib.request

    class Stay(urllib.request.HTTPRedirectHandler):
        """Refuses redirects, which would carry the token to another host."""

        def redirect_request(self, *args: object, **kwargs: object) -> None:
            return None

    for name in filter(None, (how.webhook_env, how.token_env)):
        if not environ.get(name):
            return f"the environment variable {name} is not set where the run was started"
    headers = {"Content-Type": "application/json", "User-Agent": "middo-tui"}
    if how.token_env:
        headers["Authorization"] = f"Bearer {environ[how.token_env]}"
    url = how.webhook or environ[how.webhook_env]
    if not url.startswith(("http://", "https://")):
        return f"the value of {how.webhook_env} is not a URL"
    try:
        request = urllib.request.Request(url, json.dumps(what.payload()).encode(), headers)  # noqa: S310 - http(s)
        direct = () if hosts_elsewhere(url) else (urllib.request.ProxyHandler({}),)  # a shell's proxy is for others
        with urllib.request.build_opener(Stay, *direct).open(request, timeout=how.timeout_s):
            return ""
    except urllib.error.HTTPError as error:
        error.close()
        return f"the server answered {error.code}"
    except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: a header or host that cannot be
        return f"not reached: {why_unreached(getattr(error, 'reason', error))}"
