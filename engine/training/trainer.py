"""TRL's trainer over rendered rows, set up as config.toml says: what every process of a training run builds.

Nothing here knows the store: ``engine.stages.train`` decides when to save and what to keep.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, disable_progress_bars
from peft import LoraConfig, PeftModel
from transformers import PrinterCallback
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled
from trl import SFTConfig, SFTTrainer, pack_dataset

from engine.backends import lm_head, trained_rows
from engine.backends.model_loading import positions, read_model, set_threads, torch_device, torch_dtype
from engine.chat import batches
from engine.chat.render import load_tokenizer
from engine.config.schema import Config
from engine.distributed import gather_weights, ranks
from engine.distributed.sharding import ShardingPlan
from engine.errors import ConfigError, StageError
from engine.models import untrained_tokens
from engine.models.locate import ModelRef
from engine.plurals import counted
from engine.training import liger as kernels
from engine.training import packing, trackers


@dataclass(frozen=True, slots=True)
class TrainingTask:
    """What a process needs to take part in a training run: everything that does not come from the store.

    rows: an Arrow file of token ids and labels, which every process maps into memory.
    plan: how the model is spread over the processes; None: each has a whole copy.
    recompute: activations are computed again in the backward pass.
    environ: what the accelerate config says to accelerate, for processes whose launcher does not know it.
    """

    config: Config
    round: int
    start: ModelRef
    rows: Path
    folder: Path
    resume: Path | None
    plan: ShardingPlan | None = None
    recompute: bool = False
    environ: dict[str, str] = field(default_factory=dict)


FEW_STEPS = 10
"""Fewer optimizer steps in a round than this are warned of."""
NOT_ALONE = ["out_proj", "conv1d"]
"""Layers of Mamba whose weights its kernels read without calling them: peft refuses an adapter on them."""


class Trainer(SFTTrainer):  # type: ignore[misc]  # TRL is untyped
    """TRL's trainer without the model card that it writes beside every checkpoint, and with a seed for its sampler."""

    _total_train_tokens: int

    def _get_train_sampler(self, *arguments: Any) -> Any:
        """The sampler that balances lengths would draw the same order for every seed."""
        sampler = super()._get_train_sampler(*arguments)
        if hasattr(sampler, "seed"):
            sampler.seed = self.args.seed
        return sampler

    def compute_loss(self, model: Any, inputs: dict[str, Any], *arguments: Any, **options: Any) -> Any:
        """Of packed rows TRL counts the tokens as if there were one row."""
        before = self._total_train_tokens
        out = super().compute_loss(model, inputs, *arguments, **options)
        if "position_ids" in inputs:
            count = torch.tensor(inputs["input_ids"].numel(), device=inputs["input_ids"].device)
            self._total_train_tokens = before + self.accelerator.gather_for_metrics(count).sum().item()
            self._metrics["train"]["num_tokens"] = [self._total_train_tokens]
        return out

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """Do nothing: training checkpoints are internal and deleted after the run."""


def trainer(task: TrainingTask) -> Trainer:
    """TRL's trainer over the rendered rows, configured from [train] of config.toml."""
    disable_progress_bars()
    config = task.config
    if config.train.report_to:
        os.environ |= trackers.environment(config, task.folder.parents[2], task.round)
    device = torch_device(config.model.device)
    arguments = _arguments(task, device)  # before the model: ZeRO-3 splits its weights while they are read
    # To be split later, they wait on the CPU: a whole copy may be too large for the GPU.
    waiting = task.plan is not None and task.plan.weights and not is_deepspeed_zero3_enabled()
    model, adapter = _model(config, task.start, torch.device("cpu") if waiting else device, device)
    set_threads(model, device, config.model.threads)
    data = Dataset.from_file(str(task.rows))
    tokenizer = load_tokenizer(task.start.base, config.model.chat_template)
    flash = packing.flash(model.config.get_text_config()._attn_implementation)
    # ZeRO-3 leaves no process a whole model, and flash attention does not run on the CPU.
    tried = not is_deepspeed_zero3_enabled() and not (waiting and flash)
    dtype = torch_dtype(config.model.dtype, device)
    collate = None
    if config.train.packing:
        data = pack_dataset(data, longest(config, task.start.base), "bfd")
        collate = packing.collate_apart(model, tokenizer.pad_token_id, dtype, tried)
    with _own_settings(model), _refusals(adapter):
        made = Trainer(
            model=model,
            args=arguments,
            train_dataset=data,
            data_collator=collate,
            processing_class=tokenizer,
            peft_config=adapter,
        )
    trained_rows.without_copies(made.model, training=True)
    head = made.model.get_output_embeddings()
    if not hasattr(head, "bias"):
        head.register_parameter("bias", None)  # TRL's fused head asks for it, and PEFT's wrapper of rows has none
    if tried:
        lm_head.require_fused(made.model, task.start.base, dtype)
    gather_weights.check(made.accelerator, task.plan)
    if task.start.nf4:
        _widen(made.model)
    made.remove_callback(PrinterCallback)
    return made


