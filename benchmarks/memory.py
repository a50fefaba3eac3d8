"""The doctor's estimate of memory against what the train and score stages really take.

    python benchmarks/memory.py                  # on a CPU: two small shapes
    python benchmarks/memory.py --device cuda    # torch.cuda.max_memory_allocated at an 8B shape, random weights

Each row is a real stage in a process of its own, over samples that all fill model.max_length; writes
docs/benchmarks/memory.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shlex
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from measured import machine, piece, run_piece, table  # noqa: E402

from engine import memory  # noqa: E402

DOCUMENT = ROOT / "docs" / "benchmarks" / "memory.md"
BASE = ROOT / "engine" / "demo" / "base"
MIB = 2**20


@dataclasses.dataclass(frozen=True)
class Size:
    """A Llama's shape."""

    hidden: int
    inner: int
    layers: int
    heads: int
    kv: int
    words: int


SIZES = {
    "125M": Size(768, 2048, 12, 12, 4, 32_000),
    "246M": Size(1024, 2816, 16, 16, 4, 32_000),
    "8B": Size(4096, 14_336, 32, 32, 8, 128_256),
}
# name -> shape, method, gradient checkpointing, batch size, tokens per sample, stage
ON_CPU: dict[str, tuple[str, str, bool, int, int, str]] = {
    f"{size}-{method}-{'checkpointed' if kept else 'whole'}": (size, method, kept, 2, 256, "train")
    for size in ("125M", "246M")
    for method in ("full", "lora")
    for kept in (True, False)
} | {f"{size}-score": (size, "lora", True, 2, 256, "score") for size in ("125M", "246M")}
ON_CUDA: dict[str, tuple[str, str, bool, int, int, str]] = {
    "8B-lora-checkpointed": ("8B", "lora", True, 4, 2048, "train"),
    "8B-lora-whole": ("8B", "lora", False, 1, 2048, "train"),
    "8B-qlora-checkpointed": ("8B", "qlora", True, 4, 2048, "train"),
    "8B-score": ("8B", "lora", True, 4, 2048, "score"),
}


def make_model(folder: Path, size: Size) -> None:
    """A Llama with random weights and the demo's tokenizer.

    In bfloat16: weights that are read as they are stay a mapped file on a CPU, which its allocator does not count.
    """
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=size.words,
        hidden_size=size.hidden,
        intermediate_size=size.inner,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.kv,
        max_position_embeddings=8192,
        tie_word_embeddings=False,
    )
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = LlamaForCausalLM(config)
    torch.set_default_dtype(before)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(BASE).save_pretrained(folder)


def make_project(folder: Path, model: Path, how: tuple[str, str, bool, int, int, str], device: str) -> Any:
    """A project of rows that are all cut at model.max_length, with a round opened."""
    from engine import config as configs
    from engine import project
    from engine.context import StoreCtx
    from engine.loop import NAMES
    from engine.store import commands, write
    from engine.store.connect import writer

    _, method, kept, batch, length, stage = how
    rows = [{"instruction": f"Count to {i}.", "input": "", "output": "one two three " * length} for i in range(4)]
    source = folder.with_suffix(".json")
    source.write_text(json.dumps(rows[: max(2 * batch, 2)] if stage == "train" else rows * 8), encoding="utf-8")
    settings: dict[str, dict[str, object]] = {
        "data": {"heldout_share": 0.0},
        "model": {"name": str(model), "max_length": length, "device": device, "threads": 1},
        "train": {
            "method": method,
            "batch_size": batch,
            "gradient_accumulation": 1,
            "gradient_checkpointing": kept,
            "checkpoint_steps": 1000,
        },
        "score": {"token_budget": 4 * length, "clusters": False},
    }
    project.create(folder, [source], settings)
    db = writer(folder)
    write.open_round(db, 0, "{}", NAMES, closing=False, stopped=None)
    commands.set_plan(folder, 1)
    return StoreCtx(db, folder, configs.load(folder), 0, stage)


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
    from engine.stages import score, train

    os.environ["HF_DEACTIVATE_ASYNC_LOAD"] = "1"  # what other threads allocate the profiler does not see
    how = (ON_CPU | ON_CUDA)[name]
    model = scratch / how[0]
    if not model.exists():
        make_model(model, SIZES[how[0]])
    ctx = make_project(scratch / name, model, how, device)
    cuda = device == "cuda"
    if how[-1] == "score":
        _untrained(ctx)
    with Peak(cuda) as peak:
        {"train": train, "score": score}[how[-1]].run(ctx)
    shape = memory.read_shape(model)
    estimate = {"train": memory.train, "score": memory.score}[how[-1]](shape, ctx.config, cuda, how[4])
    parts = {k: v for k, v in estimate.parts.items() if k != "CUDA"}
    return {}, {"peak": peak.bytes, "estimate": sum(parts.values()), **{f"part {k}": v for k, v in parts.items()}}


