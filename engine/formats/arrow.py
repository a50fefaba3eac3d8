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
    """A folder for ``datasets.load_from_disk``, with a dataset card.

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
    (place / "README.md").write_text(card(rows), encoding="utf-8")


def _dump(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def card(rows: list[dict[str, Any]]) -> str:
    """The dataset card: what is in it and where it comes from."""
    sizes = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
    size = next((name for limit, name in sizes if len(rows) < limit), "1M<n<10M")
    rewritten = sum(row.get("parent") is not None for row in rows)
    provenance = (
        f"\n`id`, `parent`, `axis` and `round` say where a row comes from: {rewritten} rows are rewrites.\n"
        if rows and "id" in rows[0]
        else ""
    )
    return (
        f"---\ntask_categories:\n- text-generation\nsize_categories:\n- {size}\n"
        "tags:\n- instruction-tuning\n- middo\n---\n\n"
        "# Instruction dataset\n\n"
        f"{len(rows)} conversations. Each row's `messages` is a list of turns with `role`, `content` and `kind`\n"
        "(`function_call`, `observation` or `tools`; empty for plain turns).\n"
        f"{provenance}\n"
        "Made with middo-tui: samples that the trained model itself found too hard, of low quality or isolated were\n"
        "rewritten by a teacher model and verified by the same signals (Middo, EMNLP 2025).\n"
        "The license of the source data applies to it.\n"
    )
