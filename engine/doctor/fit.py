"""Estimates whether every stage fits into memory and the project onto the disk, and finds settings that make it fit.

Every proposed change was tested on the estimate (``engine.doctor.memory``): with it the stage fits. Loads no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec

from engine.config.schema import Config
from engine.doctor import memory
from engine.doctor.finding import Finding
from engine.doctor.memory import WHOLE, DeviceSplit, ModelShape, Need

GIB, MIB = 2**30, 2**20
TIGHT = 0.9  # share of the available memory; the rest is a margin for what the estimate omits
SHORTEST = 512  # lowest max_length and token_budget to propose, in tokens
# Changed together, so that the samples per optimizer step stay the same.
BATCH = ("train.batch_size", "train.gradient_accumulation")
TOGETHER = dict.fromkeys(BATCH, BATCH)
# Settings that the hf backend halves by itself if a batch does not fit a GPU.
HALVED = {"score.token_budget", "judge.token_budget", "evaluate.batch_size", "teacher.batch_size"}
Changes = Mapping[str, object]  # "train.batch_size" -> 1


@dataclass(frozen=True, slots=True)
class Device:
    """The memory of one process: a GPU, or its share of the machine's RAM."""

    name: str
    free: int
    cuda: bool
    split: DeviceSplit = WHOLE


def size(count: float) -> str:
    """Bytes for a person."""
    return f"{count / GIB:.1f} GiB" if count >= GIB else f"{count / MIB:,.0f} MiB"


def changed(config: Config, changes: Changes) -> Config:
    """``config`` with some dotted keys changed."""
    for path, value in changes.items():
        section, _, key = path.partition(".")
        part = msgspec.structs.replace(getattr(config, section), **{key: value})
        config = msgspec.structs.replace(config, **{section: part})
    return config


@dataclass(frozen=True, slots=True)
class Models:
    """The shapes of the fine-tuned model and of a local teacher (None if unknown)."""

    own: ModelShape
    teacher: ModelShape | None = None


def stages(models: Models, config: Config, device: Device, longest: int) -> Iterator[Finding]:
    """A finding per stage that loads a model in its process."""
    for need in _needs(models, config, device, longest):
        yield _finding(need, models, config, device, longest)


def recomputes(models: Models, config: Config, device: Device, longest: int) -> bool:
    """Whether training recomputes activations: as config.toml says, or if it would not fit otherwise."""
    how = config.train.gradient_checkpointing
    if how != "auto":
        return how
    kept = changed(config, {"train.gradient_checkpointing": False})
    tokens = min(longest, config.model.max_length)
    return memory.train(models.own, kept, device.cuda, tokens, device.split).total > device.free * TIGHT


def _needs(models: Models, config: Config, device: Device, longest: int) -> list[Need]:
    again = recomputes(models, config, device, longest)
    config = changed(config, {"train.gradient_checkpointing": again})
    return memory.needs(models.own, config, device.cuda, longest, device.split, models.teacher)


def _finding(need: Need, models: Models, config: Config, device: Device, longest: int) -> Finding:
    largest = sorted(need.parts.items(), key=lambda part: -part[1])[:3]
    parts = ", ".join(f"{name} {size(count)}" for name, count in largest)
    text = f"about {size(need.total)} of {size(device.free)} on {device.name} ({parts})"
    least = _with_all(need, models, config, device, longest)
    if least < need.total:
        text += f"; about {size(least)} while all {config.launch.nodes} machines are there"
    if need.total <= device.free * TIGHT:
        return Finding(need.stage, text)
    bad = least > device.free
    split = need.stage == "train" and config.launch.processes > 1 and config.launch.nodes == 1 and device.split == WHOLE
    other = "; or shard it over the GPUs with [launch] accelerate_config" if split else ""
    if least <= device.free * TIGHT:
        other += f"; or set [launch] min_nodes = {config.launch.nodes}, so that the run waits for all machines"
    wanted = fitting(need.stage, models, config, device, longest)
    if wanted is None:
        fix = "no setting makes it fit; use a smaller model or more memory" + other
        return Finding(need.stage, text, bad, fix)
    after = _need(need.stage, models, changed(config, wanted), device, longest)
    fix = f"{as_toml(wanted)}: about {size(after)}{other}"
    if bad and device.cuda and need.stage != "train" and wanted.keys() <= HALVED:
        return Finding(need.stage, text, fix=f"{fix}; otherwise batches that do not fit are halved and retried")
    return Finding(need.stage, text, bad, fix)


