"""A model learns to end its replies, whatever template it is trained in and whether the tokenizer has its tokens."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.chat.render import TEMPLATES
from engine.stages import evaluate, train
from engine.store.rows import EvalItem, EvalScore
from tests.support import tiny

pytestmark = pytest.mark.usefixtures("own_models")

TOWNS = ("red", "blue", "green", "apple")
CODES = [tiny.chat(f"sort {town}", f"{town[::-1]} {town}") for town in TOWNS]
HOW = """
[model]
chat_template = "{name}"
[train]
method = "full"
epochs = 30
learning_rate = 0.005
batch_size = 4
gradient_accumulation = 1
checkpoint_steps = 1000
[evaluate]
exact_match = true
max_new_tokens = 40
"""


@pytest.mark.parametrize("name", TEMPLATES)
def test_replies_end_where_answers_did(tmp_path: Path, tiny_model: Path, name: str) -> None:
    """None of these templates' tokens is in the tokenizer."""
    config = tiny.make_config(tiny_model, HOW.format(name=name))
    one = tiny.Project(tmp_path / "p", config, CODES * 2, heldout=CODES)
    train.run(one.ctx("train"))
    evaluate.run(one.ctx("evaluate"))
    replies = {row.item: str(row.reply).strip() for row in one.ctx("evaluate").rows(EvalItem)}
    assert replies == {i: chat[-1].content for i, chat in enumerate(CODES)}
    assert next(s.value for s in one.ctx("evaluate").rows(EvalScore) if s.task == "accuracy") == 1.0
    told = [line for line in one.events() if "which ends the chat template's turns" in line]
    assert len(told) == (name in ("chatml", "llama3"))
