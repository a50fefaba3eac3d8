"""Supervised fine-tuning of one round, on exactly the tokens and the mask that scoring sees.

TRL's trainer gets rows that render.py made: token ids and labels, nothing is rendered or tokenised a second time. It
writes a checkpoint every train.checkpoint_steps and on pause; a checkpoint counts once its marker is there, written
last, and a resumed run ends in the same bytes as an undisturbed one. The finished model is published, then the
checkpoints go.

In several processes (``engine.distributed.ranks``) each learns from its own share of every step's samples; rank 0 reads
and writes all that the store and the disk hold, the others only keep step.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from datasets import Features, List, Value
from datasets.arrow_writer import ArrowWriter
from transformers import TrainerCallback

from engine.backends import model_check
from engine.backends.model_loading import torch_device, torch_dtype
from engine.chat import batches
from engine.chat.render import load_tokenizer, render
from engine.config import schema as configs
from engine.config.schema import Config
from engine.distributed import gather_weights, ranks, sharding, shared_paths
from engine.distributed.sharding import ShardingPlan
from engine.doctor import recompute
from engine.errors import Paused, StageError
from engine.files import durable
from engine.machine.heap import keep_blocks
from engine.models import locate
from engine.models.locate import ModelRef
from engine.plurals import counted
from engine.release import model_card
from engine.runtime import retention
from engine.signals import round_models
from engine.signals.round_models import CHECKPOINT
from engine.stage import Ctx
from engine.store.rows import Metric
from engine.training import liger as kernels
from engine.training import trackers
from engine.training import trainer as training
from engine.training.trainer import Trainer, TrainingTask

NO_FILES: dict[str, bytes] = {}
IGNORED = -100  # the label of tokens outside the loss
MARKER = "complete.json"
STEPS = "checkpoint-"
ROWS = "rows.arrow"
RECOMPUTE = "recompute.json"
COLUMNS = Features({"input_ids": List(Value("int32")), "labels": List(Value("int32"))})
WHOLE = ("project", "model", "train", "launch.processes")  # settings that a run's result depends on


def run(ctx: Ctx) -> None:
    """The stage. Returns at once when this round's checkpoint is published.

    Raises:
        StageError: no sample can be rendered, or the loss is no number any more. Paused, Cancelled: as wanted.
    """
    if ctx.artifact(CHECKPOINT) is not None:
        return
    trackers.require(ctx.config.train.report_to)
    folder = ctx.workdir(CHECKPOINT)
    start = round_models.before_model(ctx)
    for said in model_check.check(ctx.config, ctx.project):
        ctx.event(said, "warning")
    tokenizer = load_tokenizer(start.base, ctx.config.model.chat_template)
    plan = sharding.plan(ctx.config, ctx.project)
    _tell(ctx, start, plan)
    key = _run_key(ctx, start, plan)
    resume = _newest_complete(ctx, folder, key)
    rows, longest = _write_rows(ctx, tokenizer, start.base, folder / ROWS)
    again = _recompute(ctx, folder / RECOMPUTE, key, start.base, longest, plan)
    environ = {name: value for name, value in os.environ.items() if plan and name.startswith("ACCELERATE_")}
    task = TrainingTask(ctx.config, ctx.round, start, rows, folder, resume, plan, again, environ)
    watch = _Watch(ctx, folder, key)
    with contextlib.redirect_stdout(sys.stderr):
        with ranks.run_in_step(_keep_step, task):
            trainer, state = _train(task, watch)
        if watch.paused:
            raise Paused
        final = _save_final(ctx, trainer, state, tokenizer, start, folder)
    losses = _losses(trainer.state)
    meta: dict[str, object] = {
        "method": ctx.config.train.method,
        "base": ctx.config.model.name,  # no path of this machine
        "fingerprint": locate.fingerprint(locate.checkpoint(final, ctx.project)),
        "base_content": locate.content(round_models.base_model(ctx).base),
        "steps": len(losses),
        "train_loss": math.fsum(losses) / max(len(losses), 1),
    }
    ctx.publish(CHECKPOINT, final, meta)
    retention.prune(ctx)
    task.rows.unlink()
    (folder / RECOMPUTE).unlink(missing_ok=True)
    for old in folder.glob(f"{STEPS}*"):
        shutil.rmtree(old)


def _tell(ctx: Ctx, start: ModelRef, plan: ShardingPlan | None) -> None:
    """Say which kernels the model has and how it is spread; what goes without saying only in the stage's log file."""
    cuda = torch_device(ctx.config.model.device).type == "cuda"
    liger = f"Liger's kernels: {kernels.liger(ctx.config, cuda, start.base).why}"
    if cuda:
        ctx.event(liger)
    else:
        sys.stderr.write(f"{liger}\n")
    if plan is not None:
        ctx.event(f"training runs as {plan.name}, by {plan.file.name}")
    if (here := ranks.size()) != (wanted := ctx.config.launch.total):
        each, before = training.accumulation(ctx.config, here), ctx.config.train.gradient_accumulation
        ctx.event(
            f"{here} of {wanted} processes train, each with gradient_accumulation = {each} in place of {before}:"
            " every step learns from the same samples",
            "warning",
        )


