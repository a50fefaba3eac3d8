"""Looking at a dataset file before anything is made of it: its columns, its format, the first rows as they will be
read, and a count of the whole that can be followed and given up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from engine.config.schema import Data
from engine.errors import ConfigError, DataError
from engine.formats import files, hints
from engine.formats.parsing import Parser
from engine.formats.reading import LOOK_AHEAD, Reject, check_parts, open_source, shape_of, shown
from engine.formats.source import Source, source_of
from engine.formats.turns import Turns, Unusable

REASONS = 5


@dataclass(frozen=True, slots=True)
class FilePreview:
    """The first rows of a file. ``format`` is empty when it cannot be told, and then ``problem`` says what is missing.

    ``columns`` are the file's own names. ``rows``: conversations and what cannot be used, in the file's order.
    ``guess``: where the format cannot be told, which column is probably which part (ours -> theirs).
    """

    columns: tuple[str, ...]
    format: str
    rows: tuple[Turns | Reject, ...]
    problem: str = ""
    guess: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class UsableCount:
    """``usable`` of ``rows``; ``reasons``: the most frequent reasons of the others as (reason, count, first row).

    ``ended``: the whole file has been read.
    """

    rows: int = 0
    usable: int = 0
    reasons: tuple[tuple[str, int, int], ...] = ()
    ended: bool = False


def preview(found: Path | Source, data: Data, most: int = 20) -> FilePreview:
    """The first ``most`` rows, as ``data`` says they are read.

    Raises:
        DataError: the file cannot be read at all.
    """
    source = source_of(found)
    head = list(islice(files.named_rows(source, data.encoding), LOOK_AHEAD))
    if not head:
        raise DataError(f"{source.name}: no rows.")
    objects = [raw.value for _, raw in head if raw.reason is None and isinstance(raw.value, dict)]
    columns = tuple(dict.fromkeys(name for row in objects for name in row))
    try:
        check_parts(data)
        shape = shape_of(source.name, head, data)
    except (DataError, ConfigError) as error:
        if not columns:
            raise
        return FilePreview(columns, "", (), str(error), hints.guess(columns, objects, None))
    parser = Parser(shape, objects, data)
    rows: list[Turns | Reject] = []
    for file, raw in head[:most]:
        try:
            rows.append(parser.parse(raw).messages)
        except Unusable as reason:
            rows.append(Reject(file, raw.row, str(reason), shown(raw.value)))
    return FilePreview(columns, shape.name, tuple(rows))


def count_usable(found: Path | Source, data: Data, every: int = 2000) -> Iterator[UsableCount]:
    """How many rows can be used: again and again while reading, at last for the whole file.

    Raises:
        DataError: the file cannot be read to its end.
        ConfigError: [data] columns names a part that there is not.
    """
    opened = open_source(source_of(found), data)
    count = usable = 0
    reasons: Counter[str] = Counter()
    first: dict[str, int] = {}
    for _, raw in opened.rows:
        count += 1
        try:
            opened.parser.parse(raw)
            usable += 1
        except Unusable as reason:
            reasons[str(reason)] += 1
            first.setdefault(str(reason), raw.row)
        if count % every == 0:
            yield UsableCount(count, usable, _common(reasons, first))
    yield UsableCount(count, usable, _common(reasons, first), ended=True)


def _common(reasons: Counter[str], first: dict[str, int]) -> tuple[tuple[str, int, int], ...]:
    return tuple((reason, n, first[reason]) for reason, n in reasons.most_common(REASONS))
