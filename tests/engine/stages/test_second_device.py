"""A round's stages with the model on a second device (``second_device``): the CPU's numbers, and no mix in silence.

Everything from reading the weights to verdicts runs here but what needs a real GPU (see the unit tests), and Trainer's
pinned memory. transformers reads weights in threads of its own, which nobody looks at: it is told to use none.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from msgspec.structs import replace

from engine.backends import hf, left_padding, lm_head, model_loading, shared_prefixes
from engine.errors import Paused
from engine.stages import judge, score, select, train, verify
from engine.store.rows import Losses, Message, Metric, Ratings, Rewrite, Verdict, dump_messages
from engine.training import trainer as training
from tests.support import rounds, tiny
from tests.support.second_device import CPU, CUDA, second_device

THERE = '[model]\ndevice = "cuda:0"\ndtype = "float32"\n'
HELDOUT = [tiny.chat("name a secret colour", "red")]
MIX = "same device"


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """The second device, as ``cuda:0`` of config.toml."""
    hf.release()
    monkeypatch.setenv("HF_DEACTIVATE_ASYNC_LOAD", "1")
    monkeypatch.setenv("ACCELERATE_TORCH_DEVICE", "cuda:0")  # training sets it: so it is put back
    for module in (hf, model_loading, training, train):
        monkeypatch.setattr(module, "torch_device", torch.device)
    with second_device():
        yield monkeypatch
    hf.release()


def measured(folder: Path, model: Path, extra: str) -> list[list[float | None]]:
    """A round up to its verdicts: losses of the steps, before and after, ratings, and what a rewrite has."""
    made = tiny.Project(folder, tiny.make_config(model, extra), tiny.chats(12), HELDOUT)
    rounds.open_round(made, 0)
    for name, stage in (("train", train), ("score", score), ("judge", judge), ("select", select)):
        stage.run(made.ctx(name))
    with made.db:
        made.db.execute("DELETE FROM rewrite")
    row = Rewrite(0, rounds.dataset(made)[1].id, "quality", "proposed", 1, "name a word", "bread", answer_attempts=1)
    told = dump_messages((Message("user", "name a word"), Message("assistant", "bread")))
    made.ctx("rewrite").save([replace(row, messages=told)])
    verify.run(made.ctx("verify"))
    ctx = made.ctx("verify")
    found: list[list[float | None]] = [[row.loss] for row in ctx.rows(Metric)]
    found += [[row.loss_before, row.loss_after] for row in ctx.rows(Losses)]
    found += [[row.quality] for row in ctx.rows(Ratings)]
    (verdict,) = ctx.rows(Verdict)
    return [*found, [verdict.new_loss_before, verdict.new_loss_after, verdict.new_quality]]


WAYS = {
    "lora": '[train]\nmethod = "lora"\ngradient_checkpointing = true\n',
    "full": '[train]\nmethod = "full"\npacking = true\n',
}


@pytest.mark.parametrize("way", WAYS)
def test_a_round_there_measures_what_the_cpu_measures(
    way: str, tmp_path: Path, tiny_model: Path, request: pytest.FixtureRequest
) -> None:
    extra = f"{WAYS[way]}lora_dropout = 0.0\n"
    here = measured(tmp_path / "here", tiny_model, extra)
    there = request.getfixturevalue("there")
    seen: set[torch.device] = set()
    build = training.trainer

    def noted(task: training.TrainingTask) -> Any:
        made = build(task)
        seen.update(p.device for p in made.model.parameters())
        return made

    there.setattr(training, "trainer", noted)
    found = measured(tmp_path / "there", tiny_model, THERE + extra)
    assert seen == {CUDA}
    assert len(found) == len(here) > 20
    for ours, expected in zip(found, here, strict=True):
        assert ours == pytest.approx(expected, abs=1e-4)


def test_replies_there_go_on_after_a_pause(there: pytest.MonkeyPatch, tiny_model: Path, tmp_path: Path) -> None:
    from engine.backends import Call

    calls = [Call(i, chat[:1], 8, 0.8, 0.9, i) for i, chat in enumerate(tiny.chats(5))]
    model = hf.load(tiny_model, device="cuda:0", dtype="float32")
    assert {p.device for p in (*model.loaded.model.parameters(), *model.loaded.model.buffers())} == {CUDA}
    whole = model.write(calls, rows=3, watch=lambda _: None, keep=tmp_path / "other")
    steps = 0

    def pause(_: object) -> None:
        nonlocal steps
        steps += 1
        if steps == 4:
            raise Paused

    with pytest.raises(Paused):
        model.write(calls, rows=3, watch=pause, keep=tmp_path / "kept")
    assert (tmp_path / "kept").is_file()
    again = model.write(calls, rows=3, watch=lambda _: None, keep=tmp_path / "kept")
    assert [one.text for one in again] == [one.text for one in whole]


def test_token_ids_on_the_cpu_end_the_score_stages_forward(there: pytest.MonkeyPatch, tiny_model: Path) -> None:
    from engine.chat.render import render

    model = hf.load(tiny_model, device="cuda:0", dtype="float32")
    rows = [render(model.tokenizer, chat, 96) for chat in tiny.chats(3)]
    model.score(rows)
    there.setattr(hf, "pad", lambda rows, device: shared_prefixes.pad(rows, CPU))
    with pytest.raises(RuntimeError, match=MIX):
        model.score(rows)


BESIDE = {
    "the tokens that the head is tried on": (lm_head, "probe", lambda model: torch.tensor([[5, 6, 7, 8]])),
}


@pytest.mark.parametrize("what", BESIDE)
def test_a_tensor_beside_the_model_ends_training(
    what: str, there: pytest.MonkeyPatch, tiny_model: Path, tmp_path: Path
) -> None:
    owner, name, made = BESIDE[what]
    there.setattr(owner, name, made)
    project = tiny.Project(tmp_path / "p", tiny.make_config(tiny_model, THERE), tiny.chats(6))
    with pytest.raises(RuntimeError, match=MIX):
        train.run(project.ctx("train"))


def test_padded_prompts_are_made_there(there: pytest.MonkeyPatch) -> None:
    ids, mask = left_padding.left([[5, 6, 7], [8]], 0, CUDA)
    assert (ids.device, mask.device) == (CUDA, CUDA)
