"""What plain transformers gives for one row at a time: losses, states, probabilities, replies, training steps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from engine.chat.render import Rendered

IGNORED = -100


def read(folder: Path, adapter: Path | None = None) -> Any:
    """The model as ``from_pretrained`` gives it."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    if adapter is not None:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, adapter)
    return model.eval()


def labels(row: Rendered) -> list[int]:
    """The row's ids where they are learned."""
    return [i if on else IGNORED for i, on in zip(row.ids, row.mask, strict=True)]


@torch.no_grad()
def losses(model: Any, rows: Sequence[Rendered]) -> list[float]:
    """The model's own loss of each row."""
    return [
        float(model(input_ids=torch.tensor([row.ids]), labels=torch.tensor([labels(row)]), use_cache=False).loss)
        for row in rows
    ]


@torch.no_grad()
def states(model: Any, rows: Sequence[Rendered]) -> list[torch.Tensor]:
    """The last hidden states of each row, [tokens, hidden]: what the head is given."""
    given: list[torch.Tensor] = []
    hook = model.get_output_embeddings().register_forward_pre_hook(lambda _, inputs: given.append(inputs[0][0]))
    for row in rows:
        model(input_ids=torch.tensor([row.ids]), use_cache=False)
    hook.remove()
    return given


@torch.no_grad()
def next_token(model: Any, prompts: Sequence[Sequence[int]]) -> torch.Tensor:
    """The distribution of the token behind each prompt, float64[prompts, words]."""
    logits = [model(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0, -1] for ids in prompts]
    return torch.stack(logits).double().softmax(-1)


@torch.no_grad()
def replies(
    model: Any, prompts: Sequence[Sequence[int]], tokens: int, stops: Sequence[int], pad: int
) -> list[list[int]]:
    """Greedy replies, one by one, without their ends."""
    from transformers import GenerationConfig

    how = GenerationConfig(max_new_tokens=tokens, do_sample=False, eos_token_id=list(stops), pad_token_id=pad)
    out = []
    for ids in prompts:
        given = torch.tensor([list(ids)])
        made = model.generate(given, attention_mask=torch.ones_like(given), generation_config=how)
        reply = made[0, len(ids) :].tolist()
        out.append(next((reply[:i] for i, token in enumerate(reply) if token in stops), reply))
    return out


def steps(model: Any, rows: Sequence[Rendered], count: int, rate: float, aux: bool) -> list[float]:
    """Losses of ``count`` steps, each over all rows as one padded batch.

    aux: the model's own loss has the balance of its experts in it, as the configuration weighs it.
    """
    width = max(len(row.ids) for row in rows)
    ids = torch.tensor([row.ids + [0] * (width - len(row.ids)) for row in rows])
    mask = torch.tensor([[1] * len(row.ids) + [0] * (width - len(row.ids)) for row in rows])
    wanted = torch.tensor([labels(row) + [IGNORED] * (width - len(row.ids)) for row in rows])
    learned = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(learned, lr=rate, weight_decay=0.0)
    more = {"output_router_logits": True} if aux else {}
    out = []
    model.train()
    for _ in range(count):
        loss = model(input_ids=ids, attention_mask=mask, labels=wanted, use_cache=False, **more).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimiser.step()
        optimiser.zero_grad()
        out.append(float(loss.detach()))
    model.eval()
    return out
