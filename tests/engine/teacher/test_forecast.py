"""What rewriting will take, said before anything is spent: the same on every screen, and near what it then took."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from engine.backends import Generation
from engine.chat.render import load_tokenizer, render_prompt
from engine.selection.preview import facts
from engine.selection.preview.round_arrays import read_round
from engine.store import teacher as teacher_store
from engine.store.rows import AXES, Losses, Message, Neighbourhood
from engine.teacher import forecast
from engine.teacher.budget import round_forecast
from engine.teacher.forecast import PendingRewrites
from engine.teacher.job import RewriteJob
from tests.support import rounds, tiny
from tests.support.rewriting import Chat, asks_for_prompt, owe, run
from tests.support.rounds import Scripted

OWED = {"complexity": [0, 3, 6, 9], "diversity": [1, 4, 7], "quality": [2, 5, 8, 10, 11]}


def measured(folder: Path, model: Path, chats: Sequence[tuple[Message, ...]]) -> tiny.Project:
    """A project whose samples' tokens are counted as the score stage counts them, with some pending rewrites."""
    made = tiny.Project(folder, tiny.make_config(model, "teacher.max_new_tokens = 512"), chats)
    rounds.open_round(made, 0)
    tokenizer = load_tokenizer(model)
    data = rounds.dataset(made)
    for i, sample in enumerate(data):
        asked = len(render_prompt(tokenizer, sample.messages[:-1], 1 << 20))
        said = len(tokenizer(sample.response, add_special_tokens=False).input_ids) + 1
        near = json.dumps([data[(i + n) % len(data)].id for n in range(1, 6)])
        made.ctx("score").save(
            [Losses(0, sample.id, 1.0, 1.0, asked, said, None), Neighbourhood(0, sample.id, 0.5, near)]
        )
    owe(made, **OWED)
    return made


def turned(prompt: str) -> str:
    """Another prompt of the same words."""
    words = prompt.split()
    return " ".join(random.Random(prompt).sample(words, len(words)))


class Faithful:
    """Writes a prompt and an answer as long as the old ones, and counts tokens as a model would."""

    def __init__(self, made: tiny.Project, model: Path) -> None:
        self.tokenizer: Any = load_tokenizer(model)
        self.old = {sample.prompt: sample.response for sample in rounds.dataset(made)}
        self.new = {turned(prompt): response for prompt, response in self.old.items()}

    def __call__(self, chat: Chat, seed: int) -> Generation:
        text = chat[-1].content
        if asks_for_prompt(chat):
            old = max((prompt for prompt in self.old if f'"""\n{prompt}\n"""' in text), key=len)
            reply = f"<prompt>{turned(old)}</prompt>"
        else:
            reply = self.new[text]
        size = len(self.tokenizer(reply, add_special_tokens=False).input_ids) + 1
        return Generation(reply, "stop", len(render_prompt(self.tokenizer, chat, 1 << 20)), size)


def within(made: tiny.Project, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(made, monkeypatch, Scripted(Faithful(made, model)))
    asked, ahead = teacher_store.asked(made.db, 0), teacher_store.projected(made.db, 0)
    assert ahead is not None
    assert asked["calls"] == ahead["calls"] == 2 * sum(map(len, OWED.values()))
    for name in ("tokens_in", "tokens_out"):
        assert ahead[name] == pytest.approx(asked[name], rel=0.1), name


def test_projection_and_account_agree(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = tiny.TEXT.split()
    own = [[f"{word}{chr(97 + i)}" for word in words[i:]] for i in range(12)]  # no prompt is a copy of another
    chats = [tiny.chat(" ".join(own[i] * (1 + i % 3)), " ".join(words[: 9 + i])) for i in range(12)]
    within(measured(tmp_path, tiny_model, chats), tiny_model, monkeypatch)


@pytest.mark.skipif("MIDDO_TEST_DATA" not in os.environ, reason="needs alpaca_1k.json in MIDDO_TEST_DATA")
def test_they_agree_on_alpaca_rows(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = json.loads((Path(os.environ["MIDDO_TEST_DATA"]) / "alpaca_1k.json").read_text(encoding="utf-8"))
    chats = [tiny.chat(f"{r['instruction']}\n\n{r['input']}".strip(), r["output"]) for r in rows[:12]]
    within(measured(tmp_path, tiny_model, chats), tiny_model, monkeypatch)


def test_stage_and_thresholds_screen_say_the_same(tmp_path: Path, tiny_model: Path) -> None:
    made = measured(tmp_path, tiny_model, tiny.chats(12))
    ctx = made.ctx("rewrite")
    ahead = round_forecast(ctx, RewriteJob.begin(ctx))
    seen, told = read_round(made.folder, 0, True, made.config), facts.of_round(made.db, 0, made.config)
    pending = {
        axis: PendingRewrites(
            len(OWED[axis]), *(int(seen.tokens[i][OWED[axis]].sum()) for i in (0, 1))
        )  # by place in the dataset
        for axis in AXES
    }
    shown = forecast.project(pending, told.usage, seen.requests, made.config)
    assert (shown.calls, shown.tokens_in, shown.tokens_out) == (ahead.calls, ahead.tokens_in, ahead.tokens_out)
