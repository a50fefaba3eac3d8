"""What the screens wait for, measured without a terminal: search, filter, threshold count, word difference, start.

In CPU time: the work is one thread's on data that is in memory, and another load on the machine changes only the clock.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import ROOT
from benchmarks.app.target_table import Row
from benchmarks.app.timed_terminal import p50, p95
from benchmarks.app.word_diff import pair
from engine.selection.preview.counts import Preview
from engine.signals.axes import threshold_value
from engine.store.rows import AXES
from middo_tui.feed.orders import Order
from middo_tui.feed.pages import Pages
from middo_tui.feed.rewrite import TextBlock, cached_diff
from middo_tui.widgets.word_diff import laid_out

SEARCH_MS, FILTER_MS, COUNT_MS, DIFF_MS, PREFETCHED_MS, START_MS = 50, 120, 2, 100, 1, 60
SEARCHES = ("volcanoes", '"common mistakes"')
FILTERS = ("quality<4", "axis:C", "cluster:7", "loss_after>2 quality<5 axis:C")


def cpu_ms(work: Callable[[int], object], times: int) -> list[float]:
    """Each time, in milliseconds of CPU, child processes that have ended included."""
    found = []
    for turn in range(times):
        begun = _spent()
        work(turn)
        found.append((_spent() - begun) * 1000)
    return found


def _spent() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def lists(project: Path, round: int, times: int) -> list[Row]:
    """Full-text search and filters: all the ids, not only the first page."""
    pages, rows = Pages(project), []
    for _ in pages.order(Order(round)):  # as the screen has done before a filter can be typed
        pass

    def filtered(where: str) -> tuple[int, list[float]]:
        sizes: list[int] = []
        took = cpu_ms(lambda _: sizes.append(sum(map(len, pages.order(Order(round, where))))), times)
        return sizes[0], took

    for text in SEARCHES:
        count = len(pages.matches(text))
        took = cpu_ms(lambda _, text=text: pages.matches(text), times)  # type: ignore[misc]
        rows.append(_row(f"full-text search, {text.replace('|', '')}: {count:,} found", SEARCH_MS, took))
    for where in FILTERS:
        count, took = filtered(where)
        rows.append(_row(f"filter, {where}: {count:,} pass", FILTER_MS, took))
    pages.close()
    return rows


def counting(project: Path, round: int, times: int) -> list[Row]:
    """What a move of a cut costs on the Thresholds screen: where the cut holds and not the floor, so that it counts."""
    preview = Preview.load(project, round)
    usual = preview.configured
    for axis in AXES:
        usual[axis] = 0.3 + max(
            abs(threshold_value(mark) - mark.mean) / mark.sigma for mark in preview.cut(axis, usual[axis])
        )
    rows = []
    for axis in AXES:
        moves = cpu_ms(
            lambda turn, axis=axis: preview.counts({**usual, axis: usual[axis] + 0.01 * (turn % 20 - 10)}),  # type: ignore[misc]
            4 * times,
        )
        rows.append(_row(f"threshold count, {axis} moved", COUNT_MS, moves))
    return rows


def differences(times: int) -> list[Row]:
    """Opening a difference of 3,000 words: found and laid out at 80 columns; then again, as when it was prefetched."""
    opened: list[float] = []
    again: list[float] = []
    for turn in range(times):
        old, new = pair((0.02, 0.1, 0.3, 0.6)[turn % 4], seed=turn)
        for found in (opened, again):
            found += cpu_ms(lambda _: laid_out((TextBlock("response", cached_diff(old, new)),), False, True, 80), 1)  # noqa: B023
    return [
        _row("word difference of 3,000 words opened", DIFF_MS, opened),
        _row("word difference, prefetched and laid out before", PREFETCHED_MS, again, "0"),
    ]


def _row(measure: str, target_ms: float, took: list[float], said: str = "") -> Row:
    digits = 0 if target_ms > 10 else 2
    return Row(
        f"{measure}: p50, p95 of CPU time",
        f"{said} ms" if said else f"≤ {target_ms} ms",
        f"{p50(took):.{digits}f}, {p95(took):.{digits}f} ms",
        p50(took) <= target_ms,
    )


def start(times: int) -> list[Row]:
    """Importing the app beside importing the library that it is made with, in turn, in fresh processes."""
    took: dict[str, list[float]] = {"textual.app": [], "middo_tui.app": []}
    for _ in range(times):
        for name, found in took.items():
            found += cpu_ms(lambda _, name=name: _python(f"import {name}"), 1)  # type: ignore[misc]
    more = [ours - bare for bare, ours in zip(took["textual.app"], took["middo_tui.app"], strict=True)]
    count = (
        "import sys, textual.app\nbare = set(sys.modules)\nimport middo_tui.app\nprint(len(set(sys.modules) - bare))"
    )
    modules = int(_python(count))
    return [
        Row(
            "import of the app over that of bare Textual: median, p95 of the differences in CPU time",
            f"≤ +{START_MS} ms",
            f"+{p50(more):.0f}, +{p95(more):.0f} ms",
            p50(more) <= START_MS,
            f"{times} pairs of fresh processes in turn; bare Textual takes {p50(took['textual.app']):.0f} ms. The app"
            f" imports {modules} modules more, none of torch, numpy or a network library.",
        )
    ]


def _python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout
