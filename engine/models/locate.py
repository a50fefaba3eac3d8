"""Where a model's files are, and what identifies it: no torch here, so the light parts may ask too.

A model is a base (a folder, or a hub name resolved to its local snapshot), read in 4 bits or as it is, and possibly a
LoRA adapter on top.
Its fingerprint changes whenever its weights, its config or its tokenizer change, and is what losses are
cached by.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import DataError, ModelError

if TYPE_CHECKING:
    from engine.hub.fetch import Progress

SMALL = 4 << 20  # files up to this size (bytes) are hashed completely
SAMPLES, SAMPLE_BYTES = 64, 4096
NOTE = "middo.json"
DEMO = {f"demo:{name}": Path(__file__).parents[1] / "demo" / name for name in ("base", "teacher")}
"""The embedded models by names that hold wherever this package and the project lie."""


@dataclass(frozen=True, slots=True)
class ModelRef:
    """A model to load: a local folder, and the adapter on top of it if there is one.

    nf4: the base's linear layers are quantised to 4 bits as they are read (QLoRA). The same folder so is another model,
    with other losses and another fingerprint.

    As part of an order to another process it brings its fingerprint along, for ``require_sent``.
    """

    base: Path
    adapter: Path | None = None
    nf4: bool = False

    def __reduce__(self) -> tuple[Any, ...]:
        """How it is pickled."""
        return _arrived, (self.base, self.adapter, self.nf4, fingerprint(self))


_sent: dict[ModelRef, str] = {}
"""Models that came from another process, by the paths that they have here, with their fingerprints there."""


def _arrived(base: Path, adapter: Path | None, nf4: bool, known: str) -> ModelRef:
    model = ModelRef(base, adapter, nf4)
    _sent[model] = known
    return model


def require_sent(model: ModelRef) -> None:
    """Check that a model that came with an order is what the process that gave the order calls so.

    Raises:
        ModelError: it is another one, or a folder without safetensors weights.
    """
    if (known := _sent.get(model)) is not None and fingerprint(model) != known:
        raise ModelError(
            f"{model.base}: not the model that the first machine has there. Copy it from there, or have both download"
            " it again."
        )


def local(name: str, project: Path) -> Path | None:
    """The folder that ``name`` names: an embedded model, or a path; None: it may be a hub name.

    A relative path begins in the project's folder and nowhere else: app and worker work in different ones.
    """
    if name in DEMO:
        return DEMO[name]
    try:
        folder = project / Path(name).expanduser()
        return folder.resolve() if name and folder.is_dir() else None
    except (OSError, RuntimeError):  # too long for a path, no permission, or ~ of an unknown user
        return None


def locate(name: str, project: Path, said: Callable[[Progress], None] = lambda _: None) -> Path:
    """The folder of the model called ``name``: a path (also relative to the project), ``demo:base`` or a hub name.

    A hub model is downloaded when it is not there yet; only safetensors weights, never pickles. ``said`` hears how far
    that is; what it raises ends it.

    Raises:
        ModelError: there is no such folder and no such model within reach.
    """
    if not name:
        raise ModelError("config.toml: [model] name is empty. Set it to a folder or a name on the Hugging Face Hub.")
    return local(name, project) or _from_hub(name, said)


def on_disk(name: str, project: Path) -> Path | None:
    """The local folder of the model ``name``, or None if it is not downloaded. Uses no network."""
    if (folder := local(name, project)) is not None:
        return folder
    from huggingface_hub import snapshot_download  # these take a quarter of a second
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    from engine.hub.names import MODEL_FILES

    try:
        return Path(snapshot_download(name, allow_patterns=list(MODEL_FILES), local_files_only=True))
    except (HFValidationError, LocalEntryNotFoundError):
        return None


def _from_hub(name: str, said: Callable[[Progress], None]) -> Path:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # public, but not declared so

    from engine.hub.fetch import Fetch

    try:
        validate_repo_id(name)
    except HFValidationError:
        raise ModelError(f"{name}: no such folder, and not a Hub name (owner/model). Check the path.") from None
    if (found := on_disk(name, Path())) is not None:
        return found
    try:
        return Fetch(f"hf://{name}").wait(said).files[0][1]
    except DataError as error:
        raise ModelError(str(error)) from None


def fingerprint(model: ModelRef) -> str:
    """16 hex digits that change when the weights, config, tokenizer or template of ``model`` change.

    Small files are hashed whole. Of large ones: size, safetensors header (names, shapes, offsets), and 64
    blocks spread over the data, since training moves almost every weight: milliseconds instead of the minutes
    of reading 16 GB.

    Raises:
        ModelError: a folder without safetensors weights.
    """
    files: list[tuple[Path, int, int] | None] = []
    for folder in filter(None, (model.base, model.adapter)):
        found = [f for f in sorted(folder.iterdir()) if f.suffix in {".json", ".safetensors", ".jinja"}]
        if not any(f.suffix == ".safetensors" for f in found):
            raise ModelError(f"{folder}: no *.safetensors weights here. Save the model in that format first.")
        # The note holds the base's path, which does not affect the weights.
        files += [(f, f.stat().st_size, f.stat().st_mtime_ns) for f in found if f.name != NOTE]
        files.append(None)
    return _digest(tuple(files), model.nf4)


CONTENT = ("*.safetensors", "config.json", "tokenizer*.json", "*.jinja")
"""The files that say what a model computes. Other programs put more beside them, in the Hub's cache for one."""


