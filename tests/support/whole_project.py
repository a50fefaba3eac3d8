"""A real project with a merged round and its files, for tests of what looks after a project: the first release's, with
a model and embeddings of the sizes that its rows name.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from engine.store.schema import migrate
from tests.support.first_release import unpack

FINAL = "artifacts/round-0/checkpoint/final"
EMBEDDINGS = "artifacts/round-0/embeddings/ee3e120670ffd31d.npy"


def whole(folder: Path) -> Path:
    """The project, up to date and sound, without a copy of its older database."""
    project = unpack(folder)
    add_models(project)
    (project / "logs" / "round-0-train.log").write_text("done\n", encoding="utf-8")
    migrate(project)
    for kept in project.glob("middo.db.before-*"):
        kept.unlink()
    for path in (project, *project.rglob("*")):
        path.chmod(0o700 if path.is_dir() else 0o600)
    return project


def add_models(project: Path) -> None:
    """The files that the rows name."""
    from safetensors.numpy import save_file

    (project / FINAL).mkdir(parents=True)
    (project / EMBEDDINGS).parent.mkdir()
    save_file({"a": np.arange(40, dtype=np.float32)}, project / FINAL / "model.safetensors")
    (project / FINAL / "config.json").write_text('{"model_type": "llama"}', encoding="utf-8")
    np.save(project / EMBEDDINGS, np.zeros((60, 4), dtype=np.float16))
