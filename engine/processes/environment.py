"""The environment variables of the processes that the engine starts.

Only config.toml decides how a run computes. A leftover ``ACCELERATE_MIXED_PRECISION=bf16`` in the shell would silently
turn a float32 run into a bfloat16 one. So variables that configure how libraries compute, or that mark a process as
one of several, are removed, except those for paths, devices and connections (``KEPT``). All other variables are passed
on. API keys and tokens are passed only to processes that need them (``without_secrets``).
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
"""Variables that configure libraries: how they compute, what they load, which of several processes they are in."""

KEPT = re.compile(
    "HF_(HOME|ENDPOINT|TOKEN|TOKEN_PATH|ASSETS_CACHE|MODULES_CACHE|XET_.*)"
    "|HF_HUB_(CACHE|OFFLINE|DOWNLOAD_TIMEOUT|ETAG_TIMEOUT|DISABLE_XET|DISABLE_SYMLINKS|DISABLE_SHARED_BLOBS)"
    "|HF_(DATASETS_(CACHE|OFFLINE)|EVALUATE_OFFLINE)|HUGGINGFACE_(HUB|ASSETS)_CACHE|TRANSFORMERS_(CACHE|OFFLINE)"
    "|CUDA_(VISIBLE_DEVICES|DEVICE_ORDER|HOME|PATH|CACHE_.*|MPS_.*|LAUNCH_BLOCKING|MODULE_LOADING)"
    "|TORCH_(HOME|EXTENSIONS_DIR|CUDA_ARCH_LIST)|TORCHINDUCTOR_CACHE_DIR|PYTORCH_(CUDA_|HIP_)?ALLOC_CONF"
    "|PYTORCH_KERNEL_CACHE_PATH|(NCCL|GLOO)_.*"
)
"""Of these, the ones that are passed on: caches, folders, the Hub, GPUs, their interconnect and memory allocator."""

SECRET = re.compile(r"(.*_)?(API_?KEY|KEY|TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?)(_.*)?", re.IGNORECASE)
"""Names of keys and tokens. Names that match ``NOT_SECRET`` are paths to one."""
NOT_SECRET = re.compile(r".*_(PATH|FILE|DIR)", re.IGNORECASE)


def secret(name: str) -> bool:
    """Whether a variable of this name probably holds a key or a token."""
    return bool(SECRET.fullmatch(name)) and not NOT_SECRET.fullmatch(name)


def left_out(environ: Mapping[str, str] = os.environ) -> list[str]:
    """Sorted names of the variables that are removed for all processes of a run."""
    return sorted(n for n in environ if STEERING.fullmatch(n) and not KEPT.fullmatch(n) and not secret(n))


def passed_on(environ: Mapping[str, str] = os.environ) -> list[str]:
    """Sorted names of the variables that configure a library and are passed on."""
    return sorted(n for n in environ if KEPT.fullmatch(n) and not secret(n))


def for_children(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment of a child process: without ``left_out``, with the engine importable and libraries quiet.

    ``PYTHONSAFEPATH`` keeps Python from importing modules from the current folder.
    """
    gone = {*left_out(environ)}
    root = str(Path(__file__).resolve().parent.parent.parent)
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
    """``environ`` without variables that hold a key or a token.

    Args:
        but: names to keep. known: names that are secret whatever they look like.
    """
    return {n: v for n, v in environ.items() if n in but or not (secret(n) or n in known)}


HUB_TOKENS = frozenset({"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"})
"""By these the Hugging Face Hub knows who downloads."""


SHORTEST = 8
"""Shorter values are no keys: taking them out of a text would only garble it."""


def without_values(text: str, environ: Mapping[str, str] = os.environ, known: Collection[str] = ()) -> str:
    """``text`` with the values of secret variables replaced by their names: a library's exception may quote a header.

    Args:
        known: names that are secret whatever they look like.
    """
    held = [(value, name) for name, value in environ.items() if (secret(name) or name in known)]
    for value, name in sorted(held, key=lambda pair: -len(pair[0])):
        if len(value) >= SHORTEST:
            text = text.replace(value, f"<{name}>")
    return text


def describe(environ: Mapping[str, str] = os.environ) -> str:
    """A log line with the names of removed and kept variables; empty without any."""
    parts = (("ignored", left_out(environ)), ("kept", passed_on(environ)))
    return "; ".join(f"{what}: {', '.join(names)}" for what, names in parts if names)
