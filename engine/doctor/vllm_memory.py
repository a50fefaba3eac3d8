"""Estimates vLLM's memory for a role: weights, working memory, and how many requests fit into the KV cache.

vLLM reserves a share of each GPU and uses what weights and its largest batch leave of it for the KV cache. As of vLLM
0.33 it refuses to start if less than its share is free, and [vllm] kv_cache_gib sets the KV cache regardless of the
share. Its working memory was derived from its source and not measured on a GPU. Loads no torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from engine.config.schema import Config
from engine.doctor import memory
from engine.doctor.finding import Finding
from engine.doctor.fit import Changes, as_toml, changed, size
from engine.doctor.memory import ModelShape

GIB = 2**30
LARGE = 70 * GIB  # GPU memory above which vLLM uses larger batches
TOKENS, SEQUENCES = {False: 8192, True: 16384}, {False: 256, True: 1024}
SAMPLER = 12  # bytes per logit while vLLM samples: 16-bit, float32, sorted
GRAPHS = GIB  # approximate memory of CUDA graphs
FEW = 8  # concurrent requests below which vLLM gains little
HIGHEST = 0.95  # highest share to propose


@dataclass(frozen=True, slots=True)
class Gpus:
    """The GPUs: how many, and the free and total bytes of the one with the least free memory that vLLM would use."""

    name: str
    count: int
    free: int
    total: int


@dataclass(frozen=True, slots=True)
class Room:
    """Bytes per GPU. request: tokens of the longest request with its reply; a_token: KV cache bytes per token."""

    share: int
    weights: int
    working: int
    cache: int
    a_token: int
    request: int

    @property
    def at_a_time(self) -> int:
        """How many of the longest requests fit concurrently."""
        return max(self.cache, 0) // (self.a_token * self.request)


def request(config: Config, role: str, longest: int) -> int:
    """Tokens of the longest request of ``role`` with its reply."""
    if role == "teacher":
        return longest + memory.REQUEST + config.teacher.max_new_tokens
    drawn = config.judge.max_new_tokens if config.judge.mode == "sampled" else 1
    return longest + memory.INSTRUCTIONS + memory.ENDS + drawn


def of_teacher(config: Config, role: str) -> bool:
    """Whether ``role`` is the teacher's model: its own role, or the judge's by [judge] model."""
    return role == "teacher" or config.other_judge


def room(shape: ModelShape, config: Config, role: str, gpus: Gpus, longest: int) -> Room:
    """The memory on each GPU when vLLM runs a model of ``shape`` as ``role``."""
    how, parts = config.vllm, config.vllm.tensor_parallel
    number = memory.bytes_of(config.teacher.dtype if of_teacher(config, role) else config.model.dtype, cuda=True)
    own = not (of_teacher(config, role) and config.teacher.model)
    weights = _weights(shape, how.quantization, number, own and config.train.method == "qlora")
    tuned = role == "judge" and config.judge.model == "tuned" and config.train.method != "full"
    adapter = memory.adapter(shape, config) * number if tuned else 0
    large = gpus.total >= LARGE
    computed = TOKENS[large] * (3 * shape.inner // parts + 4 * shape.hidden) * number
    drawn = (how.max_num_seqs or SEQUENCES[large]) * shape.words * SAMPLER
    working = max(computed, drawn) + memory.CONTEXT + (0 if how.enforce_eager else GRAPHS)
    share = int(gpus.total * how.gpu_memory_utilization)
    held = (weights + adapter) // parts
    return Room(
        share=share,
        weights=held,
        working=working,
        cache=round(how.kv_cache_gib * GIB) or share - held - working,
        a_token=2 * shape.layers * -(-shape.kv_width // parts) * number,
        request=request(config, role, longest),
    )


def _weights(shape: ModelShape, quantization: str, number: int, nf4: bool) -> int:
    """Bytes of all weights; unknown quantisations are ignored."""
    each = {"bitsandbytes": memory.NF4, "fp8": 1.0}.get("bitsandbytes" if nf4 else quantization, float(number))
    return int(shape.in_layers * each) + (shape.parameters - shape.in_layers) * number


def finding(shape: ModelShape, config: Config, role: str, gpus: Gpus, longest: int) -> Finding:
    """Whether vLLM starts and can serve the longest request, and how many concurrently."""
    there = room(shape, config, role, gpus, longest)
    name = "rewrite" if role == "teacher" else role
    parts = f"weights {size(there.weights)}, working memory {size(there.working)}"
    text = f"vLLM reserves {size(there.share)} of {size(gpus.total)} on {gpus.name} ({parts}): "
    if there.share > gpus.free:
        left = int(100 * gpus.free / gpus.total) / 100
        fix = f"set [vllm] gpu_memory_utilization = {left:g}, or stop the process that uses the rest (see nvidia-smi)"
        return Finding(name, f"{text}only {size(gpus.free)} are free, so it cannot start", bad=True, fix=fix)
    limit = config.vllm.max_model_len
    if 0 < limit < there.request:
        fix = f"set [vllm] max_model_len = {there.request}, or 0"
        return Finding(
            name, f"{text}requests of {there.request:,} tokens exceed max_model_len and are refused", fix=fix
        )
    over = there.weights + there.working + max(there.cache, 0) > (
        gpus.free if config.vllm.kv_cache_gib else there.share
    )
    if there.at_a_time and not over:
        tokens = there.cache // there.a_token
        text += f"{size(there.cache)} left for the KV cache: {tokens:,} tokens, or {there.at_a_time:,} concurrent"
        text += f" requests of {there.request:,} tokens"
        few = "few concurrent requests are slow; " if there.at_a_time < FEW else ""
        wanted = _enough(shape, config, role, gpus, longest, FEW) if few else None
        return Finding(name, text, fix=f"{few}{as_toml(wanted)}" if wanted else "")
    wanted = _enough(shape, config, role, gpus, longest, 1)
    text += "not enough memory" if over else f"no room for a request of {there.request:,} tokens"
    return Finding(name, text, True, as_toml(wanted) if wanted else "use a smaller model, or more or larger GPUs")


def _enough(shape: ModelShape, config: Config, role: str, gpus: Gpus, longest: int, requests: int) -> Changes | None:
    """The mildest changes that make so many requests fit concurrently, or None."""
    made: dict[str, object] = {}
    for step in _milder(config, gpus):
        made |= step
        there = room(shape, changed(config, made), role, gpus, longest)
        if there.at_a_time >= requests and there.share <= gpus.free and there.weights + there.working < there.share:
            return made
    return None


def _milder(config: Config, gpus: Gpus) -> Iterator[dict[str, object]]:
    """Changes to try in order, each on top of the earlier ones."""
    how = config.vllm
    if how.kv_cache_gib:
        yield {"vllm.kv_cache_gib": 0.0}
    highest = min(HIGHEST, int(100 * gpus.free / gpus.total) / 100)
    if how.gpu_memory_utilization < highest:
        yield {"vllm.gpu_memory_utilization": highest}
    parts = how.tensor_parallel
    while parts * 2 * how.data_parallel <= gpus.count:
        parts *= 2
        yield {"vllm.tensor_parallel": parts}
    if not how.quantization and config.train.method != "qlora":
        yield {"vllm.quantization": "fp8"}
