"""How often a teacher with words of its own agrees with good answers, and with spoilt ones: real pairs of answers.

    python -m benchmarks.engine.agreement --data FOLDER

Two files of Alpaca rows share prompts: the answers of one are the dataset's, those of the other, by a stronger model,
the teacher's. No model runs. Writes docs/benchmarks/agreement.md in a few seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks import ROOT
from benchmarks.measured import table
from benchmarks.world.planted_flaws import KINDS, UNSEEN, Row, spoiled
from engine.formats.row_formats import join_input
from engine.selection.agreement import Bounds, is_short, similarity
from engine.selection.evidence import CONTROL, FIRST
from engine.signals.text_signs import ends_open, sign

DOCUMENT = ROOT / "docs" / "benchmarks" / "agreement.md"
DRAWS = 40
Agrees = Callable[[Row, str], bool]


def pairs(folder: Path) -> tuple[list[Row], list[str]]:
    """Rows of one file, and the other file's answers to the same prompts."""
    texts = []
    for name in ("alpaca_9k", "alpaca_1k"):
        rows = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        texts.append({join_input(r["instruction"], r["input"]): r["output"] for r in rows if r["output"].strip()})
    prompts = sorted(texts[0].keys() & texts[1].keys())
    return [Row(prompt, texts[0][prompt]) for prompt in prompts], [texts[1][prompt] for prompt in prompts]


def equal_or_alike(fine: Sequence[tuple[str, str]]) -> Agrees:
    """The rule before: short answers equal; long ones as alike as four of five that look fine, never below .2."""
    long = [pair for pair in fine if not is_short(pair[0])]
    bound = 0.5
    if len(long) >= 4:
        found = sorted(similarity(*pair) for pair in long)
        others = sorted(similarity(a, b) for i, (a, _) in enumerate(long) for j, (_, b) in enumerate(long) if i != j)
        bound = max(0.2, found[int(0.2 * len(found))], others[int(0.95 * len(others))])

    def agrees(row: Row, answer: str) -> bool:
        return similarity(row.answer, answer) >= (1.0 if is_short(row.answer) else bound)

    return agrees


def todays(fine: Sequence[tuple[str, str]], asked: Sequence[tuple[str, str]]) -> Agrees:
    """Today's rule, for rows that the flaw score notices for their form where their form is the flaw."""
    bounds = Bounds.of(fine, asked)

    def agrees(row: Row, answer: str) -> bool:
        shown = sign(row.prompt, row.answer)
        if shown and sign(row.prompt, answer) != shown:
            return False
        return not (ends_open(row.answer) and not ends_open(answer)) and bounds.agree(row.answer, answer)

    return agrees


def measured(rows: Sequence[Row], answers: Sequence[str], draws: int) -> dict[str, dict[str, float]]:
    """By kind of flaw ("": none) the share of rows with which the teacher disagrees, by either rule; mean of draws.

    Kinds that make a prompt of their own are left out: the teacher's answer to it is not known.
    """
    told = {row.prompt: answer for row, answer in zip(rows, answers, strict=True)}
    bad: dict[str, list[tuple[Row, str]]] = {}
    for kind in KINDS:
        changed = [new for i in range(len(rows)) if (new := spoiled(kind, rows, i, 0)) is not None]
        bad[kind] = [(row, told[row.prompt]) for row in changed if row.prompt in told]
    counted: dict[str, dict[str, list[float]]] = {}
    for seed in range(draws):
        rng = random.Random(f"agreement {seed}")
        drawn = rng.sample(range(len(rows)), FIRST + CONTROL)
        asked = [(rows[i].answer, answers[i]) for i in drawn]
        fine, left = asked[: CONTROL // 2], [i for i in range(len(rows)) if i not in drawn]
        rules = {"before": equal_or_alike(fine), "today": todays(fine, asked)}
        good = [(rows[i], answers[i]) for i in left]
        for name, agrees in rules.items():
            for kind, found in {"": good, **bad}.items():
                if found:
                    share = sum(not agrees(row, told) for row, told in found) / len(found)
                    counted.setdefault(kind, {}).setdefault(name, []).append(share)
    return {kind: {name: sum(v) / len(v) for name, v in own.items()} for kind, own in counted.items()}


def page(found: Mapping[str, Mapping[str, float]], count: int, draws: int) -> str:
    """The page as Markdown."""
    order = ["", *(kind for kind in found if kind and kind not in UNSEEN), *(kind for kind in UNSEEN if kind in found)]
    lines = [[kind or "**nothing**", *(f"{found[kind][name]:.0%}" for name in ("before", "today"))] for kind in order]
    return "\n".join([
        "# When a teacher with words of its own agrees",
        "",
        "`python -m benchmarks.engine.agreement --data FOLDER`",
        "",
        f"{count} prompts of Stanford Alpaca with two answers: the dataset's, and a stronger model's, which is the"
        " teacher here. Its answers are right mostly, and worded otherwise: of the short ones one in six is equal. A"
        f" figure is the share of answers with which it disagrees, the mean of {draws} draws of the {CONTROL // 2}"
        " random samples that tell what to expect. What is not flawed should be low, what is should be high.",
        "",
        table(("what is wrong with the dataset's answer", "the rule before", "today's rule"), lines),
        "",
        "*Before*, short answers had to be equal and long ones as alike as four of five that look fine. Such"
        " a teacher disagreed with most good answers, which says nothing of bad ones. *Today*"
        " ([METHOD](../METHOD.md#evidence)) the control group tells that the teacher has its own words: then"
        " it disagrees with another topic, a refusal, another language, a sign of a flaw, an open end, and"
        " wrong numbers in short answers. (Here every row counts as if its end looked cut off to the base"
        " model; so the figure for good answers is the highest that there can be.) It cannot tell what has the"
        " right words as well: spoilt letters, text after the end, a wrong name. Those rows are false alarms"
        " for such a teacher. One that has the dataset's own words finds them ([flaws.md](flaws.md)).",
        "",
        "## What the default selects with such a teacher",
        "",
        "The stages select and rewrite; 70 of these prompts, flaw scores by SmolLM2-135M-Instruct, kinds as in"
        " [flaws.md](flaws.md), three draws. Measured once, not by this program. The teacher says the same whenever"
        " it is asked.",
        "",
        table(
            ("flawed", "selected before", "recall", "selected today", "precision", "recall", "calls"),
            [
                ["0", "0, 58, 60", "", "8, 8, 9", "", "", "46"],
                ["7", "0, 0, 0", "0%", "16, 13, 14", "37%", "76%", "78"],
                ["28", "0, 0, 0", "0%", "26, 28, 25", "78%", "74%", "79"],
            ],
        ),
        "",
        "Before, the teacher told nothing (nothing is selected), or chance let everything through. What is selected"
        " of rows that are not spoilt is no pure loss: a good teacher's answer takes the place of another one, and"
        " some of these rows are wrong as they are.",
        "",
    ])  # fmt: skip


def main(arguments: Sequence[str]) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine.agreement", description=__doc__)
    named = os.environ.get("MIDDO_TEST_DATA")
    parser.add_argument("--data", type=Path, default=named, required=named is None, help="has the two files of rows")
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--document", type=Path, default=DOCUMENT)
    options = parser.parse_args(arguments)
    rows, answers = pairs(options.data)
    options.document.write_text(
        page(measured(rows, answers, options.draws), len(rows), options.draws), encoding="utf-8"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
