"""The models of a round: the one its training starts from, the one it ends with, the one that rates; opening them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from engine.backends import backend
from engine.config.schema import Config, Model
from engine.distributed import shared_paths
from engine.errors import StageError
from engine.hub.progress_log import log_progress
from engine.models import locate
from engine.models.locate import ModelRef
from engine.signals.artifacts import finished
from engine.stage import Ctx

if TYPE_CHECKING:
    from engine.backends.hf import HF
    from engine.backends.vllm import Engine


CHECKPOINT = "checkpoint"


def base_model(ctx: Ctx) -> ModelRef:
    """The model that config.toml names, in as many bits as this round trains it in."""
    return ModelRef(locate.locate(ctx.config.model.name, ctx.project, log_progress(ctx)), nf4=_quantised(ctx))


def _quantised(ctx: Ctx) -> bool:
    """Whether this round's models stand on a base of 4 bits: its checkpoint tells, before there is one config.toml.

    Losses before and after training are compared, so both must come from the same weights.
    """
    folder = ctx.artifact(CHECKPOINT)
    return ctx.config.train.method == "qlora" if folder is None else locate.checkpoint(folder, ctx.project).nf4


def before_model(ctx: Ctx) -> ModelRef:
    """What this round's training starts from: the base, or the previous round's checkpoint."""
    if ctx.config.train.init == "previous" and ctx.round > 0:
        folder = finished(ctx, CHECKPOINT, ctx.round - 1)
        if folder is None:
            raise StageError(
                f'round {ctx.round - 1} has no checkpoint, and train.init = "previous" needs one. '
                'Run that train stage, or set train.init = "base".'
            )
        return replace(locate.checkpoint(folder, ctx.project), nf4=_quantised(ctx))
    return base_model(ctx)


def after_model(ctx: Ctx) -> ModelRef:
    """This round's checkpoint."""
    folder = finished(ctx, CHECKPOINT)
    if folder is None:
        raise StageError(f"round {ctx.round} has no checkpoint. Run its train stage first.")
    return locate.checkpoint(folder, ctx.project)


def on_this_machine(model: ModelRef) -> ModelRef:
    """``model`` with its files on this machine, which need not be the one with the project.

    Raises:
        ModelError: this machine lacks it, or has another one in its place. StageError: it cannot be fetched.
    """
    shared_paths.local(model.base)
    if model.adapter is not None:
        shared_paths.local(model.adapter)
    if shared_paths.scratch() is not None:
        locate.require_sent(model)
    return model


def open_model(how: Model, model: ModelRef) -> HF:
    """``model`` in memory, as [model] of config.toml says; the one loaded before is freed unless it shares the base."""
    model = on_this_machine(model)
    opened: HF = backend("hf")(
        model.base,
        model.adapter,
        nf4=model.nf4,
        dtype=how.dtype,
        device=how.device,
        threads=how.threads,
        attention=how.attention,
        chat_template=how.chat_template,
    )
    return opened


def open_engine(config: Config, judge: ModelRef) -> Engine:
    """The model that rates, in vLLM. No other model may lie in the GPU's memory; close it before one does."""
    how = judge_settings(config)
    opened: Engine = backend("vllm")(
        judge.base,
        judge.adapter,
        dtype=how.dtype,
        chat_template=how.chat_template,
        quantization="bitsandbytes" if judge.nf4 else "",
        settings=config.vllm,
    )
    return opened


def judge_ref(ctx: Ctx) -> ModelRef:
    """The model that rates, as judge.model says."""
    if ctx.config.other_judge:
        return ModelRef(locate.locate(ctx.config.teacher.model, ctx.project, log_progress(ctx)))
    return after_model(ctx) if ctx.config.judge.model == "tuned" else base_model(ctx)


def judge_settings(config: Config) -> Model:
    """How the model that rates is opened: [model]'s settings; a teacher has its own number format and chat template."""
    if not config.other_judge:
        return config.model
    return msgspec.structs.replace(config.model, dtype=config.teacher.dtype, chat_template="")
