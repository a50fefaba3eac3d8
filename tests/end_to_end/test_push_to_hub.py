"""Uploading a dataset: to a local server that speaks the hub's API, and what is said when there is none."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.hub_server import Hub, serving

ROWS = [{"instruction": f"Say {n}.", "input": "", "output": str(n)} for n in range(4)]
TOKEN = "hf_" + "x" * 20


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serving() as found:
        yield found


@pytest.fixture
def made(tmp_path: Path) -> Path:
    from engine.project import folder

    source = tmp_path / "in.json"
    source.write_text(json.dumps(ROWS), encoding="utf-8")
    folder.create(tmp_path / "P", [source], {})
    return tmp_path / "P"


def export(made: Path, *args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A process of its own: the hub's settings are read when it is imported."""
    command = [sys.executable, "-m", "middo_tui.cli", "export", str(made), str(made.parent / "out"), "--force", *args]
    clean = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    home = {"HF_HOME": str(made.parent / "home"), "HF_TOKEN": TOKEN}
    return subprocess.run(command, env=clean | home | environment, capture_output=True, text=True, timeout=120)


PUSH = ("--format", "hub", "--push", "o/n")


def test_a_dataset_is_uploaded_with_its_card(made: Path, hub: Hub) -> None:
    done = export(made, *PUSH, "--private", HF_ENDPOINT=hub.address)
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert said[1] == (f"Uploading 4 rows and the dataset card to {hub.address}/datasets/o/n (private if it is new) …")
    create = next(json.loads(body) for _, path, _, body in hub.seen if path == "/api/repos/create")
    assert (create["type"], create.get("private", create.get("visibility"))) in (
        ("dataset", True),
        ("dataset", "private"),
    )
    (commit,) = [body for _, path, _, body in hub.seen if "/commit/" in path]
    lines = [json.loads(line)["value"] for line in commit.splitlines() if b'"file"' in line]
    sent = {line["path"]: base64.b64decode(line["content"]) for line in lines}
    out = made.parent / "out"
    assert sent == {str(f.relative_to(out)): f.read_bytes() for f in out.rglob("*") if f.is_file()}
    sent_by = {headers.get("authorization") for verb, _, headers, _ in hub.seen if verb == "POST"}
    assert sent_by == {f"Bearer {TOKEN}"}
    assert TOKEN not in done.stdout + done.stderr
    assert all(TOKEN.encode() not in file.read_bytes() for file in made.rglob("*") if file.is_file())


@pytest.mark.parametrize(
    ("environment", "said"),
    [({"HF_HUB_OFFLINE": "1"}, "cannot reach"), ({"HF_ENDPOINT": "http://127.0.0.1:9"}, "cannot reach")],
)
def test_without_a_hub_one_sentence_says_so(made: Path, environment: dict[str, str], said: str) -> None:
    done = export(made, *PUSH, **environment)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert said in line
    assert "Traceback" not in line
    assert (made.parent / "out" / "README.md").is_file()


def test_a_refusal_names_the_token_variable(made: Path, hub: Hub) -> None:
    hub.upload_status = 403
    done = export(made, *PUSH, HF_ENDPOINT=hub.address)
    assert done.returncode == 1
    assert "the Hugging Face Hub answered 403; set HF_TOKEN" in done.stderr
    assert TOKEN not in done.stderr


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--push", "o/n"), "needs --format hub"),
        (("--format", "hub", "--push", "n"), "owner/name"),
        (("--format", "hub", "--push", "o/../n"), "owner/name"),
        (("--format", "hub", "--private"), "needs --push"),
    ],
)
def test_what_cannot_be_pushed_is_refused_first(made: Path, args: tuple[str, ...], said: str) -> None:
    done = export(made, *args)
    assert done.returncode == 2
    assert said in done.stderr
    assert not (made.parent / "out").exists()
