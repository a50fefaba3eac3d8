"""The model of cost (``engine.doctor.cost_model``) held against whole rounds of growing size.

    python -m benchmarks.engine.cost_model --data alpaca_9k.json --folder FOLDER --page docs/benchmarks/cost-model.md

Runs the cases that FOLDER has no result of (``cost_runs``), tries each model as the doctor does, and writes the page.
``--fit`` prints START and ROW as they follow from the small cases. About 15 minutes of one core.
"""

from __future__ import annotations

import argparse
import sqlite3
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from benchmarks.engine.cost_runs import SHAPES, Case, measured
from benchmarks.measured import machine, table
from engine.config import schema as configs
from engine.doctor import cost_model
from engine.doctor.cost_model import RoundWork

SMALL = [Case("tiny", 300), Case("tiny", 1_000), Case("tiny", 3_000), Case("small", 1_000), Case("small", 3_000)]
LARGE = [
    Case("tiny", 10_000),
    Case("tiny", 30_000),
    Case("small", 10_000),
    Case("small", 1_000, characters=240),
    Case("middle", 1_000),
    Case("tiny", 1_000, batch=4),
]
STAGES = ("train", "score", "judge", "evaluate", "select", "rewrite", "verify", "merge")
TOLD_S = 1.0
"""CPU seconds from which an error is told."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A case: what it worked on, its settings, its CPU seconds by stage, and the speeds of its models."""

    case: Case
    facts: RoundWork
    config: configs.Config
    took: Mapping[str, float]
    speeds: Mapping[str, float]

    @property
    def title(self) -> str:
        """Its line of a table."""
        more = [f"{self.case.characters} characters"] * (self.case.characters != 60)
        more += [f"batches of {self.case.batch}"] * (self.case.batch != 16)
        return ", ".join([f"{self.case.model}, {self.case.rows:,}", *more])

    def predicted(self, stage: str) -> float:
        """CPU seconds by the model."""
        return cost_model.seconds(stage, cost_model.amounts(self.facts, self.config)[stage], self.speeds) or 0.0


def of_case(folder: Path, data: Path, case: Case) -> Measured:
    """Run it, or read it, and try its models."""
    status = measured(folder, data, case)
    config = configs.load(folder / case.name)
    facts = _facts(folder / case.name, config)
    took = {stage["name"]: stage["cpu_seconds"] or 0.0 for stage in status["rounds"][0]["stages"]}
    return Measured(case, facts, config, took, _speeds(folder, case))


def _facts(project: Path, config: configs.Config) -> RoundWork:
    """What the round worked on; how many samples the teacher was asked about is known here."""
    width = SHAPES[Path(config.model.name).name.removeprefix("model-")].hidden
    db = sqlite3.connect(project / "middo.db")
    try:
        rows = db.execute("SELECT count(*) FROM sample WHERE born_round = 0").fetchone()[0]
        prompt, response = db.execute("SELECT avg(prompt_tokens), avg(response_tokens) FROM signal").fetchone()
        heldout = db.execute("SELECT count(*) FROM heldout").fetchone()[0]
        asked = db.execute("SELECT count(*) FROM rewrite").fetchone()[0]
        some = "SELECT prompt_tokens + response_tokens FROM signal ORDER BY sample_id LIMIT 256"
        padding = cost_model.padding([row[0] for row in db.execute(some)], config)
    finally:
        db.close()
    return RoundWork(rows, prompt, response, heldout, rows, asked, width, padding)


@cache
def _speeds_of(folder: Path, name: str) -> dict[str, float]:
    import torch

    from engine.doctor import speed_probe
    from engine.models.locate import DEMO

    torch.set_num_threads(1)
    config = configs.load(folder / name)
    facts = _facts(folder / name, config)
    sizes = speed_probe.Sizes(round(facts.tokens), round(facts.prompt))
    found = speed_probe.speeds(Path(config.model.name), config, sizes)
    return found | speed_probe.teacher_speeds(DEMO["demo:teacher"], config, sizes)


def _speeds(folder: Path, case: Case) -> dict[str, float]:
    """Seconds by unit: tried once for each model, length of the rows and size of a batch."""
    return _speeds_of(folder, replace(case, rows=1_000).name)


def fit(cases: Sequence[Measured]) -> dict[str, tuple[float, float]]:
    """START and ROW of each stage: what the speeds leave over, by least squares of relative errors, none negative."""
    import numpy as np
    from scipy.optimize import nnls

    out = {}
    for stage in STAGES:
        left, right = [], []
        for one in cases:
            work, took = cost_model.amounts(one.facts, one.config)[stage], max(one.took[stage], 0.05)
            tokens = sum(
                count * cost_model.SUSTAINED * one.speeds.get(unit, 1.0)
                for unit, count in work.items()
                if unit != cost_model.ROWS
            )
            left.append([1 / took, work.get(cost_model.ROWS, 0.0) / took])
            right.append((one.took[stage] - tokens) / took)
        start, row = nnls(np.array(left), np.array(right))[0]
        out[stage] = (float(start), float(row))
    return out


def error(predicted: float, took: float) -> str:
    """``+7 %``, or a dash where it is about fractions of a second."""
    return f"{100 * (predicted / took - 1):+.0f} %" if took >= TOLD_S else "–"


