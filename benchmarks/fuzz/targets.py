"""The readers, each with seeds and the errors that it may end in."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from engine import formats
from engine.backends import Generation
from engine.backends.endpoint_judge import rating
from engine.backends.openai_batches import Batches
from engine.chat.prompts import parse_prompt, spoken
from engine.config import schema as configs
from engine.config.schema import Data
from engine.errors import ConfigError, DataError, MiddoError, ModelError, StoreError, UsageError
from engine.files.whole_file import cut_off
from engine.hub import layout, names
from engine.models import folder as model_folder
from engine.signals.rating_rows import first_rating
from engine.store.connect import reader
from engine.store.rows import dump_messages, load_messages
from engine.teacher.job import PROMPT
from engine.teacher.replies import read_reply
from engine.upkeep.backup import read_manifest
from engine.upkeep.check import check
from middo_tui.look import preferences

CHAT = [{"role": "user", "content": "Name a colour."}, {"role": "assistant", "content": "Red."}]
ROWS: tuple[Any, ...] = (
    {"instruction": "Name a colour.", "input": "", "output": "Red."},
    {"messages": CHAT, "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]},
    {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}], "system": "Be kind."},
    {"prompt": "a", "completion": "b", "weight": 0.5},
    {"prompt": CHAT[:1], "chosen": CHAT[1:], "rejected": [{"role": "assistant", "content": "no"}]},
    {"messages": [CHAT[0], {"role": "assistant", "content": None, "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "c1", "content": "1"}, {"role": "assistant", "content": "One."}]},
)  # fmt: skip


class Target(NamedTuple):
    """``read`` reads a case in a scratch folder; ``allowed``: the errors that are told to a person."""

    name: str
    seeds: Sequence[bytes]
    read: Callable[[bytes, Path], None]
    allowed: tuple[type[Exception], ...]
    share: float = 1.0


def _dataset(name: str) -> Callable[[bytes, Path], None]:
    def read(case: bytes, folder: Path) -> None:
        path = folder / name
        path.write_bytes(case)
        found = formats.read(path, Data())
        for sample in found.samples:
            text = dump_messages(sample.messages)
            if load_messages(text) != tuple(sample.messages):
                raise AssertionError("a sample does not come back from the store's text")
        for reject in found.rejects:
            if not reject.reason:
                raise AssertionError("a quarantined row without a reason")

    return read


def _parquet_seed() -> bytes:
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([dict(ROWS[0])] * 3), out)
    return out.getvalue()


def _config(case: bytes, folder: Path) -> None:
    configs.parse(case.decode("utf-8", "replace"), "config.toml")


def _preferences(case: bytes, folder: Path) -> None:
    place = folder / "middo-tui"
    place.mkdir(exist_ok=True)
    for name in ("config.toml", "keys.toml"):
        (place / name).write_bytes(case)
    preferences.load({"XDG_CONFIG_HOME": str(folder), "TERM": "xterm-256color"})


def _teacher(case: bytes, folder: Path) -> None:
    from engine.store.rows import Message, Sample

    text = case.decode("utf-8", "replace")
    sample = Sample(1, (Message("user", "Name a colour."), Message("assistant", "Red.")), 0)
    made, reason = read_reply(sample, "diversity", PROMPT, Generation(text, "stop", 1, 1, None))
    if (made is None) == (reason is None):
        raise AssertionError(f"neither a prompt nor a reason, or both: {made!r} {reason!r}")
    parse_prompt(text, text[:20])
    spoken(text)
    first_rating(text)


BATCHES = Batches("http://127.0.0.1:9/v1", "m", "", timeout_s=1.0, retries=0, stop=lambda: False)


def _batch_line(case: bytes, folder: Path) -> None:
    BATCHES.read(case, {}, lambda name: 1)


COMPLETION = {
    "id": "x", "object": "chat.completion", "model": "m", "created": 1,
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Red."}, "logprobs":
        {"content": [{"token": "7", "logprob": -0.1, "top_logprobs": [{"token": "7", "logprob": -0.1}]}]}}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4},
}  # fmt: skip


def _completion(case: bytes, folder: Path) -> None:
    """An endpoint's answer, as the SDK makes an object of it: it checks nothing."""
    from openai.types.chat import ChatCompletion

    found = json.loads(case)
    if not isinstance(found, dict):
        return
    rated = rating(BATCHES.chat.read(ChatCompletion.construct(**found), 1))
    if (rated.value is None) == (rated.error is None) or not 0 <= (rated.value or 0.0) <= 9:
        raise AssertionError(f"neither a rating nor a reason, or both: {rated}")


def _model(name: str) -> Callable[[bytes, Path], None]:
    def read(case: bytes, folder: Path) -> None:
        place = folder / "model"
        if not place.exists():
            shutil.copytree(folder / "seed-model", place)
        whole = (folder / "seed-model" / name).read_bytes()
        (place / name).write_bytes(case)
        try:
            model_folder.check(place)
            model_folder.has_template(place)
        finally:
            (place / name).write_bytes(whole)

    return read


def _cut_off(name: str) -> Callable[[bytes, Path], None]:
    def read(case: bytes, folder: Path) -> None:
        (folder / name).write_bytes(case)
        cut_off(folder / name)

    return read


