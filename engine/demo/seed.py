"""The demo's dataset: a flawed seed to be improved and a clean held-out set to measure on, both a function of the seed.

A prompt belongs to the held-out side or to the training side by its hash, so the two never meet, whatever their sizes.
"""

import hashlib
import json
import random
from collections.abc import Iterable
from pathlib import Path

from engine.demo import flaws, world
from engine.demo.flaws import Flaw, SeedRow
from engine.demo.world import DemoTask

CARELESS = ("add", "multiply", "give", "larger", "after", "sort", "reverse", "first", "count")
"""The families whose annotator made many mistakes."""
WRONG_SHARES = {True: 0.45, False: 0.08}
"""Of the rows of a common family, by whether it is in CARELESS; the other flaws befall all common families alike."""
FLAW_SHARES: dict[Flaw, float] = {"truncated": 0.05, "vague": 0.05, "hard": 0.04}
RARE_SHARE = 0.02
"""Of the rows, per rare family; the common families share the rest evenly."""
TRIES = 200
"""Draws before a family counts as exhausted: closed families have fewer than a hundred prompts."""


def is_heldout(prompt: str) -> bool:
    """Whether a prompt may only be measured on (a quarter of all prompts) and never trained on."""
    return hashlib.blake2b(prompt.encode(), digest_size=1).digest()[0] < 64


def draw_task(rng: random.Random, family: str | None = None, heldout: bool = False, one_line: bool = False) -> DemoTask:
    """Draw a task whose prompt lies on the wanted side of the split."""
    while True:
        task = world.draw(rng, family, one_line)
        if is_heldout(task.prompt) is heldout:
            return task


def seed_rows(n: int, seed: int) -> list[SeedRow]:
    """`n` rows with distinct prompts, of which about 40 % are flawed."""
    rng = random.Random(f"seed {seed}")
    rows: list[SeedRow] = []
    seen: set[str] = set()
    while len(rows) < n:
        row = _seed_row(rng)
        if row.prompt not in seen:
            seen.add(row.prompt)
            rows.append(row)
    return rows


def _seed_row(rng: random.Random) -> SeedRow:
    if rng.random() < RARE_SHARE * len(world.RARE):
        return flaws.clean(draw_task(rng, rng.choice(world.RARE)))
    task = draw_task(rng, rng.choice(world.COMMON))
    point = rng.random()
    shares: dict[Flaw, float] = {"wrong": WRONG_SHARES[task.family in CARELESS], **FLAW_SHARES}
    for flaw, share in shares.items():
        if point < share:
            return flaws.spoil(rng, task, flaw)
        point -= share
    return flaws.clean(task)


def heldout_rows(n: int, seed: int) -> list[SeedRow]:
    """Up to `n` clean rows, as evenly over the families as their number of distinct prompts allows."""
    rng = random.Random(f"heldout {seed}")
    seen: set[str] = set()
    rows: list[SeedRow] = []
    open_families = list(world.FAMILIES)
    while open_families and len(rows) < n:
        for family in list(open_families):
            task = _unseen(rng, family, seen)
            if task is None:
                open_families.remove(family)
            elif len(rows) < n:
                seen.add(task.prompt)
                rows.append(flaws.clean(task))
    return rows


def _unseen(rng: random.Random, family: str, seen: set[str]) -> DemoTask | None:
    for _ in range(TRIES):
        task = draw_task(rng, family, heldout=True)
        if task.prompt not in seen:
            return task
    return None


def write(directory: Path, n: int, heldout: int, seed: int) -> tuple[Path, Path]:
    """Write seed.jsonl and heldout.jsonl (Alpaca rows, no labels) into `directory` and return their paths."""
    directory.mkdir(parents=True, exist_ok=True)
    seed_path, heldout_path = directory / "seed.jsonl", directory / "heldout.jsonl"
    write_rows(seed_path, seed_rows(n, seed))
    write_rows(heldout_path, heldout_rows(heldout, seed))
    return seed_path, heldout_path


def write_rows(path: Path, rows: Iterable[SeedRow]) -> None:
    """Write rows as Alpaca JSONL."""
    lines = (
        json.dumps({"instruction": row.instruction, "input": row.input, "output": row.output}, ensure_ascii=False)
        for row in rows
    )
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
