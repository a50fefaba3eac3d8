"""Parquet files and ``datasets`` folders. pyarrow and datasets are imported only when one is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from engine.errors import DataError
from engine.formats.files import without_nulls

_FINGERPRINT = "middo"


def _table(rows: list[dict[str, Any]]) -> Any:
    """The rows as an Arrow table. Columns and types do not depend on the conversations."""
    import pyarrow as pa

    names = list(rows[0]) if rows else ["messages"]
    try:
        columns = [_column(name, [row[name] for row in rows]) for name in names]
        return pa.Table.from_arrays(columns, names=names)
    except (pa.ArrowException, UnicodeEncodeError) as error:
        raise DataError(f"cannot write the samples as a table: {error}.") from None


def _column(name: str, values: list[Any]) -> Any:
    import pyarrow as pa

    numbers = dict.fromkeys(("flaw", "end_of_turn", "ifd", "worst_window"), pa.float64())
    known = {"tools": pa.string(), "id": pa.int64(), "parent": pa.int64(), "axis": pa.string(), "round": pa.int64()}
    known |= {"looks_wrong": pa.string(), **numbers}
    if name == "messages":
        return _turns(values)
    if name in known:
        try:
            made = pa.array(values, known[name])
            if _same(made.to_pylist(), values):
                return made
        except (pa.ArrowException, TypeError, OverflowError):
            pass  # a column of this name that the rows came with
    return _other(values)


def _turns(values: list[list[dict[str, Any]]]) -> Any:
    """Lists of turns. Calls of OpenAI's common form are structs, which trainers can use as they are; where one call of
    the file has another form, all are JSON text, which loses nothing.
    """
    import pyarrow as pa

    calls = [turn["tool_calls"] for turns in values for turn in turns if turn.get("tool_calls")]
    function = pa.struct([("name", pa.string()), ("arguments", pa.string())])
    call = pa.struct([("id", pa.string()), ("type", pa.string()), ("function", function)])
    types = {"weight": pa.int64(), "tool_calls": pa.list_(call)}
    if not all(_common(one) for made in calls for one in made):
        types["tool_calls"] = pa.string()
        values = [[_as_text(turn) for turn in turns] for turns in values]
    keys = next((list(turn) for turns in values for turn in turns), ["role", "content", "kind"])
    return pa.array(values, pa.list_(pa.struct([(key, types.get(key, pa.string())) for key in keys])))


def _common(call: dict[str, Any]) -> bool:
    """Whether a call survives a round trip through a struct with the same JSON text."""
    function = call.get("function")
    if not isinstance(function, dict) or list(function) != ["name", "arguments"]:
        return False
    order = [key for key in ("id", "type", "function") if key in call]
    texts = [*function.values(), *(value for key, value in call.items() if key != "function")]
    return list(call) == order and all(isinstance(text, str) for text in texts)


def _as_text(turn: dict[str, Any]) -> dict[str, Any]:
    calls = turn.get("tool_calls")
    return turn | {"tool_calls": json.dumps(calls, ensure_ascii=False)} if calls else turn


def _other(values: list[Any]) -> Any:
    """An extra column of the source data, in the type that fits all of its values, else as JSON text."""
    import pyarrow as pa

    try:
        made = pa.array(values)
        # Parquet has no struct without fields.
        if not pa.types.is_null(made.type) and "struct<>" not in str(made.type) and _same(made.to_pylist(), values):
            return made
    except (pa.ArrowException, OverflowError):
        pass
    return pa.array([None if v is None else json.dumps(v, ensure_ascii=False) for v in values], pa.string())


def _same(made: list[Any], values: list[Any]) -> bool:
    return [without_nulls(value) for value in made] == [without_nulls(value) for value in values]


def write_parquet(rows: list[dict[str, Any]], place: Path) -> None:
    """One Parquet file."""
    import pyarrow.parquet as pq

    pq.write_table(_table(rows), place, compression="zstd")


def write_folder(rows: list[dict[str, Any]], place: Path) -> None:
    """A folder for ``datasets.load_from_disk``.

    It is written here and not by ``save_to_disk``, whose fingerprint differs from run to run: one Arrow
    stream file, the features and the state that name it.
    """
    import datasets
    import pyarrow as pa

    table = _table(rows)
    features = datasets.Features.from_arrow_schema(table.schema)
    place.mkdir(parents=True)
    name = "data-00000-of-00001.arrow"
    with pa.OSFile(str(place / name), "wb") as sink, pa.ipc.new_stream(sink, features.arrow_schema) as writer:
        writer.write_table(table.cast(features.arrow_schema))
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


def _dump(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")
