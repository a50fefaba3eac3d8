"""A stage goes on from whole files of earlier ones, or says which is not, and the way out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.errors import StageError
from engine.signals.artifacts import finished
from tests.support import tiny


def test_a_file_that_is_cut_off_stops_the_stage_with_a_way_out(tmp_path: Path) -> None:
    made = tiny.Project(tmp_path, tiny.make_config(tmp_path / "no-model"), [])
    score = made.ctx("score")
    path = score.workdir("embeddings") / "a.npy"
    np.save(path, np.zeros((60, 4), dtype=np.float16))
    score.publish("embeddings", path, {})
    verify = made.ctx("verify")
    assert finished(verify, "embeddings") == path
    assert finished(verify, "checkpoint") is None
    whole = path.read_bytes()
    for size in range(0, len(whole), 64):
        path.write_bytes(whole[:size])
        with pytest.raises(StageError, match=r"a\.npy: .*\. Run with --redo score, or restore a backup\."):
            finished(verify, "embeddings")
    path.unlink()
    with pytest.raises(StageError, match="missing"):
        finished(verify, "embeddings")


def test_what_an_earlier_round_lost_cannot_be_made_again(tmp_path: Path) -> None:
    made = tiny.Project(tmp_path, tiny.make_config(tmp_path / "no-model"), [])
    train = made.ctx("train")
    path = train.workdir("checkpoint") / "final"
    path.mkdir()
    (path / "model.safetensors").write_bytes(b"")
    train.publish("checkpoint", path, {})
    with pytest.raises(StageError, match=r"model\.safetensors: cut off\. Fork the project at an earlier round"):
        finished(made.ctx("train", 1), "checkpoint", 0)
