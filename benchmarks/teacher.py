"""Rewrites through an endpoint: our stage against ten threads that wait for each other, as the published client does.

    python benchmarks/teacher.py --rewrites 1000

A real local server answers each call after a time drawn from a log-normal distribution (median 0.2 s, a long tail, as
chat endpoints have); writes docs/benchmarks/teacher.md.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import shlex
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path

from measured import machine, table

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import openai  # noqa: E402
from chat_server import MODEL, Server  # noqa: E402

from engine import config as configs  # noqa: E402
from engine import project  # noqa: E402
from engine.context import StoreCtx  # noqa: E402
from engine.loop import NAMES  # noqa: E402
from engine.stages import rewrite  # noqa: E402
from engine.store import commands, read, write  # noqa: E402
from engine.store.connect import writer  # noqa: E402
from engine.store.rows import Rewrite  # noqa: E402

DOCUMENT = ROOT / "docs" / "benchmarks" / "teacher.md"
THREADS = 10
MEDIAN_S, SPREAD = 0.2, 0.7


def serve(pipe: Connection) -> None:
    """The server, in a process of its own."""
    draw = random.Random(0)

    def answer(text: str) -> str:
        time.sleep(draw.lognormvariate(0, SPREAD) * MEDIAN_S)
        return "<prompt>a new prompt</prompt>" if "<prompt>" in text else "a good answer"

    with Server(answer=answer) as server:
        pipe.send(server.url)
        pipe.recv()


def barrier(url: str, count: int) -> float:
    """Ten calls at a time, the next ten when all ten are back; prompts first, then answers. Seconds."""
    client = openai.OpenAI(api_key="none", base_url=url)

    def ask(text: str) -> str:
        said = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": text}], max_tokens=64)
        return said.choices[0].message.content or ""

    start = time.perf_counter()
    for kind in ("write <prompt>", "answer"):
        texts = [f"{kind} {i}" for i in range(count)]
        for at in range(0, count, THREADS):
            with ThreadPoolExecutor(THREADS) as pool:
                list(pool.map(ask, texts[at : at + THREADS]))
    return time.perf_counter() - start


def streamed(url: str, count: int, folder: Path, concurrency: int) -> tuple[float, int]:
    """Our stage, store included. Seconds, and how many rewrites were proposed."""
    data = folder / "rows.jsonl"
    rows = (f'{{"instruction": "Name {i} things.", "input": "", "output": "Here are {i}."}}' for i in range(count))
    data.write_text("\n".join(rows), encoding="utf-8")
    teacher: dict[str, object] = {"backend": "openai", "url": url, "model": MODEL, "concurrency": concurrency}
    home = folder / "project"
    project.create(home, [data], {"data": {"heldout_share": 0.0}, "teacher": teacher | {"max_new_tokens": 64}})
    db = writer(home)
    write.open_round(db, 0, "{}", NAMES, closing=False, stopped=None)
    commands.set_plan(home, 1)
    write.upsert(db, [Rewrite(0, sample.id, "quality", "owed") for sample in read.dataset(db, 0)])
    start = time.perf_counter()
    rewrite.run(StoreCtx(db, home, configs.load(home), 0, "rewrite"))
    took = time.perf_counter() - start
    return took, sum(row.state == "proposed" for row in read.rows(db, Rewrite, 0))


def main(arguments: list[str]) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python benchmarks/teacher.py", description=__doc__)
    parser.add_argument("--rewrites", type=int, default=1000)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--document", type=Path, default=DOCUMENT)
    options = parser.parse_args(arguments)
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,))
    server.start()
    url = ours.recv()
    with tempfile.TemporaryDirectory(prefix="middo-teacher-") as scratch:
        took, proposed = streamed(url, options.rewrites, Path(scratch), options.concurrency)
    waited = barrier(url, options.rewrites)
    ours.send("end")
    server.join()
    body = [
        [
            f"{THREADS} threads, a barrier after each {THREADS}",
            f"{waited:.1f}",
            f"{options.rewrites / waited:.1f}",
            "1.0",
        ],
        [
            f"our stage, {options.concurrency} in flight",
            f"{took:.1f}",
            f"{proposed / took:.1f}",
            f"{waited / took:.1f}",
        ],
    ]
    lines = [
        "# Rewrites through an endpoint",
        "",
        f"`{shlex.join(['python', 'benchmarks/teacher.py', *arguments])}`",
        "",
        machine() + ".",
        "",
        f"{options.rewrites:,} rewrites of two calls each, against a local server that answers after a log-normal time "
        f"(median {MEDIAN_S} s, sigma {SPREAD}). Ours writes every result into the store as it comes.",
        "",
        table(["client", "seconds", "rewrites/s", "times faster"], body),
        "",
    ]
    options.document.parent.mkdir(parents=True, exist_ok=True)
    options.document.write_text("\n".join(lines), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