def _untrained(ctx: Any) -> None:
    """The base as this round's checkpoint, by way of an adapter that changes nothing."""
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    from engine import diagnosis, models

    folder = ctx.workdir("checkpoint") / "final"
    base = diagnosis.base_model(ctx)
    import torch

    with torch.device("meta"):
        model = LlamaForCausalLM(LlamaConfig.from_pretrained(base.base))
    adapted = get_peft_model(model, LoraConfig(r=16, target_modules="all-linear", task_type="CAUSAL_LM"))
    state = {k: torch.zeros(v.shape) for k, v in adapted.state_dict().items() if "lora_" in k}
    adapted.save_pretrained(str(folder), state_dict=state)
    models.write_note(folder, base, ctx.project)
    ctx.publish("checkpoint", folder, {})


def main(arguments: Sequence[str]) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python benchmarks/memory.py", description=__doc__)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--only", nargs="*", help="rows to measure")
    parser.add_argument("--document", type=Path, default=DOCUMENT)
    parser.add_argument("--piece", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.piece:
        job: Callable[[], Any] = partial(work, options.piece, options.device, options.out.parent)
        run_piece(job, options.out)
        return 0
    rows = {"cpu": ON_CPU, "cuda": ON_CUDA}[options.device]
    with tempfile.TemporaryDirectory(prefix="middo-memory-") as scratch:
        names = [name for name in rows if not options.only or name in options.only]
        found = {name: piece(__file__, name, Path(scratch), ["--device", options.device])[0] for name in names}
    text = report(shlex.join(["python", "benchmarks/memory.py", *arguments]), options.device, rows, found)
    options.document.parent.mkdir(parents=True, exist_ok=True)
    options.document.write_text(text, encoding="utf-8")
    return 0


def report(command: str, device: str, rows: Mapping[str, Any], found: Mapping[str, Mapping[str, float]]) -> str:
    """The page."""
    body = []
    for name, f in found.items():
        size, method, kept, batch, length, stage = rows[name]
        how = f"{method}, {'checkpointing' if kept else 'no checkpointing'}, {batch} × {length}"
        parts = [f"{k.removeprefix('part ')} {v / MIB:,.0f}" for k, v in f.items() if k.startswith("part ")]
        off = f["estimate"] / f["peak"] - 1
        row = [size, stage, how if stage == "train" else f"batches of {4 * length} tokens"]
        body.append([*row, f"{f['estimate'] / MIB:,.0f}", f"{f['peak'] / MIB:,.0f}", f"{off:+.0%}", " · ".join(parts)])
    head = ["model", "stage", "settings", "estimate MiB", "measured MiB", "off by", "the estimate's parts, MiB"]
    measured = "torch.cuda.max_memory_allocated" if device == "cuda" else "the CPU allocator's count"
    about = (
        "Llama shapes with random weights; every sample fills the context. Measured: "
        f"the most bytes of tensors at a time in the whole stage ({measured}). "
        "The estimate is `engine/memory.py`'s, without what CUDA itself takes."
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
