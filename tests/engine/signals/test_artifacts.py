"""A stage goes on from whole files of earlier ones, or says which is not, and the way out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.errors import StageError
from engine.files.whole_file import cut_off
from engine.signals import artifacts
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


def test_a_file_is_read_again_only_when_it_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []

    def noting(path: Path) -> str:
        looked.append(path.name)
        return cut_off(path)

    monkeypatch.setattr(artifacts, "cut_off", noting)
    made = tiny.Project(tmp_path, tiny.make_config(tmp_path / "no-model"), [])
    train = made.ctx("train")
    path = train.workdir("checkpoint") / "final"
    path.mkdir()
    for name in ("config.json", "tokenizer.json"):
        (path / name).write_text("{}")
    train.publish("checkpoint", path, {})
    for _ in range(3):
        finished(made.ctx("verify"), "checkpoint")
    assert looked == ["config.json", "tokenizer.json"]
    (path / "tokenizer.json").write_text("{")
    for _ in range(2):
        with pytest.raises(StageError, match=r"tokenizer\.json: damaged"):
            finished(made.ctx("verify"), "checkpoint")
    assert looked[2:] == ["tokenizer.json", "tokenizer.json"]


def test_what_an_earlier_round_lost_cannot_be_made_again(tmp_path: Path) -> None:
    made = tiny.Project(tmp_path, tiny.make_config(tmp_path / "no-model"), [])
    train = made.ctx("train")
    path = train.workdir("checkpoint") / "final"
    path.mkdir()
    (path / "model.safetensors").write_bytes(b"")
    train.publish("checkpoint", path, {})
    with pytest.raises(StageError, match=r"model\.safetensors: cut off\. Fork the project at an earlier round"):
        finished(made.ctx("train", 1), "checkpoint", 0)
