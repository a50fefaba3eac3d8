"""The loop as lines of text: for pipes, log files, screen readers and terminals that cannot move their cursor.

A line is written only when something was reached: a stage began, ended or got noticeably further. Nothing is
overwritten.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import Any

from engine.store.rows import AXES
from middo_tui.feed.reader import Reader
from middo_tui.feed.view import MARKS, LoopView, StageView
from middo_tui.terminal import guard
from middo_tui.text import number_format
from middo_tui.text.notice import notice
from middo_tui.text.teacher_wording import batch, spending, writing

EVERY_S = 0.5
PROGRESS_EVERY_S = 5.0
ENDED = frozenset({"done", "failed", "waiting", "paused", "cancelled"})
CODES = {"waiting": 4, "failed": 1, "lost": 1, "interrupted": 1, "cancelled": 1}
HEADER = ("round", "size", "selected C/D/Q", "rewritten", "accepted C/D/Q", "held-out loss", "accuracy", "change")
HOURS = "it may take hours, and the run goes on when the terminal is closed"
Echo = Callable[[str], Any]


class Narrator:
    """Turns one view after another into lines. Holds what was said, so that nothing is said twice."""

    def __init__(self, echo: Echo, clock: Callable[[], float] = time.time) -> None:
        self._echo = echo
        self._clock = clock
        self._said: dict[tuple[int, str], str] = {}
        self._progress: dict[tuple[int, str], int] = {}
        self._progress_at = 0.0
        self._first = True
        self._batch = ""
        self._held = ""

    def tell(self, view: LoopView) -> None:
        """Say what is new in ``view``. What was over before the first view is not news."""
        if view.round is None:
            return
        for round, stages in ((view.round - 1, view.earlier), (view.round, view.stages)):
            for stage in stages:
                self._stage(round, stage)
        if view.trouble != self._held:
            self._held = view.trouble
            if view.held:
                self._echo(f"{number_format.clock(self._clock(), seconds=True)}  round {view.round}  {view.held}")
        if view.batch and view.state == "running" and (named := view.batch.partition(":")[0]) != self._batch:
            self._batch = named
            self._echo(f"{number_format.clock(self._clock(), seconds=True)}  round {view.round}  {view.batch}; {HOURS}")
        if view.writing and self._clock() - self._progress_at >= PROGRESS_EVERY_S:
            self._progress_at = self._clock()
            self._echo(
                f"{number_format.clock(self._clock(), seconds=True)}  round {view.round}  rewrite   {view.writing}"
            )
        self._first = False

    def _stage(self, round: int, stage: StageView) -> None:
        key = (round, stage.name)
        if stage.state != self._said.get(key, "pending"):
            self._said[key] = stage.state
            if not (self._first and stage.state == "done"):
                self._line(round, stage, _event(stage))
        now = self._clock()
        due = now - self._progress_at >= PROGRESS_EVERY_S
        if stage.state == "running" and stage.done and due and self._progress.get(key) != stage.done:
            self._progress[key], self._progress_at = stage.done, now
            self._line(round, stage, _progress(stage))

    def _line(self, round: int, stage: StageView, text: str) -> None:
        at = number_format.clock(self._clock(), seconds=True)
        self._echo(f"{at}  round {round}  {stage.name:<8}  {text}".rstrip())


def _event(stage: StageView) -> str:
    """What a change of state is called."""
    mark = MARKS.get(stage.state, "?")
    if stage.state == "running":
        return f"{mark} started" if not stage.done else f"{mark} goes on at {number_format.count(stage.done)}"
    if stage.state == "done" and stage.started_at and stage.finished_at:
        return f"{mark} done in {number_format.duration(stage.finished_at - stage.started_at)}"
    if stage.state == "waiting":
        return f"{mark} waits for a person{': ' + stage.error if stage.error else ''}"
    return f"{mark} {stage.state}{': ' + stage.error if stage.error else ''}"


def _progress(stage: StageView) -> str:
    parts = [f"{number_format.count(stage.done)} / {number_format.count(stage.total)}", f"{stage.share:4.0%}"]
    if stage.rate:
        parts.append(number_format.rate(stage.rate))
    if (left := stage.left_s) is not None:
        parts.append(f"{number_format.duration(left)} left")
    return "  ".join(parts)


def follow(project: Path, echo: Echo, every_s: float = EVERY_S) -> int:
    """Tell a run as it goes, until its worker ends; then the table of rounds and what to do next.

    Returns:
        0 done or paused, 4 waiting for review, 1 failed, cancelled or lost.
    """
    from middo_tui.text.status import gather, standing  # plain lines need it, the app never does

    reader, narrator, said = Reader(project), Narrator(echo), ""
    try:
        while True:
            view = reader.view()
            if view.wrong == "config.toml" and standing(project).pid is not None:  # the run has read it, and goes on
                if view.problem != said:
                    echo(view.problem)
                said = view.problem
            elif view.worker != "running" or view.problem:
                break
            else:
                narrator.tell(view)
            time.sleep(every_s)
        narrator.tell(view)
    finally:
        reader.close()
    if view.problem:
        echo(view.problem)
        return 1
    echo("")
    status = gather(project)
    for line in (rounds_table(status), *errors_note(status)):
        echo(line)
    tasks = task_lines(status)
    for line in ("", *tasks, *([""] if tasks else [])):
        echo(line)
    echo(_closing_words(view, project))
    return CODES.get(view.state, 0)


def what_now(project: Path) -> str:
    """What the state of ``project`` asks for, and the command that does it."""
    reader = Reader(project)
    try:
        view = reader.view()
    finally:
        reader.close()
    return view.problem or _closing_words(view, project)


def _closing_words(view: LoopView, project: Path) -> str:
    at = quote(str(project))
    ways = {
        **dict.fromkeys(("running", "pausing", "cancelling", "locked", "full"), f"Watch it with `middo-tui {at}`."),
        "lost": f"End it with `middo-tui cancel {at}`.",
        "waiting": f"Decide with `middo-tui review {at} --accept improved`, or in the app: `middo-tui {at}`.",
        "new": f"Start with `middo-tui run {at}`.",
        "done": f"Take the dataset out with `middo-tui export {at} OUT`.",
    }
    go_on = f"Go on with `middo-tui run {at}`."
    if view.state == "waiting" and not view.waiting.open:
        return f"{notice(view, keys=False).text} {go_on}"
    anew = f" With other settings: `middo-tui run {at} --redo select` (or rewrite)." if view.unchanged else ""
    return f"{notice(view, keys=False).text} {ways.get(view.state, go_on)}{anew}".strip()


def _triple(counts: Sequence[int]) -> str:
    return "/".join(str(count) for count in counts)


def _cells(entry: Mapping[str, Any], first: float | None) -> tuple[str, ...]:
    """One row of the table; ``first`` is the first measured accuracy, that ``change`` is told against."""
    scores, errors = entry["scores"], entry.get("stderr", {})
    accuracy, error = scores.get("accuracy"), errors.get("accuracy")
    by_axis = entry.get("rewrites_by_axis", {})
    blank = entry.get("closing", False)
    state = {stage["name"]: stage["state"] for stage in entry["stages"]}
    taken = [by_axis.get(axis, {}).get("accepted", 0) for axis in AXES]
    chosen, decided = state.get("select") == "done", any(taken) or state.get("review") == "done"
    return (
        str(entry["round"]),
        number_format.count(entry["size"]),
        "" if blank else _triple([entry["selected"][axis] for axis in AXES]) if chosen else number_format.NONE,
        "" if blank else number_format.count(sum(by_axis.get(axis, {}).get("rewritten", 0) for axis in AXES)),
        "" if blank else _triple(taken) if decided else number_format.NONE,
        number_format.fixed(scores.get("heldout_loss"), 4),
        number_format.NONE if accuracy is None else f"{accuracy:.1%}" + (f" ±{error * 100:.1f}" if error else ""),
        "" if accuracy is None or first is None else f"{number_format.change((accuracy - first) * 100, 1)} points",
    )


def rounds_table(status: Mapping[str, Any]) -> str:
    """The rounds of ``status --json`` as an aligned table; a closing round only measures."""
    if not status["rounds"]:
        return "No round has begun."
    measured = [entry["scores"]["accuracy"] for entry in status["rounds"] if "accuracy" in entry["scores"]]
    rows = [HEADER]
    for entry in status["rounds"]:
        seen = measured and entry["scores"].get("accuracy") is not None and entry is not status["rounds"][0]
        rows.append(_cells(entry, measured[0] if seen else None))  # type: ignore[arg-type]
    widths = [max(len(row[at]) for row in rows) for at in range(len(HEADER))]
    lines = ([f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)] for row in rows)
    return "\n".join(" | ".join(cells).rstrip() for cells in lines)


def errors_note(status: Mapping[str, Any]) -> list[str]:
    """What the ± of the table holds; nothing where there is none."""
    shown = any(entry.get("stderr", {}).get("accuracy") for entry in status["rounds"])
    return ["± standard error over the held-out questions; it leaves out what training again would change"] * shown


def task_lines(status: Mapping[str, Any]) -> list[str]:
    """The newest measured round's figures against the round before; none where the table has them all."""
    measured = next((entry for entry in reversed(status["rounds"]) if entry["scores"]), None)
    if measured is None or not measured["scores"].keys() - {"accuracy", "heldout_loss"}:
        return []
    names = {task: guard.one_line(task, 60) for task in measured["scores"]}
    wide = max(len(name) for name in names.values())
    lines = [f"scores of round {measured['round']}"]
    for task, name in names.items():
        error, change = measured["stderr"].get(task), measured["score_changes"].get(task)
        line = f"  {name:<{wide}}  {measured['scores'][task]:.4f}{'' if error is None else f' ±{error:.4f}'}"
        lines.append(line + (_change(change) if change else ""))
    return lines


