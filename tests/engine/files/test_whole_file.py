"""A cut-off file is told by what it says of itself."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pytest

from engine.files.whole_file import cut_off


@pytest.mark.parametrize("lost", [1, 8, 100])
def test_an_arrow_stream_without_its_end_is_cut_off(tmp_path: Path, lost: int) -> None:
    """As ``datasets`` writes the rows that training reads."""
    path = tmp_path / "data.arrow"
    table = pa.table({"ids": [list(range(50))] * 4})
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
        stream.write_table(table)
    assert cut_off(path) == ""
    os.truncate(path, path.stat().st_size - lost)
    assert cut_off(path) == "cut off"
