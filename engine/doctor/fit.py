"""Does the loop fit into memory and onto the disk, stage by stage, and which settings make it fit? Loads no torch.

Every change that is proposed was tried on the estimate (``engine.doctor.memory``) first: with it the stage fits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import msgspec

from engine.config.schema import Config
from engine.doctor import memory
from engine.doctor.finding import Finding
from engine.doctor.memory import WHOLE, DeviceSplit, ModelShape, Need

GIB, MIB = 2**30, 2**20
TIGHT = 0.9  # of the memory that is there: the rest is for what the estimate leaves out
SHORTEST = 512  # tokens: what max_length and token_budget are not lowered beyond
# Changed together, so that an update still sees as many samples.
BATCH = ("train.batch_size", "train.gradient_accumulation")
TOGETHER = dict.fromkeys(BATCH, BATCH)
# What the hf backend halves by itself when a batch does not fit a GPU.
HALVED = {"score.token_budget", "judge.token_budget", "evaluate.batch_size", "teacher.batch_size"}
Changes = Mapping[str, object]  # "train.batch_size" -> 1


@dataclass(frozen=True, slots=True)
class Device:
    """What one process has to itself: a GPU, or its share of the machine's memory."""

    name: str
    free: int
    cuda: bool
    split: DeviceSplit = WHOLE


def size(count: float) -> str:
    """Bytes for a person."""
    return f"{count / GIB:.1f} GiB" if count >= GIB else f"{count / MIB:,.0f} MiB"


def changed(config: Config, changes: Changes) -> Config:
    """``config`` with some keys (section.key) set otherwise."""
    for path, value in changes.items():
        section, _, key = path.partition(".")
        part = msgspec.structs.replace(getattr(config, section), **{key: value})
        config = msgspec.structs.replace(config, **{section: part})
    return config


@dataclass(frozen=True, slots=True)
class Models:
    """The shapes of the loop's own model and of a local teacher, where it is known."""

    own: ModelShape
    teacher: ModelShape | None = None


def stages(models: Models, config: Config, device: Device, longest: int) -> Iterator[Finding]:
    """A finding for every stage that has a model in its own process."""
    for need in _needs(models, config, device, longest):
        yield _finding(need, models, config, device, longest)


def _needs(models: Models, config: Config, device: Device, longest: int) -> list[Need]:
    return memory.needs(models.own, config, device.cuda, longest, device.split, models.teacher)


def _finding(need: Need, models: Models, config: Config, device: Device, longest: int) -> Finding:
    largest = sorted(need.parts.items(), key=lambda part: -part[1])[:3]
    parts = ", ".join(f"{name} {size(count)}" for name, count in largest)
    text = f"about {size(need.total)} of {size(device.free)} on {device.name} ({parts})"
    if need.total <= device.free * TIGHT:
        return Finding(need.stage, text)
    bad = need.total > device.free
    split = need.stage == "train" and config.launch.processes > 1 and device.split == WHOLE
    other = "; or split it over the GPUs: [launch] accelerate_config" if split else ""
    wanted = fitting(need.stage, models, config, device, longest)
    if wanted is None:
        fix = "no setting makes it fit: take a smaller model, or more memory" + other
        return Finding(need.stage, text, bad, fix)
    after = _need(need.stage, models, changed(config, wanted), device, longest)
    fix = f"{as_toml(wanted)}: about {size(after)}{other}"
    if bad and device.cuda and need.stage != "train" and wanted.keys() <= HALVED:
        return Finding(need.stage, text, fix=f"{fix}; as it is, batches that do not fit are tried again in halves")
    return Finding(need.stage, text, bad, fix)


def as_toml(changes: Changes) -> str:
    """Keys to set, as they stand in config.toml."""
    from engine.config.defaults import toml

    sections: dict[str, list[str]] = {}
    for path, value in changes.items():
        section, _, key = path.partition(".")
        sections.setdefault(section, []).append(f"{key} = {toml(value)}")
    return "set " + "; ".join(f"[{section}] {', '.join(keys)}" for section, keys in sections.items())


def _need(stage: str, models: Models, config: Config, device: Device, longest: int) -> int:
    return next(need.total for need in _needs(models, config, device, longest) if need.stage == stage)


