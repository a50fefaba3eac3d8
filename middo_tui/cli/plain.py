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

from engine.plurals import counted
from engine.runtime.stalls import FEWER, MACHINES
from engine.store.rows import AXES
from middo_tui.feed.loop_notice import notice
from middo_tui.feed.reader import Reader
from middo_tui.feed.view import MARKS, LoopView, StageView
from middo_tui.terminal import guard
from middo_tui.text import number_format
from middo_tui.text.teacher_wording import batch, spending, writing

EVERY_S = 0.5
PROGRESS_EVERY_S = 5.0
SHORTEST_S = 0.5  # what is told of where time went
ENDED = frozenset({"done", "failed", "waiting", "paused", "cancelled"})
CODES = {"waiting": 4, "failed": 1, "lost": 1, "interrupted": 1, "cancelled": 1}
HEADER = ("round", "size", "selected C/D/Q", "rewritten", "accepted C/D/Q", "held-out loss", "accuracy")
HOURS = "this may take hours; the run continues if the terminal closes"
Echo = Callable[[str], Any]


class Narrator:
    """Turns one view after another into lines. Holds what was said, so that nothing is said twice."""

    def __init__(self, echo: Echo, clock: Callable[[], float] = time.time) -> None:
        self._echo = echo
        self._clock = clock
        self._reported: dict[tuple[int, str], str] = {}
        self._progress: dict[tuple[int, str], float] = {}
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
        held = view.held if view.trouble in (MACHINES, FEWER) else view.trouble  # another sentence has a time in it
        if held != self._held:
            self._held = held
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
        if stage.state != self._reported.get(key, "pending"):
            self._reported[key] = stage.state
            if not (self._first and stage.state == "done"):
                self._line(round, stage, _event(stage))
        now = self._clock()
        due = now - self._progress_at >= PROGRESS_EVERY_S
        done = stage.done + stage.partial
        if stage.state == "running" and done and due and self._progress.get(key) != done:
            self._progress[key], self._progress_at = done, now
            self._line(round, stage, _progress(stage))

    def _line(self, round: int, stage: StageView, text: str) -> None:
        at = number_format.clock(self._clock(), seconds=True)
        self._echo(f"{at}  round {round}  {stage.name:<8}  {text}".rstrip())


def _event(stage: StageView) -> str:
    """A stage's new state as text, e.g. ``✔ done in 12 s``."""
    mark = MARKS.get(stage.state, "?")
    if stage.state == "running":
        return f"{mark} started" if not stage.done else f"{mark} resumed at {number_format.count(stage.done)}"
    if stage.state == "done" and stage.started_at and stage.finished_at:
        return f"{mark} done in {number_format.duration(stage.seconds or stage.finished_at - stage.started_at)}"
    if stage.state == "waiting":
        return f"{mark} waiting{': ' + stage.error if stage.error else ' for review'}"
    return f"{mark} {stage.state}{': ' + stage.error if stage.error else ''}"


def _progress(stage: StageView) -> str:
    parts = [f"{number_format.count(stage.done)} / {number_format.count(stage.total)}", f"{stage.share:4.0%}"]
    if stage.rate:
        parts.append(number_format.rate(stage.rate))
    if (left := stage.left_s) is not None:
        parts.append(f"{number_format.duration(left)} left")
    return "  ".join(parts)


def follow(project: Path, echo: Echo, every_s: float = EVERY_S) -> int:
    """Print a run's progress until its worker ends, then the table of rounds and the next command.

    Returns:
        0 done or paused, 4 waiting for review, 1 failed, cancelled or lost.
    """
    from middo_tui.text.status import gather, standing  # plain lines need it, the app never does

    reader, narrator, said = Reader(project), Narrator(echo), ""
    began, before = time.monotonic(), None
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
                before = spent(gather(project)) if before is None else before
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
    for line in _rounds_lines(status):
        echo(line)
    if before is not None:
        echo(time_line(status, before, time.monotonic() - began))
    tasks = task_lines(status)
    for line in ("", *tasks, *([""] if tasks else [])):
        echo(line)
    echo(_closing_words(view, project))
    return CODES.get(view.state, 0)


def spent(status: Mapping[str, Any]) -> dict[tuple[int, str], float]:
    """Seconds at work by round and stage."""
    return {
        (entry["round"], stage["name"]): stage["seconds"] or 0.0
        for entry in status["rounds"]
        for stage in entry["stages"]
    }


