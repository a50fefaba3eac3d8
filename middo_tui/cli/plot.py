"""``middo-tui plot``: a project's map, loss curves, signals or rounds as a picture."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.errors import UsageError, WorkerError
from middo_tui.cli.arguments import FOLDER
from middo_tui.cli.output_file import require_free, write_whole
from middo_tui.terminal.console import say

if TYPE_CHECKING:
    from middo_tui.feed.map_classes import Colour
    from middo_tui.report.figures import Kind

KINDS = ("map", "loss", "signals", "rounds")
COLOURS = ("state", "axis", "base loss", "tuned loss", "quality", "similarity", "flaw", "cluster")
SUFFIXES = (".png", ".svg")


@click.command("plot")
@click.argument("folder", type=FOLDER)
@click.argument("kind", metavar="KIND", type=click.Choice(KINDS))
@click.argument("out", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--round",
    "round_",
    type=click.IntRange(0),
    default=None,
    help="Round of the map (default: the newest); the only round of loss and signals.",
)
@click.option("--colour", type=click.Choice(COLOURS), default=None, help="Colour of the map. [default: state]")
@click.option("--force", is_flag=True, help="Overwrite OUT if it exists.")
def plot_command(folder: Path, kind: Kind, out: Path, round_: int | None, colour: Colour | None, force: bool) -> None:
    """Draw KIND to OUT, a .png or .svg: map, loss, signals or rounds. Needs matplotlib: pip install
    'middo-tui[plots]'.

    map shows the embeddings of a round in two dimensions. Maps of rounds that were scored by a version without maps
    are made from the saved embeddings first.
    """
    suffix = out.suffix.lower()
    if suffix not in SUFFIXES:
        raise UsageError(f"{out}: unknown kind of picture. Name it {' or '.join(f'*{one}' for one in SUFFIXES)}.")
    if colour is not None and kind != "map":
        raise UsageError("--colour is for the map.")
    require_free(out, force)
    from middo_tui.report.figures import picture

    if kind == "map":
        _make_maps(folder)
    write_whole(out, picture(folder, kind, suffix, round_, colour or "state"))
    quoted = " It quotes prompts of your dataset." if colour == "cluster" else ""
    say(f"{out}: {out.stat().st_size / 1024:,.0f} KiB.{quoted}")


def _make_maps(folder: Path) -> None:
    """The maps that older rounds lack."""
    from engine.upkeep.maps import unmapped

    if not unmapped(folder):
        return
    from engine.upkeep.maps import make_maps

    try:
        for round in make_maps(folder, partial(say, err=True)):
            say(f"made the map of round {round} from its embeddings")
    except WorkerError as error:  # what there is can be drawn
        say(f"The maps of older rounds are not made now: {error}", err=True)
