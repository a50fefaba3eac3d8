"""Error messages for an invalid config.toml: the key, its valid values, and a suggestion."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

MOVED = {"price_per_million": 'replaced by prices per model: [teacher] prices = {"MODEL" = {input = …, output = …}}'}
LARGEST = 2**63 - 1  # TOML's largest integer
UNKNOWN = "unknown field"


def explain(message: str, whole: type[msgspec.Struct]) -> str:
    """One of msgspec's messages about ``whole`` as a sentence that begins with ``[section] key``.

    ``Expected `float` > 0.0 - at `$.train.epochs``` becomes ``[train] epochs: must be a number above 0.``
    """
    text, _, path = message.partition(" - at `$")
    keys = [key for key in path.rstrip("`").lstrip(".").split(".") if key]
    if UNKNOWN in text:
        return _unknown(keys, text.split("`")[1], whole)
    wanted = _type_at(keys, whole)
    if text.startswith(("Expected", "Invalid enum")) and wanted is not None:
        text = f"must be {kind(_item(wanted) if keys and keys[-1].endswith(']') else wanted)}"
    return f"{place(keys)}: {text}." if keys else f"{text}."


def place(keys: list[str]) -> str:
    """``[train] epochs`` for ``["train", "epochs"]``."""
    return f"[{keys[0]}] {'.'.join(keys[1:])}".rstrip()


def unusable_number(tables: Mapping[str, Any]) -> str | None:
    """An error for the first number that no setting accepts: ``nan``, ``inf``, or one of more than 64 bits; or None."""
    for key, value in _leaves(tables, ""):
        if isinstance(value, float) and not math.isfinite(value):
            return f"{place(key.split('.'))}: {value} is not a valid number."
        if isinstance(value, int) and not -LARGEST <= value <= LARGEST:
            return f"{place(key.split('.'))}: {value} is too large."
    return None


def _leaves(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _leaves(item, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item, key)
    else:
        yield key, value


def _unknown(keys: list[str], name: str, whole: type[msgspec.Struct]) -> str:
    """The error for an unknown key or section, with the closest known name."""
    where = place([*keys, name]) if keys else name
    if name in MOVED:
        return f"{where}: {MOVED[name]}."
    from difflib import get_close_matches

    near = get_close_matches(name.lower(), getattr(_type_at(keys, whole), "__struct_fields__", ()), 1)
    homes = [s for s, t in get_type_hints(whole).items() if name in getattr(t, "__struct_fields__", ())]
    meant = [place([*keys, key]) if keys else f"[{key}]" for key in near]
    meant = meant or [place([section, name]) for section in homes]
    asked = f" Did you mean {' or '.join(meant)}?" if meant else ""
    return f"{where}: no such {'key' if keys else 'section'}.{asked}"


def _type_at(keys: list[str], whole: Any) -> Any:
    """The annotation of the setting at a path; for an item of a list or table, that of the list or table."""
    found: Any = whole
    for key in keys:
        if not (isinstance(found, type) and issubclass(found, msgspec.Struct)):
            break
        found = get_type_hints(found, include_extras=True).get(key.partition("[")[0])
    return found


def _item(wanted: Any) -> Any:
    """Of a list whose items have a description of their own, the item; else the setting itself."""
    parts = get_args(wanted)
    return parts[0] if get_origin(wanted) is tuple and get_origin(parts[0]) is Annotated else wanted


def kind(wanted: Any) -> str:
    """A setting's annotation in words: ``an integer of at least 1``, ``one of "lora", "qlora", "full"``."""
    origin, parts = get_origin(wanted), get_args(wanted)
    if origin is Annotated:
        limits = next(part for part in parts if isinstance(part, msgspec.Meta))
        return limits.description or kind(parts[0]) + _limits(limits)
    if origin is Literal:
        return "one of " * (len(parts) > 1) + ", ".join(f'"{part}"' for part in parts)
    if origin in (Union, UnionType):
        return " or ".join(kind(part) for part in parts)
    if origin is tuple:
        items = parts[0]
        return "a list" + (f" of {kind(items).removeprefix('one of ')}" if get_origin(items) is Literal else ' ["…"]')
    if origin is dict:
        return f"a table {{NAME = …}} with {kind(parts[1])} for each"
    if isinstance(wanted, type) and issubclass(wanted, msgspec.Struct):
        return "a table with " + ", ".join(wanted.__struct_fields__)
    return {bool: "true or false", int: "an integer", float: "a number", str: "a string"}[wanted]


def _limits(limits: msgspec.Meta) -> str:
    low, high = (limits.ge, limits.le)
    if limits.gt is not None:
        return f" above {limits.gt:g}" + ("" if high is None else f" and at most {high:g}")
    if low is not None and high is not None:
        return f" from {low:.15g} to {high:.15g}"
    return "" if low is None else f" of at least {low:g}"