def time_line(status: Mapping[str, Any], before: Mapping[tuple[int, str], float], elapsed: float) -> str:
    """Where the time of a run went, the longest first.

    Args:
        before: ``spent`` when it began. elapsed: seconds since.
    """
    by_stage: dict[str, float] = {}
    for (round, name), seconds in spent(status).items():
        earlier = before.get((round, name), 0.0)
        # less than before: it began anew meanwhile (--redo), and what it took then is not in it any more
        by_stage[name] = by_stage.get(name, 0.0) + seconds - (earlier if earlier <= seconds else 0.0)
    rest = elapsed - sum(by_stage.values())
    told = [*sorted(by_stage.items(), key=lambda one: -one[1]), ("starting stages and waiting", rest)]
    parts = [f"{name} {number_format.duration(seconds)}" for name, seconds in told if seconds >= SHORTEST_S]
    peaks = [(stage["peak_bytes"] or 0, stage["name"]) for entry in status["rounds"] for stage in entry["stages"]]
    most, name = max(peaks, default=(0, ""))
    peak = f"; most memory: {number_format.memory(most)} ({name})" if most else ""
    return f"time: {number_format.duration(elapsed)}: {', '.join(parts) or 'no stage has run'}{peak}"


def time_left(status: Mapping[str, Any]) -> list[str]:
    """About how long what is left will take; nothing where that is not known."""
    estimate = status.get("estimate")
    return [f"time     {estimate['text']}"] if estimate else []


def what_now(project: Path) -> str:
    """The state of ``project`` in a sentence, and the command to run next."""
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
        "lost": f"Stop it with `middo-tui cancel {at}`.",
        "waiting": f"Review in the app with `middo-tui {at}`, or run `middo-tui review {at} --accept improved`.",
        "new": f"Start with `middo-tui run {at}`.",
        "done": f"Export the dataset with `middo-tui export {at} OUT`.",
    }
    resume = f"Resume with `middo-tui run {at}`."
    if view.state == "waiting" and not view.waiting.open:
        return f"{notice(view, keys=False).text} {resume}"
    redo = f" With other settings, redo it: `middo-tui run {at} --redo select` (or rewrite)." if view.unchanged else ""
    more = view.state == "done" and view.overridden and view.extensible
    again = f" For your {counted(view.overridden, 'override')}: `middo-tui run {at} --rounds {view.rounds + 1}`."
    return f"{notice(view, keys=False).text} {ways.get(view.state, resume)}{redo}{again if more else ''}".strip()


def _triple(counts: Sequence[int]) -> str:
    return "/".join(str(count) for count in counts)


def _cells(entry: Mapping[str, Any], first: float | None) -> tuple[str, ...]:
    """One row of the table. ``first``: the first measured accuracy, which the last cell is relative to."""
    scores, errors = entry["scores"], entry.get("stderr", {})
    accuracy, error = scores.get("accuracy"), errors.get("accuracy")
    by_axis = entry.get("rewrites_by_axis", {})
    blank = entry.get("closing", False)
    state = {stage["name"]: stage["state"] for stage in entry["stages"]}
    taken = [by_axis.get(axis, {}).get("accepted", 0) for axis in AXES]
    chosen = state.get("select") == "done" and "stopped" in (entry.get("evidence") or {"stopped": ""})
    decided = any(taken) or state.get("review") == "done"
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
    """The rounds of ``status --json`` as an aligned table. The final evaluation has no rewrites."""
    if not status["rounds"]:
        return "No round has started."
    first = next((entry for entry in status["rounds"] if entry["scores"].get("accuracy") is not None), None)
    since = f"from round {first['round'] if first else 0}"  # Rounds in the app has the change from the round before
    rows: list[tuple[str, ...]] = [(*HEADER, since)]
    for entry in status["rounds"]:
        rows.append(_cells(entry, first["scores"]["accuracy"] if first and entry is not first else None))
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    lines = ([f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)] for row in rows)
    return "\n".join(" | ".join(cells).rstrip() for cells in lines)


def errors_note(status: Mapping[str, Any]) -> list[str]:
    """The legend for the table's ±; empty if it has none."""
    shown = any(entry.get("stderr", {}).get("accuracy") for entry in status["rounds"])
    return ["± is the standard error over held-out questions; it excludes the variance between training runs"] * shown


def _rounds_lines(status: Mapping[str, Any]) -> list[str]:
    """The table of the rounds and what is said below it."""
    below = (errors_note, evidence_lines, neighbour_lines, control_lines)
    return [rounds_table(status), *(line for lines in below for line in lines(status))]


def neighbour_lines(status: Mapping[str, Any]) -> list[str]:
    """How many of the true neighbours an index found, per round that used one."""
    found = ((entry["round"], entry.get("neighbour_recall")) for entry in status["rounds"])
    return [f"round {number}: an index found {share:.2%} of the nearest neighbours" for number, share in found if share]


def evidence_lines(status: Mapping[str, Any]) -> list[str]:
    """How much looks flawed, and when the teacher was asked no more, per round that selected by evidence."""
    found = ((entry["round"], (entry.get("evidence") or {}).get("verdict")) for entry in status["rounds"])
    return [f"round {number}: {guard.one_line(str(verdict))}" for number, verdict in found if verdict]


def control_lines(status: Mapping[str, Any]) -> list[str]:
    """What the controls of each round say of it."""
    return [
        f"round {entry['round']}: {guard.one_line(said)}"
        for entry in status["rounds"]
        for said in entry.get("control_results", ())
    ]


