"""Images, audio and video in a row: only text can be learned, so such a row is refused."""

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
COLUMNS = frozenset(
    [
        *_WORDS,
        *(f"{word}_{end}" for word in _WORDS for end in ("path", "paths", "url", "urls", "file", "files", "bytes")),
    ]
)
"""Columns that hold such, in lower case. Those of ``datasets`` have any name: their values tell."""
_HOLDERS = re.compile(r"<(image|images|audio|video)>|<\|(image_pad|image|video_pad|audio|vision_start)\|>")
_ALONE = re.compile(r"(\A|\n)(<(image|audio|video)>|<\|(image_pad|image|video_pad|vision_start)\|>)+(\n|\Z)")


def refuse_row(row: Mapping[str, Any]) -> None:
    """Raises Unusable when a column holds an image, a sound or a film."""
    for name, value in row.items():
        if (name.lower() in COLUMNS and filled(value) and not isinstance(value, (bool, int, float))) or _is_file(value):
            raise Unusable(f"has an image, audio or video in {name}: only text can be learned")


def _is_file(value: Any) -> bool:
    """``datasets`` keeps an image or a sound as its bytes and path."""
    if isinstance(value, list):
        return any(_is_file(one) for one in value[:1])
    return isinstance(value, dict) and ({*value} == {"bytes", "path"} or {*value} >= {"array", "sampling_rate"})


def refuse_turns(turns: tuple[Message, ...], row: Mapping[str, Any]) -> None:
    """Raises Unusable when a turn has a placeholder of an image: anywhere in it if the row has such a column (be it
    empty), else on a line of its own, as no text about HTML has it.
    """
    pattern = _HOLDERS if any(name.lower() in COLUMNS for name in row) else _ALONE
    for turn in turns:
        if turn.role in ("user", "system", "tool") and (found := pattern.search(turn.content)):
            raise Unusable(
                f"has a placeholder of an image, audio or video, {found.group().strip()}: only text can be learned"
            )
