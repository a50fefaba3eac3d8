"""What vLLM has for a role on a GPU: counted by hand, and every way out that is proposed is enough."""

from __future__ import annotations

import pytest

from engine.config import schema as configs
from engine.config.schema import Config
from engine.doctor import fit, memory, vllm_memory
from engine.doctor.fit import GIB
from engine.doctor.vllm_memory import Gpus
from tests.support.model_shapes import LLAMA_8B

JUDGE, TEACHER = '[judge]\nbackend = "vllm"\n', '[teacher]\nbackend = "vllm"\nmodel = "teacher"\n'


def config(text: str) -> Config:
    return configs.parse(text, "config.toml")


def gpus(free: float, total: float, count: int = 1) -> Gpus:
    return Gpus("GPU 0", count, int(free * GIB), int(total * GIB))


def test_the_share_is_weights_working_memory_and_keys_and_values() -> None:
    there = vllm_memory.room(LLAMA_8B, config(TEACHER), "teacher", gpus(79, 80), 1024)
    assert there.share == int(0.9 * 80 * GIB)
    assert there.weights == 2 * LLAMA_8B.parameters
    assert there.cache == there.share - there.weights - there.working
    assert there.a_token == 2 * 32 * 1024 * 2, "keys and values of 32 layers in 16 bits"
    assert there.request == 1024 + memory.REQUEST + 2048
    assert there.at_a_time == there.cache // (there.a_token * there.request)


def test_a_model_in_parts_leaves_more_for_keys_and_values_of_which_each_has_a_part() -> None:
    whole = vllm_memory.room(LLAMA_8B, config(JUDGE), "judge", gpus(23, 24), 1024)
    half = vllm_memory.room(LLAMA_8B, config(f"{JUDGE}[vllm]\ntensor_parallel = 2\n"), "judge", gpus(23, 24, 2), 1024)
    assert half.weights == whole.weights // 2
    assert half.a_token == whole.a_token // 2
    assert half.at_a_time > 2 * whole.at_a_time
    four = vllm_memory.room(LLAMA_8B, config(f'{JUDGE}[train]\nmethod = "qlora"\n'), "judge", gpus(23, 24), 1024)
    assert four.weights < whole.weights / 2, "the loop's own base is read in 4 bits"


def test_keys_and_values_can_be_set() -> None:
    text = f"{TEACHER}[vllm]\nkv_cache_gib = 4\n"
    assert vllm_memory.room(LLAMA_8B, config(text), "teacher", gpus(79, 80), 1024).cache == 4 * GIB
    much = vllm_memory.finding(LLAMA_8B, config(f"{TEACHER}[vllm]\nkv_cache_gib = 70\n"), "teacher", gpus(79, 80), 1024)
    assert much.bad
    assert "kv_cache_gib = 0" in much.fix


def test_a_gpu_that_others_use_is_refused_with_the_share_that_is_free() -> None:
    said = vllm_memory.finding(LLAMA_8B, config(TEACHER), "teacher", gpus(60, 80), 1024)
    assert said.bad
    assert "only 60.0 GiB are free" in said.text
    assert "gpu_memory_utilization = 0.75" in said.fix
    lower = config(f"{TEACHER}[vllm]\ngpu_memory_utilization = 0.75\n")
    assert vllm_memory.finding(LLAMA_8B, lower, "teacher", gpus(60, 80), 1024).mark == "✔"


def test_what_fits_says_how_many_requests_at_a_time() -> None:
    said = vllm_memory.finding(LLAMA_8B, config(TEACHER), "teacher", gpus(79, 80), 1024)
    there = vllm_memory.room(LLAMA_8B, config(TEACHER), "teacher", gpus(79, 80), 1024)
    assert said.mark == "✔"
    assert f"{there.at_a_time} concurrent requests of 3,422 tokens" in said.text


@pytest.mark.parametrize(("free", "count", "fix"), [(23.5, 2, "tensor_parallel = 2"), (16, 1, 'quantization = "fp8"')])
def test_what_is_proposed_is_enough(free: float, count: int, fix: str) -> None:
    how, there = config(TEACHER), gpus(free, free, count)
    longest = 1024 if count == 1 else 60_000
    said = vllm_memory.finding(LLAMA_8B, how, "teacher", there, longest)
    assert said.mark in "!✘"
    assert fix in said.fix
    wanted = vllm_memory._enough(LLAMA_8B, how, "teacher", there, longest, 1)
    assert wanted
    assert vllm_memory.finding(LLAMA_8B, fit.changed(how, wanted), "teacher", there, longest).mark in "✔!"


def test_where_nothing_helps_it_says_so() -> None:
    said = vllm_memory.finding(LLAMA_8B, config(JUDGE), "judge", gpus(7.9, 8), 4096)
    assert said.bad
    assert "smaller model" in said.fix


def test_a_limit_that_refuses_the_longest_is_named() -> None:
    text = f"{TEACHER}[vllm]\nmax_model_len = 2048\n"
    said = vllm_memory.finding(LLAMA_8B, config(text), "teacher", gpus(79, 80), 1024)
    assert said.mark == "!"
    assert "max_model_len = 3422" in said.fix
