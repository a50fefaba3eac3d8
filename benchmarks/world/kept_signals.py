"""What select stages keep of rounds for the Thresholds screen, for projects whose rounds no stage has made."""

from __future__ import annotations

from pathlib import Path

from engine.config import schema as configs
from engine.selection.preview import facts, save_signals
from engine.selection.preview.round_arrays import read_round
from engine.store import write
from engine.store.connect import transaction, writer
from engine.store.rows import PREVIEW, Artifact
from engine.teacher import forecast


def keep_all(project: Path) -> None:
    """Of every round that has selected."""
    config = configs.load(project)
    db = writer(project)
    try:
        rounds = [row[0] for row in db.execute("SELECT round FROM job WHERE stage='select' AND state='done'")]
        for round in rounds:
            believed = facts.of_round(db, round, config).believed
            folder = project / "artifacts" / f"round-{round}" / PREVIEW
            folder.mkdir(parents=True, exist_ok=True)
            made = read_round(project, round, believed, config)
            file = save_signals.write(folder, made, believed, forecast.asked_with(config, project, ()))
            with transaction(db):
                write.upsert(db, [Artifact(round, PREVIEW, str(file.relative_to(project)))])
    finally:
        db.close()
