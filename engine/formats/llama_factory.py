"""The entry of ``dataset_info.json`` by which LLaMA-Factory finds a file and knows its columns (its data/README.md)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from engine.errors import DataError, UsageError

INFO = "dataset_info.json"
READABLE = (".json", ".jsonl")
"""The endings that LLaMA-Factory takes for JSON: it reads nothing compressed."""

# LLaMA-Factory ignores tags that are missing from ``tags``, so all are listed.
_TAGS = {
    "role_tag": "role",
    "content_tag": "content",
    "user_tag": "user",
    "assistant_tag": "assistant",
    "observation_tag": "tool",
    "function_tag": "function_call",
    "system_tag": "system",
}


def check(out: Path) -> None:
    """That ``out`` can be added to the ``dataset_info.json`` beside it.

    Raises:
        UsageError: ``out`` is itself called so.
        DataError: what is there is no JSON object: it is not ours to repair.
    """
    if out.name == INFO:
        raise UsageError(f"{out}: LLaMA-Factory reserves this name for its list of datasets. Choose another file name.")
    if out.suffix in READABLE:
        _known(out.parent / INFO)


class Entry:
    """The entry for the file ``out``, whose rows it sees go by."""

    def __init__(self, out: Path, format: str) -> None:
        self._out, self._format = out, format
        self._there: set[str] = set()
        self._acts = False

    def seen(self, row: dict[str, Any]) -> dict[str, Any]:
        """A row that is written; returns it."""
        self._there |= row.keys()
        if not self._acts and self._format == "messages":
            self._acts = any(turn["role"] == "tool" or "tool_calls" in turn for turn in row["messages"])
        return row

    def merged(self) -> str | None:
        """The text of the ``dataset_info.json`` beside the file: what is there and this file's entry, by the file's
        name without its ending, or by its whole name where another file has that. None when LLaMA-Factory cannot read
        it.

        Raises:
            DataError: what is there is no JSON object.
        """
        out = self._out
        if out.suffix not in READABLE:
            return None
        known = _known(out.parent / INFO)
        name = next((n for n in (out.stem, out.name) if _same(known.get(n), out.name)), out.name)
        kept = {k: value for k, value in known.get(name, {}).items() if k not in ("formatting", "columns", "tags")}
        known[name] = kept | self._made()
        return json.dumps(known, ensure_ascii=False, indent=2) + "\n"

    def _made(self) -> dict[str, Any]:
        file, there = self._out.name, self._there
        tools = {"tools": "tools"} if "tools" in there else {}
        if self._format == "alpaca":
            columns = {"prompt": "instruction", "query": "input", "response": "output"}
            columns |= {column: column for column in ("system", "history") if column in there}
            return {"file_name": file, "columns": columns}
        if self._format == "sharegpt":
            return {"file_name": file, "formatting": "sharegpt", "columns": {"messages": "conversations"} | tools}
        # Only its newer "openai" reads tool_calls and several results in a row; "sharegpt" is known to all versions.
        formatting = "openai" if self._acts else "sharegpt"
        return {"file_name": file, "formatting": formatting, "columns": {"messages": "messages"} | tools, "tags": _TAGS}


def _known(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        known = None
    if not isinstance(known, dict):
        raise DataError(f"{path}: not a JSON object, so this dataset cannot be added to it. Move it away.")
    return known


def _same(there: Any, file: str) -> bool:
    """Whether an entry does not exist, or is this file's."""
    return there is None or (isinstance(there, dict) and there.get("file_name") == file)
