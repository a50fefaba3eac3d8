"""A chat template's file is looked for from the project's folder, and its content is what results depend on."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.backends import hf
from engine.config import schema as configs
from engine.loop import spec
from engine.models.locate import ModelRef
from engine.signals import losses, round_models
from engine.stages import train
from engine.store.rows import Message
from tests.support import tiny

OWN = tiny.TEMPLATE.replace("<|end|>\\n", "<|end|> ")


def project(folder: Path, model: Path, template: str = "own.jinja") -> tiny.Project:
    out = tiny.Project(folder, tiny.make_config(model, f'[model]\nchat_template = "{template}"\n'), tiny.chats(6))
    (folder / "own.jinja").write_text(OWN)
    return out


def test_a_relative_template_is_the_projects_from_any_folder(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = project(tmp_path / "p", tiny_model)
    for place in (tmp_path, tmp_path / "p", Path("/")):
        monkeypatch.chdir(place)
        model = round_models.open_model(one.ctx("train").config.model, ModelRef(tiny_model))
        assert model.tokenizer.chat_template == OWN
        hf.release()
    assert configs.placed(one.config, one.folder).model.chat_template == str(one.folder / "own.jinja")
    named = tiny.make_config(tiny_model, '[model]\nchat_template = "chatml"\n')
    assert configs.placed(named, one.folder) == named


def test_an_edited_template_is_noticed(tmp_path: Path, tiny_model: Path) -> None:
    one = project(tmp_path / "p", tiny_model)

    def keys() -> list[str]:
        ctx = one.ctx("score")
        ref = ModelRef(tiny_model)
        stages = [configs.slice_hash(ctx.config, spec(name).config) for name in ("train", "score", "judge", "verify")]
        return [losses.loss_key(ctx.config.model, ref), train._run_key(ctx, ref, None), *stages]

    before = keys()
    assert keys() == before
    (one.folder / "own.jinja").write_text(OWN + "{# changed #}")
    assert all(a != b for a, b in zip(before, keys(), strict=True))
    (one.folder / "own.jinja").write_text(OWN)
    assert keys() == before


def test_a_moved_project_has_the_same_keys(tmp_path: Path, tiny_model: Path) -> None:
    keys = [
        configs.slice_hash(project(tmp_path / name, tiny_model).ctx("train").config, ("model",)) for name in ("a", "b")
    ]
    assert keys[0] == keys[1]


def test_what_a_template_could_not_be_told_is_counted_once(tmp_path: Path, tiny_model: Path) -> None:
    call = Message("assistant", "", tool_calls='[{"function": {"name": "now", "arguments": {}}}]')
    rows = [[Message("user", f"sort {i}"), call] for i in range(3)]
    one = tiny.Project(tmp_path / "p", tiny.make_config(tiny_model), [*rows, *tiny.chats(4)])
    train.run(one.ctx("train"))
    said = [line for line in one.events() if "rendered as text" in line]
    assert said == [
        "3 of 7 samples: the chat template does not support these tools and tool calls, so they are rendered as text"
    ]
