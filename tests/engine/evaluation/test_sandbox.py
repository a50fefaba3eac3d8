"""Code that a model wrote: what it can reach, and what is said where there is no sandbox."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from engine.config.schema import Config
from engine.errors import ConfigError
from engine.evaluation import harness, sandbox, task_index
from engine.evaluation.harness import EvaluationJob, Report
from engine.stages import evaluate, train
from engine.store.rows import EvalScore
from tests.support import ROOT, tiny

needs_sandbox = pytest.mark.skipif(
    sandbox.reason_against() is not None, reason=f"no sandbox here: {sandbox.reason_against()}"
)
TASK = """
task: hostile
include: {above}
unsafe_code: true
process_results: !function own.hostile
metric_list: [{{metric: acc, aggregation: mean, higher_is_better: true}}]
"""
# What a model's code would try. The score is the share of attempts that were stopped.
FUNCTIONS = """
import os, socket
from pathlib import Path
SECRET, PORT, OUTSIDE, PID = {secret!r}, {port}, {outside!r}, {pid}
def _connect():
    socket.create_connection(("127.0.0.1", PORT), 5).close()
ATTEMPTS = [
    lambda: Path(SECRET).read_bytes(),
    lambda: Path(OUTSIDE).write_text("changed"),
    lambda: Path(__file__).write_text("changed"),
    lambda: os.kill(PID, 0),
    _connect,
]
def hostile(doc, results):
    stopped = 0
    for attempt in ATTEMPTS:
        try:
            attempt()
        except (OSError, ProcessLookupError):
            stopped += 1
    return {{"acc": stopped / len(ATTEMPTS)}}
"""


def hostile_task(folder: Path, project: Path, port: int) -> None:
    folder.mkdir()
    words = ROOT / "docs" / "examples" / "tasks"
    (folder / "words.jsonl").write_text((words / "words.jsonl").read_text(), encoding="utf-8")
    above = (words / "words.yaml").read_text().replace("task: words", "task: above")
    (folder / "above.yaml").write_text(above, encoding="utf-8")
    (folder / "hostile.yaml").write_text(TASK.format(above="above.yaml"), encoding="utf-8")
    secret, outside = project / "middo.db", project / "logs" / "written"
    functions = FUNCTIONS.format(secret=str(secret), port=port, outside=str(outside), pid=os.getpid())
    (folder / "own.py").write_text(functions, encoding="utf-8")


def settings(model: Path, folder: Path, more: str) -> Config:
    return tiny.make_config(
        model, f'[evaluate]\nlimit = 2\ntasks = ["hostile"]\ninclude_path = "{folder}"\n'
        f"allow_code_execution = true\n{more}[model]\nmax_length = 256\n",
    )  # fmt: skip


@needs_sandbox
def test_a_models_code_reaches_neither_files_nor_processes_nor_the_network(tmp_path: Path, tiny_model: Path) -> None:
    """The same five attempts all succeed without the sandbox: it is what stops them."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        folder = tmp_path / "tasks"
        hostile_task(folder, tmp_path / "p", server.getsockname()[1])
        config = settings(tiny_model, folder, "")
        one = tiny.Project(tmp_path / "p", config, tiny.chats(8))
        (one.folder / "logs").mkdir(exist_ok=True)
        before = (folder / "own.py").read_text()
        train.run(one.ctx("train"))
        evaluate.run(one.ctx("evaluate", 0, config))
        assert score(one) == 1.0
        assert (folder / "own.py").read_text() == before
        assert not (one.folder / "logs" / "written").exists()

        one.db.execute("DELETE FROM score WHERE task = 'hostile'")
        evaluate.run(one.ctx("evaluate", 0, settings(tiny_model, folder, "allow_unconfined_code = true\n")))
        assert score(one) == 0.0


def score(one: tiny.Project) -> float:
    return next(row.value for row in one.ctx("evaluate").rows(EvalScore) if row.task == "hostile")


def test_only_variables_that_are_known_to_be_harmless_come_in(tmp_path: Path) -> None:
    hidden = {"PGPASSWORD": "p", "DATABASE_URL": "postgres://u:p@h/d", "SLACK_WEBHOOK": "w", "SSH_AUTH_SOCK": "/s"}
    hidden |= {"VLLM_API_KEY": "k", "HF_TOKEN": "t", "HTTPS_PROXY": "http://u:p@h"}
    seen = {"PATH": "/bin", "PYTHONPATH": "/p", "CUDA_VISIBLE_DEVICES": "1", "HF_HUB_OFFLINE": "1", "LC_ALL": "C"}
    found = sandbox.environment(hidden | seen, tmp_path)
    assert found == seen | {name: str(tmp_path / folder) for name, folder in sandbox.CACHES.items()}


