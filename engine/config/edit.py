"""Sets single keys of a project's config.toml. Comments, order and everything else stay as a person wrote them.

The file is edited line by line and then parsed again. It replaces the old file only if it parses to the old values
plus the changes, and is valid.
"""

from __future__ import annotations

import os
import re
import shutil
import tomllib
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.config import defaults, renamed
from engine.config import schema as configs
from engine.errors import ConfigError
from engine.files import durable

Keys = tuple[str, ...]
HEADER = re.compile(r"\s*\[([^\[\]]+)\]\s*(?:#.*)?$")
LINE = re.compile(r"[^\n]*\n|[^\n]+")  # not str.splitlines: it also splits at characters that strings may hold
KEY = re.compile(r"\s*([\w-]+(?:\s*\.\s*[\w-]+)*)\s*=\s*")


def edit(project: Path, changes: Mapping[str, object]) -> None:
    """Set dotted keys, e.g. ``{"select.m_complexity": 0.8}``, all or none. Follows symbolic links.

    Raises:
        ConfigError: the file is missing, invalid or cannot be written; a key is unknown or its value is invalid; the
            file cannot be edited line by line (inline tables). The file is then unchanged.
    """
    path = (project / "config.toml").resolve()
    configs.load(project)
    with path.open(encoding="utf-8-sig", newline="") as stream:
        old = stream.read()
    new = edited(old, changes)
    configs.parse(new, str(project / "config.toml"))
    wanted = renamed.current(tomllib.loads(old))
    for name, value in changes.items():
        _put(wanted, tuple(name.split(".")), value)
    if renamed.current(tomllib.loads(new)) != wanted:
        raise ConfigError(
            f"{path}: {', '.join(changes)} cannot be set without changing other lines. Edit the file by hand."
        )
    if new != old:
        _replace(path, new)


def edited(text: str, changes: Mapping[str, object]) -> str:
    """``text`` with the keys set."""
    lines = LINE.findall(text)
    end = "\r\n" if lines and lines[0].endswith("\r\n") else "\n"
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += end
    for name, value in changes.items():
        keys = tuple(name.split("."))
        _set(lines, keys, defaults.toml(value), end)
    return "".join(lines)


# ----------------------------------------------------------------------------------------------------- lines


@dataclass(frozen=True, slots=True)
class _Statement:
    """Lines ``start`` to ``stop`` (exclusive): a table's header (``key`` is empty) or a key with its value."""

    start: int
    stop: int
    table: Keys
    key: Keys = ()

    @property
    def path(self) -> Keys:
        """The key's full name."""
        return self.table + self.key


def _statements(lines: list[str]) -> Iterator[_Statement]:
    """The file's headers and keys in order. Blank lines, comments and other syntax are skipped."""
    table: Keys = ()
    at = 0
    while at < len(lines):
        start, at = at, at + 1
        if header := HEADER.match(lines[start]):
            table = _names(header[1])
            yield _Statement(start, at, table)
        elif key := KEY.match(lines[start]):
            at = _end(lines, start)
            yield _Statement(start, at, table, _names(key[1]))


def _names(dotted: str) -> Keys:
    return tuple(name.strip().strip("\"'") for name in dotted.split("."))


def _end(lines: list[str], start: int) -> int:
    """The line after a statement, whose value may span several lines."""
    for stop in range(start + 1, len(lines) + 1):
        if _reads("".join(lines[start:stop])):
            return stop
    return start + 1


def _reads(text: str) -> bool:
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return False
    return True


def _set(lines: list[str], keys: Keys, value: str, end: str) -> None:
    """Set one key in ``lines``: replace its value, or insert it in its section."""
    found = list(_statements(lines))
    there = next((s for s in found if s.key and _current(s.path) == keys), None)
    if there is not None:
        line = "".join(lines[there.start : there.stop])
        if there.path != keys:
            line = line.replace(there.path[-1], keys[-1], 1)
        lines[there.start : there.stop] = [_changed(line, value)]
        return
    table, key = keys[:-1], keys[-1]
    if not table:
        lines.insert(0, f"{key} = {value}{end}")
    elif any(not s.key and s.table == table for s in found):
        lines.insert(_place(lines, found, table, key), f"{key} = {value}{end}")
    elif beside := [s for s in found if s.key and s.path[: len(table)] == table and len(s.table) < len(table)]:
        last = beside[-1]
        lines.insert(last.stop, f"{'.'.join(keys[len(last.table) :])} = {value}{end}")
    else:
        gap = [end] if lines and lines[-1].strip() else []
        lines += [*gap, f"[{'.'.join(table)}]{end}", f"{key} = {value}{end}"]


def _current(path: Keys) -> Keys:
    """The full name of a key, with its new name if it was renamed."""
    return (*path[:-1], renamed.RENAMED.get(".".join(path), path[-1]))


def _changed(statement: str, value: str) -> str:
    """The statement with another value; a comment behind the old one stays."""
    key = KEY.match(statement)
    head = key[0] if key else ""
    body = statement.rstrip("\r\n")
    for at in (i for i, char in enumerate(body) if char == "#" and i >= len(head)):
        if _reads(body[:at]):
            gap = body[:at][len(body[:at].rstrip()) :]
            return head + value + gap + body[at:] + statement[len(body) :]
    return head + value + statement[len(body) :]


def _place(lines: list[str], found: list[_Statement], table: Keys, key: str) -> int:
    """The index to insert a new key at: after its own commented-out line, else after the table's last key."""
    start = next(s for s in found if not s.key and s.table == table)
    stop = next((s.start for s in found if not s.key and s.start > start.start), len(lines))
    hidden = re.compile(rf"\s*#\s*{re.escape(key)}\s*=")
    inside = range(start.stop, stop)
    if (commented := next((i for i in inside if hidden.match(lines[i])), None)) is not None:
        return commented + 1
    return max(s.stop for s in found if start.start <= s.start < stop)


# --------------------------------------------------------------------------------------------------- the file


def _put(tables: dict[str, Any], keys: Keys, value: object) -> None:
    """Set a key in parsed tables, for comparison with the edited file."""
    *path, last = keys
    for name in path:
        tables = tables.setdefault(name, {})
    tables[last] = list(value) if isinstance(value, tuple) else deepcopy(value)


def _replace(path: Path, text: str) -> None:
    """Write a file atomically, keeping its permissions."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with new.open("w", encoding="utf-8", newline="") as stream:
            stream.write(text)
        shutil.copymode(path, new)
        durable.replace(new, path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot write: {error.strerror}. Check the permissions and the disk.") from None
    finally:
        new.unlink(missing_ok=True)
