"""Model folders of many kinds through the doctor and a run: ✘ for every one that a run cannot use, and for no other."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from engine.backends import model_check
from engine.config import schema as configs
from engine.config.schema import Config
from engine.doctor import report
from engine.errors import ConfigError, ModelError
from engine.stages import judge, score, train
from tests.support import model_folders, tiny
from tests.support.model_folders import BAD, GOOD

EXTRA = "[train]\nbatch_size = 2\nepochs = 1.0\nlora_dropout = 0.0\n"


@pytest.fixture
def folder(tmp_path: Path, tiny_model: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def said(config: Config, project: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What stops a run, by the doctor: of the files, or of what a process of its own finds; empty when nothing does."""
    found = report.model("model", config.model.name, config.model.chat_template, project)
    if found.bad:
        return f"{found.text}. {found.fix}"
    (told,) = model_check.look(configs.placed(config, project), project)
    return str(told["error"])


@pytest.mark.parametrize("name", BAD)
def test_the_doctor_says_what_a_run_would_end_with(
    name: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make, words = BAD[name]
    make(folder)
    config = tiny.make_config(folder, EXTRA)
    found = said(config, tmp_path, capsys)
    assert words in found
    project = tiny.Project(tmp_path / "P", config, tiny.chats(4))
    with pytest.raises((ModelError, ConfigError)) as ended:
        train.run(project.ctx("train"))
    assert words in str(ended.value), "in the same words"
    assert not project.db.execute("SELECT 1 FROM metric").fetchone()
    assert len(str(ended.value).split(". ")) <= 3


@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("name", GOOD)
def test_what_the_doctor_passes_runs(
    name: str, method: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    GOOD[name](folder)
    config = tiny.make_config(folder, f'{EXTRA}method = "{method}"\n')
    assert said(config, tmp_path, capsys) == ""
    project = tiny.Project(tmp_path / "P", config, tiny.chats(6))
    for stage in (train, score, judge):
        stage.run(project.ctx(stage.__name__.rpartition(".")[2]))
    rows = project.db.execute("SELECT loss_after, quality FROM signal").fetchall()
    assert len(rows) == 6
    assert all(row["loss_after"] is not None for row in rows)
    # A rating request has more tokens than 64.
    assert all((row["quality"] is None) == (name == "few_positions") for row in rows)


def test_packing_is_refused_before_training(folder: Path, tmp_path: Path) -> None:
    model_folders.random_model(folder, "Mamba", hidden_size=32, num_hidden_layers=2, state_size=8)
    config = tiny.make_config(folder, "[train]\npacking = true\n")
    with pytest.raises(ModelError, match="'mamba' would let packed samples attend to each other"):
        model_check.check(config, tmp_path)


def test_experts_without_an_adapter_are_told(folder: Path, tmp_path: Path) -> None:
    model_folders.random_model(
        folder,
        "Mixtral",
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_local_experts=4,
    )
    (said,) = model_check.check(tiny.make_config(folder), tmp_path)
    assert said.startswith("LoRA does not train this model's experts, 6")
    assert model_check.check(tiny.make_config(folder, '[train]\nmethod = "full"\n'), tmp_path) == []


def test_an_attention_that_is_not_installed_is_refused(folder: Path, tmp_path: Path) -> None:
    config = tiny.make_config(folder, '[model]\nattention = "flash_attention_2"\n')
    with pytest.raises(ModelError, match="FlashAttention2"):
        model_check.check(config, tmp_path)


def test_layers_that_the_config_leaves_out_are_said(folder: Path, tmp_path: Path) -> None:
    """With the config of a smaller sibling a model loads without an error, and is another one."""
    config = tiny.make_config(folder)
    assert model_check.check(config, tmp_path) == []
    model_folders.changed(folder / "config.json", num_hidden_layers=1)
    (note,) = model_check.check(config, tmp_path)
    assert "config.json leaves out 9 weights of the files (model.layers.1.input_layernorm.weight …)" in note
