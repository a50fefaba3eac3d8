"""An import of any size: rows wait on disk, nothing half made is left, and all is as one by one."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from engine import formats
from engine.config.schema import Data
from engine.errors import UsageError
from engine.files.progress import TaskMeter, TaskProgress
from engine.project import atomic_create
from engine.project import folder as project
from engine.project.asked_prompts import Asked
from engine.project.row_spool import RowSpool
from engine.store import read
from engine.store.connect import FILE, reader


def rows(count: int) -> list[dict[str, str]]:
    return [{"instruction": f"Name number {i}.", "output": f"It is {i}."} for i in range(count)]


def put(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


KILLED = """
import importlib, os, signal, sys
from pathlib import Path
from engine.project import folder

module, name, calls, project, data = sys.argv[1:]
owner = importlib.import_module(module)
*inner, last = name.split(".")
for one in inner:
    owner = getattr(owner, one)
real, left = getattr(owner, last), int(calls)

def killed(*args, **kwargs):
    global left
    out = real(*args, **kwargs)
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    return out

setattr(owner, last, killed)
folder.create(Path(project), [Path(data)], {})
"""


@pytest.mark.parametrize(
    ("module", "name", "calls"),
    [
        ("engine.project.importing", "gather", 1),
        ("engine.project.importing", "add_rows", 1),
        ("engine.store.search", "catch_up", 1),
        ("os", "replace", 3),
    ],
)
@pytest.mark.parametrize("empty", [False, True])
def test_a_killed_init_leaves_no_project_and_the_next_succeeds(
    tmp_path: Path, module: str, name: str, calls: int, empty: bool
) -> None:
    data, folder = put(tmp_path / "rows.json", rows(120)), tmp_path / "P"
    if empty:
        folder.mkdir()
    args = [sys.executable, "-c", KILLED, module, name, str(calls), str(folder), str(data)]
    done = subprocess.run(args, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not (folder / FILE).exists()
    (added,) = project.create(folder, [data], {})
    assert (added.rows, added.heldout) == (118, 2)
    assert {path.name for path in folder.iterdir()} == {"artifacts", "config.toml", "logs", FILE}
    assert (folder / FILE).stat().st_mode & 0o777 == 0o600


def test_two_at_once_do_not_meet_in_one_folder(tmp_path: Path) -> None:
    data, folder = put(tmp_path / "rows.json", rows(10)), tmp_path / "P"
    with atomic_create.aside(folder) as place:
        for part in atomic_create.PARTS:
            (place / part).touch()
        with pytest.raises(UsageError, match="another middo-tui is creating a project there"):
            project.create(folder, [data], {})
    assert {path.name for path in folder.iterdir()} == set(atomic_create.PARTS)


def test_a_failed_init_leaves_the_folder_as_it_was(tmp_path: Path) -> None:
    data = put(tmp_path / "rows.json", [*rows(3), "no row"])
    (tmp_path / "there").mkdir()
    with pytest.raises(RuntimeError, match="stop"):
        project.create(tmp_path / "there", [data], {}, say=_stop)
    with pytest.raises(RuntimeError, match="stop"):
        project.create(tmp_path / "new", [data], {}, say=_stop)
    assert list((tmp_path / "there").iterdir()) == []
    assert not (tmp_path / "new").exists()


def _stop(said: str) -> None:
    if said.startswith("writing"):
        raise RuntimeError("stop")


def test_what_is_told_of_an_import_grows_to_the_end(tmp_path: Path) -> None:
    data = [put(tmp_path / f"{name}.json", rows(count)) for name, count in (("a", 40), ("b", 60))]
    told: list[TaskProgress] = []
    now = iter(range(10**6))
    meter = TaskMeter(told.append, lambda: float(next(now)))
    for name, share in (("a", 0.3), ("b", 0.3), ("c", 0.4)):
        seen = meter.step(name, share)
        seen(0.5)
        seen(1.0)
    assert [(one.step, round(one.share, 2)) for one in told] == [
        ("a", 0.15), ("a", 0.3), ("b", 0.45), ("b", 0.6), ("c", 0.8), ("c", 1.0),
    ]  # fmt: skip
    assert [str(one) for one in told[::5]] == ["a: 15 %, 6 s left", "c: 100 %, 0 s left"]
    assert sum(added.rows for added in project.create(tmp_path / "P", data, {})) == 98


def test_the_store_is_written_in_wal_mode_and_searchable(tmp_path: Path) -> None:
    project.create(tmp_path / "P", [put(tmp_path / "rows.json", rows(50))], {})
    db = reader(tmp_path / "P")
    assert db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    assert db.execute("SELECT count(*) FROM unindexed").fetchone()[0] == 0
    assert db.execute("SELECT count(*) FROM sample_fts WHERE sample_fts MATCH 'number'").fetchone()[0] == 49
    assert [sample.seq for sample in read.dataset(db, 0)] == sorted(sample.seq for sample in read.dataset(db, 0))
    db.close()


def test_a_spool_gives_back_what_it_was_given_in_any_order(tmp_path: Path) -> None:
    with RowSpool(tmp_path, tuple[str, int]) as spool:
        for i in range(300):
            spool.append(("ä" * i, i))
        assert len(spool) == 300
        assert [spool[i][1] for i in (299, 0, 150)] == [299, 0, 150]
        assert [row[1] for row in spool] == list(range(300))
        assert list(tmp_path.iterdir()) == [], "the file has no name, so that a kill leaves nothing"


def test_who_asks_a_prompt_is_found_by_any_of_its_keys() -> None:
    asked = Asked()
    one, two, three = (bytes([i]) * 16 for i in (1, 2, 3))
    for keys in ([one], [], [two, one], [three]):
        asked.append(keys)
    assert list(asked) == [[one], [], [two, one], [three]]
    assert list(asked.rows({one, three})) == [(0, one), (2, one), (3, three)]


def test_making_a_project_loads_none_of_the_large_libraries() -> None:
    program = (
        "import sys, engine.project.folder;"
        "print(sorted({'numpy', 'pandas', 'pyarrow', 'datasets', 'torch'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("format", ["parquet", "messages"])
def test_an_export_from_the_disk_is_that_of_samples_in_memory(tmp_path: Path, format: str) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    acted = [
        {"role": "user", "content": "Go"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "1", "tool_call_id": "1"},
        {"role": "assistant", "content": "Done", "weight": 0},
        {"role": "user", "content": "More"},
        {"role": "assistant", "content": "No"},
    ]
    plain = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]
    content = [{"messages": plain, "n": i} for i in range(3)] + [{"messages": acted, "source": "web"}]
    data = put(tmp_path / "rows.json", content)
    project.create(tmp_path / "P", [data], {})
    project.export(tmp_path / "P", tmp_path / "stored", None, format)
    formats.write(formats.read(data, Data()).samples, tmp_path / "listed", format)
    assert (tmp_path / "stored").read_bytes() == (tmp_path / "listed").read_bytes()
