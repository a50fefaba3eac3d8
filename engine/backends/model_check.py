"""Whether a model can be used as a run uses it: tokenizer, template, config and weights are held against each other.

The weights' names and shapes are read, not the weights: seconds for a model of any size. The train stage asks before it
renders a row; the doctor asks in a process that may load torch (``engine.doctor.model_process``).
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engine.config import schema as configs
from engine.config.schema import Config
from engine.distributed import sharding
from engine.errors import ConfigError, MiddoError, ModelError
from engine.models import folder as model_folder
from engine.models import locate, untrained_tokens
from engine.models.folder import local_models
from engine.plurals import counted
from engine.store.rows import Message

SHORTEST = (Message("user", "a"), Message("assistant", "a"))
PERMUTED = ("xlnet",)
"""Families that transformers calls causal, and that see what comes after a token all the same."""
_NUMBER = re.compile(r"\d+")


def usable(folder: Path, chat_template: str = "", attention: str = "auto") -> tuple[Any, Any]:
    """Load all of the model in ``folder`` but its numbers, as a run would: tokenizer, and model on the meta device.

    Args:
        attention: [model] attention, which may need a package.

    Raises:
        ModelError, ConfigError: it cannot be used; names the file or the setting, why, and the way out.
    """
    import torch

    from engine.backends.model_loading import read_model, stops
    from engine.chat.render import load_tokenizer

    model_folder.check(folder)
    _config(folder)
    tokenizer = load_tokenizer(folder, chat_template)
    if _four_bits(folder):
        model = _unquantised(folder)
    else:
        dtype = torch.bfloat16 if attention == "flash_attention_2" else torch.float32  # the only kind that it takes
        model = read_model(folder, dtype, torch.device("meta"), attention)
    belong_together(tokenizer, model, folder)
    stops(tokenizer, model)
    return tokenizer, model


def _four_bits(folder: Path) -> bool:
    """Whether bitsandbytes has quantised the weights, whose files cannot be read on the meta device.

    Raises:
        ModelError: config.json says so, and the weights are none of its.
    """
    found = model_folder.read_json(folder / "config.json").get("quantization_config")
    if not isinstance(found, dict) or not found.get("load_in_4bit"):
        return False
    names = (name for file in model_folder.weight_files(folder) for name in model_folder.header(file))
    if not any(".quant_state.bitsandbytes__" in name for name in names):
        raise ModelError(
            f"{folder}: config.json says that bitsandbytes quantised the weights, but they are not quantised."
            ' Remove quantization_config; [train] method = "qlora" quantises them.'
        )
    return True


def _unquantised(folder: Path) -> Any:
    """The model that its config.json describes, on the meta device.

    Raises:
        ModelError: bitsandbytes is not installed, or the family is unknown.
    """
    import torch
    from transformers import AutoModelForCausalLM

    locate.require_nf4()
    config = _config(folder)
    del config.quantization_config
    with torch.device("meta"), _refused(folder):
        return AutoModelForCausalLM.from_config(config, trust_remote_code=False)


def _config(folder: Path) -> Any:
    """config.json as transformers reads it.

    Raises:
        ModelError: it does not take it.
    """
    from transformers import AutoConfig

    with _refused(folder):
        return AutoConfig.from_pretrained(str(folder), trust_remote_code=False, local_files_only=True)


@contextmanager
def _refused(folder: Path) -> Iterator[None]:
    """Whatever transformers raises on a config.json, in words: there is no bound to what a file may hold."""
    try:
        yield
    except Exception as error:
        if "trust_remote_code" in str(error):
            raise ModelError(
                f"{folder}: the model needs its own Python code, which is never run here."
                " Use a version that transformers supports natively."
            ) from error
        lines = [*dict.fromkeys(" ".join(line.split()) for line in str(error).splitlines())]
        reason = " ".join(lines[:2]).rstrip(".:") or type(error).__name__
        raise ModelError(f"{folder}: cannot load the model ({reason}). Check its config.json.") from error


def belong_together(tokenizer: Any, model: Any, folder: Path) -> None:
    """Refuse a model that has no embedding for a token that its tokenizer uses.

    Special tokens that neither the template nor padding uses may lie outside: some models ship one for another of
    their family, and no text of a dataset becomes one.

    Raises:
        ModelError: names the token and its id.
    """
    _refuse_reader(model.config, folder)
    rows = int(model.get_input_embeddings().weight.shape[0])
    used: dict[int, str] = {}
    for kind in ("pad", "eos", "bos"):
        if (token := getattr(tokenizer, f"{kind}_token_id")) is not None:
            used[token] = f"its {kind} token"
    used |= dict.fromkeys(untrained_tokens.template_ids(tokenizer), "a token of its chat template")
    special = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    used |= dict.fromkeys({*tokenizer.get_vocab().values()} - special - used.keys(), "a token")
    outside = [(token, what) for token, what in used.items() if token >= rows]
    if not outside:
        return
    token, what = min(outside)
    raise ModelError(
        f"{folder}: {what}, {tokenizer.convert_ids_to_tokens(token)!r}, has id {token}, but the model has only"
        f" {rows} embeddings. Use the matching tokenizer, or call"
        " model.resize_token_embeddings(len(tokenizer)) and save the model."
    )


def _refuse_reader(config: Any, folder: Path) -> None:
    """A model that reads both ways would be trained on answers that it sees."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES as READERS

    reader = config.model_type in READERS
    if reader and getattr(config, "is_decoder", False):
        raise ModelError(
            f"{folder}: a {config.model_type} model, even as a decoder, computes logits in a way that neither training"
            " nor scoring supports. Use another causal language model."
        )
    if reader or config.model_type in PERMUTED or getattr(config, "is_encoder_decoder", False):
        raise ModelError(
            f"{folder}: a {config.model_type} model is bidirectional or an encoder-decoder and cannot continue a text."
            " Use a causal language model."
        )


