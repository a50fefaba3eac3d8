"""``middo-tui lineage``: the versions of a sample, as lines or as JSON."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from engine.errors import UsageError
from middo_tui.cli.arguments import FOLDER
from middo_tui.terminal.console import say, say_json

if TYPE_CHECKING:
    from middo_tui.feed.lineage import Attempt, Family, Signals, Version


@click.command()
@click.argument("folder", type=FOLDER)
@click.argument("sample", metavar="SAMPLE")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def lineage(folder: Path, sample: str, as_json: bool) -> None:
    """Show every version of a sample with its rewrites, decisions and signals.

    SAMPLE is a number such as 120, or an id from an export with --provenance.
    """
    from middo_tui.feed.lineage import family, search

    number = sample.removeprefix("#")
    if not number.isdecimal() or int(number) >= 1 << 63:
        raise UsageError(
            f"{sample}: not a sample. Give a number such as 120, or an id from an export with --provenance."
        )
    found = None if sample.startswith("#") else family(folder, int(number))
    if found is None and (place := search(folder, number)):
        found = family(folder, place[0].id)
    if found is None:
        raise UsageError(f"{folder}: no sample {sample}. Held-out rows are not samples and have no versions.")
    if as_json:
        say_json(facts(found))
    else:
        say("\n".join(lines(found)))


def facts(family: Family) -> dict[str, Any]:
    """The family as JSON values; control characters in texts are made visible."""
    return {
        "sample": family.chosen,
        "complete": not family.cut,
        "versions": [msgspec.to_builtins(version) for version in family.versions],
    }


def lines(family: Family) -> Iterator[str]:
    """One line per version; below it its rewrite, its signals per round and its rejected rewrites."""
    for version in family.versions:
        pad = "  " * version.depth
        chosen = "  <- this sample" if version.id == family.chosen else ""
        yield f"{pad}#{version.seq}  {_origin(version, family)}  {_life(version)}{chosen}"
        yield f"{pad}  {version.text}"
        if version.made_by:
            yield f"{pad}  {_decision(version.made_by)}"
        for one in version.signals:
            yield f"{pad}  round {one.round}: {_measured(one)}"
        for tried in version.tried:
            yield f"{pad}  {tried.axis} rewrite in round {tried.round}: {_decision(tried)}"
    if family.cut:
        yield "… more versions not shown"


def _origin(version: Version, family: Family) -> str:
    parent = family.at(version.parent)
    if parent is None:
        return "imported"
    how = "inspired by" if version.axis == "diversity" else f"{version.axis} rewrite of"
    return f"{how} #{parent.seq}"


def _life(version: Version) -> str:
    if version.retired is None:
        return f"in the dataset since round {version.born}"
    why = f" ({version.why_retired})" if version.why_retired else ""
    how = "replaced" if version.replaced else f"retired{why}"
    last = version.retired - 1
    where = f"dataset of round {last}" if version.born == last else f"datasets of rounds {version.born} to {last}"
    return f"in the {where}, then {how}"


def _decision(one: Attempt) -> str:
    who = f" by {one.by}" if one.by else ""
    at = time.strftime(" on %Y-%m-%d %H:%M", time.localtime(one.at)) if one.at is not None else ""
    edited = ", edited by hand" if one.edited else ""
    said = "; ".join(word for word in (one.reason, one.verdict if one.verdict != one.reason else "", one.note) if word)
    return f"{one.state}{who}{at}{edited}{': ' if said else ''}{said}"


def _measured(one: Signals) -> str:
    values = (
        ("base loss", one.loss_before),
        ("tuned loss", one.loss_after),
        ("similarity", one.similarity),
        ("quality", one.quality),
        ("flaw", one.flaw),
    )
    return ", ".join(f"{name} {value:.3f}" for name, value in values if value is not None) or "not measured"
