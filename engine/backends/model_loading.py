"""Loads a local model's weights and chooses device and dtype, for training and the hf backend."""

from __future__ import annotations

import gc
import json
import re
import sys
from pathlib import Path
from typing import Any

import torch

from engine.chat.render import end_of_turn
from engine.distributed import ranks
from engine.errors import MiddoError, ModelError
from engine.models import folder
from engine.models.locate import require_nf4
from engine.plurals import counted
from engine.processes.exit_reason import ran_out_of_memory

OF_THE_DEVICE = re.compile(r"CUDA error|cuDNN error|CUBLAS_STATUS|HIP error|NCCL|same device")
SMALL_MODEL = 50_000_000  # parameters; below, a second CPU thread makes it slower


def torch_device(name: str) -> torch.device:
    """``auto`` is cuda when there is one; of several processes each has its own."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and ranks.size() > 1:
        name = f"cuda:{ranks.local_rank()}"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ModelError(f'config.toml: [model] device = "{name}", but torch sees no GPU. Use "auto" or "cpu".')
    return torch.device(name)


def torch_dtype(name: str, device: torch.device) -> torch.dtype:
    """``auto`` is bfloat16 on a GPU and float32 on a CPU."""
    if name == "auto":
        name = "bfloat16" if device.type == "cuda" else "float32"
    dtype: torch.dtype = getattr(torch, name)
    return dtype


def read_model(path: Path, dtype: torch.dtype, device: torch.device, attention: str, nf4: bool = False) -> Any:
    """A causal language model's weights, on ``device``; never code or pickles from the model's folder.

    On torch's meta device, names and shapes alone are read. Every weight must be there: what transformers would draw at
    random, because the files do not have it, is refused.

    nf4: its linear layers (not the head) as 4-bit NormalFloats with quantised scales, computing in ``dtype``.

    Raises:
        ModelError: unreadable, of an unknown family, or too large for the device.
    """
    from transformers import AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # the log is read as lines
    wanted: dict[str, Any] = {} if attention == "auto" else {"attn_implementation": attention}
    if nf4:
        wanted |= _four_bits(path, dtype, device)
    else:
        wanted |= _straight(device)
    folder.check(path)
    try:
        model, found = AutoModelForCausalLM.from_pretrained(
            str(path),
            dtype=dtype,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            **wanted,
        )
        _refuse_random(path, sorted(found["missing_keys"]))
        _keep_layout(model)
        return model if "device_map" in wanted else model.to(device)
    except MiddoError:
        raise
    except Exception as error:  # what libraries raise on files that are not as they expect has no bounds
        if ran_out_of_memory(error):
            raise ModelError(f"{path}: does not fit into the memory of {device}. Use a smaller model.") from error
        reason = next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")
        raise ModelError(
            f"{path}: cannot load the model ({reason}). Check its config.json and *.safetensors."
        ) from error


def _refuse_random(path: Path, missing: list[str]) -> None:
    if missing:
        raise ModelError(
            f"{path}: its files lack {counted(len(missing), 'weight')}"
            f" ({missing[0]}{', …' if len(missing) > 1 else ''})."
            " Use the matching config.json, or download the model again."
        )


def _straight(device: torch.device) -> dict[str, Any]:
    """How transformers is told to read each weight to ``device``: a whole model in this process's memory first would be
    32 GB for 8B in float32, once for each process. For the CPU it reads so by itself; ZeRO-3 has its own way.
    """
    from transformers.integrations import is_deepspeed_zero3_enabled

    if device.type == "cpu" or is_deepspeed_zero3_enabled():
        return {}
    return {"device_map": {"": _numbered(device)}}


def _numbered(device: torch.device) -> torch.device:
    """accelerate compares it with the trainer's, which has a number."""
    return torch.device("cuda", torch.cuda.current_device()) if str(device) == "cuda" else device


