"""The tasks of lm-eval, in a process of their own: starting it, following it, keeping what it found.

The scorer's memory is given back first. Every task is saved when it is done, so a killed or paused evaluation repeats
none; of the one that ran, replies are kept batch by batch until it is done (``engine.evaluation.reply_cache``). A task
that fails, or takes the process down with it, leaves the others as they are; when all were tried, the stage fails with
the reasons, and run again it tries only those.
"""

from __future__ import annotations

import hashlib
import os
import selectors
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import islice
from pathlib import Path

import msgspec

from engine.backends import hf
from engine.chat.render import thinks
from engine.config import schema as configs
from engine.config.named_templates import content_key
from engine.distributed import ranks
from engine.errors import StageError
from engine.evaluation import sandbox, task_index
from engine.evaluation.harness import At, EvaluationJob, Failed, Planned, Report, TaskResult
from engine.evaluation.task_index import TaskNeeds
from engine.models import locate
from engine.plurals import counted
from engine.processes import environment
from engine.processes.death_pipe import kill_group
from engine.processes.exit_reason import how_ended
from engine.signals import round_models
from engine.stage import Ctx
from engine.store.rows import EvalScore, Row, TaskItem

POLL_S = 0.5
END_S = 30.0


@dataclass
class _Tally:
    """Questions asked so far: those of finished tasks, and the share of the one that runs. ``base``: held-out units."""

    base: int
    sizes: dict[str, int]
    done: dict[str, float] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    now: str = ""

    def at(self) -> int:
        """Units done."""
        return self.base + round(sum(self.sizes.get(name, 0) * share for name, share in self.done.items()))

    @property
    def total(self) -> int:
        """Total units known so far."""
        return self.base + sum(self.sizes.values())


def run(ctx: Ctx, base: int) -> None:
    """Measure the tasks of [evaluate] that have no figure yet. ``base``: units that the stage has done before.

    Raises:
        ConfigError: a task that cannot be run.
        StageError: tasks that failed, with their reasons; the others' figures are saved.
    """
    needs = task_index.check(ctx.config, ctx.project)
    sources = {name: source(ctx.config, name) for name in needs}
    there = [row for row in ctx.rows(EvalScore) if row.source in sources.values() and row.main]
    done = {name: sum(row.n for row in there if row.source == sources[name]) for name in needs}
    pending = [name for name in needs if not done[name]]
    if not pending:
        _forget(ctx)
        return
    tally = _Tally(base, {name: n for name, n in done.items() if n}, {name: 1.0 for name, n in done.items() if n})
    list(ranks.map_batches(_release, range(ranks.size())))
    kept = _kept(ctx, sources)
    while pending:  # repeated if a task crashed the process
        # Tasks that run what the model wrote come last, in a process that knows no key or token.
        now = [name for name in pending if not needs[name].runs_code] or pending
        job = _job(ctx, now, needs, kept)
        scratch = _scratch(ctx, needs, job)
        if scratch and not all(needs[name].local for name in now):
            # What the tasks ask is fetched before: in the sandbox there is no network.
            with _Process(msgspec.structs.replace(job, prepare=str(scratch)), needs, ctx.config.secret_names) as child:
                _follow(ctx, child, tally, sources, kept)
            job = msgspec.structs.replace(job, tasks=tuple(name for name in now if name not in tally.failed))
        with _Process(job, needs, ctx.config.secret_names, scratch) as child:
            _follow(ctx, child, tally, sources, kept)
            _blame(child, tally, now)
        pending = [name for name in pending if name not in tally.done and name not in tally.failed]
    if tally.failed:
        said = "; ".join(f"{name}: {reason}" for name, reason in tally.failed.items())
        raise StageError(
            f"{len(tally.failed)} of {counted(len(needs), 'evaluation task')} failed: {said}. The others are saved. Run"
            " again to retry these, or remove them from [evaluate] tasks."
        )
    _forget(ctx)


