"""The loop as data: the stages in order, and the next step as a pure function of the jobs so far.

The app draws its list of stages from ``STAGES`` without importing any stage's code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set

from msgspec import Struct

from engine.config.schema import Config, slice_hash
from engine.plurals import counted
from engine.store.rows import Job, Plan, RoundFacts

MADE_BY = {"checkpoint": "train", "embeddings": "score", "map": "score"}
"""The stage that makes an artifact."""


class StageSpec(Struct, frozen=True):
    """One row of the loop table.

    ``group``: consecutive stages of one group run in one child process, one after the other, because they need the same
    model in memory; the group boundary is where the GPU must change hands. ``config``: the sections of config.toml that
    the stage's result depends on. ``version`` is raised when the stage's meaning changes.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    group: str
    config: tuple[str, ...]
    version: int
    target: str


# The settings that a rewrite's text depends on: no rate limits, no budgets.
TEACHER = tuple(
    f"teacher.{key}"
    for key in (
        "backend",
        "model",
        "url",
        "dtype",
        "temperature",
        "top_p",
        "max_new_tokens",
        "batch_size",
        "attempts",
        "best_of",
        "prime",
    )
)

VLLM = ("vllm.max_model_len", "vllm.quantization")

STAGES: tuple[StageSpec, ...] = (
    StageSpec(
        "train",
        ("sample",),
        ("metric", "checkpoint"),
        "train",
        ("project", "model", "train", "launch.processes"),
        2,
        "engine.stages.train:run",
    ),
    StageSpec(
        "score",
        ("sample", "checkpoint"),
        ("losses", "embeddings"),
        "diagnose",
        ("model", "score", "train.init", "select.neighbours", "select.parity"),
        4,
        "engine.stages.score:run",
    ),
    StageSpec(
        "judge",
        ("sample", "checkpoint"),
        ("ratings",),
        "diagnose",
        ("model", "judge", "select.parity", *VLLM),
        2,
        "engine.stages.judge:run",
    ),
    StageSpec(
        "evaluate",
        ("heldout", "checkpoint"),
        ("score",),
        "diagnose",
        ("model", "evaluate", "score.token_budget"),
        2,
        "engine.stages.evaluate:run",
    ),
    StageSpec(
        "select",
        ("losses", "embeddings", "ratings"),
        ("selection",),
        "diagnose",
        ("select", "merge"),
        1,
        "engine.stages.select:run",
    ),
    StageSpec(
        "rewrite",
        ("selection",),
        ("rewrite",),
        "rewrite",
        ("project", *TEACHER, *VLLM),
        1,
        "engine.stages.rewrite:run",
    ),
    StageSpec(
        "verify",
        ("rewrite", "checkpoint"),
        ("verdict",),
        "verify",
        ("model", "verify", "judge", "score", "select.neighbours", "select.parity", *VLLM),
        2,
        "engine.stages.verify:run",
    ),
    StageSpec("review", ("verdict",), ("decision",), "verify", ("review",), 1, "engine.stages.review:run"),
    StageSpec("merge", ("decision",), ("sample",), "verify", ("merge",), 1, "engine.stages.merge:run"),
)
NAMES: tuple[str, ...] = tuple(spec.name for spec in STAGES)
SHARED = frozenset({"train", "diagnose", "verify"})  # groups that can run in several processes
JUDGING = frozenset({"judge", "verify"})  # stages that rate
CLOSING: tuple[str, ...] = ("train", "evaluate")
GIVEN = frozenset({"sample", "heldout"})  # what an import provides
UNFINISHED = frozenset({"pending", "running", "paused", "failed", "cancelled", "interrupted", "waiting", "stale"})


class Limits(Struct, frozen=True):
    """The stop rule's limits: section [loop] of config.toml."""

    final_train: bool
    min_acceptance: float
    min_gain: float

    @classmethod
    def of(cls, config: Config) -> Limits:
        """The limits that ``config`` sets."""
        return cls(config.loop.final_train, config.loop.min_acceptance, config.loop.min_gain)


class RunStages(Struct, frozen=True):
    """Run these stages of this round in one child, one after the other."""

    round: int
    stages: tuple[str, ...]


class Reselect(Struct, frozen=True):
    """Do this round again from its select stage: it selected no sample, and a person has overridden some since."""

    round: int
    overridden: int


class Open(Struct, frozen=True):
    """Open this round. ``closing``: it only trains and evaluates, to measure the final dataset.

    ``stopped``: why the stop rule ended the loop early; None if it did not.
    """

    round: int
    closing: bool
    stopped: str | None = None


class Stop(Struct, frozen=True):
    """Nothing to do. ``state``: done, or until (the stage to run until has finished)."""

    state: str
    reason: str


def spec(name: str) -> StageSpec:
    """The row of the loop table for ``name``.

    Raises:
        KeyError: no such stage.
    """
    return next(s for s in STAGES if s.name == name)


def outdated(job: Job, config: Config) -> bool:
    """Whether a finished stage ran with other settings than ``config`` (``placed``), or as another version."""
    stage = spec(job.stage)
    return job.input_key is None or job.input_key.split(":")[1:] != [
        slice_hash(config, stage.config),
        str(stage.version),
    ]


