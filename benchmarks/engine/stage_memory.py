"""How the memory of each stage grows with the dataset: select, verify, merge and export, and score where asked for.

``python -m benchmarks.engine.stage_memory [--sizes 2000,10000,50000,200000] [--score 10000] [--out
docs/benchmarks/stage-memory.md]``: every stage is a process of its own over a project of so many rows of an Alpaca file
(``MIDDO_TEST_DATA``; else invented ones), again and again with a variation. Signals and embeddings are invented, but
for score, which computes them with the demo's base model up to ``--score`` rows. 200 rewrites are checked, measured
and merged whatever the size, so what grows is the dataset's.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np

from benchmarks.engine.data_at_size import write_rows
from benchmarks.engine.diagnose_pieces import BASE
from benchmarks.measured import machine, table
from engine.config import schema as configs
from engine.loop import NAMES
from engine.project import folder as projects
from engine.runtime.context import StoreCtx
from engine.signals import round_models
from engine.store import commands, read, write
from engine.store.connect import transaction, writer
from engine.store.rows import Artifact, Flaw, Lenses, Losses, Neighbourhood, Ratings, Rewrite, Row, dump_messages

HEAD = ("stage", "rows", "before, MiB", "peak, MiB", "grown by", "bytes a row")
STAGES = ("select", "verify", "merge", "export")
MODELS = ("score", "verify")
REWRITES = 200
WIDTH = int(json.loads((BASE / "config.json").read_text(encoding="utf-8"))["hidden_size"])
LENGTH = 64
"""Tokens that the model reads of a sample: enough to fill the batches, little to compute."""


def make(project: Path, data: Path, signals: bool) -> None:
    """A project whose first round is trained, with ``signals`` also scored and rated, and its rewrites made."""
    model = {"name": str(BASE), "max_length": LENGTH, "device": "cpu", "threads": 1}
    projects.create(project, [data], {"model": model, "select": {"threshold": "sigma"}})
    db = writer(project)
    write.open_round(db, 0, configs.snapshot(configs.load(project)), NAMES, closing=False, stopped=None)
    commands.set_plan(project, 1)
    ctx = context(project, "score")
    tuned = ctx.workdir(round_models.CHECKPOINT) / "final"
    tuned.symlink_to(BASE.resolve())
    artifacts = [Artifact(0, round_models.CHECKPOINT, str(tuned.relative_to(project)))]
    if signals:
        ids = ctx.dataset().ids
        place = ctx.workdir("embeddings") / "invented.npy"
        rng = np.random.default_rng(0)
        np.save(place, rng.standard_normal((len(ids), WIDTH)).astype(np.float16))
        artifacts.append(Artifact(0, "embeddings", str(place.relative_to(project))))
        for start in range(0, len(ids), 10_000):
            ctx.save([row for id in ids[start : start + 10_000] for row in _signals(random.Random(id), id, ids)])
    with transaction(db):
        write.upsert(db, artifacts)
    db.close()


def _signals(rng: random.Random, id: int, ids: object) -> list[Row]:
    near = json.dumps(rng.choices(ids, k=2))  # type: ignore[arg-type]  # an array of ids
    loss = rng.random() * 4
    return [
        Losses(0, id, loss, loss * 0.9, 30, 120),
        Lenses(0, id, loss, rng.random(), rng.random(), loss, 0, 9),
        Flaw(0, id, rng.random(), "ifd"),
        Neighbourhood(0, id, rng.random(), near, 1, 0.1),
        Ratings(0, id, *(5.0,) * 6, rng.random() * 9, 0.9),
    ]


def context(project: Path, stage: str) -> StoreCtx:
    """What a stage sees."""
    return StoreCtx(writer(project), project, configs.load(project), 0, stage)


def propose(project: Path, state: str) -> None:
    """As if the teacher had written ``REWRITES`` answers, of which the rest of the loop sees no others."""
    ctx = context(project, "rewrite")
    data = ctx.dataset()
    step = max(1, len(data) // REWRITES)
    ctx._db.execute("DELETE FROM rewrite")
    parents = data.take(data.ids[::step][:REWRITES])
    answers = [parent.with_last_exchange(f"{parent.prompt} Say more.", parent.response) for parent in parents]
    made = zip(parents, answers, strict=True)
    ctx.save([Rewrite(0, s.id, "diversity", state, messages=dump_messages(m), prompt=m[-2].content) for s, m in made])


def piece(project: Path, stage: str) -> None:
    """Run one stage here and print memory before it and at its peak, in KiB."""
    module = import_module(f"engine.stages.{stage}") if stage != "export" else projects
    if stage in MODELS:
        round_models.open_model(configs.load(project).model, round_models.base_model(context(project, stage)))
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak begins here
    if stage == "export":
        projects.export(project, project / "out.jsonl", None, "messages")
    else:
        module.run(context(project, stage))
    print(json.dumps({"before": before, "peak": _status("VmHWM")}))


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(f"{name}:")))


def measure(project: Path, stage: str) -> tuple[int, int]:
    """Memory before a stage and its peak, KiB."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    command = [sys.executable, "-m", "benchmarks.engine.stage_memory", "--piece", stage, "--project", str(project)]
    said = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout
    found = json.loads(said.splitlines()[-1])
    return found["before"], found["peak"]


