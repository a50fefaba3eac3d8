"""Metrics go to a tracker when that is asked for, and only then."""

from __future__ import annotations

from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from engine.errors import ConfigError
from engine.stages import train
from engine.store.rows import Metric
from engine.training import trackers
from tests.support import tiny


def project(folder: Path, model: Path, extra: str = "") -> tiny.Project:
    return tiny.Project(folder, tiny.make_config(model, f'[project]\nname = "birds"\n[train]\n{extra}'), tiny.chats(16))


def test_tensorboard_gets_every_step_inside_the_project(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in trackers.environment(tiny.make_config(tiny_model), tmp_path, 0):
        monkeypatch.setenv(name, "")  # set by the run: restored after the test
    asked = project(tmp_path / "p", tiny_model, "report_to = ['tensorboard']\n")
    train.run(asked.ctx("train"))
    folder = tmp_path / "p" / "logs" / "tensorboard" / "birds-round-0"
    events = EventAccumulator(str(folder))
    events.Reload()
    logged = [(point.step, point.value) for point in events.Scalars("train/loss")]
    assert logged == [(m.step, pytest.approx(m.loss)) for m in asked.ctx("train").rows(Metric)]
    assert len(logged) == 2


def test_nothing_is_reported_unasked(tmp_path: Path, tiny_model: Path) -> None:
    plain = project(tmp_path / "p", tiny_model)
    train.run(plain.ctx("train"))
    assert not list(plain.folder.rglob("events.out.*"))


def test_a_missing_tracker_is_refused_before_training(tmp_path: Path, tiny_model: Path) -> None:
    asked = project(tmp_path / "p", tiny_model, "report_to = ['tensorboard', 'trackio']\n")
    with pytest.raises(ConfigError, match="pip install trackio"):
        train.run(asked.ctx("train"))
    assert not asked.ctx("train").rows(Metric)
