"""The dataset card's Markdown: sources, rounds, models and settings of a project's dataset."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from engine.config import schema as configs
from engine.config.schema import Config
from engine.formats.markdown_escape import plain
from engine.hub.names import SCHEME
from engine.plurals import counted
from engine.release.model_card import shown
from engine.store import read


def story(db: sqlite3.Connection, project: Path, round: int) -> str:
    """The Markdown for the dataset of ``round``. Local paths are reduced to their last component for privacy."""
    row = db.execute(
        "SELECT config FROM round WHERE round<? AND config<>'{}' ORDER BY round DESC LIMIT 1", (round,)
    ).fetchone()
    config = configs.restore(row[0]) if row else configs.load(project)
    version = metadata.version("middo-tui")
    if round == 0:
        how = f"The dataset of round 0, as it was imported. Written by middo-tui {version}."
    else:
        how = (
            f"The dataset of round {round}, made with middo-tui {version}. Samples that the fine-tuned model rated as"
            " too complex, of low quality or isolated were rewritten by a teacher model and verified with the same"
            " signals (Middo, EMNLP 2025)."
        )
    parts = [how, "## Sources", _sources(db), "## Rounds", _rounds(db, round)]
    if round:
        parts += ["## Models and settings", _settings(config)]
    return "\n\n".join(parts)


def _table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [heads, ("---",) * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _sources(db: sqlite3.Connection) -> str:
    rows = [
        (plain(_called(row["file"])), plain(row["format"]), f"{row['rows']:,}", f"{row['rejected']:,}")
        for row in db.execute("SELECT file, format, rows, rejected FROM import ORDER BY id")
    ]
    return _table(("file", "format", "rows", "could not be used"), rows)


def _called(file: str) -> str:
    """A file's last path component, or a Hub dataset's name, commit and split."""
    return file if file.startswith(SCHEME) else Path(file).name


def _rounds(db: sqlite3.Connection, last: int) -> str:
    born = {
        (row["born_round"], row["axis"]): row["n"]
        for row in db.execute(
            "SELECT born_round, axis, count(*) AS n FROM sample WHERE parent_id IS NOT NULL GROUP BY born_round, axis"
        )
    }
    retired = dict(
        db.execute(
            "SELECT round, count(*) FROM departure AS d WHERE NOT EXISTS"
            " (SELECT 1 FROM sample AS c WHERE c.parent_id=d.sample_id AND c.born_round=d.round"
            " AND c.axis<>'diversity') GROUP BY round"
        ).fetchall()
    )
    rows = []
    for number in range(last + 1):
        counts = [born.get((number, axis), 0) for axis in ("complexity", "quality", "diversity")]
        counts = [read.size(db, number), *counts, retired.get(number, 0)]
        rows.append((str(number), *(f"{count:,}" for count in counts)))
    heads = ("dataset", "rows", "rewritten: complexity", "rewritten: quality", "added: diversity", "retired: redundant")
    text = _table(heads, rows)
    return "\n\n".join([text, *_heldout(db, last)])


def _heldout(db: sqlite3.Connection, round: int) -> list[str]:
    """Lines on the held-out set and its overlap with the training data."""
    every, own = db.execute("SELECT count(*), count(seq) FROM heldout").fetchone()
    if not every:
        return []
    both = read.overlap(db, round)
    more = counted(own, "more row was", "more rows were")
    where = f"{more} held out from training, and included in this dataset." if own else ""
    apart = f"{counted(every - own, 'held-out row')} came from a separate file, not included in this dataset."
    shared = f"Held-out prompts that are also in the training data: {both:,} of {every:,}."
    known = "Scores on those measure memorisation, not generalisation." if both else ""
    return [" ".join(filter(None, [where, apart if every > own else "", shared, known]))]


def _settings(config: Config) -> str:
    base = shown(config.model.name)
    select, train = config.select, config.train
    facts = [
        ("base model", base),
        (
            "judge",
            {
                "tuned": f"the fine-tuned {base}",
                "base": base,
                "teacher": "the teacher",
                "endpoint": config.judge.endpoint_model,
            }[config.judge.model],
        ),
        ("teacher", shown(config.teacher.model)),
        ("training", f"{train.method}, epochs {train.epochs}, learning rate {train.learning_rate}"),
        (
            "selection",
            f"{select.threshold}, m {select.m_complexity} (complexity), {select.m_diversity} (diversity),"
            f" {select.m_quality} (quality), {select.neighbours} neighbours",
        ),
        ("seed", str(config.project.seed)),
    ]
    return _table(("what", "value"), [(name, plain(value)) for name, value in facts])
