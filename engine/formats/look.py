"""Looking at a dataset file before anything is made of it: its columns, its format, the first rows as they will be
read, and a count of the whole that can be followed and given up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

from engine.config import Data
from engine.errors import ConfigError, DataError
from engine.formats import files, shapes
from engine.formats.reading import LOOK_AHEAD, Reject, check_parts, row_of, shape_of, shown
from engine.formats.source import Source, source_of
from engine.formats.turns import Turns, Unusable

REASONS = 5


@dataclass(frozen=True, slots=True)
class Look:
    """The first rows of a file. ``format`` is empty when it cannot be told, and then ``problem`` says what is missing.

    ``columns`` are the file's own names. ``rows``: conversations and what cannot be used, in the file's order.
    """

    columns: tuple[str, ...]
    format: str
    rows: tuple[Turns | Reject, ...]
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Tally:
    """``usable`` of ``rows``; ``reasons``: the most frequent reasons of the others as (reason, count, first row).

    ``ended``: the whole file has been read.
    """

    rows: int = 0
    usable: int = 0
    reasons: tuple[tuple[str, int, int], ...] = ()
    ended: bool = False


def look(found: Path | Source, data: Data, most: int = 20) -> Look:
    """The first ``most`` rows, as ``data`` says they are read.

    Raises:
        DataError: the file cannot be read at all.
    """
    source = source_of(found)
    head = list(islice(files.named_rows(source), LOOK_AHEAD))
    if not head:
        raise DataError(f"{source.name}: there are no rows in it.")
    columns = tuple(dict.fromkeys(name for _, raw in head if isinstance(raw.value, dict) for name in raw.value))
    try:
        check_parts(data)
        shape = shape_of(source.name, head, data)
    except (DataError, ConfigError) as error:
        if not columns:
            raise
        return Look(columns, "", (), str(error))
    rows: list[Turns | Reject] = []
    for file, raw in head[:most]:
        try:
            rows.append(shapes.parse(shape, row_of(raw, data.columns))[0])
        except Unusable as reason:
            rows.append(Reject(file, raw.row, str(reason), shown(raw.value)))
    return Look(columns, shape.name, tuple(rows))


def tally(found: Path | Source, data: Data, every: int = 2000) -> Iterator[Tally]:
    """How many rows can be used: again and again while reading, at last for the whole file.

    Raises:
        DataError: the file cannot be read to its end.
        ConfigError: [data] columns names a part that there is not.
    """
    check_parts(data)
    source = source_of(found)
    rows = files.named_rows(source)
    head = list(islice(rows, LOOK_AHEAD))
    shape = shape_of(source.name, head, data)
    count = usable = 0
    reasons: Counter[str] = Counter()
    first: dict[str, int] = {}
    for _, raw in chain(head, rows):
        count += 1
        try:
            shapes.parse(shape, row_of(raw, data.columns))
            usable += 1
        except Unusable as reason:
            reasons[str(reason)] += 1
            first.setdefault(str(reason), raw.row)
        if count % every == 0:
            yield Tally(count, usable, _common(reasons, first))
    yield Tally(count, usable, _common(reasons, first), ended=True)


def _common(reasons: Counter[str], first: dict[str, int]) -> tuple[tuple[str, int, int], ...]:
    return tuple((reason, n, first[reason]) for reason, n in reasons.most_common(REASONS))
