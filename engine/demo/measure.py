"""Measurements on the demo models that need no loop: accuracy, loss, ratings, rewrites, and a small fine-tuning.

They tell whether a freshly built pair of models is fit for the demo (report.py) and touch no project and no store.
"""

import copy
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from engine.chat.prompts import tagged
from engine.demo import corpus, world
from engine.demo.flaws import SeedRow
from engine.demo.pretrain import IGNORE

Floats = NDArray[np.float64]
BATCH = 64
NEW_TOKENS = 64
DIGITS = "0123456789"


@dataclass(frozen=True, slots=True)
class Tuning:
    """A small fine-tuning: `rank` 0 trains all weights, else LoRA on every linear layer with alpha = 2 x rank."""

    epochs: int = 3
    lr: float = 1e-3
    batch: int = 16
    rank: int = 0
    seed: int = 0


class Lab:
    """A model with its tokenizer, asked in batches of about one length."""

    def __init__(self, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer
        self._digits = torch.tensor(tokenizer.convert_tokens_to_ids(list(DIGITS)))

    def chat_ids(self, prompt: str) -> list[int]:
        """The ids of one user message, up to and with the assistant's role token."""
        text = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
        )
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    @torch.no_grad()
    def generate(self, prompts: Sequence[str], temperature: float = 0.0) -> list[str]:
        """The reply to each prompt, greedy unless a temperature is given."""
        replies = [""] * len(prompts)
        encoded = [self.chat_ids(prompt) for prompt in prompts]
        for chosen in _by_length(encoded):
            ids, mask = self._left_padded([encoded[i] for i in chosen])
            sampling = {"do_sample": True, "temperature": temperature} if temperature else {"do_sample": False}
            out = self.model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=NEW_TOKENS, **sampling)
            texts = self.tokenizer.batch_decode(out[:, ids.shape[1] :], skip_special_tokens=True)
            for i, text in zip(chosen, texts, strict=True):
                replies[i] = text.strip()
        return replies

    @torch.no_grad()
    def ratings(self, rows: Sequence[SeedRow]) -> Floats:
        """The six expected ratings of each row, [N, 6]: three of the prompt, then three of the response."""
        asked = [
            self.chat_ids(corpus.judge_prompt(row.prompt, row.output, subject, dimension))
            for row in rows
            for subject in ("prompt", "response")
            for dimension in corpus.DIMENSIONS
        ]
        rated = np.zeros(len(asked))
        for chosen in _by_length(asked):
            ids, mask = self._left_padded([asked[i] for i in chosen])
            positions = (mask.cumsum(1) - 1).clamp(min=0)
            logits = self.model(input_ids=ids, attention_mask=mask, position_ids=positions, logits_to_keep=1).logits
            chances = logits[:, -1, self._digits].softmax(-1)
            rated[chosen] = (chances * torch.arange(10.0)).sum(-1).numpy()
        return rated.reshape(len(rows), 6)

    @torch.no_grad()
    def losses(self, rows: Sequence[SeedRow]) -> Floats:
        """Mean cross-entropy of each row's response tokens, the end token included."""
        pairs = [self.sft_ids(row) for row in rows]
        result = np.zeros(len(rows))
        for chosen in _by_length([ids for ids, _ in pairs]):
            ids, labels = _right_padded([pairs[i] for i in chosen], self.tokenizer.pad_token_id)
            logits = self.model(input_ids=ids).logits[:, :-1]
            token = cross_entropy(logits.transpose(1, 2), labels[:, 1:], ignore_index=IGNORE, reduction="none")
            result[chosen] = (token.sum(1) / (labels[:, 1:] != IGNORE).sum(1)).numpy()
        return result

    def sft_ids(self, row: SeedRow) -> tuple[list[int], int]:
        """A row's ids as fine-tuning sees them, and the length of its prompt."""
        head = self.chat_ids(row.prompt)
        tail = self.tokenizer(row.output, add_special_tokens=False)["input_ids"]
        return [*head, *tail, self.tokenizer.eos_token_id], len(head)

    def _left_padded(self, encoded: Sequence[list[int]]) -> tuple[Tensor, Tensor]:
        width = max(map(len, encoded))
        ids = torch.full((len(encoded), width), self.tokenizer.pad_token_id)
        mask = torch.zeros_like(ids)
        for row, tokens in enumerate(encoded):
            ids[row, width - len(tokens) :] = torch.tensor(tokens)
            mask[row, width - len(tokens) :] = 1
        return ids, mask


def _by_length(encoded: Sequence[list[int]]) -> list[list[int]]:
    order = sorted(range(len(encoded)), key=lambda i: len(encoded[i]))
    return [order[at : at + BATCH] for at in range(0, len(order), BATCH)]


