"""The libraries that a group of stages is known to need, imported before it begins.

By name, as a stage would import them later anyway: what is missing here costs time, never a result. Libraries that
transformers and peft import only because they are installed stay out: scikit-learn, for assisted generation, and
bitsandbytes, which also looks for a GPU, unless weights are in 4 bits.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from engine.config.schema import Config
from engine.loop import spec
from engine.models import folder as model_folder
from engine.models import locate
from engine.processes.hidden_packages import hidden

MODEL = ("engine.backends.hf", "transformers.models.auto.modeling_auto", "transformers.generation.utils", "peft")
"""Scoring, judging and writing by a local model."""
UNUSED = ("sklearn", "bitsandbytes")
"""Packages that the libraries should not find while they are imported; groups in 4 bits are not forked."""
CLUSTERS = "hdbscan"  # built on scikit-learn


def needed(config: Config, stages: Sequence[str]) -> list[str]:
    """Names of the modules that these stages of one group import in any case, in order."""
    names = [spec(stage).target.partition(":")[0] for stage in stages]
    if "train" in stages:
        names += ["engine.training.trainer"]
    elif stages[0] != "rewrite" or config.teacher.backend == "hf":
        names += MODEL
    return [*names, CLUSTERS] if "score" in stages and config.score.clusters else names


def in_four_bits(config: Config, project: Path) -> bool:
    """Whether bitsandbytes may be needed: for QLoRA, or for a model whose files are quantised already."""
    return config.train.method == "qlora" or any(
        (folder := locate.on_disk(name, project)) is None
        or "quantization_config" in model_folder.read_json(folder / "config.json")
        for _, name, _ in model_folder.local_models(config)
    )


def load(names: Iterable[str], without: Iterable[str]) -> None:
    """Import ``names``; the packages ``without`` seem not to be installed meanwhile."""
    names = list(names)
    with hidden(*without):
        for name in names:
            if name != CLUSTERS:
                importlib.import_module(name)
    if CLUSTERS in names:
        importlib.import_module(CLUSTERS)
