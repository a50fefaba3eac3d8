"""One training run of one side: what `training_peers` compares. Run in the environment that has the side.

    python -m benchmarks.engine.train_sides SIDE --model DIR --rows ROWS.json --out OUT.json [--packing] [--recompute]

Every side learns the same rows, already token ids and labels, so that no side's template or cutting makes its work
another; all of them with the settings of ``How``. Seconds of CPU count from the first step's beginning to the last's
end: reading the model, rendering and saving are no part of them.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path
from typing import Any

Rows = Sequence[Mapping[str, list[int]]]
RANK, ALPHA, RATE, SEED = 16, 32, 2e-4, 0
BATCH, PARTS = 4, 8
PACKAGES = ("torch", "transformers", "trl", "peft", "llamafactory")


@dataclass(frozen=True, slots=True)
class How:
    """Settings that differ between runs. recompute: activations are computed again in the backward pass."""

    model: Path
    longest: int
    packing: bool
    recompute: bool


def common(how: How, folder: Path) -> dict[str, Any]:
    """Arguments of transformers' Trainer that every side is given."""
    return {
        "output_dir": str(folder),
        "num_train_epochs": 1,
        "learning_rate": RATE,
        "lr_scheduler_type": "cosine",
        "per_device_train_batch_size": BATCH,
        "gradient_accumulation_steps": PARTS,
        "gradient_checkpointing": how.recompute,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "seed": SEED,
        "use_cpu": True,
        "bf16": False,
        "fp16": False,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }


def clock() -> Any:
    """A callback that reads the CPU's clock when training begins and ends, and keeps the losses of the steps."""
    from transformers import TrainerCallback

    class Clock(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
        seconds = math.nan
        losses: list[float]

        def on_train_begin(self, *_: Any, **__: Any) -> None:
            self.losses = []
            self.seconds = -time.process_time()

        def on_train_end(self, *_: Any, **__: Any) -> None:
            self.seconds += time.process_time()

        def on_log(self, *_: Any, logs: Mapping[str, float] | None = None, **__: Any) -> None:
            if logs and "loss" in logs:
                self.losses.append(float(logs["loss"]))

    return Clock()


def ours(how: How, rows: Rows, folder: Path, watch: Any) -> None:
    """The trainer of the train stage, as config.toml sets it up."""
    from datasets import Dataset

    from engine.config import schema
    from engine.config.defaults import render
    from engine.models.locate import ModelRef
    from engine.training import trainer as training

    train: dict[str, object] = {
        "learning_rate": RATE,
        "batch_size": BATCH,
        "gradient_accumulation": PARTS,
        "packing": how.packing,
        "warmup_ratio": 0.0,
    }
    model = {"name": str(how.model), "device": "cpu", "threads": 1, "max_length": how.longest, "dtype": "float32"}
    config = schema.parse(render({"model": model, "train": train}), "benchmark")
    place = folder / "artifacts" / "0" / "checkpoint"
    place.mkdir(parents=True)
    file = folder / "rows.arrow"
    _arrow(rows, file)
    assert Dataset.from_file(str(file)).num_rows == len(rows)
    task = training.TrainingTask(config, 0, ModelRef(how.model), file, place, None, recompute=how.recompute)
    made = training.trainer(task)
    made.add_callback(watch)
    made.train()


def _arrow(rows: Rows, file: Path) -> None:
    from datasets import Features, List, Value
    from datasets.arrow_writer import ArrowWriter

    columns = Features({"input_ids": List(Value("int32")), "labels": List(Value("int32"))})
    with ArrowWriter(path=str(file), features=columns) as writer:
        for row in rows:
            writer.write(dict(row))
        writer.finalize()


def trl(how: How, rows: Rows, folder: Path, watch: Any) -> None:
    """TRL's SFTTrainer as its users call it, but for rows that are tokens already."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    made = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(how.model),
        args=SFTConfig(**common(how, folder), packing=how.packing, max_length=how.longest),
        train_dataset=Dataset.from_list([dict(row) for row in rows]),
        processing_class=AutoTokenizer.from_pretrained(how.model),
        peft_config=LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules="all-linear", task_type="CAUSAL_LM"),
        callbacks=[watch],
    )
    made.train()


def llamafactory(neat: bool) -> Callable[[How, Rows, Path, Any], None]:
    """LLaMA-Factory's command; ``neat``: packed samples do not see each other. Its dataset holds the rows' numbers, and
    where it would render and tokenise one, it is given that row's tokens and labels.
    """

    def work(how: How, rows: Rows, folder: Path, watch: Any) -> None:
        _without_sound()
        from llamafactory.data.processor.supervised import SupervisedDatasetProcessor
        from llamafactory.train.tuner import run_exp

        def encoded(self: Any, prompt: Any, **_: Any) -> tuple[list[int], list[int]]:
            row = rows[int(prompt[0]["content"])]
            return list(row["input_ids"]), list(row["labels"])

        SupervisedDatasetProcessor._encode_data_example = encoded
        numbers = [{"instruction": str(i), "input": "", "output": "-"} for i in range(len(rows))]
        (folder / "rows.json").write_text(json.dumps(numbers), encoding="utf-8")
        (folder / "dataset_info.json").write_text(json.dumps({"rows": {"file_name": "rows.json"}}), encoding="utf-8")
        run_exp(
            {
                **common(how, folder / "out"),
                "stage": "sft",
                "do_train": True,
                "model_name_or_path": str(how.model),
                "dataset_dir": str(folder),
                "dataset": "rows",
                "template": "empty",
                "cutoff_len": how.longest,
                "overwrite_cache": True,
                "finetuning_type": "lora",
                "lora_rank": RANK,
                "lora_alpha": ALPHA,
                "lora_target": "all",
                "packing": how.packing,
                "neat_packing": how.packing and neat,
                "disable_gradient_checkpointing": not how.recompute,
            },
            callbacks=[watch],
        )

    return work


def _without_sound() -> None:
    """LLaMA-Factory imports torchaudio whatever it trains, and torchaudio's wheels load beside CUDA's torch only."""
    sys.modules["torchaudio"] = module_from_spec(ModuleSpec("torchaudio", None))


SIDES: dict[str, Callable[[How, Rows, Path, Any], None]] = {
    "ours": ours,
    "trl": trl,
    "llamafactory": llamafactory(neat=True),
    "llamafactory-mixed": llamafactory(neat=False),
}


def computed() -> list[int]:
    """A growing list of one number: tokens that went through the word embedding, padding included."""
    import torch

    total = [0]

    def seen(module: Any, inputs: tuple[Any, ...]) -> None:
        if module.training and isinstance(module, torch.nn.Embedding) and inputs:
            total[0] += inputs[0].numel()

    torch.nn.modules.module.register_module_forward_pre_hook(seen)
    return total


def main(arguments: Sequence[str]) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine.train_sides", description=__doc__)
    parser.add_argument("side", choices=SIDES)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--longest", type=int, default=1024)
    parser.add_argument("--packing", action="store_true")
    parser.add_argument("--recompute", action="store_true")
    asked = parser.parse_args(arguments)
    how = How(asked.model, asked.longest, asked.packing, asked.recompute)
    rows = json.loads(asked.rows.read_text(encoding="utf-8"))
    watch, tokens = clock(), computed()
    with tempfile.TemporaryDirectory(prefix="middo-side-") as folder:
        SIDES[asked.side](how, rows, Path(folder), watch)
    installed = {one.metadata["Name"].lower().replace("-", "_"): one.version for one in metadata.distributions()}
    figures = {
        "seconds": watch.seconds,
        "losses": watch.losses,
        "computed": tokens[0],
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "versions": {name: installed[name] for name in PACKAGES if name in installed},
    }
    asked.out.write_text(json.dumps(figures), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
