"""Models as a person writes them, in the wizard and on the command line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from engine.errors import UsageError
from engine.models.locate import DEMO

ENDPOINT = ("http://", "https://")
HUB_NAME = re.compile(r"\A[\w-][\w.-]*/[\w.-]+")


def model_name(typed: str, option: str = "") -> str:
    """A model folder as an absolute path; a hub name, or an embedded model's, as it is.

    ``option``: the command line's option that an error names.

    Raises:
        UsageError: neither.
    """
    name = typed.strip()
    path = Path(name).expanduser()
    if name in DEMO:
        return name
    if name and path.is_dir():
        return str(path.resolve())
    if not HUB_NAME.fullmatch(name):
        why = "no such folder, and not a name on the Hugging Face Hub (owner/name)."
        raise UsageError(f"{option} {name or 'No model'}: {why}".strip())
    return name


def teacher(typed: str, option: str = "") -> dict[str, Any]:
    """[teacher] for a folder or a hub name, which ``vllm`` may follow, or for a server: ``URL MODEL [VARIABLE]``.

    Raises:
        UsageError: a server without a model, more words than there are meanings, or no model.
    """
    if not typed.startswith(ENDPOINT):
        name, _, last = typed.strip().rpartition(" ")
        if last == "vllm" and name:
            return {"backend": "vllm", "model": model_name(name, option)}
        return {"backend": "hf", "model": model_name(typed, option)}
    url, *words = typed.split()
    if not 1 <= len(words) <= 2:
        why = "write a server as URL MODEL, followed by the environment variable with its API key, if it needs one."
        raise UsageError(f"{option} {url}: {why}".strip())
    return {"backend": "openai", "url": url, "model": words[0], "key_env": words[1] if len(words) == 2 else ""}