def processes(config: Config, names: Sequence[str], nodes: int | None = None) -> int:
    """The number of processes, on all machines, for these stages of one group: one for vLLM, which spreads over GPUs by
    itself.

    Args:
        nodes: the machines that take part; None: all that config.toml asks for.
    """
    if config.judge.backend == "vllm" and JUDGING & set(names):
        return 1
    if spec(names[0]).group not in SHARED:
        return 1
    return config.launch.processes * (config.launch.nodes if nodes is None else nodes)


def separate_stages(config: Config) -> frozenset[str]:
    """The stages that run in a child process of their own, because vLLM needs the GPU's memory to itself."""
    return frozenset({"judge"} if config.judge.backend == "vllm" else ())


def check(stages: Sequence[StageSpec] = STAGES) -> None:
    """Check that every stage's inputs are imported or produced by an earlier stage.

    Raises:
        ValueError: names the stage and the missing inputs.
    """
    there = set(GIVEN)
    for stage in stages:
        if lacking := set(stage.inputs) - there:
            raise ValueError(f"stage {stage.name}: no earlier stage produces {', '.join(sorted(lacking))}")
        there |= set(stage.outputs)


def stop_reason(facts: RoundFacts, limits: Limits) -> str | None:
    """Why the loop stops after a round with these facts; None if another round is worthwhile."""
    if not facts.rewrites and not facts.dropped:
        return "no sample was selected, so this loop cannot improve the dataset further"
    if not facts.accepted and not facts.dropped:
        if facts.overridden:
            return None
        return f"none of {counted(facts.rewrites, 'rewrite')} was accepted, so the dataset did not change"
    if (share := (facts.accepted + facts.dropped) / max(1, facts.rewrites)) < limits.min_acceptance:
        return f"the acceptance rate fell to {share:.0%}, below loop.min_acceptance = {limits.min_acceptance:.0%}"
    if facts.gain is not None and facts.gain < limits.min_gain:
        return f"the gain of the round was {facts.gain:+.3f}, below loop.min_gain = {limits.min_gain:+.3f}"
    return None


def stages_of(closing: bool) -> tuple[str, ...]:
    """Names of a round's stages."""
    return CLOSING if closing else NAMES


def next_step(
    jobs: Sequence[Job],
    closing: Mapping[int, str | None],
    plan: Plan,
    facts: RoundFacts | None,
    limits: Limits,
    apart: Set[str] = frozenset(),
) -> RunStages | Reselect | Open | Stop:
    """The worker's next step.

    Args:
        jobs: all jobs of all rounds.
        closing: the closing rounds, each with why the stop rule ended the loop (None: all rounds were done).
        plan: what the person asked for.
        facts: of the newest round, once it is merged.
        limits: the stop rule's limits.
        apart: the stages that run in a child process of their own.
    """
    if not jobs:
        return Open(0, closing=False)
    newest = max(job.round for job in jobs)
    state = {job.stage: job.state for job in jobs if job.round == newest}
    names = stages_of(newest in closing)
    pending = [name for name in names if state.get(name, "pending") in UNFINISHED]
    if not pending and facts is not None and _selects_again(facts):
        return Reselect(newest, facts.overridden)
    if plan.until_stage and plan.until_round is not None:
        reached = newest > plan.until_round or (
            newest == plan.until_round and plan.until_stage not in pending and plan.until_stage in names
        )
        if reached:
            return Stop("until", f"stage {plan.until_stage} of round {plan.until_round} is done")
    if pending:
        return RunStages(newest, _group(pending, plan if plan.until_round == newest else None, apart))
    if newest not in closing:
        return _after(newest, plan, facts, limits)
    if closing[newest] or plan.rounds <= newest:
        return Stop("done", closing[newest] or _enough(newest))
    return Open(newest, closing=False)  # more rounds were asked for: the closing round becomes an ordinary one


def _selects_again(facts: RoundFacts) -> bool:
    """Whether a merged round is done again for a person's overrides: nothing that it made is lost by that."""
    return bool(facts.overridden) and not (facts.rewrites or facts.dropped or facts.control)


def _group(pending: Sequence[str], until: Plan | None, apart: Set[str]) -> tuple[str, ...]:
    """The first pending stage and those that follow it in the same child process."""
    first = spec(pending[0])
    out: list[str] = []
    for name in pending:
        if spec(name).group != first.group or (out and apart & {name, out[-1]}):
            break
        out.append(name)
        if until is not None and name == until.until_stage:
            break
    return tuple(out)


def _after(newest: int, plan: Plan, facts: RoundFacts | None, limits: Limits) -> Open | Stop:
    """The step after an ordinary round is finished."""
    reason = stop_reason(facts, limits) if facts else None
    if reason is None and newest + 1 < plan.rounds:
        return Open(newest + 1, closing=False)
    if limits.final_train and (facts is None or facts.accepted or facts.dropped or facts.control):
        return Open(newest + 1, closing=True, stopped=reason if newest + 1 < plan.rounds else None)
    return Stop("done", reason or _enough(newest + 1))


def _enough(rounds: int) -> str:
    return f"{counted(rounds, 'round is', 'rounds are')} done"
