"""The doctor's estimate of memory and disk: counted from the files, and every way out really fits."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path

import pytest

from engine.config import schema as configs
from engine.config.schema import Config
from engine.doctor import fit, memory, recompute
from engine.doctor.fit import GIB, Device, Models
from engine.doctor.memory import WHOLE, DeviceSplit
from tests.support import model_folders, tiny
from tests.support.model_shapes import LLAMA_8B


def config(text: str = "") -> Config:
    return configs.parse(text, "config.toml")


def test_a_shape_is_counted_from_the_files(tiny_model: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    shape = memory.read_shape(tiny_model)
    assert shape.parameters == sum(p.numel() for p in model.parameters())
    assert (shape.layers, shape.hidden, shape.inner, shape.kv_width) == (2, 32, 64, 16)
    assert len(shape.linear) == 14
    assert shape.in_layers == sum(p.numel() for n, p in model.named_parameters() if "proj" in n)


def test_a_shape_is_counted_by_other_names_too(tmp_path: Path) -> None:
    model_folders.random_model(tmp_path, "GPT2", n_embd=32, n_layer=2, n_head=4, n_positions=64)
    shape = memory.read_shape(tmp_path)
    assert (shape.layers, shape.hidden, shape.inner, shape.heads_width, shape.kv_width) == (2, 32, 128, 32, 32)
    assert len(shape.linear) == 8, "neither words nor positions are a layer"


def test_an_adapter_is_counted_as_peft_makes_it(tiny_model: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    for targets in ("all-linear", ["q_proj", "v_proj"]):
        model = AutoModelForCausalLM.from_pretrained(tiny_model)
        made = get_peft_model(model, LoraConfig(r=8, target_modules=targets, task_type="CAUSAL_LM"))
        trained = sum(p.numel() for p in made.parameters() if p.requires_grad)
        how = config(f"[train]\nlora_r = 8\nlora_targets = {json.dumps(targets)}\n")
        assert memory.adapter(memory.read_shape(tiny_model), how) == trained


def test_four_bits_are_counted_as_bitsandbytes_keeps_them(tmp_path: Path) -> None:
    import torch

    from engine.backends.model_loading import read_model

    folder = tiny.make_model(tmp_path / "m", width=256)
    weight = read_model(folder, torch.float32, torch.device("cpu"), "auto", nf4=True).model.layers[0].mlp.up_proj.weight
    state = weight.quant_state
    kept = weight.numel() + state.absmax.numel() + 4 * state.state2.absmax.numel()
    assert kept == pytest.approx(512 * 256 * memory.NF4, rel=0.01)


def test_checkpointing_batch_and_method_move_the_estimate() -> None:
    def total(text: str) -> float:
        return memory.train(LLAMA_8B, config(text), True, 4096).total / GIB

    lora = total("")
    assert total("[train]\ngradient_checkpointing = false\n") > 3 * lora
    assert total("[train]\nbatch_size = 1\n") < lora
    assert total('[train]\nmethod = "qlora"\n') < lora - 9
    assert total('[train]\nmethod = "full"\n') > 16 * 8.03e9 / GIB


def test_what_is_split_is_divided_by_the_number_of_devices() -> None:
    full = config('[train]\nmethod = "full"\n')

    def parts(split: DeviceSplit, how: Config = full) -> dict[str, int]:
        return dict(memory.train(LLAMA_8B, how, True, 1024, split).parts)

    copies, fsdp = parts(WHOLE), parts(DeviceSplit(4, 4, 4))
    weights = LLAMA_8B.parameters * 4
    for name in ("float32 weights", "optimiser", "gradients"):
        assert fsdp[name] == pytest.approx(copies[name] / 4, abs=4), name
    assert copies["optimiser"] == 2 * weights
    assert "gathered layers" not in copies
    assert LLAMA_8B.words * LLAMA_8B.hidden * 2 < fsdp["gathered layers"] < 2 * LLAMA_8B.parameters
    zero2, zero3 = (parts(DeviceSplit(n, 4, 4, zero=True)) for n in (1, 4))
    assert (zero2["16-bit weights"], zero3["16-bit weights"]) == (weights // 2, weights // 8)
    assert zero2["optimiser"] == zero3["optimiser"] == weights // 2
    assert zero2["gradients"] == weights // 4
    lora = parts(DeviceSplit(4, 4, 4), config())
    assert lora["weights"] == LLAMA_8B.parameters // 2
    assert lora["activations"] == parts(WHOLE, config())["activations"], "every device has its own samples"


def test_splitting_is_proposed_and_then_not_what_it_cannot_do() -> None:
    how = config('[train]\nmethod = "full"\n[launch]\nprocesses = 4\n')
    whole = next(fit.stages(Models(LLAMA_8B), how, Device("GPU 0", 78 * GIB, cuda=True), 1024))
    assert whole.bad
    assert whole.fix.endswith("or shard it over the GPUs with [launch] accelerate_config")
    split = Device("GPU 0", 78 * GIB, True, DeviceSplit(4, 4, 4))
    assert next(fit.stages(Models(LLAMA_8B), how, split, 1024)).mark == "✔"
    tight = Device("GPU 0", 9 * GIB, True, DeviceSplit(4, 4, 4))
    assert not [f for f in fit.stages(Models(LLAMA_8B), config(), tight, 1024) if "qlora" in f.fix]


def test_gradients_are_counted_that_fewer_machines_keep_from_batch_to_batch() -> None:
    text = '[train]\nmethod = "full"\ngradient_checkpointing = true\ngradient_accumulation = 1\n'
    two = "[launch]\nnodes = 2\n"
    alone, all_, fewer = (
        memory.train(LLAMA_8B, config(text + more), True, 1024) for more in ("", f"{two}min_nodes = 2\n", two)
    )
    twice = config(text.replace("gradient_accumulation = 1", "gradient_accumulation = 2"))
    assert all_ == alone
    assert fewer == memory.train(LLAMA_8B, twice, True, 1024), "the one that is left adds up both machines' batches"
    assert fewer.parts["gradients"] == LLAMA_8B.parameters * 4 > alone.parts["gradients"]

    device = Device("GPU 0", int(alone.total / fit.TIGHT) + 1, cuda=True)
    found = next(fit.stages(Models(LLAMA_8B), config(text + two), device, 1024))
    assert found.mark == "!"
    assert f"about {fit.size(fewer.total)} of" in found.text
    assert found.text.endswith(f"; about {fit.size(alone.total)} while all 2 machines are there")
    assert found.fix.endswith("; or set [launch] min_nodes = 2, so that the run waits for all machines")
    enough = Device("GPU 0", 2 * fewer.total, cuda=True)
    assert next(fit.stages(Models(LLAMA_8B), config(text + two), enough, 1024)).mark == "✔"
    tiny = Device("GPU 0", alone.total // 2, cuda=True)
    found = next(fit.stages(Models(LLAMA_8B), config(text + two), tiny, 1024))
    assert found.bad
    assert "min_nodes" not in found.fix


@pytest.mark.parametrize(
    ("text", "free", "first"),
    [
        ('[train]\nmethod = "full"\n', 78, '[train] method = "lora"'),
        ("[train]\ngradient_checkpointing = false\n", 78, "[train] gradient_checkpointing = true"),
        ("", 24, "[train] batch_size = "),
        ("[train]\ngradient_checkpointing = true\n", 24, "[train] batch_size = "),
        ("", 14, 'method = "qlora"'),
    ],
)
def test_what_is_proposed_fits(text: str, free: int, first: str) -> None:
    how, device = config(text), Device("GPU 0", free * GIB, cuda=True)
    finding = next(f for f in fit.stages(Models(LLAMA_8B), how, device, 4096) if f.name == "train")
    assert finding.mark in "!✘"
    wanted = fit.fitting("train", Models(LLAMA_8B), how, device, 4096)
    assert wanted is not None
    assert first in fit.as_toml(wanted)
    assert fit.as_toml(wanted) in finding.fix
    after = fit.changed(how, wanted)
    assert memory.train(LLAMA_8B, after, True, 4096).total <= free * GIB
    assert after.train.batch_size * after.train.gradient_accumulation == 32, "an update still sees as many samples"


def test_where_nothing_helps_it_says_so() -> None:
    found = list(fit.stages(Models(LLAMA_8B), config(), Device("GPU 0", 2 * GIB, cuda=True), 4096))
    assert [f.mark for f in found] == ["✘"] * 3
    assert all("use a smaller model" in f.fix for f in found)


def test_the_judge_is_made_to_fit_by_its_budget() -> None:
    how = config('[train]\nmethod = "qlora"\n[judge]\ntoken_budget = 262144\n')
    finding = next(
        f for f in fit.stages(Models(LLAMA_8B), how, Device("GPU 0", 24 * GIB, cuda=True), 1024) if f.name == "judge"
    )
    assert "[judge] token_budget = " in finding.fix


def test_a_teacher_that_rates_takes_the_teachers_memory() -> None:
    text = '[train]\nmethod = "qlora"\n[judge]\nmodel = "teacher"\n[teacher]\nmodel = "big"\n'
    big = replace(LLAMA_8B, parameters=9 * LLAMA_8B.parameters)
    own, other = (
        {need.stage: need for need in memory.needs(LLAMA_8B, config(how), True, 1024, teacher=big)}["judge"]
        for how in ('[train]\nmethod = "qlora"\n', text)
    )
    assert other.parts["weights"] > 20 * own.parts["weights"], "nine times as many, and not in 4 bits"
    remote = memory.needs(LLAMA_8B, config(text), True, 1024, teacher=None)
    assert "judge" not in {need.stage for need in remote}, "its size is unknown"
    wanted = fit.fitting("judge", Models(LLAMA_8B, big), config(text), Device("GPU 0", 4 * GIB, cuda=True), 1024)
    assert wanted is None or "train.method" not in wanted


def test_the_disk_is_counted_by_what_is_kept() -> None:
    how = config('[train]\nmethod = "full"\n[loop]\nrounds = 9\n')
    everything = sum(fit.disk_need(LLAMA_8B, how, 1000, 0).values())
    two = sum(fit.disk_need(LLAMA_8B, how, 1000, 1).values())
    assert everything - two == 7 * 2 * LLAMA_8B.parameters
    assert fit.disk(LLAMA_8B, how, 1000, everything).mark == "✔"
    assert "keep_checkpoints = 1" in fit.disk(LLAMA_8B, how, 1000, two).fix
    assert fit.disk(LLAMA_8B, how, 1000, two // 2).fix.startswith("free ")


def test_a_broken_file_is_named(tmp_path: Path, tiny_model: Path) -> None:
    from engine.errors import ModelError

    (tmp_path / "config.json").write_text((tiny_model / "config.json").read_text())
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", 12) + b"no JSON here")
    with pytest.raises(ModelError, match="not a safetensors file"):
        memory.read_shape(tmp_path)


def needed(stage: str, text: str, longest: int = 2048) -> dict[str, int]:
    found = memory.needs(LLAMA_8B, config(text), True, longest, teacher=LLAMA_8B)
    return dict(next(need for need in found if need.stage == stage).parts)


def test_a_sample_is_rated_as_one_row_and_not_as_six() -> None:
    alone = needed("judge", "[judge]\ntoken_budget = 4096\n", 4096)["activations"]
    assert alone < 2 * (4096 + memory.ENDS) * 3 * LLAMA_8B.inner * 2 * 2, "one forward of one sample"
    sampled = needed("judge", '[judge]\nmode = "sampled"\ntoken_budget = 4096\n', 4096)
    assert sampled["activations"] > 5 * alone, "replies that are drawn share nothing"
    assert sampled["KV cache"] >= 6 * (4096 + 1024) * 2 * 32 * 1024 * 2


def test_a_teacher_writes_with_the_weights_that_it_has() -> None:
    weights = 8_030_261_248 * 2
    cache = 32 * (2048 + memory.REQUEST + 2048) * 2 * 32 * 1024 * 2
    own = '[teacher]\nmodel = "teacher"\n[train]\nmethod = "qlora"\n'
    assert needed("rewrite", own)["weights"] == weights, "a model of its own is not read in 4 bits"
    assert needed("rewrite", own)["KV cache"] == cache
    assert needed("rewrite", '[train]\nmethod = "qlora"\n')["weights"] < weights / 2
    assert needed("rewrite", '[teacher]\ndtype = "float32"\n')["weights"] == 2 * weights
    there = {need.stage for need in memory.needs(LLAMA_8B, config('[teacher]\nbackend = "vllm"\n'), True, 9)}
    assert there == {"train", "score", "judge"}


def test_a_full_fine_tune_whose_model_does_not_fit_to_be_scored_is_told_of_four_bits() -> None:
    how = config('[train]\nmethod = "full"\n')
    finding = next(
        f for f in fit.stages(Models(LLAMA_8B), how, Device("GPU 0", 9 * GIB, True), 512) if f.name == "score"
    )
    assert finding.bad
    assert '[train] method = "qlora"' in finding.fix


def test_what_halves_itself_ends_no_run() -> None:
    how, device = config('[teacher]\nmodel = "teacher"\n'), Device("GPU 0", 24 * GIB, cuda=True)
    finding = next(f for f in fit.stages(Models(LLAMA_8B, LLAMA_8B), how, device, 2048) if f.name == "rewrite")
    assert finding.mark == "!"
    assert "[teacher] batch_size = " in finding.fix
    assert "halved and retried" in finding.fix
    tight = Device("GPU 0", 12 * GIB, cuda=True)
    assert next(f for f in fit.stages(Models(LLAMA_8B, LLAMA_8B), how, tight, 2048) if f.name == "rewrite").bad


def test_activations_are_recomputed_only_where_memory_needs_it() -> None:
    def chosen(text: str, free: int) -> tuple[bool, str]:
        return recompute.chosen(LLAMA_8B, config(text), Device("GPU 0", free * GIB, cuda=True), 4096)

    for free, again in ((400, False), (60, True)):
        found, why = chosen("", free)
        assert found is again
        finding = next(f for f in fit.stages(Models(LLAMA_8B), config(), Device("GPU 0", free * GIB, True), 4096))
        told = memory.train(LLAMA_8B, config(f"[train]\ngradient_checkpointing = {str(again).lower()}\n"), True, 4096)
        assert f"about {fit.size(told.total)} of" in finding.text, "the doctor tells of what will be done"
        assert f"of {free}.0 GiB on GPU 0" in why
    assert why.startswith("activations are recomputed; with them kept, training would need about 1")
    assert recompute.decide(config("[train]\ngradient_checkpointing = true\n"), Path("none"), 9, None) == (True, "")
    unknown, why = recompute.decide(config(), Path("none"), 9, None)
    assert unknown
    assert "not known whether they fit" in why
