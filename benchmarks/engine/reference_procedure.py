"""The published diagnosis as its scripts do it, written anew: what `diagnose.py` compares ours with.

One prompt at a time for embeddings, the bare prompt without template, the last layer of `output_hidden_states`; two
passes for losses in batches of 8 in file order, padded to the longest, with the logits of every position in memory;
six judgements per sample, drawn at temperature 0.1, top-p 0.7, top-k 50, up to 1,024 new tokens, the text that differs
first; the whole N x N matrix of similarities. The rows' tokens come from our renderer, so the numbers can be compared.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModelForCausalLM

from engine.chat.render import Rendered, load_tokenizer, render_bare
from engine.store.rows import DIMENSIONS, Message

LOSS_BATCH = 8
JUDGE_BATCH = 8
SAMPLING = {"do_sample": True, "temperature": 0.1, "top_p": 0.7, "top_k": 50, "max_new_tokens": 1024}
NUMBER = re.compile(r"\d+(?:\.\d+)?")
IGNORED = -100

Floats = NDArray[np.float64]


def load(path: Path) -> tuple[Any, Any]:
    """Tokenizer and model, float32."""
    return load_tokenizer(path), AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()


@torch.inference_mode()
def embeddings(path: Path, prompts: Sequence[str], max_length: int) -> NDArray[np.float32]:
    """float32[N, hidden]: the mean of the last hidden states of each bare prompt, one forward each."""
    tokenizer, model = load(path)
    out = []
    for prompt in prompts:
        ids = torch.tensor([render_bare(tokenizer, prompt, max_length).ids])
        states = model(input_ids=ids, output_hidden_states=True).hidden_states[-1]
        out.append(states[0].mean(dim=0).numpy())
    return np.stack(out)


@torch.inference_mode()
def losses(path: Path, rows: Sequence[Rendered]) -> Floats:
    """float64[N]: mean cross-entropy of the response tokens of each row."""
    _, model = load(path)
    out: list[float] = []
    for at in range(0, len(rows), LOSS_BATCH):
        batch = rows[at : at + LOSS_BATCH]
        width = max(len(row.ids) for row in batch)
        ids = torch.tensor([[*row.ids, *[0] * (width - len(row.ids))] for row in batch])
        labels = torch.tensor([_labels(row, width) for row in batch])
        attention = torch.tensor([[1] * len(row.ids) + [0] * (width - len(row.ids)) for row in batch])
        logits = model(input_ids=ids, attention_mask=attention).logits.float()
        each = torch.nn.functional.cross_entropy(
            logits[:, :-1].transpose(1, 2), labels[:, 1:], ignore_index=IGNORED, reduction="none"
        )
        out += (each.sum(dim=1) / (labels[:, 1:] != IGNORED).sum(dim=1)).tolist()
    return np.array(out)


def _labels(row: Rendered, width: int) -> list[int]:
    own = [i if on else IGNORED for i, on in zip(row.ids, row.mask, strict=True)]
    return own + [IGNORED] * (width - len(own))


def requests(prompt: str, response: str) -> list[str]:
    """The six requests for one sample: what differs, the dimension, comes first."""
    head = "On a scale from 0 to 9, rate the {dimension} of the {subject} below. Reply with the number alone.\n\n"
    asked = [head.format(dimension=d, subject="prompt") + prompt for d in DIMENSIONS]
    return asked + [head.format(dimension=d, subject="response") + f"{prompt}\n\n{response}" for d in DIMENSIONS]


@torch.inference_mode()
def ratings(path: Path, asked: Sequence[str], seed: int) -> tuple[Floats, int]:
    """float64[len(asked)]: the first number of a drawn reply, 0 where there is none; and how many tokens were drawn."""
    tokenizer, model = load(path)
    torch.manual_seed(seed)
    limit = model.config.max_position_embeddings - SAMPLING["max_new_tokens"]
    tokenizer.padding_side = "left"
    found, drawn = [], 0
    for at in range(0, len(asked), JUDGE_BATCH):
        chats = [[{"role": "user", "content": text}] for text in asked[at : at + JUDGE_BATCH]]
        batch = tokenizer.apply_chat_template(
            chats,
            add_generation_prompt=True,
            padding=True,
            truncation=True,
            max_length=limit,
            return_tensors="pt",
            return_dict=True,
        )
        replies = model.generate(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], **SAMPLING, pad_token_id=0
        )[:, batch["input_ids"].shape[1] :]
        drawn += replies.numel()
        for text in tokenizer.batch_decode(replies, skip_special_tokens=True):
            number = NUMBER.search(text)
            found.append(float(number.group()) if number else 0.0)
    return np.array(found), drawn


def nearest(embedded: NDArray[np.float32], k: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The k nearest others by cosine, from the whole matrix: similarity [N, k] and index [N, k]."""
    unit = torch.nn.functional.normalize(torch.from_numpy(embedded.astype(np.float32)), dim=1)
    matrix = unit @ unit.T
    matrix.fill_diagonal_(-1)
    top = matrix.topk(k, dim=1)
    return top.values.numpy(), top.indices.numpy()


def chat_of(messages: Sequence[Message]) -> tuple[str, str]:
    """Prompt and response of a single-turn sample."""
    return messages[0].content, messages[-1].content
