"""QLoRA for real: bitsandbytes quantises on the CPU too. The base that scores is the base that was trained on."""

from __future__ import annotations

import json
import shutil
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from engine.backends import hf, model_check
from engine.backends.model_loading import read_model
from engine.chat.render import render
from engine.errors import ModelError, Paused
from engine.models import locate
from engine.models.locate import ModelRef
from engine.signals import losses, round_models
from engine.stages import score, train
from engine.store.rows import Artifact, CachedLoss, Losses, Metric
from tests.support import tiny

QLORA = '[train]\nmethod = "qlora"\nlora_dropout = 0.0\n'
CHATS = tiny.chats(24)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wide enough for blocks of 64 numbers, which share a scale."""
    return tiny.make_model(tmp_path_factory.mktemp("wide") / "model", width=64)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, model: Path) -> tiny.Project:
    done = tiny.Project(tmp_path_factory.mktemp("qlora") / "p", tiny.make_config(model, QLORA), CHATS)
    train.run(done.ctx("train"))
    return done


def adapter(project: tiny.Project) -> Path:
    folder = project.ctx("train").artifact("checkpoint")
    assert folder is not None
    return folder


def test_an_adapter_in_full_precision_is_learned_on_a_base_of_4_bits(trained: tiny.Project, model: Path) -> None:
    losses = [row.loss for row in trained.ctx("train").rows(Metric)]
    assert losses[0] is not None
    assert losses[-1] is not None
    assert losses[-1] < losses[0]
    note = json.loads((adapter(trained) / "middo.json").read_text())
    assert note == {"base": str(model), "fingerprint": locate.content(model), "nf4": True}
    assert {t.dtype for t in load_file(adapter(trained) / "adapter_model.safetensors").values()} == {torch.float32}
    (artifact,) = trained.ctx("train").rows(Artifact)
    assert json.loads(artifact.meta)["method"] == "qlora"
    read = read_model(model, torch.float32, torch.device("cpu"), "auto", nf4=True)
    weight = read.model.layers[0].mlp.up_proj.weight
    assert (weight.dtype, weight.quant_state.quant_type, weight.quant_state.nested) == (torch.uint8, "nf4", True)


def test_both_losses_come_from_the_quantised_base(trained: tiny.Project, model: Path) -> None:
    ctx = trained.ctx("score")
    before, after = round_models.before_model(ctx), round_models.after_model(ctx)
    assert before == ModelRef(model, None, nf4=True)
    assert after == ModelRef(model, adapter(trained), nf4=True)
    score.run(ctx)
    row = ctx.rows(Losses)[0]
    chat = next(sample.messages for sample in ctx.dataset() if sample.id == row.sample_id)
    whole = hf.load(model, device="cpu", threads=1)
    exact = whole.score([render(whole.tokenizer, chat, 96)])[0].loss
    small = hf.load(model, nf4=True, device="cpu", threads=1)
    assert row.loss_before == pytest.approx(small.score([render(small.tokenizer, chat, 96)])[0].loss, abs=1e-4)
    assert row.loss_before != pytest.approx(exact, abs=1e-2), "four bits are seen in the loss"


def test_losses_of_4_bits_are_cached_apart(trained: tiny.Project, model: Path) -> None:
    assert locate.fingerprint(ModelRef(model)) != locate.fingerprint(ModelRef(model, nf4=True))
    ctx = trained.ctx("score")
    score.run(ctx)
    small = losses.loss_key(ctx.config.model, round_models.before_model(ctx))
    assert {row.model for row in ctx.rows(CachedLoss)} == {small}
    assert small != losses.loss_key(ctx.config.model, ModelRef(model))


def test_the_checkpoint_says_what_a_changed_setting_does_not(trained: tiny.Project, model: Path) -> None:
    """Between train and score somebody writes another method to config.toml: both losses still share a base."""
    ctx = trained.ctx("score", config=tiny.make_config(model, '[train]\nmethod = "lora"\n'))
    assert round_models.before_model(ctx).nf4
    assert round_models.after_model(ctx).nf4
    assert not round_models.before_model(trained.ctx("train", round=1, config=ctx.config)).nf4


def test_the_next_round_goes_on_from_the_adapter(trained: tiny.Project, model: Path) -> None:
    ctx = trained.ctx("train", round=1, config=tiny.make_config(model, QLORA + 'init = "previous"\n'))
    assert round_models.before_model(ctx) == ModelRef(model, adapter(trained), nf4=True)
    train.run(ctx)
    first, second = (trained.ctx("train").rows(Metric, round=r)[0].loss for r in (0, 1))
    assert first is not None
    assert second is not None
    assert second < first


def test_paused_and_resumed_gives_the_same_adapter(tmp_path: Path, trained: tiny.Project, model: Path) -> None:
    paused = tiny.Project(tmp_path / "p", tiny.make_config(model, QLORA), CHATS)
    paused.want("pause")
    with pytest.raises(Paused):
        train.run(paused.ctx("train"))
    paused.want("run")
    train.run(paused.ctx("train"))
    assert "training resumes at step 1" in paused.events()
    name = "adapter_model.safetensors"
    assert (adapter(paused) / name).read_bytes() == (adapter(trained) / name).read_bytes()


def test_without_bitsandbytes_it_is_refused_with_the_way_out(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    version = metadata.version

    def missing(name: str) -> Any:
        if name == "bitsandbytes":
            raise metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(metadata, "version", missing)
    with pytest.raises(ModelError, match=r'pip install "middo-tui\[qlora\]"'):
        read_model(model, torch.float32, torch.device("cpu"), "auto", nf4=True)


def test_a_quantised_base_is_not_quantised_again(tmp_path: Path, model: Path) -> None:
    settings = json.loads((model / "config.json").read_text()) | {"quantization_config": {"quant_method": "gptq"}}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    with pytest.raises(ModelError, match="is already quantised"):
        read_model(tmp_path, torch.float32, torch.device("cpu"), "auto", nf4=True)


def test_a_folder_in_four_bits_is_trained_beside(tmp_path: Path, model: Path) -> None:
    """As many are published: the check reads what it describes, since such files have other names and shapes."""
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    folder = Path(shutil.copytree(model, tmp_path / "m"))
    how = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
    quantised = AutoModelForCausalLM.from_pretrained(folder, quantization_config=how, device_map={"": "cpu"})
    (folder / "model.safetensors").unlink()
    quantised.save_pretrained(folder)
    config = tiny.make_config(folder, "[train]\nepochs = 1.0\n")
    assert model_check.check(config, tmp_path) == []
    project = tiny.Project(tmp_path / "P", config, tiny.chats(4))
    train.run(project.ctx("train"))
    assert project.db.execute("SELECT count(*) FROM metric").fetchone()[0]
    assert_layout_kept(read_model(folder, torch.float32, torch.device("cpu"), "auto"))


def assert_layout_kept(read: torch.nn.Module) -> None:
    """No weight in 4 bits may be rearranged for inference, where the CPU could: that kernel has no gradient."""
    from bitsandbytes.nn.modules import Linear4bit

    layers = [module for module in read.modules() if isinstance(module, Linear4bit)]
    assert layers
    assert not any(layer.support_avx512bf16_for_cpu for layer in layers)
    with torch.no_grad():
        read.eval()(torch.tensor([[1, 2, 3]]))
    weights: list[Any] = [layer.weight for layer in layers]  # of bitsandbytes' class
    assert not any(
        getattr(state, "packing_format_for_cpu", False) for state in (weight.quant_state for weight in weights)
    )


def test_weights_in_four_bits_keep_their_layout(model: Path) -> None:
    assert_layout_kept(read_model(model, torch.float32, torch.device("cpu"), "auto", nf4=True))
