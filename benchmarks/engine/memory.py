"""The doctor's estimate of memory against what the stages really take.

    python -m benchmarks.engine.memory                  # on a CPU: two small shapes
    python -m benchmarks.engine.memory --device cuda    # torch.cuda.max_memory_allocated at an 8B shape, random weights

Each row is a real stage in a process of its own (of rewrite: one batch of its teacher), over samples that all are as
long as the longest; writes docs/benchmarks/memory.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import re
import shlex
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import ROOT
from benchmarks.measured import machine, piece, run_piece, table
from benchmarks.world import random_llama
from engine.doctor import memory
from engine.stage import Ctx

DOCUMENT = ROOT / "docs" / "benchmarks" / "memory.md"
MIB = 2**20
SIZES = {
    "125M": random_llama.Llama(768, 2048, 12, 12, 4, 32_000),
    "246M": random_llama.Llama(1024, 2816, 16, 16, 4, 32_000),
    "8B": random_llama.Llama(4096, 14_336, 32, 32, 8, 128_256),
}


@dataclasses.dataclass(frozen=True)
class Row:
    """What is measured: a stage over samples of ``length`` tokens.

    batch: samples of a training batch, replies of a rewriting one. budget: tokens of a batch that scores or rates.
    """

    size: str
    stage: str
    length: int
    method: str = "lora"
    dtype: str = "auto"
    batch: int = 2
    gathered: int = 1
    checkpointed: bool = True
    budget: int = 1024
    reply: int = 32

    @property
    def name(self) -> str:
        """Everything about it."""
        return "-".join(str(value) for value in dataclasses.astuple(self))

    @property
    def said(self) -> str:
        """The settings, for a person."""
        kind = "" if self.dtype == "auto" else f", {self.dtype}"
        if self.stage == "train":
            times = f" × {self.gathered} gathered" if self.gathered > 1 else ""
            kept = "checkpointing" if self.checkpointed else "no checkpointing"
            return f"{self.method}{kind}, {kept}, {self.batch} × {self.length}{times}"
        if self.stage == "rewrite":
            return f"{self.batch} requests of {self.length} tokens, {self.reply} more written{kind}"
        return f"samples of {self.length} tokens, batches of {self.budget}{kind}"


ON_CPU = [
    *(
        row
        for method in ("full", "lora")
        for row in (
            Row("125M", "train", 256, method),
            Row("125M", "train", 256, method, checkpointed=False),
            Row("125M", "train", 256, method, "bfloat16"),
            Row("125M", "train", 256, method, gathered=2),
        )
    ),
    Row("125M", "score", 512, budget=2048),
    Row("125M", "score", 512, dtype="bfloat16", budget=2048),
    Row("125M", "judge", 512, budget=2048),
    Row("125M", "judge", 512, dtype="bfloat16", budget=2048),
    Row("125M", "judge", 64, budget=2048),
    Row("125M", "rewrite", 512, batch=8),
    Row("125M", "rewrite", 512, dtype="bfloat16", batch=8),
    Row("246M", "train", 256, "full"),
    Row("246M", "train", 256, "lora", "bfloat16"),
    Row("246M", "judge", 1024, budget=2048),
    Row("246M", "rewrite", 512, batch=8),
]
ON_CUDA = [
    Row("8B", "train", 2048, batch=4),
    Row("8B", "train", 2048, batch=4, gathered=2),
    Row("8B", "train", 2048, batch=1, checkpointed=False),
    Row("8B", "train", 2048, "qlora", batch=4),
    Row("8B", "score", 2048, budget=16_384),
    Row("8B", "judge", 2048, budget=32_768),
    Row("8B", "rewrite", 2048, batch=32, reply=512),
]


def text_of(tokens: int) -> str:
    """A text that the demo's tokenizer makes about so many tokens of."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(random_llama.TOKENIZER)
    word = "one two three "
    each = len(tokenizer(word * 100)["input_ids"]) / 100
    return word * round(tokens / each)


