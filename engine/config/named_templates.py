"""The chat template that [model] chat_template names: one of ours, or a file. Light: the app asks too."""

from __future__ import annotations

import hashlib
from pathlib import Path

from engine.errors import ConfigError

TEMPLATE_FOLDER = Path(__file__).parents[1] / "chat" / "templates"
TEMPLATES = ("alpaca", "chatml", "llama3", "mistral")
"""Chat templates for base models, which come without one."""


def place(name: str, project: Path) -> str:
    """``name`` as it means the same from everywhere: a file is looked for from the project's folder."""
    return name if not name or name in TEMPLATES else str(project.absolute() / Path(name).expanduser())


def template_text(name: str) -> str:
    """The Jinja text of one of our chat templates, or of the file ``name``.

    Raises:
        ConfigError: there is neither.
    """
    path = TEMPLATE_FOLDER / f"{name}.jinja" if name in TEMPLATES else Path(name).expanduser()
    try:
        return path.read_text(encoding="utf-8").rstrip("\n")
    except (OSError, UnicodeDecodeError) as error:
        known = ", ".join(TEMPLATES)
        raise ConfigError(f"config.toml: [model] chat_template = {name!r}: {error}. Name a file, or {known}.") from None


def content_key(name: str) -> str:
    """What changes when the template's text does; ``name`` itself when there is none to read."""
    if not name:
        return ""
    try:
        return hashlib.blake2b(template_text(name).encode(), digest_size=8).hexdigest()
    except ConfigError:
        return name