def _with_all(need: Need, models: Models, config: Config, device: Device, longest: int) -> int:
    """Bytes that a stage needs while no machine of [launch] nodes is missing. Where one is, each adds up more batches
    for a step of training, and so keeps gradients from one to the next.
    """
    if need.stage != "train" or not config.launch.may_miss:
        return need.total
    again = recomputes(models, config, device, longest)
    whole = changed(config, {"launch.min_nodes": config.launch.nodes, "train.gradient_checkpointing": again})
    return _need("train", models, whole, device, longest)


def as_toml(changes: Changes) -> str:
    """The keys to set, as TOML."""
    from engine.config.defaults import toml

    sections: dict[str, list[str]] = {}
    for path, value in changes.items():
        section, _, key = path.partition(".")
        sections.setdefault(section, []).append(f"{key} = {toml(value)}")
    return "set " + "; ".join(f"[{section}] {', '.join(keys)}" for section, keys in sections.items())


def _need(stage: str, models: Models, config: Config, device: Device, longest: int) -> int:
    return next(need.total for need in _needs(models, config, device, longest) if need.stage == stage)


def fitting(stage: str, models: Models, config: Config, device: Device, longest: int) -> Changes | None:
    """The mildest changes that make ``stage`` fit, or None. Changes that affect no result come first."""
    made: dict[str, object] = {}

    def fits(changes: Changes) -> bool:
        return _need(stage, models, changed(config, changes), device, longest) <= device.free * TIGHT

    for step in _milder(stage, config, longest, device.split == WHOLE):
        made |= step
        if fits(made):
            break
    else:
        return None
    for key in list(made):  # a later change may make an earlier one unnecessary
        fewer = {k: v for k, v in made.items() if k not in TOGETHER.get(key, (key,))}
        if fits(fewer):
            made = fewer
    return made


def _milder(stage: str, config: Config, longest: int, whole: bool) -> Iterator[dict[str, object]]:
    """Changes to try in order, each on top of the earlier ones.

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
    by_teacher = stage == "rewrite" or (stage == "judge" and config.other_judge)
    section = "teacher" if by_teacher else "model"
    if getattr(config, section).dtype == "float32":
        yield {f"{section}.dtype": "bfloat16"}
    own = stage != "train" and not (by_teacher and config.teacher.model)
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
    """Whether the project folder's largest size fits into the free disk space."""
    need = partial(disk_need, shape, config, samples)
    parts = need(config.train.keep_checkpoints)
    total = sum(parts.values())
    listed = ", ".join(f"{name} {size(count)}" for name, count in parts.items() if count)
    text = f"the run needs up to {size(total)} ({listed}), {size(free)} free"
    if total <= free:
        return Finding("disk needs", text)
    fewer: Callable[[int], bool] = lambda keep: sum(need(keep).values()) <= free  # noqa: E731
    if config.train.keep_checkpoints != 1 and fewer(1):
        return Finding(
            "disk needs", text, True, "set [train] keep_checkpoints = 1 (keeps the last and the best round's)"
        )
    return Finding("disk needs", text, True, f"free {size(total - free)}, or create the project on a larger disk")


def disk_need(shape: ModelShape, config: Config, samples: int, keep: int) -> dict[str, int]:
    """Bytes by purpose.

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
    kept = min(rounds, keep + 2) if keep else rounds  # plus the best one and the one being written
    return {
        f"{kept} checkpoints": kept * final,
        "2 to resume from": 2
        * 3
        * 4
        * trained,  # weights and AdamW's two states; the old one is deleted after the new one is written
        "embeddings": rounds * samples * shape.hidden * 2,
    }


def lines(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """For scripts."""
    return [
        {"name": f.name, "level": f.level, "text": f.text, "fix": f.fix} | ({"facts": dict(f.facts)} if f.facts else {})
        for f in findings
    ]
