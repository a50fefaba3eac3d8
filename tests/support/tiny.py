"""A real but tiny language model with tokenizer and chat template, and a real project around it.

Hidden size 32, two layers, random weights: everything a stage does with an 8B model happens here in milliseconds.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.config.schema import Config
from engine.runtime.context import StoreCtx
from engine.store import commands, connect, write
from engine.store.rows import Message, Sample, content_id
from engine.store.schema import migrate

SPECIAL = ("<pad>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
TEMPLATE = (
    "{% for m in messages %}{% if m['role'] not in ('system', 'user', 'assistant') %}"
    "{{ raise_exception('unknown role') }}{% endif %}"
    "{{ '<|' + m['role'] + '|>\\n' + m['content'] + '<|end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)
TEXT = "sort the list of numbers red blue green small large apple pear bread name every word"
WORDS = TEXT.split(" ")
BASE = """
[model]
name = "{model}"
max_length = 96
device = "cpu"
threads = 1
[train]
batch_size = 4
gradient_accumulation = 2
gradient_checkpointing = false
learning_rate = 0.01
lora_dropout = 0.1
checkpoint_steps = 3
[score]
token_budget = 200
min_cluster_size = 2
[judge]
min_digit_mass = 0.0
token_budget = 4096
[select]
threshold = "sigma"
[evaluate]
max_new_tokens = 6
batch_size = 4
"""


def make_tokenizer(template: str = TEMPLATE) -> Any:
    """Byte-level BPE of a few hundred words."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    raw.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=340, special_tokens=list(SPECIAL), initial_alphabet=alphabet, show_progress=False
    )
    raw.train_from_iterator([" ".join(WORDS)] * 20, trainer)
    out = PreTrainedTokenizerFast(
        tokenizer_object=raw,
        additional_special_tokens=["<|system|>", "<|user|>", "<|assistant|>"],
        clean_up_tokenization_spaces=False,
        **dict(zip(("pad_token", "eos_token"), (SPECIAL[0], SPECIAL[4]), strict=True)),
    )
    out.chat_template = template
    return out


def make_model(folder: Path, seed: int = 0, width: int = 32) -> Path:
    """A random Llama with its tokenizer, saved in ``folder``."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = make_tokenizer()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(tokenizer),
                hidden_size=width,
                intermediate_size=2 * width,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=2,
                max_position_embeddings=512,
                initializer_range=0.3,
                pad_token_id=tokenizer.pad_token_id,
                bos_token_id=None,
                eos_token_id=tokenizer.eos_token_id,
            )
        )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def chat(*texts: str) -> tuple[Message, ...]:
    """Alternating user and assistant turns."""
    return tuple(Message(("user", "assistant")[i % 2], text) for i, text in enumerate(texts))


def chats(count: int) -> list[tuple[Message, ...]]:
    """Different prompts of different lengths with their answers."""
    out = []
    for i in range(count):
        words = [WORDS[(i * 7 + j) % len(WORDS)] for j in range(2 + i % 9)]
        out.append(chat(f"sort {i}: {' '.join(words)}", " ".join(sorted(words))))
    return out


def samples(conversations: Sequence[Sequence[Message]]) -> list[Sample]:
    """Samples of these conversations, copies told apart."""
    seen: dict[int, int] = {}
    out = []
    for seq, messages in enumerate(conversations):
        first = content_id(messages)
        seen[first] = seen.get(first, -1) + 1
        out.append(Sample(content_id(messages, seen[first]), tuple(messages), seq, source=f"tiny.json:{seq + 1}"))
    return out


def make_config(model: Path, extra: str = "") -> Config:
    """The tests' settings; sections in ``extra`` (TOML) win key by key."""
    import tomllib

    import msgspec

    merged = tomllib.loads(BASE.format(model=model))
    for section, values in tomllib.loads(extra).items():
        merged.setdefault(section, {}).update(values)
    checked: Config = msgspec.convert(merged, Config)
    return checked


class Project:
    """A project folder with a store, and contexts over it."""

    def __init__(
        self,
        folder: Path,
        config: Config,
        conversations: Sequence[Sequence[Message]],
        heldout: Sequence[Sequence[Message]] = (),
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        migrate(folder, create=True)
        self.folder = folder
        self.config = config
        self.db: sqlite3.Connection = connect.writer(folder)
        with connect.transaction(self.db):
            write.add_samples(self.db, samples(conversations))
            write.add_heldout(self.db, samples(heldout), own_file=True)
        write.open_round(self.db, 0, "{}", ["train", "score", "judge", "evaluate"], closing=False, stopped=None)
        commands.set_plan(folder, 1)

    def ctx(self, stage: str, round: int = 0, config: Config | None = None) -> StoreCtx:
        """What ``stage`` sees."""
        return StoreCtx(self.db, self.folder, config or self.config, round, stage)

    def events(self) -> list[str]:
        """The lines written for a person."""
        return [row[0] for row in self.db.execute("SELECT text FROM event ORDER BY id")]

    def want(self, what: str) -> None:
        """Ask the running stage for ``run``, ``pause`` or ``cancel``."""
        commands.set_want(self.folder, what)
