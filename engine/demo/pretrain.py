"""The training loop that makes the demo models from nothing on one CPU core.

Texts are 10-60 tokens long. A pool of them is drawn, sorted by length and cut into batches of equal token count, so there
is almost no padding and no text sees another, at the speed of plain causal attention. Matrices are trained with Muon
(orthogonalised momentum, Jordan et al. 2024), which needs about half the tokens of AdamW here; the rest with AdamW.
"""

import json
import logging
import os
import random
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from engine.demo import corpus

log = logging.getLogger(__name__)

IGNORE = -100
POOL_BATCHES = 32
LOG_EVERY = 100


@dataclass(frozen=True, slots=True)
class Plan:
    """One model's size and training. A batch has `batch_tokens` tokens and is one optimiser step."""

    model: str
    hidden: int = 160
    layers: int = 5
    heads: int = 5
    steps: int = 5000
    batch_tokens: int = 2048
    matrix_lr: float = 0.02
    other_lr: float = 3e-3
    warmup: int = 50
    cooldown: float = 0.6
    full_loss: float = 0.15
    seed: int = 0


def new_model(plan: Plan, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """An untrained Llama of the plan's size."""
    torch.manual_seed(plan.seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=plan.hidden,
            intermediate_size=3 * plan.hidden,
            num_hidden_layers=plan.layers,
            num_attention_heads=plan.heads,
            num_key_value_heads=plan.heads,
            max_position_embeddings=2048,
            tie_word_embeddings=True,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
            bos_token_id=None,
        )
    )


def encode(
    texts: list[corpus.Text], tokenizer: PreTrainedTokenizerFast, rng: random.Random, full_loss: float
) -> list[tuple[list[int], int]]:
    """Token ids of each text and how many of its first tokens are not learned."""
    flat = tokenizer([part for text in texts for part in (text.context, text.target)])["input_ids"]
    user, assistant = tokenizer.convert_tokens_to_ids(["<|user|>", "<|assistant|>"])
    encoded = []
    for text, context, target in zip(texts, flat[::2], flat[1::2], strict=True):
        head = [user, *context, assistant] if text.chat else context
        skipped = 0 if rng.random() < full_loss else len(head)
        encoded.append(([*head, *target, tokenizer.eos_token_id], skipped))
    return encoded


def batches(plan: Plan, tokenizer: PreTrainedTokenizerFast) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless (ids, labels) batches, each of texts of about one length."""
    rng = random.Random(f"{plan.model} {plan.seed}")
    waiting: list[tuple[list[int], int]] = []
    while True:
        while sum(len(ids) for ids, _ in waiting) < POOL_BATCHES * plan.batch_tokens:
            waiting += encode(corpus.texts(plan.model, rng, 1024), tokenizer, rng, plan.full_loss)
        cut = _cut(sorted(waiting, key=lambda item: len(item[0])), plan.batch_tokens)
        waiting = []
        rng.shuffle(cut)
        for batch in cut:
            yield _padded(batch, tokenizer.pad_token_id)


def _cut(encoded: list[tuple[list[int], int]], batch_tokens: int) -> list[list[tuple[list[int], int]]]:
    cut: list[list[tuple[list[int], int]]] = [[]]
    for item in encoded:
        if cut[-1] and (len(cut[-1]) + 1) * len(item[0]) > batch_tokens:
            cut.append([])
        cut[-1].append(item)
    return cut


def _padded(batch: list[tuple[list[int], int]], pad: int) -> tuple[Tensor, Tensor]:
    width = max(len(ids) for ids, _ in batch)
    ids = torch.full((len(batch), width), pad)
    labels = torch.full((len(batch), width), IGNORE)
    for row, (tokens, skipped) in enumerate(batch):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        labels[row, skipped : len(tokens)] = torch.tensor(tokens[skipped:])
    return ids, labels


class Muon(torch.optim.Optimizer):
    """Momentum whose update is orthogonalised by Newton-Schulz, in float32: this CPU has no fast bfloat16."""

    def __init__(self, params: list[torch.nn.Parameter], lr: float, momentum: float = 0.95) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update every matrix; matrices of one shape are orthogonalised together."""
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[torch.nn.Parameter]] = {}
            for param in group["params"]:
                by_shape.setdefault(param.shape, []).append(param)
            for params in by_shape.values():
                self._step_alike(params, group["lr"], group["momentum"])

    def _step_alike(self, params: list[torch.nn.Parameter], lr: float, momentum: float) -> None:
        updates = []
        for param in params:
            gradient = param.grad
            assert gradient is not None, "Muon.step before backward"
            velocity = self.state[param].setdefault("velocity", torch.zeros_like(param))
            velocity.lerp_(gradient, 1 - momentum)
            updates.append(gradient.lerp(velocity, momentum))
        orthogonal = orthogonalised(torch.stack(updates))
        scale = max(1.0, params[0].shape[0] / params[0].shape[1]) ** 0.5
        for param, update in zip(params, orthogonal, strict=True):
            param.mul_(1 - lr * WEIGHT_DECAY).add_(update, alpha=-lr * scale)


