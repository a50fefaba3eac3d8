"""The model of cost (``engine.doctor.cost_model``) held against whole rounds of growing size.

    python -m benchmarks.engine.cost_model --data alpaca_9k.json --folder FOLDER

Runs the cases that the log has no entry of (``cost_runs``; each in FOLDER, about 25 CPU minutes for all, and it may be
stopped at any time), then writes the page. Without ``--data`` nothing is run, and the page names the cases that are
missing. ``--fit`` prints START, ROW and CHECK as they follow from the first table.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.engine.cost_runs import SHAPES, STAGES, Case, Measured, known, measured
from benchmarks.measured import machine, table
from engine.doctor import cost_model

LOG = Path(__file__).with_name("cost_measured.json")
PAGE_FILE = Path("docs/benchmarks/cost-model.md")
FITTED = [
    Case("mini", 3_000, characters=20),
    Case("tiny", 300),
    Case("tiny", 1_000),
    Case("tiny", 3_000),
    Case("tiny", 10_000),
    Case("small", 1_000),
    Case("small", 3_000),
]
PREDICTED = [
    Case("mini", 30_000, characters=20),
    Case("mini", 100_000, characters=20),
    Case("small", 10_000),
    Case("small", 1_000, characters=240),
    Case("middle", 1_000),
    Case("tiny", 1_000, batch=4),
]
TOLD = ("train", "score", "judge", "rewrite", "verify")
TOLD_S = 1.0
"""CPU seconds from which an error is told."""


def predicted(one: Measured, stage: str) -> float:
    """CPU seconds by the model."""
    found = cost_model.seconds(stage, cost_model.amounts(one.facts, one.config)[stage], one.speeds)
    if found is None:
        raise SystemExit(f"{one.case.name}: a speed of {stage} was not measured. Delete its entry of the log.")
    return found


def fit(cases: Sequence[Measured]) -> dict[str, tuple[float, float]]:
    """START and ROW of each stage: what the speeds leave over, by least squares of relative errors, none negative. Of
    verify START and CHECK: all cases rewrite the same share of their rows, so its ROW was found apart.
    """
    import numpy as np
    from scipy.optimize import nnls

    out = {}
    for stage in STAGES:
        left, right = [], []
        for one in cases:
            work, took = cost_model.amounts(one.facts, one.config)[stage], max(one.took[stage], 0.05)
            unit, each = cost_model.ROWS, cost_model.ROW.get(stage, 0.0)
            if stage == "verify":
                unit, each = cost_model.CHECKED, cost_model.CHECK
            count = work.get(unit, 0.0)
            rest = predicted(one, stage) - cost_model.START.get(stage, 0.0) - count * each
            left.append([1 / took, count / took])
            right.append((one.took[stage] - rest) / took)
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
        said = {stage: predicted(one, stage) for stage in STAGES}
        told = [f"{one.took[s]:.1f} ({error(said[s], one.took[s])})" for s in TOLD]
        whole = sum(one.took.values())
        lines.append([one.case.title, *told, f"{whole:.0f}", error(sum(said.values()), whole)])
    return table(("model, rows", *TOLD, "all, s", "error"), lines)


def by_own(cases: Sequence[Measured]) -> str:
    """The error of what is said once a round has run: its own seconds, by rows."""
    lines = []
    own = {one.case.model: one for one in cases if one.case.rows == 3_000}
    for one in (one for one in cases if one.case.rows > 3_000):
        before = own[one.case.model]
        rows = before.facts.rows, one.facts.rows
        said = {s: cost_model.scaled(s, before.took[s], *rows) for s in STAGES}
        whole = sum(one.took.values())
        errors = [error(said[s], one.took[s]) for s in TOLD]
        lines.append([one.case.title, *errors, f"{whole:.0f}", error(sum(said.values()), whole)])
    return table(("model, rows", *TOLD, "all, s", "error"), lines)


def page(fitted: Sequence[Measured], others: Sequence[Measured], missing: Sequence[Case]) -> str:
    """The page."""
    shapes = "; ".join(f"*{name}* {s.layers} layers of {s.hidden}" for name, s in SHAPES.items())
    constants = table(
        ("stage", "before the first sample, s", "a sample, ms"),
        [[s, cost_model.START.get(s, 0.0), f"{1000 * cost_model.ROW.get(s, 0.0):.3g}"] for s in STAGES],
    )
    absent = "; ".join(case.title for case in missing)
    return PAGE.format(
        machine=machine(),
        shapes=shapes,
        constants=constants,
        fitted=by_trial(fitted),
        others=by_trial(others),
        own=by_own([*fitted, *others]),
        missing=f"Not measured yet: {absent}.\n\n" if absent else "",
        sustained=f"{cost_model.SUSTAINED:g}",
        check=1000 * cost_model.CHECK,
        load=f"{cost_model.LOAD * 1e9:.2g}",
    )


PAGE = """# How long a run takes: the model of cost

