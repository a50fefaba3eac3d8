"""A child's stages: each reads the settings and the plan as they are when it begins."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.config import schema as configs
from engine.errors import MiddoError, Paused
from engine.machine import usage
from engine.runtime import run_stage
from engine.runtime.run_stage import run_all
from engine.stage import Ctx
from engine.store import commands, write
from engine.store.lock_wait import lasting
from engine.store.read import jobs
from engine.store.rows import Job, Selection
from tests.support import rounds, tiny


def project(folder: Path) -> tiny.Project:
    """Signals of 40 samples, all stages before select done."""
    (folder / "config.toml").write_text('[select]\nthreshold = "sigma"\n', encoding="utf-8")
    made = tiny.Project(folder, configs.load(folder), [tiny.chat(f"ask {i} please", f"reply {i}") for i in range(40)])
    rounds.open_round(made, 0)
    rounds.signal(made, [(1.0 + i / 10, 0.5 + i / 20, 0.7, 6.5) for i in range(40)])
    commands.set_plan(folder, 1)
    return made


def test_a_setting_changed_while_a_stage_runs_holds_for_the_next(tmp_path: Path) -> None:
    made = project(tmp_path)
    counts = []

    def stages() -> Iterator[str]:
        for m in (1.0, 0.2):
            (tmp_path / "config.toml").write_text(
                f'[select]\nthreshold = "sigma"\nm_complexity = {m}\n', encoding="utf-8"
            )
            yield "select"
            counts.append(len(made.ctx("select", 0).rows(Selection)))

    run_all(made.db, tmp_path, 0, stages())
    assert 0 < counts[0] < counts[1]


def test_a_config_broken_while_a_stage_runs_fails_the_next_with_a_sentence(tmp_path: Path) -> None:
    made = project(tmp_path)

    def stages() -> Iterator[str]:
        yield "select"
        (tmp_path / "config.toml").write_text("[select\n", encoding="utf-8")
        yield "rewrite"

    run_all(made.db, tmp_path, 0, stages())
    found = {job.stage: job for job in jobs(made.db)}
    assert (found["select"].state, found["rewrite"].state) == ("done", "failed")
    assert "config.toml" in str(found["rewrite"].error)


def test_a_stage_costs_what_its_starts_together_have_cost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory's peak is its own, not that of the stage before it in the same process."""
    made = project(tmp_path)
    block = 64 << 20

    def select(ctx: object) -> None:
        held = bytearray(block)
        held[::4096] = b"x" * len(held[::4096])
        raise Paused

    def cost() -> Job:
        return next(job for job in jobs(made.db) if job.stage == "select")

    before = usage.peak_bytes()
    monkeypatch.setattr(run_stage, "resolve", lambda target: select)
    run_all(made.db, tmp_path, 0, ["select"])
    first = cost()
    assert first.state == "paused"
    assert first.seconds > 0
    assert first.cpu_seconds > 0
    assert first.peak_bytes is not None
    assert first.peak_bytes >= block
    monkeypatch.setattr(run_stage, "resolve", lambda target: lambda ctx: None)
    run_all(made.db, tmp_path, 0, ["select"])
    assert cost().seconds > first.seconds, "the time before the pause counts too"
    assert cost().peak_bytes == first.peak_bytes
    usage.reset_peak()
    if usage.peak_bytes() < before + block // 2:  # the system can begin it anew
        write.reset(made.db, 0, ["select"])
        run_all(made.db, tmp_path, 0, ["select"])
        again = cost()
        assert again.peak_bytes is not None
        assert again.peak_bytes < first.peak_bytes


def test_how_long_a_stage_took_is_said_in_minutes_from_one_on() -> None:
    assert [lasting(seconds) for seconds in (0.2, 59.4, 60, 1264)] == ["0 s", "59 s", "1 min 00 s", "21 min 04 s"]


def test_what_no_stage_should_raise_leaves_its_traceback_in_the_log_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    made = project(tmp_path)

    def broken(ctx: object) -> None:
        raise ZeroDivisionError("a mistake of ours")

    monkeypatch.setattr(run_stage, "resolve", lambda target: broken)
    run_all(made.db, tmp_path, 0, ["select"])
    error = next(job.error for job in jobs(made.db) if job.stage == "select")
    assert error == "ZeroDivisionError: a mistake of ours. See the traceback in the project's logs folder."
    assert "ZeroDivisionError: a mistake of ours" in capfd.readouterr().err  # the worker sends this to logs/


@pytest.mark.parametrize("kind", [RuntimeError, MiddoError])
def test_a_key_that_an_exception_quotes_reaches_neither_store_nor_log(
    kind: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    made = project(tmp_path)
    monkeypatch.setenv("SOME_API_KEY", "sk-planted-0123456789")

    def broken(ctx: object) -> None:
        headers = {"Authorization": "Bearer sk-planted-0123456789"}
        raise kind(f"refused: {headers}")

    monkeypatch.setattr(run_stage, "resolve", lambda target: broken)
    run_all(made.db, tmp_path, 0, ["select"])
    made.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    places = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in places if b"sk-planted" in path.read_bytes()]
    out = capfd.readouterr()
    assert "sk-planted" not in out.out + out.err
    error = next(job.error for job in jobs(made.db) if job.stage == "select")
    assert "Bearer <SOME_API_KEY>" in str(error)


@pytest.mark.parametrize(
    "failure",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed"),
        MiddoError("cannot be written for hf_abcdefghij"),
    ],
)
def test_a_stage_that_finds_the_disk_full_has_not_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], failure: Exception
) -> None:
    """The worker starts it again when there is space: its job is still the running one, without an error."""
    made = project(tmp_path)
    monkeypatch.setenv("HF_TOKEN", "hf_abcdefghij")

    def stage(ctx: Ctx) -> None:
        raise failure from (OSError(errno.ENOSPC, "full") if isinstance(failure, MiddoError) else None)

    monkeypatch.setattr(run_stage, "resolve", lambda target: stage)
    assert run_all(made.db, tmp_path, 0, ["select"]) == "full"
    found = next(job for job in jobs(made.db) if job.stage == "select")
    assert (found.state, found.error) == ("running", None)
    assert (told := capfd.readouterr().err).startswith("select: "), "its log says why"
    assert "hf_abcdefghij" not in told