def accumulation(config: Config, processes: int) -> int:
    """Batches that each of ``processes`` adds up for a step. Where machines are missing it is more than config.toml
    says, so that every step learns from the same samples.

    Raises:
        StageError: a step's batches cannot be dealt out to so many.
    """
    each, rest = divmod(config.train.gradient_accumulation * config.launch.total, processes)
    if rest:
        raise StageError(
            f"{counted(processes, 'process', 'processes')} cannot share the batches of a step, which are"
            f" {config.train.gradient_accumulation} for each of {config.launch.total} processes."
            " Start the stage with `middo-tui run`."
        )
    return each


def few_steps(config: Config, steps: int) -> str:
    """A warning where ``steps``, all of a round's optimizer steps, are too few to learn from; else ''."""
    if steps >= FEW_STEPS:
        return ""
    each = config.train.batch_size * config.train.gradient_accumulation * config.launch.total
    first = ", the first at a learning rate of 0 (warm-up)" if config.train.warmup_ratio else ""
    return (
        f"only {counted(steps, 'optimizer step')} of {counted(each, 'sample')} in this round{first}: the model may"
        " learn next to nothing. Lower [train] gradient_accumulation, or raise epochs."
    )


def longest(config: Config, base: Path) -> int:
    """Tokens of a row at most: as [model] max_length says, or as many as the model in ``base`` sees."""
    from transformers import AutoConfig

    own = AutoConfig.from_pretrained(str(base), trust_remote_code=False, local_files_only=True)
    return min(config.model.max_length, positions(own))


def _model(config: Config, start: ModelRef, place: torch.device, device: torch.device) -> tuple[Any, LoraConfig | None]:
    """The model to train and, when a new adapter is to be put on it, the adapter's settings.

    Args:
        place: where its weights are read to. device: where it will compute.
    """
    how = config.train
    # Full training keeps float32 weights and computes in the lower format: AdamW's small steps vanish in bfloat16.
    dtype = torch.float32 if how.method == "full" else torch_dtype(config.model.dtype, device)
    model = read_model(start.base, dtype, place, config.model.attention, start.nf4)
    if start.adapter is not None:
        if how.method == "full" and is_deepspeed_zero3_enabled():
            raise ConfigError(
                'config.toml: [train] method = "full" cannot continue from an adapter (init = "previous") with ZeRO-3,'
                " which shards the weights while it loads them."
                ' Set init = "base", or zero3_init_flag: false in the accelerate config.'
            )
        tuned = PeftModel.from_pretrained(model, str(start.adapter), is_trainable=how.method != "full")
        return (tuned.merge_and_unload() if how.method == "full" else tuned), None
    if how.method == "full":
        return model, None
    tokenizer = load_tokenizer(start.base, config.model.chat_template)
    rows = untrained_tokens.trainable(untrained_tokens.find(start.base, model, tokenizer), model)
    adapter = LoraConfig(
        r=how.lora_r,
        lora_alpha=how.lora_alpha,
        lora_dropout=how.lora_dropout,
        target_modules=how.lora_targets if isinstance(how.lora_targets, str) else list(how.lora_targets),
        trainable_token_indices=rows,
        exclude_modules=NOT_ALONE if how.lora_targets == "all-linear" and _scans(model) else None,
        task_type="CAUSAL_LM",
    )
    return model, adapter


def _scans(model: Any) -> bool:
    """Whether peft treats the model as a Mamba."""
    return model.config.model_type in {"falcon_h1", "falcon_mamba", "mamba", "mamba2", "nemotron_h"}


