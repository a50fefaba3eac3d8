"""Liger's kernels: used on a GPU where they are installed and know the model, and else not even looked at."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from engine.config.schema import Config, Model, Train
from engine.doctor import report
from engine.errors import ModelError
from engine.models.locate import ModelRef
from engine.training import liger, trainer
from engine.training.trainer import TrainingTask
from tests.support import ROOT


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of Liger's name that says what it knows, and that it was imported."""
    (tmp_path / "liger_kernel" / "transformers").mkdir(parents=True)
    (tmp_path / "liger_kernel" / "__init__.py").touch()
    (tmp_path / "liger_kernel" / "transformers" / "__init__.py").touch()
    text = 'MODEL_TYPE_TO_APPLY_LIGER_FN = {"llama": None}\n'
    (tmp_path / "liger_kernel" / "transformers" / "monkey_patch.py").write_text(text, encoding="utf-8")
    facts = tmp_path / "liger_kernel-0.8.5.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: liger-kernel\nVersion: 0.8.5\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("liger_kernel", "liger_kernel.transformers", "liger_kernel.transformers.monkey_patch"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


def base(folder: Path, kind: str) -> Path:
    (folder / "config.json").write_text(f'{{"model_type": "{kind}"}}', encoding="utf-8")
    return folder


AUTO, OFF = Config(), Config(train=Train(liger="off"))


@pytest.mark.parametrize(
    ("config", "cuda", "kind", "used", "why"),
    [
        (AUTO, True, "llama", True, "0.8.5 for llama"),
        (AUTO, True, "bird", False, "not used: 0.8.5 does not support models of type 'bird'"),
        (AUTO, False, "llama", False, "not used: its kernels need a GPU"),
        (OFF, True, "llama", False, 'not used: [train] liger = "off"'),
    ],
)
def test_used_where_it_can_be(
    config: Config, cuda: bool, kind: str, used: bool, why: str, installed: Path, tmp_path: Path
) -> None:
    found = liger.liger(config, cuda, base(tmp_path, kind))
    assert (found.used, found.why) == (used, why)
    assert ("liger_kernel" in sys.modules) == (cuda and config is AUTO), "imported only where it is needed"


def test_not_installed_is_no_error(tmp_path: Path) -> None:
    if liger.version() is not None:
        pytest.skip("liger-kernel is installed here")
    assert liger.liger(AUTO, True, base(tmp_path, "llama")).why.startswith("not used: not installed (pip install")
    (found,) = (f for f in report._extras(AUTO, 1) if f.name == "liger")
    assert not found.bad
    assert liger.INSTALL in found.fix
    (found,) = (f for f in report._extras(AUTO, 0) if f.name == "liger")
    assert (found.mark, found.text) == ("✔", "not used: its kernels need a GPU")


def test_an_unreadable_model_is_named(installed: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nowhere.config\.json"):
        liger.liger(AUTO, True, tmp_path / "nowhere")


def test_what_reaches_the_trainer(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The layers' kernels, never Liger's loss: TRL refuses it beside its own."""
    import torch

    config = Config(model=Model(name=str(tiny_model), device="cpu"))
    task = TrainingTask(config, 0, ModelRef(tiny_model), tmp_path / "rows", tmp_path, None)
    plain = trainer._arguments(task, torch.device("cpu"))
    assert (plain.use_liger_kernel, plain.liger_kernel_config) == (False, None)
    monkeypatch.setattr(liger, "liger", lambda *_: liger.Liger(True, ""))
    asked = trainer._arguments(task, torch.device("cpu"))
    assert asked.use_liger_kernel
    wanted = {name for name, on in asked.liger_kernel_config.items() if on}
    assert wanted == {"rope", "rms_norm", "swiglu", "geglu"}
    assert asked.liger_kernel_config["fused_linear_cross_entropy"] is False
    assert asked.liger_kernel_config["cross_entropy"] is False


def test_training_without_a_gpu_never_imports_it(installed: Path, tiny_model: Path, tmp_path: Path) -> None:
    """In a process of its own, with the package at hand."""
    script = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(ROOT)!r})
from tests.support import tiny
from engine.stages import train
p = tiny.Project(Path({str(tmp_path / "p")!r}), tiny.make_config(Path({str(tiny_model)!r})), tiny.chats(8))
train.run(p.ctx("train"))
assert p.ctx("train").artifact("checkpoint")
assert not [name for name in sys.modules if name.startswith("liger_kernel")]
"""
    path = [str(installed), *sys.path]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:] = {path!r}\n{script}"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "Liger's kernels: not used: its kernels need a GPU" in done.stderr
