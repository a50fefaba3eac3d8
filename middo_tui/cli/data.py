"""``middo-tui init`` and ``import``: create a project from dataset files or Hugging Face datasets."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import click

from engine.errors import UsageError
from engine.plurals import counted
from middo_tui.cli.arguments import FOLDER, one_of
from middo_tui.terminal.console import one_line, say

if TYPE_CHECKING:
    from engine.files.progress import TaskProgress
    from engine.formats import Source
    from engine.hub.fetch import Progress

EVERY_S = 10.0
BAR = 24
"""Cells of the bar of an import."""
DATA = "Dataset file or folder, or OWNER/NAME on the Hugging Face Hub. Repeatable."
TEACHER = (
    "Teacher model: a folder, or OWNER/NAME on the Hub, also as 'OWNER/NAME vllm'; or an OpenAI-compatible server as"
    " 'URL MODEL' or 'URL MODEL VARIABLE', the environment variable with its API key."
)
FORMATS = ("auto", "alpaca", "sharegpt", "messages", "prompt", "preference")
FORMAT = click.option(
    "--format", "format_", type=click.Choice(FORMATS), default=None, help="Row format (default: auto)."
)
ENCODING = click.option("--encoding", default=None, help="Text encoding if not UTF-8, e.g. gb18030 or cp1252.")
COLUMN = click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="OURS=YOURS",
    help="Map a column, e.g. instruction=question. Repeatable.",
)

OVERLAP = click.option("--allow-overlap", is_flag=True, help="Also train on held-out prompts, to measure memorisation.")


def _presets() -> list[str]:
    from engine.config import defaults

    return defaults.presets()


@click.command()
@click.argument("folder", type=FOLDER)
@click.option("--data", multiple=True, required=True, help=DATA)
@click.option("--split", default=None, help="Split of a Hub dataset (default: train).")
@click.option("--model", default=None, help="Model to fine-tune: a folder, or OWNER/NAME on the Hub.")
@click.option("--teacher", default=None, help=TEACHER)
@click.option(
    "--preset",
    default=None,
    shell_complete=one_of(_presets),
    help="Recommended settings for a model, e.g. llama-3.1-8b.",
)
@click.option("--heldout", default=None, help="Held-out set, never trained on: a file, or OWNER/NAME on the Hub.")
@click.option("--heldout-split", default=None, help="Split of a held-out Hub dataset (default: test).")
@FORMAT
@ENCODING
@COLUMN
@OVERLAP
@click.option("--seed", default=None, type=click.IntRange(0), help="Random seed.")
def init(
    folder: Path,
    data: tuple[str, ...],
    split: str | None,
    model: str | None,
    teacher: str | None,
    preset: str | None,
    heldout: str | None,
    heldout_split: str | None,
    format_: str | None,
    encoding: str | None,
    columns: tuple[str, ...],
    allow_overlap: bool,
    seed: int | None,
) -> None:
    """Create a project in FOLDER from dataset files or Hugging Face datasets."""
    from engine.config import defaults, schema
    from engine.project import folder as project

    settings = {section: dict(keys) for section, keys in (defaults.preset(preset) if preset else {}).items()}

    def put(section: str, key: str, value: object) -> None:
        if value is not None:
            settings.setdefault(section, {})[key] = value

    put("model", "name", None if model is None else _model(model, "--model"))
    for key, value in _teacher(teacher).items():
        put("teacher", key, value)
    for key, value in _reading(format_, encoding, columns, allow_overlap).items():
        put("data", key, value)
    put("project", "seed", seed)
    schema.parse(defaults.render(settings), "the options")
    project.require_new(folder, to_grow=True)
    found = _found(data, split, "--split")
    put("data", "heldout", _heldout(heldout, heldout_split))
    with _telling(BAR) as told:
        added = project.create(folder, found, settings, progress=told)
    _say_added(folder, added)
    first = "" if settings.get("model", {}).get("name") else "set [model] name there, then "
    way = f"{first}middo-tui run {quote(str(folder))}"
    say(f"{folder}: project created. Settings: {folder / 'config.toml'}. Next: {way}")


@click.command("import")
@click.argument("folder", type=FOLDER)
@click.argument("data", nargs=-1, required=True)
@click.option("--split", default=None, help="Split of a Hub dataset (default: train).")
@FORMAT
@ENCODING
@COLUMN
@OVERLAP
def import_(
    folder: Path,
    data: tuple[str, ...],
    split: str | None,
    format_: str | None,
    encoding: str | None,
    columns: tuple[str, ...],
    allow_overlap: bool,
) -> None:
    """Add data before the first round runs. Options override [data] in config.toml for these files."""
    from engine.project import folder as project

    reading = _reading(format_, encoding, columns, allow_overlap)
    project.require_growing(folder)
    found = _found(data, split, "--split")
    with _telling(BAR) as told:
        added = project.add(folder, found, reading, told)
    _say_added(folder, added)


def _reading(
    format: str | None, encoding: str | None, columns: Sequence[str], allow_overlap: bool
) -> dict[str, object]:
    """The [data] keys that the command line's options set."""
    said = {
        "format": format,
        "encoding": encoding,
        "columns": dict(map(_pair, columns)) or None,
        "allow_overlap": allow_overlap or None,
    }
    return {key: value for key, value in said.items() if value is not None}


