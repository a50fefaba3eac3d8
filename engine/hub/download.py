"""The process that fetches a dataset or a model of a hub: ``python -m engine.hub.download hf://…``. It writes JSON
lines: how far it is, at last what was found or why nothing was.

A process of its own, so that the app loads no HTTP and no Arrow, and what is on its way can be given up at any time.
"""

from __future__ import annotations

import glob
import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path
from threading import Event, Thread
from typing import Any

import psutil
from huggingface_hub import (
    HfApi,
    RepoFile,
    constants,
    get_cached_repo_tree,
    snapshot_download,
    try_to_load_from_cache,
)
from huggingface_hub.errors import (
    CachedRepoTreeNotFoundError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
)
from huggingface_hub.utils import tqdm  # type: ignore[attr-defined]  # public, but not declared so

from engine.errors import DataError, MiddoError
from engine.hub import errors
from engine.hub.layout import Undecided, choose
from engine.hub.names import MODEL_FILES, SCHEME, Name, parse

CARD = "README.md"
EVERY_S = 0.5


def main(address: str) -> int:
    """Download ``hf://datasets/…``, or a model by ``hf://owner/name``. Returns 0 on success."""
    try:
        with _telling():
            name = parse(address) if address.startswith(SCHEME) else None
            found = fetch(name) if name else fetch_model(address.removeprefix("hf://"))
    except Undecided as error:
        _tell(kind="Undecided", text=str(error), choices=error.choices)
    except MiddoError as error:
        _tell(kind=type(error).__name__, text=str(error))
    else:
        _tell(found=found)
        return 0
    return 1


def fetch(name: Name) -> dict[str, Any]:
    """Download the files of the dataset ``name`` into the cache.

    Returns:
        ``name`` as it is written, with its commit; ``files``: pairs of a name for people and a path.

    Raises:
        DataError: why it cannot be had.
    """
    with _explained(str(name), f"datasets/{name.repo}"):
        repository = _Repository("dataset", name.repo, name.revision or None)
        folder = repository.snapshot([CARD])
        tree = repository.tree(folder.name)
        chosen = choose(name, list(tree), _card(name, folder / CARD))
        repository.download(str(name), folder.name, {file: tree[file] for file in chosen.files})
    files = [(f"{name.repo}/{file}", str(folder / file)) for file in chosen.files]
    return {"name": replace(chosen.name, revision=folder.name).written, "files": files}


def fetch_model(name: str) -> dict[str, Any]:
    """Download the model ``name`` into the cache: its weights as safetensors, never pickles or code.

    Returns:
        ``name``; ``files``: its folder.

    Raises:
        DataError: why it cannot be had.
    """
    with _explained(name, name):
        repository = _Repository("model", name, None)
        folder = repository.snapshot(["config.json"])
        tree = repository.tree(folder.name)
        wanted = {file: size for file, size in tree.items() if any(fnmatch(file, pattern) for pattern in MODEL_FILES)}
        repository.download(name, folder.name, wanted)
    return {"name": name, "files": [(name, str(folder))]}


@contextmanager
def _explained(name: str, page: str) -> Iterator[None]:
    try:
        yield
    except MiddoError:
        raise
    except Exception as error:  # why() re-raises errors that it does not know
        raise DataError(f"{name}: {errors.why(error, f'{constants.ENDPOINT}/{page}')}") from error


