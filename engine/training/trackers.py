"""Where training also reports its metrics (train.report_to): nothing is reported unless it is asked for.

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
    """Raises ConfigError when one of the trackers is not installed, before anything is trained."""
    for name in names:
        if find_spec(name) is None:
            raise ConfigError(
                f'config.toml: [train] report_to names "{name}", which is not installed.'
                f" Install it with `pip install {name}`, or remove it."
            )


def run_name(config: Config, round: int) -> str:
    """What a round's run is called."""
    return f"{project_name(config)}-round-{round}"


def project_name(config: Config) -> str:
    """What groups the runs of all rounds."""
    return config.project.name or "middo"


def environment(config: Config, folder: Path, round: int) -> dict[str, str]:
    """Variables for the trackers' callbacks: names, and where tensorboard's files go.

    Args:
        folder: the project's.
    """
    names = {"WANDB_PROJECT": project_name(config), "WANDB_DIR": str(folder / "logs")}
    return names | {"TENSORBOARD_LOGGING_DIR": str(folder / "logs" / "tensorboard" / run_name(config, round))}
