"""What the loop gains on the demo's world, where the truth is known, and what each part of it adds.

    python -m benchmarks.engine.gain --arms default,sigma,paper,clean --seeds 0-4 --folder FOLDER
    python -m benchmarks.engine.gain --folder FOLDER --page docs/benchmarks/gain.md

An arm is the demo with other settings or other data, run to its end; a cell (arm, seed) is written as JSON when it
ends, so that a run can be killed and go on. The page is made of the cells that are there. A cell takes about two
minutes on two idle cores.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.engine.gain_page import Cell, write_page
from engine.config import defaults
from engine.demo import flaws, world
from engine.demo import project as demo
from engine.demo import seed as rows_of
from engine.demo.flaws import SeedRow
from engine.project import folder as projects
from engine.store import read
from engine.store.rows import load_messages

ROUNDS = 2
OLD: dict[str, object] = {"threshold": "sigma"}


@dataclass(frozen=True, slots=True)
class Arm:
    """Settings by section beside the demo's own; ``data``: flawed, clean, or kept (the flawed rows left out)."""

    title: str
    settings: Mapping[str, Mapping[str, object]]
    data: str = "flawed"
    rounds: int = ROUNDS


ARMS = {
    "default": Arm("the default", {}),
    "clean": Arm("the default, on clean data", {}, data="clean"),
    "no-new": Arm("without new samples", {"select": {"new_samples": 0.0}}),
    "more-new": Arm("twice as many new samples", {"select": {"new_samples": 0.16}}),
    "drop": Arm("flawed samples dropped", {"select": {"new_samples": 0.0}, "merge": {"flawed": "drop"}}),
    "auto": Arm("every rewrite accepted that passes the checks", {"review": {"policy": "auto"}}),
    "sigma": Arm("thresholds at mean ± sigma (the default before)", {"select": OLD}),
    "paper": Arm(
        "the paper's rule",
        {"select": {**OLD, "parity": "reference"}, "merge": {"size": "grow"}, "review": {"policy": "auto"}},
    ),
    "paper-equal": Arm(
        "the paper's rule, until it has made as many calls",
        {"select": {**OLD, "parity": "reference"}, "merge": {"size": "grow"}, "review": {"policy": "auto"}},
    ),
    "random": Arm("random samples asked about, for as many calls", {"select": {"new_samples": 0.0}}),
    "random-rewritten": Arm(
        "random samples rewritten as the paper does, for as many calls", {"select": {**OLD, "new_samples": 0.0}}
    ),
}
LIMITED = {"random", "random-rewritten", "paper-equal"}
AT_RANDOM = {"random", "random-rewritten"}
"""One round on samples that are drawn at random, for as many calls as the default made in all its rounds."""


# ------------------------------------------------------------------------------------------------------- a run


