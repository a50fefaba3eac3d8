"""The runs that ``cost_model`` fits and predicts: whole rounds of the program on projects of growing size.

A run is a project of its own, made of Alpaca rows cut short, under a random Llama; the demo's teacher rewrites. Its
stages' CPU seconds and what they worked on are kept as JSON, so that a command that was stopped goes on.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.world import random_llama
from benchmarks.world.random_llama import Llama

SHAPES = {
    "tiny": Llama(hidden=64, inner=128, layers=2, heads=4, key_heads=4, words=2048),
    "small": Llama(hidden=128, inner=384, layers=4, heads=4, key_heads=4, words=2048),
    "middle": Llama(hidden=256, inner=768, layers=6, heads=4, key_heads=4, words=2048),
}
SETTINGS: dict[str, dict[str, object]] = {
    "evaluate": {"exact_match": True, "max_new_tokens": 16},
    "judge": {"min_digit_mass": 0.0},
    "select": {"threshold": "sigma", "max_share": 0.02, "quality": "off"},
    "teacher": {"model": "demo:teacher", "temperature": 0.0, "max_new_tokens": 48, "attempts": 1},
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


def measured(folder: Path, data: Path, case: Case) -> dict[str, Any]:
    """The case's result; run if it is not there yet."""
    out = folder / f"{case.name}.json"
    if not out.exists():
        run(folder / case.name, data, case)
        command = [sys.executable, "-m", "middo_tui.cli", "status", str(folder / case.name), "--json"]
        said = subprocess.run(command, capture_output=True, text=True, check=True, env=_environment()).stdout
        out.write_text(json.dumps(json.loads(said), indent=1), encoding="utf-8")
    found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return found


def run(project: Path, data: Path, case: Case) -> None:
    """Make the project, or take up the one that is there, and run its round to the end."""
    from engine.project import folder as projects

    project = project.resolve()
    model = project.parent / f"model-{case.model}"
    if not model.exists():
        random_llama.write(model, SHAPES[case.model], "float32")
    if not (project / "middo.db").exists():
        rows = project.parent / f"{case.name}-rows.json"
        rows.write_text(json.dumps(_rows(data, case)), encoding="utf-8")
        where = {"name": str(model), "max_length": 512, "device": "cpu", "threads": 1}
        train = {"batch_size": case.batch, "gradient_accumulation": 32 // case.batch}
        projects.create(project, [rows], {**SETTINGS, "train": train, "model": where})
    command = [sys.executable, "-m", "middo_tui.cli", "run", str(project), "--auto", "--wait", "--plain"]
    with (project / "said.txt").open("w", encoding="utf-8") as said:
        subprocess.run(command, check=True, env=_environment(), stdout=said)


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


if __name__ == "__main__":
    for asked in sys.argv[3:]:
        shape, *numbers = asked.split("-")
        measured(Path(sys.argv[1]), Path(sys.argv[2]), Case(shape, *map(int, numbers)))
