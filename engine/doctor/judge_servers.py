"""Checks the vLLM servers that [judge] names: whether they load an adapter from this project, of its rank.

Before a round there is no adapter, so a probe is made: a single layer of zeros, removed here and on the server after.
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from engine.backends import roles
from engine.config.schema import Config
from engine.doctor.finding import Finding, refused
from engine.errors import BackendError, ConfigError, ModelError
from engine.models import locate
from engine.models.folder import header, weight_files

if TYPE_CHECKING:
    from engine.backends.completions import Completions
    from engine.backends.served_adapter import ServedAdapter

PATIENCE_S = 60.0
"""Timeout in seconds for a server's list of models, and for loading the adapter."""
LAYER = re.compile(r"model\.layers\.\d+\.[a-z_.]*\b(q_proj|o_proj|down_proj)\.weight")
"""Weights of layers that vLLM can apply adapters to, as most models name them."""


def findings(config: Config, project: Path) -> Iterator[Finding]:
    """A finding for each server; nothing where none loads adapters."""
    how = config.judge
    if how.backend != "server":
        return
    try:
        roles.check_served(config)
        with _probe(config, project) as adapter:
            for url in (how.url, *how.more_urls):
                yield _tried(url, config, adapter)
    except (ConfigError, ModelError) as error:
        yield refused("judge", error)
    except OSError as error:
        fix = "check the folder's permissions and the disk"
        yield Finding("judge", f"{project}: cannot write an adapter to try ({error.strerror})", bad=True, fix=fix)


def _tried(url: str, config: Config, adapter: ServedAdapter | None) -> Finding:
    """Whether one server loads ``adapter``; None: only ask for its models."""
    from engine.backends.completions import Completions
    from engine.backends.served_adapter import bases, listed

    chat: Completions | None = None
    try:
        patience = min(config.teacher.timeout_s, PATIENCE_S)
        chat = Completions(url, adapter.name if adapter else "", config.judge.key_env, patience, "judge")
        served = bases(chat.start(listed(chat)).result())
        if adapter is None:
            fix = "its adapters are tried when the judge stage begins"
            return Finding("judge", f"{served} at {url} · the model is not here yet, so no adapter was tried", fix=fix)
        said = _loaded(chat, adapter)
    except BackendError as error:
        return refused("judge", error)
    finally:
        if chat is not None:
            chat.close()
    return Finding("judge", f"{served} at {url} · loads adapters of rank {adapter.rank}", fix=said)


def _loaded(chat: Completions, adapter: ServedAdapter) -> str:
    """Have a server load and unload ``adapter``. Returns why it may still be loaded; "": it is not.

    Raises:
        EndpointError: it cannot load it.
    """
    from engine.backends.served_adapter import load, unload

    chat.start(load(chat, adapter)).result()
    return chat.start(unload(chat, adapter.name)).result()


@contextmanager
def _probe(config: Config, project: Path) -> Iterator[ServedAdapter | None]:
    """A probe adapter of config.toml's rank, in the folder where a round's adapter will be; None: the model is not on
    this machine, or its layers have other names.
    """
    from engine.backends.served_adapter import ServedAdapter, owner_of, seen_path

    layer = _layer(config, project)
    if layer is None:
        yield None
        return
    beside = project / "artifacts"
    beside.mkdir(mode=0o700, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="probe-", dir=beside))
    try:
        _write(folder, layer, config.train.lora_r)
        # Its own name as owner: it must not make servers unload the adapter of a judge stage that is running.
        name = f"{owner_of(project)}probe-{secrets.token_hex(4)}"
        yield ServedAdapter(name, name, seen_path(folder, project, config.judge.adapter_root), config.train.lora_r)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _layer(config: Config, project: Path) -> tuple[str, int, int] | None:
    """A linear layer's name, input size and output size; None: none was found."""
    base = locate.on_disk(config.model.name, project)
    for file in weight_files(base) if base is not None else ():
        for name, entry in header(file).items():
            if LAYER.fullmatch(name) and len(entry["shape"]) == 2:
                outputs, inputs = entry["shape"]
                return name.removesuffix(".weight"), int(inputs), int(outputs)
    return None


def _write(folder: Path, layer: tuple[str, int, int], rank: int) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    name, inputs, outputs = layer
    key = f"base_model.model.{name}"
    tensors = {
        f"{key}.lora_A.weight": np.zeros((rank, inputs), np.float32),
        f"{key}.lora_B.weight": np.zeros((outputs, rank), np.float32),
    }
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    how = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": rank, "lora_alpha": rank, "bias": "none"}
    how |= {"target_modules": [name.rpartition(".")[2]], "base_model_name_or_path": ""}
    (folder / "adapter_config.json").write_text(json.dumps(how), encoding="utf-8")
