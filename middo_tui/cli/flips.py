"""``middo-tui flips``: the held-out questions that flipped between two rounds, with both replies."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from middo_tui.cli.arguments import FOLDER
from middo_tui.terminal.console import say, say_json

if TYPE_CHECKING:
    from middo_tui.feed.flips import FlipRow, FlipsView, Shown

SHOWN = ("changed", "gained", "lost", "all")


@click.command("flips")
@click.argument("folder", type=FOLDER, default=".")
@click.option("--round", "after", type=click.IntRange(1), help="Compare this round (default: the newest evaluated).")
@click.option("--since", "before", type=click.IntRange(0), help="With this earlier round (default: the one before).")
@click.option(
    "--show",
    type=click.Choice(SHOWN),
    default="changed",
    show_default=True,
    help="gained: from wrong to right, lost: from right to wrong, changed: both.",
)
@click.option("--limit", type=click.IntRange(0), default=20, show_default=True, help="Maximum number; 0: all.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line: the comparison, then questions.")
def flips_command(folder: Path, after: int | None, before: int | None, show: Shown, limit: int, as_json: bool) -> None:
    """Show which held-out questions a later round answers right that an earlier one did not, and the other way round.

    Needs [evaluate] exact_match; without it, questions are listed by how much their loss changed.
    """
    from middo_tui.feed.flips import load

    view = load(folder, after, before, show, limit or None)
    if as_json:
        _as_json(view)
        return
    say(f"{view.verdict}\n")
    for row in view.rows:
        say(_text(row, view))
    if view.total > len(view.rows):
        say(f"{len(view.rows):,} of {view.total:,} questions shown. Show all with --limit 0.")
    if not view.total:
        say("No question flipped." if show == "changed" else "No such question.")


def _as_json(view: FlipsView) -> None:
    import msgspec

    whole = {"before": view.before, "after": view.after, "questions": view.total, "verdict": view.verdict}
    say_json(whole)
    for row in view.rows:
        say_json(msgspec.to_builtins(row))


MARKS = {1: "✔", -1: "✘", 0: " "}


def _text(row: FlipRow, view: FlipsView) -> str:
    """A question with what both rounds replied, or their losses."""
    mark = MARKS[row.flip]
    lines = [f"{mark} {row.item:<5} {_indented(row.prompt)}"]
    if row.right == (False, False) or not view.replies:
        lines.append(f"        right answer  {_indented(row.wanted)}")
    for round, reply, loss in ((view.before, row.before, row.loss[0]), (view.after, row.after, row.loss[1])):
        said = reply if reply is not None else "not measured" if loss is None else f"loss {loss:.3f}"
        lines.append(f"        {f'round {round}':<13} {_indented(said)}")
    return "\n".join(lines) + "\n"


def _indented(text: str) -> str:
    """Further lines of a text below its first."""
    return text.replace("\n", "\n" + " " * 22)
