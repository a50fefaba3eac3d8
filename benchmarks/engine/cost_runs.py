"""The runs that ``cost_model`` fits and predicts: whole rounds of the program on projects of growing size.

A run is a project of its own, made of Alpaca rows cut short, under a random Llama; the demo's teacher rewrites. Its
stages' CPU seconds and what they worked on are kept as JSON, so that a command that was stopped goes on.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import msgspec

from benchmarks.world import random_llama
from benchmarks.world.random_llama import Llama
from engine.config import defaults
from engine.config import schema as configs
from engine.config.schema import Config
from engine.doctor import cost_model
from engine.doctor.cost_model import RoundWork
from engine.models.locate import DEMO
from engine.project import folder as projects
from engine.store.connect import reader, transaction, writer
from engine.store.rows import Message, dump_messages, load_messages

SHAPES = {
    "mini": Llama(hidden=32, inner=64, layers=1, heads=2, key_heads=2, words=2048),
    "tiny": Llama(hidden=64, inner=128, layers=2, heads=4, key_heads=4, words=2048),
    "small": Llama(hidden=128, inner=384, layers=4, heads=4, key_heads=4, words=2048),
    "middle": Llama(hidden=256, inner=768, layers=6, heads=4, key_heads=4, words=2048),
}
STAGES = ("train", "score", "judge", "evaluate", "select", "rewrite", "verify", "merge")
SETTINGS: dict[str, dict[str, object]] = {
    "evaluate": {"exact_match": True, "max_new_tokens": 16},
    "judge": {"min_digit_mass": 0.0},
    "select": {"threshold": "sigma", "max_share": 0.02, "quality": "off"},
    "teacher": {"model": "demo:teacher", "temperature": 0.0, "max_new_tokens": 48, "attempts": 1},
    "verify": {"on_topic": 0.0},  # whether random pairs are read for it depends on what happened to be selected
    "loop": {"rounds": 1, "final_train": False},
}


@dataclass(frozen=True, slots=True)
class Case:
    """One project: its model's shape, its rows, how many characters of a prompt and of an answer are kept, and the rows
    of a micro-batch.
    """

    model: str
    rows: int
    characters: int = 60
    batch: int = 16

    @property
    def name(self) -> str:
        """The folder's."""
        return f"{self.model}-{self.rows}-{self.characters}" + (f"-{self.batch}" if self.batch != 16 else "")

    @property
    def title(self) -> str:
        """Its line of a table."""
        more = [f"{self.characters} characters"] * (self.characters != 60)
        more += [f"batches of {self.batch}"] * (self.batch != 16)
        return ", ".join([f"{self.model}, {self.rows:,}", *more])


@dataclass(frozen=True, slots=True)
class Measured:
    """A case: what it worked on, its settings, its CPU seconds by stage, and the speeds of its models, which were tried
    just before it as the doctor does.
    """

    case: Case
    facts: RoundWork
    took: Mapping[str, float]
    speeds: Mapping[str, float]

    @property
    def config(self) -> Config:
        """What it ran with."""
        return configs.parse(defaults.render(settings(self.case, Path("model"))), "config.toml")


