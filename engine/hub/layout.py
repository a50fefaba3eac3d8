"""Which files of a hub's repository are a dataset's split, told from their names and its card alone.

The rules are those of ``datasets``: the card's ``configs``, or what the names look like. They are asked about a file
system that holds nothing but the names, so the same answer comes with a network and without one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any
from uuid import uuid4

from engine.errors import DataError
from engine.formats.files import LINES, SUFFIXES, suffix_of
from engine.hub.names import SPLIT, Name, parse

KINDS = dict.fromkeys((".json", *LINES), "json") | {".csv": "csv", ".tsv": "csv", ".parquet": "parquet"}
CONVERTED = "refs/convert/parquet"
"""The branch with the Hub's Parquet version of a dataset, one folder per configuration."""

Configs = Mapping[str, Mapping[str, Any]]


class Undecided(DataError):
    """A configuration or a split must be chosen. ``choices``: the available ones, as they must be written."""

    def __init__(self, text: str, choices: tuple[str, ...] = ()) -> None:
        super().__init__(text)
        self.choices = choices


@dataclass(frozen=True, slots=True)
class ChosenSplit:
    """``name`` with its configuration and split; ``files``: their names in the repository, in order."""

    name: Name
    files: tuple[str, ...]


def choose(wanted: Name, names: Sequence[str], card: Mapping[str, Any]) -> ChosenSplit:
    """The files of what is ``wanted`` among all ``names`` of the repository. ``card``: the header of its README.md.

    Raises:
        Undecided: there are several configurations, or no such configuration or split.
        DataError: it has a loading script, no file that can be read, or a card that cannot be meant.
    """
    from datasets.data_files import EmptyDatasetError, sanitize_patterns

    script = f"{wanted.repo.partition('/')[2]}.py"
    if script in names:
        raise DataError(
            f"{wanted}: needs a loading script ({script}), and code from the Hub is never run."
            f" Try the Hub's Parquet version: {wanted.repo}@{CONVERTED}"
        )
    try:
        configs = _configs(wanted, names, card)
        config = _config(wanted, configs)
        with _names_only(names) as base:
            folder = f"{base}/{configs[config].get('data_dir') or ''}".rstrip("/")
            told = configs[config].get("data_files")
            patterns = _default(folder) if told is None else sanitize_patterns(told)
            chosen = replace(wanted, config=config if len(configs) > 1 or config != "default" else "")
            files = _files(_split(chosen, patterns), patterns, folder, base)
    except EmptyDatasetError:
        raise DataError(f"{wanted}: no data files ({_there(names)}).") from None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"{wanted}: invalid header in its README.md: {error}.") from None
    split = chosen.split or SPLIT
    if not (found := _of_one_kind(files)):
        raise DataError(
            f"{wanted}: split {split} has no readable file ({_there(files)}). Supported: {', '.join(SUFFIXES)}."
        )
    return ChosenSplit(replace(chosen, split=split), found)


def _configs(wanted: Name, names: Sequence[str], card: Mapping[str, Any]) -> Configs:
    from datasets.utils.metadata import MetadataConfigs

    # Column types in the card are not needed here.
    told = [{k: v for k, v in config.items() if k != "features"} for config in card.get("configs") or ()]
    if found := MetadataConfigs.from_dataset_card_data({"configs": told}):
        return dict(found)
    if wanted.revision == CONVERTED:
        return {name.partition("/")[0]: {"data_dir": name.partition("/")[0]} for name in names if "/" in name}
    return {"default": {}}


def _config(wanted: Name, configs: Configs) -> str:
    """The configuration that was named, the only one, or the default."""
    if wanted.config in configs:
        return wanted.config
    if not wanted.config:
        marked = [name for name, keys in configs.items() if name == "default" or keys.get("default") is True]
        if len(configs) == 1 or len(marked) == 1:
            return (marked or list(configs))[0]
    choices = _written([replace(wanted, config=name) for name in configs])
    what = f"no configuration {wanted.config}" if wanted.config else "several configurations"
    raise Undecided(f"{wanted}: {what}. Choose one: {_few(choices)}.", choices)


def _split(wanted: Name, patterns: Mapping[str, Sequence[str]]) -> str:
    split = wanted.split or SPLIT
    if split in patterns:
        return split
    choices = _written([replace(wanted, split=str(name)) for name in patterns])
    there = _few([str(name) for name in patterns])
    raise Undecided(f"{wanted}: no split {split}. Splits: {there}.", choices)


def _written(names: Sequence[Name]) -> tuple[str, ...]:
    """The names that can be written; a card may name a configuration arbitrarily."""
    return tuple(str(name) for name in names if parse(name.written) == name)


def _default(folder: str) -> Mapping[str, Sequence[str]]:
    from datasets.data_files import get_data_patterns

    found = get_data_patterns(folder)
    return {str(split): patterns for split, patterns in found.items()}


def _files(split: str, patterns: Mapping[str, Sequence[str]], folder: str, base: str) -> list[str]:
    """The file names that match the split's patterns. Paths outside the repository are an error."""
    from datasets.data_files import resolve_pattern

    found: dict[str, None] = {}
    missing = ""
    for pattern in patterns[split]:
        if pattern.startswith("/") or "://" in pattern or "::" in pattern or ".." in PurePosixPath(pattern).parts:
            raise ValueError(f"{pattern!r} points out of the repository")
        try:
            paths = resolve_pattern(pattern, folder)
        except FileNotFoundError:
            missing = pattern
            continue
        root = base.partition("://")[2].strip("/")
        found |= dict.fromkeys(path.partition("://")[2].lstrip("/").removeprefix(f"{root}/") for path in paths)
    if not found:
        raise ValueError(f"no file is called {missing!r}")
    return list(found)


def _of_one_kind(files: Sequence[str]) -> tuple[str, ...]:
    """The files of the most frequent readable type; Parquet wins ties."""
    kinds = {name: KINDS[suffix] for name in files if (suffix := suffix_of(PurePosixPath(name))) in KINDS}
    counts = Counter(kinds.values())
    best = max(counts, key=lambda kind: (counts[kind], kind == "parquet"), default="")
    return tuple(name for name, kind in kinds.items() if kind == best)


@contextmanager
def _names_only(names: Sequence[str]) -> Iterator[str]:
    """An in-memory folder of empty files. Names that are not plain relative paths are skipped."""
    from fsspec.implementations.memory import MemoryFileSystem

    memory, root = MemoryFileSystem(), f"/{uuid4().hex}"
    memory.makedirs(root)
    try:
        for name in names:
            if name.isprintable() and not name.startswith("/") and ".." not in PurePosixPath(name).parts:
                memory.pipe_file(f"{root}/{name}", b"")
        yield f"memory:/{root}"
    finally:
        memory.rm(root, recursive=True)


def _there(names: Sequence[str]) -> str:
    return _few([name if name.isprintable() else ascii(name) for name in names]) or "it is empty"


def _few(names: Sequence[str], most: int = 8) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
