"""One measured piece of work in a process of its own: wall time, CPU time, padded tokens, peak memory.

`python -m MODULE --piece NAME --out FILE …` runs a piece and writes its figures as JSON and its arrays as .npz; the
parent puts the figures side by side. A process each, because peak memory never falls and a warm cache would help
the second.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import ROOT

Arrays = Mapping[str, Any]
WARM = ("transformers.models.llama.modeling_llama", "transformers.generation", "engine.backends.hf", "hdbscan")


def count_tokens() -> list[int]:
    """A growing list of one number: tokens that went through any model's word embedding, padding included."""
    import torch

    total = [0]

    def seen(module: Any, inputs: tuple[Any, ...]) -> None:
        if isinstance(module, torch.nn.Embedding) and inputs:
            total[0] += inputs[0].numel()

    torch.nn.modules.module.register_module_forward_pre_hook(seen)
    return total


def run_piece(work: Callable[[], tuple[Arrays, Mapping[str, float]]], out: Path) -> None:
    """Run ``work``; it returns arrays to compare and further figures."""
    for module in WARM:  # not the work: an import costs seconds, once per child process
        import_module(module)
    tokens = count_tokens()
    idle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wall, cpu = time.perf_counter(), time.process_time()
    arrays, more = work()
    figures = {
        "wall_s": time.perf_counter() - wall,
        "cpu_s": time.process_time() - cpu,
        "tokens": tokens[0],
        "peak_mib": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - idle) / 1024,
        **more,
    }
    np.savez(out.with_suffix(".npz"), **arrays)
    out.write_text(json.dumps(figures), encoding="utf-8")


def module_of(script: str) -> str:
    """The name to run a file of the benchmarks by: ``python -m NAME`` from the repository's folder."""
    return ".".join(Path(script).relative_to(ROOT).with_suffix("").parts)


def piece(script: str, name: str, out: Path, options: Sequence[str]) -> tuple[dict[str, float], Any]:
    """Run piece ``name`` of ``script`` in a fresh process; returns its figures and arrays."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    target = out / f"{name}.json"
    command = [sys.executable, "-m", module_of(script), "--piece", name, "--out", str(target), *options]
    subprocess.run(command, check=True, env=environment)
    figures = json.loads(target.read_text(encoding="utf-8"))
    sys.stderr.write(f"{name}: {figures['wall_s']:.1f} s\n")
    return figures, np.load(target.with_suffix(".npz"))


def machine() -> str:
    """Where it was measured, in one line."""
    import platform

    import torch

    cpu = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "CPU"
    )
    return (
        f"{cpu}, {os.cpu_count()} cores (1 thread used), Python {platform.python_version()}, torch {torch.__version__}"
    )


def _lines(path: str) -> list[str]:
    return Path(path).read_text(encoding="utf-8").splitlines()


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; numbers are right-aligned."""
    lines = ["| " + " | ".join(head) + " |", "|" + "|".join([" --- ", *[" ---: "] * (len(head) - 1)]) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(map(str, row)) + " |" for row in rows)])
