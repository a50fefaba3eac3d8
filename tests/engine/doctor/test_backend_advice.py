"""When the doctor recommends vLLM for a large model, and the hours it says: counted by hand from the formula."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path

import pytest

from engine.config import schema as configs
from engine.config.schema import Config
from engine.doctor import backend_advice, memory, report
from engine.doctor.backend_advice import HF, SELECTED, VLLM, Machine, SampleCounts, Speed
from engine.doctor.finding import Finding
from engine.doctor.fit import GIB, Models
from engine.doctor.vllm_memory import Gpus
from engine.project import folder as project
from tests.support.model_shapes import LLAMA_8B

H100 = Machine(Gpus("GPU 0", 1, 79 * GIB, 80 * GIB), "NVIDIA H100 80GB HBM3", 8)
CPU = Machine(None, "", 8)
ROWS = SampleCounts(100_000, 500.0, 1024)
BOTH = Models(LLAMA_8B, LLAMA_8B)
SMALL = replace(LLAMA_8B, parameters=2_999_999_999)


def config(text: str = "") -> Config:
    return configs.parse(text, "config.toml")


def said(models: Models = BOTH, text: str = "", counts: SampleCounts = ROWS, machine: Machine = H100) -> list[Finding]:
    return list(backend_advice.findings(models, config(text), counts, machine))


def test_reading_is_bound_by_arithmetic() -> None:
    done = backend_advice.work("judge", config(), ROWS)
    assert (done.requests, done.tokens_in, done.tokens_out) == (600_000, 100_000 * (500 + memory.ENDS), 0)
    took = backend_advice.hours(LLAMA_8B, 1, done, 1, Speed(1e12, 1e15), Speed(1.0, 0.5))
    assert took == pytest.approx(2 * LLAMA_8B.parameters * 56_000_000 / 0.5e15 / 3600)


def test_writing_is_bound_by_memory_and_shares_the_weights_among_a_batch() -> None:
    done = replace(backend_advice.work("teacher", config(), ROWS), tokens_in=0.0)
    assert (done.requests, done.tokens_out) == (2 * 25_000, 25_000 * 500)
    weights = 2 * LLAMA_8B.parameters
    took = backend_advice.hours(LLAMA_8B, weights, done, 10, Speed(1e12, 1e18), Speed(0.5, 1.0))
    cache = 2 * 32 * 1024 * 2 * (1.5 * 500 + memory.REQUEST / 2)
    assert took == pytest.approx(12_500_000 * (weights / 10 + cache) / 0.5e12 / 3600)


def test_a_quarter_is_rewritten_until_a_round_has_selected_some() -> None:
    assert backend_advice.work("teacher", config(), ROWS).amount == f"{round(100_000 * SELECTED):,} rewrites"
    assert backend_advice.work("teacher", config(), replace(ROWS, selected=1234)).amount == "1,234 rewrites"


@pytest.mark.parametrize("role", ["judge", "teacher"])
@pytest.mark.parametrize("reached", [HF, VLLM])
def test_more_rows_and_larger_models_take_longer(role: str, reached: Speed) -> None:
    def took(rows: int = 10_000, parameters: int = LLAMA_8B.parameters) -> float:
        shape = replace(LLAMA_8B, parameters=parameters)
        done = backend_advice.work(role, config(), replace(ROWS, rows=rows))
        return backend_advice.hours(shape, 2 * parameters, done, 32, Speed(3e12, 1e15), reached)

    assert took(10) < took(10_000) < took(20_000)
    assert took() < took(parameters=14_000_000_000) < took(parameters=30_000_000_000)


def test_vllm_is_recommended_with_the_hours_of_both() -> None:
    judge, teacher = said()
    assert (judge.mark, teacher.mark) == ("!", "!")
    assert 'set [judge] backend = "vllm"' in judge.fix
    assert 'set [teacher] backend = "vllm"' in teacher.fix
    assert teacher.text.startswith("25,000 rewrites per round on one NVIDIA H100 80GB HBM3: about ")
    assert teacher.text.endswith(" with vLLM (estimated)")
    hf, vllm = (float(word) for word in teacher.text.replace(",", "").split() if word.count(".") == 1)
    assert hf > 2 * vllm > 0


@pytest.mark.parametrize(
    ("models", "text", "counts", "machine"),
    [
        (Models(SMALL, SMALL), "", ROWS, H100),
        (Models(SMALL, SMALL), "", replace(ROWS, rows=1_000_000), CPU),
        (BOTH, '[judge]\nbackend = "vllm"\n[teacher]\nbackend = "vllm"\n', ROWS, H100),
        (Models(SMALL), '[teacher]\nbackend = "openai"\nurl = "http://127.0.0.1:1/v1"\nmodel = "m"\n', ROWS, CPU),
        (BOTH, "", SampleCounts(0, 0.0, 1024), H100),
        (BOTH, "", ROWS, replace(H100, product="NVIDIA H100 80GB HBM3 MIG 1g.10gb")),
        (BOTH, "", ROWS, replace(H100, product="Some GPU")),
        (BOTH, "", ROWS, Machine(Gpus("GPU 0", 1, 11 * GIB, 12 * GIB), "NVIDIA L4", 8)),
        (BOTH, '[model]\ndevice = "cuda:1"\n', ROWS, H100),
        (BOTH, "", replace(ROWS, rows=4), CPU),
        (BOTH, "", replace(ROWS, rows=100), H100),
    ],
    ids=[
        "small",
        "small on a CPU",
        "vLLM already",
        "endpoint",
        "no rows",
        "part of a GPU",
        "unknown GPU",
        "does not fit",
        "a GPU is named",
        "few on a CPU",
        "few on a GPU",
    ],
)
def test_nothing_is_said(models: Models, text: str, counts: SampleCounts, machine: Machine) -> None:
    assert said(models, text, counts, machine) == []


def test_a_judge_that_vllm_would_refuse_for_its_trained_rows_is_left_as_it_is() -> None:
    assert [found.name for found in said(Models(replace(LLAMA_8B, rows=2), LLAMA_8B))] == ["teacher speed"]


def test_a_teacher_on_a_cpu_needs_a_gpu_or_an_endpoint() -> None:
    (found,) = said(machine=CPU)
    assert found.mark == "!"
    assert found.text.startswith("25,000 rewrites per round on this CPU: about ")
    assert "a machine with a GPU, or an API endpoint" in found.fix


def test_the_product_is_that_of_the_gpu_with_least_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.doctor.report.visible_gpus", lambda: [0, 1])
    monkeypatch.setattr("pynvml.nvmlDeviceGetName", ["NVIDIA L4", "NVIDIA H200"].__getitem__)
    product = report._machine(Gpus("GPU 1", 2, 1, 1)).product
    assert product == "NVIDIA H200"
    assert backend_advice.speed(product) == backend_advice.GPUS[("H200",)]


def test_the_doctor_counts_the_project_and_the_teacher_from_their_files(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.doctor.report.visible_gpus", list)
    rows = [{"instruction": f"Say it {i} times. " * 40, "input": "", "output": "it " * 200} for i in range(200)]
    source = tmp_path / "rows.json"
    source.write_text(json.dumps(rows))
    teacher = tmp_path / "teacher"
    teacher.mkdir()
    shape = {"num_attention_heads": 32, "hidden_size": 4096, "num_hidden_layers": 32, "vocab_size": 1_000_000}
    (teacher / "config.json").write_text(json.dumps(shape))
    entry = {"w": {"dtype": "BF16", "shape": [2_000_000, 4096], "data_offsets": [0, 2_000_000 * 4096 * 2]}}
    head = json.dumps(entry).encode()
    with (teacher / "model.safetensors").open("wb") as file:  # sparse: only the header is ever read
        file.write(struct.pack("<Q", len(head)) + head)
        file.truncate(8 + len(head) + 2_000_000 * 4096 * 2)
    settings: dict[str, dict[str, object]] = {
        "model": {"name": str(tiny_model)},
        "teacher": {"model": str(teacher)},
        "data": {"heldout_share": 0.0},
    }
    project.create(tmp_path / "P", [source], settings)
    monkeypatch.setattr("engine.doctor.backend_advice.ON_CPU", 0.0)
    found = next(one for one in report.findings(tmp_path / "P") if one.name == "teacher speed")
    assert found.text.startswith("50 rewrites per round on this CPU")
