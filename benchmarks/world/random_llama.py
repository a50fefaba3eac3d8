"""A Llama with random weights, of any shape, on the disk: what memory and speed are measured with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmarks import ROOT

TOKENIZER = ROOT / "engine" / "demo" / "base"
END = 4  # "<|end|>" of the demo's tokenizer


@dataclass(frozen=True)
class Llama:
    """A Llama's shape."""

    hidden: int
    inner: int
    layers: int
    heads: int
    key_heads: int
    words: int


def write(folder: Path, shape: Llama, dtype: str) -> Path:
    """The model with the demo's tokenizer in ``folder``, its numbers stored as ``dtype``; made where it is fastest."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=shape.words,
        hidden_size=shape.hidden,
        intermediate_size=shape.inner,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_heads,
        max_position_embeddings=8192,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=END,
    )
    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, dtype))
    try:
        with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
            model = LlamaForCausalLM(config)
    finally:
        torch.set_default_dtype(before)
    model.save_pretrained(folder)
    del model
    if torch.cuda.is_available():
        torch.cuda.empty_cache()  # what is measured runs in processes of its own
    AutoTokenizer.from_pretrained(TOKENIZER).save_pretrained(folder)
    return folder
