"""Whether training uses Liger's kernels (train.liger). The package is looked at only where there is a GPU.

What it brings are the layers' kernels: rotary embedding, norms and the gated inner product. The loss stays TRL's, which
computes it in tiles already.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from engine.config.schema import Config
from engine.errors import ModelError

INSTALL = 'pip install "middo-tui[liger]"'
KERNELS = {
    "rope": True,
    "rms_norm": True,
    "swiglu": True,
    "geglu": True,  # Gemma's instead of swiglu; Liger ignores kernels that a model does not use
    "cross_entropy": False,
    "fused_linear_cross_entropy": False,
}


@dataclass(frozen=True, slots=True)
class Liger:
    """Whether Liger is used, and why or why not."""

    used: bool
    why: str


def version() -> str | None:
    """The installed version, or None. Does not import the package."""
    try:
        return metadata.version("liger-kernel")
    except metadata.PackageNotFoundError:
        return None


def possible(config: Config, cuda: bool) -> Liger:
    """Whether Liger can be used, before the model is known."""
    if config.train.liger == "off":
        return Liger(False, 'not used: [train] liger = "off"')
    if not cuda:
        return Liger(False, "not used: its kernels need a GPU")
    if (installed := version()) is None:
        return Liger(False, f"not used: not installed ({INSTALL})")
    return Liger(True, f"{installed}, if it supports the model")


def liger(config: Config, cuda: bool, base: Path) -> Liger:
    """Whether the model in ``base`` is trained with Liger's kernels.

    Raises:
        ModelError: the model's config.json cannot be read.
    """
    first = possible(config, cuda)
    if not first.used:
        return first
    kind = _model_type(base)
    if kind not in _known():
        return Liger(False, f"not used: {version()} does not support models of type {kind!r}")
    return Liger(True, f"{version()} for {kind}")


def _known() -> frozenset[str]:
    """The model types that Liger supports. Imports Liger, and with it triton."""
    from liger_kernel.transformers.monkey_patch import MODEL_TYPE_TO_APPLY_LIGER_FN

    return frozenset(MODEL_TYPE_TO_APPLY_LIGER_FN)


def _model_type(base: Path) -> str:
    try:
        return str(json.loads((base / "config.json").read_text(encoding="utf-8"))["model_type"])
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{base / 'config.json'}: {error}. Save the model again.") from error
