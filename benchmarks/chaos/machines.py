"""A run on two machines (network namespaces with a cable between them) that is disturbed: what both sides say, after
how many seconds, and whether the dataset is one machine's in the end.

    python -m benchmarks.chaos.machines > docs/benchmarks/machines.md        (root, Linux, twelve minutes)
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE, STDOUT, Popen
from typing import NamedTuple

import psutil

from benchmarks.measured import machine as measured_on
from engine.demo.project import create_demo
from engine.nodes import machine_facts
from engine.store import read
from engine.store.connect import reader
from tests.support import ROOT
from tests.support.namespaces import ADDRESSES, Machine, two_machines, why_not

MEETING = f"{ADDRESSES[0]}:29400"
PROGRAM = [sys.executable, "-m", "middo_tui.cli"]
FLAGS = ("--rounds", "1", "--auto", "--wait")
AFTER = ("score", "judge", "verify")
TOKEN = "a token for two machines"  # noqa: S105
WITHIN_S = 300.0
LOOK_S = 0.05
ENV = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT), "MIDDO_JOIN_TOKEN": TOKEN}
HEAD = """\
# Several machines

Made by `python -m benchmarks.chaos.machines` ({where}).
Two network namespaces with a cable between them stand for two machines, each with one process on the CPU; the second
sees nothing of the project's folder. Everything is by a person's commands: `run` on the first, `join` on the second.

**Nobody is let in who should not be:**
"""
GONE = """
**A machine that goes away**, in training (the first row) and while samples are scored or rated. Seconds until the run
has ended on both sides and no process of it is left. Meanwhile {load:.0f} processes wanted to run on {cores} cores on
average, so they are upper bounds; one that was killed while it imported torch ends when it has done so.
"""
END = """
After each of these the run was started again, and the other machine joined again. In the end the dataset, the losses
of every training step, and losses and ratings of every sample are **{verdict}** those
of an undisturbed run on one machine with two processes.
"""
LEFT = """
**A machine that does not come back.** In another project `join` was killed while samples were scored or rated. The
first machine said: "{said}" Nothing was changed but `wait_s`, to {wait} s from 120, and `run` was started again on the
first machine alone. Its log says `{log}`.
In the end the dataset, the first training, all losses and ratings and their scores are **{verdict}** those of the
undisturbed run. The last training, which it did alone, took the same samples in every step: losses differ by
{steps:.1g} at most, and the scores after it by {scores:.1g}.
"""
WAIT_S = 2


class Case(NamedTuple):
    """What was done, what both sides said, and for how many seconds it took them to notice."""

    what: str
    first: str
    other: str
    seconds: float | None = None


def project(folder: Path, nodes: int, model: Path) -> Path:
    """A small demo of one round, for so many machines."""
    list(create_demo(folder, rows=24, heldout=4, seed=7))
    config = folder / "config.toml"
    text = re.sub(r"epochs = .*", "epochs = 1", config.read_text(encoding="utf-8"))
    text = re.sub(r"(?s)(\n\[judge\]\n.*?\ntoken_budget) = \d+", r"\1 = 128", text, count=1)
    text = text.replace("\nnodes = 1\n", f"\nnodes = {nodes}\n").replace('"127.0.0.1:29400"', f'"{MEETING}"')
    text = text.replace("\nprocesses = 1\n", f"\nprocesses = {3 - nodes}\n")
    text = text.replace('\nname = "demo:base"\n', f'\nname = "{model}"\n')
    config.write_text(text, encoding="utf-8")
    return folder


class Two:
    """Both machines, and what runs on them."""

    def __init__(self, first: Machine, second: Machine, at: Path, model: Path) -> None:
        self.first, self.second, self.at, self.model = first, second, at, model

    def run(self) -> Popen[str]:
        """`run` on the first."""
        command = [*PROGRAM, "run", str(self.at), *FLAGS]
        return self.first.start(command, env=ENV, stdout=PIPE, stderr=STDOUT, start_new_session=True)

    def join(self, *options: str, hidden: tuple[Path, ...] = (), **environ: str) -> Popen[str]:
        """`join` on the second."""
        command = [*PROGRAM, "join", MEETING, *options]
        how = {"env": ENV | environ, "stdout": PIPE, "stderr": STDOUT, "start_new_session": True}
        return self.second.start(command, [self.at, *hidden], **how)

    def worker(self) -> int:
        """The pid of the first machine's worker; 0: there is none."""
        db = reader(self.at)
        try:
            found = read.worker(db)
        finally:
            db.close()
        return 0 if found is None else found.pid

    def busy(self, stages: tuple[str, ...]) -> bool:
        """Whether one of these stages runs on both machines."""
        if not alive(pid := self.worker()):  # a killed one leaves its row
            return False
        facts = machine_facts.read(self.at, pid)
        db = reader(self.at)
        try:
            runs = any(j.state == "running" and j.stage in stages for j in read.jobs(db))
        finally:
            db.close()
        return facts is not None and runs and any(one.doing not in ("joining", "ready") for one in facts.machines)


