"""What a person set for themselves, for all projects: theme, mouse, keys.

``$XDG_CONFIG_HOME/middo-tui/`` (``~/.config/middo-tui/`` without it) may hold ``config.toml`` with ``[app] theme``,
``mouse`` and ``bell``, and ``keys.toml`` with ``[keys]``. What cannot be used there is said once and left aside: a
typing error in a settings file must not keep anybody from looking at a run.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from msgspec import Struct, field

from engine.config import toml_text
from engine.errors import ConfigError
from middo_tui.look.theme import DEFAULT, PALETTES, SIXTEEN

FOLDER = "middo-tui"
KNOWN = ("theme", "mouse", "bell")
DEEP = ("256color", "direct", "truecolor", "kitty")
"""Ends of a TERM that has more than 16 colours, as Rich tells them."""


class Preferences(Struct, frozen=True):
    """``bell``: also a desktop notification. ``keys``: by id (``review.accept``) what replaces the usual keys.
    ``warnings``: what could not be used.
    """

    theme: str = DEFAULT
    mouse: bool = True
    bell: bool = True
    keys: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Where the files are. XDG says that a relative XDG_CONFIG_HOME does not count."""
    home = environ.get("XDG_CONFIG_HOME", "")
    return (Path(home) if home.startswith("/") else Path("~/.config").expanduser()) / FOLDER


def load(environ: Mapping[str, str] = os.environ, mouse: bool = True) -> Preferences:
    """The person's files, MIDDO_THEME before them, and a theme that the terminal can show where none is named.

    ``mouse``: whether this call wants one at all.
    """
    warnings: list[str] = []
    place = folder(environ) / "config.toml"
    app = _table(place, "app", warnings)
    for name in app.keys() - set(KNOWN):
        warnings.append(f"{place}: unknown key {name!r} in [app]. Known keys: {', '.join(KNOWN)}.")
    theme = _theme(environ.get("MIDDO_THEME", ""), "MIDDO_THEME", warnings)
    theme = theme or _theme(app.get("theme", ""), f"{place}: [app] theme", warnings)
    mouse = _switch(app, "mouse", place, warnings) and mouse
    bell = _switch(app, "bell", place, warnings)
    keys = _keys(folder(environ) / "keys.toml", warnings)
    return Preferences(theme or fitting(environ), mouse, bell, keys, tuple(warnings))


def _switch(app: Mapping[str, Any], name: str, place: Path, warnings: list[str]) -> bool:
    """A setting that is on unless the file says otherwise."""
    wanted = app.get(name, True)
    if isinstance(wanted, bool):
        return wanted
    warnings.append(f"{place}: [app] {name} must be true or false, not {wanted!r}.")
    return True


def fitting(environ: Mapping[str, str]) -> str:
    """The default theme for this terminal: with 16 colours only, the terminal's own."""
    if environ.get("COLORTERM", "").strip().lower() in ("truecolor", "24bit"):
        return DEFAULT
    return DEFAULT if environ.get("TERM", "").strip().lower().endswith(DEEP) else SIXTEEN


def remember_theme(name: str, environ: Mapping[str, str] = os.environ) -> Path:
    """Write ``[app] theme`` into the person's config.toml; everything else in it stays. Returns the file.

    Raises:
        ConfigError: the file is not one that this can be written into, or cannot be written.
    """
    place = folder(environ) / "config.toml"
    lasts = "The theme lasts until you quit."
    try:
        old = place.read_text(encoding="utf-8-sig") if place.exists() else ""
        text = _with_theme(old, name)
        if not isinstance(toml_text.parsed(old).get("app", {}), dict):
            raise ConfigError(f"{place}: app must be a table. Start it with the line [app]. {lasts}")
        if not _has_theme(text, name):
            raise ConfigError(f'{place}: could not set [app] theme. Edit the file and write theme = "{name}".')
        place.parent.mkdir(parents=True, exist_ok=True)
        fresh = place.with_suffix(".toml.new")
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(place)
    except toml_text.NotToml as error:
        raise ConfigError(f"{place}: {error} {lasts}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{place}: not UTF-8 (byte {error.start}). Save it as UTF-8. {lasts}") from None
    except OSError as error:
        raise ConfigError(f"{place}: {error.strerror}. {lasts}") from None
    return place


def _has_theme(text: str, name: str) -> bool:
    """Whether a file that was edited line by line says so."""
    try:
        return bool(toml_text.parsed(text)["app"]["theme"] == name)
    except toml_text.NotToml:
        return False


def _with_theme(old: str, name: str) -> str:
    """``old`` with the line ``theme = "name"`` under ``[app]``, in place of the one there was."""
    said = f'theme = "{name}"'
    lines = old.splitlines()
    section, head = "", None
    for at, line in enumerate(lines):
        bare = line.strip()
        if bare.startswith("["):
            section = bare.partition("]")[0].strip("[] ")
            head = at if section == "app" else head
        elif section == "app" and bare.partition("=")[0].strip() == "theme":
            lines[at] = said
            return "\n".join(lines) + "\n"
    if head is None:
        return "\n".join([*lines, *([""] if lines else []), "[app]", said]) + "\n"
    return "\n".join([*lines[: head + 1], said, *lines[head + 1 :]]) + "\n"


def _table(place: Path, name: str, warnings: list[str]) -> dict[str, Any]:
    """The table ``name`` of a file that need not be there."""
    try:
        whole = toml_text.parsed(place.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except toml_text.NotToml as error:
        warnings.append(f"{place}: {error} The file is ignored.")
        return {}
    except UnicodeDecodeError as error:
        warnings.append(f"{place}: not UTF-8 (byte {error.start}). Save it as UTF-8. The file is ignored.")
        return {}
    except OSError as error:
        warnings.append(f"{place}: {error.strerror}. The file is ignored.")
        return {}
    for other in whole.keys() - {name}:
        warnings.append(f"{place}: unknown table {other!r}. The only table is [{name}].")
    found = whole.get(name, {})
    if not isinstance(found, dict):
        warnings.append(f"{place}: {name} must be a table. Start it with the line [{name}].")
        return {}
    return found


def _theme(name: Any, where: str, warnings: list[str]) -> str:
    """``name`` if it is a theme, also without ``middo-``; else nothing, and a warning when something was named."""
    for known in (name, f"middo-{name}"):
        if isinstance(known, str) and known in PALETTES:
            return known
    if name:
        near = get_close_matches(str(name), PALETTES, n=1)
        meant = f" Did you mean {near[0]}?" if near else ""
        warnings.append(f"{where}: unknown theme {name!r}.{meant} Themes: {', '.join(PALETTES)}.")
    return ""


def _keys(place: Path, warnings: list[str]) -> dict[str, tuple[str, ...]]:
    """``[keys]``: by id a key or a list of keys. Whether the ids exist is for ``keymap`` to say."""
    found: dict[str, tuple[str, ...]] = {}
    for id, value in _flat(_table(place, "keys", warnings)):
        several = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else ()
        if several and all(isinstance(key, str) and key for key in several):
            found[id] = several
        else:
            warnings.append(f'{place}: "{id}" must be a key or a list of keys, for example "{id}" = "x".')
    return found


def _flat(table: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Ids and values; ``review.accept`` without quotes is a table in TOML, and means the same."""
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield before + name, value
