"""docs/benchmarks/real_gain.md from the results of each arm and draw."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.measured import machine, table
from benchmarks.plots import saved

Result = dict[str, Any]
Found = Mapping[str, Mapping[str, Result]]
WHAT = {
    "base": "before training",
    "clean": "the rows as they were before they were spoilt: the ceiling",
    "spoilt": "the spoilt rows as they are: where the loop starts",
    "ours": "the loop at its defaults, one round",
    "random": "as many calls as ours spends, on random rows, one call a row",
    "random-rewritten": "as many calls as ours spends, on random rows, two calls a row as the paper rewrites",
    "drop": "the rows that ours selects left out, no teacher",
    "paper": "the published rule, one round, the dataset grows",
}

READING = """\
**What two draws show, and what not.** Spoiling 40 % of the rows costs this model about a hundredth of a nat,
and the error of that is half as large: two draws cannot rank the arms, and an arm may end below the clean rows. Ours
is lower than the spoilt rows in each draw. The goals (80 % of the way, random at most half of ours) are not shown;
that would take some ten draws of an hour each on two cores."""
"""Written by hand about what is measured so far: to be read again with every new draw."""


def page(found: Found, rows: int, heldout: int, share: float, right: float) -> str:
    """The page as Markdown."""
    text = [
        "# The gain on a real language model",
        "",
        "`make bench-real`",
        "",
        f"{machine()}.",
        "",
        f"SmolLM2-135M-Instruct, LoRA of rank 16, 2 epochs, on {rows} real Alpaca rows (answers of at most 420"
        f" characters), {share:.0%} of them spoilt: sixteen kinds in equal parts, all of [flaws.md](flaws.md) but wrong"
        f" numbers and names. The teacher is a local endpoint that gives back the true row, right {right:.0%} of the"
        f" time; a prompt that names no task gets a question back. The loss is of the answers of {heldout} other, clean"
        " rows, in nats per token.",
        "",
        "± is a paired standard error over the held-out rows: how far other held-out rows would move the difference."
        " It does not include another draw of the training rows or another training seed.",
        "",
        READING,
        "",
        "![How much lower each arm's loss is than that of the spoilt rows](real_gain.png)",
        "",
    ]
    for draw, arms in found.items():
        text += [f"## Draw {draw}", "", table(*_table(arms)), ""]
    if len(found) > 1:
        text += ["## Mean of the draws", "", *_means(found), ""]
    missing = sorted({arm for arm in WHAT for arms in found.values() if arm not in arms}, key=list(WHAT).index)
    if missing:
        text += [f"Not measured on this machine for every draw: {', '.join(missing)}.", ""]
    text += ["## The arms", "", *(f"- **{arm}**: {what}" for arm, what in WHAT.items()), ""]
    return "\n".join(text)


def difference(one: Result, other: Result) -> tuple[float, float]:
    """How much lower the loss of ``one`` is than ``other``'s, and the paired standard error over held-out rows."""
    pairs = [
        (count, b - a)
        for a, b, count in zip(one["losses"], other["losses"], one["tokens_of"], strict=True)
        if a is not None and b is not None
    ]
    total = sum(count for count, _ in pairs)
    mean = math.fsum(count * d for count, d in pairs) / total
    return mean, math.sqrt(math.fsum((count * (d - mean)) ** 2 for count, d in pairs)) / total


def way(arms: Mapping[str, Result], arm: str) -> float | None:
    """Which share of the way from spoilt to clean an arm has come."""
    if not {"spoilt", "clean", arm} <= arms.keys():
        return None
    gap = arms["spoilt"]["loss"] - arms["clean"]["loss"]
    return (arms["spoilt"]["loss"] - arms[arm]["loss"]) / gap if gap else None


def _table(arms: Mapping[str, Result]) -> tuple[tuple[str, ...], list[list[object]]]:
    head = (
        "arm",
        "rows",
        "calls",
        "held-out loss",
        "lower than spoilt",
        "of the way to clean",
        "selected",
        "flawed left",
    )
    lines: list[list[object]] = []
    for arm in WHAT:
        if arm not in arms:
            continue
        one, share = arms[arm], way(arms, arm)
        gain = (
            ""
            if "spoilt" not in arms or arm == "spoilt"
            else "{:+.4f} ± {:.4f}".format(*difference(one, arms["spoilt"]))
        )
        chosen = f"{one['selected']} ({one['selected_flawed']} flawed)" if "selected" in one else ""
        there = "" if share is None or arm in ("base", "spoilt") else f"{share:.0%}"
        figures = (one["rows"], one["calls"], f"{one['loss']:.4f}", gain, there, chosen, one.get("flawed_left", ""))
        lines.append([arm, *figures])
    return head, lines


def _means(found: Found) -> list[str]:
    lines = []
    for arm in WHAT:
        shares = [share for arms in found.values() if (share := way(arms, arm)) is not None]
        if shares and arm not in ("base", "spoilt", "clean"):
            spread = f" ± {statistics.stdev(shares) / math.sqrt(len(shares)):.0%}" if len(shares) > 1 else ""
            lines.append([arm, len(shares), f"{statistics.mean(shares):.0%}{spread}"])
    return [table(("arm", "draws", "of the way from spoilt to clean"), lines)]


def plot(found: Found, document: Path) -> None:
    """real_gain.svg and real_gain.png: how much lower each arm's loss is than the spoilt rows', two errors wide."""
    saved(document, lambda figure: _draw(figure, found), (7, 4))


def _draw(figure: Any, found: Found) -> None:
    axis = figure.subplots()
    names = [arm for arm in WHAT if arm not in ("base", "spoilt") and any(arm in arms for arms in found.values())]
    for at, (draw, arms) in enumerate(found.items()):
        if "spoilt" not in arms:
            continue
        mine = [(y + 0.15 * at, *difference(arms[arm], arms["spoilt"])) for y, arm in enumerate(names) if arm in arms]
        heights, values, errors = zip(*mine, strict=True) if mine else ((), (), ())
        axis.errorbar(values, heights, xerr=[2 * error for error in errors], fmt="o", capsize=3, label=f"draw {draw}")
    axis.axvline(0.0, color="0.8")
    axis.set_yticks(range(len(names)), names)
    axis.set(xlabel="held-out loss lower than with the spoilt rows, nats per token")
    axis.legend(fontsize="small")