def _change(found: Mapping[str, Any]) -> str:
    """``  +0.0125 ±0.0177 within its error``."""
    error, beyond = found["stderr"], found["beyond_stderr"]
    words = "" if beyond is None else " within its error" if not beyond else " better" if found["better"] else " worse"
    return f"  {number_format.change(found['change'], 4)}{'' if error is None else f' ±{error:.4f}'}{words}"


def describe(status: Mapping[str, Any]) -> str:
    """``middo-tui status``: who, where, the stages of the newest round, the table."""
    worker = status["worker"]
    pid = f" (pid {worker['pid']})" if worker["pid"] else ""
    lines = [
        f"project  {guard.one_line(str(status['project']))}",
        f"model    {guard.one_line(str(status.get('model') or number_format.NONE))}",
        f"worker   {worker['state']}{pid}" + (f": {worker['trouble']}" if worker.get("trouble") else ""),
    ]
    if status.get("config"):
        lines.append(f"config   {guard.one_line(status['config'])}")
    if not status["rounds"]:
        data = status.get("dataset", {})
        size, bad = (data.get(name, 0) for name in ("imported", "quarantined"))
        more = [f"{bad:,} in quarantine"] * bool(bad)
        lines.append(f"data     {', '.join([f'{size:,} samples', *more])}, nothing has run yet")
        return "\n".join([*lines, *heldout(data)])
    lines += heldout(status.get("dataset", {}))
    newest = status["rounds"][-1]
    lines.append(f"round    {newest['round']} of {status.get('rounds_wanted', number_format.NONE)}")
    lines += [_stage_line(stage) for stage in newest["stages"]]
    if said := spending(newest["teacher"], newest["teacher"]["projected"]):
        lines.append(f"teacher  {said}")
    if said := batch(newest["teacher"]["batch"], time.time()):
        lines.append(f"batch    {said}")
    if said := writing(newest["teacher"]["writing"]) if worker["state"] == "running" else "":
        lines.append(f"writing  {said}")
    tasks = task_lines(status)
    return "\n".join([*lines, "", rounds_table(status), *errors_note(status), *(["", *tasks] if tasks else [])])


def heldout(data: Mapping[str, int]) -> list[str]:
    """How many samples are held out, and whether the figures measured on them can be believed."""
    held, both = data.get("heldout", 0), data.get("overlap", 0)
    if not held:
        return []
    said = f"heldout  {held:,} samples, {both:,} of their prompts are also in the training data"
    if not both:
        return [said]
    return [
        f"{said}: scores measure memorisation",
        "         Not wanted? Make a new project of the same files without allow_overlap: init keeps the two apart",
    ]


def _stage_line(stage: Mapping[str, Any]) -> str:
    counts = f"{stage['done']:,} / {stage['total']:,}" if stage["total"] else ""
    error = guard.one_line(stage.get("error") or "")
    return f"  {MARKS.get(stage['state'], '?')} {stage['name']:<9} {stage['state']:<12} {counts}  {error}".rstrip()
