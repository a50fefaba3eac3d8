"""Model folders as people have them: such as a run can use, and such as it cannot, each made from a tiny model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support import tiny

Make = Callable[[Path], object]
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 123\n"
WEIGHTS, SHARDS = "model.safetensors", "model.safetensors.index.json"
ASKS_PARTS = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>' }}{% for part in m['content'] %}{{ part['text'] }}{% endfor %}"
    "{{ '<|end|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def changed(file: Path, **values: Any) -> None:
    """Set keys of a JSON file; None takes one out."""
    found = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    found |= values
    file.write_text(json.dumps({k: v for k, v in found.items() if v is not None}), encoding="utf-8")


def _template(folder: Path, template: object) -> None:
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    changed(folder / "tokenizer_config.json", chat_template=template)


def _null(folder: Path) -> None:
    _template(folder, None)
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"chat_template": None}))


def _tokens(folder: Path, special: bool, pads: bool = False) -> None:
    tokenizer = tiny.make_tokenizer()
    tokenizer.add_tokens(["<new>"], special_tokens=special)
    if pads:
        tokenizer.pad_token = "<new>"
    tokenizer.save_pretrained(folder)


def _template_token(folder: Path) -> None:
    _tokens(folder, special=True)
    (folder / "chat_template.jinja").write_text(
        tiny.TEMPLATE.replace("<|user|>", "<new>").replace("'<|' +", "'<new><|' +")
    )


def _adapter(folder: Path, beside: bool) -> None:
    changed(folder / "adapter_config.json", base_model_name_or_path="owner/base", peft_type="LORA", r=4)
    if beside:
        shutil.copy(folder / WEIGHTS, folder / "adapter_model.safetensors")
    else:
        (folder / WEIGHTS).rename(folder / "adapter_model.safetensors")


def _index(folder: Path, **values: Any) -> None:
    (folder / WEIGHTS).rename(folder / "model-00001-of-00002.safetensors")
    changed(folder / SHARDS, metadata={}, **values)


def _cut_off(folder: Path) -> None:
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(data[:-100])


BAD: dict[str, tuple[Make, str]] = {
    "pointer": (lambda f: f.joinpath(WEIGHTS).write_text(POINTER), "git lfs pull"),
    "pointer_tokenizer": (lambda f: f.joinpath("tokenizer.json").write_text(POINTER), "git lfs pull"),
    "cut_off": (_cut_off, "bytes instead of"),
    "garbage": (lambda f: f.joinpath(WEIGHTS).write_bytes(b"\xff" * 500), "not a safetensors file"),
    "pickles": (lambda f: f.joinpath(WEIGHTS).rename(f / "pytorch_model.bin"), "no *.safetensors"),
    "shard_missing": (
        lambda f: _index(
            f, weight_map={"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
        ),
        "model-00002-of-00002.safetensors, which is not here",
    ),
    "index_empty": (lambda f: _index(f), "no weight_map"),
    "adapter": (lambda f: _adapter(f, beside=False), 'name = "owner/base" is its base'),
    "adapter_beside": (lambda f: _adapter(f, beside=True), "which is ambiguous"),
    "config_missing": (lambda f: f.joinpath("config.json").unlink(), "config.json: missing"),
    "config_list": (lambda f: f.joinpath("config.json").write_text("[]"), "not a JSON object"),
    "config_cut_off": (lambda f: f.joinpath("config.json").write_text('{"a"'), "cannot be read"),
    "family_unknown": (
        lambda f: changed(f / "config.json", model_type="own", auto_map={"AutoConfig": "x.Y"}),
        "needs its own Python code",
    ),
    "layers_missing": (lambda f: changed(f / "config.json", num_hidden_layers=3), "lack 9 weights"),
    "other_sizes": (lambda f: changed(f / "config.json", intermediate_size=48), "cannot load the model"),
    "tokenizer_missing": (lambda f: f.joinpath("tokenizer.json").unlink(), "no tokenizer"),
    "tokenizer_garbage": (lambda f: f.joinpath("tokenizer.json").write_text("{}"), "no usable tokenizer"),
    "tokenizer_config_list": (
        lambda f: f.joinpath("tokenizer_config.json").write_text("[]"),
        "no usable token",
    ),
    "sentencepiece_alone": (
        lambda f: f.joinpath("tokenizer.json").rename(f / "tokenizer.model"),
        "has no tokenizer.json, and cannot be read otherwise here",
    ),
    "quantised_somehow": (lambda f: changed(f / "config.json", quantization_config="fp8"), "cannot load the model"),
    "pad_outside": (lambda f: _tokens(f, True, pads=True), "its pad token, '<new>', has id"),
    "text_outside": (lambda f: _tokens(f, False), "a token, '<new>', has id"),
    "template_outside": (_template_token, "a token of its chat template, '<new>'"),
    "reads_both_ways": (
        lambda f: random_model(
            f, "Bert", hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64
        ),
        "cannot continue a text",
    ),
    "stop_no_number": (
        lambda f: changed(f / "generation_config.json", eos_token_id=["one"]),
        "instead of a token id",
    ),
    "padding_outside": (lambda f: changed(f / "config.json", pad_token_id=4000), "cannot load the model"),
    "generation_list": (
        lambda f: f.joinpath("generation_config.json").write_text("[]"),
        "cannot load the model",
    ),
    "heads_none": (lambda f: changed(f / "config.json", num_attention_heads=0), "cannot load the model"),
    "tokenizer_of_another_class": (
        lambda f: changed(f / "tokenizer_config.json", tokenizer_class="BertTokenizer"),
        "no usable tokenizer",
    ),
    "template_without_end": (
        lambda f: f.joinpath("chat_template.jinja").write_text("{% for i in range(999999999) %}{% endfor %}"),
        "changes the text of a user or assistant turn",
    ),
    "positions_no_number": (
        lambda f: changed(f / "config.json", max_position_embeddings="512"),
        "expected int, got str",
    ),
    "four_bits_in_name_only": (
        lambda f: changed(
            f / "config.json", quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True}
        ),
        "but they are not quantised",
    ),
    "no_room": (
        lambda f: random_model(f, "GPT2", n_embd=32, n_layer=2, n_head=4, n_positions=8),
        "context length is 8 tokens, but the shortest conversation",
    ),
    "reads_both_ways_as_causal": (
        lambda f: random_model(f, "XLNet", d_model=32, n_layer=2, n_head=4, d_inner=64),
        "cannot continue a text",
    ),
    "reader_as_decoder": (
        lambda f: random_model(
            f,
            "Roberta",
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=64,
            is_decoder=True,
        ),
        "even as a decoder",
    ),
    "template_missing": (lambda f: _template(f, None), "no chat template"),
    "template_null": (_null, "no chat template"),
    "template_empty": (lambda f: f.joinpath("chat_template.jinja").write_text(""), "no chat template"),
    "template_named": (
        lambda f: _template(f, [{"name": n, "template": tiny.TEMPLATE} for n in ("rag", "tool_use")]),
        "named rag, tool_use, and no default",
    ),
    "template_without_answers": (
        lambda f: _template(f, "{% for m in messages if m['role'] == 'user' %}{{ m['content'] }}{% endfor %}"),
        "changes the text of a user or assistant turn",
    ),
}
"""What is done to a good folder, and what then must be said."""


def _sharded(folder: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder)
    (folder / WEIGHTS).unlink()
    model.save_pretrained(folder, max_shard_size="40KB")
    (folder / "consolidated.safetensors").write_bytes(b"another library's form, of no matter here")


def random_model(folder: Path, kind: str, **settings: Any) -> None:
    """Other weights of the class ``kind``, with the same tokenizer."""
    import torch
    import transformers

    tokenizer = tiny.make_tokenizer()
    common = {"vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id}
    config = getattr(transformers, f"{kind}Config")(**common | {"pad_token_id": 0, "bos_token_id": None} | settings)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)


def _nested(folder: Path) -> None:
    """Text and images in one class, with all that counts in the inner config."""
    import torch
    import transformers

    tokenizer = tiny.make_tokenizer()
    text = {
        "vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "head_dim": 8,
        "num_attention_heads": 4, "num_key_value_heads": 2, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": 0,
        "bos_token_id": None, "max_position_embeddings": 512, "sliding_window": 64,
    }  # fmt: skip
    vision = {
        "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28,
        "patch_size": 14,
    }  # fmt: skip
    config = transformers.Gemma3Config(
        text_config=text, vision_config=vision, mm_tokens_per_image=4, image_token_index=1
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformers.Gemma3ForConditionalGeneration(config).save_pretrained(folder)
    changed(folder / "config.json", eos_token_id=None, pad_token_id=None)
    (folder / "generation_config.json").unlink()


GOOD: dict[str, Make] = {
    "plain": lambda f: None,
    "shards": _sharded,
    "template_list": lambda f: _template(f, [{"name": "default", "template": tiny.TEMPLATE}]),
    "template_of_parts": lambda f: _template(f, ASKS_PARTS),
    "unused_token_outside": lambda f: _tokens(f, True),
    "spaces_lost": lambda f: changed(f / "tokenizer_config.json", tokenizer_class="LlamaTokenizerFast"),
    "nested": _nested,
    "few_positions": lambda f: random_model(f, "GPT2", n_embd=32, n_layer=2, n_head=4, n_positions=64),
    "narrow_embedding": lambda f: random_model(
        f, "OPT", hidden_size=32, word_embed_proj_dim=16, ffn_dim=64, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=512, do_layer_norm_before=False,
    ),
}  # fmt: skip
"""What is done to a good folder so that it stays one."""
