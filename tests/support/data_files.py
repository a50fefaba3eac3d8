"""Files of rows to be read, and what comes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from engine import formats
from engine.config.schema import Data
from engine.formats import Imported
from engine.store.rows import Message

GOOD = {"instruction": "Add them.", "input": "1 2", "output": "3"}
ADD = (Message("user", "Add them.\n1 2"), Message("assistant", "3"))
TURN = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]
HI = (Message("user", "Hi"), Message("assistant", "Hello"))
CALLS = [{"id": "a1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]


def put(folder: Path, rows: Any, name: str = "data.json") -> Path:
    """A file of these rows."""
    path = folder / name
    if name.endswith("l"):
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        path.write_text(json.dumps(rows), encoding="utf-8")
    return path


def read(path: Path, **settings: Any) -> Imported:
    """What comes of reading a file with these settings."""
    return formats.read(path, Data(**settings))


def reasons(found: Imported) -> list[tuple[int, str]]:
    """The rows that could not be used, with why."""
    return [(r.row, r.reason) for r in found.rejects]
