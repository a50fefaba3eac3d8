"""The shape of a model that nobody has to load: Llama-3.1-8B's."""

from __future__ import annotations

from engine.doctor.memory import ModelShape

LLAMA_8B = ModelShape(
    parameters=8_030_261_248,
    linear=tuple(
        (f"model.layers.{layer}.{name}.weight", rows, columns)
        for layer in range(32)
        for name, rows, columns in (
            ("self_attn.q_proj", 4096, 4096),
            ("self_attn.k_proj", 1024, 4096),
            ("self_attn.v_proj", 1024, 4096),
            ("self_attn.o_proj", 4096, 4096),
            ("mlp.gate_proj", 14336, 4096),
            ("mlp.up_proj", 14336, 4096),
            ("mlp.down_proj", 4096, 14336),
        )
    ),
    layers=32,
    hidden=4096,
    inner=14336,
    heads_width=4096,
    kv_width=1024,
    words=128_256,
)