def make_project(folder: Path, model: Path, how: Row, device: str) -> Any:
    """A project of rows that are all as long as the longest, with a round opened."""
    from engine.config import schema as configs
    from engine.loop import NAMES
    from engine.project import folder as project
    from engine.runtime.context import StoreCtx
    from engine.store import commands, write
    from engine.store.connect import writer

    text = text_of(how.length if how.stage in ("judge", "rewrite") else 3 * how.length)  # training and scoring cut it
    count = 2 * how.batch * how.gathered if how.stage == "train" else max(4, 2 * how.budget // how.length)
    source = folder.with_suffix(".json")
    rows = [{"instruction": f"Count to {i}.", "input": "", "output": text} for i in range(count)]
    source.write_text(json.dumps(rows), encoding="utf-8")
    settings: dict[str, dict[str, object]] = {
        "data": {"heldout_share": 0.0},
        "model": {
            "name": str(model),
            "max_length": how.length,
            "device": device,
            "threads": 1,
            "dtype": how.dtype,
        },
        "train": {
            "method": how.method,
            "batch_size": how.batch,
            "gradient_accumulation": how.gathered,
            "gradient_checkpointing": how.checkpointed,
            "checkpoint_steps": 1000,
        },
        "score": {"token_budget": how.budget, "clusters": False},
        "judge": {"token_budget": how.budget, "min_digit_mass": 0.0},
        "teacher": {"batch_size": how.batch, "max_new_tokens": how.reply, "dtype": how.dtype},
    }
    project.create(folder, [source], settings)
    db = writer(folder)
    write.open_round(db, 0, "{}", NAMES, closing=False, stopped=None)
    commands.set_plan(folder, 1)
    return StoreCtx(db, folder, configs.load(folder), 0, how.stage)


class Peak:
    """The most bytes of tensors that live at a time: the allocator's own count, on a GPU and on a CPU alike.

    Resident memory would not do: what else the process takes is as large as these models.
    """

    def __init__(self, cuda: bool) -> None:
        self._cuda = cuda
        self.bytes = 0
        self._profile: Any = None

    def __enter__(self) -> Peak:
        import torch

        if not self._cuda:
            self._profile = torch.profiler.profile(
                activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
            )
            self._profile.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        import torch

        if self._cuda:
            self.bytes = torch.cuda.max_memory_allocated()
            return
        self._profile.__exit__(*error)
        with tempfile.NamedTemporaryFile(suffix=".json") as trace:
            self._profile.export_chrome_trace(trace.name)
            events = json.loads(Path(trace.name).read_text(encoding="utf-8"))["traceEvents"]
        self.bytes = max(e["args"]["Total Allocated"] for e in events if e.get("name") == "[memory]")


def work(name: str, device: str, scratch: Path) -> tuple[Mapping[str, Any], Mapping[str, float]]:
    """Run one stage; returns estimate and measured peak in bytes."""
    from engine.stages import judge, score, train

    os.environ["HF_DEACTIVATE_ASYNC_LOAD"] = "1"  # what other threads allocate the profiler does not see
    how = next(row for row in ON_CPU + ON_CUDA if row.name == name)
    cuda = device == "cuda"
    read_as_float = how.dtype == "auto" or (how.stage == "train" and how.method == "full")
    # Weights that a CPU reads as they are stay a mapped file, which its allocator does not count.
    stored = "bfloat16" if cuda or read_as_float else "float32"
    model = scratch / f"{how.size}-{stored}"
    if not model.exists():
        random_llama.write(model, SIZES[how.size], stored)
    ctx = make_project(scratch / name, model, how, device)
    if how.stage in ("score", "judge"):
        _untrained(ctx)
    stages: dict[str, Callable[[Ctx], object]] = {
        "train": train.run,
        "score": score.run,
        "judge": judge.run,
        "rewrite": partial(_rewrite, how),
    }
    with Peak(cuda) as peak:
        stages[how.stage](ctx)
    shape = memory.read_shape(model)
    found = memory.needs(shape, ctx.config, cuda, how.length, teacher=shape)
    estimate = next(need for need in found if need.stage == how.stage)
    parts = {k: v for k, v in estimate.parts.items() if k != "CUDA"}
    return {}, {"peak": peak.bytes, "estimate": sum(parts.values()), **{f"part {k}": v for k, v in parts.items()}}


def _rewrite(how: Row, ctx: Any) -> None:
    """A batch of requests to the teacher, as the stage sends them."""
    from engine.backends import Call
    from engine.stages import rewrite
    from engine.store.rows import Message

    teacher = rewrite.open_teacher(ctx)
    lengths = [how.length + memory.REQUEST - 4 * i for i in range(how.batch)]  # not all alike: then there is a mask
    asked = ctx.config.teacher
    calls = [
        Call(n, (Message("user", text_of(n)),), asked.max_new_tokens, asked.temperature, asked.top_p, 0)
        for n in lengths
    ]
    teacher.write(calls, rows=how.batch, watch=lambda _: None, keep=ctx.workdir("writing") / "replies.safetensors")


def _untrained(ctx: Any) -> None:
    """The base as this round's checkpoint, by way of an adapter that changes nothing."""
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    from engine.models import locate
    from engine.signals import round_models

    folder = ctx.workdir("checkpoint") / "final"
    base = round_models.base_model(ctx)
    import torch

    with torch.device("meta"):
        model = LlamaForCausalLM(LlamaConfig.from_pretrained(base.base))
    adapted = get_peft_model(model, LoraConfig(r=16, target_modules="all-linear", task_type="CAUSAL_LM"))
    state = {k: torch.zeros(v.shape) for k, v in adapted.state_dict().items() if "lora_" in k}
    adapted.save_pretrained(str(folder), state_dict=state)
    locate.write_note(folder, base, ctx.project)
    ctx.publish("checkpoint", folder, {})


def main(arguments: Sequence[str]) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine.memory", description=__doc__)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--only", help="measure the rows whose names match this regular expression, e.g. ^125M-judge")
    parser.add_argument("--document", type=Path, default=DOCUMENT)
    parser.add_argument("--piece", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.piece:
        job: Callable[[], Any] = partial(work, options.piece, options.device, options.out.parent)
        run_piece(job, options.out)
        return 0
    rows = {"cpu": ON_CPU, "cuda": ON_CUDA}[options.device]
    chosen = [row for row in rows if options.only is None or re.search(options.only, row.name)]
    command = shlex.join(["python", "-m", "benchmarks.engine.memory", *arguments])
    with tempfile.TemporaryDirectory(prefix="middo-memory-") as scratch:
        found: list[tuple[Row, Mapping[str, float]]] = []
        for row in chosen:
            found.append((row, piece(__file__, row.name, Path(scratch), ["--device", options.device])[0]))
            options.document.parent.mkdir(parents=True, exist_ok=True)
            options.document.write_text(report(command, options.device, found), encoding="utf-8")  # each: it takes long
    return 0


def report(command: str, device: str, found: Sequence[tuple[Row, Mapping[str, float]]]) -> str:
    """The page."""
    body = []
    for row, f in found:
        parts = [f"{k.removeprefix('part ')} {v / MIB:,.0f}" for k, v in f.items() if k.startswith("part ")]
        off = f["estimate"] / f["peak"] - 1
        sizes = [f"{f['estimate'] / MIB:,.0f}", f"{f['peak'] / MIB:,.0f}", f"{off:+.0%}"]
        body.append([row.size, row.stage, row.said, *sizes, " · ".join(parts)])
    head = ["model", "stage", "settings", "estimate MiB", "measured MiB", "off by", "the estimate's parts, MiB"]
    measured = "torch.cuda.max_memory_allocated" if device == "cuda" else "the CPU allocator's count"
    about = (
        "Llama shapes with random weights; every sample fills the context. Measured: "
        f"the most bytes of tensors at a time in the whole stage ({measured}). "
        "The estimate is `engine/doctor/memory.py`'s, without what CUDA itself takes."
    )
    return "\n".join(
        [
            "# Memory: the doctor's estimate",
            "",
            f"`{command}`",
            "",
            machine() + ".",
            "",
            about,
            "",
            table(head, body),
            "",
        ]
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
