"""The demo models' tokenizer: byte-level BPE, so any text can be encoded; every digit is a token of its own."""

import random
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from engine.demo import corpus

PAD, SYSTEM, USER, ASSISTANT, END = "<pad>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"
SPECIAL = (PAD, SYSTEM, USER, ASSISTANT, END)
VOCABULARY = 1024
SAMPLE = 12_000
"""Texts of each model that the merges are learned from."""

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|' + (message['role'] if message['role'] in ('system', 'assistant') else 'user') + '|>' }}"
    "{{ message['content'] or '' }}"
    "{% if message['role'] == 'assistant' %}{{ '<|end|>' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
"""Roles without a token of their own (tool ...) speak as the user."""


def train(seed: int) -> PreTrainedTokenizerFast:
    """Learn the vocabulary from what the models will read."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_lines(seed), trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        additional_special_tokens=[SYSTEM, USER, ASSISTANT],
        model_max_length=2048,
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def _lines(seed: int) -> Iterator[str]:
    rng = random.Random(f"tokenizer {seed}")
    for model in corpus.MIXTURES:
        for text in corpus.texts(model, rng, SAMPLE):
            yield text.context
            yield text.target


def load(directory: Path) -> PreTrainedTokenizerFast:
    """The saved tokenizer."""
    loaded: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(directory)
    return loaded
