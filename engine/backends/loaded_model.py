"""A local model in memory, with its adapters and what was found out about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from engine.backends import left_padding, lm_head
from engine.backends.adapters import Sums

Key = tuple[str, ...]


@dataclass
class LoadedModel:
    """A model in memory with the adapters it has seen (fingerprint -> name in peft). ``head``: its words, its width."""

    key: Key
    path: Path
    tokenizer: Any
    model: Any
    device: torch.device
    stops: list[int]
    head: tuple[int, int]
    peft: Any = None
    adapters: dict[str, str] = field(default_factory=dict)
    sums: dict[str, Sums | None] = field(default_factory=dict)
    to_logits: lm_head.Head | None = None
    digits: list[torch.Tensor] | None = None
    beginning: str = ""
    shares: bool | None = None
    refills: bool | None = None
    together: left_padding.Together | None = None
    notes: list[str] = field(default_factory=list)