def _right_padded(pairs: Sequence[tuple[list[int], int]], pad: int) -> tuple[Tensor, Tensor]:
    width = max(len(ids) for ids, _ in pairs)
    ids = torch.full((len(pairs), width), pad)
    labels = torch.full((len(pairs), width), IGNORE)
    for row, (tokens, prompt) in enumerate(pairs):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        labels[row, prompt : len(tokens)] = torch.tensor(tokens[prompt:])
    return ids, labels


def fine_tuned(lab: Lab, rows: Sequence[SeedRow], tuning: Tuning) -> Lab:
    """A fine-tuned copy of the lab's model; response tokens only, cosine decay, 5 % warm-up."""
    torch.manual_seed(tuning.seed)
    model = copy.deepcopy(lab.model)
    if tuning.rank:
        model = _with_lora(model, tuning.rank)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=tuning.lr, weight_decay=0.0)
    pairs = [lab.sft_ids(row) for row in rows]
    order = _epochs(len(pairs), tuning)
    steps = [order[at : at + tuning.batch] for at in range(0, len(order), tuning.batch)]
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _cosine(step, len(steps)))
    model.train()
    for chosen in steps:
        ids, labels = _right_padded([pairs[i] for i in chosen], lab.tokenizer.pad_token_id)
        model(input_ids=ids, labels=labels).loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        schedule.step()
        optimiser.zero_grad()
    return Lab(model, lab.tokenizer)


def _with_lora(model: LlamaForCausalLM, rank: int) -> LlamaForCausalLM:
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")
    adapted: LlamaForCausalLM = get_peft_model(model, config)
    return adapted


def _epochs(n: int, tuning: Tuning) -> list[int]:
    rng = random.Random(tuning.seed)
    order: list[int] = []
    for _ in range(tuning.epochs):
        order += rng.sample(range(n), n)
    return order


def _cosine(step: int, steps: int) -> float:
    warmup = max(1, steps // 20)
    return min((step + 1) / warmup, 0.5 * (1 + float(np.cos(np.pi * step / steps))))


def accuracy(lab: Lab, rows: Sequence[SeedRow]) -> dict[str, float]:
    """Exact-match accuracy by family, and over all rows under ""."""
    replies = lab.generate([row.prompt for row in rows])
    right: dict[str, list[bool]] = defaultdict(list)
    for row, reply in zip(rows, replies, strict=True):
        for group in ("", row.family):
            right[group].append(reply == row.intended.answer)
    return {group: float(np.mean(hits)) for group, hits in right.items()}


def auc(bad: Floats, good: Floats) -> float:
    """How often a bad row's value is above a good row's; ties count half."""
    above = (bad[:, None] > good[None, :]).mean() + 0.5 * (bad[:, None] == good[None, :]).mean()
    return float(above)


def separation(values: Floats, flaws: Sequence[str]) -> dict[str, float]:
    """AUC of `values` (higher = worse) for each flaw against the clean rows, and over all flawed ones under ""."""
    labels = np.array(flaws)
    good = values[labels == ""]
    groups = {flaw: values[labels == flaw] for flaw in sorted(set(flaws) - {""})}
    return {"": auc(values[labels != ""], good)} | {flaw: auc(bad, good) for flaw, bad in groups.items()}


def rewritten_prompt(reply: str) -> str | None:
    """The one marked prompt of a teacher's reply, or None when the reply is malformed."""
    found = tagged(reply)
    return found[0].strip() or None if len(found) == 1 else None


def repaired(teacher: Lab, rows: Sequence[SeedRow], kind: str, temperature: float = 0.0) -> list[SeedRow | None]:
    """Each row rewritten by the teacher as the loop does it, in two calls; None where a reply was malformed."""
    asked = [corpus.fill(kind, prompt=row.prompt, response=row.output) for row in rows]
    prompts = [rewritten_prompt(reply) for reply in teacher.generate(asked, temperature)]
    answers = teacher.generate([corpus.fill("answer", prompt=prompt or "") for prompt in prompts])
    return [
        SeedRow(prompt, "", answer, row.family, "", row.intended) if prompt and answer else None
        for row, prompt, answer in zip(rows, prompts, answers, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class RewriteQuality:
    """Shares of one kind of rewrite: well formed, a task of the world, of the same family, and answered right."""

    well_formed: float
    parsable: float
    same_family: float
    right: float


def rewrite_quality(rows: Sequence[SeedRow], rewrites: Sequence[SeedRow | None]) -> RewriteQuality:
    """Check rewrites against the world."""
    tasks = [world.parse(new.prompt) if new else None for new in rewrites]
    return RewriteQuality(
        well_formed=float(np.mean([new is not None for new in rewrites])),
        parsable=float(np.mean([task is not None for task in tasks])),
        same_family=float(np.mean([t is not None and t.family == r.family for t, r in zip(tasks, rows, strict=True)])),
        right=float(
            np.mean(
                [t is not None and n is not None and t.answer == n.output for t, n in zip(tasks, rewrites, strict=True)]
            )
        ),
    )