def _keep_step(task: TrainingTask) -> None:
    """The part of every rank but 0, which may be on a machine without the project."""
    task = replace(
        task,
        start=round_models.on_this_machine(task.start),
        rows=shared_paths.local(task.rows),
        resume=shared_paths.local(task.resume) if task.resume else None,
    )
    task.folder.mkdir(parents=True, exist_ok=True)
    os.environ |= task.environ
    with contextlib.redirect_stdout(sys.stderr):
        _train(task, _Steps(task.config.train.checkpoint_steps))


def _train(task: TrainingTask, steps: _Steps) -> tuple[Trainer, dict[str, Any] | None]:
    """All steps, or those up to a pause; and, where the model lies in parts, its weights put together for rank 0."""
    if torch_device(task.config.model.device).type == "cpu":
        keep_blocks()
    trainer = training.trainer(task)
    trainer.add_callback(steps)
    trainer.train(resume_from_checkpoint=str(task.resume) if task.resume else None)
    if steps.paused or task.plan is None or not task.plan.kind:
        return trainer, None
    adapter = task.config.train.method != "full"
    return trainer, gather_weights.whole(trainer, torch.float32 if adapter else _final_dtype(task.config), adapter)


def _recompute(ctx: Ctx, note: Path, key: str, base: Path, longest: int, plan: ShardingPlan | None) -> bool:
    """Whether activations are recomputed. What "auto" has chosen is kept until the run of this ``key`` has ended:
    another time more memory may be free, and a resumed run must go on as it began.
    """
    with contextlib.suppress(OSError, ValueError, KeyError):  # none yet, or killed while it was written
        known = json.loads(note.read_text(encoding="utf-8"))
        if known["key"] == key:
            return bool(known["recompute"])
    again, why = recompute.decide(ctx.config, base, longest, plan)
    if why:
        ctx.event(why)
        note.write_text(json.dumps({"key": key, "recompute": again}), encoding="utf-8")
    return again


def _write_rows(ctx: Ctx, tokenizer: Any, base: Path, path: Path) -> tuple[Path, int]:
    """The samples as tokens and labels in a file, and the tokens of the longest; what cannot be rendered is left out
    and counted in the log.
    """
    samples, limit = ctx.dataset(), training.longest(ctx.config, base)
    bad, reason, cut, notes, longest = 0, "", 0, Counter[str](), 0
    with ArrowWriter(path=str(path), features=COLUMNS) as writer:
        for sample in samples:
            row = render(tokenizer, sample.messages, limit)
            if row.error:
                bad, reason = bad + 1, reason or row.error
            else:
                labels = [i if on else IGNORED for i, on in zip(row.ids, row.mask, strict=True)]
                writer.write({"input_ids": row.ids, "labels": labels})
                longest = max(longest, len(row.ids))
                cut += row.truncated
                notes.update([row.note] if row.note else [])
        if bad == len(samples):
            why = f": {reason}" if reason else ""
            raise StageError(
                f"none of {counted(bad, 'sample')} can be trained on{why}. Check the data and model.max_length."
            )
        writer.finalize()
    if cut:
        are = "is longer than the limit and loses" if cut == 1 else "are longer than the limit and lose"
        ctx.event(
            f"{cut:,} of {counted(len(samples), 'sample')} {are} the end of the last answer: {limit:,} tokens"
            " (model.max_length, or the model's context length)",
            "warning",
        )
    for text, count in sorted(notes.items()):
        ctx.event(f"{count:,} of {counted(len(samples), 'sample')}: {text}", "warning")
    if bad:
        ctx.event(
            f"{bad:,} of {counted(len(samples), 'sample')} {'is' if bad == 1 else 'are'} excluded from training,"
            f" e.g.: {reason}",
            "warning",
        )
    return path, longest


