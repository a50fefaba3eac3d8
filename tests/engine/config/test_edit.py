"""A key of config.toml is changed and nothing else is: no comment, no order, no byte that was not asked for."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config import defaults, edit, schema
from engine.errors import ConfigError


def project(folder: Path, text: str) -> Path:
    (folder / "config.toml").write_bytes(text.encode())
    return folder


def after(folder: Path, text: str, **changes: object) -> str:
    """``text`` with section__key = value set through the file."""
    made = project(folder, text)
    edit.edit(made, {name.replace("__", "."): value for name, value in changes.items()})
    return (made / "config.toml").read_bytes().decode()


def test_in_the_whole_template_one_line_changes(tmp_path: Path) -> None:
    old = defaults.TEMPLATE.read_text(encoding="utf-8")
    new = after(tmp_path, old, select__m_complexity=0.8)
    changed = [(a, b) for a, b in zip(old.splitlines(), new.splitlines(), strict=True) if a != b]
    assert changed == [("m_complexity = 1.0", "m_complexity = 0.8")]
    assert schema.load(tmp_path).select.m_complexity == 0.8


def test_a_mark_at_the_beginning_of_the_file_is_no_part_of_its_first_line(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[select]\nm_quality = 1.0\n", encoding="utf-8-sig")
    edit.edit(tmp_path, {"select.m_quality": 0.5})
    assert (tmp_path / "config.toml").read_text(encoding="utf-8") == "[select]\nm_quality = 0.5\n"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("[select]\nm_quality=2 # why\n[train]\n", "[select]\nm_quality=0.5 # why\n[train]\n"),
        ('[select] # mine\n  m_quality  =  2   # a "b" # c\n', '[select] # mine\n  m_quality  =  0.5   # a "b" # c\n'),
        ("[select]\nm_quality = 2", "[select]\nm_quality = 0.5\n"),
        ("[select]\r\nm_quality = 2\r\n", "[select]\r\nm_quality = 0.5\r\n"),
        ("[select]\n# m_quality = 2\nneighbours = 3\n", "[select]\n# m_quality = 2\nm_quality = 0.5\nneighbours = 3\n"),
        (
            "[select]\nneighbours = 3\n\n# next\n[train]\n",
            "[select]\nneighbours = 3\nm_quality = 0.5\n\n# next\n[train]\n",
        ),
        ("[select]\n[train]\n", "[select]\nm_quality = 0.5\n[train]\n"),
        ("[train]\nepochs = 2\n", "[train]\nepochs = 2\n\n[select]\nm_quality = 0.5\n"),
        ("", "[select]\nm_quality = 0.5\n"),
        ("# only a remark\n", "# only a remark\n\n[select]\nm_quality = 0.5\n"),
        (
            "select.neighbours = 3\nloop.rounds = 2\n",
            "select.neighbours = 3\nselect.m_quality = 0.5\nloop.rounds = 2\n",
        ),
        ("select . m_quality = 3\n", "select . m_quality = 0.5\n"),
        (
            "[train]\nlora_targets = [\n  'a', # [select]\n  'm_quality = 1',\n]\n[select]\nm_quality = 1\n",
            "[train]\nlora_targets = [\n  'a', # [select]\n  'm_quality = 1',\n]\n[select]\nm_quality = 0.5\n",
        ),
        (
            "[project]\nname = '''\n[select]\nm_quality = 1\n'''\n[select]\nm_quality = 1\n",
            "[project]\nname = '''\n[select]\nm_quality = 1\n'''\n[select]\nm_quality = 0.5\n",
        ),
    ],
)
def test_wherever_the_key_is_or_belongs(tmp_path: Path, old: str, new: str) -> None:
    assert after(tmp_path, old, select__m_quality=0.5) == new
    assert schema.load(tmp_path).select.m_quality == 0.5


def test_a_value_over_several_lines_is_replaced_whole(tmp_path: Path) -> None:
    old = '[merge]\norder = [\n  "quality", # first\n  "complexity",\n] # order\nsize = "grow"\n'
    new = after(tmp_path, old, merge__order=("complexity", "quality"))
    assert new == '[merge]\norder = ["complexity", "quality"] # order\nsize = "grow"\n'


def test_several_keys_at_once_and_tables_in_tables(tmp_path: Path) -> None:
    old = "[teacher]\nbudget_tokens = 5 # cap\n"
    changes = {"teacher.prices.m.input": 0.5, "teacher.budget_tokens": 7, "select.threshold": "mixture"}
    edit.edit(project(tmp_path, old), changes)
    read = schema.load(tmp_path)
    assert (read.teacher.prices["m"].input, read.teacher.budget_tokens) == (0.5, 7)
    assert read.select.threshold == "mixture"
    assert "# cap" in (tmp_path / "config.toml").read_text()


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_string_survives(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    folder = tmp_path_factory.mktemp("p")
    after(folder, "[project]\nname = 'old' # my # name\nseed = 3\n", project__name=text)
    assert (schema.load(folder).project.name, schema.load(folder).project.seed) == (text, 3)
    assert "# my # name" in (folder / "config.toml").read_text(encoding="utf-8")


@given(st.floats(allow_nan=False, allow_infinity=False), st.booleans())
def test_any_number_survives(tmp_path_factory: pytest.TempPathFactory, m: float, packing: bool) -> None:
    folder = tmp_path_factory.mktemp("p")
    after(folder, "", select__m_quality=m, train__packing=packing)
    assert (schema.load(folder).select.m_quality, schema.load(folder).train.packing) == (m, packing)


@pytest.mark.parametrize(
    ("old", "changes", "says"),
    [
        ("", {"select.m": 1.0}, r"\[select\] m: no such key"),
        ("", {"selection.m_quality": 1.0}, "selection: no such section"),
        ("", {"epochs": 1.0}, "epochs: no such section"),
        ("[train]\nlora_r = 4\n", {"train.lora_r": 0}, r"\[train\] lora_r"),
        ("", {"select.m_quality": "high"}, r"\[select\] m_quality"),
        ("", {"select.threshold": "mixture", "select.parity": "reference"}, "parity = .reference. needs"),
        ("select = {neighbours = 3}\n", {"select.m_quality": 1.0}, "config.toml"),
        ("[train]\nepochs = [\n", {"select.m_quality": 1.0}, "not valid TOML"),
        ('[train]\nepochs = "x"\n', {"train.epochs": 1.0}, r"\[train\] epochs"),
    ],
)
def test_what_cannot_be_is_refused_and_the_file_stays(
    tmp_path: Path, old: str, changes: dict[str, object], says: str
) -> None:
    made = project(tmp_path, old)
    with pytest.raises(ConfigError, match=says):
        edit.edit(made, changes)
    assert (made / "config.toml").read_bytes() == old.encode()
    assert os.listdir(made) == ["config.toml"]


def test_all_or_nothing(tmp_path: Path) -> None:
    made = project(tmp_path, "[select]\nm_quality = 1\n")
    with pytest.raises(ConfigError):
        edit.edit(made, {"select.m_quality": 0.5, "train.lora_r": -1})
    assert (made / "config.toml").read_text() == "[select]\nm_quality = 1\n"


def test_a_missing_file_says_how_to_make_a_project(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="middo-tui init"):
        edit.edit(tmp_path, {"select.m_quality": 0.5})


def test_a_link_stays_a_link_and_its_target_is_changed(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    target = project(tmp_path / "shared", "[select]\nm_quality = 1\n") / "config.toml"
    target.chmod(0o640)
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "config.toml").symlink_to("../shared/config.toml")
    edit.edit(tmp_path / "p", {"select.m_quality": 0.5})
    assert (tmp_path / "p" / "config.toml").is_symlink()
    assert target.read_text() == "[select]\nm_quality = 0.5\n"
    assert target.stat().st_mode & 0o777 == 0o640


@given(
    st.lists(
        st.sampled_from(
            [
                "[select]\n",
                "m_quality = 2 # c\n",
                "# m_quality = 3\n",
                "neighbours = 4\n",
                "\n",
                "[train]\n",
                "epochs = 2.0\n",
                "[teacher.prices.m]\n",
                "input = 3.0\n",
                "select.remember = true\n",
            ]
        ),
        unique=True,
    )
)
def test_any_file_reads_the_same_but_for_the_change(tmp_path_factory: pytest.TempPathFactory, lines: list[str]) -> None:
    text = "".join(lines)
    try:
        schema.parse(text, "x")
    except ConfigError:
        return
    folder = tmp_path_factory.mktemp("p")
    new = after(folder, text, select__m_quality=0.5)
    wanted = tomllib.loads(text)
    wanted.setdefault("select", {})["m_quality"] = 0.5
    assert tomllib.loads(new) == wanted
    kept = [line for line in lines if not line.startswith("m_quality")]
    assert all(line in new for line in kept)