def _refuse_quantised(config: Config, folder: Path) -> None:
    """Weights that are quantised already are neither trained themselves nor quantised once more."""
    if "quantization_config" in model_folder.read_json(folder / "config.json") and config.train.method != "lora":
        raise ConfigError(
            f'config.toml: [train] method = "{config.train.method}" needs unquantised weights, but those of {folder}'
            ' are quantised. Use the unquantised model, or set method = "lora".'
        )


def _refuse_narrow(config: Config, seen: int, tokenizer: Any) -> None:
    """No row would have room for an answer.

    Args:
        seen: how many tokens the model sees.
    """
    limit, least = min(config.model.max_length, seen), len(untrained_tokens.template_ids(tokenizer, SHORTEST))
    if limit < least:
        whose = f"[model] max_length = {limit}" if limit < seen else f"the model's context length is {seen} tokens"
        raise ConfigError(
            f"config.toml: {whose}, but the shortest conversation takes {least} tokens in the chat template."
            " Use another model, or raise max_length."
        )


def require_told_apart(model: Any) -> None:
    """Refuse a model that is never told where a packed sample begins: what can be known without its numbers.

    Raises:
        ModelError: names the family.
    """
    inner = getattr(model, model.base_model_prefix, model)
    if not any("position_ids" in inspect.signature(one.forward).parameters for one in (model, inner)):
        raise packed_rows_seen(model)


def packed_rows_seen(model: Any) -> ModelError:
    """What is said of a family with which [train] packing would change what is learned."""
    return ModelError(
        f"models of the family {model.config.model_type!r} would let packed samples attend to each other."
        " Set [train] packing = false in config.toml."
    )


def _experts(config: Config, model: Any) -> Iterator[str]:
    """PEFT's "all-linear" finds modules; experts that are held as one tensor for all are none."""
    if config.train.method == "full" or config.train.lora_targets != "all-linear":
        return
    fused = sum(p.numel() for name, p in model.named_parameters() if p.dim() == 3 and "experts" in name)
    if fused:
        yield (
            f"LoRA does not train this model's experts, {fused / model.num_parameters():.0%} of its weights, because"
            ' they are not linear layers. Set [train] method = "full" to train them.'
        )


def check(config: Config, project: Path) -> list[str]:
    """Refuse a config whose model or local teacher cannot be used; returns what a person should know of them.

    What is not on this machine yet is not looked at.

    Raises:
        ModelError, ConfigError: as ``usable``.
    """
    config = configs.placed(config, project)
    said: list[str] = []
    for role, name, template in local_models(config):
        if (folder := locate.on_disk(name, project)) is not None:
            tokenizer, model = usable(folder, template, config.model.attention)
            said += [] if role == "teacher" else trained(config, project, folder, tokenizer, model)[0]
    return said


def trained(config: Config, project: Path, folder: Path, tokenizer: Any, model: Any) -> tuple[list[str], int]:
    """What a person may not expect of training this model with these settings; how many rows go with its adapter.

    Raises:
        ConfigError: it cannot be trained with them.
    """
    from engine.backends.model_loading import positions
    from engine.chat.render import note

    _refuse_quantised(config, folder)
    _refuse_narrow(config, positions(model.config), tokenizer)
    if config.train.packing:
        require_told_apart(model)
    found = untrained_tokens.find(folder, model, tokenizer)
    plan = sharding.plan(config, project)
    untrained_tokens.require(found, config, model, plan.name if plan and (plan.fsdp or plan.zero) else "")
    said = [*filter(None, [note(tokenizer)]), *untrained_tokens.describe(found, config)]
    said += [*_experts(config, model), *_left_out(folder, model)]
    if config.model.max_length > (seen := positions(model.config)):
        said.append(
            f"[model] max_length = {config.model.max_length}, but the model's context length is {seen}: longer rows"
            f" are truncated to {seen} tokens"
        )
    return said, 0 if config.train.method == "full" else len(found.ids)


def _left_out(folder: Path, model: Any) -> Iterator[str]:
    """Layers that the files hold and the model does not: of another size of it, if config.json is not theirs.

    Layers for predicting several tokens at once are known to transformers, which has no use for them.
    """
    own, kinds = set(model.state_dict()), {_NUMBER.sub("#", name) for name in model.state_dict()}
    known = [re.compile(pattern) for pattern in model._keys_to_ignore_on_load_unexpected or ()]
    held = sorted(name for file in model_folder.weight_files(folder) for name in model_folder.header(file))
    out = [name for name in held if name not in own and _NUMBER.sub("#", name) in kinds]
    if out := [name for name in out if not any(pattern.search(name) for pattern in known)]:
        yield (
            f"{folder}: config.json leaves out {counted(len(out), 'weight')} of the files ({out[0]}"
            f"{' …' if len(out) > 1 else ''}): the model has fewer layers. Is it the matching config.json?"
        )


def look(config: Config, project: Path) -> list[dict[str, Any]]:
    """For each role its error, or its notes and the rows that are trained beside an adapter. ``config`` is placed."""
    out = []
    for role, name, template in local_models(config):
        found: dict[str, Any] = {"role": role, "error": "", "notes": [], "rows": 0}
        try:
            if (folder := locate.on_disk(name, project)) is not None:
                tokenizer, model = usable(folder, template, config.model.attention)
                if role == "model":
                    found["notes"], found["rows"] = trained(config, project, folder, tokenizer, model)
        except MiddoError as error:
            found["error"] = str(error)
        out.append(found)
    return out
