"""Replies on their way, kept in a file over a pause: exactly as they were, so that they end in the same bytes.

Keys and values that are computed anew from the same tokens differ by roundings, and now and then a reply with them.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from engine.backends.continuous_batching import GenerationRequest, Writing
from engine.backends.kv_slots import Slots
from engine.files import durable

SPARE = 1 << 30
"""Bytes that are left free on the disk."""


def keep(work: Writing, path: Path, key: str) -> bool:
    """Write ``work`` to ``path``; False: the disk has no room for it. ``key``: what it belongs to."""
    tensors = {} if work.slots is None else work.slots.tensors(work.alive)
    path.parent.mkdir(parents=True, exist_ok=True)
    if sum(one.nbytes for one in tensors.values()) + SPARE > shutil.disk_usage(path.parent).free:
        path.unlink(missing_ok=True)
        return False
    facts = {
        "key": key,
        "queue": work.queue,
        "written": work.written,
        "ended": work.ended,
        "open": work.open,
        "filling": work.filling,
        "seconds": work.seconds,
    }
    part = path.with_name(f"{path.name}.part")
    save_file(tensors, part, metadata={"writing": json.dumps(facts)})
    durable.replace(part, path)
    return True


def taken(path: Path, key: str, asked: Sequence[GenerationRequest], device: torch.device) -> Writing | None:
    """What ``keep`` wrote for ``key``; None: there is nothing, or it belongs to something else."""
    try:
        with safe_open(str(path), "pt") as file:
            facts = json.loads((file.metadata() or {}).get("writing", "{}"))
            if facts.get("key") != key:
                return None
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (FileNotFoundError, SafetensorError):
        return None
    return Writing(
        asked,
        facts["queue"],
        facts["written"],
        facts["ended"],
        facts["open"],
        facts["filling"],
        Slots.restore(tensors, device) if tensors else None,
        facts["seconds"],
    )
