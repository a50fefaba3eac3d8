"""``middo-tui label``: label samples as good or flawed, blind, and report how well the signals rank them."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from shlex import quote

import click

from engine.plurals import counted
from middo_tui.cli.arguments import FOLDER
from middo_tui.terminal.console import say, say_json
from middo_tui.text.label_report import report_lines

COLUMNS = ("sample", "prompt", "response", "label", "kind")
FORMULA = ("=", "+", "-", "@", "\t", "\r")


@click.command()
@click.argument("folder", type=FOLDER)
@click.option("--draw", type=click.IntRange(10, 1000), default=None, metavar="N", help="Draw N samples to label.")
@click.option("--fresh", is_flag=True, help="With --draw: draw again. Labels that were given are kept.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write the drawn samples to a CSV file.")
@click.option(
    "--read", "read_", type=click.Path(path_type=Path, dir_okay=False), help="Read labels from such a CSV file."
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def label(folder: Path, draw: int | None, fresh: bool, out: Path | None, read_: Path | None, as_json: bool) -> None:
    """Label samples by hand, to see how far the signals can be trusted on your data.

    Draw 60 to 100 samples, label them in the app (L in Samples) or in the CSV file, then read the report: how many
    samples of the dataset are flawed, and how well each signal ranks them. Signals are not shown while you label.
    """
    from engine.config import schema
    from engine.errors import UsageError
    from engine.store import labels

    if fresh and draw is None:
        raise UsageError("--fresh goes with --draw N.")
    if draw is not None:
        count = labels.draw(folder, draw, schema.load(folder).project.seed, fresh)
        say(f"{counted(count, 'sample')} drawn. Label them with L in Samples, or in a file: --out labels.csv")
    if out is not None:
        say(
            f"{counted(_write(folder, out), 'row')} written to {out}. Fill in the label (good or flawed) and, if you"
            " like, the kind."
        )
    if read_ is not None:
        changed = labels.label(folder, list(_read(folder, read_)))
        say(f"{counted(changed, 'label')} changed")
    if (draw, out) == (None, None) or as_json:
        _report(folder, as_json)


def _write(folder: Path, out: Path) -> int:
    """The drawn samples as CSV, with the labels given so far. An existing file is not overwritten."""
    from engine.errors import UsageError
    from engine.store import labels, read
    from engine.store.connect import reader

    db = reader(folder)
    try:
        rows = labels.drawn(db)
        if not rows:
            raise UsageError(f"No samples are drawn yet. Draw some: middo-tui label {quote(str(folder))} --draw 80")
        texts = {
            row["id"]: read.to_sample(row)
            for row in db.execute(
                f"SELECT {read.SAMPLE_COLUMNS} FROM sample WHERE id IN (SELECT sample_id FROM label)"  # noqa: S608
            )
        }
    finally:
        db.close()
    try:
        with out.open("x", encoding="utf-8", newline="") as file:
            write = csv.writer(file)
            write.writerow(COLUMNS)
            for row in rows:
                sample = texts[row.sample_id]
                write.writerow((row.seq, _cell(sample.prompt), _cell(sample.response), row.label or "", row.kind))
    except FileExistsError:
        raise UsageError(f"{out}: the file exists. Choose another name, or read it: --read {out}") from None
    return len(rows)


def _cell(text: str) -> str:
    """A text that a spreadsheet does not take for a formula."""
    return f"'{text}" if text.startswith(FORMULA) else text


def _read(folder: Path, path: Path) -> Iterator[tuple[int, str | None, str]]:
    """The labels in a CSV file, all checked before any is kept.

    Raises:
        UsageError: the file is none of ours, or a row names no drawn sample or no label.
    """
    from engine.errors import UsageError
    from engine.store import labels
    from engine.store.connect import reader

    db = reader(folder)
    try:
        ids = {str(row.seq): row.sample_id for row in labels.drawn(db)}
    finally:
        db.close()
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            csv.field_size_limit(1 << 30)
            rows = csv.DictReader(file)
            if missing := {"sample", "label"} - set(rows.fieldnames or ()):
                raise UsageError(f"{path}: no column {' and '.join(sorted(missing))}. Write the file with --out.")
            for row in rows:
                where = f"{path}, line {rows.line_num}"
                number = (row["sample"] or "").strip().lstrip("#")
                if number not in ids:
                    raise UsageError(f"{where}: sample {number!r} was not drawn.")
                said, kind = (row["label"] or "").strip().lower(), (row.get("kind") or "").strip().lower()
                if said not in (*labels.LABELS, ""):
                    raise UsageError(f"{where}: label {said!r} is neither good nor flawed.")
                if kind not in (*labels.KINDS, ""):
                    raise UsageError(f"{where}: kind {kind!r} is unknown. Kinds: {', '.join(labels.KINDS)}.")
                if said:  # an empty one says nothing: the sample may have been labelled in the app since
                    yield ids[number], said, kind if said == "flawed" else ""
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path}: not a CSV file in UTF-8 ({error}).") from None
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file.") from None


def _report(folder: Path, as_json: bool) -> None:
    import msgspec

    from middo_tui.feed.labels import read_labels

    found = read_labels(folder).report
    if as_json:
        say_json(msgspec.to_builtins(found))
    else:
        say("\n".join(report_lines(found)))
