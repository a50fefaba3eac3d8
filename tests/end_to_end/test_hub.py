"""Datasets of a hub as input, from a local server that speaks its API: what comes, what is kept, what goes wrong."""

from __future__ import annotations

import io
import json
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from engine import formats
from engine.config.schema import Data
from engine.hub.fetch import Fetch, Progress, Stopped
from engine.project import folder as project
from engine.project.folder import create
from middo_tui.cli.commands import main
from tests.support import ROOT
from tests.support.hub_server import Hub, Repository, serving

TOKEN = "hf_" + "x" * 20
ROWS = [{"instruction": f"Say {n}.", "input": "", "output": str(n), "text": "unused"} for n in range(40)]
CARD = b"""---
configs:
- config_name: en
  data_files: en/*.jsonl
- config_name: de
  data_files: de.json
---
# Rows
"""


def parquet(rows: list[dict[str, str]]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue()


def lines(rows: list[dict[str, str]]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


SHARDS = {
    "data/train-00000-of-00002.parquet": parquet(ROWS[:30]),
    "data/train-00001-of-00002.parquet": parquet(ROWS[30:]),
    "data/test-00000-of-00001.parquet": parquet(ROWS[:3]),
    "README.md": b"# Rows\n",
}
CONFIGS = {"README.md": CARD, "en/a.jsonl": lines(ROWS[:5]), "de.json": json.dumps(ROWS[:7]).encode()}


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serving() as found:
        found.datasets["o/rows"] = Repository({"main": SHARDS, "v1": {"train.jsonl": lines(ROWS[:4])}})
        found.datasets["o/configs"] = Repository({"main": CONFIGS})
        yield found


@pytest.fixture(autouse=True)
def hub_settings(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For the processes: the hub's settings are read when huggingface_hub is imported."""
    for name in [name for name in os.environ if name.startswith("HF_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HF_ENDPOINT", hub.address)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.chdir(tmp_path)


def run(*args: str) -> Result:
    return CliRunner().invoke(main, args)


def imports(folder: str) -> list[tuple[str, int]]:
    db = sqlite3.connect(Path(folder) / "middo.db")
    try:
        return db.execute("SELECT file, rows FROM import ORDER BY id").fetchall()
    finally:
        db.close()


EACH = """
import json, sys
from engine.errors import MiddoError
from engine.hub.download import fetch
from engine.hub.names import parse
for text in json.loads(sys.argv[1]):
    try:
        print(json.dumps(["found", [name for name, _ in fetch(parse(text))["files"]]]))
    except MiddoError as error:
        print(json.dumps(["error", str(error)]))
"""


def each(*texts: str, **environment: str) -> list[tuple[str, Any]]:
    """What comes of fetching each, in one process."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    done = subprocess.run(
        [sys.executable, "-c", EACH, json.dumps(texts)], env=env, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return [tuple(json.loads(line)) for line in done.stdout.splitlines() if line.startswith("[")]


def test_a_project_from_a_hub_is_the_one_from_its_files(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = run("init", "P", "--data", "o/rows", "--heldout", "o/rows")
    assert done.exit_code == 0, done.stderr
    commit = hub.datasets["o/rows"].commit("main")
    name = f"hf://datasets/o/rows@{commit} train"
    assert done.stdout.splitlines()[:2] == [
        f"{name}: alpaca, 37 rows",
        "  3 rows are excluded because their prompts are in the held-out set",
    ]
    assert imports("P") == [(name, 37)]
    assert f'heldout = "hf://datasets/o/rows@{commit} test"' in Path("P/config.toml").read_text()
    sent = {headers.get("authorization") for _, path, headers, _ in hub.seen if "/datasets/" in path}
    assert sent == {f"Bearer {TOKEN}"}
    assert TOKEN not in done.stdout + done.stderr
    assert all(TOKEN.encode() not in file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())

    for file in SHARDS:
        (Path("there") / file).parent.mkdir(parents=True, exist_ok=True)
        (Path("there") / file).write_bytes(SHARDS[file])
    create(Path("Q"), [Path("there")], {"data": {"heldout": "there/data/test-00000-of-00001.parquet"}})
    for format in ("alpaca", "sharegpt", "messages", "parquet"):
        for folder in ("P", "Q"):
            project.export(Path(folder), Path(f"{folder}.{format}"), 0, format, provenance=True)
        assert Path(f"P.{format}").read_bytes() == Path(f"Q.{format}").read_bytes()
    for format in formats.FOLDERS:
        project.export(Path("P"), Path(format), 0, format)
        assert f"| {name} | alpaca | 37 | 3 |" in Path(format, "README.md").read_text()
        assert len(formats.read(Path(format), Data()).samples) == 37
    db = sqlite3.connect("P/middo.db")
    last = db.execute("SELECT source FROM sample ORDER BY seq DESC LIMIT 1").fetchone()[0]
    db.close()
    assert last == "o/rows/data/train-00001-of-00002.parquet:10"

    asked = len(hub.seen)
    hub.datasets.clear()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    again = run("init", "R", "--data", name)
    assert again.exit_code == 0, again.stderr
    assert imports("R") == [(name, 40)]
    assert len(hub.seen) == asked


def test_configurations_revisions_and_splits(hub: Hub) -> None:
    found = each("o/configs:en", "o/configs:de", "o/rows@v1", "o/rows test", f"o/rows@{'0' * 40}")
    assert [said for kind, said in found[:4] if kind == "found"] == [
        ["o/configs/en/a.jsonl"],
        ["o/configs/de.json"],
        ["o/rows/train.jsonl"],
        ["o/rows/data/test-00000-of-00001.parquet"],
    ]
    assert found[4][0] == "error"
    assert "no such revision" in found[4][1]
    assert not hub.asked("train-00000")  # only what is wanted is fetched


def test_more_data_and_options_that_cannot_be_meant(hub: Hub) -> None:
    Path("rows.json").write_text(json.dumps(ROWS[:2]), encoding="utf-8")
    assert run("init", "P", "--data", "rows.json").exit_code == 0
    for args, said in (
        (("init", "P", "--data", "o/rows"), "already a project"),
        (("init", "Q", "--data", "rows.json", "--split", "dev"), "applies to Hub datasets only"),
        (("init", "Q", "--data", "rows.json", "--heldout-split", "dev"), "needs --heldout"),
        (("init", "Q", "--data", "rows.json", "--heldout", "o/rows/x"), "no such file"),
        (("init", "Q", "--data", "o/rows", "--format", "x"), "format"),
    ):
        done = run(*args)
        assert done.exit_code in (1, 2)
        assert said in done.stderr
    assert not hub.asked("o/rows")  # nothing was fetched for what would be refused
    assert run("import", "P", "o/rows", "--split", "test").exit_code == 0
    assert [rows for _, rows in imports("P")] == [2, 3]


def test_what_goes_wrong_is_said_in_one_sentence(hub: Hub) -> None:
    train = {"train.json": b"[]"}
    hub.datasets |= {
        "o/gated": Repository({"main": train}, fault="gated"),
        "o/forbidden": Repository({"main": train}, fault="forbidden"),
        "o/broken": Repository({"main": train}, fault="broken"),
        "o/denied": Repository({"main": train}, fault="denied"),
        "o/script": Repository({"main": train | {"script.py": b"raise SystemExit('it ran')"}}),
        "o/card": Repository({"main": train | {"README.md": b"---\na: [\n---\n"}}),
        "o/huge": Repository({"main": train}, sizes={"train.json": 1 << 60}),
    }
    expected = {
        "o/gated": f"it is gated. Request access at {hub.address}/datasets/o/gated, then set HF_TOKEN",
        "o/forbidden": "it is gated",
        "o/broken": f"the Hugging Face Hub ({hub.address}) answered 500",
        "o/denied": f"the Hugging Face Hub ({hub.address}) answered 403. Set HF_TOKEN",
        "o/script": "code from the Hub is never run",
        "o/card": "cannot read the header of its README.md",
        "o/huge": f"needs {1 << 40:,} MiB of disk space",
        "o/none": "no such path, and not on the Hugging Face Hub",
        "o/rows@v2": "no such revision",
        "o/rows dev": "no split dev. Splits: train, test",
        "o/configs": "Choose one: o/configs:en, o/configs:de",
        "o/a..b": "owner/name",
    }
    for (text, said), (kind, found) in zip(expected.items(), each(*expected), strict=True):
        assert kind == "error"
        assert said in found
        assert found.startswith(f"{text}: ")
        assert len(found.splitlines()) == 1
        assert TOKEN not in found
    assert not hub.asked("script/resolve") + hub.asked("huge/resolve")


@pytest.mark.parametrize(
    ("environment", "said"),
    [({"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set"), ({"HF_ENDPOINT": "http://127.0.0.1:9"}, "cannot reach")],
)
def test_without_a_hub_only_what_is_whole_in_the_cache_is_taken(
    environment: dict[str, str], said: str, tmp_path: Path
) -> None:
    assert each("o/rows") == [("found", [f"o/rows/{file}" for file in SHARDS if "train" in file])]
    found = each("o/rows", "o/rows@main", "o/rows test", "o/configs:en", **environment)
    assert [kind for kind, _ in found] == ["found", "found", "error", "error"]
    assert all(said in text and "cache" in text for _, text in found[2:])
    (shard,) = (tmp_path / "home").glob("hub/*/snapshots/*/data/train-00001*")
    shard.unlink()
    ((kind, text),) = each("o/rows", **environment)
    assert kind == "error"
    assert said in text


def test_a_transfer_that_broke_off_goes_on(hub: Hub) -> None:
    block = 10 << 20  # what huggingface_hub takes at a time
    hub.datasets["o/cut"] = Repository({"main": {"train.jsonl": bytes(block + 2000)}}, cut=block + 1000, cuts=1)
    shards = {f"train-{n}.jsonl": lines(ROWS[n:]) for n in range(2)}
    hub.datasets["o/reset"] = Repository({"main": shards}, reset="train-1.jsonl")
    cut, reset = each("o/cut", "o/reset")
    assert cut == ("found", ["o/cut/train.jsonl"])
    assert hub.ranges() == [f"bytes={block}-"]  # within a process, from the byte where it ended
    assert reset[0] == "error"
    assert "the download was interrupted" in reset[1]
    assert "Complete files stay in the cache" in reset[1]
    hub.datasets["o/reset"].reset = ""
    hub.seen.clear()
    assert each("o/reset") == [("found", ["o/reset/train-0.jsonl", "o/reset/train-1.jsonl"])]
    assert [path.rpartition("/")[2] for path in hub.asked("/resolve/")] == ["train-1.jsonl"]


def test_what_is_given_up_leaves_nothing_half(hub: Hub, tmp_path: Path) -> None:
    """In the middle of a body of which no more comes."""
    go = threading.Event()
    hub.datasets["o/slow"] = Repository({"main": {"train.jsonl": b"x" * (40 << 20)}}, wait=go)
    fetch = Fetch("hf://datasets/o/slow")
    heard: list[Progress] = []

    def said(progress: Progress) -> None:
        heard.append(progress)
        if progress.done:
            fetch.stop()

    try:
        with pytest.raises(Stopped, match="o/slow: cancelled"):
            fetch.wait(said)
    finally:
        go.set()
    assert {progress.total for progress in heard} <= {0, 40 << 20}
    assert heard[0].left_s is None
    assert (heard[-1].left_s or 0) > 0
    assert not list((tmp_path / "home").rglob("*.incomplete"))


LOCATE = """
import json, sys
from pathlib import Path
from engine.errors import ModelError
from engine.models.locate import locate
for name in json.loads(sys.argv[1]):
    heard = []
    try:
        folder = locate(name, Path("P"), heard.append)
        print(json.dumps(["found", sorted(file.name for file in folder.iterdir()), [str(one) for one in heard]]))
    except ModelError as error:
        print(json.dumps(["error", str(error), []]))
"""


def test_a_model_is_fetched_with_its_progress_or_a_reason(hub: Hub) -> None:
    files = {"config.json": b"{}", "model.safetensors": bytes(3_000_000), "pytorch_model.bin": b"pickled", "m.py": b"x"}
    hub.models |= {
        "o/model": Repository({"main": files}),
        "o/gated": Repository({"main": files}, fault="forbidden"),
        "o/huge": Repository({"main": files}, sizes={"model.safetensors": 1 << 60}),
    }
    names = ["o/model", "o/model", "o/gated", "o/huge", "o/none", "./none"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", LOCATE, json.dumps(names)], env=env, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    first, again, *wrong = [json.loads(line) for line in done.stdout.splitlines()]
    assert first[:2] == again[:2] == ["found", ["config.json", "model.safetensors"]]
    assert next(said for said in first[2] if "looking" not in said) == "o/model: 0.0 of 3.0 MB"
    assert again[2] == []
    expected = (
        f"o/gated: it is gated. Request access at {hub.address}/o/gated, then set HF_TOKEN",
        "MiB of disk space",
        "no such path, and not on the Hugging Face Hub",
        "no such folder, and not a Hub name",
    )
    for (kind, text, _), said in zip(wrong, expected, strict=True):
        assert kind == "error"
        assert said in text
        assert len(text.splitlines()) == 1
    fetched = {path.rpartition("/")[2] for path in hub.asked("/o/model/resolve/")}
    assert fetched == {"config.json", "model.safetensors"}  # no pickles, no code
