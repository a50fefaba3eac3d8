"""Rows with images, audio or video, which are quarantined: only text is supported."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from engine.formats.values import Unusable, filled
from engine.store.rows import Message

_WORDS = (
    "image",
    "images",
    "img",
    "imgs",
    "picture",
    "pictures",
    "photo",
    "photos",
    "audio",
    "audios",
    "video",
    "videos",
)
_ENDS = ("path", "paths", "url", "urls", "file", "files", "bytes", "base64", "b64", "data")
COLUMNS = frozenset(
    [
        *_WORDS,
        *(f"{word}_{end}" for word in _WORDS for end in _ENDS),
        "pixel_values",
    ]
)
"""Columns that hold such, in lower case. Those of ``datasets`` have any name: their values tell."""
_MODELS = r"<\|(?:image_pad|image|video_pad|audio_bos|AUDIO|audio|vision_start)\|>|<IMG_CONTEXT>"
_HOLDERS = re.compile(rf"<(?:image|images|audio|video|image_\d+)>|{_MODELS}", re.IGNORECASE)
_ALONE = re.compile(
    rf"(?:\A|\n)(?:<(?:image|audio|video)>|{_MODELS})+(?:\n|\Z)|\A(?:<image>|<image_\d+>|{_MODELS})|<image>\Z"
    r"|<img>[^<>\s]{1,500}</img>|<img><IMG_CONTEXT>",
    re.IGNORECASE,
)
_ONLY = re.compile(rf"(?:<(?:image|images|audio|video)>|{_MODELS})", re.IGNORECASE)
_BEGINNINGS = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"BM", b"ID3", b"OggS", b"fLaC")


def refuse_row(row: Mapping[str, Any]) -> None:
    """Raise Unusable if a column holds an image, audio or video."""
    for name, value in row.items():
        if (name.lower() in COLUMNS and _something(value)) or _is_file(value):
            raise Unusable(f"has an image, audio or video in {name}; only text is supported")


def _something(value: Any) -> bool:
    """Whether a media column has content: neither a number nor an empty list."""
    if isinstance(value, list):
        return any(filled(one) for one in value)
    if isinstance(value, str) and value.strip() in ("{}", "[]", "[null]", "null"):
        return False  # nothing, as a table's JSON text
    return filled(value) and not isinstance(value, (bool, int, float))


def _is_file(value: Any) -> bool:
    """Whether a value is a media file: ``datasets`` stores bytes and path, others only bytes."""
    if isinstance(value, bytes):
        return value.startswith(_BEGINNINGS)
    if isinstance(value, list):
        return any(_is_file(one) for one in value[:1])
    return isinstance(value, dict) and ({*value} == {"bytes", "path"} or {*value} >= {"array", "sampling_rate"})


def refuse_turns(turns: tuple[Message, ...], row: Mapping[str, Any]) -> None:
    """Raises Unusable when a turn has a placeholder of an image: anywhere in it if the row has such a column (be it
    empty), else on a line of its own or at an end, as no text about HTML has it. An answer may talk of one, but not
    be one.
    """
    if not any("<" in turn.content for turn in turns):
        return  # every placeholder has one
    pattern = _HOLDERS if any(name.lower() in COLUMNS for name in row) else _ALONE
    for turn in turns:
        if turn.role == "assistant":
            found = _ONLY.fullmatch(turn.content.strip())
        else:
            found = pattern.search(turn.content.strip())
        if found:
            raise Unusable(
                f"has a placeholder of an image, audio or video, {found.group().strip()}; only text is supported"
            )
