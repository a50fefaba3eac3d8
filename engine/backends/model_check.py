"""Whether a model can be used as a run uses it: tokenizer, template, config and weights are held against each other.

The weights' names and shapes are read, not the weights: seconds for a model of any size. The train stage asks before it
renders a row; ``python -m engine.backends.model_check CONFIG FOLDER`` asks for the doctor, in a process that may load
torch (``engine.doctor.model_check_process``), and prints what it found as JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from engine.config import schema as configs
from engine.config.schema import Config
from engine.distributed import sharding
from engine.errors import ConfigError, MiddoError, ModelError
from engine.models import folder as model_folder
from engine.models import locate, untrained_tokens
from engine.models.folder import local_models


def usable(folder: Path, chat_template: str = "") -> tuple[Any, Any]:
    """Load all of the model in ``folder`` but its numbers, as a run would: tokenizer, and model on the meta device.

    Raises:
        ModelError, ConfigError: it cannot be used; names the file or the setting, why, and the way out.
    """
    import torch

    from engine.backends.local import read_model
    from engine.chat.render import load_tokenizer

    model_folder.check(folder)
    tokenizer = load_tokenizer(folder, chat_template)
    meta = torch.device("meta")
    model = read_model(folder, torch.float32, meta, "auto")
    belong_together(tokenizer, model, folder)
    return tokenizer, model


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
        f"{folder}: {what}, {tokenizer.convert_ids_to_tokens(token)!r}, has the number {token}, but the model has only"
        f" {rows} embeddings. Take the tokenizer that belongs to these weights, or call"
        " model.resize_token_embeddings(len(tokenizer)) and save the model again."
    )


def _refuse_reader(config: Any, folder: Path) -> None:
    """A model that reads both ways would be trained on answers that it sees."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES as READERS

    reads = config.model_type in READERS and not getattr(config, "is_decoder", False)
    if reads or getattr(config, "is_encoder_decoder", False):
        raise ModelError(
            f"{folder}: a {config.model_type} model reads its whole text at once and cannot continue one."
            " Name a causal language model."
        )


def _refuse_quantised(config: Config, folder: Path) -> None:
    """Weights that are quantised already are neither trained themselves nor quantised once more."""
    if "quantization_config" in model_folder.read_json(folder / "config.json") and config.train.method != "lora":
        raise ConfigError(
            f'config.toml: [train] method = "{config.train.method}" needs unquantised weights, and those of {folder}'
            ' are quantised. Name the unquantised model, or set method = "lora".'
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
            tokenizer, model = usable(folder, template)
            said += [] if role == "teacher" else trained(config, project, folder, tokenizer, model)[0]
    return said


def trained(config: Config, project: Path, folder: Path, tokenizer: Any, model: Any) -> tuple[list[str], int]:
    """What a person may not expect of training this model with these settings; how many rows go with its adapter.

    Raises:
        ConfigError: it cannot be trained with them.
    """
    from engine.backends.local import positions
    from engine.chat.render import note

    _refuse_quantised(config, folder)
    found = untrained_tokens.find(folder, model, tokenizer)
    plan = sharding.plan(config, project)
    untrained_tokens.require(found, config, model, plan.name if plan and (plan.fsdp or plan.zero) else "")
    said = [*filter(None, [note(tokenizer)]), *untrained_tokens.said(found, config)]
    if config.model.max_length > (seen := positions(model.config)):
        said.append(
            f"[model] max_length = {config.model.max_length}, but the model sees {seen} tokens: longer rows lose their"
            f" end. Set max_length = {seen}, which is what holds."
        )
    return said, 0 if config.train.method == "full" else len(found.ids)


def main(argv: list[str]) -> int:
    """Entry of the process: for each role its error, or its notes and the rows that are trained beside an adapter."""
    project = Path(argv[1])
    config = configs.placed(configs.restore(argv[0]), project)
    out = []
    for role, name, template in local_models(config):
        found: dict[str, object] = {"role": role, "error": "", "notes": [], "rows": 0}
        try:
            if (folder := locate.on_disk(name, project)) is not None:
                tokenizer, model = usable(folder, template)
                if role == "model":
                    found["notes"], found["rows"] = trained(config, project, folder, tokenizer, model)
        except MiddoError as error:
            found["error"] = str(error)
        out.append(found)
    print(json.dumps(out))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
