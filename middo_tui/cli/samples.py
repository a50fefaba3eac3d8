"""``middo-tui samples``: list samples, with the Samples screen's filters and orders."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.plurals import counted
from middo_tui.cli.arguments import FOLDER, one_of
from middo_tui.terminal.console import say, say_json

if TYPE_CHECKING:
    from middo_tui.feed.pages import SampleRow


def _sorts() -> tuple[str, ...]:
    from middo_tui.feed.orders import SORTS

    return SORTS


@click.command()
@click.argument("folder", type=FOLDER, default=".")
@click.option("--where", default="", metavar="EXPR", help="Filter, e.g. 'loss_after>3 quality<4 axis:C text:\"word\"'.")
@click.option(
    "--sort",
    default="seq",
    metavar="COLUMN",
    shell_complete=one_of(_sorts),
    help="Sort by a signal, e.g. quality, worst first.",
)
@click.option("--reverse", is_flag=True, help="Reverse the order.")
@click.option("--limit", type=click.IntRange(0), default=20, show_default=True, help="Maximum number of rows; 0: all.")
@click.option(
    "--round",
    "round_",
    type=click.IntRange(0),
    default=None,
    help="Dataset of this round (default: the newest scored).",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
def samples(folder: Path, where: str, sort: str, reverse: bool, limit: int, round_: int | None, as_json: bool) -> None:
    """List samples with their signals."""
    from engine.errors import UsageError
    from middo_tui.feed.orders import FIRST, RISING, Order, check_sort
    from middo_tui.feed.pages import Pages

    pages = Pages(folder)
    try:
        rounds = pages.rounds()
        round = pages.newest_scored() if round_ is None else round_
        if round not in rounds:
            raise UsageError(f"--round {round}: the project has rounds {rounds[0]} to {rounds[-1]}.")
        by = check_sort(sort)
        wanted = Order(round, where, by, (by not in RISING) != reverse)
        ids = (id for block in pages.order(wanted) for id in block)
        shown = list(islice(ids, limit or None))
        total = len(shown) + sum(1 for _ in ids)
        if not as_json:
            say(_HEAD)
        for start in range(0, len(shown), FIRST):
            page = shown[start : start + FIRST]
            rows = pages.rows(page, round)
            for row in (rows[id] for id in page if id in rows):
                say_json(_facts(row, round)) if as_json else say(_as_line(row))
        if not as_json:
            say(f"{len(shown):,} of {counted(total, 'sample')} in the dataset of round {round}")
    finally:
        pages.close()


_HEAD = f"{'#':>9}  {'axes':<4} {'base':>7} {'tuned':>7} {'sim':>6} {'qual':>5} {'flaw':>5}  text"


def _facts(row: SampleRow, round: int) -> dict[str, Any]:
    facts = {"id": row.id, "seq": row.seq, "round": round, "born": row.born, "axes": row.axes}
    states = dict(row.states)
    looks = {"looks_wrong": row.flaw_lens} if row.flaw_lens else {}
    flagged = {"injection": row.injection} if row.injection else {"unflagged": True} if row.unflagged else {}
    return {**facts, "rewrites": states, **row.numbers, **looks, **flagged, "text": row.text}


def _as_line(row: SampleRow) -> str:
    from middo_tui.look.theme import LETTERS
    from middo_tui.text import number_format

    def number(name: str, digits: int) -> str:
        return number_format.fixed(row.number(name), digits)

    axes = ("⚐" if row.unflagged else "⚑" * bool(row.injection)) + "".join(LETTERS[axis] for axis in row.axes)
    losses = f"{number('loss_before', 3):>7} {number('loss_after', 3):>7}"
    others = f"{number('similarity', 3):>6} {number('quality', 2):>5} {number('flaw', 2):>5}"
    return f"{row.seq:>9,}  {axes:<4} {losses} {others}  {row.text}"
