"""Tiny models with random weights of many real architectures, each with a tokenizer and a chat template.

The settings are the smallest that keep what is particular to a family: sliding windows shorter than the rows, several
experts, both kinds of layer of a hybrid. The chat template is TRL's for the family where it has one, else ours.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import ROOT

TOKENIZER = ROOT / "engine" / "demo" / "base"
OURS = ROOT / "engine" / "chat" / "templates"
MARKUP = re.compile(r"<[|｜]?/?[A-Za-z_][A-Za-z_0-9▁]*[|｜]?>|\[/?[A-Z_]+\]")
WIDTH, LENGTH, SPREAD = 32, 512, 0.2

Settings = dict[str, Any]
SMALL: Settings = {
    "hidden_size": WIDTH,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": LENGTH,
    "initializer_range": SPREAD,
}
GPT: Settings = {"n_embd": WIDTH, "n_layer": 2, "n_head": 4, "n_positions": LENGTH, "initializer_range": SPREAD}
MOE: Settings = SMALL | {"moe_intermediate_size": 24, "num_experts_per_tok": 2}
GEMMA: Settings = SMALL | {"head_dim": 8, "query_pre_attn_scalar": 8}
MAMBA: Settings = {
    "mamba_n_heads": 4,
    "mamba_d_head": 16,
    "mamba_d_state": 8,
    "mamba_n_groups": 1,
    "mamba_chunk_size": 16,
}


@dataclass(frozen=True)
class Family:
    """A family as the table names it.

    kind: its ``model_type``. template: one of TRL's chat templates, or one of ours. end: the token that ends a turn.
    settings: what its configuration is given. text: the same of its nested language model, for a multimodal one.
    """

    kind: str
    template: str
    end: str
    settings: Settings = field(default_factory=lambda: SMALL)
    text: Settings | None = None


CHATML = ("chatml", "<|im_end|>")
LLAMA = ("llama3", "<|eot_id|>")
MISTRAL = ("mistral", "</s>")
FAMILIES: dict[str, Family] = {
    "Llama 3": Family("llama", "trl:llama3_1", "<|eot_id|>"),
    "Mistral, window 16": Family("mistral", *MISTRAL, SMALL | {"sliding_window": 16}),
    "Mixtral": Family("mixtral", *MISTRAL, SMALL | {"num_local_experts": 4}),
    "Qwen 2": Family("qwen2", "trl:qwen2_5", "<|im_end|>"),
    "Qwen 2 MoE": Family(
        "qwen2_moe", "trl:qwen2_5", "<|im_end|>", MOE | {"shared_expert_intermediate_size": 24, "num_experts": 4}
    ),
    "Qwen 3": Family("qwen3", "trl:qwen3", "<|im_end|>", SMALL | {"head_dim": 8}),
    "Qwen 3 MoE": Family("qwen3_moe", "trl:qwen3", "<|im_end|>", MOE | {"head_dim": 8, "num_local_experts": 4}),
    "Qwen 3 Next": Family(
        "qwen3_next",
        "trl:qwen3",
        "<|im_end|>",
        MOE
        | {
            "head_dim": 8,
            "num_experts": 4,
            "shared_expert_intermediate_size": 24,
            "layer_types": ["linear_attention", "full_attention"],
            "linear_key_head_dim": 8, "linear_value_head_dim": 8,
            "linear_num_key_heads": 2, "linear_num_value_heads": 4,
        },
    ),
    "Gemma": Family("gemma", "trl:gemma", "<end_of_turn>", SMALL | {"head_dim": 8}),
    "Gemma 2, window 16": Family("gemma2", "trl:gemma", "<end_of_turn>", GEMMA | {"sliding_window": 16}),
    "Gemma 3 (text)": Family(
        "gemma3_text",
        "trl:gemma3",
        "<end_of_turn>",
        GEMMA | {"sliding_window": 16, "layer_types": ["sliding_attention", "full_attention"]},
    ),
    "Gemma 3 (multimodal)": Family(
        "gemma3",
        "trl:gemma3",
        "<end_of_turn>",
        {"vision_config": {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
                           "image_size": 28, "patch_size": 14}, "mm_tokens_per_image": 4},
        GEMMA | {"sliding_window": 16, "layer_types": ["sliding_attention", "full_attention"]},
    ),
    "Phi": Family("phi", *CHATML),
    "Phi 3": Family("phi3", "trl:phi3", "<|end|>"),
    "GPT-2": Family("gpt2", *CHATML, GPT),
    "GPT-J": Family("gptj", *CHATML, GPT | {"rotary_dim": 8}),
    "GPT-BigCode": Family("gpt_bigcode", *CHATML, GPT),
    "GPT-NeoX": Family("gpt_neox", *CHATML),
    "OPT": Family("opt", *CHATML, SMALL | {"ffn_dim": 48, "init_std": SPREAD, "word_embed_proj_dim": WIDTH}),
    "OPT, projected": Family("opt", *CHATML, SMALL | {"ffn_dim": 48, "init_std": SPREAD, "word_embed_proj_dim": 16,
                                                     "do_layer_norm_before": False}),
    "Bloom": Family("bloom", *CHATML, {"hidden_size": WIDTH, "n_layer": 2, "n_head": 4, "initializer_range": SPREAD}),
    "Falcon, rotary": Family("falcon", *CHATML, SMALL | {"ffn_hidden_size": 48}),
    "Falcon, ALiBi": Family("falcon", *CHATML, SMALL | {"ffn_hidden_size": 48, "alibi": True}),
    "StableLM": Family("stablelm", *CHATML),
    "SmolLM 3": Family("smollm3", *CHATML, SMALL | {"no_rope_layers": [1, 0]}),
    "OLMo 2": Family("olmo2", *CHATML),
    "OLMoE": Family("olmoe", *CHATML, MOE | {"num_experts": 4}),
    "Granite": Family("granite", *CHATML, SMALL | {"logits_scaling": 3.0, "residual_multiplier": 0.7,
                                                  "embedding_multiplier": 2.0, "attention_multiplier": 0.5}),
    "Granite hybrid": Family(
        "granitemoehybrid",
        *CHATML,
        SMALL | MAMBA | {"num_local_experts": 4, "num_experts_per_tok": 2, "shared_intermediate_size": 24,
                         "layer_types": ["mamba", "attention"], "logits_scaling": 3.0},
    ),
    "Cohere": Family("cohere", "trl:cohere", "<|END_OF_TURN_TOKEN|>"),
    "Cohere 2": Family("cohere2", "trl:cohere", "<|END_OF_TURN_TOKEN|>", SMALL | {"head_dim": 8, "sliding_window": 16,
                       "layer_types": ["sliding_attention", "full_attention"]}),
    "GLM 4": Family("glm4", *CHATML, SMALL | {"head_dim": 8}),
    "GLM 4 MoE": Family("glm4_moe", "trl:glm4moe", "<|user|>", MOE | {"head_dim": 8, "n_routed_experts": 4,
                        "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1, "n_shared_experts": 1}),
    "StarCoder 2": Family("starcoder2", *CHATML, SMALL | {"sliding_window": None}),
    "MPT": Family("mpt", *CHATML, {"d_model": WIDTH, "n_heads": 4, "n_layers": 2, "max_seq_len": LENGTH,
                                   "initializer_range": SPREAD}),
    "DeepSeek V3": Family(
        "deepseek_v3",
        "trl:deepseekv3",
        "<｜end▁of▁sentence｜>",
        MOE
        | {"num_key_value_heads": 4, "n_routed_experts": 4, "n_group": 2, "topk_group": 1, "kv_lora_rank": 8,
           "q_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 4, "v_head_dim": 8, "first_k_dense_replace": 1},
    ),
    "gpt-oss": Family("gpt_oss", "trl:gptoss", "<|return|>", SMALL | {"head_dim": 8, "num_local_experts": 4,
                      "num_experts_per_tok": 2, "sliding_window": 16,
                      "layer_types": ["sliding_attention", "full_attention"]}),
    "Nemotron": Family("nemotron", *CHATML, SMALL | {"head_dim": 8}),
    "EXAONE 4": Family("exaone4", *CHATML, SMALL | {"sliding_window": 16,
                       "layer_types": ["sliding_attention", "full_attention"]}),
    "ERNIE 4.5": Family("ernie4_5", *CHATML, SMALL | {"head_dim": 8}),
    "HyperCLOVA X": Family("hyperclovax", *CHATML, SMALL | {"head_dim": 8, "logits_scaling": 0.3}),
    "LFM 2": Family("lfm2", "trl:lfm2", "<|im_end|>", SMALL | {"layer_types": ["conv", "full_attention"],
                    "block_auto_adjust_ff_dim": False}),
    "Falcon H1": Family("falcon_h1", *CHATML, SMALL | MAMBA | {"mamba_d_ssm": 64, "lm_head_multiplier": 0.5}),
    "Bamba": Family("bamba", *CHATML, SMALL | MAMBA | {"attn_layer_indices": [1]}),
    "Jamba": Family("jamba", *CHATML, SMALL | {"num_experts": 4, "num_experts_per_tok": 2, "attn_layer_period": 2,
                    "attn_layer_offset": 1, "expert_layer_period": 2, "expert_layer_offset": 1, "mamba_d_state": 8,
                    "mamba_dt_rank": 4, "use_mamba_kernels": False}),
    "Mamba": Family("mamba", *CHATML, {"hidden_size": WIDTH, "state_size": 8, "num_hidden_layers": 2,
                    "time_step_rank": 4, "initializer_range": SPREAD}),
    "Mamba 2": Family("mamba2", *CHATML, {"hidden_size": WIDTH, "state_size": 8, "num_hidden_layers": 2, "num_heads": 4,
                      "head_dim": 16, "n_groups": 1, "chunk_size": 16, "initializer_range": SPREAD}),
    "RWKV": Family("rwkv", *CHATML, {"hidden_size": WIDTH, "num_hidden_layers": 2, "attention_hidden_size": WIDTH,
                   "intermediate_size": 48, "context_length": LENGTH}),
    "RecurrentGemma": Family("recurrent_gemma", "trl:gemma", "<end_of_turn>", SMALL | {"head_dim": 8,
                             "lru_width": WIDTH,
                             "attention_window_size": 16, "num_hidden_layers": 3, "w_init_variance_scale": 0.5}),
}  # fmt: skip


def make(family: Family, folder: Path) -> Path:
    """The model with its tokenizer in ``folder``; the same for every call."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    tokenizer = tokenizer_of(family)
    ends = {
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    if family.text is None:
        config = AutoConfig.for_model(family.kind, **family.settings, **ends)
    else:
        places = {name: len(tokenizer) - 1 - i for i, name in enumerate(IMAGE_TOKENS)}
        config = AutoConfig.for_model(family.kind, text_config=family.text | ends, **family.settings, **places)
    for part in {id(c): c for c in (config, config.get_text_config())}.values():
        for key, value in part.to_dict().items():
            if "drop" in key and isinstance(value, float):
                setattr(part, key, 0.0)  # two trainings draw differently
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config)
        _disturb(model)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


IMAGE_TOKENS = ("image_token_index", "boi_token_index", "eoi_token_index")


def _disturb(model: Any) -> None:
    """Move what is made as zeros and ones too: a bias or a gate that nobody reads must show."""
    import torch

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1 and "A_log" not in name and not name.endswith(("dt_bias", ".D")):
                parameter.add_(torch.randn_like(parameter) * 0.1)


def tokenizer_of(family: Family) -> Any:
    """The demo's tokenizer with the family's chat template and every special token that it writes."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(TOKENIZER)
    template = _template(family.template)
    markup = sorted({*MARKUP.findall(template), family.end, "<s>", "<image>"} - set(tokenizer.all_special_tokens))
    tokenizer.add_special_tokens({"additional_special_tokens": markup})
    tokenizer.eos_token, tokenizer.bos_token = family.end, "<s>"
    tokenizer.chat_template = template
    return tokenizer


def _template(name: str) -> str:
    if not name.startswith("trl:"):
        return (OURS / f"{name}.jinja").read_text(encoding="utf-8")
    import trl

    file = Path(trl.__file__).parent / "chat_templates" / f"{name.removeprefix('trl:')}.jinja"
    return file.read_text(encoding="utf-8")