def alive(pid: int) -> bool:
    """Whether it runs: one that has ended may stay in the table of processes for a while, without a command line."""
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except OSError:
        return False


def everybody(join: Popen[str]) -> list[psutil.Process]:
    """`join` and what it has started."""
    process = psutil.Process(join.pid)
    return [process, *process.children(recursive=True)]


def stop(worker: int, join: Popen[str]) -> None:
    """The other machine stands still."""
    for process in everybody(join):
        process.suspend()


def until(true: Callable[[], bool], what: str) -> None:
    """Wait for it."""
    end = time.monotonic() + WITHIN_S
    while not true():
        if time.monotonic() > end:
            raise TimeoutError(what)
        time.sleep(LOOK_S)


def last(text: str, begins: str = "") -> str:
    """The last line that begins so."""
    lines = [line.strip() for line in text.splitlines() if line.strip().startswith(begins)]
    return lines[-1] if lines else ""


def failed(two: Two) -> str:
    """Why the newest stage ended as it did."""
    db = reader(two.at)
    try:
        errors = [job.error for job in read.jobs(db) if job.error]
        events = [event.text for event in read.events(db)]
    finally:
        db.close()
    return errors[-1] if errors else events[-1]


def refused(two: Two, fake: Path) -> Iterator[Case]:
    """Those that are not let in while a run waits. Ends with the run cancelled."""
    waits(two, 3_600)
    run = two.run()
    until(lambda: two.at.joinpath(machine_facts.FILE).exists(), "the door")
    for what, join in (
        ("another token", two.join(MIDDO_JOIN_TOKEN="one that was guessed")),  # noqa: S106
        ("no token", two.join(MIDDO_JOIN_TOKEN="")),
        ("trl of another version", two.join(PYTHONPATH=f"{ROOT}{os.pathsep}{fake}")),
        ("the model is not there", two.join(hidden=(two.model,))),
    ):
        said = join.communicate(timeout=WITHIN_S)[0]
        yield Case(what, "", last(said, "middo-tui: "))
    subprocess.run([*PROGRAM, "cancel", str(two.at)], env=ENV, check=True, capture_output=True)
    run.communicate(timeout=WITHIN_S)
    waits(two, 120)


def logged(two: Two) -> list[str]:
    """The warnings in the first machine's log."""
    db = reader(two.at)
    try:
        return [event.text for event in read.events(db) if event.level == "warning"]
    finally:
        db.close()


def disturbed(two: Two, what: str, disturb: Callable[[int, Popen[str]], None], stages: tuple[str, ...] = AFTER) -> Case:
    """One run that is disturbed when both machines are at work on one of ``stages``."""
    run, join = two.run(), two.join()
    until(lambda: two.busy(stages), what)
    began = time.monotonic()
    disturb(two.worker(), join)
    said = run.communicate(timeout=WITHIN_S)[0]
    if join.poll() is None and "stopped" in what:
        for process in everybody(join):
            process.resume()
    theirs = join.communicate(timeout=WITHIN_S)[0]
    until(lambda: not processes(two.at), "its processes are gone")
    took = time.monotonic() - began
    first = failed(two) if "first" not in what else last(said)
    return Case(what, first, last(theirs), took)


def processes(at: Path) -> list[str]:
    """Command lines of what still works for this run."""
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = place.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue
        if "engine." in line and (str(at) in line or "middo-join" in line):
            found.append(line)
    return found


def figures(at: Path) -> dict[str, list[tuple[object, ...]]]:
    """What a run found."""
    db = reader(at)
    try:
        asked = {
            "steps": "SELECT round, step, loss FROM metric ORDER BY 1, 2",
            "signals": "SELECT round, sample_id, loss_before, loss_after, similarity, quality FROM signal"
            " ORDER BY 1, 2",
            "scores": "SELECT round, task, value FROM score ORDER BY 1, 2",
            "samples": "SELECT id, messages FROM sample ORDER BY id",
        }
        return {name: [tuple(row) for row in db.execute(sql)] for name, sql in asked.items()}
    finally:
        db.close()


def waits(two: Two, seconds: int) -> None:
    """Set how long a run waits for the other machine before it goes on alone."""
    config = two.at / "config.toml"
    text = re.sub(r"(?m)^wait_s = .*", f"wait_s = {seconds}", config.read_text(encoding="utf-8"))
    config.write_text(text, encoding="utf-8")


