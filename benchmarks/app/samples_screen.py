"""The Samples screen at a terminal: first paint from a cold disk, memory, sorting, the cursor, bytes per key."""

from __future__ import annotations

import random
from array import array
from dataclasses import dataclass
from pathlib import Path

from benchmarks.app.target_table import Row
from benchmarks.app.timed_terminal import Answer, Timed, drop_page_cache, p50, p95
from middo_tui.feed.orders import RISING, Order
from middo_tui.feed.pages import Pages
from middo_tui.screens.samples.sort_menu import SORTS
from middo_tui.text import number_format
from middo_tui.widgets.vtable_rows import CURSOR

LOOP_IS_THERE = "quit"
SETTLE_S = 1.2  # longer than the app polls: nothing more comes by itself
FIRST_PAINT_MS, OWN_MB, FIRST_PAGE_MS, WHOLE_ORDER_MS = 500, 80, 30, 250
CURSOR_MS, MOVE_BYTES, PAGE_BYTES = 12, 700, 4_000
INDEXED_SORTS = ("loss_after", "quality", "similarity", "loss_before")
OTHER_SCREENS = (b"4", b"5", b"6")


@dataclass(frozen=True)
class Listed:
    """What the Samples screen shows of ``round``: how many, by sort the first row, and that of the other way round."""

    round: int
    total: int
    first: dict[str, str]
    last: dict[str, str]


def listed(project: Path, round: int, sorts: tuple[str, ...] = INDEXED_SORTS) -> Listed:
    """Ask the store what will be on the screen."""
    pages = Pages(project)
    try:
        total = 0
        first: dict[str, str] = {}
        last: dict[str, str] = {}
        for sort in ("seq", *sorts):
            for rows, down in ((first, sort not in RISING), (last, sort in RISING)):
                ids = array("q")
                for block in pages.order(Order(round, sort=sort, down=down)):
                    ids.extend(block)
                total = len(ids)
                rows[sort] = under_cursor(pages.rows(ids[:1], round)[ids[0]].seq)
        return Listed(round, total, first, last)
    finally:
        pages.close()


def under_cursor(seq: int) -> str:
    """How the row of sample ``seq`` begins while the cursor is on it."""
    return f"{CURSOR} {number_format.count(seq):>8}"


def open_samples(project: Path, what: Listed, bytes_per_s: float | None = None) -> Timed:
    """The app, gone to the Samples screen, quiet."""
    terminal = Timed(project, bytes_per_s)
    terminal.wait_for(LOOP_IS_THERE)
    terminal.settle(SETTLE_S)
    terminal.press(b"2", what.first["seq"], SETTLE_S)
    return terminal


def first_paint(project: Path, what: Listed, times: int) -> list[Row]:
    """From nothing to the Loop screen, and from the key to the first row; each time from a cold disk if permitted."""
    starts, opens, cold = [], [], True
    for _ in range(times):
        cold = drop_page_cache()
        terminal = Timed(project)
        starts.append(terminal.started(LOOP_IS_THERE))
        terminal.settle(SETTLE_S)
        drop_page_cache()
        opens.append(terminal.press(b"2", what.first["seq"]).ms)
        terminal.leave()
    kept = "" if cold else " The page cache could not be dropped here: these are warm figures."
    how = f"{times} times; before each the kernel's page cache is dropped (Python's own files are read anew too).{kept}"
    return [
        Row(
            f"first paint of Samples, key to the first row, {'cold' if cold else 'warm'}: p50, p95",
            f"≤ {FIRST_PAINT_MS} ms p95",
            f"{p50(opens):.0f}, {p95(opens):.0f} ms",
            p95(opens) <= FIRST_PAINT_MS,
            how,
        ),
        Row(
            f"start of the app to the painted Loop screen, {'cold' if cold else 'warm'}: p50, p95",
            "",
            f"{p50(starts):.0f}, {p95(starts):.0f} ms",
        ),
    ]


def memory(project: Path, what: Listed) -> list[Row]:
    """Resident memory as one screen after the other is opened; the one that holds a round comes last."""
    terminal = Timed(project)
    terminal.wait_for(LOOP_IS_THERE)
    terminal.settle(SETTLE_S)
    held = [("on Loop", terminal.memory)]
    terminal.press(b"2", what.first["seq"], SETTLE_S)
    terminal.press(b"G", quiet_s=SETTLE_S)
    held.append(("after Samples", terminal.memory))
    for key in OTHER_SCREENS:
        terminal.press(key, quiet_s=2 * SETTLE_S)
    held.append(("after Review, Rounds and Lineage too", terminal.memory))
    terminal.press(b"3", quiet_s=3 * SETTLE_S)
    held.append(("after Thresholds too, the whole app", terminal.memory))
    terminal.leave()
    return [
        Row(
            f"resident memory, {when}: all, its own",
            f"≤ {OWN_MB} MB",
            f"{whole:.0f}, {own:.0f} MB",
            whole <= OWN_MB,
            "VmRSS; its own is RssAnon, without the mapped files of Python and SQLite." if not at else "",
        )
        for at, (when, (whole, own)) in enumerate(held)
    ]


