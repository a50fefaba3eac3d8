"""docs/benchmarks/gain.md: the table of all arms, their differences with intervals, the figures as JSON and a plot."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from benchmarks.plots import saved


@dataclass(frozen=True, slots=True)
class Cell:
    """One run: the accuracy of every round's model, teacher calls and tokens, samples and how many of them are flawed
    at the end; of what was selected as flawed in the first round, precision and recall.
    """

    arm: str
    seed: int
    accuracy: list[float]
    calls: int
    tokens: int
    size: int
    flawed: int
    precision: float | None
    recall: float | None
    asked: int
    seconds: float


Cells = Mapping[tuple[str, int], Cell]
"""By arm and seed."""
T95 = {1: 12.71, 2: 4.30, 3: 3.18, 4: 2.78, 5: 2.57, 6: 2.45, 7: 2.36, 8: 2.31, 9: 2.26}
"""Student's t at 97.5 %, by degrees of freedom."""


def difference(a: Sequence[float], b: Sequence[float]) -> tuple[float, float]:
    """The mean of the paired differences, and half its 95 % interval."""
    pairs = [x - y for x, y in zip(a, b, strict=True)]
    if len(pairs) < 2:
        return mean(pairs), math.inf
    return mean(pairs), T95[len(pairs) - 1] * stdev(pairs) / math.sqrt(len(pairs))


def table(titles: Mapping[str, str], cells: Cells) -> list[str]:
    """One row per arm that was run."""
    out = [
        "| arm | seeds | accuracy after each round | at the end | default minus arm | calls | tokens | samples | flawed"
        " left | precision | recall |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, title in titles.items():
        mine = [cell for (which, _), cell in sorted(cells.items()) if which == name]
        if not mine:
            continue
        both = [cell.seed for cell in mine if ("default", cell.seed) in cells]
        gap = ""
        if name != "default" and both:
            value, half = difference(
                [cells["default", seed].accuracy[-1] for seed in both],
                [cells[name, seed].accuracy[-1] for seed in both],
            )
            gap = f"{100 * value:+.1f}" + ("" if math.isinf(half) else f" ± {100 * half:.1f}")
        steps = [mean(values) for values in zip(*(cell.accuracy for cell in mine), strict=False)]
        known = [cell for cell in mine if cell.precision is not None and cell.recall is not None]
        quality = (
            f"{mean(cell.precision or 0 for cell in known):.2f} | {mean(cell.recall or 0 for cell in known):.2f}"
            if known
            else " | "
        )
        out.append(
            f"| {title} | {', '.join(str(cell.seed) for cell in mine)} | "
            f"{' → '.join(f'{100 * value:.1f}' for value in steps)} | "
            f"**{100 * mean(cell.accuracy[-1] for cell in mine):.1f}** | {gap} | {mean(c.calls for c in mine):.0f} | "
            f"{mean(c.tokens for c in mine):,.0f} | {mean(c.size for c in mine):.0f} | "
            f"{mean(c.flawed for c in mine):.0f} | {quality} |"
        )
    return out


MARKER = "<!-- measured: written by benchmarks.engine.gain -->"


def write_page(page: Path, titles: Mapping[str, str], cells: Cells) -> None:
    """Put the table between the page's markers; what a person wrote around it stays."""
    head, _, rest = page.read_text(encoding="utf-8").partition(MARKER)
    _, _, tail = rest.partition(MARKER)
    page.write_text(f"{head}{MARKER}\n" + "\n".join(table(titles, cells)) + f"\n{MARKER}{tail}", encoding="utf-8")
    facts = [asdict(cell) for _, cell in sorted(cells.items())]
    page.with_suffix(".json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    saved(page, lambda figure: _draw(figure, titles, cells), (8, 5))


def _draw(figure: Any, titles: Mapping[str, str], cells: Cells) -> None:
    """Accuracy at the end against teacher calls: every seed small, the mean of an arm large, with its 95 % interval."""
    axis = figure.subplots()
    for at, (name, title) in enumerate(titles.items()):
        mine = [cell for (which, _), cell in sorted(cells.items()) if which == name]
        if not mine:
            continue
        color, mark = f"C{at % 10}", "os^Dv<>Pp*X"[at % 11]
        ends = [100 * cell.accuracy[-1] for cell in mine]
        half = T95[len(ends) - 1] * stdev(ends) / math.sqrt(len(ends)) if len(ends) > 2 else 0.0
        axis.plot([cell.calls for cell in mine], ends, mark, color=color, alpha=0.35, markersize=4)
        where = mean(cell.calls for cell in mine)
        axis.errorbar(where, mean(ends), half, fmt=mark, color=color, capsize=3, markersize=9, label=title)
    axis.set(xlabel="teacher calls", ylabel="accuracy on held-out questions, %")
    axis.legend(fontsize="small")
