"""A renamed key is still read under its old name, with a note, and can be set under its new one."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.config import edit, renamed, schema
from engine.errors import ConfigError


def project(folder: Path, text: str) -> Path:
    (folder / "config.toml").write_text(text, encoding="utf-8")
    return folder


def test_every_new_name_is_a_key_and_no_old_one_is() -> None:
    for dotted, new in renamed.RENAMED.items():
        section, old = dotted.split(".")
        keys = type(getattr(schema.Config(), section)).__struct_fields__
        assert new in keys
        assert old not in keys


def test_the_old_name_is_read_and_noted(tmp_path: Path) -> None:
    made = project(tmp_path, "[loop]\nmin_yield = 0.2\n")
    assert schema.load(made).loop.min_acceptance == 0.2
    assert renamed.notes(made) == [
        "config.toml: [loop] min_yield is now called min_acceptance; the old name still works"
    ]
    assert renamed.notes(project(tmp_path, "[loop]\nmin_acceptance = 0.2\n")) == []


def test_a_wrong_value_is_refused_under_either_name() -> None:
    for key in ("min_yield", "min_acceptance"):
        with pytest.raises(ConfigError, match=r"min_acceptance: must be a number from 0 to 1"):
            schema.parse(f"[loop]\n{key} = 2", "config.toml")


def test_both_names_at_once_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"both are set. Remove min_yield"):
        schema.parse("[loop]\nmin_yield = 0.2\nmin_acceptance = 0.3", "config.toml")


def test_a_snapshot_of_an_old_round_is_read() -> None:
    now = schema.parse("[loop]\nmin_acceptance = 0.2", "config.toml")
    old = schema.snapshot(now).replace("min_acceptance", "min_yield")
    assert "min_yield" in old
    assert schema.restore(old) == now


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("[loop]\nmin_yield = 0.2  # low\nrounds = 2\n", "[loop]\nmin_acceptance = 0.4  # low\nrounds = 2\n"),
        ("loop.min_yield = 0.2\n", "loop.min_acceptance = 0.4\n"),
    ],
)
def test_setting_the_new_name_replaces_the_old_one(tmp_path: Path, old: str, new: str) -> None:
    made = project(tmp_path, old)
    edit.edit(made, {"loop.min_acceptance": 0.4})
    assert (made / "config.toml").read_text(encoding="utf-8") == new


def test_other_keys_are_set_beside_an_old_name(tmp_path: Path) -> None:
    made = project(tmp_path, "[loop]\nmin_yield = 0.2\n")
    edit.edit(made, {"loop.rounds": 5})
    assert (made / "config.toml").read_text(encoding="utf-8") == "[loop]\nmin_yield = 0.2\nrounds = 5\n"