def sorting(project: Path, what: Listed, times: int, quiet_s: float) -> list[Row]:
    """The letter in the sort menu: to the first byte, to the first row of the new order, to the last byte."""
    letters = {sort.name: sort.letter for sort in SORTS}
    terminal = open_samples(project, what)
    first, page, whole, turned, cpu = [], [], [], [], []
    for turn in range(times):
        name = INDEXED_SORTS[turn % len(INDEXED_SORTS)]
        terminal.press(b"o", "Sort by?", 0.4)
        since, begun = len(terminal.seen), terminal.now
        cpu.append(terminal.press(letters[name].encode(), what.first[name], quiet_s).cpu_ms)
        first.append(terminal.ms_until(since, begun))
        page.append((terminal.came(what.first[name], since) - begun) * 1000)
        whole.append(terminal.ms_until(len(terminal.seen) - 1, begun))
        since, begun = len(terminal.seen), terminal.now
        terminal.press(b"O", what.last[name], quiet_s)
        turned.append((terminal.came(what.last[name], since) - begun) * 1000)
        terminal.press(b"o", "Sort by?", 0.4)
        terminal.press(letters["seq"].encode(), what.first["seq"], quiet_s)
    terminal.leave()
    names = ", ".join(name.replace("_", " ") for name in INDEXED_SORTS)
    return [
        Row(
            "re-sort, letter in the sort menu to the first byte (the menu closes): p50, p95",
            "",
            f"{p50(first):.0f}, {p95(first):.0f} ms",
        ),
        Row(
            "re-sort by an indexed signal, O turns the order round, key to the page: p50, p95",
            f"≤ {FIRST_PAGE_MS} ms",
            _both(turned),
            p50(turned) <= FIRST_PAGE_MS,
        ),
        Row(
            "re-sort by an indexed signal, letter in the sort menu to the first page: p50, p95",
            f"≤ {FIRST_PAGE_MS} ms",
            f"{p50(page):.0f}, {p95(page):.0f} ms",
            p50(page) <= FIRST_PAGE_MS,
            f"{times} times, {names} in turn. The full order is there when the total is, the last byte. By the median.",
        ),
        Row(
            "re-sort, key to the full order: p50, p95",
            f"≤ {WHOLE_ORDER_MS} ms",
            f"{p50(whole):.0f}, {p95(whole):.0f} ms",
            p50(whole) <= WHOLE_ORDER_MS,
            f"Of an order that was not read before. The app's own CPU time is {p50(cpu):.0f} ms, painting and the rows"
            " around included.",
        ),
    ]


def cursor(project: Path, what: Listed, keys: int, pages: int) -> list[Row]:
    """The cursor key while nothing else happens; then by half pages."""
    terminal = open_samples(project, what)
    moves = [terminal.press(b"j", CURSOR) for _ in range(keys)]
    halves = [terminal.press(b"\x04", CURSOR, 0.3) for _ in range(pages)]
    jumps = _jumps(terminal, pages)
    terminal.leave()
    sizes = [move.size for move in moves]
    return [
        latency("cursor key to its first byte, idle: p50, p95", moves, CURSOR_MS),
        Row(
            "bytes per cursor move: median, mean with the turns of the page",
            f"≤ {MOVE_BYTES / 1000:.1f} KB",
            f"{p50(sizes):,.0f}, {sum(sizes) / len(sizes):,.0f} B",
            p50(sizes) <= MOVE_BYTES,
            f"{keys} keys; at the edge the view moves by half a page.",
        ),
        Row(
            "bytes per page: median, most",
            f"≤ {PAGE_BYTES / 1000:.0f} KB",
            f"{p50([half.size for half in halves]):,.0f}, {max(half.size for half in halves):,} B",
            max(half.size for half in halves) <= PAGE_BYTES,
        ),
        Row("half a page, key to its first byte: p50, p95", "", _both([half.ms for half in halves])),
        Row("jump to a share of the way, enter to its first byte: p50, p95", "", _both(jumps)),
    ]


def _jumps(terminal: Timed, times: int) -> list[float]:
    """A place anywhere in the order, typed as a percentage."""
    rng, found = random.Random(0), []
    for _ in range(times):
        terminal.press(b":", "Jump to a row", 0.3)
        terminal.press(f"{rng.randrange(1, 99)}%".encode(), quiet_s=0.3)
        found.append(terminal.press(b"\r", CURSOR, 0.4).ms)
    return found


def latency(measure: str, answers: list[Answer], target_ms: float) -> Row:
    """Key to the first byte of what it changes."""
    found = [answer.ms for answer in answers]
    return Row(
        measure,
        f"≤ {target_ms:.0f} ms p95",
        _both(found),
        p95(found) <= target_ms,
        f"{len(answers)} keys; the app's own CPU time is {p50([a.cpu_ms for a in answers]):.0f} ms a key (in steps of"
        " 10 ms). Until the sign of the cursor is painted.",
    )


def _both(found: list[float]) -> str:
    return f"{p50(found):.1f}, {p95(found):.1f} ms"
