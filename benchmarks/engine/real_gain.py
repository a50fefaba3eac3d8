"""What the loop gains on a real language model: SmolLM2, LoRA, real Alpaca rows of which 40 % are spoilt.

    python -m benchmarks.engine.real_gain --data FOLDER --draws 1 --arms clean spoilt ours random drop

A local OpenAI-compatible teacher gives back the true rows, right 95 % of the time. Each arm is a project of its own:
the loop's arms run the product's command line, the others its train and evaluate stages. What is compared is the loss
on held-out clean rows, row by row. An arm that is done is read from its result; one that was killed resumes. Writes
docs/benchmarks/real_gain.md, and real_gain.json beside it. About 15 minutes an arm on one core.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import ROOT
from benchmarks.engine.real_gain_page import page, plot
from benchmarks.world import smollm2
from benchmarks.world.planted_flaws import KINDS, UNSEEN, Row, planted
from benchmarks.world.true_teacher import TrueTeacher
from engine.formats.row_formats import join_input
from tests.support.chat_server import MODEL, Server

DOCUMENT = ROOT / "docs" / "benchmarks" / "real_gain.md"
ROWS, HELDOUT, SHARE, RIGHT = 240, 100, 0.4, 0.95
LONGEST = 420
"""Characters of an answer at most: the time goes with them."""
SPOILT = [kind for kind in KINDS if kind not in UNSEEN]
SETTINGS: dict[str, dict[str, object]] = {
    "model": {"max_length": 384, "threads": 1, "dtype": "float32", "device": "cpu"},
    "train": {
        "method": "lora", "lora_r": 16, "epochs": 2.0, "learning_rate": 5e-4, "batch_size": 4,
        "gradient_accumulation": 2, "gradient_checkpointing": False, "checkpoint_steps": 15,
    },
    "teacher": {"backend": "openai", "model": MODEL, "max_new_tokens": 512, "concurrency": 4},
    "loop": {"rounds": 1},
}  # fmt: skip
PAPER: dict[str, dict[str, object]] = {
    "select": {"parity": "reference", "threshold": "sigma"},
    "merge": {"size": "grow"},
}
"""What the published procedure sets differently: its rule, no floor and memory, and nothing leaves the dataset."""
Result = dict[str, Any]


class World:
    """One draw: held-out rows, rows to train on as they are and as they were, and rows that nobody has seen."""

    def __init__(self, data: Path, draw: int, rows: int = ROWS, heldout: int = HELDOUT) -> None:
        found = json.loads((data / "alpaca_9k.json").read_text(encoding="utf-8"))
        texts = [Row(join_input(r["instruction"], r["input"]), r["output"]) for r in found]
        usable = list({row.prompt: row for row in texts if 0 < len(row.answer.strip()) <= LONGEST}.values())
        random.Random(f"real gain {draw}").shuffle(usable)
        self.heldout = usable[:heldout]
        self.true = usable[heldout : heldout + rows]
        self.spare = usable[heldout + rows : heldout + 2 * rows]
        self.spoilt = planted(self.true, SHARE, SPOILT, draw)
        self.draw = draw

    @property
    def teacher(self) -> TrueTeacher:
        """Who gives back what is true."""
        return TrueTeacher(
            [(row, true) for (row, _), true in zip(self.spoilt, self.true, strict=True)], self.spare, RIGHT
        )

    def kinds(self) -> dict[Row, str]:
        """The kind of flaw of each row that is trained on; "" for a clean one."""
        return dict(self.spoilt)


def write_rows(path: Path, rows: Sequence[Row]) -> Path:
    """An Alpaca file."""
    lines = [json.dumps({"instruction": row.prompt, "input": "", "output": row.answer}) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def create(folder: Path, model: Path, world: World, rows: Sequence[Row], more: Mapping[str, dict[str, object]]) -> None:
    """A project on ``rows``, unless it is there."""
    from engine.project import folder as project
    from engine.store.connect import FILE

    if (folder / FILE).exists():
        return
    with tempfile.TemporaryDirectory() as scratch:
        settings = {name: dict(values) for name, values in SETTINGS.items()}
        for name, values in more.items():
            settings.setdefault(name, {}).update(values)
        settings["model"]["name"] = str(model)
        settings["project"] = {"seed": world.draw}
        settings["data"] = {"heldout": str(write_rows(Path(scratch) / "heldout.jsonl", world.heldout))}
        project.create(folder, [write_rows(Path(scratch) / "rows.jsonl", rows)], settings)


# ------------------------------------------------------------------------------------------------------------ arms


def trained(folder: Path, model: Path, world: World, rows: Sequence[Row]) -> Result:
    """Train on ``rows`` as they are and measure the held-out loss: the stages train and evaluate, nothing else."""
    from engine.config import schema as configs
    from engine.loop import NAMES
    from engine.runtime.context import StoreCtx
    from engine.stages import evaluate, train
    from engine.store import commands, connect, read, write
    from engine.store.rows import EvalScore

    create(folder, model, world, rows, {})
    config, db = configs.load(folder), connect.writer(folder)
    if not read.jobs(db):
        write.open_round(db, 0, "{}", NAMES, closing=True, stopped=None)
        commands.set_plan(folder, 1)
    train_ctx = StoreCtx(db, folder, config, 0, "train")
    if train_ctx.artifact("checkpoint") is None:
        train.run(train_ctx)
    ctx = StoreCtx(db, folder, config, 0, "evaluate")
    if not ctx.rows(EvalScore):
        evaluate.run(ctx)
    db.close()
    return {"rows": len(rows), "calls": 0, **heldout_losses(folder)}


def spoilt(folder: Path, model: Path, world: World) -> Result:
    """Round 0 of the loop until its evaluation: trained on the spoilt rows, and diagnosed for the arms that go on."""
    create(folder, model, world, [row for row, _ in world.spoilt], {})
    cli("run", str(folder), "--rounds", "1", "--until", "evaluate", "--auto", "--plain", "--wait")
    return {"rows": len(world.spoilt), "calls": 0, **heldout_losses(folder)}


def looped(folder: Path, begun: Path, world: World, more: Mapping[str, dict[str, object]]) -> Result:
    """The rest of the loop by the product's command line: one round, then training on what it made.

    Args:
        begun: the project of ``spoilt``, which the loop goes on from.
    """
    if not folder.exists():
        new = folder.with_suffix(".new")
        shutil.rmtree(new, ignore_errors=True)
        shutil.copytree(begun, new)
        new.rename(folder)
    with Server(answer=world.teacher.reply) as server:
        change(folder, {**more, "teacher": {"url": server.url}})
        cli("run", str(folder), "--rounds", "1", "--auto", "--plain", "--wait")
    return {**rewritten(folder, world), **heldout_losses(folder)}


def change(folder: Path, settings: Mapping[str, Mapping[str, object]]) -> None:
    """Put settings into the project's config.toml."""
    from engine.config import defaults

    file = folder / "config.toml"
    found = tomllib.loads(file.read_text(encoding="utf-8"))
    for name, values in settings.items():
        found.setdefault(name, {}).update(values)
    file.write_text(defaults.render(found), encoding="utf-8")


def cli(*arguments: str) -> None:
    """The command line in a process of its own."""
    subprocess.run([sys.executable, "-m", "middo_tui.cli", *arguments], check=True, cwd=ROOT)


def rewritten(folder: Path, world: World) -> Result:
    """What the loop selected, asked for and accepted, and how much of it was truly flawed."""
    from engine.store import read
    from engine.store.connect import reader
    from engine.store.rows import Rewrite, Sample, Selection
    from engine.store.teacher import TeacherCall

    kinds = world.kinds()

    def row(sample: Sample) -> Row:
        return Row(sample.prompt, sample.response)

    db = reader(folder)
    try:
        first = {sample.id: row(sample) for sample in read.dataset(db, 0)}
        last = [row(sample) for sample in read.dataset(db, 1)]
        rewrites = read.rows(db, Rewrite, 0)
        selections = read.rows(db, Selection, 0)
        calls = read.rows(db, TeacherCall, 0)
    finally:
        db.close()
    replacing = {first[row.sample_id] for row in selections if row.axis != "diversity"}
    return {
        "rows": len(last),
        "calls": len(calls),
        "tokens": sum(call.tokens_in + call.tokens_out for call in calls),
        "selected": len(replacing),
        "selected_flawed": sum(bool(kinds[one]) for one in replacing),
        "selected_rows": sorted(replacing),
        "accepted": sum(r.state == "accepted" for r in rewrites),
        "flawed_left": sum(bool(kinds.get(one)) for one in last),
    }


def heldout_losses(folder: Path) -> Result:
    """The held-out loss of the newest round, of each row and of all tokens. Nothing accepted: that is round 0."""
    from engine.store import read
    from engine.store.connect import reader
    from engine.store.rows import EvalItem

    db = reader(folder)
    try:
        items = sorted(read.rows(db, EvalItem, 1) or read.rows(db, EvalItem, 0), key=lambda item: item.item)
    finally:
        db.close()
    return _losses([item.loss for item in items], [item.tokens for item in items])


def _losses(losses: Sequence[float | None], tokens: Sequence[int]) -> Result:
    known = [(loss, count) for loss, count in zip(losses, tokens, strict=True) if loss is not None]
    total = sum(count for _, count in known)
    return {
        "loss": sum(loss * count for loss, count in known) / total,
        "losses": list(losses),
        "tokens_of": list(tokens),
    }


