"""``middo-tui override``: drop, protect, rewrite or unflag samples, whatever their signals say."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.plurals import counted
from middo_tui.cli.arguments import FOLDER
from middo_tui.terminal.console import say, say_json

if TYPE_CHECKING:
    from middo_tui.feed.pages import Pages

AXES = ("complexity", "diversity", "quality")


@click.command()
@click.argument("folder", type=FOLDER)
@click.argument("samples", metavar="[SAMPLE]...", nargs=-1)
@click.option("--where", default=None, metavar="EXPR", help="All samples that pass this filter, as in `samples`.")
@click.option("--drop", is_flag=True, help="Remove them from the dataset at the next merge.")
@click.option("--protect", is_flag=True, help="Never rewrite or retire them.")
@click.option("--rewrite", "axis", type=click.Choice(AXES), default=None, help="Rewrite them on this axis next.")
@click.option("--clear", is_flag=True, help="Remove their overrides: let the signals decide again.")
@click.option("--unflag", is_flag=True, help="Say that they are no prompt injection: treat them like others.")
@click.option("--flag", "again", is_flag=True, help="Take --unflag back.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
def override(
    folder: Path,
    samples: tuple[str, ...],
    where: str | None,
    drop: bool,
    protect: bool,
    axis: str | None,
    clear: bool,
    unflag: bool,
    again: bool,
    as_json: bool,
) -> None:
    """Drop, protect, rewrite or unflag samples, whatever their signals say.

    SAMPLE is a number such as 120, as `samples` lists it. Without an action, list the overrides, of
    all samples or of those; `samples --where flag:unflagged` lists what was unflagged.
    """
    from engine.errors import UsageError
    from engine.store import flagging, overrides
    from middo_tui.feed.pages import Pages

    flags = {"--drop": drop, "--protect": protect, "--rewrite": axis is not None, "--clear": clear}
    flags |= {"--unflag": unflag, "--flag": again}
    chosen = [name for name, on in flags.items() if on]
    if len(chosen) > 1:
        raise UsageError(f"{' and '.join(chosen)} cannot be combined.")
    pages = Pages(folder)
    try:
        if not chosen:
            _list(pages, as_json, set(_asked_for(pages, samples, where)) if samples or where is not None else None)
            return
        ids = _asked_for(pages, samples, where)
    finally:
        pages.close()
    if clear:
        say(f"{counted(overrides.clear_overrides(folder, ids), 'override')} cleared")
        return
    if unflag:
        say(f"{counted(flagging.unflag(folder, ids, source='command line'), 'sample')} unflagged")
        return
    if again:
        say(f"{counted(flagging.flag_again(folder, ids), 'sample')} flagged again")
        return
    action = chosen[0].removeprefix("--")
    done = overrides.set_overrides(folder, ids, action, axis)
    effect = {"drop": "dropped at the next merge", "protect": "protected", "rewrite": f"to rewrite for {axis} next"}
    say(f"{counted(done.changed, 'sample')} {effect[action]}")
    if done.left:
        say(f"{counted(done.left, 'sample')} skipped: not in the newest dataset, or a rewrite would lose content")


def _asked_for(pages: Pages, samples: tuple[str, ...], where: str | None) -> list[int]:
    """The ids of the samples by number and by filter, in the newest dataset.

    Raises:
        UsageError: nothing is asked for, or a number is none of the dataset's.
    """
    from engine.errors import UsageError
    from middo_tui.feed.orders import Order

    if not samples and where is None:
        raise UsageError("Which samples? Give their numbers, such as 120, or --where EXPR.")
    round = pages.rounds()[-1]
    ids = []
    for text in samples:
        number = text.removeprefix("#").replace(",", "")
        id = pages.of_seq(int(number), round) if number.isdecimal() and int(number) < 1 << 63 else None
        if id is None:
            raise UsageError(f"{text}: no sample of the newest dataset. `middo-tui samples` lists their numbers.")
        ids.append(id)
    if where is not None:
        ids += [id for block in pages.order(Order(round, where)) for id in block]
    return list(dict.fromkeys(ids))


def _list(pages: Pages, as_json: bool, among: set[int] | None) -> None:
    """The overrides of the newest dataset, by number; only those of the samples ``among``, if given."""
    found = [row for row in pages.overridden() if among is None or row.id in among]
    for row in found:
        if as_json:
            say_json({"seq": row.seq, "id": row.id, "action": row.action, "axis": row.axis, "text": row.text})
        else:
            say(f"{row.seq:>9,}  {row.action + (f' ({row.axis})' if row.axis else ''):<20}  {row.text}")
    if not as_json:
        say(f"{counted(len(found), 'override')}")