def content(folder: Path) -> str:
    """As ``fingerprint``, of a folder's ``CONTENT`` alone: whether it is the same model still."""
    found = sorted({file for pattern in CONTENT for file in folder.glob(pattern)})
    return _digest(tuple((f, f.stat().st_size, f.stat().st_mtime_ns) for f in found), False)


@lru_cache(maxsize=64)
def _digest(files: tuple[tuple[Path, int, int] | None, ...], nf4: bool) -> str:
    """The fingerprint of files with their sizes and times of change; None ends a folder. Asked for with every batch."""
    digest = hashlib.blake2b(b"nf4" if nf4 else b"", digest_size=8)
    for one in files:
        if one is None:
            digest.update(b"\x01")
            continue
        file, size, _ = one
        digest.update(f"{file.name}\x00{size}\x00".encode())
        for block in _blocks(file):
            digest.update(block)
    return digest.hexdigest()


def _blocks(file: Path) -> Iterator[bytes]:
    size = file.stat().st_size
    with file.open("rb") as stream:
        if size <= SMALL:
            yield stream.read()
            return
        length = stream.read(8)
        yield length + stream.read(min(int.from_bytes(length, "little"), SMALL))
        for i in range(SAMPLES):
            stream.seek((size - SAMPLE_BYTES) * i // (SAMPLES - 1))
            yield stream.read(SAMPLE_BYTES)


def checkpoint(folder: Path, project: Path) -> ModelRef:
    """The model that a finished checkpoint folder holds: itself, or an adapter on the base it was trained on.

    Raises:
        ModelError: the folder is gone, its note cannot be read, or the base is another model now.
    """
    if not (folder / "adapter_config.json").exists():
        return ModelRef(folder)
    try:
        note = json.loads((folder / NOTE).read_text(encoding="utf-8"))
        name, known = note["base"], note.get("fingerprint")
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{folder / NOTE}: {error}. Rerun the round's train stage.") from error
    base = locate(name, project)
    if known is not None and content(base) != known:  # older notes have none
        raise ModelError(
            f"{base}: not the model that {folder} was trained on: its weights, config or tokenizer have changed since."
            " Put its old files back; the newest round can also be trained on the new ones: `run --redo train`."
        )
    return ModelRef(base, folder, bool(note.get("nf4", False)))


def holds_rows(adapter: Path) -> bool:
    """Whether an adapter also holds rows of the embedding (``engine.models.untrained_tokens``), which vLLM loads from
    none."""
    try:
        return bool(
            json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))["trainable_token_indices"]
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def require_nf4() -> None:
    """Raise ModelError if bitsandbytes is not installed."""
    from importlib import metadata

    try:
        metadata.version("bitsandbytes")
    except metadata.PackageNotFoundError:
        raise ModelError(
            'config.toml: [train] method = "qlora" needs bitsandbytes, which is not installed. '
            'Install it with `pip install "middo-tui[qlora]"`, or set method = "lora".'
        ) from None


def write_note(folder: Path, of: ModelRef, project: Path) -> None:
    """Keep beside an adapter which base it belongs to, relative to the project when it lies inside, what is in that
    folder, and in how many bits the base was read.
    """
    inside = of.base.is_relative_to(project.resolve())
    place = str(of.base.relative_to(project.resolve())) if inside else str(of.base)
    place = next((name for name, folder in DEMO.items() if folder == of.base), place)
    note = {"base": place, "fingerprint": content(of.base)} | ({"nf4": True} if of.nf4 else {})
    (folder / NOTE).write_text(json.dumps(note), encoding="utf-8")
