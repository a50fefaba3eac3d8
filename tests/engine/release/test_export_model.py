"""A round's model as a folder of its own: others load it, and it gives the loss that the loop measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from peft import AutoPeftModelForCausalLM
from transformers import AutoModelForCausalLM, AutoTokenizer

from engine.chat.render import render
from engine.errors import UsageError
from engine.release.export_model import export_model
from engine.signals import round_models
from engine.stages import train
from engine.store import write
from engine.store.rows import EvalScore
from tests.support import tiny

CHATS = tiny.chats(12)


def trained(folder: Path, model: Path, method: str) -> tiny.Project:
    done = tiny.Project(folder, tiny.make_config(model, f'[train]\nmethod = "{method}"\n'), CHATS)
    (folder / "config.toml").write_text(
        tiny.BASE.format(model=model).replace("[train]", f'[train]\nmethod = "{method}"'), encoding="utf-8"
    )
    train.run(done.ctx("train"))
    write.save(done.db, 0, "evaluate", [EvalScore(0, "heldout_loss", 1.25, 0.125, 7)], None)
    return done


@pytest.fixture(scope="module")
def lora(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> tiny.Project:
    return trained(tmp_path_factory.mktemp("handover") / "p", tiny_model, "lora")


def measured(project: tiny.Project) -> float:
    """The loss of the first sample under the round's model, as the score stage computes it."""
    ctx = project.ctx("score")
    model = round_models.open_model(ctx.config.model, round_models.after_model(ctx))
    loss = model.score([render(model.tokenizer, CHATS[0], 96)])[0].loss
    assert loss is not None
    return loss


def elsewhere(model: torch.nn.Module, folder: Path) -> float:
    """The same loss, computed by others from the exported folder alone: the chat template comes with the tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    turns = [{"role": message.role, "content": message.content} for message in CHATS[0]]
    ids = tokenizer.apply_chat_template(turns, return_dict=False)
    row = render(tokenizer, CHATS[0], 96)
    assert row.ids == ids[: len(row.ids)]
    labels = [token if on else -100 for token, on in zip(row.ids, row.mask, strict=True)]
    with torch.no_grad():
        return float(model.eval()(input_ids=torch.tensor([row.ids]), labels=torch.tensor([labels])).loss)


def test_an_adapter_loads_with_peft(lora: tiny.Project, tmp_path: Path, tiny_model: Path) -> None:
    made = export_model(lora.folder, tmp_path / "out")
    assert (made.round, made.kind) == (0, "adapter")
    names = {file.name for file in (tmp_path / "out").iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "README.md"} <= names
    assert "middo.json" not in names
    assert json.loads((tmp_path / "out" / "adapter_config.json").read_text())["base_model_name_or_path"] == str(
        tiny_model
    )
    loaded = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "out")
    assert elsewhere(loaded, tmp_path / "out") == pytest.approx(measured(lora), abs=1e-5)


def test_merged_weights_load_with_transformers(lora: tiny.Project, tmp_path: Path) -> None:
    made = export_model(lora.folder, tmp_path / "out", 0, merged=True)
    assert made.kind == "full model"
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert not (tmp_path / "out" / "adapter_config.json").exists()
    assert elsewhere(loaded, tmp_path / "out") == pytest.approx(measured(lora), abs=1e-4)
    assert "merged into its base" in (tmp_path / "out" / "README.md").read_text()


def test_all_weights_load_with_transformers(tmp_path: Path, tiny_model: Path) -> None:
    full = trained(tmp_path / "p", tiny_model, "full")
    export_model(full.folder, tmp_path / "out")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert elsewhere(loaded, tmp_path / "out") == pytest.approx(measured(full), abs=1e-5)


def test_the_card_says_how_it_was_made_and_leaves_the_licence(
    lora: tiny.Project, tmp_path: Path, tiny_model: Path
) -> None:
    export_model(lora.folder, tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert card.startswith(f'---\nbase_model: "{tiny_model.name}"\nlibrary_name: peft\n')
    assert "# license: add one" in card
    for line in ("| method | lora |", "| lora_r | 16 |", r"| heldout\_loss | 1.2500 | 0.1250 |", "12 samples"):
        assert line in card, line
    assert str(tiny_model.parent) not in card, "a path of this machine"
    kept = lora.ctx("train").artifact("checkpoint")
    assert kept is not None
    assert "Training loss:" in (kept / "README.md").read_text()


def test_what_cannot_be_written_is_refused_and_leaves_nothing(
    lora: tiny.Project, tmp_path: Path, tiny_model: Path
) -> None:
    with pytest.raises(UsageError, match=r"--round 3: has no checkpoint .* Rounds with a checkpoint: 0\."):
        export_model(lora.folder, tmp_path / "out", 3)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    with pytest.raises(UsageError, match="exists and is not empty"):
        export_model(lora.folder, tmp_path / "full")
    empty = tiny.Project(tmp_path / "p", tiny.make_config(tiny_model), CHATS)
    with pytest.raises(UsageError, match="no round has been trained yet"):
        export_model(empty.folder, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full", "p"]
