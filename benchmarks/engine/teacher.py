"""Rewrites through an endpoint: our stage against ten threads that wait for each other, as the published client does.

    python -m benchmarks.engine.teacher --rewrites 1000

A real local server answers each call after a time drawn from a log-normal distribution (median 0.2 s, a long tail, as
chat endpoints have). Our stage runs with its default concurrency, and with as many calls in flight as the other client
has threads: what is left of the difference then is the barrier's. A third run is killed twice with SIGKILL, and the
server counts what is asked again. Writes docs/benchmarks/teacher.md.
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
from typing import NamedTuple

import openai

from benchmarks import ROOT
from benchmarks.measured import machine, table
from engine.config import schema as configs
from engine.runtime.context import StoreCtx
from engine.stages import rewrite
from engine.store import read, teacher
from engine.store.connect import reader, writer
from engine.store.rows import Rewrite
from tests.support.chat_server import MODEL, Server
from tests.support.pending_project import teaches, with_pending_rewrites
from tests.support.processes import run_child

DOCUMENT = ROOT / "docs" / "benchmarks" / "teacher.md"
THREADS = 10
MEDIAN_S, SPREAD = 0.2, 0.7
KILLS = (40, 60)
"""In which save, counted from its start, a run of the stage dies."""


def serve(pipe: Connection) -> None:
    """The server, in a process of its own. Asked, it sends how many requests came so far."""
    draw = random.Random(0)

    def answer(text: str) -> str:
        time.sleep(draw.lognormvariate(0, SPREAD) * MEDIAN_S)
        return teaches(text)

    with Server(answer=answer) as server:
        pipe.send(server.url)
        while pipe.recv() != "end":
            pipe.send(sum(server.seen.values()))


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


def made(home: Path, url: str, count: int, concurrency: int) -> Path:
    """A project that owes ``count`` rewrites."""
    return with_pending_rewrites(home, url, count, concurrency=concurrency, max_new_tokens=64)


def streamed(home: Path) -> float:
    """Our stage, store included. Seconds."""
    db = writer(home)
    start = time.perf_counter()
    rewrite.run(StoreCtx(db, home, configs.load(home), 0, "rewrite"))
    took = time.perf_counter() - start
    require_all(home)
    return took


def require_all(home: Path) -> None:
    """Every rewrite is made, and its two calls are counted once each."""
    db = reader(home)
    rows = read.rows(db, Rewrite, 0)
    assert {row.state for row in rows} == {"proposed"}
    assert teacher.asked(db, 0)["calls"] == 2 * len(rows)
    db.close()


class Kill(NamedTuple):
    """One death of the stage: calls that were saved, and that the server had been asked for, since the start."""

    saved: int
    asked: int


def killed(home: Path, pipe: Connection) -> tuple[list[Kill], int]:
    """Our stage in a child, killed twice; the deaths, and how many requests the server had in the end."""
    before, deaths = count(pipe), []
    for at in KILLS:
        assert run_child(home, 0, "rewrite", die_at=at) == -9
        db = reader(home)
        deaths.append(Kill(teacher.asked(db, 0)["calls"], count(pipe) - before))
        db.close()
    assert run_child(home, 0, "rewrite") == 0
    require_all(home)
    return deaths, count(pipe) - before


def count(pipe: Connection) -> int:
    """How many requests came to the server so far."""
    pipe.send("count")
    return int(pipe.recv())


def main(arguments: list[str]) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine.teacher", description=__doc__)
    parser.add_argument("--rewrites", type=int, default=1000)
    parser.add_argument("--concurrency", type=int, default=configs.Teacher().concurrency)
    parser.add_argument("--document", type=Path, default=DOCUMENT)
    options = parser.parse_args(arguments)
    wanted = options.rewrites
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,))
    server.start()
    url = ours.recv()
    with tempfile.TemporaryDirectory(prefix="middo-teacher-") as name:
        scratch = Path(name)
        many = streamed(made(scratch / "many", url, wanted, options.concurrency))
        waited = barrier(url, wanted)
        few = streamed(made(scratch / "few", url, wanted, THREADS))
        deaths, asked = killed(made(scratch / "killed", url, wanted, options.concurrency), ours)
    ours.send("end")
    server.join()
    clients = [
        (f"{THREADS} threads, a barrier after each {THREADS}", waited),
        (f"our stage, {THREADS} in flight", few),
        (f"our stage, {options.concurrency} in flight (default)", many),
    ]
    body = [[name, f"{s:.1f}", f"{wanted / s:.1f}", f"{waited / s:.1f}"] for name, s in clients]
    document = [
        "# Rewrites through an endpoint",
        "",
        f"`{shlex.join(['python', '-m', 'benchmarks.engine.teacher', *arguments])}`",
        "",
        machine() + ". Other work ran on it at the same time.",
        "",
        f"{wanted:,} rewrites of two calls each, against one local server in a process of its own that answers after a "
        f"log-normal time (median {MEDIAN_S} s, sigma {SPREAD}). The first row is the published client's way: "
        "prompts, then answers, and nothing but the calls. Ours writes every result into the store as it comes.",
        "",
        table(["client", "seconds", "rewrites/s", "times faster"], body),
        "",
        f"With {THREADS} calls in flight in both, what is gained is the barrier's: {waited / few:.1f} times. "
        f"{options.concurrency} in flight in place of {THREADS} bring another {few / many:.1f} times.",
        "",
        "## After kill -9",
        "",
        *after_kills(wanted, deaths, asked),
        "",
    ]
    options.document.parent.mkdir(parents=True, exist_ok=True)
    options.document.write_text("\n".join(document), encoding="utf-8")
    return 0


def after_kills(wanted: int, deaths: list[Kill], asked: int) -> list[str]:
    """What the server says about a stage that died."""
    flying, starts = 0, [Kill(0, 0), *deaths]
    body: list[list[object]] = []
    for at, (last, death) in enumerate(zip(starts, deaths, strict=False), 1):
        lost = (death.asked - last.asked) - (death.saved - last.saved)
        flying += lost
        body.append([f"death {at}", f"{death.asked:,}", f"{death.saved:,}", lost])
    again = asked - 2 * wanted
    return [
        f"The same {wanted:,} rewrites in a child process that dies of SIGKILL in its saves {KILLS[0]} and, begun "
        f"again, {KILLS[1]}; a third run ends it.",
        "",
        table(["", "requests so far", "calls saved so far", "not saved: in flight, or just back"], body),
        "",
        f"In the end the server had {asked:,} requests for {2 * wanted:,} calls: {again} were made again, "
        f"and {flying} had not been saved when it died. Finished (saved) calls that were repeated: {again - flying}. "
        "No call is in the store twice.",
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
