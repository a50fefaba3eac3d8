"""``middo-tui export`` and ``export-model``: what leaves a project, to a file, a folder or a hub."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from engine.errors import DataError, UsageError
from middo_tui.terminal.console import say

FOLDER = click.Path(path_type=Path)
FORMATS = ("alpaca", "sharegpt", "messages", "parquet", "hf", "hub")


@click.command()
@click.argument("folder", type=FOLDER)
@click.argument("out", type=FOLDER)
@click.option("--round", "round_", type=click.IntRange(0), default=None, help="Which dataset (default: the newest).")
@click.option("--format", "format_", type=click.Choice(FORMATS), default="alpaca", show_default=True)
@click.option("--provenance", is_flag=True, help="Add id, parent, axis and round of every row.")
@click.option("--push", default=None, metavar="OWNER/NAME", help="Then upload it to this dataset of a hub.")
@click.option("--private", is_flag=True, help="A dataset that --push makes is for you alone.")
def export(
    folder: Path, out: Path, round_: int | None, format_: str, provenance: bool, push: str | None, private: bool
) -> None:
    """Write a dataset to OUT."""
    from engine.project import folder as project

    if private and not push:
        raise UsageError("--private: is for --push, which was not asked for.")
    address = _address(push, format_) if push else ""
    with _writing(out):
        count = project.export(folder, out, round_, format_, provenance)
    say(f"{out}: {count:,} rows ({format_})")
    if push:
        from engine.release.push_to_hub import push as upload

        seen = "private" if private else "for everyone to see"
        say(f"All text of these {count:,} rows and the card leave this machine for {address} ({seen} if new)")
        upload(out, push, private)
        say(f"uploaded: {address}")


@click.command("export-model")
@click.argument("folder", type=FOLDER)
@click.argument("out", type=FOLDER)
@click.option("--round", "round_", type=click.IntRange(0), default=None, help="Which round's (default: the newest).")
@click.option("--merged", is_flag=True, help="An adapter merged into its base: whole weights.")
def export_model(folder: Path, out: Path, round_: int | None, merged: bool) -> None:
    """Write a round's model to OUT: an adapter for PEFT and vLLM, or whole weights; with tokenizer and model card."""
    from engine.doctor.fit import size
    from engine.release.export_model import export_model as write

    with _writing(out):
        made = write(folder, out, round_, merged)
    say(f"{out}: {made.kind} of round {made.round}, {size(made.size)}. Say its licence in README.md.")
    say(f"Nothing left this machine. To share it: hf upload OWNER/NAME {out}")


@contextmanager
def _writing(out: Path) -> Iterator[None]:
    """What the disk refuses is said of OUT, not of the file that is written first and then takes its place.

    Raises:
        DataError: OUT cannot be written, and why; nothing of it is there.
    """
    try:
        yield
    except OSError as error:
        why = "the disk is full" if error.errno == errno.ENOSPC else error.strerror or str(error)
        raise DataError(f"{out}: cannot be written: {why}. Nothing was half written.") from None


def _address(push: str, format: str) -> str:
    """Where a dataset would go; refused before anything is written."""
    from engine.release.push_to_hub import check

    if format != "hub":
        raise UsageError(f"--push: a hub takes --format hub, not {format}.")
    return check(push)