`python -m benchmarks.engine.cost_model --data alpaca_9k.json --folder FOLDER` (without options: this page anew from
what was measured, `benchmarks/engine/cost_measured.json`)

{machine}. Whole rounds of the program, CPU seconds of each stage as `status --json` has them. Alpaca rows cut to 60 +
60 characters (62 tokens; where 240 or 20 is said, to as many), LoRA, one epoch, 2 % of the rows rewritten by the demo's
teacher, and all rewrites measured by verify. Models with random weights, 2,048 words: {shapes}. Other programs kept the
machine busy, about five to a core: equal work differed by up to 30 % in CPU seconds (shared caches and cores), so
errors below that are not told from noise.

## The model

    seconds = START + samples × ROW + tokens × seconds a token

How many tokens a stage reads, learns or writes follows from the dataset and the settings
(`engine/doctor/cost_model.py`): score reads every sample under the round's model, its prompt by itself and, the first
time, twice under the base; judge a sample with six endings; training with the padding of its batches; verify reads and
rates each rewrite as score and judge do, and looks at the words of every sample. Seconds a token are measured by the
doctor in about two seconds: a few layers of the model's shape, without its weights (`engine/doctor/speed_probe.py`); a
stage takes {sustained} times as long. Reading a model's weights takes {load} s a GB, more from a slow disk. START, ROW
and the {check:g} ms of a rewrite that verify measures were fitted on the first table (verify's ROW on a project of
100,000 samples with 28 rewrites: 5.7 CPU s) and are the same for every model:

{constants}

## What it was fitted on

Measured CPU seconds, in brackets the error of the model. Stages of less than a second are not told.

{fitted}

## What it predicts: more rows, longer rows, another model, other batches

{others}

{missing}How many rewrites are measured by verify is known here and not before a run.

## Once a round has run

The doctor, `status` and `run` then believe the stages themselves and scale them by the number of samples. Errors,
predicted from the run with 3,000 rows:

{own}

The goal is 15 %. What the doctor says is a range (0.8 to 1.35 times the model before a first round, 0.85 to 1.2 times
afterwards), and how many samples the teacher is asked about is not known before: there the range is that of the
settings.

The trial itself is disturbed by other programs: an hour apart, six ratings of a *mini* sample took 1.8 or 2.7 ms.

Not shown: a GPU, full fine-tuning, several processes, vLLM (unknown until it ran), an endpoint (by one test reply).
"""


def main(arguments: Sequence[str]) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine.cost_model", description=__doc__)
    parser.add_argument("--data", type=Path, help="Alpaca rows as JSON: run the cases that are missing")
    parser.add_argument("--folder", type=Path, default=Path("build/cost"), help="where their projects are made")
    parser.add_argument("--log", type=Path, default=LOG, help="what was measured")
    parser.add_argument("--page", type=Path, default=PAGE_FILE, help="the page to write")
    parser.add_argument("--fit", action="store_true", help="print START, ROW and CHECK")
    asked = parser.parse_args(arguments)
    if asked.data:
        asked.folder.mkdir(parents=True, exist_ok=True)
        for case in (*FITTED, *PREDICTED):
            measured(asked.log, asked.folder, asked.data, case)
    there = known(asked.log)
    fitted, others = ([there[case.name] for case in cases if case.name in there] for cases in (FITTED, PREDICTED))
    if asked.fit:
        for stage, (start, row) in fit(fitted).items():
            print(f"{stage}: start {start:.3g}, {'check' if stage == 'verify' else 'row'} {row:.3g}")
    missing = [case for case in (*FITTED, *PREDICTED) if case.name not in there]
    asked.page.write_text(page(fitted, others, missing), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
