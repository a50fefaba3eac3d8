"""Parses a file's rows into conversations: picks each row's format, rejects bad rows, keeps extra columns."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.config.schema import Data
from engine.formats import media, row_formats, turns
from engine.formats.row_formats import Shape
from engine.formats.streams import Raw
from engine.formats.turns import Turns, Unusable
from engine.formats.values import filled, missing, text
from engine.store import json_text

LABELS = frozenset(
    ("label", "kto_tag", "kto_label", "is_good", "is_chosen", "is_preferred", "is_desirable", "desirable")
)
"""Columns that say whether an answer is good (KTO), in lower case, where all they hold is true and false."""
_GOOD, _BAD = {"good", "desirable", "chosen", "accepted"}, {"bad", "undesirable", "rejected"}
_UNHEEDED = frozenset({"weight", "loss_weight", "train", "is_train", "learn"})
"""Columns that may say a row is not to be learned. They are kept, and a person is told."""

_TALK = frozenset({"messages", "conversations", "prompt", "completion", "response", "chosen"})
"""Columns that may hold turns."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """A row as a conversation. ``extra``: its other columns as a JSON object, "" for none. ``lost``: fields of its
    turns that have no place in a conversation.
    """

    messages: Turns
    input_chars: int
    format: str
    extra: str
    lost: frozenset[str]


class Parser:
    """Parses a file's rows. If the format was detected, each row's own format is chosen by its filled columns."""

    def __init__(self, shape: Shape, head: Sequence[Mapping[str, Any]], data: Data) -> None:
        self.shape = shape
        self._any = data.format == "auto"
        self._columns = data.columns
        self._theirs = {name: ours for ours, name in data.columns.items()}
        known: dict[str, list[Any]] = {}
        for row in head:
            for name, value in row.items():
                if name.lower() in LABELS and filled(value):
                    known.setdefault(name, []).append(value)
        self._labels = {name: _tells(values) for name, values in known.items()}

    def parse(self, raw: Raw) -> Parsed:
        """The conversation of a row.

        Raises:
            Unusable: with the reason.
        """
        if raw.reason:
            raise Unusable(raw.reason)
        if not isinstance(raw.value, dict):
            raise Unusable("not an object with columns")
        if json_text.too_deep(raw.value):
            raise Unusable("nested too deeply")
        for name in self._labels_of(raw.value):
            if _good(value := raw.value.get(name)) is False:
                said = value if isinstance(value, str) and turns.truth(value) is None else "false"
                raise Unusable(f"{name} is {said}: a bad answer (KTO). Rename the column if it means something else")
        media.refuse_row(raw.value)
        row = row_formats.renamed(raw.value, self._columns)
        shape = row_formats.shape_for(self.shape, row) if self._any else self.shape
        messages, input_chars = row_formats.parse(shape, row)
        media.refuse_turns(messages, raw.value)
        lost = {field for name in shape.columns & _TALK for field in turns.unknown_fields(row.get(name))}
        return Parsed(messages, input_chars, shape.name, self._extra(raw.value, row, shape), frozenset(lost))

    def _labels_of(self, row: Mapping[str, Any]) -> list[str]:
        """The row's columns that say whether its answer is good. One that the first rows do not fill is known by the
        first value that it has, unless that is a number: ``label`` may then be a class.
        """
        for name, value in row.items():
            if name.lower() in LABELS and name not in self._labels and filled(value):
                number = not isinstance(value, bool) and str(value).strip() in ("0", "1")
                self._labels[name] = _tells([value]) and not (number and name.lower() == "label")
        return [name for name in row if self._labels.get(name)]

    def _extra(self, raw: Mapping[str, Any], row: Mapping[str, Any], shape: Shape) -> str:
        """The columns that are not part of the conversation, with the file's names and order."""
        used = shape.columns - shape.unused(row)
        out = {}
        for name, value in raw.items():
            ours = self._theirs.get(name, None if name in self._columns else name)
            if ours in used or (ours in row_formats.COLUMNS and not filled(value)):
                continue
            out[name] = _plain(value, name)
        return json.dumps(out, ensure_ascii=False) if out else ""


def _good(value: Any) -> bool | None:
    """Whether a label marks an answer as good; None if it is not such a label."""
    if isinstance(value, str) and (word := value.strip().lower()) in _GOOD | _BAD:
        return word in _GOOD
    return turns.truth(value)


def _tells(values: Sequence[Any]) -> bool:
    """Whether a column holds good/bad labels, and not e.g. classes from 0 to 9."""
    return all(_good(value) is not None for value in values)


def marks_not_learned(extra: Mapping[str, Any]) -> bool:
    """Whether a row's other columns seem to say that it is not to be learned."""
    return any(name.lower() in _UNHEEDED and turns.truth(value) is False for name, value in extra.items())


def _plain(value: Any, name: str) -> Any:
    """A value as JSON: times as ISO 8601, bytes in base64, NaN as null.

    Raises:
        Unusable: text that cannot be stored.
    """
    if isinstance(value, str):
        return text(value, name)
    if isinstance(value, dict):
        return {text(str(key), name): _plain(one, name) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one, name) for one in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if missing(value) or value in (float("inf"), float("-inf")):
        return None
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