def _run_key(ctx: Ctx, start: ModelRef, plan: ShardingPlan | None) -> str:
    """What a checkpoint's continuation depends on: another model, dataset or setting must not resume from it."""
    ids = ctx.dataset().ids
    parts = (locate.fingerprint(start), configs.slice_hash(ctx.config, WHOLE), *([plan.key] if plan else []), *ids)
    return f"{batches.seed(*parts):08x}"


def _newest_complete(ctx: Ctx, folder: Path, key: str) -> Path | None:
    """The last checkpoint whose marker is there and names this run; what is torn or of another run is removed."""
    found: list[tuple[int, Path]] = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith(STEPS) and _marked(path, key):
            found.append((int(path.name.removeprefix(STEPS)), path))
        elif path.is_dir():
            shutil.rmtree(path)
        elif path.name != RECOMPUTE:
            path.unlink()
    step, newest = max(found) if found else (0, None)
    ctx.drop_metrics_after(step)
    if newest is not None:
        ctx.event(f"training resumes at step {step}")
    return newest


def _marked(path: Path, key: str) -> bool:
    try:
        return bool(json.loads((path / MARKER).read_text(encoding="utf-8"))["key"] == key)
    except (OSError, ValueError, KeyError):
        return False  # the process was killed while writing it


class _Steps(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    """Step callbacks of every process; rank 0 decides."""

    def __init__(self, checkpoint_steps: int) -> None:
        self.paused = False
        self._checkpoint_steps = checkpoint_steps

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        """Ask for a checkpoint every so many steps; after the last step the result itself is saved."""
        due = state.global_step % self._checkpoint_steps == 0
        control.should_save = due and state.global_step < state.max_steps
        return control

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> Any:
        """One call per step (and one with a summary at the end, which has no loss)."""
        if "loss" in logs and ranks.broadcast(self.pauses(state, logs)):
            self.paused = control.should_save = control.should_training_stop = True
        return control

    def pauses(self, state: Any, logs: dict[str, float]) -> bool:
        """Whether to pause after this step; only rank 0's answer counts."""
        return False

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """A checkpoint holds files of every process; on a machine without the project this one sends its own."""
        folder = Path(args.output_dir) / f"{STEPS}{state.global_step}"
        ranks.gather(_own_files(folder) if shared_paths.scratch() is not None else NO_FILES)


class _Watch(_Steps):
    """What rank 0 does besides: metric rows, progress, the decision to pause, and the checkpoints' markers."""

    def __init__(self, ctx: Ctx, folder: Path, key: str) -> None:
        super().__init__(ctx.config.train.checkpoint_steps)
        self._ctx = ctx
        self._folder = folder
        self._key = key
        self._seen = 0.0  # tokens
        self._batches = 0  # of the step that runs
        self._at = time.monotonic()

    def on_substep_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """One more batch of a step, which may take minutes. No pause within it: its gradients are in no checkpoint."""
        self._batches += 1
        with contextlib.suppress(Paused):
            self._ctx.progress(state.global_step, self._batches / args.gradient_accumulation_steps)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Tell how many steps there are, and which were there already."""
        self._ctx.begin(state.max_steps, state.global_step)
        self._at = time.monotonic()
        if not state.global_step and (few := training.few_steps(self._ctx.config, state.max_steps)):
            self._ctx.event(few, "warning")

    def pauses(self, state: Any, logs: dict[str, float]) -> bool:
        """Write the step's row; after the last step all is done but saving the result, and there is no pause."""
        if not math.isfinite(logs["loss"]):
            raise StageError(f"the loss is {logs['loss']} at step {state.global_step}. Lower train.learning_rate.")
        step, every = state.global_step, self._ctx.config.train.log_steps
        self._batches = 0
        try:
            if step % every == 0 or step == state.max_steps:
                self._ctx.save([self._metric(state, logs, every)], step)
            else:
                self._ctx.progress(step)
        except Paused:
            return bool(step < state.max_steps)
        return False

    def _metric(self, state: Any, logs: dict[str, float], every: int) -> Metric:
        losses = _losses(state)
        recent = losses[-(len(losses) % every or every) :]
        now = time.monotonic()
        speed = (logs["num_tokens"] - self._seen) / max(now - self._at, 1e-9)
        self._seen, self._at = logs["num_tokens"], now
        return Metric(
            round=self._ctx.round,
            step=state.global_step,
            at=time.time(),
            epoch=state.epoch,
            loss=math.fsum(recent) / len(recent),
            learning_rate=logs["learning_rate"],
            grad_norm=logs.get("grad_norm"),
            tokens_per_s=speed,
        )

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The checkpoint is written: make it durable, mark it, and only then remove the ones before."""
        newest = self._folder / f"{STEPS}{state.global_step}"
        for name, content in (pair for files in ranks.gather(NO_FILES) for pair in files.items()):
            (newest / name).write_bytes(content)
        durable.flush(newest)
        (newest / MARKER).write_text(json.dumps({"key": self._key}), encoding="utf-8")
        durable.flush(newest / MARKER)
        for path in self._folder.glob(f"{STEPS}*"):
            if path != newest:
                shutil.rmtree(path)


def _own_files(checkpoint: Path) -> dict[str, bytes]:
    """What this process has written of a checkpoint, by name; removed here."""
    state = checkpoint / f"rng_state_{ranks.rank()}.pth"
    content = state.read_bytes()
    state.unlink()
    return {state.name: content}


def _losses(state: Any) -> list[float]:
    """The loss of every step so far; the history is part of a checkpoint."""
    return [entry["loss"] for entry in state.log_history if "loss" in entry]


def _save_final(
    ctx: Ctx, trainer: Trainer, state: dict[str, Any] | None, tokenizer: Any, start: ModelRef, folder: Path
) -> Path:
    """The result in its final folder: all of it or nothing. An adapter, or a whole model with its tokenizer.

    Args:
        state: the weights by name; None: the model holds them.
    """
    new, final = folder / "final.new", folder / "final"
    model = trainer.accelerator.unwrap_model(trainer.model)
    if ctx.config.train.method != "full":
        model.save_pretrained(str(new), state_dict=state)
        _sort_targets(new / "adapter_config.json")
        locate.write_note(new, start, ctx.project)
    elif state is None:
        model.to(_final_dtype(ctx.config)).save_pretrained(str(new))
    else:
        model.config.dtype = _final_dtype(ctx.config)
        model.save_pretrained(str(new), state_dict=state)
    if ctx.config.train.method == "full":
        tokenizer.save_pretrained(str(new))
    losses = _losses(trainer.state)
    told = (math.fsum(losses) / len(losses), losses[-1]) if losses else None
    rows = locate.holds_rows(new)
    card = model_card.CheckpointOrigin(ctx.config, ctx.round, len(ctx.dataset()), len(losses), told, rows_too=rows)
    (new / "README.md").write_text(model_card.text(card), encoding="utf-8")
    durable.replace(new, final)
    return final


def _final_dtype(config: Config) -> torch.dtype:
    """The dtype to save a full model in."""
    return torch_dtype(config.model.dtype, torch_device(config.model.device))


def _sort_targets(path: Path) -> None:
    """peft writes a set: the same adapter would have another file in every process."""
    settings = json.loads(path.read_text(encoding="utf-8"))
    if isinstance(settings.get("target_modules"), list):
        settings["target_modules"].sort()
    path.write_text(json.dumps(settings, indent=2, sort_keys=True), encoding="utf-8")
