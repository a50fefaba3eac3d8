"""Whether the files of a model's folder are whole and belong together: what can be told without loading anything.

The doctor and a run's worker ask here before anything is computed, and both say what is wrong in the same words.
``engine.backends.model_check`` goes on where libraries must be loaded for it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engine.config.schema import Config
from engine.errors import ModelError
from engine.models import locate
from engine.plurals import counted

TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
ADAPTER = "adapter_config.json"
POINTER = b"version https://git-lfs.github.com/spec/"
HEADER = 100 << 20
"""Most bytes that safetensors lets a header have."""
CHECKED = ("*.json", "*.safetensors", "*.jinja", "*.model", "*.txt")


def check(folder: Path) -> None:
    """Check that a folder holds a loadable model.

    Raises:
        ModelError: names the file, what is wrong with it, and the way out.
    """
    for file in sorted(f for pattern in CHECKED for f in folder.glob(pattern)):
        _refuse_pointer(file)
    whole = bool(_named(folder))
    _refuse_adapter(folder, whole)
    if not whole:
        raise ModelError(
            f"{folder}: no *.safetensors weights here ({WEIGHTS}, or shards with {INDEX})."
            " Save the model in that format first: save_pretrained(…, safe_serialization=True)."
        )
    for file in weight_files(folder):
        _refuse_cut_off(file)
    if not isinstance(read_json(folder / "config.json"), dict):
        raise ModelError(f"{folder / 'config.json'}: not a JSON object. Give a folder in Hugging Face format.")
    if not any((folder / name).exists() for name in TOKENIZERS):
        raise ModelError(f"{folder}: no tokenizer beside the weights. Save the tokenizer there too.")


def weight_files(folder: Path) -> list[Path]:
    """The files that the weights are read from, as transformers chooses them.

    Raises:
        ModelError: the index cannot be read, or names a file that is missing.
    """
    files = [folder / name for name in _named(folder)]
    if missing := [file.name for file in files if not file.is_file()]:
        raise ModelError(
            f"{folder / INDEX}: names {', '.join(missing[:3])}{' …' if len(missing) > 3 else ''}, which"
            f" {'is' if len(missing) == 1 else 'are'} not here. Copy or download the missing weights."
        )
    return files


def _named(folder: Path) -> list[str]:
    """The names of the weight files, whether or not they exist."""
    if (folder / WEIGHTS).is_file():
        return [WEIGHTS]
    if not (folder / INDEX).is_file():
        return []
    found = read_json(folder / INDEX)
    try:
        return sorted({str(name) for name in found["weight_map"].values()})
    except (TypeError, KeyError, AttributeError):
        raise ModelError(f"{folder / INDEX}: has no weight_map. Fetch the file again.") from None


def read_json(file: Path) -> Any:
    """The content of a JSON file.

    Raises:
        ModelError: it is missing or no JSON.
    """
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{file}: missing. Give a folder in Hugging Face format.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{file}: cannot be read ({error}). Fetch the file again.") from None


def header(file: Path) -> dict[str, Any]:
    """The header of a safetensors file: of every tensor its ``shape``, ``dtype`` and ``data_offsets``.

    Raises:
        ModelError: it is none, or was cut off.
    """
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            found = json.loads(stream.read(length)) if length <= HEADER else None
        if not isinstance(found, dict):
            raise ValueError("no header")
        found.pop("__metadata__", None)
        end = max((int(entry["data_offsets"][1]) for entry in found.values()), default=0)
    except (OSError, ValueError, KeyError, TypeError, IndexError, RecursionError):
        raise ModelError(f"{file}: not a safetensors file. Copy or download it again.") from None
    if (size := file.stat().st_size) != (whole := 8 + length + end):
        raise ModelError(f"{file}: has {counted(size, 'byte')} instead of {whole:,}. Copy or download it again.")
    return found


def _refuse_cut_off(file: Path) -> None:
    header(file)


def _refuse_pointer(file: Path) -> None:
    try:
        with file.open("rb") as stream:
            pointer = stream.read(len(POINTER)) == POINTER
    except OSError as error:
        raise ModelError(f"{file}: cannot be read ({error.strerror}). Check the file and its permissions.") from None
    if pointer:
        raise ModelError(f"{file}: a git-lfs pointer, not the file. Download it with `git lfs pull` in its folder.")


def _refuse_adapter(folder: Path, whole: bool) -> None:
    """Reject a base model with adapter files beside it: some libraries would load the adapter, others not."""
    if not (folder / ADAPTER).exists():
        return
    if whole:
        raise ModelError(
            f"{folder}: holds whole weights and a LoRA adapter ({ADAPTER}), which is ambiguous."
            " Move the adapter's files away, or merge it into the weights first."
        )
    settings = read_json(folder / ADAPTER)
    base = settings.get("base_model_name_or_path") if isinstance(settings, dict) else None
    way = f"name = {json.dumps(str(base), ensure_ascii=False)} is its base" if base else "its base model is unknown"
    raise ModelError(
        f"{folder}: a LoRA adapter, not a whole model ({way}). Name the base, or merge the adapter into it first."
    )


def has_template(folder: Path) -> bool:
    """Whether the tokenizer's files contain a chat template."""
    file = folder / "chat_template.jinja"
    if file.is_file() and file.stat().st_size:
        return True
    try:
        return bool(read_json(folder / "tokenizer_config.json").get("chat_template"))
    except (ModelError, AttributeError):
        return False


def local_models(config: Config) -> Iterator[tuple[str, str, str]]:
    """Role, name and chat template of the local models."""
    yield "model", config.model.name, config.model.chat_template
    if config.teacher.model and config.teacher.backend != "openai":
        yield "teacher", config.teacher.model, ""


def check_all(config: Config, project: Path) -> None:
    """``check`` every model that is already on this machine.

    Raises:
        ModelError: as ``check``.
    """
    for _, name, _ in local_models(config):
        if (folder := locate.on_disk(name, project)) is not None:
            check(folder)