@contextmanager
def _own_settings(model: Any) -> Iterator[None]:
    """Put back what the trainers write into a model's configuration, which a saved model would keep: that it gives its
    routers' logits, by which every loss holds the balance of its experts, and that it works without a cache. Training
    asks for both in each forward, whatever the configuration says. TRL reads a cap of the logits by Gemma's name only.
    """
    config = model.config.get_text_config()
    if hasattr(config, "num_local_experts") and not hasattr(config, "num_experts"):  # TRL knows the other name only
        type(config).attribute_map = type(config).attribute_map | {"num_experts": "num_local_experts"}
    missing = object()
    before = {name: getattr(config, name, missing) for name in (lm_head.CAPS[0], "output_router_logits", "use_cache")}
    if (cap := lm_head.cap(config)) is not None:
        setattr(config, lm_head.CAPS[0], cap)
    yield
    for name, value in before.items():
        if value is not missing:
            setattr(config, name, value)
        elif name in vars(config):
            delattr(config, name)


@contextmanager
def _refusals(adapter: LoraConfig | None) -> Iterator[None]:
    """Convert peft's errors about target modules to a ConfigError."""
    try:
        yield
    except ValueError as error:
        if adapter is None or not re.search(r"\[PEFT|[Tt]arget.?modules", str(error)):
            raise
        reason = " ".join(str(error).split()).rstrip(".")
        raise ConfigError(f"config.toml: [train] lora_targets: {reason}. Choose others.") from error


def _widen(model: Any) -> None:
    """TRL makes the adapter of a quantised model bfloat16, in which AdamW's small steps vanish: back to float32."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def _arguments(task: TrainingTask, device: torch.device) -> SFTConfig:
    """[train] of config.toml as TRL's SFTConfig."""
    if device.index is not None:
        os.environ["ACCELERATE_TORCH_DEVICE"] = str(device)  # else accelerate takes the first GPU
    config, how = task.config, task.config.train
    dtype = torch_dtype(config.model.dtype, device)
    accumulated = accumulation(config, ranks.size())
    parts = accumulated * ranks.size()
    zero = task.plan is not None and task.plan.zero > 0
    liger = kernels.liger(config, device.type == "cuda", task.start.base).used
    arguments = SFTConfig(
        output_dir=str(task.folder),
        num_train_epochs=how.epochs,
        learning_rate=how.learning_rate,
        lr_scheduler_type=how.scheduler,
        warmup_steps=how.warmup_ratio,  # below 1 it is a share of all steps
        per_device_train_batch_size=how.batch_size,
        gradient_accumulation_steps=accumulated,
        gradient_checkpointing=task.recompute and not (task.plan and task.plan.checkpointing),
        gradient_checkpointing_kwargs={"use_reentrant": False},
        weight_decay=how.weight_decay,
        max_grad_norm=how.max_grad_norm,
        # Which samples share a step is still chance; within it, batches are made of like lengths.
        train_sampling_strategy="batch_rebalance" if how.balance and not how.packing and parts > 1 else "random",
        max_length=longest(config, task.start.base),
        dataset_kwargs={"skip_prepare_dataset": True},
        bf16=dtype == torch.bfloat16,
        fp16=dtype == torch.float16,
        use_cpu=device.type == "cpu" and not zero,
        ddp_backend="gloo" if device.type == "cpu" and zero else None,  # told so, DeepSpeed also works on a CPU
        # One for all rounds: another order of the samples moves a score by as much as a round gains.
        seed=batches.seed(config.project.seed, 0, "train"),
        logging_steps=1,  # a row is written every train.log_steps, but the history must hold every step
        logging_nan_inf_filter=False,
        save_strategy="no",  # the callback asks for checkpoints
        report_to=list(how.report_to) if ranks.rank() == 0 and how.report_to else "none",
        run_name=trackers.run_name(config, task.round),
        project=trackers.project_name(config),
        disable_tqdm=True,
        dataloader_pin_memory=device.type == "cuda",
        use_liger_kernel=liger,
        liger_kernel_config=kernels.KERNELS if liger else None,
    )
    _ = arguments.device  # counts the GPUs
    arguments._n_gpu = min(arguments.n_gpu, 1)  # several would mean DataParallel, which TRL refuses
    return arguments
