"""How well the signals find planted flaws: SmolLM2 on real Alpaca rows, the demo's base on rows of the demo's world.

    python -m benchmarks.engine.flaws --data FOLDER --rows 100 --draws 5

Every row is measured clean and with a few kinds of flaws, once. A draw then says which rows are flawed and how: 0, 5,
10 or 40 % of them. Writes docs/benchmarks/flaws.md, with flaws.json, flaws.svg and flaws.png beside it. With 100 rows
it takes about 15 minutes on one core, most of them for SmolLM2 (without it that part is left out). It resumes.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks import ROOT
from benchmarks.engine import flaws_page
from benchmarks.engine.flaw_readings import Readings, Subject, Values
from benchmarks.world import smollm2
from benchmarks.world.planted_flaws import KINDS, Row, Spoiler, spoiled
from benchmarks.world.unseen_flaws import UNSEEN_KINDS
from engine.demo import flaws as demo_flaws
from engine.demo import measure
from engine.demo import seed as demo_world
from engine.formats.row_formats import join_input
from engine.signals import flaw_score
from engine.signals.text_signs import sign

DOCUMENT = ROOT / "docs" / "benchmarks" / "flaws.md"
SHARES = (0.0, 0.05, 0.1, 0.4)
EACH = 4
"""Kinds of flaws that each row is measured with."""
LONGEST = 420
"""Characters of an answer at most: the time goes with them."""
SELECTED_DRAWS = 3
"""Draws in which the product's own stages select."""
POOL = 200
"""Rows to borrow from. As many as are asked for are measured, the same ones first."""
Floats = NDArray[np.float64]


class Case(NamedTuple):
    """A row as it is measured: which one, its kind of flaw ("": none), its texts."""

    place: int
    kind: str
    row: Row


class Drawn(NamedTuple):
    """One draw: the case of every row, its readings as arrays in the rows' order, and which lens looks worst."""

    cases: list[Case]
    columns: dict[str, Floats]
    worst: list[str]

    @property
    def flawed(self) -> NDArray[np.bool_]:
        """Which rows are flawed, bool[n]."""
        return np.array([bool(case.kind) for case in self.cases])