class _Repository:
    """A repository of a hub, or what is in the cache of it when the hub cannot be reached.

    That is asked once: huggingface_hub would try for every file, again and again.

    Raises:
        HfHubHTTPError: the hub was reached and says no.
    """

    def __init__(self, kind: str, name: str, revision: str | None) -> None:
        self._kind, self._name, self._revision = kind, name, revision
        self._away: Exception | None = None
        try:
            HfApi().repo_info(name, repo_type=kind, revision=revision)
        except HfHubHTTPError as error:
            if error.response.status_code < 500:
                raise
            self._away = error
        except (errors.transport(), OfflineModeIsEnabled) as error:
            self._away = error

    def snapshot(self, patterns: list[str], commit: str | None = None, bar: type[tqdm] | None = None) -> Path:
        """The folder of the commit, with the files that fit ``patterns``."""
        try:
            found = snapshot_download(
                self._name,
                repo_type=self._kind,
                revision=commit or self._revision,
                allow_patterns=patterns,
                local_files_only=self._away is not None,
                tqdm_class=bar or _Silent,
            )
        except LocalEntryNotFoundError as error:
            raise error from self._away
        return Path(found)

    def tree(self, commit: str) -> dict[str, int]:
        """The names and sizes of all files of a commit."""
        try:
            found = get_cached_repo_tree(self._name, repo_type=self._kind, revision=commit)
        except CachedRepoTreeNotFoundError:
            listed = HfApi().list_repo_tree(self._name, repo_type=self._kind, revision=commit, recursive=True)
            found = [file for file in listed if isinstance(file, RepoFile)]
        return {file.path: file.size for file in found}

    def download(self, name: str, commit: str, sizes: Mapping[str, int]) -> None:
        """Download these files of a commit and report progress."""
        missing = sum(size for file, size in sizes.items() if not self._is_here(file, commit))
        if self._away is None:
            _require_room(name, missing)
        _Bytes.total = missing
        _tell(done=0, total=missing)
        self.snapshot([glob.escape(file) for file in sizes], commit, _Bytes)

    def _is_here(self, file: str, commit: str) -> bool:
        return isinstance(try_to_load_from_cache(self._name, file, repo_type=self._kind, revision=commit), str)


def _card(name: Name, path: Path) -> Mapping[str, Any]:
    """The header of the dataset's card."""
    import yaml
    from huggingface_hub import DatasetCard

    if not path.is_file():
        return {}
    try:
        found: dict[str, Any] = DatasetCard.load(path).data.to_dict()
    except (ValueError, TypeError, yaml.YAMLError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{name}: cannot read the header of its README.md: {reason}.") from None
    return found


def _require_room(name: str, wanted: int) -> None:
    cache = Path(constants.HF_HUB_CACHE)
    free = shutil.disk_usage(next(place for place in (cache, *cache.parents) if place.is_dir())).free
    if wanted > free:
        mib = 1 << 20
        raise DataError(
            f"{name}: needs {wanted / mib:,.0f} MiB of disk space, but only {free / mib:,.0f} MiB are free."
            f" {errors.room(cache)}"
        )


class _Silent(tqdm):
    """A progress bar that prints nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "disable": True})  # type: ignore[no-untyped-call]


class _Bytes(_Silent):
    """Counts downloaded bytes; ``total`` is 0 until it is known."""

    done = total = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._counts = kwargs.get("name") == "huggingface_hub.snapshot_download"
        super().__init__(*args, **kwargs)

    def update(self, n: float | None = 1) -> None:
        """Add ``n`` bytes."""
        if self._counts:
            _Bytes.done += int(n or 0)  # under huggingface_hub's lock
        super().update(n)


@contextmanager
def _telling() -> Iterator[None]:
    """Print the number of downloaded bytes at intervals, even if it does not change."""
    ended = Event()

    def tell() -> None:
        while not ended.wait(EVERY_S):
            _tell(done=_Bytes.done, total=_Bytes.total)

    teller = Thread(target=tell)
    teller.start()
    try:
        yield
    finally:
        ended.set()
        teller.join()


def _tell(**facts: Any) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def _stop(number: int, frame: object) -> None:
    """Exit at once, even while the network is silent. Partial files are removed."""
    for file in psutil.Process().open_files():
        if file.path.endswith(".incomplete"):
            Path(file.path).unlink(missing_ok=True)
    os._exit(128 + number)


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    sys.exit(main(sys.argv[1]))
