"""Tokens of a chat template that the base never learned: found by their rows, trained beside LoRA, kept through all."""

from __future__ import annotations

import json
import shutil
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from engine.backends import hf, model_check
from engine.backends.vllm import _rank
from engine.chat.render import load_tokenizer
from engine.config import schema as configs
from engine.doctor import memory, model_check_process
from engine.errors import ConfigError, ModelError
from engine.models import locate, untrained_tokens
from engine.release import export_model
from engine.signals import round_models
from engine.stages import judge, score, train
from engine.store import write
from engine.store.rows import Message
from engine.training import trainer
from tests.support import tiny

CHATML = ("<|im_start|>", "<|im_end|>")
EXTRA = '[model]\nchat_template = "chatml"\n[train]\nlearning_rate = 0.02\nlora_dropout = 0.0\nepochs = {epochs}\n'


def base(folder: Path, tied: bool, rows: str = "zero") -> Path:
    """A tiny model whose tokens of chatml were added after its training, as ``rows`` says."""
    tiny.make_model(folder)
    tokenizer = tiny.make_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": [*tiny.SPECIAL[1:4], *CHATML]})
    tokenizer.save_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    if tied:
        model.lm_head.weight = model.model.embed_tokens.weight
        model.config.tie_word_embeddings = True
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model.resize_token_embeddings(len(tokenizer), mean_resizing=rows == "mean")
        for part in (model.get_input_embeddings(), model.get_output_embeddings()):
            with torch.no_grad():
                if rows == "zero":
                    part.weight[-2:] = 1e-7
                elif rows == "trained":
                    part.weight[-2:] = torch.randn_like(part.weight[-2:]) * 0.3
    model.save_pretrained(folder)
    return folder


def rows_of(adapter: Path) -> list[torch.Tensor]:
    """The rows that an adapter holds, one tensor for each module."""
    return [value for name, value in load_file(adapter / "adapter_model.safetensors").items() if "delta" in name]


def found(folder: Path, template: str = "chatml") -> untrained_tokens.Untrained:
    tokenizer, model = model_check.usable(folder, template)
    return untrained_tokens.find(folder, model, tokenizer)


@pytest.mark.parametrize("rows", ["zero", "mean"])
@pytest.mark.parametrize("tied", [True, False])
def test_they_are_found(tied: bool, rows: str, tmp_path: Path) -> None:
    it = found(base(tmp_path / "m", tied, rows))
    assert it.texts == CHATML
    assert it.end


def test_learned_ones_are_not(tmp_path: Path, tiny_model: Path) -> None:
    assert found(base(tmp_path / "m", tied=False, rows="trained")).ids == ()
    assert found(tiny_model, "").ids == ()
    assert found(locate.DEMO["demo:base"], "").ids == ()


@pytest.mark.parametrize("tied", [True, False])
def test_lora_learns_them_and_they_stay(tied: bool, tmp_path: Path) -> None:
    """Trained, saved, scored, judged, taken out as an adapter and merged: one model all along."""
    folder = base(tmp_path / "m", tied)
    project = tiny.Project(tmp_path / "P", tiny.make_config(folder, EXTRA.format(epochs=8)), tiny.chats(8))
    for stage in (train, score, judge):
        stage.run(project.ctx(stage.__name__.rpartition(".")[2]))
    assert any("the base model never learned <|im_start|>, <|im_end|>" in line for line in project.events())
    row = project.db.execute("SELECT avg(loss_before), avg(loss_after), count(quality) FROM signal").fetchone()
    assert row[1] < row[0]
    assert row[2] == 8

    ctx = project.ctx("score")
    ref = round_models.after_model(ctx)
    assert ref.adapter is not None
    kept = {
        name: value for name, value in load_file(ref.adapter / "adapter_model.safetensors").items() if "delta" in name
    }
    assert len(kept) == (1 if tied else 2)
    assert all(value.dtype == torch.float32 and value.norm() > 0.1 for value in kept.values())
    with pytest.raises(ModelError, match="which vLLM cannot load"):
        _rank(ref.adapter)
    project.db.execute("UPDATE round SET config=?", (configs.snapshot(project.config),))
    export_model.export_model(project.folder, tmp_path / "adapter")
    export_model.export_model(project.folder, tmp_path / "whole", merged=True)
    assert "vLLM wants it merged" in (tmp_path / "adapter" / "README.md").read_text()
    ids = torch.tensor([load_tokenizer(tmp_path / "whole").encode("<|im_start|>user\nsort 1<|im_end|>")])
    whole = AutoModelForCausalLM.from_pretrained(tmp_path / "whole")
    beside = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folder), str(tmp_path / "adapter"))
    assert torch.allclose(whole(ids).logits, beside(input_ids=ids).logits, atol=1e-4)
    ours = round_models.open_model(ctx.config.model, ref)
    asked = [[Message("user", "sort 1: the")]]
    how = {"max_new_tokens": 12, "temperature": 0.0, "top_p": 1.0, "seed": 1}
    merged = hf.load(tmp_path / "whole", device="cpu").generate(asked, **how)  # type: ignore[arg-type]
    ours = round_models.open_model(ctx.config.model, ref)
    assert ours.generate(asked, **how) == merged  # type: ignore[arg-type]