def left_alone(two: Two, expected: dict[str, list[tuple[object, ...]]]) -> str:
    """The paragraph on a run whose other machine is killed and does not come back.

    Args:
        expected: the figures of an undisturbed run.
    """
    killed = disturbed(two, "`join` is killed", lambda _, join: os.killpg(join.pid, 9), ("score", "judge"))
    waits(two, WAIT_S)
    run = two.run()
    said = run.communicate(timeout=WITHIN_S)[0]
    assert run.returncode == 0, said
    found = figures(two.at)
    closing = max(int(str(step[0])) for step in expected["steps"])
    last_round = [{name: _of(closing, one[name]) for name in ("steps", "scores")} for one in (expected, found)]
    steps, scores = (max(map(_apart, *(one[name] for one in last_round))) for name in ("steps", "scores"))
    same = all([r for r in found[n] if r[0] != closing] == [r for r in expected[n] if r[0] != closing] for n in found)
    log = next(line for line in logged(two) if line.startswith("goes on with"))
    verdict = "the same, bit by bit, as" if same else "NOT"
    return LEFT.format(said=shown(killed.first), wait=WAIT_S, log=log, verdict=verdict, steps=steps, scores=scores)


def _of(round: int, rows: list[tuple[object, ...]]) -> list[tuple[object, ...]]:
    return [row for row in rows if row[0] == round]


def _apart(one: tuple[object, ...], other: tuple[object, ...]) -> float:
    """How far the last figures of two rows are apart, which agree in all others."""
    assert one[:-1] == other[:-1], (one, other)
    return abs(float(str(one[-1])) - float(str(other[-1])))


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder for everything."""
    with tempfile.TemporaryDirectory(prefix="middo-machines-") as folder:
        yield Path(folder)


def table(cases: list[Case], titles: list[str]) -> Iterator[str]:
    """The cases as a table."""
    yield f"| {' | '.join(titles)} |"
    yield "|" + "---|" * len(titles)
    for case in cases:
        seconds = [] if case.seconds is None else [f"{case.seconds:.1f}"]
        yield f"| {' | '.join([case.what, *seconds, shown(case.first), shown(case.other)])} |"


def shown(text: str) -> str:
    """A cell."""
    text = re.sub(rf"{tempfile.gettempdir()}/middo-machines-\w+", "", text.removeprefix("middo-tui: "))
    return text.replace("|", "\\|").replace(os.uname().nodename, "node") or "–"


def main() -> None:
    """Write the page to standard output."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    if why := why_not():
        sys.exit(why)
    with scratch() as place, two_machines() as (first, second):
        model, fake = place / "model", place / "fake"
        shutil.copytree(ROOT / "engine" / "demo" / "base", model)
        (fake / "trl-0.1.dist-info").mkdir(parents=True)
        (fake / "trl-0.1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: trl\nVersion: 0.1\n")
        two = Two(first, second, project(place / "P", 2, model), model)
        strangers = list(refused(two, fake))
        said = logged(two)
        gone = [
            disturbed(two, "`join` is killed (SIGKILL)", lambda _, join: os.killpg(join.pid, 9), ("train",)),
            disturbed(two, "the first machine's worker is killed (SIGKILL)", lambda worker, _: os.kill(worker, 9)),
            disturbed(two, "`join` and all that it started are stopped (SIGSTOP)", stop),
            disturbed(two, "`join` gets Ctrl-C", lambda _, join: os.kill(join.pid, signal.SIGINT)),
            disturbed(two, "the cable is pulled out", lambda *_: two.second.unplug()),
        ]
        two.second.ip("link", "set", "eth0", "up")
        run, join = two.run(), two.join()
        ended = [one.communicate(timeout=WITHIN_S)[0] for one in (run, join)]
        assert run.returncode == 0, ended
        alone = project(place / "Q", 1, model)
        subprocess.run(
            [*PROGRAM, "run", str(alone), "--rounds", "1", "--auto", "--wait"], env=ENV, check=True, stdout=PIPE
        )
        expected = figures(alone)
        same = figures(two.at) == expected
        left = left_alone(Two(first, second, project(place / "L", 2, model), model), expected)
    sys.stderr.write(json.dumps({"said": said, "same": same}, indent=1))
    lines = [HEAD.format(where=measured_on()), *table(strangers, ["who comes with", "it is told"])]
    lines = [line.replace(" | – | ", " | ") for line in lines]
    lines += ["", "The first machine's log says of them:", "", *(f"- {shown(line)}" for line in dict.fromkeys(said))]
    load = GONE.format(load=os.getloadavg()[2], cores=os.cpu_count())
    lines += [load, *table(gone, ["what happens", "s", "the first machine says", "the other machine says"])]
    lines.append(END.format(verdict="the same, bit by bit, as" if same else "NOT"))
    lines.append(left)
    print("\n".join(lines))


if __name__ == "__main__":
    main()
