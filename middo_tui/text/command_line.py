"""The command line that does the same as what was just done by a key: for ``~``, and so for scripts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from shlex import quote
from typing import Any

WORDS: dict[str, str] = {
    "go": "run {at}",
    "begin_now": "run {at}",
    "pause": "pause {at}",
    "cancel": "cancel {at}",
    "undo": "undo {at}",
    "undo_review": "undo {at}",
    "step": "run {at} --until {1}",
    "decide": "review {at} --accept {1}",
}
"""Of the verbs of ``feed.control``, by name; ``{1}`` is the second argument behind the project."""


def equivalent(verb: Callable[[], Any]) -> str:
    """What to type in a shell to have ``verb`` done; empty where no command does the same."""
    if not isinstance(verb, partial) or not verb.args or not isinstance(verb.args[0], Path):
        return ""
    project, *rest = verb.args
    words = WORDS.get(verb.func.__name__, "") if verb.func.__module__.endswith("feed.control") else ""
    if verb.func.__name__ == "override_samples":
        words = " ".join([_override(rest[1]), *map(str, rest[2] if len(rest) > 2 else ())])
    if verb.func.__name__ == "export" and rest and hasattr(rest[0], "round"):
        words = f"export {{at}} OUT --round {rest[0].round} --format {rest[0].format}"
    return f"middo-tui {words.format(*map(str, rest), at=quote(str(project)))}" if words else ""


def _override(choice: str) -> str:
    action, _, axis = choice.partition(" ")
    return f"override {{at}} --{action}" + (f" {axis}" if axis else "")