def fitting(stage: str, models: Models, config: Config, device: Device, longest: int) -> Changes | None:
    """The mildest changes with which ``stage`` fits, or None. What changes no result comes first."""
    made: dict[str, object] = {}

    def fits(changes: Changes) -> bool:
        return _need(stage, models, changed(config, changes), device, longest) <= device.free * TIGHT

    for step in _milder(stage, config, longest, device.split == WHOLE):
        made |= step
        if fits(made):
            break
    else:
        return None
    for key in list(made):  # a later change may have made an earlier one needless
        fewer = {k: v for k, v in made.items() if k not in TOGETHER.get(key, (key,))}
        if fits(fewer):
            made = fewer
    return made


def _milder(stage: str, config: Config, longest: int, whole: bool) -> Iterator[dict[str, object]]:
    """Changes to try, one after the other, each on top of those before.

    Args:
        whole: every process holds a whole copy; 4-bit weights cannot be split.
    """
    if stage == "train":
        yield from _milder_training(config, longest, whole)
    elif stage in ("evaluate", "rewrite"):
        section = "teacher" if stage == "rewrite" else stage
        rows = getattr(config, section).batch_size
        while rows > 1:
            rows //= 2
            yield {f"{section}.batch_size": rows}
    else:
        budget = getattr(config, stage).token_budget
        while budget // 2 >= max(SHORTEST, longest):
            budget //= 2
            yield {f"{stage}.token_budget": budget}
    section = "teacher" if stage == "rewrite" else "model"
    if getattr(config, section).dtype == "float32":
        yield {f"{section}.dtype": "bfloat16"}
    own = stage not in ("train", "rewrite") or (stage == "rewrite" and not config.teacher.model)
    if own and config.train.method != "qlora" and whole:
        yield {"train.method": "qlora"}


def _milder_training(config: Config, longest: int, whole: bool) -> Iterator[dict[str, object]]:
    how = config.train
    if not how.gradient_checkpointing:
        yield {"train.gradient_checkpointing": True}
    batch, gathered = how.batch_size, how.gradient_accumulation
    while batch > 1:
        batch, gathered = batch // 2, gathered * 2
        yield {"train.batch_size": batch, "train.gradient_accumulation": gathered}
    for method in {"full": ("lora", "qlora"), "lora": ("qlora",), "qlora": ()}[how.method]:
        if whole or method != "qlora":
            yield {"train.method": method}
    length = min(config.model.max_length, longest)
    while length // 2 >= SHORTEST:
        length //= 2
        yield {"model.max_length": length}


def disk(shape: ModelShape, config: Config, samples: int, free: int) -> Finding:
    """The most that the project's folder will hold at a time, against what is free."""
    need = partial(disk_need, shape, config, samples)
    parts = need(config.train.keep_checkpoints)
    total = sum(parts.values())
    listed = ", ".join(f"{name} {size(count)}" for name, count in parts.items() if count)
    text = f"the run needs up to {size(total)} ({listed}); {size(free)} free"
    if total <= free:
        return Finding("disk for it", text)
    fewer: Callable[[int], bool] = lambda keep: sum(need(keep).values()) <= free  # noqa: E731
    if config.train.keep_checkpoints != 1 and fewer(1):
        return Finding("disk for it", text, True, "set [train] keep_checkpoints = 1 (the last and the best round's)")
    return Finding("disk for it", text, True, f"free {size(total - free)}, or make the project on a larger disk")


def disk_need(shape: ModelShape, config: Config, samples: int, keep: int) -> dict[str, int]:
    """Bytes by what for.

    Args:
        keep: as train.keep_checkpoints.
    """
    how = config.train
    rounds = config.loop.rounds + int(config.loop.final_train)
    if how.method == "full":
        trained = shape.parameters
        final = trained * (4 if config.model.dtype == "float32" else 2)
    else:
        trained = memory.adapter(shape, config)
        final = trained * 4
    kept = min(rounds, keep + 2) if keep else rounds  # also the best one, and the one that is being written
    return {
        f"{kept} checkpoints": kept * final,
        "2 to resume from": 2 * 3 * 4 * trained,  # weights and AdamW's two states; the old one goes after the new one
        "embeddings": rounds * samples * shape.hidden * 2,
    }


def lines(findings: Sequence[Finding]) -> list[dict[str, str]]:
    """For scripts."""
    return [{"name": f.name, "level": f.level, "text": f.text, "fix": f.fix} for f in findings]
