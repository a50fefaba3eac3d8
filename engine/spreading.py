"""A model that lies in parts over the processes (FSDP, ZeRO): whether it really does, and its weights put together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.distributed.tensor import DTensor

from engine import ranks
from engine.errors import StageError
from engine.sharding import Plan


def check(accelerator: Any, plan: Plan | None) -> None:
    """Refuse to train in whole copies, or otherwise, where parts were asked for.

    Raises:
        StageError: says what was asked for and what accelerate does instead.
    """
    if plan is None or not plan.kind:
        return
    kind = accelerator.distributed_type.value
    stage = _zero(accelerator)
    if kind != plan.kind or stage != plan.zero or (plan.fsdp and not accelerator.is_fsdp2):
        raise StageError(
            f"{plan.file} asks for {plan.name}, but accelerate runs {kind} here: the model would not be split as asked."
            " FSDP needs a GPU for each process. Correct the file,"
            ' or set [launch] accelerate_config = "" in config.toml for whole copies.'
        )


def whole(trainer: Any, trained: bool) -> dict[str, torch.Tensor] | None:
    """The weights by name, on the CPU of rank 0; None in the other processes. All must call it.

    Args:
        trained: only what was trained, i.e. an adapter.
    """
    found: dict[str, torch.Tensor] = {}
    for name, value in trainer.accelerator.unwrap_model(trainer.model).state_dict(keep_vars=True).items():
        if trained and not value.requires_grad:
            continue
        with _gathered(value) as all_of_it:
            if ranks.rank() == 0:
                # DeepSpeed computes with adapters in 16 bits; saved they are float32, as always.
                found[name] = all_of_it.detach().to("cpu", torch.float32 if trained else None, copy=True)
    return found if ranks.rank() == 0 else None


@contextmanager
def _gathered(value: torch.Tensor) -> Iterator[torch.Tensor]:
    """All of a weight of which each process has a part."""
    if isinstance(value, DTensor):
        yield value.full_tensor()
    elif hasattr(value, "ds_id"):  # ZeRO-3's
        from deepspeed.runtime.zero import GatheredParameters

        with GatheredParameters([value]):
            yield value
    else:
        yield value


def _zero(accelerator: Any) -> int:
    """ZeRO's stage; 0 without DeepSpeed."""
    plugin = getattr(accelerator.state, "deepspeed_plugin", None)
    return int(plugin.zero_stage) if plugin is not None else 0