def task_lines(status: Mapping[str, Any]) -> list[str]:
    """Scores of the newest measured round and their change from the round before; empty if the table has them all."""
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
    """E.g. ``  +0.0125 ±0.0177 within chance``."""
    error, beyond = found["stderr"], found["beyond_chance"]
    words = "" if beyond is None else " within chance" if not beyond else " better" if found["better"] else " worse"
    return f"  {number_format.change(found['change'], 4)}{'' if error is None else f' ±{error:.4f}'}{words}"


def machines(facts: Mapping[str, Any] | None) -> list[str]:
    """The run's other machines and what each does; nothing for a run on this one alone."""
    if facts is None:
        return []
    joined = [guard.one_line(f"{one['name']}: {one['doing']}") for one in facts["joined"]]
    return [f"machines {len(joined) + 1} of {facts['nodes']}{'; ' * bool(joined)}{', '.join(joined)}"]


def describe(status: Mapping[str, Any]) -> str:
    """The text of ``middo-tui status``: project, worker, the newest round's stages, the table of rounds."""
    worker = status["worker"]
    pid = f" (pid {worker['pid']})" if worker["pid"] else ""
    lines = [
        f"project  {guard.one_line(str(status['project']))}",
        f"model    {guard.one_line(str(status.get('model') or number_format.NONE))}",
        f"worker   {worker['state']}{pid}" + (f": {worker['trouble']}" if worker.get("trouble") else ""),
    ]
    lines += machines(status.get("machines"))
    if status.get("config"):
        lines.append(f"config   {guard.one_line(status['config'])}")
    if not status["rounds"]:
        data = status.get("dataset", {})
        size, bad = (data.get(name, 0) for name in ("imported", "quarantined"))
        flagged = data.get("injections", 0)
        more = [f"{bad:,} quarantined"] * bool(bad) + [f"{flagged:,} flagged (prompt injection)"] * bool(flagged)
        lines.append(f"data     {', '.join([counted(size, 'sample'), *more])}; no round has run yet")
        return "\n".join([*lines, *heldout(data), *time_left(status)])
    lines += heldout(status.get("dataset", {}))
    if flagged := status.get("dataset", {}).get("injections", 0):
        see = "`samples DIR --where flag:injection` lists them"
        lines.append(f"flagged  {counted(flagged, 'possible prompt injection')}; {see}")
    newest = status["rounds"][-1]
    lines.append(f"round    {_round_place(newest, status.get('rounds_wanted'))}")
    lines += [_stage_line(stage) for stage in newest["stages"]]
    lines += judge(newest.get("judge"))
    if said := spending(newest["teacher"], newest["teacher"]["projected"], newest.get("evidence")):
        lines.append(f"teacher  {said}")
    if said := batch(newest["teacher"]["batch"], time.time()):
        lines.append(f"batch    {said}")
    if said := writing(newest["teacher"]["writing"]) if worker["state"] == "running" else "":
        lines.append(f"writing  {said}")
    lines += time_left(status)
    tasks = task_lines(status)
    table = _rounds_lines(status)
    return "\n".join([*lines, "", *table, *(["", *tasks] if tasks else [])])


def judge(found: Mapping[str, Any] | None) -> list[str]:
    """The lines on the newest round's judge: whether it can be believed, and its errors where they are many."""
    if found is None:
        return []
    rated, errors = found["rated"], found["errors"]
    many = f"judge    could not rate {errors:,} of {counted(rated + errors, 'sample')}"
    return [f"judge    {found['verdict'].removeprefix('the judge ')}", *[many] * found["alarm"]]


def _round_place(newest: Mapping[str, Any], rounds: int | None) -> str:
    """E.g. ``0 (1/3)``, as in the app's header, or ``final evaluation``."""
    if newest.get("closing"):
        return "final evaluation"
    return str(newest["round"]) + (f" ({newest['round'] + 1}/{rounds})" if rounds else "")


def heldout(data: Mapping[str, int]) -> list[str]:
    """The lines on the held-out set: its size, and a warning if its prompts are trained on."""
    held, both = data.get("heldout", 0), data.get("overlap", 0)
    if not held:
        return []
    said = f"heldout  {counted(held, 'sample')}, {both:,} with prompts that are also in the training data"
    if not both:
        return [said]
    return [
        f"{said}: scores partly measure memorisation",
        "         To avoid this, create a new project from the same files without allow_overlap",
    ]


def _stage_line(stage: Mapping[str, Any]) -> str:
    counts = f"{stage['done']:,} / {stage['total']:,}" if stage["total"] else ""
    error = guard.one_line(stage.get("error") or "")
    if not error and stage.get("seconds"):
        cost = number_format.cost(stage["cpu_seconds"] or 0.0, stage["peak_bytes"] or 0)
        error = f"{number_format.duration(stage['seconds'])} ({cost})"
    return f"  {MARKS.get(stage['state'], '?')} {stage['name']:<9} {stage['state']:<12} {counts}  {error}".rstrip()