def measure_size(folder: Path, count: int, scored: bool, add: Callable[[str, int, int, int], None]) -> None:
    """The lines of one size."""
    data = folder / f"{count}.json"
    write_rows(data, count)
    if scored:
        make(folder / f"scored-{count}", data, signals=False)
        add("score", count, *measure(folder / f"scored-{count}", "score"))
    project = folder / f"project-{count}"
    make(project, data, signals=True)
    for stage in STAGES:
        if stage == "verify":
            propose(project, "proposed")
        if stage == "merge":
            propose(project, "accepted")
        add(stage, count, *measure(project, stage))
    assert read.size(writer(project), 1) >= count * 0.9


def main() -> None:
    """Measure and write the page, again after every size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="2000,10000,50000,200000")
    parser.add_argument("--score", type=int, default=10_000, help="the most rows that score is measured with")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--piece", help=argparse.SUPPRESS)
    parser.add_argument("--project", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.piece:
        piece(asked.project, asked.piece)
        return
    found: dict[str, list[tuple[int, int, int]]] = {}

    def add(stage: str, count: int, before: int, peak: int) -> None:
        found.setdefault(stage, []).append((count, before, peak))
        sys.stderr.write(f"{stage} {count:,}: {before / 1024:.0f} → {peak / 1024:.0f} MiB\n")

    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        for size in map(int, asked.sizes.split(",")):
            measure_size(Path(folder), size, size <= asked.score, add)
            if asked.out:
                asked.out.write_text(PAGE.format(machine=machine(), table=table(HEAD, lines(found))), encoding="utf-8")


def lines(found: dict[str, list[tuple[int, int, int]]]) -> list[tuple[str, ...]]:
    """The page's table; bytes a row between one size and the one before it."""
    out: list[tuple[str, ...]] = []
    for stage, sizes in found.items():
        for at, (count, before, peak) in enumerate(sizes):
            grown, each = peak - before, ""
            if at:
                smaller, first, most = sizes[at - 1]
                each = f"{(grown - (most - first)) * 1024 / (count - smaller):,.0f}"
            figures = (f"{before / 1024:,.0f}", f"{peak / 1024:,.0f}", f"{grown / 1024:,.0f} MiB", each)
            out.append((stage, f"{count:,}", *figures))
    return out


PAGE = """# Memory of the stages as the dataset grows

`python -m benchmarks.engine.stage_memory --out docs/benchmarks/stage-memory.md` ({machine}). Every stage is a process
of its own; "before" is what it has when it begins, with its imports and its model, "bytes a row" what each further row
adds to the peak. Rows are Alpaca's, about 450 bytes of text each, again and again with a variation. Signals and
embeddings are invented except for score's; 200 rewrites are checked and merged whatever the size.

{table}

No stage holds the texts of a dataset: it goes through them page by page. What grows are ids (8 bytes, in a set or a
dictionary some 100), one row object of a kind of signals at a time (200 to 300 bytes for four to eight figures) and
hashes of prompts. Select, like rewrite, holds the texts of what is to be rewritten and of its neighbours. Here that is
most of what it adds: the invented signals select 44 % of the rows.
"""

if __name__ == "__main__":
    main()