def run(arm: Arm, name: str, seed: int, calls: int | None = None) -> Cell:
    """Make the project of a cell, run it and measure. ``calls``: what the random arm may spend in the first round."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="middo-gain-") as scratch:
        folder, seeds = Path(scratch) / "project", _seed_rows(arm.data, seed)
        _create(folder, seeds, seed, arm)
        if name in LIMITED and calls is None:
            raise SystemExit(f"{name}, seed {seed}: run the default with this seed first; its calls are the limit.")
        if name == "paper-equal":
            _worker(folder, "--rounds", str(arm.rounds - 1))
            _worker(folder, "--until", "select", "--rounds", str(arm.rounds))
            _until_spent(folder, seed, calls or 0)
        if name in AT_RANDOM:
            _worker(folder, "--until", "select", "--rounds", "1")
            (_ask_at_random if name == "random" else _rewrite_at_random)(folder, seed, calls or 0)
        _worker(folder, "--rounds", str(1 if name in AT_RANDOM else arm.rounds))
        return _measured(folder, seeds, name, seed, time.monotonic() - began)


def _seed_rows(data: str, seed: int) -> list[SeedRow]:
    seeds = rows_of.seed_rows(demo.ROWS, seed)
    return [flaws.clean(row.intended) for row in seeds] if data == "clean" else seeds


def _create(folder: Path, seeds: Sequence[SeedRow], seed: int, arm: Arm) -> None:
    with tempfile.TemporaryDirectory(prefix="middo-gain-data-") as data:
        train, heldout = Path(data) / "seed.jsonl", Path(data) / "heldout.jsonl"
        rows_of.write_rows(train, seeds)
        rows_of.write_rows(heldout, rows_of.heldout_rows(demo.HELDOUT, seed))
        settings = demo.settings(heldout)
        settings.setdefault("project", {})["seed"] = seed
        for section, values in arm.settings.items():
            settings.setdefault(section, {}).update(values)
        projects.create(folder, [train], settings)
        shutil.copytree(data, folder / "data")
        settings["data"]["heldout"] = "data/heldout.jsonl"
        (folder / "config.toml").write_text(defaults.render(settings), encoding="utf-8")
        shutil.copytree(demo.HERE / "prompts", folder / "prompts")


def _worker(folder: Path, *options: str) -> None:
    command = [str(Path(sys.executable).with_name("middo-tui")), "run", str(folder), "--auto", "--wait", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stdout[-2000:]}{done.stderr[-2000:]}")


def _until_spent(folder: Path, seed: int, calls: int) -> None:
    """Leave of the last round's rewrites, drawn at random, what the calls are enough for: two a rewrite."""
    db = sqlite3.connect(folder / "middo.db")
    with db:
        [made] = db.execute("SELECT count(*) FROM call").fetchone()
        owed = db.execute(
            "SELECT round, sample_id, axis FROM rewrite WHERE state='owed' ORDER BY round, sample_id, axis"
        ).fetchall()
        random.Random(seed).shuffle(owed)
        for key in owed[max(0, calls - made) // 2 :]:
            db.execute("DELETE FROM rewrite WHERE round=? AND sample_id=? AND axis=?", key)
            db.execute("DELETE FROM selection WHERE round=? AND sample_id=? AND axis=?", key)
    db.close()


def _rewrite_at_random(folder: Path, seed: int, calls: int) -> None:
    """Select half as many random samples as there are calls: a rewrite takes one for the prompt and one for the answer.
    Half of them are selected for complexity and half for quality, the two axes that replace a sample.
    """
    db = sqlite3.connect(folder / "middo.db")
    with db:
        db.execute("DELETE FROM rewrite")
        db.execute("DELETE FROM selection")
        found = [id for (id,) in db.execute("SELECT id FROM sample ORDER BY seq")]
        for at, id in enumerate(random.Random(seed).sample(found, min(calls // 2, len(found)))):
            axis = ("complexity", "quality")[at % 2]
            db.execute(
                "INSERT INTO selection (round, sample_id, axis, value, threshold) VALUES (0, ?, ?, 0, 0)", (id, axis)
            )
            db.execute("INSERT INTO rewrite (round, sample_id, axis, state) VALUES (0, ?, ?, 'owed')", (id, axis))
    db.close()


def _ask_at_random(folder: Path, seed: int, calls: int) -> None:
    """Ask about as many random samples instead of those that look flawed, and then end."""
    db = sqlite3.connect(folder / "middo.db")
    with db:
        db.execute("DELETE FROM rewrite")
        found = db.execute("SELECT id, messages FROM sample ORDER BY seq").fetchall()
        for id, messages in random.Random(seed).sample(found, min(calls, len(found))):
            prompt = load_messages(messages)[-2].content
            db.execute(
                "INSERT INTO rewrite (round, sample_id, axis, state, prompt, probe, batch)"
                " VALUES (0, ?, 'complexity', 'prompted', ?, 1, 0)",
                (id, prompt),
            )
        db.execute("UPDATE signal SET flaw=1.0")
    db.close()


def _measured(folder: Path, seeds: Sequence[SeedRow], name: str, seed: int, seconds: float) -> Cell:
    db = sqlite3.connect(folder / "middo.db")
    accuracy = [v for (v,) in db.execute("SELECT value FROM score WHERE task='accuracy' ORDER BY round")]
    calls, tokens = db.execute("SELECT count(*), coalesce(sum(tokens_in + tokens_out), 0) FROM call").fetchone()
    last = db.execute("SELECT max(round) FROM round").fetchone()[0]
    known = {row.prompt: row for row in seeds}
    now = db.execute(f"SELECT messages FROM sample WHERE {read.IN_ROUND}", {"round": last}).fetchall()  # noqa: S608
    first = {
        id: load_messages(text)[-2].content
        for id, text in db.execute("SELECT id, messages FROM sample WHERE born_round=0")
    }
    chosen = db.execute("SELECT DISTINCT sample_id FROM selection WHERE round=0 AND axis<>'diversity'").fetchall()
    hits = sum(known[first[id]].flaw != "" for (id,) in chosen)
    asked = db.execute("SELECT count(*) FROM rewrite WHERE round=0 AND axis<>'diversity'").fetchone()[0]
    bad = sum(row.flaw != "" for row in seeds)
    db.close()
    return Cell(
        arm=name,
        seed=seed,
        accuracy=accuracy,
        calls=calls,
        tokens=tokens,
        size=len(now),
        flawed=sum(_is_flawed(text, known) for (text,) in now),
        precision=hits / len(chosen) if chosen else None,
        recall=hits / bad if bad else None,
        asked=asked,
        seconds=seconds,
    )


def _is_flawed(messages: str, known: Mapping[str, SeedRow]) -> bool:
    """Whether an answer is wrong, or the prompt asks what nobody could answer or learn."""
    *_, asked, answered = load_messages(messages)
    row = known.get(asked.content)
    if row is not None:
        return row.flaw in ("vague", "hard") or answered.content != row.intended.answer
    task = world.parse(asked.content)
    return task is None or task.answer != answered.content


# ----------------------------------------------------------------------------------------------- the command line


def load(folder: Path) -> dict[tuple[str, int], Cell]:
    """The cells that were run."""
    found = [Cell(**json.loads(path.read_text(encoding="utf-8"))) for path in sorted(folder.glob("*.json"))]
    return {(cell.arm, cell.seed): cell for cell in found}


def _seeds(text: str) -> list[int]:
    first, _, last = text.partition("-")
    return list(range(int(first), int(last) + 1)) if last else [int(part) for part in text.split(",")]


def main(arguments: list[str]) -> int:
    """Run the cells that are not there, then write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine.gain", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="where cells are kept")
    parser.add_argument("--arms", default="", help=f"of {', '.join(ARMS)}")
    parser.add_argument("--seeds", default="0-4")
    parser.add_argument("--page", type=Path, help="write the table into this page")
    options = parser.parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    for seed in _seeds(options.seeds):
        for name in filter(None, options.arms.split(",")):
            path = options.folder / f"{name}-{seed}.json"
            if path.exists():
                continue
            like = load(options.folder).get(("default", seed))
            cell = run(ARMS[name], name, seed, like.calls if like else None)
            path.write_text(json.dumps(asdict(cell)), encoding="utf-8")
            print(path.name, cell.accuracy, cell.calls, flush=True)
    if options.page:
        write_page(options.page, {name: arm.title for name, arm in ARMS.items()}, load(options.folder))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