def base(model: Path, world: World) -> Result:
    """The held-out loss before any training."""
    from engine.backends import hf
    from engine.chat.render import render
    from engine.store.rows import Message

    opened = hf.load(model, dtype="float32", device="cpu", threads=1)
    chats = [(Message("user", row.prompt), Message("assistant", row.answer)) for row in world.heldout]
    rows = [render(opened.tokenizer, chat, int(str(SETTINGS["model"]["max_length"]))) for chat in chats]
    scored = opened.score(rows, embed=False)
    hf.release()
    return {"rows": 0, "calls": 0, **_losses([one.loss for one in scored], [row.response_tokens for row in rows])}


def repaired(world: World, calls: int) -> list[Row]:
    """The spoilt rows, ``calls`` random ones of them with the teacher's answer."""
    chosen = random.Random(f"random arm {world.draw}").sample(range(len(world.spoilt)), min(calls, len(world.spoilt)))
    teacher, out = world.teacher, [row for row, _ in world.spoilt]
    for at in chosen:
        out[at] = Row(out[at].prompt, teacher.answer(out[at].prompt))
    return out


def run(arm: str, place: Path, model: Path, world: World) -> Result:
    """One arm; ``place`` holds the projects and results of its draw."""
    rows = [row for row, _ in world.spoilt]
    folder = place / arm
    if arm == "base":
        return base(model, world)
    if arm == "clean":
        return trained(folder, model, world, world.true)
    if arm == "spoilt":
        return spoilt(folder, model, world)
    if arm in ("ours", "paper"):
        return looped(folder, place / "spoilt", world, PAPER if arm == "paper" else {})
    ours = json.loads(_result(place, "ours").read_text(encoding="utf-8"))
    if arm == "random":
        return {**trained(folder, model, world, repaired(world, ours["calls"])), "calls": ours["calls"]}
    if arm == "random-rewritten":
        return {**trained(folder, model, world, repaired(world, ours["calls"] // 2)), "calls": ours["calls"]}
    gone = {Row(*row) for row in ours["selected_rows"]}
    return trained(folder, model, world, [row for row in rows if row not in gone])


ARMS = ("base", "clean", "spoilt", "ours", "random", "random-rewritten", "drop", "paper")


def _result(place: Path, arm: str) -> Path:
    return place / f"{arm}.json"


def results(options: argparse.Namespace) -> dict[str, dict[str, Result]]:
    """Results by draw and arm: those that were asked for are made if they are missing, others are read."""
    model = smollm2.folder()
    if model is None:
        raise SystemExit(f"benchmarks.engine.real_gain {smollm2.MISSING}.")
    found: dict[str, dict[str, Result]] = {}
    for draw in range(options.draws):
        place = options.folder / f"draw-{draw}"
        place.mkdir(parents=True, exist_ok=True)
        world = World(options.data, draw, options.rows, options.heldout)
        for arm in ARMS:
            file = _result(place, arm)
            if not file.exists() and arm in options.arms:
                began = time.time()
                made = run(arm, place, model, world)
                made["seconds"] = round(time.time() - began)
                file.with_suffix(".new").write_text(json.dumps(made), encoding="utf-8")
                os.replace(file.with_suffix(".new"), file)
                sys.stderr.write(f"draw {draw}, {arm}: {made['loss']:.4f} after {made['seconds']} s\n")
            if file.exists():
                found.setdefault(str(draw), {})[arm] = json.loads(file.read_text(encoding="utf-8"))
    return found


def main(arguments: Sequence[str]) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine.real_gain", description=__doc__)
    parser.add_argument("--data", type=Path, default=os.environ.get("MIDDO_TEST_DATA"), help="holds alpaca_9k.json")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "middo-real-gain")
    parser.add_argument("--draws", type=int, default=1)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--heldout", type=int, default=HELDOUT)
    parser.add_argument("--arms", nargs="*", default=list(ARMS), choices=ARMS)
    parser.add_argument("--document", type=Path, default=DOCUMENT)
    options = parser.parse_args(arguments)
    if options.data is None:
        parser.error("--data (or MIDDO_TEST_DATA) must name a folder with alpaca_9k.json")
    found = results(options)
    options.document.write_text(page(found, options.rows, options.heldout, SHARE, RIGHT), encoding="utf-8")
    plot(found, options.document)
    short = {draw: {arm: {k: v for k, v in one.items() if k != "selected_rows"} for arm, one in arms.items()}
             for draw, arms in found.items()}  # fmt: skip
    options.document.with_suffix(".json").write_text(json.dumps(short, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