def by_trial(cases: Sequence[Measured]) -> str:
    """Measured seconds and the error of what the doctor says before a first run."""
    lines = []
    for one in cases:
        whole = [sum(one.took[s] for s in STAGES), sum(one.predicted(s) for s in STAGES)]
        told = [f"{one.took[s]:.1f} ({error(one.predicted(s), one.took[s])})" for s in STAGES[:3]]
        told += [error(one.predicted(s), one.took[s]) for s in ("rewrite", "verify")]
        lines.append([one.title, *told, f"{whole[0]:.0f}", error(whole[1], whole[0])])
    head = ("model, rows", "train", "score", "judge", "rewrite", "verify", "all, s", "error")
    return table(head, lines)


def by_own(cases: Sequence[Measured]) -> str:
    """The error of what is said once a round has run: its own seconds, by rows."""
    lines = []
    own = {one.case.model: one for one in cases if one.case.rows == 3_000}
    for one in cases:
        if one.case.rows <= 3_000:
            continue
        before = own[one.case.model]
        said = {
            s: cost_model.scaled(s, before.took[s], before.facts.rows, one.facts.rows) for s in STAGES if s in one.took
        }
        errors = [error(said[s], one.took[s]) for s in STAGES if s in ("train", "score", "judge", "rewrite", "verify")]
        whole = sum(one.took[s] for s in STAGES)
        lines.append([one.title, *errors, f"{whole:.0f}", error(sum(said.values()), whole)])
    return table(("model, rows", "train", "score", "judge", "rewrite", "verify", "all, s", "error"), lines)


def page(small: Sequence[Measured], large: Sequence[Measured]) -> str:
    """The page."""
    shapes = "; ".join(f"*{name}* {s.layers} layers of {s.hidden}" for name, s in SHAPES.items())
    constants = table(
        ("stage", "before the first sample, s", "a sample, ms"),
        [[s, cost_model.START.get(s, 0.0), f"{1000 * cost_model.ROW.get(s, 0.0):.3g}"] for s in STAGES],
    )
    return PAGE.format(
        machine=machine(),
        shapes=shapes,
        constants=constants,
        small=by_trial(small),
        large=by_trial(large),
        own=by_own([*small, *large]),
    )


PAGE = """# How long a run takes: the model of cost

`python -m benchmarks.engine.cost_model --data alpaca_9k.json --folder FOLDER --page docs/benchmarks/cost-model.md`

{machine}. Whole rounds of the program, CPU seconds of each stage as `status --json` has them. Alpaca rows cut to 60 +
60 characters (62 tokens; where 240 is said, to 240 + 240), LoRA, one epoch, 2 % of the rows rewritten by the demo's
teacher. Models with random weights, 2,048 words: {shapes}. Other programs kept the machine busy, about ten to two
cores: equal work differed by up to 30 % in CPU seconds (shared caches and cores), so errors below that are not told
from noise.

## The model

    seconds = START + samples × ROW + tokens × seconds a token

How many tokens a stage reads, learns or writes follows from the dataset and the settings
(`engine/doctor/cost_model.py`): score reads every sample under the round's model, its prompt by itself and, the first
time, twice under the base; judge a sample with six endings; training with the padding of its batches. Seconds a token
are measured by the doctor in about two seconds: a few layers of the model's shape, without its weights
(`engine/doctor/speed_probe.py`). START and ROW were fitted on the first table and are the same for every model:

{constants}

## What it was fitted on

Measured CPU seconds, in brackets the error of the model. Stages of less than a second are not told.

{small}

Verify is overrated where no rewrite passed the text checks, so that nothing was measured (*small*, 3,000 and 10,000).

## What it predicts: more rows, longer rows, another model, other batches

{large}

## Once a round has run

The doctor, `status` and `run` then believe the stages themselves and scale them by the number of samples. Errors,
predicted from the run with 3,000 rows:

{own}

The goal is 15 %. What the doctor says is a range (0.8 to 1.35 times the model before a first round, 0.85 to 1.2 times
afterwards), and how many samples the teacher is asked about is not known before: there the range is that of the
settings.

Whole rounds are within the goal or close to it; training, and stages of a few seconds, are not always.

Not shown: 100,000 rows, a GPU, full fine-tuning, several processes, vLLM (unknown until it ran), an endpoint (by one
test reply).
"""


def main(arguments: Sequence[str]) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine.cost_model", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="Alpaca rows as JSON")
    parser.add_argument("--folder", type=Path, required=True, help="where projects and results are kept")
    parser.add_argument("--page", type=Path, help="the page to write")
    parser.add_argument("--fit", action="store_true", help="print START and ROW")
    asked = parser.parse_args(arguments)
    asked.folder.mkdir(parents=True, exist_ok=True)
    small = [of_case(asked.folder, asked.data, case) for case in SMALL]
    if asked.fit:
        for stage, (start, row) in fit(small).items():
            print(f"{stage}: start {start:.3g}, row {row:.3g}")
    large = [of_case(asked.folder, asked.data, case) for case in LARGE]
    if asked.page:
        asked.page.write_text(page(small, large), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