def _store(case: bytes, folder: Path) -> None:
    from middo_tui.text.status import gather

    place = folder / "project"
    if not place.exists():
        shutil.copytree(folder / "seed-project", place)
    for extra in ("middo.db-wal", "middo.db-shm"):
        (place / extra).unlink(missing_ok=True)
    (place / "middo.db").write_bytes(case)
    reader(place).close()
    check(place)
    gather(place)


def _manifest(case: bytes, folder: Path) -> None:
    (folder / "MANIFEST.json").write_bytes(case)
    read_manifest(folder)


def _card(case: bytes, folder: Path) -> None:
    wanted = names.parse("owner/name")
    found = json.loads(case)
    if wanted is not None and isinstance(found, dict):
        layout.choose(wanted, ["data/train-0.parquet", "test.jsonl", "README.md"], found)


def _labels(case: bytes, folder: Path) -> None:
    from middo_tui.cli.label import _read

    (folder / "labels.csv").write_bytes(case)
    list(_read(folder / "seed-project", folder / "labels.csv"))


def targets(scratch: Path) -> list[Target]:
    """All readers; what they need is made in ``scratch``."""
    import gzip

    import zstandard

    from tests.support import tiny
    from tests.support.whole_project import whole

    lines = b"\n".join(json.dumps(row).encode() for row in ROWS)
    array = json.dumps(list(ROWS)).encode()
    table = json.dumps({"data": list(ROWS[:2])}).encode()
    csv = b'instruction,input,output\n"Name a colour",,"Red"\n"say ""hi""",x,hi\n'
    project = whole(scratch / "seed-project")
    sqlite3.connect(project / "middo.db").execute("PRAGMA journal_mode=DELETE").connection.close()
    model = tiny.make_model(scratch / "seed-model", width=8)
    config = (project / "config.toml").read_bytes()
    keys = b'[app]\ntheme = "dark"\nmouse = false\n[samples]\nsort = ["s", "ctrl+s"]\nquit = "q"\n'
    result = json.dumps(
        {"custom_id": "a", "response": {"status_code": 200, "body": COMPLETION}, "error": None}
    ).encode()
    refused = json.dumps(
        {"custom_id": "a", "response": {"status_code": 429, "body": {"error": {"code": "x"}}}}
    ).encode()
    files = {"middo.db": {"bytes": 1, "blake2b": "a"}}
    manifest = json.dumps(
        {"format": 1, "version": "1", "schema": "m", "made": 1.0, "project": "p", "files": files}
    ).encode()
    split = {"split": "train", "path": "data/*.parquet"}
    card = json.dumps({"configs": [{"config_name": "a", "data_files": [split], "default": True}]}).encode()
    replies = (b"<prompt>Name two colours.</prompt>", b"<think>x</think>Sure: <prompt>a</prompt> 7/9", b"Rating: 8.5")
    weights = (model / "model.safetensors").read_bytes()
    embeddings = next((project / "artifacts").rglob("*.npy")).read_bytes()
    data, told = (DataError,), (ValueError, RecursionError)
    return [
        Target("rows.json", (array, table, lines), _dataset("rows.json"), data),
        Target("rows.jsonl", (lines, array), _dataset("rows.jsonl"), data),
        Target("rows.csv", (csv, csv.replace(b",", b";"), lines), _dataset("rows.csv"), data),
        Target("rows.tsv", (csv.replace(b",", b"\t"),), _dataset("rows.tsv"), data),
        Target("rows.parquet", (_parquet_seed(),), _dataset("rows.parquet"), data, 0.3),
        Target("rows.json.gz", (gzip.compress(array), gzip.compress(lines)), _dataset("rows.json.gz"), data),
        Target("rows.jsonl.zst", (zstandard.compress(lines),), _dataset("rows.jsonl.zst"), data),
        Target(
            "config.toml",
            (config, b'[model]\nname = "x"\n[teacher]\nprices = {"m" = {input = 1}}\n'),
            _config,
            (ConfigError,),
        ),
        Target("keys and preferences", (keys, b'[keys]\nquit = ["q"]\n'), _preferences, ()),
        Target("teacher and judge replies", replies, _teacher, ()),
        Target("endpoint answers", (json.dumps(COMPLETION).encode(),), _completion, told),
        Target("batch results", (result, refused), _batch_line, (ValueError,)),
        Target("model config.json", ((model / "config.json").read_bytes(),), _model("config.json"), (ModelError,), 0.5),
        Target(
            "model tokenizer config",
            ((model / "tokenizer_config.json").read_bytes(),),
            _model("tokenizer_config.json"),
            (ModelError,),
            0.5,
        ),
        Target("model weights", (weights[:3000], weights), _model("model.safetensors"), (ModelError,), 0.5),
        Target("artifacts: safetensors", (weights[:3000], weights), _cut_off("a.safetensors"), ()),
        Target("artifacts: npy", (embeddings,), _cut_off("a.npy"), ()),
        Target("hub cards", (card,), _card, (*told, DataError, layout.Undecided), 0.3),
        Target("label files", (b"sample,label,kind\n1,good,\n2,flawed,wrong answer\n",), _labels, (UsageError,), 0.5),
        Target("backup manifests", (manifest,), _manifest, (StoreError, UsageError)),
        Target("damaged store", ((project / "middo.db").read_bytes(),), _store, (MiddoError, sqlite3.Error), 0.02),
    ]
