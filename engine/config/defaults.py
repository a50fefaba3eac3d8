"""config.toml as text: the template with every knob, the presets, and values written as TOML."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path

import msgspec

from engine.errors import ConfigError

TEMPLATE = Path(__file__).parent / "default.toml"
PRESETS = Path(__file__).parent / "presets"


def presets() -> list[str]:
    """Names of the presets that ``init --preset`` takes."""
    return sorted(path.stem for path in PRESETS.glob("*.toml"))


def preset(name: str) -> dict[str, dict[str, object]]:
    """The settings of a preset, by section.

    Raises:
        ConfigError: there is none of that name; lists those that there are.
    """
    if name not in presets():
        raise ConfigError(f"--preset {name}: there is no such preset. There are: {', '.join(presets())}.")
    return tomllib.loads((PRESETS / f"{name}.toml").read_text(encoding="utf-8"))


def render(settings: Mapping[str, Mapping[str, object]]) -> str:
    """The template's text with ``settings`` (section → key → value) put in: comments and order stay.

    Raises:
        ConfigError: a setting that the template does not have.
    """
    owed = {(section, key) for section, keys in settings.items() for key in keys}
    section, out = "", []
    for line in TEMPLATE.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        key = line.partition(" = ")[0]
        if (section, key) in owed:
            owed.discard((section, key))
            line = f"{key} = {toml(settings[section][key])}"
        out.append(line)
    if owed:
        raise ConfigError("config.toml has no " + ", ".join(f"[{s}] {k}" for s, k in sorted(owed)))
    return "\n".join(out) + "\n"


def toml(value: object) -> str:
    """A Python value as TOML (strings as JSON strings, which TOML's basic strings are a superset of)."""
    if isinstance(value, msgspec.Struct):
        value = msgspec.to_builtins(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{toml(str(key))} = {toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(toml(v) for v in value)}]"
    if isinstance(value, str | bool):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # the only one that JSON leaves raw
    return str(value)
