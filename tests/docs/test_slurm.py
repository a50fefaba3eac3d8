"""The SLURM example under a stand-in for srun: which commands run on which machine, and what becomes of the backup."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from engine.config import schema as configs
from middo_tui.cli.commands import main
from tests.support import ROOT
from tests.support import doc_blocks as blocks

SCRIPT = ROOT / "docs" / "examples" / "slurm" / "middo.sbatch"
FAKES = {
    "srun": 'for id in 0 1; do SLURM_PROCID=$id "$@" & done; for job in $(jobs -p); do wait "$job" || exit $?; done',
    "hostname": 'echo "10.0.0.1 192.168.0.1"',
    "middo-tui": """
echo "${SLURM_PROCID:-batch}: middo-tui $*" >> "$LOG"
echo "$MIDDO_JOIN_TOKEN" >> "$LOG.token"
[ -z "${SLURM_PROCID:-}" ] || echo "$SRUN_CPUS_PER_TASK" >> "$LOG.cpus"
case $1 in
    restore|backup) cp -r "$2" "$3" ;;
    run) touch "$2/worked"; if [ -n "${SLOW:-}" ]; then touch "$LOG.runs"; read -r _ < "$LOG.pipe"; fi ;;
    pause) echo paused > "$LOG.pipe" ;;
esac
""",
}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    for name, text in FAKES.items():
        (bin_ / name).write_text(f"#!/bin/bash\n{text}\n")
        (bin_ / name).chmod(0o755)
    (tmp_path / "backup").mkdir()
    settings = '[launch]\nnodes = 1\nprocesses = 1\nrendezvous = "127.0.0.1:29400"\n'
    (tmp_path / "backup" / "config.toml").write_text(settings)
    os.mkfifo(tmp_path / "log.pipe")
    return tmp_path


def start(place: Path, **more: str) -> subprocess.Popen[str]:
    slurm = {"SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "2", "SLURM_GPUS_ON_NODE": "4", "SLURM_TMPDIR": str(place)}
    slurm["SLURM_CPUS_PER_TASK"] = "32"
    environ = {"PATH": f"{place / 'bin'}:{os.environ['PATH']}", "LOG": str(place / "log"), **slurm, **more}
    return subprocess.Popen(["bash", str(SCRIPT), str(place / "backup")], env=environ, text=True)


def test_the_first_machine_runs_the_project_and_the_others_join_it(place: Path) -> None:
    assert start(place).wait() == 0
    said = sorted((place / "log").read_text().splitlines())
    work = place / "middo-7"
    assert said == sorted(
        [
            f"batch: middo-tui restore {place}/backup {work}",
            f"0: middo-tui run {work} --auto --wait",
            "1: middo-tui join 10.0.0.1:29400",
            f"batch: middo-tui backup {work} {place}/backup.new",
        ]
    )
    named = [line.partition(": ")[2].replace(str(place), "place") for line in said]  # whose path may have spaces
    assert [blocks.command(line.split()) for line in named] == [""] * 4, "all are real commands"
    assert set(said[0].split()) & main.commands.keys()
    assert len(set((place / "log.token").read_text().split())) == 1, "one token for all"
    assert (place / "log.cpus").read_text().split() == ["32", "32"]
    assert not work.exists()
    assert (place / "backup" / "worked").exists()
    launch = configs.load(place / "backup").launch
    assert (launch.nodes, launch.processes, launch.rendezvous) == (2, 4, "10.0.0.1:29400")
    assert (place / "backup.before").exists()


def test_when_the_time_is_up_it_pauses_and_keeps_what_was_done(place: Path) -> None:
    process = start(place, SLOW="1")
    while not (place / "log.runs").exists():
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 0
    assert f"batch: middo-tui pause {place}/middo-7" in (place / "log").read_text()
    assert (place / "backup" / "worked").exists()


def test_a_config_without_the_lines_is_refused(place: Path) -> None:
    (place / "backup" / "config.toml").write_text("[launch]\n")
    assert start(place).wait() == 2
    assert "run" not in (place / "log").read_text().split()
