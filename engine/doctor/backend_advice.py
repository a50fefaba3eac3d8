"""Advises vLLM for a large teacher or judge where it would save hours, by estimating the time of both backends.

Prefill is compute-bound: 2 x parameters x tokens. Decode is bound by memory bandwidth: all weights are read once per
step of a batch, and a request's KV cache once per token. Both are divided by the share of the hardware's published
speed that a backend is assumed to reach, so every figure is an estimate.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from engine.backends import roles
from engine.config.schema import Config
from engine.doctor import memory, vllm_memory
from engine.doctor.finding import Finding
from engine.doctor.fit import Models, changed
from engine.doctor.memory import ModelShape
from engine.plurals import counted

LARGE = 3_000_000_000  # parameters
SELECTED = 0.25  # assumed share of samples that are rewritten, until a round has selected some
RATING = 64  # assumed tokens per reply when ratings are sampled
ON_CPU, ON_GPU = 4.0, 0.1  # hours below which no advice is needed
ELSEWHERE = 'use a machine with a GPU, or an API endpoint ([teacher] backend = "openai")'


@dataclass(frozen=True, slots=True)
class Speed:
    """Peak memory bandwidth (bytes/s) and compute (FLOP/s) of hardware; for a backend, the shares it reaches."""

    bandwidth: float
    flops: float


HF, VLLM = Speed(0.2, 0.3), Speed(0.6, 0.5)
"""Assumed, not measured: transformers launches every kernel from Python and pads, vLLM replays CUDA graphs."""
CPU_BANDWIDTH, CPU_CORE_FLOPS = 100e9, 100e9
"""Assumed peaks of a server's memory, and of one CPU core in float32."""
GPUS = {
    ("H200",): Speed(4.8e12, 989e12),
    ("H100", "PCIe"): Speed(2.0e12, 756e12),
    ("H100",): Speed(3.35e12, 989e12),
    ("A100",): Speed(1.9e12, 312e12),
    ("L40S",): Speed(0.864e12, 362e12),
    ("L4",): Speed(0.3e12, 121e12),
    ("4090",): Speed(1.0e12, 165e12),
}
"""Bandwidth and dense 16-bit FLOP/s, roughly as in NVIDIA's data sheets, by words of the product name from NVML."""


@dataclass(frozen=True, slots=True)
class Machine:
    """Where the roles run: the GPUs that vLLM would use (None: no GPU), their product name, the CPU's cores."""

    gpus: vllm_memory.Gpus | None
    product: str
    cores: int


@dataclass(frozen=True, slots=True)
class SampleCounts:
    """A project's sample count, mean and maximum tokens per sample, and how many samples the last round selected."""

    rows: int
    mean: float
    longest: int
    selected: int = 0


@dataclass(frozen=True, slots=True)
class Work:
    """One round of a role. tokens_in: read, a shared beginning once; context: of one request; batch: of hf."""

    amount: str
    requests: int
    context: float
    tokens_in: float
    tokens_out: float
    batch: int


def speed(product: str) -> Speed | None:
    """The published speed of a GPU; None if unknown, e.g. for a MIG slice."""
    words = set(re.split(r"[\s-]+", product))
    if words & {"MIG", "Laptop"}:
        return None
    return next((found for name, found in GPUS.items() if words.issuperset(name)), None)


def work(role: str, config: Config, counts: SampleCounts) -> Work:
    """One round of ``role``: two calls per rewrite (a new prompt, then its answer), or six ratings per sample."""
    if role == "teacher":
        count = counts.selected or round(SELECTED * counts.rows)
        read = count * (2 * counts.mean + memory.REQUEST)
        context = 1.5 * counts.mean + memory.REQUEST / 2
        return Work(counted(count, "rewrite"), 2 * count, context, read, count * counts.mean, config.teacher.batch_size)
    whole, how = counts.mean + memory.INSTRUCTIONS, config.judge
    drawn = min(how.max_new_tokens, RATING) if how.mode == "sampled" else 0  # otherwise the prefill gives the one token
    batch = memory.SIX * max(int(how.token_budget / (memory.SIX * whole)), 1)
    requests, read = memory.SIX * counts.rows, counts.rows * (counts.mean + memory.ENDS)
    return Work(f"{requests:,} ratings", requests, whole, read, requests * drawn, batch)