def _four_bits(path: Path, dtype: torch.dtype, device: torch.device) -> dict[str, Any]:
    """Arguments that make transformers quantise while loading, directly to ``device``."""
    require_nf4()
    from transformers import BitsAndBytesConfig

    settings = json.loads((path / "config.json").read_text(encoding="utf-8"))
    if "quantization_config" in settings:
        raise ModelError(f'{path}: is already quantised. Use the unquantised model with train.method = "qlora".')
    how = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    return {"quantization_config": how, "device_map": {"": _numbered(device)}}


def _keep_layout(model: Any) -> None:
    """Keep bitsandbytes from rearranging 4-bit weights for inference, as it does on CPUs with AVX-512 BF16.

    Its kernel for rearranged weights has no gradient: training would silently be wrong, and a resumed run another.
    """
    if "bitsandbytes" not in sys.modules:  # then nothing of the model is in 4 bits
        return
    from bitsandbytes.nn.modules import Linear4bit

    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False


def set_threads(model: Any, device: torch.device, threads: int) -> None:
    """Use ``threads`` CPU threads; 0 chooses one for a small model on a CPU and else leaves torch's choice."""
    if threads:
        torch.set_num_threads(threads)
    elif device.type == "cpu" and sum(p.numel() for p in model.parameters()) < SMALL_MODEL:
        torch.set_num_threads(1)


def stops(tokenizer: Any, model: Any) -> list[int]:
    """Token ids that end a reply: the model's and tokenizer's EOS, and the template's end of turn."""
    return stop_ids(tokenizer, model.generation_config.eos_token_id, ends(model.config))


def ends(config: Any) -> int | list[int] | None:
    """The ends of text that a model's config names; of one that also sees images, its text part's."""
    own: int | list[int] | None = getattr(config, "eos_token_id", None)
    return getattr(config.get_text_config(), "eos_token_id", None) if own is None else own


def reply_ends(path: Path, tokenizer: Any) -> list[int]:
    """Token ids that end a reply of the model in a folder, for engines that read it themselves."""
    from transformers import AutoConfig, GenerationConfig

    try:
        own = GenerationConfig.from_pretrained(str(path)).eos_token_id
    except OSError:  # a model without generation_config.json
        own = None
    return stop_ids(tokenizer, own, ends(AutoConfig.from_pretrained(str(path), trust_remote_code=False)))


def positions(config: Any) -> int:
    """A model's context length in tokens."""
    told = getattr(config.get_text_config(), "max_position_embeddings", None)
    return told if isinstance(told, int) and told > 0 else 1 << 20


def stop_ids(tokenizer: Any, *ends: int | list[int] | None) -> list[int]:
    """``ends``, the tokenizer's end of text, and the template's end of turn.

    Raises:
        ModelError: one of ``ends`` is no number.
    """
    found: set[int] = set()
    for ids in (*ends, tokenizer.eos_token_id):
        many = ids if isinstance(ids, list) else [] if ids is None else [ids]
        if odd := [one for one in many if not isinstance(one, int)]:
            raise ModelError(
                f"{tokenizer.name_or_path}: the eos_token_id of config.json or generation_config.json is {odd[0]!r}"
                " instead of a token id. Correct the file."
            )
        found.update(many)
    turn = end_of_turn(tokenizer)
    return sorted(found if turn is None else found | {turn})


def failed(error: BaseException, device: torch.device) -> bool:
    """Whether ``error`` says something of the device or of us, and nothing of the model's family: no memory, tensors on
    two devices, or a CUDA context that has died, after which whatever comes next fails too.
    """
    if ran_out_of_memory(error) or isinstance(error, torch.AcceleratorError) or OF_THE_DEVICE.search(str(error)):
        return True
    try:
        torch.zeros(1, device=device).add(1).item()  # a failed kernel may be told by the next one only
    except RuntimeError:
        return True
    return False


def give_back() -> None:
    """Release unused memory."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
