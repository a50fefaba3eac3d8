"""The process that fetches a dataset of a hub: ``python -m engine.hub.download NAME``. It writes JSON lines: how far
it is, at last what was found or why nothing was.

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
from engine.hub.layout import Chosen, Undecided, choose
from engine.hub.names import SCHEME, Name, parse

CARD = "README.md"
EVERY_S = 0.5


def main(text: str) -> int:
    """Fetch ``text``; 0 when it is here."""
    try:
        if (name := parse(text)) is None:
            raise DataError(f"{text}: a hub's dataset is written {SCHEME}owner/name.")
        _tell(found=fetch(name))
    except Undecided as error:
        _tell(kind="Undecided", text=str(error), choices=error.choices)
    except MiddoError as error:
        _tell(kind=type(error).__name__, text=str(error))
    else:
        return 0
    return 1


def fetch(name: Name) -> dict[str, Any]:
    """Have the files of ``name`` in the cache.

    Returns:
        ``name`` as it is written, with its commit; ``files``: pairs of a name for people and a path.

    Raises:
        DataError: why it cannot be had.
    """
    try:
        away = _unreachable(name)
        folder = Path(_snapshot(name, name.revision or None, [CARD], away))
        pinned = replace(name, revision=folder.name)
        tree = _tree(pinned)
        chosen = choose(name, list(tree), _card(name, folder / CARD))
        _download(name, pinned, chosen, tree, away)
    except MiddoError:
        raise
    except Exception as error:  # why() raises again what it does not know
        raise DataError(f"{name}: {errors.why(error, f'{constants.ENDPOINT}/datasets/{name.repo}')}") from error
    files = [(f"{name.repo}/{file}", str(folder / file)) for file in chosen.files]
    return {"name": replace(chosen.name, revision=pinned.revision).written, "files": files}


def _unreachable(name: Name) -> Exception | None:
    """Why the cache must do. Asked once: huggingface_hub would try for every file, again and again.

    Raises:
        HfHubHTTPError: the hub was reached and says no.
    """
    try:
        HfApi().dataset_info(name.repo, revision=name.revision or None)
    except HfHubHTTPError as error:
        if error.response.status_code < 500:
            raise
        return error
    except (errors.transport(), OfflineModeIsEnabled) as error:
        return error
    return None


def _snapshot(
    name: Name, revision: str | None, patterns: list[str], away: Exception | None, bar: type[tqdm] | None = None
) -> str:
    try:
        return snapshot_download(
            name.repo,
            repo_type="dataset",
            revision=revision,
            allow_patterns=patterns,
            local_files_only=away is not None,
            tqdm_class=bar or _Silent,
        )
    except LocalEntryNotFoundError as error:
        raise error from away


def _tree(pinned: Name) -> dict[str, int]:
    """The names and sizes of all files of a commit."""
    where: dict[str, Any] = {"repo_type": "dataset", "revision": pinned.revision}
    try:
        return {file.path: file.size for file in get_cached_repo_tree(pinned.repo, **where)}
    except CachedRepoTreeNotFoundError:
        found = HfApi().list_repo_tree(pinned.repo, recursive=True, **where)
        return {file.path: file.size for file in found if isinstance(file, RepoFile)}


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
        raise DataError(f"{name}: the header of its card (README.md) cannot be read: {reason}.") from None
    return found


def _download(wanted: Name, pinned: Name, chosen: Chosen, tree: Mapping[str, int], away: Exception | None) -> None:
    missing = sum(tree[file] for file in chosen.files if not _is_here(pinned, file))
    if away is None:
        _require_room(wanted, missing)
    with _telling(missing):
        _snapshot(pinned, pinned.revision, [glob.escape(file) for file in chosen.files], away, _Bytes)


def _is_here(pinned: Name, file: str) -> bool:
    return isinstance(try_to_load_from_cache(pinned.repo, file, repo_type="dataset", revision=pinned.revision), str)


def _require_room(name: Name, wanted: int) -> None:
    cache = Path(constants.HF_HUB_CACHE)
    free = shutil.disk_usage(next(place for place in (cache, *cache.parents) if place.is_dir())).free
    if wanted > free:
        mib = 1 << 20
        raise DataError(
            f"{name}: needs {wanted / mib:,.0f} MiB on the disk, where {free / mib:,.0f} MiB are free."
            f" {errors.room(cache)}"
        )


class _Silent(tqdm):
    """A bar that shows nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "disable": True})  # type: ignore[no-untyped-call]


class _Bytes(_Silent):
    """Counts the bytes that have come."""

    done = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._counts = kwargs.get("name") == "huggingface_hub.snapshot_download"
        super().__init__(*args, **kwargs)

    def update(self, n: float | None = 1) -> None:
        """So many more have come."""
        if self._counts:
            _Bytes.done += int(n or 0)  # under huggingface_hub's lock
        super().update(n)


@contextmanager
def _telling(total: int) -> Iterator[None]:
    """Tell how many of ``total`` bytes have come, now and then, also while none come."""
    ended = Event()

    def tell() -> None:
        while not ended.wait(EVERY_S):
            _tell(done=_Bytes.done, total=total)

    _Bytes.done = 0
    _tell(done=0, total=total)
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
    """End at once, also when no byte comes. What has come in part can be of no use to anybody: it is taken away."""
    for file in psutil.Process().open_files():
        if file.path.endswith(".incomplete"):
            Path(file.path).unlink(missing_ok=True)
    os._exit(128 + number)


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    sys.exit(main(sys.argv[1]))
