"""A project as the first release left it: its demo after one round of 60 samples, without models.

Made at commit be4b9b8 by ``run --rounds 2 --auto --until merge``; the config's paths were shortened.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import zstandard

HERE = Path(__file__).parent


def unpack(folder: Path) -> Path:
    """The project in the new folder ``folder``."""
    (folder / "data").mkdir(parents=True)
    (folder / "logs").mkdir()
    (folder / "middo.db").write_bytes(zstandard.decompress((HERE / "middo.db.zst").read_bytes()))
    shutil.copyfile(HERE / "config.toml", folder / "config.toml")
    shutil.copyfile(HERE / "heldout.jsonl", folder / "data" / "heldout.jsonl")
    return folder
