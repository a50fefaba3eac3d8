"""Where a model is found, and what tells two of them apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.backends import hf
from engine.errors import ModelError
from engine.models import locate
from tests.support import tiny


def test_the_fingerprint_follows_the_weights(tmp_path: Path, tiny_model: Path) -> None:
    other = tiny.make_model(tmp_path / "other", seed=1)
    copy = tiny.make_model(tmp_path / "copy")
    marks = [locate.fingerprint(locate.ModelRef(folder)) for folder in (tiny_model, copy, other)]
    assert marks[0] == marks[1] != marks[2]
    assert locate.fingerprint(locate.ModelRef(copy, other)) not in marks
    with pytest.raises(ModelError, match=r"no \*\.safetensors weights here"):
        locate.fingerprint(locate.ModelRef(tmp_path))


def test_models_are_found_beside_the_project_or_refused(tmp_path: Path, tiny_model: Path) -> None:
    (tmp_path / "p" / "m").mkdir(parents=True)
    assert locate.locate("m", tmp_path / "p") == tmp_path / "p" / "m"
    assert locate.locate(str(tiny_model), tmp_path) == tiny_model
    with pytest.raises(ModelError, match="name is empty"):
        locate.locate("", tmp_path)
    with pytest.raises(ModelError, match="no such folder, and not a Hub name"):
        locate.locate("./no/such/model", tmp_path)
    with pytest.raises(ModelError, match="torch sees no GPU"):
        hf.load(tiny_model, device="cuda:7")
    (tmp_path / "broken").mkdir()
    with pytest.raises(ModelError, match=r"broken: no \*.safetensors weights"):
        hf.load(tmp_path / "broken", device="cpu")


def test_a_relative_name_begins_in_the_project_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """App and worker work in different folders, and must mean the same model."""
    for place in (tmp_path / "here" / "m", tmp_path / "P"):
        place.mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    assert locate.local("m", tmp_path / "P") is None
    (tmp_path / "P" / "m").mkdir()
    assert locate.local("m", tmp_path / "P") == tmp_path / "P" / "m"
    monkeypatch.setenv("HOME", str(tmp_path / "here"))
    assert locate.local("~/m", tmp_path / "P") == tmp_path / "here" / "m"
    assert locate.local("~nobody-of-that-name/m", tmp_path / "P") is None
    assert locate.local("x" * 5000, tmp_path / "P") is None


def test_an_adapter_is_refused_on_another_base_than_its_own(tmp_path: Path) -> None:
    """Losses of an adapter on weights that it was not trained on are nobody's."""
    base, adapter = tiny.make_model(tmp_path / "base"), tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    locate.write_note(adapter, locate.ModelRef(base), tmp_path)
    assert locate.checkpoint(adapter, tmp_path) == locate.ModelRef(base, adapter)
    (base / "preprocessor_config.json").write_text("{}")
    assert locate.checkpoint(adapter, tmp_path).base == base, "a file that changes nothing"
    tiny.make_model(base, seed=1)
    with pytest.raises(ModelError, match=r"base: not the model that .*adapter was trained on"):
        locate.checkpoint(adapter, tmp_path)
    (adapter / locate.NOTE).write_text('{"base": "base"}')
    assert locate.checkpoint(adapter, tmp_path).base == base, "a note of an older version"
