"""What every process that the engine starts finds in its environment: what config.toml decides, and nothing left over.

A shell remembers: ``ACCELERATE_MIXED_PRECISION=bf16`` of an afternoon's experiment would make a float32 training a
bfloat16 one, and nothing would say so. Variables by which the libraries can be told how to compute, or that they are
one of several processes, are left out, but for those that name places, devices and connections (``KEPT``). All others
are the machine's business and stay. Keys and tokens go only where they are needed (``without_secrets``).
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path

STEERING = re.compile(
    "(ACCELERATE|TORCHELASTIC|TORCH|TORCHINDUCTOR|TORCHDYNAMO|PYTORCH|HF|HUGGINGFACE|TRANSFORMERS|FSDP|DS|DEEPSPEED"
    "|MEGATRON_LM|PARALLELISM_CONFIG|FP8|XLA|NCCL|GLOO|CUDA|PMI|OMPI_COMM_WORLD|MV2_COMM_WORLD|SMDATAPARALLEL|TRL)_.*"
    "|((LOCAL|GROUP|ROLE|NODE)_)?(RANK|WORLD_SIZE)|ROLE_NAME|MASTER_(ADDR|PORT)|NVIDIA_TF32_OVERRIDE|FORK_LAUNCHED"
    "|USE_(TORCH|TF|JAX|FLAX|TORCH_XLA|HUB_KERNELS)|TRUST_REMOTE_CODE"
)
"""Names by which libraries are steered: how they compute, what they load, which process of several they are."""

KEPT = re.compile(
    "HF_(HOME|ENDPOINT|TOKEN|TOKEN_PATH|ASSETS_CACHE|MODULES_CACHE|XET_.*)"
    "|HF_HUB_(CACHE|OFFLINE|DOWNLOAD_TIMEOUT|ETAG_TIMEOUT|DISABLE_XET|DISABLE_SYMLINKS|DISABLE_SHARED_BLOBS)"
    "|HF_(DATASETS_(CACHE|OFFLINE)|EVALUATE_OFFLINE)|HUGGINGFACE_(HUB|ASSETS)_CACHE|TRANSFORMERS_(CACHE|OFFLINE)"
    "|CUDA_(VISIBLE_DEVICES|DEVICE_ORDER|HOME|PATH|CACHE_.*|MPS_.*|LAUNCH_BLOCKING|MODULE_LOADING)"
    "|TORCH_(HOME|EXTENSIONS_DIR|CUDA_ARCH_LIST)|TORCHINDUCTOR_CACHE_DIR|PYTORCH_(CUDA_|HIP_)?ALLOC_CONF"
    "|PYTORCH_KERNEL_CACHE_PATH|(NCCL|GLOO)_.*"
)
"""Of these: caches and folders, the hub and how it is reached, which GPUs, how they are connected and give memory."""

SECRET = re.compile(r"(.*_)?(API_?KEY|KEY|TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?)(_.*)?", re.IGNORECASE)
"""Names that keys and tokens go by; those of ``NOT_SECRET`` say where one lies."""
NOT_SECRET = re.compile(r".*_(PATH|FILE|DIR)", re.IGNORECASE)


def secret(name: str) -> bool:
    """Whether a variable of this name probably holds a key or a token."""
    return bool(SECRET.fullmatch(name)) and not NOT_SECRET.fullmatch(name)


def left_out(environ: Mapping[str, str] = os.environ) -> list[str]:
    """Names of the variables that no process of a run gets, sorted."""
    return sorted(n for n in environ if STEERING.fullmatch(n) and not KEPT.fullmatch(n) and not secret(n))


def kept(environ: Mapping[str, str] = os.environ) -> list[str]:
    """Names of those that steer a library and are passed on all the same, sorted."""
    return sorted(n for n in environ if KEPT.fullmatch(n) and not secret(n))


def for_children(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """A child's environment: clean, with the engine importable from anywhere and quiet libraries.

    Nothing is imported from the folder that a child happens to work in, whatever lies there (``PYTHONSAFEPATH``).
    """
    gone = {*left_out(environ)}
    root = str(Path(__file__).resolve().parent.parent)
    paths = [p for p in environ.get("PYTHONPATH", "").split(os.pathsep) if os.path.isabs(p) and p != root]
    return {
        **{name: value for name, value in environ.items() if name not in gone},
        "PYTHONPATH": os.pathsep.join([root, *paths]),
        "PYTHONSAFEPATH": "1",
        "PYTHONUNBUFFERED": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }


def without_secrets(
    environ: Mapping[str, str], but: Collection[str] = (), known: Collection[str] = ()
) -> dict[str, str]:
    """``environ`` without what holds a key or a token.

    Args:
        but: names that stay. known: names that are secret whatever they look like.
    """
    return {n: v for n, v in environ.items() if n in but or not (secret(n) or n in known)}


def told(environ: Mapping[str, str] = os.environ) -> str:
    """What of the environment a run takes and what not, by name, as a line for the log; empty without either."""
    parts = (("left out", left_out(environ)), ("kept", kept(environ)))
    return "; ".join(f"{what}: {', '.join(names)}" for what, names in parts if names)