def alpaca(data: Path, seed: int = 0) -> list[Row]:
    """``POOL`` real rows, the two files by turns, no prompt twice."""
    rng, parts = random.Random(f"flaws {seed}"), []
    for name in ("alpaca_9k", "alpaca_1k"):
        found = json.loads((data / f"{name}.json").read_text(encoding="utf-8"))
        texts = [Row(join_input(r["instruction"], r["input"]), r["output"]) for r in found]
        usable = list({row.prompt: row for row in texts if 0 < len(row.answer.strip()) <= LONGEST}.values())
        parts.append(rng.sample(usable, POOL // 2))
    return [row for pair in zip(*parts, strict=True) for row in pair]


def cases(rows: Sequence[Row], each: int, seed: int = 0, kinds: Mapping[str, Spoiler] = KINDS) -> list[Case]:
    """Every row clean and with ``each`` kinds that apply to it, all kinds about equally often."""
    used: Counter[str] = Counter()
    rng, out = random.Random(f"cases {seed}"), []
    for place, row in enumerate(rows):
        out.append(Case(place, "", row))
        tried = sorted(kinds, key=lambda kind: (used[kind], rng.random()))
        bad = [(kind, spoiled(kind, rows, place, seed, kinds)) for kind in tried]
        found = [Case(place, kind, row) for kind, row in bad if row is not None]
        out += found[:each]
        used.update(case.kind for case in found[:each])
    return out


def later_cases(data: Path, rows: int, each: int) -> list[Case]:
    """Other real rows, and kinds of flaws that were written after the score (``benchmarks.world.unseen_flaws``)."""
    taken = {row.prompt for row in alpaca(data)}
    others = [row for row in alpaca(data, 1) if row.prompt not in taken]
    return [case for case in cases(others, each, 1, UNSEEN_KINDS) if case.place < rows]


def demo_cases(count: int, each: int, seed: int = 0) -> list[Case]:
    """The same of the demo's world, where an answer can also be false in the way of its task."""
    rng = random.Random(f"demo flaws {seed}")
    tasks = [demo_world.draw_task(rng, heldout=True) for _ in range(count)]
    clean = [demo_flaws.clean(task) for task in tasks]
    out = cases([Row(row.prompt, row.output) for row in clean], each, seed)
    false = [demo_flaws.wrong(rng, task) for task in tasks]
    return out + [Case(place, flaws_page.FALSE, Row(row.prompt, row.output)) for place, row in enumerate(false)]


def draw(all_cases: Sequence[Case], values: Sequence[Values], share: float, seed: int) -> Drawn:
    """Which rows are flawed in draw ``seed``: ``share`` of them, the kinds about equally often."""
    rng, used = random.Random(f"draw {share} {seed}"), Counter[str]()
    options: dict[int, list[int]] = {}
    for i, case in enumerate(all_cases):
        options.setdefault(case.place, []).append(i)
    chosen = {place: own[0] for place, own in options.items()}  # the first of a row is the clean one
    for place in rng.sample(sorted(options), round(share * len(options))):
        own = options[place][1:]
        if own:
            chosen[place] = min(own, key=lambda i: (used[all_cases[i].kind], rng.random()))
            used[all_cases[chosen[place]].kind] += 1
    order = [chosen[place] for place in sorted(chosen)]
    found = [all_cases[i] for i in order]
    return Drawn(found, *columns(found, [values[i] for i in order]))


def columns(found: Sequence[Case], values: Sequence[Values]) -> tuple[dict[str, Floats], list[str]]:
    """The signals as arrays, high where a row looks flawed, and the flaw score without and with the judge; by the score
    without it, which lens looks worst.
    """

    def column(name: str) -> Floats:
        return np.array([np.nan if v.get(name) is None else float(v[name] or 0.0) for v in values])

    lenses = {name: column(name) for name in flaw_score.LENSES}
    text = np.array([flaw_score.text_value(*case.row) for case in found])
    out = {"base loss": column("loss"), **lenses, "text": np.minimum(text, 1.0)}
    signals = {**lenses, flaw_score.TEXT: text}
    out["flaw score"], _ = flaw_score.flaw_scores(signals)
    named = {row.sample_id: row.flaw_lens for row in flaw_score.flaws(0, range(len(found)), signals)}
    quality = column("quality")
    if np.isfinite(quality).any():
        out["judge"] = -quality
        out["flaw score with the judge"], _ = flaw_score.flaw_scores({**signals, flaw_score.JUDGE: quality})
    return out, [named.get(i, "") for i in range(len(found))]


def auc(values: Floats, flawed: NDArray[np.bool_]) -> float | None:
    """How often a flawed row has the higher value than a clean one, ties half; None without both."""
    bad, good = values[flawed & np.isfinite(values)], values[~flawed & np.isfinite(values)]
    if not len(bad) or not len(good):
        return None
    return measure.auc(bad, good)


def areas(drawn: Drawn) -> dict[str, dict[str, float | None]]:
    """The area under the ROC curve by signal, then by kind; also of ``GROUPS`` of kinds."""
    kinds = np.array([case.kind for case in drawn.cases])
    groups = {kind: kinds == kind for kind in sorted(set(kinds) - {""})}
    groups |= {name: np.isin(kinds, list(own)) for name, own in flaws_page.GROUPS.items()}
    out: dict[str, dict[str, float | None]] = {}
    for name, values in drawn.columns.items():
        out[name] = {kind: auc(values[m | (kinds == "")], m[m | (kinds == "")]) for kind, m in groups.items()}
    return out


def top(drawn: Drawn, share: float) -> dict[str, float]:
    """Precision and recall of the rows that look worst, as many of them as are flawed."""
    scores, count = drawn.columns["flaw score"], round(share * len(drawn.cases))
    worst = np.argsort(-np.nan_to_num(scores, nan=-1.0), kind="stable")[:count]
    hits = float(drawn.flawed[worst].sum())
    return {"precision": hits / max(count, 1), "recall": hits / max(drawn.flawed.sum(), 1)}


def mean(found: Sequence[float | None]) -> dict[str, float] | None:
    """Mean and standard deviation over draws; None where no draw has a figure."""
    known = [value for value in found if value is not None]
    return {"mean": float(np.mean(known)), "sd": float(np.std(known)), "draws": len(known)} if known else None


def chosen(all_cases: Sequence[Case], values: Sequence[Values], share: float, draws: int) -> dict[str, Any]:
    """What the default selects: calls, precision and recall, and the share of clean rows that it selects wrongly."""
    from benchmarks.engine.flaw_selection import selected

    true = {case.place: case.row for case in all_cases if not case.kind}
    found = []
    for seed in range(draws):
        drawn = draw(all_cases, values, share, seed)
        rows = [(case.row, true[case.place]) for case in drawn.cases]
        with tempfile.TemporaryDirectory(prefix="middo-flaws-") as scratch:
            found.append(selected(Path(scratch) / "project", rows, drawn.columns["flaw score"], drawn.worst, seed))
    wrong = [(one["selected"] - one["right"]) / max(one["rows"] - one["flawed"], 1) for one in found]
    return {
        "calls": mean([one["calls"] for one in found]),
        "selected": mean([one["selected"] for one in found]),
        "precision": mean([one["right"] / one["selected"] if share and one["selected"] else None for one in found]),
        "recall": mean([one["right"] / one["flawed"] if one["flawed"] else None for one in found]),
        "clean rows selected": mean(wrong),
    }


def summary(all_cases: Sequence[Case], values: Sequence[Values], draws: int) -> dict[str, Any]:
    """All figures of one model but those of what is selected."""
    out: dict[str, Any] = {
        "rows": len({case.place for case in all_cases}),
        "kinds": dict(Counter(case.kind for case in all_cases if case.kind)),
        "clean rows that show a sign": sum(sign(*case.row) is not None for case in all_cases if not case.kind),
        "shares": {},
    }
    for share in SHARES[1:]:
        found = [draw(all_cases, values, share, seed) for seed in range(draws)]
        tables = [areas(one) for one in found]
        kinds = {kind for table in tables for own in table.values() for kind in own}
        signals = {
            name: {kind: mean([table[name].get(kind) for table in tables]) for kind in sorted(kinds)}
            for name in tables[0]
        }
        tops = [top(one, share) for one in found]
        out["shares"][f"{share:g}"] = {
            "auc": signals,
            "top": {name: mean([one[name] for one in tops]) for name in ("precision", "recall")},
        }
    return out


def measured(subject: Subject, all_cases: Sequence[Case], folder: Path, judged: int) -> list[Values]:
    """The readings of all cases; of the first ``judged`` rows also the ratings."""
    readings = Readings(subject, folder)
    values = readings.of([case.row for case in all_cases])
    if judged:
        readings.of([case.row for case in all_cases if case.place < judged], judged=True)
        values = readings.of([case.row for case in all_cases])
    return values


def subjects(options: argparse.Namespace) -> Mapping[str, tuple[Subject, list[Case], int]]:
    """What is measured, by the name on the page: the model, its cases, and how many rows are judged."""
    base = Subject("demo", ROOT / "engine" / "demo" / "base", 512, ROOT / "engine" / "demo")
    out = {"the demo's base": (base, demo_cases(options.demo_rows, options.each), options.demo_rows)}
    folder = smollm2.folder()
    if folder is None:
        sys.stderr.write(f"SmolLM2 is left out: this {smollm2.MISSING}.\n")
    elif options.data is None:
        sys.stderr.write("SmolLM2 is left out: name a folder with alpaca_1k.json and alpaca_9k.json with --data.\n")
    else:
        real = [case for case in cases(alpaca(options.data), options.each) if case.place < options.rows]
        subject = Subject("smollm2", folder, 640, begins=True)
        later = later_cases(options.data, options.later_rows, options.each)
        out = {"SmolLM2-135M-Instruct": (subject, real, options.judged), flaws_page.LATER: (subject, later, 0), **out}
    return out


def main(arguments: Sequence[str]) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine.flaws", description=__doc__)
    named = os.environ.get("MIDDO_TEST_DATA")
    parser.add_argument("--data", type=Path, default=named, help="holds alpaca_1k.json and alpaca_9k.json")
    parser.add_argument("--rows", type=int, default=100, help=f"Alpaca rows, {POOL} at most")
    parser.add_argument("--later-rows", type=int, default=72, help="Alpaca rows with kinds of flaws written afterwards")
    parser.add_argument("--demo-rows", type=int, default=300)
    parser.add_argument("--each", type=int, default=EACH)
    parser.add_argument("--judged", type=int, default=0, help="Alpaca rows that SmolLM2 also rates")
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "middo-flaws")
    parser.add_argument("--document", type=Path, default=DOCUMENT)
    options = parser.parse_args(arguments)
    found = {}
    for name, (subject, all_cases, judged) in subjects(options).items():
        values = measured(subject, all_cases, options.folder, judged)
        found[name] = summary(all_cases, values, options.draws)
        found[name]["default"] = {f"{share:g}": chosen(all_cases, values, share, SELECTED_DRAWS) for share in SHARES}
    options.document.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    options.document.write_text(flaws_page.page(found, options.draws), encoding="utf-8")
    flaws_page.plot(found, options.document)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