@pytest.mark.parametrize("tied", [True, False])
def test_the_loss_of_training_sees_rows_that_have_moved(tied: bool, tmp_path: Path) -> None:
    """TRL computes it from the head's weight, not by calling the head: loss and gradients are those of the logits."""
    folder = base(tmp_path / "m", tied)
    project = tiny.Project(tmp_path / "P", tiny.make_config(folder, EXTRA.format(epochs=1)), tiny.chats(8))
    ctx = project.ctx("train")
    work = ctx.workdir("checkpoint")
    rows, _ = train._write_rows(ctx, load_tokenizer(folder, "chatml"), folder, work / "rows.arrow")
    made = trainer.trainer(trainer.TrainingTask(project.config, 0, locate.ModelRef(folder), rows, work, None))
    model = made.model.eval()
    deltas = {name: value for name, value in model.named_parameters() if "delta" in name}
    assert len(deltas) == (1 if tied else 2)
    with torch.no_grad():
        for value in deltas.values():
            value.copy_(torch.randn_like(value))
    batch = next(iter(made.get_train_dataloader()))
    labels = batch.pop("labels")
    learned = labels[:, 1:] != -100

    def gradients(loss: torch.Tensor) -> list[torch.Tensor]:
        return list(torch.autograd.grad(loss, list(deltas.values())))

    ours = -model(**batch, labels=labels, fused_lm_head=True).log_probs[learned]
    logits = model(**batch, use_cache=False).logits[:, :-1]
    theirs = torch.nn.functional.cross_entropy(logits.transpose(1, 2), labels[:, 1:], reduction="none")[learned]
    assert torch.allclose(ours, theirs, atol=1e-5)
    for one, other in zip(gradients(ours.mean()), gradients(theirs.mean()), strict=True):
        assert one.norm() > 0.1
        assert torch.allclose(one, other, atol=1e-5)


def test_the_next_round_goes_on_from_them(tmp_path: Path) -> None:
    folder = base(tmp_path / "m", tied=True)
    config = tiny.make_config(folder, EXTRA.format(epochs=4) + 'init = "previous"\n')
    project = tiny.Project(tmp_path / "P", config, tiny.chats(8))
    train.run(project.ctx("train"))
    write.open_round(project.db, 1, "{}", ["train"], closing=False, stopped=None)
    train.run(project.ctx("train", 1))
    first, second = (round_models.after_model(project.ctx("score", n)).adapter for n in (0, 1))
    assert first is not None
    assert second is not None
    (before,), (after,) = rows_of(first), rows_of(second)
    assert before.norm() < after.norm(), "they go on from what they were"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ('[judge]\nbackend = "vllm"\n', r"Set \[judge\] backend"),
        ('[evaluate]\nbackend = "vllm"\ntasks = ["sums"]\n', r"Set \[evaluate\] backend"),
    ],
)
def test_what_they_do_not_go_with_is_refused(settings: str, words: str, tmp_path: Path) -> None:
    folder = base(tmp_path / "m", tied=True)
    text = f'[model]\nname = "{folder}"\nchat_template = "chatml"\n{settings}[train]\nmethod = '
    with pytest.raises(ConfigError, match=words):
        model_check.check(configs.parse(text + '"lora"\n', "config.toml"), tmp_path)
    model_check.check(configs.parse(text + '"full"\n', "config.toml"), tmp_path)


@pytest.mark.parametrize(("method", "refused"), [("full", True), ("qlora", True), ("lora", False)])
def test_weights_that_are_quantised_already(method: str, refused: bool, tiny_model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_model, tmp_path / "m"))
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | {"quantization_config": {"quant_method": "own"}}))
    config = tiny.make_config(folder, f'[train]\nmethod = "{method}"\n')
    with pytest.raises(ConfigError, match="needs unquantised weights") if refused else nullcontext():
        model_check._refuse_quantised(config, folder)


def test_the_doctor_counts_their_memory(tmp_path: Path) -> None:
    folder = base(tmp_path / "m", tied=True)
    config = tiny.make_config(folder, EXTRA.format(epochs=1))
    (looked,) = model_check_process.check_models(config, tmp_path).values()
    assert looked.rows == 2
    (found,) = looked.findings
    assert found.mark == "!"
    assert "the base model never learned <|im_start|>, <|im_end|>" in found.text
    assert found.fix.startswith("LoRA trains the rows of these tokens as well")
    shape = memory.read_shape(folder)
    more = memory.train(replace(shape, rows=2), config, False, 96).total - memory.train(shape, config, False, 96).total
    assert more == 4 * shape.words * shape.hidden


def test_training_in_parts_is_refused(tmp_path: Path) -> None:
    folder = base(tmp_path / "m", tied=True)
    _, model = model_check.usable(folder, "chatml")
    with pytest.raises(ConfigError, match="FSDP2 splits them over processes"):
        untrained_tokens.require(found(folder), configs.Config(), model, "FSDP2")


def test_a_check_that_nobody_waits_for_is_killed(tmp_path: Path) -> None:
    config = tiny.make_config(base(tmp_path / "m", tied=True), EXTRA.format(epochs=1))
    assert model_check_process.check_models(config, tmp_path, lambda: True) == {}
