"""Parquet files and ``datasets`` folders, a part at a time. pyarrow and datasets are imported only to write one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from engine.errors import DataError
from engine.formats.export_rows import ExportLayout, Flaws, Samples, rows_of
from engine.formats.files import without_nulls
from engine.store import json_text

ROWS = 10_000
"""Rows of a part: of a Parquet file's row group, of an Arrow file's record batch."""
_FINGERPRINT = "middo"


class Table:
    """An export as a table. Columns and types do not depend on the conversations."""

    def __init__(self, samples: Samples, layout: ExportLayout, flaws: Flaws | None) -> None:
        self._samples, self.layout, self._flaws = samples, layout, flaws
        self._as_json: set[str] = set()

    def write_parquet(self, place: Path) -> None:
        """One Parquet file."""
        import pyarrow.parquet as pq

        schema = self._schema()
        with pq.ParquetWriter(place, schema, compression="zstd") as writer:
            for part in self._parts(schema):
                writer.write_table(part)

    def write_folder(self, place: Path) -> None:
        """A folder for ``datasets.load_from_disk``.

        It is written here and not by ``save_to_disk``, whose fingerprint differs from run to run: one Arrow
        stream file, the features and the state that name it.
        """
        import datasets
        import pyarrow as pa

        schema = self._schema()
        features = datasets.Features.from_arrow_schema(schema)
        place.mkdir(parents=True)
        name = "data-00000-of-00001.arrow"
        with pa.OSFile(str(place / name), "wb") as sink, pa.ipc.new_stream(sink, features.arrow_schema) as writer:
            for part in self._parts(schema):
                writer.write_table(part.cast(features.arrow_schema))
        about = {"citation": "", "description": "", "features": features.to_dict(), "homepage": "", "license": ""}
        _dump(place / "dataset_info.json", about)
        state: dict[str, Any] = {
            "_data_files": [{"filename": name}],
            "_fingerprint": _FINGERPRINT,
            "_format_columns": None,
            "_format_kwargs": {},
            "_format_type": None,
            "_output_all_columns": False,
            "_split": "train",
        }
        _dump(place / "state.json", state)

    def _schema(self) -> Any:
        import pyarrow as pa

        known = _known()
        types = {"messages": self._turns(), "tools": pa.string()} | {name: known[name] for name in self.layout.ours}
        found = _types_of(self._samples, self.layout.names)
        types |= {name: type or pa.string() for name, type in found.items()}
        self._as_json = {name for name, type in found.items() if type is None}
        return pa.schema([(name, types[name]) for name in self.layout.columns])

    def _turns(self) -> Any:
        """Lists of turns. Calls of OpenAI's common form are structs, which trainers can use as they are; where one call
        of the dataset has another form, all are JSON text, which loses nothing.
        """
        import pyarrow as pa

        function = pa.struct([("name", pa.string()), ("arguments", pa.string())])
        call = pa.struct([("id", pa.string()), ("type", pa.string()), ("function", function)])
        types = {"weight": pa.int64(), "tool_calls": pa.list_(call) if self.layout.common else pa.string()}
        keys = ("role", "content", "kind", *self.layout.keys)
        return pa.list_(pa.struct([(key, types.get(key, pa.string())) for key in keys]))

    def _parts(self, schema: Any) -> Iterator[Any]:
        """The rows as tables of ``ROWS`` rows; at least one, which may be empty.

        Raises:
            DataError: a sample that a table cannot hold.
        """
        import pyarrow as pa

        rows = rows_of(self._samples, self.layout, self._flaws)
        first = True
        while (part := list(islice(rows, ROWS))) or first:
            first = False
            try:
                columns = [self._column(field, [row[field.name] for row in part]) for field in schema]
                yield pa.Table.from_arrays(columns, schema=schema)
            except (pa.ArrowException, UnicodeEncodeError) as error:
                raise DataError(f"cannot write the samples as a table: {error}.") from None

    def _column(self, field: Any, values: list[Any]) -> Any:
        import pyarrow as pa

        if field.name == "messages" and not self.layout.common:
            values = [[_as_text(turn) for turn in turns] for turns in values]
        elif field.name in self._as_json:
            values = [None if v is None else json.dumps(v, ensure_ascii=False) for v in values]
        return pa.array(values, field.type)


def _known() -> dict[str, Any]:
    """The types of the columns that are ours; source columns of these names have them too where they fit."""
    import pyarrow as pa

    numbers = dict.fromkeys(("flaw", "end_of_turn", "ifd", "worst_window"), pa.float64())
    texts = dict.fromkeys(("tools", "axis", "looks_wrong"), pa.string())
    return dict.fromkeys(("id", "parent", "round"), pa.int64()) | texts | numbers


def _as_text(turn: dict[str, Any]) -> dict[str, Any]:
    calls = turn.get("tool_calls")
    return turn | {"tool_calls": json.dumps(calls, ensure_ascii=False)} if calls else turn


def _types_of(samples: Samples, names: Mapping[str, str]) -> dict[str, Any]:
    """By exported name the type that holds all values of an extra column of the source data; None for JSON text.

    ``names``: the source's name of each column, with its exported one.
    """
    if not names:
        return {}
    known = _known()
    guessed: dict[str, Any] = {}
    for old, values in _values(samples, names):
        guessed[old] = _unified(guessed.get(old), values)
    candidates = {old: [t for t in (known.get(new), guessed[old]) if _storable(t)] for old, new in names.items()}
    for old, values in _values(samples, names):
        candidates[old] = [type for type in candidates[old] if _holds(type, values)]
    return {new: next(iter(candidates[old]), None) for old, new in names.items()}


def _values(samples: Samples, names: Iterable[str]) -> Iterator[tuple[str, list[Any]]]:
    """The extra columns in parts; None where a row lacks one."""
    extras = map(json_text.loads, samples.extras())
    while part := list(islice(extras, ROWS)):
        for name in names:
            yield name, [extra.get(name) for extra in part]


def _unified(before: Any, values: list[Any]) -> Any:
    """The type of the values and of those ``before``; False when there is none."""
    import pyarrow as pa

    try:
        found = pa.array(values).type
        if before is None or before is False:
            return found if before is None else False
        both = [pa.schema([("value", type)]) for type in (before, found)]
        return pa.unify_schemas(both, promote_options="permissive").field("value").type
    except (pa.ArrowException, OverflowError):
        return False


def _storable(type: Any) -> bool:
    """Whether a column can have the type; Parquet has no struct without fields."""
    import pyarrow as pa

    return bool(type) and not pa.types.is_null(type) and "struct<>" not in str(type)


def _holds(type: Any, values: list[Any]) -> bool:
    """Whether the values come back from a column of the type."""
    import pyarrow as pa

    try:
        made = pa.array(values, type).to_pylist()
    except (pa.ArrowException, TypeError, OverflowError):
        return False
    return [without_nulls(value) for value in made] == [without_nulls(value) for value in values]


def _dump(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")