def hours(shape: ModelShape, weights: int, done: Work, batch: int, peak: Speed, reached: Speed) -> float:
    """Estimated hours for ``done`` by ``batch`` requests at a time. weights: bytes of the model."""
    bandwidth, flops = peak.bandwidth * reached.bandwidth, peak.flops * reached.flops
    at_a_time = max(min(batch, done.requests), 1)
    step = max(weights / bandwidth, 2 * shape.parameters * at_a_time / flops)
    cache = done.tokens_out * done.context * 2 * shape.layers * shape.kv_width * 2 / bandwidth
    return (2 * shape.parameters * done.tokens_in / flops + step * done.tokens_out / at_a_time + cache) / 3600


def findings(models: Models, config: Config, counts: SampleCounts, machine: Machine) -> Iterator[Finding]:
    """A finding per role that runs a large model in transformers; nothing for a project without samples."""
    judge = models.teacher if vllm_memory.of_teacher(config, "judge") else models.own
    for role, shape in (("judge", judge), ("teacher", models.teacher)):
        if role == "judge" and config.judge.model == "endpoint":
            continue
        if shape is None or shape.parameters < LARGE or not counts.rows or getattr(config, role).backend != "hf":
            continue
        if machine.gpus is not None:
            yield from _on_gpu(role, shape, config, counts, machine)
        elif role == "teacher":
            yield from _on_cpu(shape, config, counts, machine.cores)


def _on_gpu(role: str, shape: ModelShape, config: Config, counts: SampleCounts, machine: Machine) -> Iterator[Finding]:
    """Hours with both backends; nothing if that is minutes, the GPU is unknown or vLLM would be refused."""
    peak, gpus, served = speed(machine.product), machine.gpus, changed(config, {f"{role}.backend": "vllm"})
    rows_trained = role == "judge" and config.judge.model == "tuned" and shape.rows and config.train.method != "full"
    if peak is None or gpus is None or rows_trained or ":" in config.model.device:
        return
    if vllm_memory.finding(shape, served, role, gpus, counts.longest).bad:
        return
    done, there = work(role, config, counts), vllm_memory.room(shape, served, role, gpus, counts.longest)
    weights, most = there.weights * config.vllm.tensor_parallel, vllm_memory.SEQUENCES[gpus.total >= vllm_memory.LARGE]
    batch = min(there.at_a_time, config.vllm.max_num_seqs or most, config.vllm.in_flight)
    hf, vllm = (hours(shape, weights, done, *how) for how in ((done.batch, peak, HF), (batch, peak, VLLM)))
    text = f"{done.amount} per round on one {machine.product}: about {hf:,.1f} hours with hf, {vllm:,.1f} with vLLM"
    install = "" if roles.vllm_version() else f" ({roles.INSTALL})"
    if hf > ON_GPU:
        yield Finding(f"{role} speed", f"{text} (estimated)", fix=f'set [{role}] backend = "vllm"{install}')


def _on_cpu(shape: ModelShape, config: Config, counts: SampleCounts, cores: int) -> Iterator[Finding]:
    """A warning that a CPU is too slow for the teacher; nothing if it takes a few hours at most."""
    done = work("teacher", config, counts)
    weights = shape.parameters * memory.bytes_of(config.teacher.dtype, cuda=False)
    took = hours(shape, weights, done, done.batch, Speed(CPU_BANDWIDTH, cores * CPU_CORE_FLOPS), HF)
    if took > ON_CPU:
        text = f"{done.amount} per round on this CPU: about {took:,.0f} hours (estimated)"
        yield Finding("teacher speed", text, fix=ELSEWHERE)
