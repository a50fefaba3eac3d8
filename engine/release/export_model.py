"""A round's model as a folder of its own: an adapter for PEFT and vLLM, or whole weights; with tokenizer and card.

Nothing leaves the machine. Merging needs torch, which is loaded only for that, and happens on the CPU.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote

from engine.config import schema as configs
from engine.config.schema import Config
from engine.errors import UsageError
from engine.files import durable
from engine.models import locate
from engine.models.locate import ModelRef
from engine.release import model_card
from engine.signals.round_models import CHECKPOINT
from engine.store import permissions, read
from engine.store.connect import reader

ADAPTER = "adapter_config.json"


@dataclass(frozen=True, slots=True)
class Exported:
    """The exported model: its round, kind (adapter or full model) and size in bytes."""

    round: int
    kind: str
    size: int


def export_model(project: Path, out: Path, round: int | None = None, merged: bool = False) -> Exported:
    """Write the model of ``round`` (the newest that has one) to the folder ``out``: all of it or nothing.

    Raises:
        UsageError: ``out`` is not empty, or the round has no checkpoint; lists those that have.
        ModelError: the checkpoint or its base cannot be read.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out}: exists and is not empty. Choose a new folder.")
    db = reader(project)
    try:
        wanted, folder = _find(db, project, round)
        made = _checkpoint_origin(db, project, wanted)
    finally:
        db.close()
    ref = locate.checkpoint(folder, project)
    new = out.with_name(f"{out.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    try:
        if ref.adapter is None:
            permissions.copy(folder, new)
        elif merged:
            _merge(ref, made.config, new)
        else:
            name = made.config.model.name
            local = locate.local(name, project) is not None
            _copy_adapter(ref.adapter, ref.base, made.config, new, str(ref.base) if local else name)
        whole = ref.adapter is None or merged
        (new / "README.md").write_text(
            model_card.text(replace(made, merged=merged, rows_too=locate.holds_rows(folder))), encoding="utf-8"
        )
        if out.exists():
            out.rmdir()
        durable.replace(new, out)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    return Exported(wanted, "full model" if whole else "adapter", size)


def _find(db: sqlite3.Connection, project: Path, round: int | None) -> tuple[int, Path]:
    """The round and the folder of its checkpoint."""
    rows = db.execute("SELECT round, path FROM artifact WHERE name=? ORDER BY round", (CHECKPOINT,)).fetchall()
    there = {int(row["round"]): project / row["path"] for row in rows}
    if not there:
        raise UsageError(
            f"{project}: no round has been trained yet. Start with `middo-tui run {quote(str(project))} --until train`."
        )
    wanted = max(there) if round is None else round
    if wanted not in there:
        have = ", ".join(map(str, there))
        raise UsageError(
            f"--round {wanted}: has no checkpoint (not trained yet, or removed by train.keep_checkpoints)."
            f" Rounds with a checkpoint: {have}."
        )
    return wanted, there[wanted]


def _checkpoint_origin(db: sqlite3.Connection, project: Path, round: int) -> model_card.CheckpointOrigin:
    """The facts for the model card."""
    snapshot = db.execute("SELECT config FROM round WHERE round=?", (round,)).fetchone()[0]
    config = configs.placed(configs.restore(snapshot) if snapshot != "{}" else configs.load(project), project)
    losses = [row[0] for row in db.execute("SELECT loss FROM metric WHERE round=? ORDER BY step", (round,))]
    (meta,) = db.execute("SELECT meta FROM artifact WHERE round=? AND name=?", (round, CHECKPOINT)).fetchone()
    facts = json.loads(meta)
    mean = (facts["train_loss"], losses[-1]) if losses and "train_loss" in facts else None
    found = read.scores(db, round)
    return model_card.CheckpointOrigin(
        config=config,
        round=round,
        rows=read.size(db, round),
        steps=int(facts.get("steps", len(losses))),
        train_losses=mean,
        scores={task: (score.value, score.stderr) for task, score in found.items()},
    )


def _copy_adapter(adapter: Path, base: Path, config: Config, new: Path, base_name: str) -> None:
    """Copy the adapter and its tokenizer. A base from the Hub is recorded by name, not by its local path."""
    from engine.chat.render import load_tokenizer

    new.mkdir(parents=True)
    for file in adapter.iterdir():
        if file.name != locate.NOTE:
            permissions.copy(file, new / file.name)
    settings = json.loads((new / ADAPTER).read_text(encoding="utf-8"))
    settings["base_model_name_or_path"] = base_name
    (new / ADAPTER).write_text(json.dumps(settings, indent=2, sort_keys=True), encoding="utf-8")
    load_tokenizer(base, config.model.chat_template).save_pretrained(str(new))


def _merge(ref: ModelRef, config: Config, new: Path) -> None:
    """Merge base and adapter, in the dtype that scoring uses."""
    import torch
    from peft import PeftModel

    from engine.backends.model_loading import read_model, torch_dtype
    from engine.chat.render import load_tokenizer

    cpu = torch.device("cpu")
    where = torch.device("cuda" if torch.cuda.is_available() and config.model.device != "cpu" else "cpu")
    model = read_model(ref.base, torch_dtype(config.model.dtype, where), cpu, config.model.attention)
    whole = PeftModel.from_pretrained(model, str(ref.adapter)).merge_and_unload()
    whole.save_pretrained(str(new))
    load_tokenizer(ref.base, config.model.chat_template).save_pretrained(str(new))
