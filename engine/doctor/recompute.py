"""Whether training recomputes activations in its backward pass ([train] gradient_checkpointing = "auto")."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from engine.config.schema import Config
from engine.distributed.sharding import ShardingPlan
from engine.doctor import fit, memory, report
from engine.doctor.fit import Device, Models
from engine.doctor.memory import ModelShape
from engine.errors import ModelError


def decide(config: Config, base: Path, longest: int, plan: ShardingPlan | None) -> tuple[bool, str]:
    """Whether to recompute, and why where "auto" has chosen; by the same estimate as the doctor's.

    Args:
        base: the model's folder. longest: tokens of the longest sample.
    """
    if config.train.gradient_checkpointing != "auto":
        return config.train.gradient_checkpointing, ""
    try:
        # As if rows of the embedding were trained too: that cannot be known without the model.
        shape = replace(memory.read_shape(base), rows=1)
    except ModelError as error:
        return True, f"activations are recomputed, as it is not known whether they fit: {error}"
    return chosen(shape, config, report.device(config, plan), longest)


def chosen(shape: ModelShape, config: Config, device: Device, longest: int) -> tuple[bool, str]:
    """As ``decide``, for a model of this shape on this device."""
    again = fit.recomputes(Models(shape), config, device, longest)
    kept = fit.changed(config, {"train.gradient_checkpointing": False})
    need = memory.train(shape, kept, device.cuda, min(longest, config.model.max_length), device.split).total
    of = f"training would need about {fit.size(need)} of {fit.size(device.free)} on {device.name}"
    return again, f"activations are {'recomputed; with them kept,' if again else 'kept:'} {of}"
