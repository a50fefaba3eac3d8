"""Models of several families with random weights, without tokenizer or folder: what a forward is tried on."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

SETTINGS: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen2": {},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 512},  # learned positions
    "mistral": {"sliding_window": 16},
    "bloom": {"n_layer": 2, "n_head": 4},  # attention is biased by distance
    "mpt": {"d_model": 32, "n_heads": 4, "n_layers": 2},  # the same
    "mamba": {"state_size": 8, "time_step_rank": 4},  # recurrent
    "rwkv": {"attention_hidden_size": 32, "context_length": 512},  # recurrent, and takes no attention mask
    "qwen2_moe": {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24,
                  "shared_expert_intermediate_size": 24},
    "gemma2": {"head_dim": 8, "query_pre_attn_scalar": 8, "final_logit_softcapping": 5.0},
    "recurrent_gemma": {"head_dim": 8, "lru_width": 32, "num_hidden_layers": 3, "logits_soft_cap": 5.0},
    "hyperclovax": {"head_dim": 8, "logits_scaling": 0.3},
    "granite": {"logits_scaling": 3.0},
    "opt": {"ffn_dim": 64, "word_embed_proj_dim": 16, "do_layer_norm_before": False, "init_std": 0.3},
}  # fmt: skip


def model_of(family: str, attention: str = "eager", words: int = 300) -> Any:
    """Two layers, 32 numbers wide; the same weights for every call."""
    small = {
        "vocab_size": words, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512, "initializer_range": 0.3,
        "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    }  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = AutoConfig.for_model(family, **small | SETTINGS[family])
        return AutoModelForCausalLM.from_config(config, attn_implementation=attention).eval()