def _found(texts: Sequence[str], split: str | None, option: str, default: str = "") -> list[Path | Source]:
    """The data that ``texts`` mean; everything is understood before anything is fetched."""
    from engine.hub.fetch import Fetch, named
    from engine.hub.names import Name

    wanted = [named(text, split or default) for text in texts]
    if split and not any(isinstance(one, Name) for one in wanted):
        raise UsageError(
            f"{option} {split}: applies to Hub datasets only, and {', '.join(texts)} is a local file or folder."
        )
    out: list[Path | Source] = []
    for one in wanted:
        if isinstance(one, Path):
            out.append(one)
        else:
            say(f"{one}: looking up …", err=True)
            with _telling() as said:
                out.append(Fetch(one.written).wait(said))
    return out


def _heldout(text: str | None, split: str | None) -> str | None:
    """[data] heldout: an absolute path, or a hub's dataset with its commit."""
    if text is None:
        if split:
            raise UsageError(f"--heldout-split {split}: needs --heldout.")
        return None
    from engine.hub.names import HELDOUT_SPLIT

    (found,) = _found([text], split, "--heldout-split", HELDOUT_SPLIT)
    return str(found.resolve()) if isinstance(found, Path) else found.name


@contextmanager
def _telling(bar: int = 0) -> Iterator[Callable[[Progress | TaskProgress], None]]:
    """How far something is: a line that changes, with a bar of ``bar`` cells, or a line now and then where stderr is no
    terminal.
    """
    terminal = sys.stderr.isatty()
    last = time.monotonic()

    def said(progress: Progress | TaskProgress) -> None:
        nonlocal last
        if terminal:
            full = round(bar * getattr(progress, "share", 0))
            cells = "━" * full + "─" * (bar - full) + " " if bar else ""
            click.echo(f"\r\x1b[2K{cells}{one_line(str(progress))}", nl=False, err=True)
        elif time.monotonic() >= last + EVERY_S:
            last = time.monotonic()
            say(str(progress), err=True)

    try:
        yield said
    finally:
        if terminal:
            click.echo("\r\x1b[2K", nl=False, err=True)


def _model(name: str, option: str) -> str:
    """A model folder as an absolute path; a hub name (owner/name) as it is."""
    from engine.models import written

    return _with_config(written.model_name(name, option), option)


def _teacher(typed: str | None) -> dict[str, Any]:
    """The [teacher] keys of ``--teacher``."""
    if typed is None:
        return {}
    from engine.models import written

    found = written.teacher(typed, "--teacher")
    if found["backend"] != "openai":
        _with_config(found["model"], "--teacher")
    return found


def _with_config(name: str, option: str) -> str:
    path = Path(name)
    if path.is_absolute() and not (path / "config.json").exists():
        raise UsageError(f"{option} {name}: not a Hugging Face model, the folder has no config.json.")
    return name


def _pair(column: str) -> tuple[str, str]:
    """``instruction=question`` as the two names."""
    ours, said, yours = column.partition("=")
    if not (ours and said and yours):
        raise UsageError(f"--column {column}: expected OURS=YOURS, e.g. instruction=question.")
    return ours, yours


def _say_added(folder: Path, batches: list[Any]) -> None:
    """One line per imported file, and where to look when rows were refused."""
    from engine.formats.reading import why

    for b in batches:
        held = f", {b.heldout:,} held out" if b.heldout else ""
        twice = f", {counted(b.duplicates, 'exact duplicate')} kept" if b.duplicates else ""
        say(f"{b.file}: {b.format}, {counted(b.rows + b.heldout, 'row')}{held}{twice}")
        for text in b.overlaps():
            say(f"  {text}")
        for text in b.notes:
            say(f"  {text}")
        if b.rejected:
            reasons = f": {why(b.reasons, b.rejected - b.barred)}" if b.reasons else ""
            say(f"  {counted(b.rejected, 'row')} quarantined{reasons}")
            say(f"  List them: middo-tui quarantine {quote(str(folder))}")
