"""The chat template that [model] chat_template names: a built-in one or a file. Light, because the app imports it."""

from __future__ import annotations

import hashlib
from pathlib import Path

from engine.errors import ConfigError

TEMPLATE_FOLDER = Path(__file__).parents[1] / "chat" / "templates"
TEMPLATES = ("alpaca", "chatml", "llama3", "mistral")
"""Built-in chat templates, for base models that come without one."""


def place(name: str, project: Path) -> str:
    """``name`` independent of the current folder: a file's path is resolved against ``project``."""
    return name if not name or name in TEMPLATES else str(project.absolute() / Path(name).expanduser())


def template_text(name: str) -> str:
    """The Jinja text of a built-in chat template, or of the file ``name``.

    Raises:
        ConfigError: ``name`` is neither.
    """
    path = TEMPLATE_FOLDER / f"{name}.jinja" if name in TEMPLATES else Path(name).expanduser()
    try:
        return path.read_text(encoding="utf-8").rstrip("\n")
    except (OSError, UnicodeDecodeError) as error:
        known = ", ".join(TEMPLATES)
        raise ConfigError(f"config.toml: [model] chat_template = {name!r}: {error}. Name a file, or {known}.") from None


def content_key(name: str) -> str:
    """A key that changes with the template's text; ``name`` itself if there is no text to read."""
    if not name:
        return ""
    try:
        return hashlib.blake2b(template_text(name).encode(), digest_size=8).hexdigest()
    except ConfigError:
        return name