def source(config: configs.Config, name: str) -> str:
    """What a task's figures depend on besides the round's model: they are measured again when it changes."""
    how = config.evaluate
    template = content_key(config.model.chat_template)
    parts = (
        (config.project.seed, how.backend, how.limit, how.num_fewshot.get(name), how.metrics.get(name)),
        (
            how.apply_chat_template,
            how.fewshot_as_multiturn,
            template,
            how.include_path,
        ),
    )
    return f"{name}:{hashlib.blake2b(msgspec.json.encode(parts), digest_size=6).hexdigest()}"


REPLIES = "replies"
"""Where the replies to a task's requests are kept until it is done."""

SANDBOX = "sandbox"
"""What code that the model wrote may write to."""


def _kept(ctx: Ctx, sources: Mapping[str, str]) -> dict[str, Path]:
    """The file of each task's replies, named by all that they depend on besides the requests' texts."""
    how = configs.slice_hash(ctx.config, ("model", "evaluate.model_args"))
    by = locate.fingerprint(round_models.after_model(ctx)), how, version("lm_eval")
    folder = ctx.workdir(REPLIES)
    marks = {name: hashlib.blake2b(":".join((it, *by)).encode(), digest_size=8) for name, it in sources.items()}
    return {name: folder / f"{mark.hexdigest()}.jsonl" for name, mark in marks.items()}


def _forget(ctx: Ctx) -> None:
    """All tasks are done: drop the replies, also those that an earlier model gave or that other settings asked for."""
    shutil.rmtree(ctx.workdir(REPLIES))
    shutil.rmtree(ctx.workdir(SANDBOX))


def _scratch(ctx: Ctx, needs: Mapping[str, TaskNeeds], job: EvaluationJob) -> Path | None:
    """An empty folder for the sandbox that ``job`` is to run in; None where it runs without one."""
    if ctx.config.evaluate.allow_unconfined_code or not any(needs[name].runs_code for name in job.tasks):
        return None
    shutil.rmtree(ctx.workdir(SANDBOX))
    return ctx.workdir(SANDBOX)


def _release(_: int) -> None:
    hf.release()


def _job(ctx: Ctx, pending: Sequence[str], needs: Mapping[str, TaskNeeds], kept: Mapping[str, Path]) -> EvaluationJob:
    ref = round_models.after_model(ctx)
    own = task_index.own_folder(ctx.config.evaluate, ctx.project)
    return EvaluationJob(
        base=str(ref.base),
        adapter=str(ref.adapter) if ref.adapter else None,
        nf4=ref.nf4,
        model=ctx.config.model,
        seed=ctx.config.project.seed,
        tasks=tuple(pending),
        own=str(own) if own else None,
        defaults=not all(need.local for need in needs.values()),
        how=ctx.config.evaluate,
        kept={name: str(kept[name]) for name in pending},
        processes=ctx.config.launch.processes if ctx.config.evaluate.backend == "hf" else 1,
        thinking=_thinks(ctx),
    )


LOOKED_AT = 1000
"""Samples that tell whether a dataset's answers have reasoning traces."""


def _thinks(ctx: Ctx) -> bool:
    """Whether most answers that the model was trained on begin with reasoning: then a task's do too."""
    rows = [thinks(sample.messages) for sample in islice(ctx.dataset(), LOOKED_AT)]
    return 2 * sum(rows) > len(rows)


class _Process:
    """The running child, ended with its whole group on the way out."""

    def __init__(
        self, job: EvaluationJob, needs: Mapping[str, TaskNeeds], keys: Collection[str], scratch: Path | None = None
    ) -> None:
        death, self.alive = os.pipe()
        self.reports, report = os.pipe()
        sys.stdout.flush()
        # A file beside the tasks, which the folder is for, never stands in for a library: PYTHONSAFEPATH.
        argv = [sys.executable, "-m", "engine.evaluation.harness", msgspec.json.encode(job).decode()]
        argv += [str(death), str(report)]
        env = _environment(
            offline=scratch is not None or all(needs[name].local for name in job.tasks),
            code=any(needs[name].runs_code for name in job.tasks),
            known=keys,
        )
        if scratch is not None:
            argv, env = _confined(argv, job, scratch), sandbox.environment(env, scratch)
        self.process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            pass_fds=[death, report],
            start_new_session=True,
            cwd=job.own or "/",
            env=env,
        )
        os.close(death)
        os.close(report)

    def __enter__(self) -> _Process:
        return self

    def __exit__(self, *_: object) -> None:
        kill_group(self.process.pid)
        self.process.wait()
        os.close(self.alive)
        os.close(self.reports)

    def ended(self) -> int:
        """Its exit code, once it reports no more; one that does not end then is killed."""
        try:
            return self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def listen(self) -> Iterator[Report | None]:
        """Its reports until it ends; None whenever there was none for a moment."""
        rest = b""
        with selectors.DefaultSelector() as ready:
            ready.register(self.reports, selectors.EVENT_READ)
            while True:
                if not ready.select(POLL_S):
                    yield None
                    continue
                if not (read := os.read(self.reports, 1 << 20)):
                    return
                *lines, rest = (rest + read).split(b"\n")
                yield from (msgspec.json.decode(line, type=Report) for line in lines)


