"""Sharded models (FSDP, ZeRO): checks that the model really is sharded, and gathers its weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.distributed.tensor import DTensor

from engine.distributed import ranks
from engine.distributed.sharding import ShardingPlan
from engine.errors import StageError


def check(accelerator: Any, plan: ShardingPlan | None) -> None:
    """Check that training is sharded as configured.

    Raises:
        StageError: names the configured and the actual kind.
    """
    if plan is None or not plan.kind:
        return
    kind = accelerator.distributed_type.value
    stage = _zero(accelerator)
    if kind != plan.kind or stage != plan.zero or (plan.fsdp and not accelerator.is_fsdp2):
        raise StageError(
            f"{plan.file} asks for {plan.name}, but accelerate runs {kind} here, so the model would not be sharded."
            " FSDP needs a GPU per process. Correct the file,"
            ' or set [launch] accelerate_config = "" in config.toml.'
        )


def whole(trainer: Any, dtype: torch.dtype, trained: bool) -> dict[str, torch.Tensor] | None:
    """The weights by name, on the CPU of rank 0; None in the other processes. All processes must call it.

    Weights that the model shares (tied embeddings) are one tensor here as well.

    Args:
        dtype: of floating-point weights (DeepSpeed may have kept them in 16 bits).
        trained: only weights that require gradients, i.e. an adapter.
    """
    first = ranks.rank() == 0
    names: dict[str, int] = {}
    found: dict[int, torch.Tensor | None] = {}
    for name, value in trainer.accelerator.unwrap_model(trainer.model).state_dict(keep_vars=True).items():
        if trained and not value.requires_grad:
            continue
        names[name] = id(value)
        if id(value) not in found:
            with _gathered(value) as all_of_it:
                kind = dtype if value.is_floating_point() else value.dtype
                found[id(value)] = all_of_it.detach().to("cpu", kind, copy=True) if first else None
    return {name: weight for name, key in names.items() if (weight := found[key]) is not None} if first else None


@contextmanager
def _gathered(value: torch.Tensor) -> Iterator[torch.Tensor]:
    """The full tensor of a sharded weight."""
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
