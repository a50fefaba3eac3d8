"""The doctor on real project folders: what would stop a run is bad, and says the way out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import engine.demo
from engine.config import schema as configs
from engine.config.edit import edit
from engine.doctor import endpoint, privacy
from engine.doctor.finding import Finding
from engine.doctor.report import findings, processes
from engine.project import folder as project
from tests.support.batch_server import BatchServer
from tests.support.chat_server import MODEL, Server

BASE = Path(engine.demo.__file__).parent / "base"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([{"instruction": f"Count to {i}.", "input": "", "output": str(i)} for i in range(5)]))
    return path


def named(name: str, folder: Path) -> Finding:
    return next(f for f in findings(folder) if f.name == name)


def of_teacher(folder: Path, **changed: object) -> dict[str, Finding]:
    """What is said of the project's teacher and of privacy, without the models being tried again."""
    edit(folder, {f"teacher.{key}": value for key, value in changed.items()})
    config = configs.load(folder)
    return {one.name: one for one in (*endpoint.findings(config, endpoint.ExpectedRequests()), privacy.leaves(config))}


def test_a_project_that_can_run(data: Path, tmp_path: Path) -> None:
    project.create(tmp_path / "P", [data], {"model": {"name": str(BASE)}})
    found = list(findings(tmp_path / "P"))
    assert not [f for f in found if f.bad]
    texts = {f.name: f.text for f in found}
    assert "chat template" in next(f.text for f in found if f.name == "model")
    assert "no text leaves this machine" in texts["privacy"]


@pytest.mark.parametrize(
    ("gone", "says"),
    [
        ("model.safetensors", "no *.safetensors"),
        ("chat_template.jinja", "no chat template"),
        (None, "no such folder"),
    ],
)
def test_a_model_that_cannot_be_used(gone: str | None, says: str, data: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(BASE, model)
    project.create(tmp_path / "P", [data], {"model": {"name": str(model)}})
    if gone:
        (model / gone).unlink()
    else:
        shutil.rmtree(model)
    found = named("model", tmp_path / "P")
    assert found.bad
    assert found.mark == "✘"
    assert says in found.text
    assert found.fix


def test_no_project_is_said_with_the_way_out(tmp_path: Path) -> None:
    found = named("project", tmp_path)
    assert found.bad
    assert "middo-tui init" in found.text


def test_an_endpoint_is_asked_and_where_texts_go_is_said(data: Path, tmp_path: Path) -> None:
    with Server() as server:
        teacher: dict[str, object] = {"backend": "openai", "url": server.url, "model": MODEL}
        project.create(tmp_path / "P", [data], {"model": {"name": str(BASE)}, "teacher": teacher})
        texts = {f.name: f.text for f in findings(tmp_path / "P")}
        assert texts["teacher"] == f"{MODEL} at {server.url}"
        assert "no text leaves" in texts["privacy"]
        assert MODEL in of_teacher(tmp_path / "P", model="other")["teacher"].fix
    assert of_teacher(tmp_path / "P")["teacher"].bad, "nobody listens there any more"
    elsewhere = of_teacher(tmp_path / "P", url="https://api.example.com/v1", key_env="NO_SUCH_KEY")
    assert "NO_SUCH_KEY" in elsewhere["teacher"].text
    assert "are sent to api.example.com" in elsewhere["privacy"].text


def test_a_system_message_is_sent_where_samples_have_one(tmp_path: Path) -> None:
    turns = [{"role": role, "content": "x"} for role in ("system", "user", "assistant")]
    for name, own in (("with", turns), ("without", turns[1:])):
        (tmp_path / f"{name}.json").write_text(json.dumps([{"messages": own}] * 5))
        with Server() as server:
            teacher: dict[str, object] = {"backend": "openai", "url": server.url, "model": MODEL}
            settings: dict[str, dict[str, object]] = {"model": {"name": str(BASE)}, "teacher": teacher}
            project.create(tmp_path / name, [tmp_path / f"{name}.json"], settings)
            assert named("reply", tmp_path / name).mark == "✔"
            assert server.bodies[0]["messages"][0]["role"] == ("system" if own is turns else "user")


def test_a_server_without_batches_is_told_from_one_with_them(data: Path, tmp_path: Path) -> None:
    with BatchServer() as server:
        how: dict[str, object] = {"backend": "openai", "url": server.url, "model": MODEL, "batch": True}
        prices = {MODEL: {"input": 1.0, "output": 4.0}}
        project.create(tmp_path / "P", [data], {"model": {"name": str(BASE)}, "teacher": how | {"prices": prices}})
        found = {f.name: f for f in findings(tmp_path / "P")}
        assert found["teacher"].text.endswith("· $0.5 in, $2 out per million tokens (batch price)")
        assert found["batches"].mark == "✔"
        server.without = True
        batches = of_teacher(tmp_path / "P")["batches"]
    assert batches.bad
    assert "the server has no batch API" in batches.text
    assert "batch = false" in batches.fix
    elsewhere = of_teacher(tmp_path / "P", url="https://api.example.com/v1")
    assert "are sent to api.example.com in files" in elsewhere["privacy"].text


@pytest.mark.parametrize(
    ("key", "value", "name", "says"),
    [
        ("chat_template", "nope", "model", "P/nope': [Errno 2] No such file"),
        ("device", "cuda:1", "device", 'device = "cuda:1", but this machine has no GPU'),
    ],
)
def test_a_setting_of_the_model_that_is_not_there(
    key: str, value: str, name: str, says: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.doctor.report.visible_gpus", list)
    project.create(tmp_path / "P", [data], {"model": {"name": str(BASE), key: value}})
    found = named(name, tmp_path / "P")
    assert found.bad
    assert says in found.text
    assert found.fix


@pytest.mark.parametrize(
    ("wanted", "device", "gpus", "mark", "says"),
    [
        (4, "auto", 2, "✘", "4 on 2 GPUs"),
        (2, "cuda:1", 2, "✘", 'device = "cuda:1" names one GPU'),
        (1, "auto", 2, "!", "1 on 2 GPUs"),
        (2, "auto", 2, "✔", "2, one per GPU"),
        (2, "auto", 0, "✔", "2 on the CPU"),
        (2, "cpu", 1, "✔", "2 on the CPU"),
        (1, "auto", 1, None, ""),
        (1, "cuda:0", 4, None, ""),
        (1, "auto", 0, None, ""),
    ],
)
def test_every_process_has_a_gpu(wanted: int, device: str, gpus: int, mark: str | None, says: str) -> None:
    config = configs.parse(f'[launch]\nprocesses = {wanted}\n[model]\ndevice = "{device}"\n', "config.toml")
    found = processes(config, gpus)
    assert (found and found.mark) == mark
    assert found is None or says in found.text


def test_with_a_process_on_each_machine_no_gpu_is_named_either() -> None:
    config = configs.parse('[launch]\nnodes = 2\n[model]\ndevice = "cuda:1"\n', "config.toml")
    found = processes(config, 2)
    assert found is not None
    assert (found.bad, found.text) == (True, '1 on each of 2 machines, but [model] device = "cuda:1" names one GPU')


@pytest.mark.parametrize(
    ("gpus", "says"), [(0, "1 on the CPU on each of 2 machines"), (1, "1, one per GPU on each of 2")]
)
def test_processes_are_those_of_each_machine(gpus: int, says: str) -> None:
    found = processes(configs.parse("[launch]\nnodes = 2\n", "config.toml"), gpus)
    assert found is not None
    assert found.text.startswith(says)