def _confined(argv: Sequence[str], job: EvaluationJob, scratch: Path) -> list[str]:
    """``argv`` in a sandbox that sees the model and the project's own tasks, and may write the replies to keep."""
    seen = (job.base, job.adapter, job.own, job.model.chat_template)
    read = [path for path in map(Path, filter(None, seen)) if path.exists()]
    return sandbox.command(argv, read, {scratch, *(Path(file).parent for file in job.kept.values())})


def _environment(offline: bool, code: bool, known: Collection[str] = ()) -> dict[str, str]:
    """What lm-eval's process finds. ``code``: it runs what the model wrote, and so gets no key and no token.
    ``known``: config.toml's own keys, of which it needs none.
    """
    own = {name: value for name, value in environment.for_children().items() if name not in known}
    own |= {"TQDM_MININTERVAL": "30", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    if code:
        own = environment.without_secrets(own) | {"HF_ALLOW_CODE_EVAL": "1"}
    if offline:
        own |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_EVALUATE_OFFLINE": "1"}
    return own


def _follow(ctx: Ctx, child: _Process, tally: _Tally, sources: Mapping[str, str], kept: Mapping[str, Path]) -> None:
    """Save what is reported, show how far it is, and stop when that is wanted."""
    for report in child.listen():
        match report:
            case Planned(sizes):
                tally.sizes |= sizes
                ctx.begin(tally.total, tally.at())
            case At(task, share):
                tally.now = task
                tally.done[task] = share
            case TaskResult(task):
                tally.now = ""
                tally.done[task] = 1.0
                ctx.event(_describe(report))
                ctx.save(_rows(ctx.round, report, sources[task]), tally.at())
                kept[task].unlink(missing_ok=True)
            case Failed(task, reason):
                tally.now = ""
                tally.done.pop(task, None)
                tally.failed[task] = reason
                ctx.event(f"{task} failed: {reason}", "warning")
        ctx.progress(tally.at())


def _blame(child: _Process, tally: _Tally, pending: Sequence[str]) -> None:
    """Mark the task that was running when the process died, or all tasks, as failed."""
    left = [name for name in pending if tally.done.get(name, 0.0) < 1.0 and name not in tally.failed]
    if not left:
        return
    code = child.ended()
    how = how_ended(code)
    for name in [tally.now] if tally.now else left:
        tally.done.pop(name, None)
        tally.failed[name] = f"lm-eval {how}" + ("" if tally.now else " before its first task")
    tally.now = ""


def _rows(round: int, found: TaskResult, source: str) -> list[Row]:
    rows: list[Row] = []
    for one in found.figures:
        name = one.task if one.main else f"{one.task}:{one.metric}"
        rows.append(EvalScore(round, name, one.value, one.stderr, one.n, one.metric, one.higher, source))
        rows += (TaskItem(round, one.task, item, score) for item, score in one.items)
    return rows


def _describe(found: TaskResult) -> str:
    main = next(one for one in found.figures if one.main)
    score = EvalScore(0, found.task, main.value, main.stderr, main.n, main.metric, main.higher).with_error()
    error = "" if score.stderr is None else f" ± {score.stderr:.4f}"
    shots = f", {found.shots}-shot" if found.shots else ""
    return f"{found.task}: {main.metric} {main.value:.4f}{error} (n={main.n:,}{shots})"
