"""config.toml as text: the template with every setting, the presets, and Python values as TOML."""

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
        ConfigError: no such preset; lists the known ones.
    """
    if name not in presets():
        from difflib import get_close_matches

        near = get_close_matches(name.lower(), presets(), n=1)
        asked = f"Did you mean {near[0]}? " if near else ""
        raise ConfigError(f"--preset {name}: no such preset. {asked}Known presets: {', '.join(presets())}.")
    return tomllib.loads((PRESETS / f"{name}.toml").read_text(encoding="utf-8"))


def render(settings: Mapping[str, Mapping[str, object]]) -> str:
    """The template's text with ``settings`` (section → key → value) filled in; comments and order are kept.

    Raises:
        ConfigError: the template does not have a setting.
    """
    missing = {(section, key) for section, keys in settings.items() for key in keys}
    section, out = "", []
    for line in TEMPLATE.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        key = line.partition(" = ")[0]
        if (section, key) in missing:
            missing.discard((section, key))
            line = f"{key} = {toml(settings[section][key])}"
        out.append(line)
    if missing:
        raise ConfigError("config.toml has no " + ", ".join(f"[{s}] {k}" for s, k in sorted(missing)))
    return "\n".join(out) + "\n"


def toml(value: object) -> str:
    """A Python value as TOML. Strings are written as JSON strings, which are valid TOML basic strings."""
    if isinstance(value, msgspec.Struct):
        value = msgspec.to_builtins(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{toml(str(key))} = {toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(toml(v) for v in value)}]"
    if isinstance(value, str | bool):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # JSON does not escape it, TOML must
    return str(value)


def shown(value: object) -> str:
    """The same for a person to read: numbers, also inside tables and lists, with the 15 digits that a computed 0.4 has
    for certain.
    """
    return toml(rounded(value))


def rounded(value: object) -> object:
    """A value with every number in it as ``shown``."""
    if isinstance(value, msgspec.Struct):
        value = msgspec.to_builtins(value)
    if isinstance(value, Mapping):
        return {name: rounded(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(one) for one in value]
    return float(f"{value:.15g}") if isinstance(value, float) else value
