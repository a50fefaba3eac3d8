"""Parquet files and ``datasets`` folders. pyarrow and datasets are imported only when one is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from engine.errors import DataError

_FINGERPRINT = "middo"


def _table(rows: list[dict[str, Any]]) -> Any:
    """The rows as an Arrow table: the same columns and types whatever the rows hold."""
    import pyarrow as pa

    turn = pa.struct([("role", pa.string()), ("content", pa.string()), ("kind", pa.string())])
    fields = [("messages", pa.list_(turn))]
    if rows and "id" in rows[0]:
        fields += [("id", pa.int64()), ("parent", pa.int64()), ("axis", pa.string()), ("round", pa.int64())]
    try:
        return pa.Table.from_pylist(rows, schema=pa.schema(fields))
    except (pa.ArrowException, UnicodeEncodeError) as error:
        raise DataError(f"the samples cannot be written as a table: {error}.") from None


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
