"""lm-eval's HumanEval in the sandbox, with problems of ours: what is scored as right, what is stopped."""

from __future__ import annotations

import io
import os
import socket
import subprocess
import sys
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.config.schema import Config
from engine.evaluation import sandbox
from engine.evaluation.harness import EvaluationJob, Report
from engine.processes import environment
from engine.stages import evaluate, train
from engine.store.rows import EvalScore
from tests.support import code_task, tiny
from tests.support.hub_server import Repository, serving

pytestmark = pytest.mark.skipif(
    sandbox.reason_against() is not None, reason=f"no sandbox here: {sandbox.reason_against()}"
)


def hostile(secret: Path, port: int) -> list[str]:
    """Solutions that are right as soon as they got what they should not get."""
    return [
        f"    open({str(secret)!r}).read()\n    return a + b\n",
        f"    import socket\n    socket.create_connection(('127.0.0.1', {port}), 5).close()\n    return a + b\n",
        f"    import os\n    os.kill({os.getpid()}, 0)\n    return a + b\n",
    ]


def test_a_right_solution_passes_a_wrong_or_hostile_one_fails(tmp_path: Path, tiny_model: Path) -> None:
    secret, tasks = tmp_path / "secret", tmp_path / "tasks"
    secret.write_text("key")
    code_task.write_metric(tasks)
    with socket.create_server(("127.0.0.1", 0)) as server:
        attempts = hostile(secret, server.getsockname()[1])
        for attempt in attempts:
            done = subprocess.run([sys.executable, "-c", code_task.program(attempt)], check=False)
            assert done.returncode == 0, "outside it gets what it wants"
        code_task.write_task(tasks, "right", [code_task.RIGHT])
        code_task.write_task(tasks, "wrong", ["    return a * b\n", "    return a +\n", *attempts])
        code_task.write_task(tasks, "model", None)
        config = tiny.make_config(
            tiny_model, f'[evaluate]\ntasks = ["right", "wrong", "model"]\ninclude_path = "{tasks}"\n'
            "allow_code_execution = true\n[model]\nmax_length = 256\n",
        )  # fmt: skip
        one = tiny.Project(tmp_path / "p", config, tiny.chats(8))
        train.run(one.ctx("train"))
        evaluate.run(one.ctx("evaluate", 0, config))
    scores = {row.task: (row.value, row.n) for row in one.ctx("evaluate").rows(EvalScore)}
    assert scores == {"right": (1.0, 1), "wrong": (0.0, 5), "model": (0.0, 2)}


def test_problems_and_metric_come_from_the_hub_before_the_network_is_gone(tmp_path: Path) -> None:
    body = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([code_task.problem(number) for number in range(3)]), body)
    tasks, scratch, kept = tmp_path / "tasks", tmp_path / "scratch", tmp_path / "kept"
    for folder in (scratch, kept):
        folder.mkdir()
    code_task.write_task(tasks, "code", None, "dataset_path: openai/openai_humaneval\n")
    with serving() as hub:
        hub.datasets["openai/openai_humaneval"] = Repository({"main": {"data/test-0.parquet": body.getvalue()}})
        hub.spaces["evaluate-metric/code_eval"] = Repository({"main": code_task.FILES})
        online = environment.without_secrets(environment.for_children()) | {
            "HF_ENDPOINT": hub.address,
            "HF_HOME": str(tmp_path / "home"),
            "HF_ALLOW_CODE_EVAL": "1",
        }
        online = {name: value for name, value in online.items() if "OFFLINE" not in name}
        assert loaded(tasks, scratch, online) == []
        asked = len(hub.seen)
        offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_EVALUATE_OFFLINE": "1"}
        assert loaded(tasks, kept, sandbox.environment(online | offline, scratch), confined=True) == []
        assert len(hub.seen) == asked


def loaded(tasks: Path, into: Path, env: dict[str, str], *, confined: bool = False) -> list[Report]:
    """What lm-eval's process tells when it loads the task, with its data, and copies them."""
    config = Config()
    kept = {"code": str(into / "code.jsonl")}
    job = EvaluationJob(
        "nowhere", None, False, config.model, 0, ("code",), str(tasks), False, config.evaluate, kept, prepare=str(into)
    )
    death, alive = os.pipe()
    reports, report = os.pipe()
    argv = [sys.executable, "-m", "engine.evaluation.harness", msgspec.json.encode(job).decode()]
    argv += [str(death), str(report)]
    if confined:
        argv = sandbox.command(argv, [tasks], {into, Path(env["HF_HOME"])})
    done = subprocess.run(argv, pass_fds=[death, report], cwd=tasks, env=env, start_new_session=True, check=False)
    for end in (death, alive, report):
        os.close(end)
    with os.fdopen(reports, "rb") as pipe:
        told = [msgspec.json.decode(line, type=Report) for line in pipe]
    assert done.returncode == 0
    return told
