"""Paths that hold on every machine of a launch.

Orders from rank 0 to the other ranks contain paths. They are sent in a portable form (``named``) and become paths again
on the receiving machine (``here``):

- below the project: a path in a private folder that lives as long as the launch. Its content is fetched from the first
  machine when it is first used (``local``), once per machine.
- in the Hugging Face Hub's cache: the same revision in that machine's cache, or else the revision that it has.
- in this package, as the embedded models are: in that machine's package.
- a custom chat template ([model] chat_template): its text is sent with the order.
- others: the same path or, where nothing exists there, the model folder that the machine was given.

On the first machine, and where there is only one, a path stays as it is.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import msgspec

from engine.config.schema import Model
from engine.distributed.world import World
from engine.errors import ModelError
from engine.nodes.fetching import fetch

LOCK = ".lock"
PACKAGE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """What a rank on another machine knows about that machine.

    scratch: the launch's private folder. model: the folder given by ``join --model``, if any.
    """

    world: World
    scratch: Path
    model: Path | None


_project: Path | None = None
_elsewhere: Elsewhere | None = None


def settle(world: World, scratch: Path | None = None, model: Path | None = None) -> None:
    """Set how this process translates paths; with ``scratch`` on a machine that has no project."""
    global _project, _elsewhere
    _project = Path(world.project)
    _elsewhere = Elsewhere(world, scratch, model) if scratch is not None else None


def named(path: PurePath) -> tuple[str, str]:
    """``path`` in portable form: its kind (project, package, hub or path), and the path relative to that."""
    for kind, folder in (("project", _project), ("project", _project and _project.resolve()), ("package", PACKAGE)):
        if folder is not None and path.is_relative_to(folder):
            return kind, str(path.relative_to(folder))
    return ("hub", str(path.relative_to(hub))) if path.is_relative_to(hub := _hub()) else ("path", str(path))


def here(kind: str, rest: str) -> Path:
    """The path on this machine of what ``named`` gives."""
    if kind == "package":
        return PACKAGE / rest
    if kind == "project":
        return (_elsewhere.scratch if _elsewhere else _project or Path()) / rest
    path = _hub() / rest if kind == "hub" else Path(rest)
    if _elsewhere is None or filled(path):
        return path
    if _elsewhere.model is not None:
        return _elsewhere.model
    return _other_revision(path) if kind == "hub" else path


def filled(path: Path) -> bool:
    """Whether ``path`` exists and is no empty folder, such as the mount point of a disk that is not mounted."""
    return path.exists() and not (path.is_dir() and next(path.iterdir(), None) is None)


def with_template(fields: dict[str, Any], text: str | None) -> Model:
    """[model] on the receiving machine, where a custom chat template is written to a file with the content ``text``."""
    model = Model(**fields)
    if _elsewhere is None or text is None:
        return model
    digest = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
    file = _elsewhere.scratch / f"template-{digest}.jinja"
    if not file.exists():
        new = file.with_suffix(f".{os.getpid()}")
        new.write_text(text, encoding="utf-8")
        new.rename(file)
    return msgspec.structs.replace(model, chat_template=str(file))


def local(path: Path) -> Path:
    """``path``, after fetching it if it is a file or folder of the project that this machine does not have yet.

    Raises:
        ModelError: a model that this machine lacks. StageError: it cannot be fetched.
    """
    if _elsewhere is None:
        return path
    if path.is_relative_to(_elsewhere.scratch):
        _fetch_once(_elsewhere, path)
    elif not filled(path):
        raise ModelError(
            f"{path}: the model of the run is not on this machine, {_elsewhere.world.address}."
            " Copy or download it to the same place, or say where it is: `middo-tui join … --model FOLDER`."
        )
    return path


def scratch() -> Path | None:
    """This launch's private folder on this machine; None: this machine has the project."""
    return _elsewhere.scratch if _elsewhere else None


def _fetch_once(machine: Elsewhere, path: Path) -> None:
    """Fetch ``path``, if no other process of this machine has."""
    world = machine.world
    with (machine.scratch / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            there = Path(world.project) / path.relative_to(machine.scratch)
            fetch(world.host, world.door_port, world.secret("door"), there, path.parent)


def _other_revision(snapshot: Path) -> Path:
    """The revision of a hub model that the cache has; ``snapshot`` if none. ``join`` has compared fingerprints."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    name = snapshot.parents[1].name.removeprefix("models--").replace("--", "/")
    try:
        return Path(snapshot_download(name, local_files_only=True))
    except LocalEntryNotFoundError:
        return snapshot


def _hub() -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)