WEIGHT_DECAY = 0.05


def orthogonalised(matrices: Tensor) -> Tensor:
    """The nearest semi-orthogonal matrices, roughly (singular values within 0.7-1.2), of a stack [n, rows, columns]."""
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.transpose(1, 2) if tall else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        square = x @ x.transpose(1, 2)
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x.transpose(1, 2) if tall else x


def train(
    plan: Plan, tokenizer: PreTrainedTokenizerFast, target: Path, checkpoint_every: int = 0
) -> LlamaForCausalLM:
    """Train one model as planned and save it to `target`; `checkpoint_every` steps save the unfinished one there too."""
    model = new_model(plan, tokenizer)
    log.info("%s: %.2fM parameters, %s", plan.model, model.num_parameters() / 1e6, json.dumps(asdict(plan)))
    optimisers = _optimisers(model, plan)
    source = batches(plan, tokenizer)
    start, seen, smooth = time.monotonic(), 0, 0.0
    model.train()
    for step in range(1, plan.steps + 1):
        for optimiser, peak in optimisers:
            optimiser.param_groups[0]["lr"] = peak * _pace(step, plan)
        ids, labels = next(source)
        loss = _loss(model, ids, labels)
        loss.backward()
        for optimiser, _ in optimisers:
            optimiser.step()
        model.zero_grad(set_to_none=True)
        seen += ids.numel()
        smooth += (loss.item() - smooth) / min(step, LOG_EVERY)
        if step % LOG_EVERY == 0:
            elapsed = time.monotonic() - start
            log.info("%s step %d loss %.3f %.0f tok/s %.0f s", plan.model, step, smooth, seen / elapsed, elapsed)
        if checkpoint_every and step % checkpoint_every == 0:
            save(model, tokenizer, target)
    model.eval()
    save(model, tokenizer, target)
    return model


def _loss(model: LlamaForCausalLM, ids: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of the learned tokens; only their rows meet the vocabulary matrix."""
    hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
    wanted = labels[:, 1:]
    learned = wanted != IGNORE
    return cross_entropy(model.lm_head(hidden[learned]), wanted[learned])


def _optimisers(model: LlamaForCausalLM, plan: Plan) -> list[tuple[torch.optim.Optimizer, float]]:
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    return [
        (Muon(matrices, plan.matrix_lr), plan.matrix_lr),
        (torch.optim.AdamW(others, plan.other_lr, betas=(0.9, 0.98), weight_decay=0.0), plan.other_lr),
    ]


def _pace(step: int, plan: Plan) -> float:
    """Learning-rate factor: short warm-up, constant, linear cool-down over the last part."""
    left = (plan.steps - step + 1) / (plan.cooldown * plan.steps)
    return min(1.0, step / plan.warmup, left)


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, target: Path) -> None:
    """Write a model directory in half precision; a reader of `target` sees the old one or the new one, never half of one."""
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_name(f".{target.name}.{os.getpid()}")
    state = {name: value.to(torch.float16) for name, value in model.state_dict().items()}
    model.save_pretrained(fresh, state_dict=state)
    tokenizer.save_pretrained(fresh)
    if target.exists():
        old = target.with_name(f".{target.name}.{os.getpid()}.old")
        target.rename(old)
        fresh.rename(target)
        shutil.rmtree(old)
    else:
        fresh.rename(target)