def settings(case: Case, model: Path) -> dict[str, dict[str, object]]:
    """The settings of a case's project."""
    where: dict[str, object] = {"name": str(model), "max_length": 512, "device": "cpu", "threads": 1}
    train: dict[str, object] = {"batch_size": case.batch, "gradient_accumulation": 32 // case.batch}
    return {**SETTINGS, "train": train, "model": where}


def measured(log: Path, folder: Path, data: Path, case: Case) -> Measured:
    """The case's entry of the log; if there is none, it is run and noted there."""
    there = known(log)
    if case.name not in there:
        there[case.name] = _run(folder, data, case)
        text = json.dumps(msgspec.to_builtins(there), indent=1) + "\n"
        log.write_text(text, encoding="utf-8")
    return there[case.name]


def known(log: Path) -> dict[str, Measured]:
    """What was measured, by the case's name."""
    return msgspec.json.decode(log.read_bytes(), type=dict[str, Measured]) if log.exists() else {}


def _run(folder: Path, data: Path, case: Case) -> Measured:
    """Make the project, or take up the one that is there, and run its round to the end."""
    project = (folder / case.name).resolve()
    model = project.parent / f"model-{case.model}"
    if not model.exists():
        random_llama.write(model, SHAPES[case.model], "float32")
    if not (project / "middo.db").exists():
        rows = project.parent / f"{case.name}-rows.json"
        rows.write_text(json.dumps(_rows(data, case)), encoding="utf-8")
        projects.create(project, [rows], settings(case, model))
    _command("run", project, "--until", "rewrite", "--auto", "--wait", "--plain")
    answer(project)
    speeds = _speeds(project)
    _command("run", project, "--auto", "--wait", "--plain")
    stages = json.loads(_command("status", project, "--json"))["rounds"][0]["stages"]
    took = {one["name"]: one["cpu_seconds"] for one in stages if one["name"] in STAGES}
    return Measured(case, facts(project), took, speeds)


def answer(project: Path) -> None:
    """Give every rewrite that came to nothing a prompt in other words and the answer of another sample, so that verify
    has all of them to measure: what the demo's teacher makes of these rows is mostly a copy of the prompt.
    """
    with closing(writer(project)) as db, transaction(db):
        failed = (
            "SELECT r.sample_id, r.axis, s.messages FROM rewrite r JOIN sample s ON s.id = r.sample_id"
            " WHERE r.state = 'failed' ORDER BY s.seq"
        )
        rows = [(id, axis, load_messages(text)) for id, axis, text in db.execute(failed)]
        for (id, axis, own), (_, _, other) in zip(rows, rows[1:] + rows[:1], strict=True):
            prompt = f"{own[-2].content} Say it in your own words."
            chat = (*own[:-2], Message("user", prompt), Message("assistant", other[-1].content))
            db.execute(
                "UPDATE rewrite SET state='proposed', reason=NULL, prompt=?, response=?, messages=?"
                " WHERE sample_id=? AND axis=?",
                (prompt, other[-1].content, dump_messages(chat), id, axis),
            )


def facts(project: Path) -> RoundWork:
    """What the round worked on; how many samples the teacher was asked about, and passed the checks, is known here."""
    config = configs.load(project)
    width = SHAPES[Path(config.model.name).name.removeprefix("model-")].hidden
    with closing(reader(project)) as db:
        rows = db.execute("SELECT count(*) FROM sample WHERE born_round = 0").fetchone()[0]
        prompt, response = db.execute("SELECT avg(prompt_tokens), avg(response_tokens) FROM signal").fetchone()
        heldout = db.execute("SELECT count(*) FROM heldout").fetchone()[0]
        asked, passed = db.execute("SELECT count(*), count(new_loss_after) FROM rewrite").fetchone()
        some = "SELECT prompt_tokens + response_tokens FROM signal ORDER BY sample_id LIMIT 256"
        padding = cost_model.padding([row[0] for row in db.execute(some)], config)
    return RoundWork(rows, prompt, response, heldout, rows, asked, passed, width, padding)


def _speeds(project: Path) -> dict[str, float]:
    """Seconds by unit, as the doctor tries them."""
    import torch

    from engine.doctor import speed_probe

    torch.set_num_threads(1)
    config, of = configs.load(project), facts(project)
    sizes = speed_probe.Sizes(round(of.tokens), round(of.prompt))
    found = speed_probe.speeds(Path(config.model.name), config, sizes)
    return found | speed_probe.teacher_speeds(DEMO["demo:teacher"], config, sizes)


def _command(name: str, project: Path, *options: str) -> str:
    command = [sys.executable, "-m", "middo_tui.cli", name, str(project), *options]
    return subprocess.run(command, check=True, env=_environment(), stdout=subprocess.PIPE, text=True).stdout


def _environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}


def _rows(data: Path, case: Case) -> list[dict[str, str]]:
    """Rows of their own, cut so that many of them fit into a benchmark."""
    known, most = json.loads(data.read_text(encoding="utf-8")), case.characters
    picked = (known[i % len(known)] for i in range(case.rows))
    return [
        {"instruction": f"{i}. {row['instruction'][:most]}", "input": "", "output": row["output"][:most] or "none"}
        for i, row in enumerate(picked)
    ]