@needs_sandbox
def test_it_ends_with_its_starter() -> None:
    """However the starter ends: nothing of the sandbox lives on."""
    code = "import sys, signal; print('here', flush=True); signal.pause()"
    inner = sandbox.command([sys.executable, "-c", code])
    outer = f"import subprocess, signal; subprocess.Popen({inner!r}); signal.pause()"
    starter = subprocess.Popen([sys.executable, "-c", outer], stdout=subprocess.PIPE, text=True)
    assert starter.stdout is not None
    with starter.stdout as told:
        assert told.readline() == "here\n"
        starter.kill()
        assert told.read() == "", "its output is closed: it has ended"
    starter.wait()


def test_folders_are_shown_with_what_their_links_lead_to_and_the_system_only_once(tmp_path: Path) -> None:
    blobs, model = tmp_path / "blobs", tmp_path / "snapshots" / "main"
    blobs.mkdir()
    model.mkdir(parents=True)
    (blobs / "weights").write_text("w")
    (model / "model.safetensors").symlink_to(blobs / "weights")
    assert sandbox._outside_the_system([model, Path("/usr/bin"), tmp_path / "nowhere"]) == [
        blobs / "weights",
        model,
    ]


@needs_sandbox
def test_a_link_in_a_folder_that_is_shown_leads_where_it_does(tmp_path: Path) -> None:
    """As where an environment's packages lie on another disk. Nothing can be mounted on the link itself."""
    disk, environment = tmp_path / "disk", tmp_path / "environment"
    for folder in (disk, environment):
        folder.mkdir()
    (disk / "package").write_text("code")
    (environment / "packages").symlink_to(disk)
    look = sandbox.command(["/bin/cat", f"{environment}/packages/package"], [environment, environment / "packages"])
    done = subprocess.run(look, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("code", "")


@needs_sandbox
def test_beside_a_linked_file_nothing_is_shown(tmp_path: Path) -> None:
    home, tasks = tmp_path / "home", tmp_path / "tasks"
    for folder in (home, tasks):
        folder.mkdir()
    (home / "data.jsonl").write_text("rows")
    (home / "key").write_text("secret")
    (tasks / "data.jsonl").symlink_to("../home/data.jsonl")
    look = ["/bin/sh", "-c", f"cat {tasks}/data.jsonl; ls {home}"]
    done = subprocess.run(sandbox.command(look, [tasks]), capture_output=True, text=True, check=True)
    assert done.stdout == "rowsdata.jsonl\n"


def test_without_a_sandbox_code_is_refused_with_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "reason_against", lambda: "bubblewrap (bwrap) is not installed")
    hostile_task(tmp_path / "tasks", tmp_path, 1)
    with pytest.raises(ConfigError, match=r"needs a sandbox.*bwrap\) is not installed.* allow_unconfined_code = true"):
        task_index.check(settings(tmp_path, tmp_path / "tasks", ""), tmp_path)
    unconfined = settings(tmp_path, tmp_path / "tasks", "allow_unconfined_code = true\n")
    assert task_index.check(unconfined, tmp_path)["hostile"].runs_code


def test_a_bubblewrap_that_may_not_make_namespaces_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stub = tmp_path / "bwrap"
    stub.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")
    stub.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert sandbox.reason_against() == "bubblewrap does not work here (bwrap: No permissions to create new namespace)"
    stub.write_text("#!/nowhere/sh\n")
    assert "No such file" in (sandbox.reason_against() or "")
    stub.unlink()
    assert "No such file" not in (sandbox.reason_against() or ""), "what was mended meanwhile is seen"


def test_what_the_tasks_ask_is_copied_before_the_network_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile_task(tmp_path / "tasks", tmp_path, 1)
    config = settings(tmp_path, tmp_path / "tasks", "")
    told: list[Report] = []
    prepared = tmp_path / "prepared"
    job = EvaluationJob(
        "nowhere", None, False, config.model, 0, ("hostile",), str(tmp_path / "tasks"), False, config.evaluate,
        {"hostile": str(tmp_path / "kept.jsonl")}, prepare=str(prepared),
    )  # fmt: skip
    monkeypatch.chdir(tmp_path / "tasks")
    harness.measure(job, told.append)
    assert told == []
    assert list((prepared / "datasets" / "json").rglob("*.arrow"))
