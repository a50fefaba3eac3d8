"""Experiment trackers for training metrics (train.report_to); none by default.

Runs are named by project and round. tensorboard writes files into the project; wandb and trackio read their keys and
addresses from their own environment variables, and send metrics and settings there, never a text of the dataset.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from engine.config.schema import Config
from engine.errors import ConfigError


def require(names: Sequence[str]) -> None:
    """Raise ConfigError if a tracker is not installed, before training starts."""
    for name in names:
        if find_spec(name) is None:
            raise ConfigError(
                f'config.toml: [train] report_to names "{name}", which is not installed.'
                f" Install it with `pip install {name}`, or remove it."
            )


def run_name(config: Config, round: int) -> str:
    """The name of a round's run."""
    return f"{project_name(config)}-round-{round}"


def project_name(config: Config) -> str:
    """The project name that groups the runs of all rounds."""
    return config.project.name or "middo"


def environment(config: Config, folder: Path, round: int) -> dict[str, str]:
    """Variables for the trackers' callbacks: names, and where tensorboard's files go.

    Args:
        folder: the project's.
    """
    names = {"WANDB_PROJECT": project_name(config), "WANDB_DIR": str(folder / "logs")}
    return names | {"TENSORBOARD_LOGGING_DIR": str(folder / "logs" / "tensorboard" / run_name(config, round))}
