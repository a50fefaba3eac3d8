"""The model card of a checkpoint: base model, data, settings and scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from engine.config.schema import Config
from engine.formats.markdown_escape import plain, scalar
from engine.plurals import counted

SAID = (
    "epochs",
    "learning_rate",
    "scheduler",
    "warmup_ratio",
    "batch_size",
    "gradient_accumulation",
    "packing",
    "weight_decay",
    "max_grad_norm",
)
OF_LORA = ("lora_r", "lora_alpha", "lora_dropout", "lora_targets")


@dataclass(frozen=True, slots=True)
class CheckpointOrigin:
    """How a checkpoint came about.

    train_losses: mean loss over all steps and over the last one. scores: task -> (value, standard error or None).
    rows_too: the adapter also holds rows of the embedding.
    """

    config: Config
    round: int
    rows: int
    steps: int
    train_losses: tuple[float, float] | None = None
    scores: Mapping[str, tuple[float, float | None]] = field(default_factory=dict)
    merged: bool = False
    rows_too: bool = False


def shown(model: str) -> str:
    """A Hub model's name, or only the folder name of a local model, for privacy."""
    return Path(model).name if Path(model).is_absolute() or model.startswith((".", "~")) else model


def base_name(config: Config) -> str:
    """The base model's name in the card."""
    return shown(config.model.name)


def text(made: CheckpointOrigin) -> str:
    """The README.md. The licence is left for whoever shares the model."""
    config, how = made.config, made.config.train
    whole = how.method == "full" or made.merged
    title = f"{config.project.name or base_name(config).rpartition('/')[2]}, round {made.round}"
    lines = [
        "---",
        f"base_model: {scalar(base_name(config))}",
        f"library_name: {'transformers' if whole else 'peft'}",
        "pipeline_tag: text-generation",
        "tags: [middo]",
        "# license: add one before you share this; the terms of the base model and the data apply",
        "---",
        "",
        f"# {plain(title)}",
        "",
        _what(made),
        "",
        f"Trained on {counted(made.rows, 'sample')}: the dataset of round {made.round}"
        + (", as it was imported." if made.round == 0 else ", with the rewrites of earlier rounds merged."),
        "",
        "| setting | value |",
        "|---|---|",
        f"| method | {how.method} |",
        f"| max_length | {config.model.max_length} |",
        f"| seed | {config.project.seed} |",
        *(f"| {key} | {_value(getattr(how, key))} |" for key in (*SAID, *(() if how.method == "full" else OF_LORA))),
        f"| processes | {config.launch.total} |",
        f"| steps | {made.steps} |",
    ]
    return "\n".join([*lines, "", *_measured(made)]) + "\n"


def _value(value: object) -> str:
    return plain(", ".join(map(str, value)) if isinstance(value, tuple) else str(value))


def _what(made: CheckpointOrigin) -> str:
    method, name = made.config.train.method, plain(base_name(made.config))
    if method == "full":
        return f"All weights of {name}, fine-tuned. It loads like any Hugging Face model."
    if not made.merged:
        base = f"{name}{' in 4 bits (NF4)' if method == 'qlora' else ''}"
        if made.rows_too:
            return (
                f"A LoRA adapter for {base}, with rows of the embedding for tokens that the base never learned."
                " It loads with PEFT; vLLM wants it merged."
            )
        return f"A LoRA adapter for {base}. It loads with PEFT, or as a LoRA module of vLLM."
    said = "A LoRA adapter merged into its base: it loads like any Hugging Face model."
    if method == "qlora":
        said += " It was trained on a 4-bit base model and merged into the unquantised one, so losses differ slightly."
    return said


def _measured(made: CheckpointOrigin) -> Sequence[str]:
    out = []
    if made.train_losses:
        mean, last = made.train_losses
        out += [f"Training loss: {mean:.4f} over all steps, {last:.4f} at the last.", ""]
    if made.scores:
        out += ["| score | value | standard error |", "|---|---:|---:|"]
        for task, (value, error) in made.scores.items():
            out.append(f"| {plain(task)} | {value:.4f} | {'' if error is None else f'{error:.4f}'} |")
        out.append("")
    return [*out, "Made with middo-tui."]
