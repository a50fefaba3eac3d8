"""``middo-tui export`` and ``export-model``: write a dataset or a model to a file, a folder or the Hub."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from engine.errors import DataError, UsageError
from engine.plurals import counted
from middo_tui.cli.arguments import FOLDER
from middo_tui.terminal.console import say

FORMATS = ("alpaca", "sharegpt", "messages", "parquet", "hf", "hub")
JSON_FORMATS = ("alpaca", "sharegpt", "messages")
ENDINGS: dict[str, tuple[str, ...]] = {
    ".json": JSON_FORMATS,
    ".jsonl": JSON_FORMATS,
    ".ndjson": JSON_FORMATS,
    ".parquet": ("parquet",),
    ".csv": (),
    ".tsv": (),
}
"""By the ending of a name: the formats that go with it, the default first."""
COMPRESSED = (".gz", ".zst")


@click.command()
@click.argument("folder", type=FOLDER)
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--round", "round_", type=click.IntRange(0), default=None, help="Dataset of this round (default: the newest)."
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(FORMATS),
    default=None,
    help="Default: what OUT's name ends in, else alpaca.",
)
@click.option("--provenance", is_flag=True, help="Add each row's id, parent, axis, round and flaw score.")
@click.option("--force", is_flag=True, help="Replace OUT if it exists.")
@click.option("--push", default=None, metavar="OWNER/NAME", help="Upload to this dataset on the Hugging Face Hub.")
@click.option("--private", is_flag=True, help="Make a dataset created by --push private.")
def export(
    folder: Path,
    out: Path,
    round_: int | None,
    format_: str | None,
    provenance: bool,
    force: bool,
    push: str | None,
    private: bool,
) -> None:
    """Write a dataset to OUT."""
    from engine.project import folder as project

    if private and not push:
        raise UsageError("--private: needs --push.")
    format_ = wanted_format(out, format_)
    address = _address(push, format_) if push else ""
    if not force and _there(out):
        raise UsageError(f"{out}: exists. Replace it with --force, or choose another name.")
    with _writing(out):
        count = project.export(folder, out, round_, format_, provenance)
    say(f"{out}: {counted(count, 'row')} ({format_})")
    if push:
        from engine.release.push_to_hub import push as upload

        seen = "private" if private else "public"
        say(f"Uploading {counted(count, 'row')} and the dataset card to {address} ({seen} if it is new) …")
        upload(out, push, private)
        say(f"uploaded to {address}")


@click.command("export-model")
@click.argument("folder", type=FOLDER)
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--round", "round_", type=click.IntRange(0), default=None, help="Model of this round (default: the newest)."
)
@click.option("--merged", is_flag=True, help="Merge an adapter into its base model.")
def export_model(folder: Path, out: Path, round_: int | None, merged: bool) -> None:
    """Write a round's model to OUT, with tokenizer and model card: an adapter for PEFT and vLLM, or full weights."""
    from engine.doctor.fit import size
    from engine.release.export_model import export_model as write

    with _writing(out):
        made = write(folder, out, round_, merged)
    say(f"{out}: {made.kind} of round {made.round}, {size(made.size)}. Add a licence to its README.md.")
    say(f"Nothing was uploaded. To share it: hf upload OWNER/NAME {out}")


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
        raise DataError(f"{out}: cannot write: {why}. No partial output was left.") from None


def wanted_format(out: Path, format: str | None) -> str:
    """The format of a dataset that is written to ``out``.

    Raises:
        UsageError: the name's ending is that of no format, or of another one than ``format``.
    """
    ending = next((s.lower() for s in reversed(out.suffixes) if s.lower() not in COMPRESSED), "")
    fitting = ENDINGS.get(ending)
    if format is None:
        if ending and not fitting:
            raise UsageError(f"{out}: cannot export to {ending}. Name it .json, .jsonl or .parquet, or set --format.")
        return fitting[0] if fitting else "alpaca"
    if fitting is not None and format not in fitting:
        raise UsageError(f"{out}: --format {format} does not go with {ending}. Choose another name or format.")
    return format


def _there(out: Path) -> bool:
    """Whether something would be replaced; what is no plain file or folder (a pipe, /dev/stdout) is written to."""
    return any(out.iterdir()) if out.is_dir() else out.is_file()


def _address(push: str, format: str) -> str:
    """Where a dataset would go; refused before anything is written."""
    from engine.release.push_to_hub import check

    if format != "hub":
        raise UsageError(f"--push: needs --format hub, not {format}.")
    return check(push)
